/** Builds the machine of a plan, and answers requests about it, on the thread that moves the frames. */
import { randomInt } from 'node:crypto';
import {
  canonicalEndpoint,
  canonicalIp,
  prefixAddress,
  SchemaError,
  type CaptureRequest,
  type GossipRequest,
  type ListRequest,
  type Plan,
  type Request,
} from '../schema/index.js';
import { Vtep, type FdbListing } from '../vtep/index.js';
import { takePage, type Page } from './pages.js';

/** A request that the machine answers at once. */
export type MachineRequest =
  | Exclude<Request, { command: 'stop' | 'counters' } | GossipRequest | ListRequest | CaptureRequest>
  /** Returns the refused senders since the last such request; not available over the control socket. */
  | { command: 'refused-senders' }
  /** Datagrams from a member of the cluster are accepted before its endpoints are known. */
  | { command: 'add-member' | 'remove-member'; address: string };
/** A request from this process to a machine on another thread; not available over the control socket. */
export type InternalRequest =
  /** Returns the raw counts from which the counters are made. */
  | { command: 'counts' }
  /** Returns the next page of a listing. The first request has `of` and opens the listing. */
  | { command: 'page'; listing: number; of?: ListRequest }
  | { command: 'close'; listing: number }
  /** Returns the FDB entries of these addresses. */
  | { command: 'find'; entries: readonly { vni: number; mac: string }[] };

/**
 * Creates a `Vtep` with the segments, ports, peers and endpoints of a plan. Port numbers are the indices of the plan's
 * TAPs. Queues announcements of the TAPs' addresses.
 * @param announce Whether this `Vtep` sends announcements; true for only one of several for the same plan.
 */
export function buildVtep(plan: Plan, announce = true): Vtep {
  const vtep = new Vtep({
    port: plan.port,
    local: plan.local,
    peersOnly: plan.peersOnly,
    seed: randomInt(2 ** 31),
    announce,
  });
  for (const { peers, endpoints, ageing, ...options } of plan.segments) {
    vtep.addSegment({ ...options, ageing: Math.round(ageing * 1000) });
    for (const peer of peers) vtep.addPeer(options.vni, peer);
    for (const endpoint of endpoints) vtep.addEndpoint(options.vni, endpoint);
  }
  for (const { name, mac, vni, vlans, native } of plan.taps) {
    const station = mac === undefined ? {} : { mac };
    if (vni !== undefined) vtep.addPort({ name, vni, ...station });
    else vtep.addPort({ name, vlans: vlans!, ...(native === undefined ? {} : { native }), ...station });
  }
  // Neighbors may still have them with another MAC address, or behind another VTEP.
  for (const [port, { address, mac, vni, native }] of plan.taps.entries()) {
    const untagged = vni ?? native;
    if (address !== undefined && mac !== undefined && untagged !== undefined)
      vtep.announce(untagged, { ip: prefixAddress(address), mac, port });
  }
  return vtep;
}

/**
 * Returns the entries of a listing, computed one at a time.
 * @throws SchemaError for a VNI without a segment.
 */
export function listing(vtep: Vtep, request: ListRequest, now: number): Iterable<object> {
  if (request.command === 'remotes') return vtep.remoteEntries();
  const { command, vni } = request;
  if (vni !== undefined) requireSegment(vtep, vni);
  const entries = {
    fdb: (one: number) => vtep.fdbEntries(one, now),
    neighbors: (one: number) => vtep.neighborEntries(one),
    peers: (one: number) => vtep.peers(one),
  }[command];
  return ofSegments(vni === undefined ? vtep.vnis() : [vni], vtep, entries);
}

function* ofSegments(vnis: number[], vtep: Vtep, entries: (vni: number) => Iterable<object>): Generator<object> {
  for (const vni of vnis) {
    if (!vtep.hasSegment(vni)) continue; // the segment was removed after the listing began
    for (const entry of entries(vni)) yield { vni, ...entry };
  }
}

/** Answers requests to a machine from another thread. */
export class MachineServer {
  readonly #vtep: Vtep;
  readonly #plan: Plan;
  readonly #listings = new Map<number, Iterator<object>>();

  constructor(vtep: Vtep, plan: Plan) {
    this.#vtep = vtep;
    this.#plan = plan;
  }

  /** @throws the errors of `answer` and `listing`. */
  answer(request: MachineRequest | InternalRequest, now: number): unknown {
    switch (request.command) {
      case 'counts':
        return this.#vtep.counts();
      case 'page':
        return this.#page(request.listing, request.of, now);
      case 'close':
        return this.#listings.delete(request.listing);
      case 'find':
        return request.entries.map(({ vni, mac }) => this.#find(vni, mac, now));
      default:
        return answer(this.#vtep, this.#plan, request, now);
    }
  }

  #page(id: number, of: ListRequest | undefined, now: number): Page {
    if (of !== undefined) this.#listings.set(id, listing(this.#vtep, of, now)[Symbol.iterator]());
    const page = takePage(this.#listings.get(id)!);
    if (page.last) this.#listings.delete(id);
    return page;
  }

  #find(vni: number, mac: string, now: number): FdbListing | null {
    return this.#vtep.hasSegment(vni) ? this.#vtep.fdbEntry(vni, mac, now) : null;
  }
}

/** Whether a request changes how frames are forwarded. */
export function isMachineChange({ command }: MachineRequest | InternalRequest): boolean {
  return /^(add|remove)-/.test(command);
}

/**
 * Answers a request from the machine's state, or changes it.
 * @throws SchemaError or RangeError with what is wrong with the request.
 */
export function answer(vtep: Vtep, plan: Plan, request: MachineRequest, now: number): unknown {
  switch (request.command) {
    case 'refused-senders':
      return [...ofSegments(vtep.vnis(), vtep, (vni) => vtep.takeRefusedSenders(vni))];
    case 'add-member':
      return vtep.addMember(request.address);
    case 'remove-member':
      return vtep.removeMember(request.address);
    case 'explain': {
      if (request.datagram !== undefined)
        return vtep.explain({ from: canonicalIp(request.from!), datagram: bytes(request.datagram) }, now);
      const port = plan.taps.findIndex((tap) => tap.name === request.port);
      if (port < 0)
        throw wrong('port', `the name of a TAP (${plan.taps.map((tap) => tap.name).join(', ')})`, request.port);
      return vtep.explain({ port, frame: bytes(request.frame!) }, now);
    }
    case 'add-peer':
    case 'remove-peer': {
      requireSegment(vtep, request.vni);
      const address = requireRemote(plan, 'address', request.address);
      if (request.command === 'remove-peer') return { removed: vtep.removePeer(request.vni, address) };
      vtep.addPeer(request.vni, address);
      return {};
    }
    case 'add-endpoint':
    case 'remove-endpoint': {
      requireSegment(vtep, request.vni);
      const endpoint = canonicalEndpoint(request, plan.local);
      if (endpoint.vtep !== undefined) requireRemote(plan, 'vtep', endpoint.vtep);
      if (request.command === 'remove-endpoint') return { removed: vtep.removeEndpoint(request.vni, endpoint) };
      vtep.addEndpoint(request.vni, endpoint);
      return {};
    }
  }
}

function requireSegment(vtep: Vtep, vni: number): void {
  if (!vtep.hasSegment(vni)) throw wrong('vni', `the VNI of a segment (${vtep.vnis().join(', ')})`, vni);
}

function requireRemote(plan: Plan, path: string, text: string): string {
  const address = canonicalIp(text);
  if (address === plan.local) throw wrong(path, 'the address of another VTEP, not its own', text);
  if (address.includes(':') !== plan.local.includes(':'))
    throw wrong(path, `an IPv${plan.local.includes(':') ? 6 : 4} address, like the VTEP's own address`, text);
  return address;
}

function wrong(path: string, expected: string, given: unknown): SchemaError {
  return new SchemaError([{ path, expected, given }]);
}

function bytes(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, 'hex'));
}
