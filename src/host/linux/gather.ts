/** What several machines in step answer, as one. */
import { type Counters, type FdbListing, type RemoteListing } from '../../vtep/index.js';

/** Counts of all workers, added up. */
export function addCounts(all: readonly Float64Array[]): Float64Array {
  return all.reduce((sum, counts) => sum.map((count, i) => count + counts[i]!), new Float64Array(all[0]!.length));
}

export function gatherCounters(all: readonly Counters[]): Counters {
  const [first] = all;
  const named = <K extends 'counts' | 'drops'>(key: K, parts: readonly Pick<Counters, K>[]): Counters[K] =>
    Object.fromEntries(
      Object.keys(first![key]).map((name) => [
        name,
        parts.reduce((sum, part) => sum + (part[key] as Record<string, number>)[name]!, 0),
      ]),
    ) as Counters[K];
  return {
    counts: named('counts', all),
    drops: named('drops', all),
    segments: first!.segments.map(({ vni }, i) => {
      const parts = all.map(({ segments }) => segments[i]!);
      return { vni, counts: named('counts', parts), drops: named('drops', parts) };
    }),
  };
}

/** Each address once, as the worker has it that saw it last. */
export function gatherFdb<T extends FdbListing & { vni: number }>(all: readonly T[][]): T[] {
  const entries = new Map<string, T>();
  for (const entry of all.flat()) {
    const key = `${entry.vni} ${entry.mac}`;
    const known = entries.get(key);
    if (known === undefined || (!known.static && (entry.static || entry.age < known.age))) entries.set(key, entry);
  }
  return [...entries.values()];
}

export function gatherRemotes(all: readonly RemoteListing[][]): RemoteListing[] {
  const remotes = new Map<string, RemoteListing>();
  for (const one of all.flat()) {
    const known = remotes.get(one.address);
    const mtus = [known?.mtu ?? null, one.mtu].filter((mtu) => mtu !== null);
    remotes.set(one.address, {
      ...one,
      mtu: mtus.length === 0 ? null : Math.min(...mtus),
      undelivered: one.undelivered + (known?.undelivered ?? 0),
      reason: one.reason || (known?.reason ?? ''),
    });
  }
  return [...remotes.values()];
}
