/** Merging the answers of several workers. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { addCounts, gatherCounts, gatherFdb, gatherRemotes, type Lister } from '../src/host/linux/gather.js';
import { type Page } from '../src/host/pages.js';
import { Frame, namedCounters, Vtep, type FdbListing } from '../src/vtep/index.js';

type Entry = FdbListing & { vni: number };

/** A worker with these entries, two per page. */
function worker(entries: readonly (Entry | object)[]): Lister {
  return {
    async *pages() {
      for (let i = 0; i < entries.length; i += 2) yield { result: entries.slice(i, i + 2) };
      yield { result: [], last: true };
    },
    find: async (wanted) =>
      wanted.map(({ vni, mac }) => {
        const found = (entries as Entry[]).find((entry) => entry.vni === vni && entry.mac === mac);
        return found === undefined ? null : { ...found, vni: undefined };
      }),
  };
}

async function all(pages: AsyncIterable<Page>): Promise<unknown[]> {
  const entries: unknown[] = [];
  for await (const { result, last } of pages) {
    entries.push(...result);
    if (last === true) return entries;
  }
  throw new Error('the pages have no end');
}

test('counts are added up, by segment and by reason', () => {
  assert.equal(
    addCounts([Float64Array.of(1, 2), Float64Array.of(10, 20), Float64Array.of(100, 0)]),
    Float64Array.of(111, 22),
  );
  const machine = (datagrams: number): Vtep => {
    const vtep = new Vtep();
    for (const vni of [1, 2]) vtep.addSegment({ vni });
    const sink = { deliver: () => undefined, transmit: () => undefined };
    // VXLAN headers of VNI 2, without a frame behind them.
    for (let i = 0; i < datagrams; i++)
      vtep.receiveDatagram('192.0.2.1', new Frame(Uint8Array.of(8, 0, 0, 0, 0, 0, 2, 0)), 0, 0, sink);
    return vtep;
  };
  const sum = namedCounters(gatherCounts([machine(1), machine(2), machine(4)].map((vtep) => vtep.counts())));
  assert.equal(JSON.parse(JSON.stringify(sum)), JSON.parse(JSON.stringify(machine(7).counters())));
  assert.equal([sum.drops['frame-truncated'], sum.segments[1]!.drops['frame-truncated']], [7, 7]);
});

test('an address is listed once, with its latest sighting', async () => {
  const entry = (mac: string, age: number, vtep: string, fixed = false, vni = 1): Entry => ({
    mac,
    static: fixed,
    age,
    port: null,
    vtep,
    vni,
  });
  const workers = [
    worker([entry('a', 100, 'x'), entry('b', 0, 'x', true), entry('c', 7, 'x')]),
    worker([entry('b', 0, 'y'), entry('a', 50, 'y'), entry('a', 900, 'z', false, 2)]),
    worker([entry('a', 70, 'z'), entry('d', 1, 'z'), entry('a', 800, 'z', false, 2)]),
  ];
  assert.equal(await all(gatherFdb(workers, { command: 'fdb' })), [
    entry('a', 50, 'y'),
    entry('b', 0, 'x', true),
    entry('c', 7, 'x'),
    entry('a', 800, 'z', false, 2),
    entry('d', 1, 'z'),
  ]);
});

test('a remote is listed once, with the smallest path MTU and the reports of all workers', async () => {
  const remote = (mtu: number | null, undelivered: number, reason = '') => ({
    address: '192.0.2.1',
    port: 4789,
    mtu,
    undelivered,
    reason,
  });
  const gathered = (...remotes: object[]): Promise<unknown[]> =>
    all(
      gatherRemotes(
        remotes.map((one) => worker([one])),
        { command: 'remotes' },
      ),
    );
  assert.equal(await gathered(remote(null, 1, 'ECONNREFUSED'), remote(1350, 0), remote(1400, 2)), [
    remote(1350, 3, 'ECONNREFUSED'),
  ]);
  assert.equal(await gathered(remote(null, 0), remote(null, 0)), [remote(null, 0)]);
});

test.run();
