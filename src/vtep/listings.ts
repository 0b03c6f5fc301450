/** The state and the counters of a `Vtep` as objects with names. */
import type { FdbEntry } from '../fdb/index.js';
import { LOCAL } from '../neighbor/index.js';
import * as vxlan from '../vxlan/index.js';
import type { Context } from './context.js';
import { isRemote, portOf, remoteIdOf } from './destination.js';
import { DROPS, type DropReason } from './drops.js';
import { IN_BYTES, IN_PACKETS, OUT_BYTES, OUT_PACKETS, type HotRows } from './hot-rows.js';
import { narrowestOf, UNLIMITED } from './path-limits.js';
import type { PathProbes } from './path-probes.js';
import { innerMtu } from './remote.js';
import { COUNT, COUNTERS, COUNTS, FIRST_DROP, type CountName, type Segment } from './segment.js';

export interface FdbListing {
  mac: string;
  static: boolean;
  /** Milliseconds since it was seen; 0 for static entries. */
  age: number;
  /** The local port's name, or `null`. */
  port: string | null;
  /** The remote's underlay address, or `null`. */
  vtep: string | null;
}

export interface RemoteListing {
  address: string;
  port: number;
  /** The largest inner IP packet that the path to it carries, if the path is known to be narrow; else `null`. */
  mtu: number | null;
  /** Where `mtu` is known from: `route` (or a device of this host), `icmp` or `probe`. */
  from?: string | null;
  /** Milliseconds since it is so. */
  age?: number | null;
  /**
   * The state of the search for the path MTU: `base`, `search`, `complete`, `error` (the remote answers no more), `disabled` (it
   * answers no probes); `null` if no datagrams went to it lately.
   */
  probes?: string | null;
  /** Datagrams that its host or a router reported as not delivered, if the engine receives such reports. */
  undelivered: number;
  /** The system's code of the last report: `ECONNREFUSED`; empty if there was none. */
  reason: string;
}

export interface NeighborListing {
  ip: string;
  mac: string;
  /** The VTEP that the endpoint is behind; `null` for an endpoint of this host. */
  vtep: string | null;
}

/** Counts of frames and datagrams. */
interface NamedCounts {
  /** By name. */
  readonly counts: Record<CountName, number>;
  /** By reason. */
  readonly drops: Record<DropReason, number>;
}

/** The totals over all segments; their drops include those of datagrams that reached none. */
export interface Counters extends NamedCounts {
  /** Each builds the objects with its counts when they are read: those of 4000 segments take 20 ms. */
  readonly segments: readonly SegmentCounters[];
}

/**
 * Counts without names: first those of all segments together, then those of each segment, in the order of `COUNTS` and
 * `DROPS`.
 */
export interface Counts {
  vnis: number[];
  values: Float64Array;
}

// A caller may take a listing in parts, and frames may pass in between. The listing then contains every entry that
// existed all the time, and maybe entries that came or went meanwhile. So the remote of an entry may be gone.

export function* listFdb(segment: Segment, context: Context, now: number): Generator<FdbListing> {
  for (const entry of segment.fdb.entries(now)) yield listFdbEntry(entry, context);
}

export function listFdbEntry(
  { mac, static: fixed, age, destination }: FdbEntry,
  { ports, remotes }: Context,
): FdbListing {
  return {
    mac,
    static: fixed,
    age,
    port: isRemote(destination) ? null : (ports.find(portOf(destination))?.name ?? null),
    vtep: isRemote(destination) ? (remotes.get(remoteIdOf(destination))?.address ?? null) : null,
  };
}

export function* listNeighbors(segment: Segment, { remotes }: Context): Generator<NeighborListing> {
  for (const { ip, mac, location } of segment.neighbors.entries())
    yield { ip, mac, vtep: location === LOCAL ? null : (remotes.get(remoteIdOf(location))?.address ?? null) };
}

export function* listRemotes({ remotes }: Context, paths: PathProbes, now: number): Generator<RemoteListing> {
  for (const remote of remotes.all()) {
    const { address, port, outerMtu, undelivered, reason, limits } = remote;
    const from = narrowestOf(remote);
    yield {
      ...{ address, port, mtu: outerMtu < UNLIMITED ? innerMtu(remote) : null, from },
      age: from === null ? null : Math.max(0, Math.round(now - limits[from].time)),
      probes: paths.searchOf(remote)?.phase ?? null,
      ...{ undelivered, reason },
    };
  }
}

/** The counters of a machine and its segments, copied. */
export function copyCounts({ counters, segments, hot }: Context): Counts {
  const size = counters.length;
  const values = new Float64Array((1 + segments.size) * size);
  const totals = counters.slice();
  const vnis: number[] = [];
  for (const segment of segments.values()) {
    vnis.push(segment.vni);
    const to = vnis.length * size;
    copySlowCounts(segment, values, to, totals);
    addFastCounts(hot, segment.hotRow, values, to);
    addFastCounts(hot, segment.hotRow, totals, 0);
  }
  values.set(totals);
  return { vnis, values };
}

/** The counts of one segment, copied, in the order of `COUNTS` and `DROPS`. */
export function copyCountsOf(segment: Segment, { hot }: Context): Float64Array {
  const { counters, row } = segment;
  const values = counters.slice(row, row + COUNTERS);
  addFastCounts(hot, segment.hotRow, values, 0);
  return values;
}

/** Copies what the bridge and others have counted of a segment, and adds it to `totals`. Most of it is 0. */
function copySlowCounts({ counters, row }: Segment, values: Float64Array, to: number, totals: Float64Array): void {
  for (let i = 0; i < totals.length; i++) {
    const value = counters[row + i]!;
    if (value === 0) continue;
    values[to + i] = value;
    totals[i]! += value;
  }
}

/** Adds what the fast path has counted of a segment. */
function addFastCounts({ counts }: HotRows<Segment>, row: number, values: Float64Array, to: number): void {
  const at = row >> 1;
  const packetsOut = counts[at + OUT_PACKETS]!;
  const bytesOut = counts[at + OUT_BYTES]!;
  const packetsIn = counts[at + IN_PACKETS]!;
  const bytesIn = counts[at + IN_BYTES]!;
  values[to + COUNT['frames-in']]! += packetsOut;
  values[to + COUNT['frame-bytes-in']]! += bytesOut;
  values[to + COUNT['datagrams-out']]! += packetsOut;
  values[to + COUNT['datagram-bytes-out']]! += bytesOut + packetsOut * vxlan.HEADER_LENGTH;
  values[to + COUNT['datagrams-in']]! += packetsIn;
  values[to + COUNT['datagram-bytes-in']]! += bytesIn;
  values[to + COUNT['frames-out']]! += packetsIn;
  values[to + COUNT['frame-bytes-out']]! += bytesIn - packetsIn * vxlan.HEADER_LENGTH;
}

/** Adds the names to counts. */
export function namedCounters({ vnis, values }: Counts): Counters {
  const segments = vnis.map((vni, i) => new SegmentCounters(vni, values, (1 + i) * COUNTERS));
  return { counts: countsAt(values, 0), drops: dropsAt(values, 0), segments };
}

/** The counters of one segment. */
export class SegmentCounters implements NamedCounts {
  readonly vni: number;
  readonly #values: Float64Array;
  readonly #row: number;

  constructor(vni: number, values: Float64Array, row: number) {
    this.vni = vni;
    this.#values = values;
    this.#row = row;
  }

  get counts(): Record<CountName, number> {
    return countsAt(this.#values, this.#row);
  }

  get drops(): Record<DropReason, number> {
    return dropsAt(this.#values, this.#row);
  }

  toJSON(): NamedCounts & { vni: number } {
    const { vni, counts, drops } = this;
    return { vni, counts, drops };
  }
}

function countsAt(values: Float64Array, row: number): Record<CountName, number> {
  return Object.fromEntries(COUNTS.map(([name], i) => [name, values[row + i]!])) as Record<CountName, number>;
}

function dropsAt(values: Float64Array, row: number): Record<DropReason, number> {
  const first = row + FIRST_DROP;
  return Object.fromEntries(DROPS.map(([name], i) => [name, values[first + i]!])) as Record<DropReason, number>;
}
