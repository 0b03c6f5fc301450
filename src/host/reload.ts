/**
 * Applies a configuration that was read again to a running VTEP: what can change changes, and what needs a restart is
 * named. What the API and the gossip want stays.
 *
 * - Segments that the configuration did not have are added; those that it has no more are removed, unless the API wants
 *   something in them. The settings of a segment change with a restart only: a new segment would have learned nothing.
 * - Networks come and go likewise. One that differs changes with a restart only, and so does one whose segments are or
 *   were used otherwise: the TAPs there would have the wrong routes.
 * - TAPs that the configuration did not have are attached; those that it has no more are detached. A TAP with other settings is
 *   replaced. All others keep running.
 * - Peers and endpoints are added and removed.
 *
 * What may fail comes first, and is taken back if it fails. After a detached TAP, that is its attachment.
 */
import { isDeepStrictEqual } from 'node:util';
import {
  addressesOf,
  canonicalEndpoint,
  networksOf,
  prefixAddress,
  requireBeside,
  SchemaError,
  vnisOfNetwork,
  type AnyNetwork,
  type Plan,
  type Reloaded,
  type SegmentPlan,
  type TapPlan,
} from '../schema/index.js';
import { about, HostError } from './error.js';
import { type Logger } from './log.js';
import { vnisOf } from './machine.js';
import { reloadError } from './parts.js';
import { endpointsOf, segmentsOf, type OwnEndpoint } from './plan-changes.js';
import { type AttachHow } from './overlay-types.js';
import { compareNetworks, networksAfter, type RunningNetworks } from './reload-networks.js';
import { type TableEntry } from './requests.js';

/** A TAP to attach. */
export interface PlannedTap extends AttachHow {
  tap: TapPlan;
  /** The endpoints that come with it. */
  own: readonly OwnEndpoint[];
  /** Its path in the configuration, for errors. */
  path: string;
}

/** A running VTEP, as far as a reload changes it. */
export interface Reloadable {
  /** With the segments and TAPs that it has now. */
  readonly plan: Plan;
  /** Adds a segment of the configuration, or nothing. @param path Its path in the configuration. */
  addSegment(segment: SegmentPlan, path: string): Promise<void>;
  removeSegment(vni: number): Promise<void>;
  /** The configuration wants a network whose segments are there. Nothing has changed if it fails. */
  addNetwork(network: AnyNetwork): Promise<void>;
  /** Removes a network without its segments. */
  removeNetwork(id: string): Promise<void>;
  leaveNetwork(id: string): void;
  /** Whether the API wants something of a segment. */
  isOfApi(vni: number): boolean;
  leaveSegment(vni: number): void;
  /** Attaches TAPs with their endpoints, all or none. */
  attach(taps: readonly PlannedTap[]): Promise<void>;
  detach(tap: TapPlan): Promise<void>;
  /** Makes the configuration want these peers and endpoints, and no others. @returns why some were refused. */
  configure(entries: readonly TableEntry[]): Promise<Pick<Reloaded, 'peers' | 'endpoints' | 'refused'>>;
}

/** A TAP with its path in the configuration. */
type Located = Omit<PlannedTap, 'own'>;

/** What changes between a running VTEP and its next configuration, besides peers and endpoints. */
export interface Comparison {
  /** With their index in the configuration. */
  newSegments: { segment: SegmentPlan; index: number }[];
  /** VNIs of segments that the configuration has no more. */
  oldSegments: number[];
  newTaps: Located[];
  /** TAPs whose settings differ, as they are now and as they will be. */
  changedTaps: { before: TapPlan; after: Located }[];
  oldTaps: TapPlan[];
  /** Networks that the configuration did not have; those that the API has added are among them. */
  newNetworks: AnyNetwork[];
  /** Networks that the configuration has no more. */
  oldNetworks: AnyNetwork[];
  restart: string[];
}

/**
 * Compares a running VTEP with a configuration.
 * @param configured The last configuration.
 * @param running What the VTEP has now.
 * @throws SchemaError if the configuration contradicts what was added over the API.
 */
export function compare(configured: Plan, running: RunningNetworks & Pick<Plan, 'segments'>, next: Plan): Comparison {
  const restart = changed(withoutNetworks(configured), withoutNetworks(next), ['segments', 'keyFiles', 'taps']);
  const { newNetworks, oldNetworks, ...networks } = compareNetworks(configured, running, next);
  restart.push(...networks.restart);
  const live = new Map(running.segments.map((segment) => [segment.vni, segment]));
  const newSegments: Comparison['newSegments'] = [];
  for (const [index, segment] of next.segments.entries()) {
    const now = live.get(segment.vni);
    if (now === undefined) newSegments.push({ segment, index });
    else restart.push(...settingsThatDiffer(configured, now, segment));
  }
  const nextVnis = new Set(next.segments.map(({ vni }) => vni));
  // Those of a network that stays until a restart stay, too.
  const stay = new Set(networks.kept.flatMap(vnisOfNetwork));
  const oldSegments = configured.segments
    .map(({ vni }) => vni)
    .filter((vni) => live.has(vni) && !nextVnis.has(vni) && !stay.has(vni));

  const attached = new Map(running.taps.map((tap) => [keyOf(tap), tap]));
  const known = new Set(configured.taps.map(keyOf));
  const newTaps: Located[] = [];
  const changedTaps: Comparison['changedTaps'] = [];
  for (const [index, tap] of next.taps.entries()) {
    const [now, path] = [attached.get(keyOf(tap)), `taps[${index}]`];
    if (now !== undefined && isDeepStrictEqual(now, tap)) continue;
    if (tap.fd !== undefined) restart.push(path);
    else if (now === undefined) newTaps.push({ tap, path });
    else if (known.has(keyOf(tap))) changedTaps.push({ before: now, after: { tap, path } });
    else
      throw new SchemaError([
        { path: `${path}.name`, reason: 'is attached with other settings; detach it first', given: tap.name },
      ]);
  }
  const kept = new Set(next.taps.map(keyOf));
  const oldTaps = configured.taps.flatMap((tap) => {
    const now = attached.get(keyOf(tap));
    return now === undefined || kept.has(keyOf(tap)) ? [] : [now];
  });
  requireBeside(next, {
    segments: running.segments.filter(({ vni }) => !nextVnis.has(vni)),
    taps: running.taps.filter((tap) => !known.has(keyOf(tap)) && !kept.has(keyOf(tap))),
    networks: networks.beside,
  });
  return { newSegments, oldSegments, newTaps, changedTaps, oldTaps, newNetworks, oldNetworks, restart };
}

/**
 * Applies a configuration.
 * @throws SchemaError or HostError with the field; nothing has changed then.
 */
export async function reload(configured: Plan, next: Plan, vtep: Reloadable): Promise<Reloaded> {
  const comparison = compare(configured, vtep.plan, next);
  const { newSegments, oldSegments, newTaps, changedTaps, oldTaps, newNetworks, oldNetworks, restart } = comparison;
  for (const [i, tap] of next.taps.entries()) await about(`taps[${i}].mac`, () => endpointsOf(next, tap));
  const attached = [...newTaps, ...changedTaps.map(({ after }) => after)].map((one) => ({
    ...one,
    own: endpointsOf(next, one.tap),
  }));
  // Their names or addresses are taken until then.
  const inTheWay = oldTaps.filter((old) => attached.some(({ tap }) => isSameStation(old, tap)));
  const detached: TapPlan[] = [];
  const added: number[] = [];
  const addedNetworks: AnyNetwork[] = [];
  const ofApi = new Set(networksOf(vtep.plan).map(({ id }) => id));
  try {
    for (const { segment, index } of newSegments) {
      await vtep.addSegment(segment, `segments[${index}]`);
      added.push(segment.vni);
    }
    for (const network of newNetworks) {
      await about(network.path, () => vtep.addNetwork(network));
      addedNetworks.push(network);
    }
    for (const tap of [...changedTaps.map(({ before }) => before), ...inTheWay]) {
      await vtep.detach(tap);
      detached.push(tap);
    }
    await vtep.attach(attached);
  } catch (error) {
    // Without the reason why one of them fails now: the first error is the one to correct.
    for (const tap of detached)
      await vtep.attach([{ tap, own: endpointsOf(configured, tap), path: '' }]).catch(() => undefined);
    for (const { id } of addedNetworks) await (ofApi.has(id) ? vtep.leaveNetwork(id) : vtep.removeNetwork(id));
    for (const vni of added) await vtep.removeSegment(vni);
    throw error;
  }
  const tables = await vtep.configure(entriesOf(next, vtep.plan.taps));
  for (const tap of oldTaps) if (!inTheWay.includes(tap)) await vtep.detach(tap);
  const isUsed = (vni: number): boolean =>
    vtep.isOfApi(vni) || vtep.plan.taps.some((tap) => vnisOf(segmentsOf(tap)).includes(vni));
  const networks: Reloaded['networks'] = { added: addedNetworks.map(({ id }) => id), removed: [], kept: [] };
  const keptVnis = new Set<number>();
  for (const network of oldNetworks) {
    const { id } = network;
    const vnis = vnisOfNetwork(network);
    if (vnis.some(isUsed)) {
      vtep.leaveNetwork(id);
      networks.kept.push(id);
      for (const vni of vnis) keptVnis.add(vni);
    } else {
      await vtep.removeNetwork(id);
      networks.removed.push(id);
    }
  }
  const segments: Reloaded['segments'] = { added, removed: [], kept: [] };
  for (const vni of oldSegments)
    if (keptVnis.has(vni) || isUsed(vni)) {
      vtep.leaveSegment(vni);
      segments.kept.push(vni);
    } else {
      await vtep.removeSegment(vni);
      segments.removed.push(vni);
    }
  const taps = {
    attached: newTaps.map(({ tap }) => nameOf(tap)),
    detached: oldTaps.map(nameOf),
    replaced: changedTaps.map(({ after }) => nameOf(after.tap)),
  };
  return { segments, networks, taps, ...tables, restart };
}

/** Says what a reload has done. */
export function reloadedText({ segments, networks, taps, peers, endpoints }: Reloaded): string {
  const parts: [number, string, string][] = [
    ...Object.entries(segments).map(([done, list]): [number, string, string] => [list.length, 'segment', done]),
    ...Object.entries(networks).map(([done, list]): [number, string, string] => [list.length, 'network', done]),
    ...Object.entries(taps).map(([done, list]): [number, string, string] => [list.length, 'TAP', done]),
    ...Object.entries(peers).map(([done, count]): [number, string, string] => [count, 'peer', done]),
    ...Object.entries(endpoints).map(([done, count]): [number, string, string] => [count, 'endpoint', done]),
  ];
  const texts = parts.flatMap(([count, what, done]) =>
    count === 0 ? [] : [`${count} ${what}${count === 1 ? '' : 's'} ${done}`],
  );
  return texts.length === 0 ? 'nothing changed' : texts.join(', ');
}

/**
 * Runs a reload, and logs its outcome.
 * @param file The name of the configuration's file, for errors.
 * @throws what `step` throws, with its code.
 */
export async function logReload(
  log: Logger,
  file: string | undefined,
  step: () => Promise<Reloaded>,
): Promise<Reloaded> {
  try {
    const done = await step();
    const { restart, refused } = done;
    log.info('reload', `the configuration was read again: ${reloadedText(done)}`, { ...done });
    for (const reason of refused) log.error('reload', `an entry of the configuration was refused: ${reason}`);
    if (restart.length > 0)
      log.warning('reload', `these changes take effect only after a restart: ${restart.join(', ')}`, { restart });
    return done;
  } catch (error) {
    const refusal = reloadError(error, file);
    const { message, stack } = refusal as Error;
    log.error('reload', `the configuration stays as it was: ${message}`, refusal instanceof HostError ? {} : { stack });
    throw refusal;
  }
}

/** The configuration in effect after a reload: what waits for a restart stays as it was. @param running The VTEP then. */
export function merge(configured: Plan, running: RunningNetworks, next: Plan): Plan {
  const before = new Map(configured.segments.map((segment) => [segment.vni, segment]));
  const after = { ...configured, ...networksAfter(configured, running, next) };
  const nextVnis = new Set(next.segments.map(({ vni }) => vni));
  // A network that waits for a restart has its segments until then.
  const waiting = new Set(networksOf(after).flatMap(vnisOfNetwork));
  const segments = [
    ...next.segments.map((segment) => before.get(segment.vni) ?? segment),
    ...configured.segments.filter(({ vni }) => waiting.has(vni) && !nextVnis.has(vni)),
  ];
  return { ...after, segments, keyFiles: next.keyFiles, taps: next.taps };
}

/** The peers and endpoints of a configuration, with those of its TAPs that are attached. */
function entriesOf(next: Plan, attached: readonly TapPlan[]): TableEntry[] {
  const entries: TableEntry[] = [];
  for (const { vni, peers, endpoints } of next.segments) {
    for (const address of peers) entries.push({ kind: 'peer', vni, address });
    for (const endpoint of endpoints)
      entries.push({ kind: 'endpoint', vni, endpoint: canonicalEndpoint(endpoint, next.local) });
  }
  const names = new Set(attached.map(keyOf));
  for (const tap of next.taps) {
    if (!names.has(keyOf(tap))) continue;
    for (const { vni, ...endpoint } of endpointsOf(next, tap)) entries.push({ kind: 'endpoint', vni, endpoint });
  }
  return entries;
}

/** The paths of the settings of a segment that differ. */
function settingsThatDiffer(configured: Plan, now: SegmentPlan, next: SegmentPlan): string[] {
  const names: string[] = changed(now, next, ['peers', 'endpoints', 'mtu', 'group']);
  if (now.group !== next.group) names.push('keyFile');
  // Without one, the MTU is that of the underlay at the start.
  const before = configured.segments.find(({ vni }) => vni === now.vni)?.mtu;
  if (next.mtu === undefined ? before !== undefined : next.mtu !== now.mtu) names.unshift('mtu');
  return names.map((name) => `segments[${now.vni}].${name}`);
}

/** A plan without its networks, which are compared by themselves. */
function withoutNetworks({ gossip, ...plan }: Plan): Plan {
  return { ...plan, networks: [], ...(gossip === undefined ? {} : { gossip: { ...gossip, networks: [] } }) };
}

/** What identifies a TAP: where it is. */
function keyOf({ name, netns }: TapPlan): string {
  return `${name} ${netns ?? ''}`;
}

function nameOf({ name, netns }: TapPlan): { name: string; netns: string | null } {
  return { name, netns: netns ?? null };
}

/** Whether two TAPs cannot be attached at the same time. */
function isSameStation(one: TapPlan, other: TapPlan): boolean {
  if (keyOf(one) === keyOf(other)) return true;
  const ips = addressesOf(one).map(prefixAddress);
  const isShared = addressesOf(other).some((address) => ips.includes(prefixAddress(address)));
  return isShared || (one.mac !== undefined && one.mac === other.mac);
}

/** The names of the fields whose values differ. */
function changed<T extends object>(before: T, after: T, except: readonly (keyof T)[]): string[] {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]) as Set<keyof T & string>;
  return [...names].filter((name) => !except.includes(name) && !isDeepStrictEqual(before[name], after[name]));
}
