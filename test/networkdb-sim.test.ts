/**
 * Clusters under weather: loss, delay, duplicates, disorder, asymmetric cuts, partitions, clocks at different rates,
 * processes that crash, freeze, return with what they knew or without. After every quiet time all tables are equal.
 *
 *     WEFT_SEED=17 node --import tsx test/networkdb-sim.test.ts     one seed
 *     WEFT_SEEDS=5000 node --import tsx test/networkdb-sim.test.ts  seeds 1 to 5000
 */
import { performance } from 'node:perf_hooks';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Clock, Random } from '../src/sim/index.js';
import { GossipLab, type LabHost } from './support/gossip-lab.js';

const MINUTE = 60_000;
const NETWORKS = [
  { id: 'net-aaaaaaaaaaaaaaaaaaaa1', vni: 4097 },
  { id: 'net-aaaaaaaaaaaaaaaaaaaa2', vni: 4098 },
];

/** One turn of misfortune, or of ordinary life. */
function mishap(lab: GossipLab, random: Random, names: { next: number }): void {
  const host = random.pick(lab.hosts);
  const other = random.pick(lab.hosts);
  const network = random.pick(NETWORKS).id;
  const { process } = host;
  switch (random.integer(12)) {
    case 0:
    case 1:
    case 2:
    case 3: {
      // Few ids, so that endpoints come back and move.
      const number = random.integer(12);
      const id = `endpoint-${number}`;
      if (lab.hosts.some(({ endpoints }) => endpoints.get(network)?.has(id) === true)) return;
      const mac = `02:42:0a:00:0${random.integer(2)}:0${number % 10}`;
      return host.add(network, id, { ip: `10.0.${random.integer(2)}.${number + 2}/24`, mac });
    }
    case 4:
    case 5:
    case 6: {
      const ids = [...(host.endpoints.get(network)?.keys() ?? [])];
      return ids.length > 0 ? host.remove(network, random.pick(ids)) : undefined;
    }
    case 7:
      return lab.network.cut(host.address, other.address);
    case 8: {
      const sides: [string[], string[]] = [[], []];
      for (const { address } of lab.hosts) sides[random.integer(2)]!.push(address);
      return lab.network.partition(...sides);
    }
    case 9:
      return lab.network.heal();
    case 10:
      if (process === null) return void boot(host, random, names);
      if (random.chance(0.3)) process.db.close(process.now);
      return host.crash();
    case 11:
      return process?.freeze(!process.frozen);
  }
}

/** Starts a process, under the name that the host had before or a new one. */
function boot(host: LabHost, random: Random, names: { next: number }): void {
  host.boot(random.chance(0.5) ? `node-${host.address}` : `node-${names.next++}`);
}

/** Runs a seed and says what was wrong. */
function run(seed: number): string[] {
  const random = new Random(seed);
  const clock = new Clock();
  const link = {
    latency: 1 + random.integer(50),
    jitter: random.integer(100),
    loss: random.pick([0, 0.05, 0.3]),
    duplicate: random.pick([0, 0.2]),
    reorder: random.pick([0, 0.2]),
    reorderDelay: 500,
  };
  const lab = new GossipLab(clock, random, NETWORKS, 2 + random.integer(5), link);
  const names = { next: 1 };
  for (const host of lab.hosts) boot(host, random, names);
  for (let round = 0; round < 2; round++) {
    for (let turns = 10 + random.integer(50); turns > 0; turns--) {
      clock.advance(random.integer(4000));
      mishap(lab, random, names);
    }
    lab.network.heal();
    for (const host of lab.hosts) {
      host.process?.freeze(false);
      if (host.process === null && random.chance(0.7)) boot(host, random, names);
    }
    clock.advance(5 * MINUTE);
    const found = lab.findings();
    if (found.length > 0) return [`after round ${round}`, ...found];
  }
  if (seed % 4 !== 0) return [];
  // Tombstones are forgotten; nothing may come back, and nothing but the entries may be left.
  clock.advance(40 * MINUTE);
  const found = lab.findings();
  for (const { process } of lab.hosts) {
    if (process === null) continue;
    const shown = NETWORKS.reduce((sum, { id }) => sum + process.db.entries(id).length, 0);
    const { entries, queued } = process.db.counters();
    if (entries !== shown) found.push(`${process.name} keeps ${entries} entries, and shows ${shown}`);
    // Where nobody else is, events wait for one who comes.
    const alone = process.db.networks().some(({ network }) => process.db.peers(network).length === 1);
    if (queued !== 0 && !alone && process.db.nodes().some(({ state }) => state === 'active'))
      found.push(`${process.name} still gossips ${queued} messages`);
  }
  return found.length > 0 ? ['after the tombstones', ...found] : [];
}

const single = process.env['WEFT_SEED'];
const count = Number(process.env['WEFT_SEEDS'] ?? 200);
const seeds = single !== undefined ? [Number(single)] : Array.from({ length: count }, (_, i) => i + 1);

test(`${seeds.length} seeds: all tables are equal after every quiet time`, () => {
  const started = performance.now();
  const failed: string[] = [];
  for (const seed of seeds) {
    let found: string[];
    try {
      found = run(seed);
    } catch (error) {
      found = [error instanceof Error ? (error.stack ?? error.message) : String(error)];
    }
    if (found.length === 0) continue;
    failed.push(
      `seed ${seed}: WEFT_SEED=${seed} node --import tsx test/networkdb-sim.test.ts\n  ${found.join('\n  ')}`,
    );
    if (failed.length === 5) break;
  }
  console.log(`${seeds.length} seeds in ${((performance.now() - started) / 1000).toFixed(1)} s`);
  assert.is(failed.length, 0, failed.join('\n'));
});

test('the same seed runs the same way', () => {
  const trace = (): string => {
    const random = new Random(4);
    const clock = new Clock();
    const lab = new GossipLab(clock, random, NETWORKS, 4, { loss: 0.2, jitter: 50 });
    for (const host of lab.hosts) boot(host, random, { next: 1 });
    for (let turn = 0; turn < 60; turn++) {
      clock.advance(1000);
      mishap(lab, random, { next: 9 });
    }
    return JSON.stringify(lab.hosts.map(({ process }) => process?.db.counters()));
  };
  assert.is(trace(), trace());
});

test.run();
