/**
 * Clusters with loss, delay, duplicates, reordering, replayed packets, asymmetric cuts, partitions, clocks of different
 * rates, and processes that crash, freeze, and return with or without their state. After every quiet time all tables
 * are equal. (support/seeds.ts says how to run a single seed.)
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Clock, Random } from '../src/sim/index.js';
import { GossipLab, type LabHost } from './support/gossip-lab.js';
import { scenario, settle, simulate, type Log } from './support/seeds.js';
import { anyLink, Weather } from './support/weather.js';

const MINUTE = 60_000;
const NETWORKS = [
  { id: 'net-aaaaaaaaaaaaaaaaaaaa1', vni: 4097 },
  { id: 'net-aaaaaaaaaaaaaaaaaaaa2', vni: 4098 },
];

/** Applies a random event to a host or its endpoints. */
function turn(lab: GossipLab, random: Random, names: { next: number }, log: Log): void {
  const host = random.pick(lab.hosts);
  const network = random.pick(NETWORKS).id;
  const { process, address } = host;
  const note = (what: string): void => log(`${lab.clock.now.toFixed(0)} ${address} ${what}`);
  const what = random.integer(9);
  if (what < 4) {
    // Few ids, so that endpoints come back and move.
    const number = random.integer(12);
    const id = `endpoint-${number}`;
    if (lab.hosts.some(({ endpoints }) => endpoints.get(network)?.has(id) === true)) return;
    const mac = `02:42:0a:00:0${random.integer(2)}:${String(number).padStart(2, '0')}`;
    note(`has ${id} in ${network}`);
    host.add(network, id, { ip: `10.0.${random.integer(2)}.${number + 2}/24`, mac });
  } else if (what < 7) {
    const ids = [...(host.endpoints.get(network)?.keys() ?? [])];
    if (ids.length === 0) return;
    const id = random.pick(ids);
    note(`has ${id} in ${network} no more`);
    host.remove(network, id);
  } else if (what === 7 && process !== null) {
    note(process.frozen ? 'goes on' : 'freezes');
    process.freeze(!process.frozen);
  } else if (process === null) {
    // With its endpoints or without; without, they must disappear everywhere.
    if (random.chance(0.3)) host.endpoints.clear();
    boot(host, random, names);
    note(`starts as ${host.process!.name}`);
  } else {
    const farewell = random.chance(0.3);
    note(farewell ? 'leaves' : 'crashes');
    if (farewell) process.db.close(process.now);
    host.crash();
  }
}

/** Starts a process, under the host's previous name or a new one. */
function boot(host: LabHost, random: Random, names: { next: number }): void {
  host.boot(random.chance(0.5) ? `node-${host.address}` : `node-${names.next++}`);
}

/** A cluster with two times of random events, each followed by a quiet time. */
function run(seed: number, log: Log): string[] {
  const random = new Random(seed);
  const clock = new Clock();
  const link = anyLink(random);
  log(JSON.stringify(link));
  const lab = new GossipLab(clock, random, NETWORKS, 2 + random.integer(5), link);
  const weather = new Weather(lab.network, random.fork(), log);
  lab.received = (datagram) => weather.received(datagram);
  const addresses = lab.hosts.map(({ address }) => address);
  const names = { next: 1 };
  for (const host of lab.hosts) boot(host, random, names);
  for (let round = 0; round < 2; round++) {
    for (const { node } of lab.hosts) node.link.set(link);
    for (let turns = 10 + random.integer(50); turns > 0; turns--) {
      clock.advance(random.integer(4000));
      if (random.chance(0.3)) weather.mishap(addresses);
      else turn(lab, random, names, log);
    }
    weather.calm();
    log(`${clock.now.toFixed(0)} quiet`);
    for (const host of lab.hosts) {
      host.process?.freeze(false);
      if (host.process === null && random.chance(0.7)) boot(host, random, names);
    }
    const found = settle(clock, () => lab.findings(), 5 * MINUTE, 35_000);
    if (found.length > 0) return [`after round ${round}`, ...found];
  }
  if (seed % 8 !== 0) return [];
  // Tombstones expire: no entry may come back, and only the entries may remain.
  clock.advance(40 * MINUTE);
  const found = lab.findings();
  for (const { process } of lab.hosts) {
    if (process === null) continue;
    const shown = NETWORKS.reduce((sum, { id }) => sum + process.db.entries(id).length, 0);
    const { entries, queued } = process.db.counters();
    if (entries !== shown) found.push(`${process.name} keeps ${entries} entries, and shows ${shown}`);
    // Without other nodes, events wait for one to join.
    const alone = process.db.networks().some(({ network }) => process.db.peers(network).length === 1);
    if (queued !== 0 && !alone && process.db.nodes().some(({ state }) => state === 'active'))
      found.push(`${process.name} still gossips ${queued} messages`);
  }
  return found.length > 0 ? ['after the tombstones', ...found] : [];
}

simulate({
  file: 'test/networkdb-sim.test.ts',
  holds: 'all tables are equal after every quiet time',
  count: 300,
  run,
});

scenario('the same seed runs the same way', () => {
  const trace = (): string => {
    const random = new Random(4);
    const clock = new Clock();
    const lab = new GossipLab(clock, random, NETWORKS, 4, { loss: 0.2, jitter: 50 });
    for (const host of lab.hosts) boot(host, random, { next: 1 });
    for (let turns = 60; turns > 0; turns--) {
      clock.advance(1000);
      turn(lab, random, { next: 9 }, () => undefined);
    }
    return JSON.stringify(lab.hosts.map(({ process }) => process?.db.counters()));
  };
  assert.is(trace(), trace());
});

test.run();
