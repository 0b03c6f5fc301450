/** Combines the answers of several workers' machines into one. */
import { type ListRequest } from '../../schema/index.js';
import { type Counts, type FdbListing, type RemoteListing } from '../../vtep/index.js';
import { pagesOf, type Page } from '../pages.js';

export function addCounts(all: readonly Float64Array[]): Float64Array {
  return all.reduce((sum, counts) => sum.map((count, i) => count + counts[i]!), new Float64Array(all[0]!.length));
}

/** Adds the counts of the workers' machines. While segments come and go, the machines may differ in a few of them. */
export function gatherCounts(all: readonly Counts[]): Counts {
  const [first] = all;
  const { vnis } = first!;
  const size = first!.values.length / (vnis.length + 1);
  const values = new Float64Array(first!.values.length);
  for (const other of all) {
    const places = new Map(other.vnis.map((vni, i) => [vni, i + 1]));
    for (const [row, from] of [0, ...vnis.map((vni) => places.get(vni) ?? -1)].entries())
      for (let i = 0; from >= 0 && i < size; i++) values[row * size + i]! += other.values[from * size + i]!;
  }
  return { vnis, values };
}

type Listed = FdbListing & { vni: number };

/** The part of a worker that listings need. */
export interface Lister {
  pages(request: ListRequest): AsyncIterable<Page>;
  find(entries: readonly Listed[]): Promise<(FdbListing | null)[]>;
}

/**
 * Lists each address once, with the entry of the worker that saw it last. The first worker that has an address puts it
 * into its pages; for each page, the other workers look up the page's addresses. At most one page is in memory.
 */
export async function* gatherFdb(workers: readonly Lister[], request: ListRequest): AsyncGenerator<Page> {
  for (const [i, worker] of workers.entries())
    for await (const { result } of worker.pages(request)) {
      const entries = result as readonly Listed[];
      if (entries.length === 0) continue;
      const found = await Promise.all(workers.map((other) => (other === worker ? null : other.find(entries))));
      const isFirst = (at: number): boolean => found.slice(0, i).every((others) => others![at] === null);
      const all = (at: number): FdbListing[] => found.flatMap((others) => others?.[at] ?? []);
      yield {
        result: entries.flatMap((entry, at) =>
          isFirst(at) ? [{ ...all(at).reduce(latest, entry as FdbListing), vni: entry.vni }] : [],
        ),
      };
    }
  yield { result: [], last: true };
}

function latest(one: FdbListing, other: FdbListing): FdbListing {
  return !one.static && (other.static || other.age < one.age) ? other : one;
}

/** Lists each remote once, with the smallest path MTU of all workers and the sum of their undelivered datagrams. */
export async function* gatherRemotes(workers: readonly Lister[], request: ListRequest): AsyncGenerator<Page> {
  const remotes = new Map<string, RemoteListing>();
  for (const worker of workers)
    for await (const { result } of worker.pages(request))
      for (const one of result as readonly RemoteListing[]) {
        const known = remotes.get(one.address);
        const isNarrower = one.mtu !== null && (known === undefined || known.mtu === null || one.mtu < known.mtu);
        const { mtu, from, age } = isNarrower || known === undefined ? one : known;
        remotes.set(one.address, {
          ...one,
          ...(from === undefined ? { mtu } : { mtu, from, age: age ?? null }),
          ...(one.probes === undefined ? {} : { probes: one.probes ?? known?.probes ?? null }),
          undelivered: one.undelivered + (known?.undelivered ?? 0),
          reason: one.reason || (known?.reason ?? ''),
        });
      }
  yield* pagesOf(remotes.values());
}
