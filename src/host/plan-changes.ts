/** What a plan asks of its data plane: changes, and links. */
import { type Change, type Segment } from '../model/index.js';
import {
  addressesOf,
  ownEndpoints,
  prefixAddress,
  routesOf,
  type Plan,
  type SegmentPlan,
  type TapPlan,
} from '../schema/index.js';
import { type LinkPlan, type PortSegments } from './data-plane.js';
import { HostError } from './error.js';
import { tapMtu } from './mtu.js';

/** The segment of a plan without its peers and endpoints. Its MTU must be known. */
export function segmentOf({ peers: _peers, endpoints: _endpoints, mtu, ...rest }: SegmentPlan): Segment {
  return { ...rest, mtu: mtu! };
}

/** The changes that make a segment with its peers and endpoints. */
export function changesOf(segment: SegmentPlan): Change[] {
  const { vni, peers, endpoints } = segment;
  return [
    { do: 'add-segment', segment: segmentOf(segment) },
    ...peers.map((address): Change => ({ do: 'add-peer', vni, address })),
    ...endpoints.map((endpoint): Change => ({ do: 'add-endpoint', vni, endpoint })),
  ];
}

/** The link of a TAP. */
export function linkOf(
  plan: Pick<Plan, 'segments' | 'networks' | 'gossip' | 'keepTaps'>,
  tap: TapPlan,
  path: string,
): LinkPlan {
  const { name, fd, netns, mac } = tap;
  const untagged = tap.vni ?? tap.native;
  const addresses = addressesOf(tap);
  const routes = untagged === undefined ? [] : routesOf(plan, untagged, addresses.map(prefixAddress));
  const mtu = tap.mtu ?? tapMtu({ segments: plan.segments, taps: [tap] }, 0);
  const vnis = [tap.vni, tap.native, ...Object.values(tap.vlans ?? {})];
  const encrypted = plan.segments.some(({ vni, group }) => group !== undefined && vnis.includes(vni));
  return {
    name,
    segments: segmentsOf(tap),
    ...(mac === undefined ? {} : { mac }),
    ...(addresses.length === 0 ? {} : { addresses }),
    device:
      fd !== undefined
        ? { fd }
        : { mtu, routes, encrypted, keep: plan.keepTaps, ...(netns === undefined ? {} : { netns }) },
    path,
  };
}

/** The segments of a TAP. */
export function segmentsOf({ vni, vlans, native }: TapPlan): PortSegments {
  if (vni !== undefined) return { vni };
  return { vlans: vlans!, ...(native === undefined ? {} : { native }) };
}

/** An endpoint of this host that a TAP brings with it. */
export type OwnEndpoint = { vni: number; ip: string; mac: string };

/**
 * Returns the endpoints of a TAP's own addresses, without those that the segment has already.
 * @throws HostError if the segment has one with another MAC address.
 */
export function endpointsOf(plan: Pick<Plan, 'segments'>, tap: TapPlan): OwnEndpoint[] {
  const vni = tap.vni ?? tap.native;
  const segment = plan.segments.find((candidate) => candidate.vni === vni);
  if (segment === undefined) return [];
  return ownEndpoints(tap).flatMap(({ ip, mac }) => {
    const known = segment.endpoints.find((endpoint) => endpoint.ip === ip);
    if (known === undefined) return [{ vni: segment.vni, ip, mac }];
    if (known.mac === mac) return [];
    throw new HostError(
      `segment ${segment.vni}: endpoint ${ip} is configured with ${known.mac}, but TAP ${tap.name} with that address has ${mac}; give the TAP that MAC address, or leave the endpoint out`,
    );
  });
}

/** Adds an endpoint of this host for each address of a TAP. Returns those that it added, by TAP. */
export function addOwnEndpoints(plan: Plan): OwnEndpoint[][] {
  return plan.taps.map((tap) => {
    const all = endpointsOf(plan, tap);
    for (const { vni, ...endpoint } of all)
      plan.segments.find((segment) => segment.vni === vni)!.endpoints.push(endpoint);
    return all;
  });
}
