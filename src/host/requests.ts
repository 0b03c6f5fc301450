/** Requests that add or remove a peer or an endpoint. */
import { canonicalEndpoint, canonicalIp, knownVni, SchemaError, type Plan, type Request } from '../schema/index.js';
import { type Entry } from '../state/index.js';

/** A request to add or remove a peer or an endpoint. */
export type TableRequest = Extract<Request, { command: `${'add' | 'remove'}-${'peer' | 'endpoint'}` }>;

/** The entry that a request adds or removes. */
export type TableEntry = Extract<Entry, { kind: 'peer' | 'endpoint' }>;

/**
 * Checks a request that adds or removes a peer or an endpoint.
 * @param plan The plan of the data plane, with the segments that it has now.
 * @returns its entry, with canonical addresses.
 * @throws SchemaError with what is wrong.
 */
export function tableEntry(plan: Plan, request: TableRequest): TableEntry {
  const { vni } = request;
  const vnis = plan.segments.map((segment) => segment.vni);
  if (!vnis.includes(vni)) throw wrong('vni', knownVni(vnis), vni);
  if (request.command === 'add-peer' || request.command === 'remove-peer')
    return { kind: 'peer', vni, address: remoteOf(plan, 'address', request.address) };
  const endpoint = canonicalEndpoint(request, plan.local);
  if (endpoint.vtep !== undefined) remoteOf(plan, 'vtep', endpoint.vtep);
  return { kind: 'endpoint', vni, endpoint };
}

function remoteOf({ local }: Plan, path: string, text: string): string {
  const address = canonicalIp(text);
  if (address === local) throw wrong(path, 'the address of another VTEP, not its own', text);
  if (address.includes(':') !== local.includes(':'))
    throw wrong(path, `an IPv${local.includes(':') ? 6 : 4} address, like the VTEP's own address`, text);
  return address;
}

function wrong(path: string, expected: string, given: unknown): SchemaError {
  return new SchemaError([{ path, expected, given }]);
}
