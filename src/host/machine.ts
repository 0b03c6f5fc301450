/** The machine made of a plan, and what it answers to those who ask. It lives where its engine moves the frames. */
import { randomInt } from 'node:crypto';
import {
  canonicalEndpoint,
  canonicalIp,
  SchemaError,
  type GossipRequest,
  type Plan,
  type Request,
} from '../schema/index.js';
import { Vtep } from '../vtep/index.js';

/** A request that an engine answers, out of its machine but for `capture`; the rest is met by what is around it. */
export type MachineRequest =
  | Exclude<Request, { command: 'stop' } | GossipRequest>
  /** The senders that were refused since the last such request; not to be had over the control socket. */
  | { command: 'refused-senders' };

/**
 * A `Vtep` with the segments, ports, peers and endpoints of a plan. Its ports have the plan's numbers of their TAPs.
 * @param announce Whether it is the one that sends announcements, of several for the same plan.
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
  for (const { name, vni, vlans, native } of plan.taps) {
    if (vni !== undefined) vtep.addPort({ name, vni });
    else vtep.addPort({ name, vlans: vlans!, ...(native === undefined ? {} : { native }) });
  }
  return vtep;
}

/**
 * Answers a request out of the machine's state, or changes it.
 * @throws SchemaError or RangeError that names what is wrong with the request.
 */
export function answer(
  vtep: Vtep,
  plan: Plan,
  request: Exclude<MachineRequest, { command: 'capture' }>,
  now: number,
): unknown {
  const over = <T extends object>(list: (vni: number) => T[]): (T & { vni: number })[] => {
    const asked = 'vni' in request ? request.vni : undefined;
    if (asked !== undefined) requireSegment(vtep, asked);
    return vtep
      .vnis()
      .filter((vni) => asked === undefined || vni === asked)
      .flatMap((vni) => list(vni).map((entry) => ({ vni, ...entry })));
  };
  switch (request.command) {
    case 'fdb':
      return over((vni) => vtep.fdb(vni, now));
    case 'neighbors':
      return over((vni) => vtep.neighbors(vni));
    case 'peers':
      return over((vni) => vtep.peers(vni));
    case 'remotes':
      return vtep.remoteListing();
    case 'refused-senders':
      return over((vni) => vtep.takeRefusedSenders(vni));
    case 'counters':
      return vtep.counters();
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
  if (!vtep.vnis().includes(vni)) throw wrong('vni', `the VNI of a segment (${vtep.vnis().join(', ')})`, vni);
}

function requireRemote(plan: Plan, path: string, text: string): string {
  const address = canonicalIp(text);
  if (address === plan.local) throw wrong(path, 'the address of another VTEP, not its own', text);
  if (address.includes(':') !== plan.local.includes(':'))
    throw wrong(path, `an IPv${plan.local.includes(':') ? 6 : 4} address, as the VTEP's own is`, text);
  return address;
}

function wrong(path: string, expected: string, given: unknown): SchemaError {
  return new SchemaError([{ path, expected, given }]);
}

function bytes(hex: string): Uint8Array {
  return Uint8Array.from(Buffer.from(hex, 'hex'));
}
