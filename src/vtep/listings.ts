/** What a `Vtep` knows and counts, as plain objects for listings. */
import { LOCAL } from '../neighbor/index.js';
import { isRemote, portOf, remoteIdOf } from './destination.js';
import { DROPS, type DropReason } from './drops.js';
import type { Port } from './port.js';
import { UNLIMITED, type Remotes } from './remote.js';
import { COUNTS, FIRST_DROP, type CountName, type Segment } from './segment.js';

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
  /** The largest inner IP packet that the way to it carries, where less than the segments' is known to; else `null`. */
  mtu: number | null;
  /** Datagrams that its host or a router reported as not delivered, where the engine hears of them. */
  undelivered: number;
  /** The system's code of the last report: `ECONNREFUSED`; empty where there was none. */
  reason: string;
}

export interface NeighborListing {
  ip: string;
  mac: string;
  /** The VTEP that the endpoint is behind; `null` for an endpoint of this host. */
  vtep: string | null;
  /** Whether a newer endpoint with the same address hides this one. */
  hidden: boolean;
}

export interface Counters {
  /** Counts by name, over all segments. */
  counts: Record<CountName, number>;
  /** Drops by reason, over all segments and for datagrams that reached none. */
  drops: Record<DropReason, number>;
  segments: { vni: number; counts: Record<CountName, number>; drops: Record<DropReason, number> }[];
}

export function listFdb(
  segment: Segment,
  ports: readonly (Port | null)[],
  remotes: Remotes,
  now: number,
): FdbListing[] {
  return [...segment.fdb.entries(now)].map(({ mac, static: fixed, age, destination }) => ({
    mac,
    static: fixed,
    age,
    port: isRemote(destination) ? null : (ports[portOf(destination)]?.name ?? null),
    vtep: isRemote(destination) ? remotes.get(remoteIdOf(destination)).address : null,
  }));
}

export function listNeighbors(segment: Segment, remotes: Remotes): NeighborListing[] {
  return [...segment.neighbors.entries()].map(({ ip, mac, location, hidden }) => ({
    ip,
    mac,
    vtep: location === LOCAL ? null : remotes.get(remoteIdOf(location)).address,
    hidden,
  }));
}

export function listRemotes(remotes: Remotes): RemoteListing[] {
  return [...remotes.all()].map(({ address, port, mtu, undelivered, reason }) => ({
    address,
    port,
    mtu: mtu < UNLIMITED ? mtu : null,
    undelivered,
    reason,
  }));
}

/** @param counters Of datagrams that reached no segment. */
export function listCounters(counters: Float64Array, segments: Iterable<Segment>): Counters {
  const all = [...segments];
  const total = counters.slice();
  for (const segment of all) for (let i = 0; i < total.length; i++) total[i]! += segment.counters[i]!;
  return { ...named(total), segments: all.map((segment) => ({ vni: segment.vni, ...named(segment.counters) })) };
}

function named(counters: Float64Array): Pick<Counters, 'counts' | 'drops'> {
  return {
    counts: Object.fromEntries(COUNTS.map(([name], i) => [name, counters[i]!])) as Record<CountName, number>,
    drops: Object.fromEntries(DROPS.map(([name], i) => [name, counters[FIRST_DROP + i]!])) as Record<
      DropReason,
      number
    >,
  };
}
