/**
 * Requests over the control socket that attach, detach and list TAPs, add, remove and list segments, add and remove
 * networks, and read the configuration again.
 */
import { type Segment as ModelSegment } from '../model/index.js';
import {
  addressesOf,
  errorField,
  networkOf,
  SchemaError,
  type NewNetwork,
  type PartRequest,
  type Plan,
  type Reloaded,
  type Request,
  type Segment,
  type SegmentPlan,
  type Tap,
  type TapPlan,
} from '../schema/index.js';
import { codeOf, HostError, isResourceError, RequestError } from './error.js';
import { type GroupKeyring } from './group-keys.js';
import { tapMtu } from './mtu.js';
import { type AddedNetwork, type RemovedNetwork } from './overlay-networks.js';

/** A TAP that is attached. */
export interface TapListing {
  name: string;
  /** The current name of the device. */
  device: string;
  /** As in the request or the configuration; null for the VTEP's own namespace, and for a TAP that another program opened. */
  netns: string | null;
  /** With their prefix lengths. */
  addresses: string[];
  /** Null for a TAP that another program opened, if its MAC address is unknown. */
  mac: string | null;
  /** In bytes; null for a TAP that another program opened. */
  mtu: number | null;
  /** The segment of an access port; null for a trunk. */
  vni: number | null;
  /** VLAN ID to VNI; null for an access port. */
  vlans: Record<string, number> | null;
  /** The VNI of a trunk's untagged frames, if it has one. */
  native: number | null;
}

/** A TAP that was detached. */
export type DetachedTap = Pick<TapListing, 'name' | 'netns' | 'addresses' | 'mac'>;

/** A segment with its settings. */
export interface SegmentListing extends Omit<ModelSegment, 'mac' | 'group'> {
  /** The MAC address that proxy `vtep` answers with; null if it is derived from the VNI. */
  mac: string | null;
  /** Whether its frames cross the underlay encrypted. */
  encrypted: boolean;
  /** The number of its newest key; null in clear text. */
  keyNumber: number | null;
  /** The network that it belongs to, by name or id; null for none. */
  network: string | null;
  /** The subnets of that network that it has, each with the router's address; null without a router. */
  subnets: { prefix: string; gateway: string | null }[];
}

/** A running VTEP, as far as these requests concern it. */
interface Changeable {
  readonly plan: Plan;
  attach(tap: Tap): Promise<TapPlan & { device: string }>;
  detach(name: string, netns?: string): Promise<TapPlan>;
  addSegment(segment: Segment): Promise<{ vni: number; mtu: number }>;
  removeSegment(vni: number): Promise<void>;
  addNetwork(network: NewNetwork): Promise<AddedNetwork>;
  removeNetwork(name: string): Promise<RemovedNetwork>;
  reload(): Promise<Reloaded>;
  tapListings(): TapListing[];
  segmentListings(): SegmentListing[];
}

const PART_REQUESTS: readonly Request['command'][] = [
  'attach',
  'detach',
  'taps',
  'add-segment',
  'remove-segment',
  'segments',
  'add-network',
  'remove-network',
  'reload',
] satisfies PartRequest['command'][];

export function isPartRequest(request: Request): request is PartRequest {
  return PART_REQUESTS.includes(request.command);
}

/**
 * Answers a request.
 * @throws SchemaError with the fields that are wrong; RequestError with the code and the field of what the VTEP or its host
 * does not allow.
 */
export async function answerPart(request: PartRequest, vtep: Changeable): Promise<unknown> {
  try {
    return await answer(request, vtep);
  } catch (error) {
    throw requestError(error);
  }
}

async function answer(request: PartRequest, vtep: Changeable): Promise<unknown> {
  switch (request.command) {
    case 'taps':
      return vtep.tapListings();
    case 'segments':
      return vtep.segmentListings();
    case 'attach': {
      const { command: _command, ...tap } = request;
      const attached = await vtep.attach(tap);
      return tapListing(vtep.plan, attached, attached);
    }
    case 'detach': {
      const tap = await vtep.detach(request.name, request.netns);
      const { name, netns = null, mac = null } = tap;
      return { name, netns, addresses: [...addressesOf(tap)], mac } satisfies DetachedTap;
    }
    case 'add-segment': {
      const { command: _command, ...segment } = request;
      const { vni, mtu } = await vtep.addSegment(segment);
      return { vni, mtu };
    }
    case 'add-network': {
      const { command: _command, ...network } = request;
      return vtep.addNetwork(network);
    }
    case 'remove-network':
      return vtep.removeNetwork(request.name);
    case 'reload':
      return vtep.reload();
    case 'remove-segment':
      await vtep.removeSegment(request.vni);
      return { vni: request.vni };
  }
}

/** An error about a field of the request with its code; any other error as it is. */
export function requestError(error: unknown): unknown {
  if (!(error instanceof HostError) || !error.path) return error;
  const { path, lines, message } = error;
  const missing = codeOf(error.cause) === 'ENOENT';
  const lacks = isResourceError(error) || isResourceError(error.cause);
  const code = error instanceof RequestError ? error.code : lacks ? 'unavailable' : missing ? 'not-found' : 'conflict';
  return new RequestError(code, lines, { cause: error, path, fields: [{ path, message }] });
}

/**
 * The error of a reload, with its code. Those about fields name the configuration's file.
 * @param file Its name, if it has one. What could not be read names it already.
 */
export function reloadError(error: unknown, file: string | undefined): unknown {
  const named = (line: string): string => (file === undefined ? line : `${file}: ${line}`);
  if (error instanceof SchemaError)
    return new RequestError('invalid-configuration', error.lines.map(named), {
      fields: error.problems.map(errorField),
    });
  const known = requestError(error);
  if (known === error || !(known instanceof RequestError)) return error;
  const { code, path, lines, fields } = known;
  return new RequestError(
    code,
    lines.map((line) => named(`${path}: ${line}`)),
    { cause: error, fields },
  );
}

/** The entry of a TAP in a listing. */
export function tapListing(
  { segments }: Pick<Plan, 'segments'>,
  tap: TapPlan,
  { device, mac = tap.mac }: { device: string; mac?: string },
): TapListing {
  const { name, fd, netns = null, vni = null, vlans = null, native = null } = tap;
  const addresses = [...addressesOf(tap)];
  const mtu = fd === undefined ? (tap.mtu ?? tapMtu({ segments, taps: [tap] }, 0)) : null;
  return { name, device, netns, addresses, mac: mac ?? null, mtu, vni, vlans, native };
}

/** The entry of a segment in a listing. Its MTU must be known. */
export function segmentListing(
  plan: Pick<Plan, 'networks' | 'gossip'>,
  segment: SegmentPlan,
  ring: Pick<GroupKeyring, 'get'>,
): SegmentListing {
  const { vni, mtu, proxy, learn, flood, tagged, ageing, capacity, clampMss = false, mac = null, group } = segment;
  const network = networkOf(plan, vni);
  const subnets = (network?.subnets ?? []).flatMap(({ prefix, gateway = null, ...subnet }) =>
    subnet.vni === vni ? [{ prefix, gateway }] : [],
  );
  const settings = { vni, mtu: mtu!, proxy, learn, flood, tagged, ageing, capacity, clampMss, mac };
  const keys = group === undefined ? [] : ring.get(group);
  const secrecy = { encrypted: group !== undefined, keyNumber: keys[0]?.number ?? null };
  return { ...settings, ...secrecy, network: network?.id ?? null, subnets };
}
