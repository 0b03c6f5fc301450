/** Requests that add or remove a peer or an endpoint. */
import {
  addressesOf,
  canonicalEndpoint,
  canonicalIp,
  knownVni,
  requireInSubnet,
  SchemaError,
  shareAddresses,
  subnetText,
  type Plan,
  type Request,
} from '../schema/index.js';
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
  const { vni, command } = request;
  const vnis = plan.segments.map((segment) => segment.vni);
  if (!vnis.includes(vni)) throw wrong('vni', knownVni(vnis), vni);
  if (command === 'add-peer' || command === 'remove-peer') {
    const address = remoteOf(plan, 'address', request.address);
    if (command === 'add-peer') requireOutside(plan, 'address', address);
    return { kind: 'peer', vni, address };
  }
  const endpoint = canonicalEndpoint(request, plan.local);
  if (command === 'add-endpoint') requireInSubnet(vni, endpoint, plan);
  if (endpoint.vtep !== undefined) {
    remoteOf(plan, 'vtep', endpoint.vtep);
    if (command === 'add-endpoint') requireOutside(plan, 'vtep', endpoint.vtep);
  }
  return { kind: 'endpoint', vni, endpoint };
}

/** A remote in the subnet of a TAP of this namespace would be reached through the TAP: the rule of a configuration, too. */
function requireOutside({ taps }: Plan, path: string, remote: string): void {
  for (const { name, fd, netns, ...tap } of taps) {
    if (netns !== undefined || fd !== undefined) continue;
    const address = addressesOf(tap).find((one) => shareAddresses(one, remote));
    if (address === undefined) continue;
    const reason =
      `${remote} is in ${subnetText(address)}, the subnet of TAP ${name}: the underlay would run through the overlay; ` +
      'detach that TAP, or move it into a namespace';
    throw new SchemaError([{ path, reason, given: remote }]);
  }
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
