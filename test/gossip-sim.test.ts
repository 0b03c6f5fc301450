/**
 * NetworkDB on memberlist: both machines in one simulation, connected as a host connects them, encrypted or not, each
 * process with its own clock. Processes crash, pause, leave and return, with or without their state, under old or new
 * names; the network drops, duplicates and replays packets, and is cut; keys are rotated. After every quiet time all
 * members see each other, and all tables are equal. (support/seeds.ts says how to run a single seed.)
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { NetworkDb, OverlayPeers } from '../src/gossip/networkdb/index.js';
import { aesGcm } from '../src/host/index.js';
import { Random } from '../src/sim/index.js';
import { PORT, SimCluster, type SimMember } from './support/gossip.js';
import { cheapAead, Keys } from './support/keys.js';
import { scenario, settle, simulate, type Log } from './support/seeds.js';
import { nameOf, RecordingVtep } from './support/recording-vtep.js';
import { anyLink, Weather } from './support/weather.js';

const NETWORK = 'net-aaaaaaaaaaaaaaaaaaaaa';
const VNI = 4097;
const MINUTE = 60_000;

/** A host: a memberlist member, its tables, and the VTEP that they feed. */
class Host {
  readonly member: SimMember;
  /** Endpoints of this host: addresses by id. */
  readonly local = new Map<string, string>();
  vtep!: RecordingVtep;
  db!: NetworkDb;
  overlay!: OverlayPeers;
  #cancel = (): void => {};
  #leaving = false;
  readonly #cluster: SimCluster;

  constructor(cluster: SimCluster, name: string) {
    this.#cluster = cluster;
    // The machine of the current process, which memberlist calls.
    this.member = cluster.add(name, {
      receive: (message, now) => this.db.receive(message, now),
      broadcasts: (overhead, limit) => this.db.broadcasts(overhead, limit),
      localState: (join, now) => this.db.localState(join, now),
      mergeState: (state, now) => this.db.mergeState(state, now),
      nodeJoined: (member, now) => this.db.nodeJoined(member, now),
      nodeLeft: (node, now) => this.db.nodeLeft(node, now),
    });
  }

  get name(): string {
    return this.member.name;
  }

  get address(): string {
    return this.member.address;
  }

  /** Whether its process runs and is not paused. */
  get up(): boolean {
    return this.member.running && !this.member.paused && !this.#leaving;
  }

  /** Starts a new process, which knows only the endpoints of this host. */
  start(others: readonly Host[], name = this.name): void {
    const { clock } = this.#cluster;
    const random = this.#cluster.random.fork();
    this.#leaving = false;
    if (!this.member.running) this.member.restart(name);
    this.vtep = new RecordingVtep(name);
    this.db = new NetworkDb(
      {
        name,
        random: () => random.float(),
        bootstrap: others.map(({ address }) => ({ address, port: PORT })),
      },
      this.member.machine,
    );
    this.overlay = new OverlayPeers({ network: NETWORK, vni: VNI, local: this.address }, this.db, this.vtep);
    this.member.join(...others.map(({ member }) => member));
    this.act((now) => {
      this.db.start(now);
      for (const [id, ip] of this.local) this.overlay.addLocal({ id, ip, mac: macOf(ip) }, now);
    });
    this.#cancel = clock.every(200, () => this.up && this.act((now) => this.db.tick(now)));
  }

  act(what: (now: number) => void): void {
    this.member.act((_, now) => what(now));
  }

  /** Stops without leaving. */
  kill(): void {
    this.#cancel();
    this.member.kill();
  }

  /** Leaves, and stops once others have received it. */
  leave(): void {
    this.act((now) => this.db.close(now));
    this.#cancel();
    this.#leaving = true;
    this.member.leave();
  }

  add(id: string, ip: string): void {
    this.local.set(id, ip);
    if (this.up) this.act((now) => this.overlay.addLocal({ id, ip, mac: macOf(ip) }, now));
  }

  remove(id: string): void {
    this.local.delete(id);
    if (this.up) this.act((now) => this.overlay.removeLocal(id, now));
  }
}

const macOf = (ip: string): string =>
  `02:42:0a:00:00:${Number(/(\d+)\//.exec(ip)![1])
    .toString(16)
    .padStart(2, '0')}`;

/** Errors: all running members must see each other, and every VTEP must know exactly their endpoints. */
function findings(cluster: SimCluster, hosts: readonly Host[]): string[] {
  const found = cluster.disagreements();
  const running = hosts.filter(({ member }) => member.running);
  const attached = running.filter(({ local }) => local.size > 0);
  for (const host of running) {
    const { db, vtep, member, name } = host;
    const say = (what: string, is: Iterable<string>, should: Iterable<string>): void => {
      const [has, not] = [[...is].sort().join('; '), [...should].sort().join('; ')];
      if (has !== not) found.push(`${name}: ${what}: ${has}\n      and not ${not}`);
    };
    const here = host.local.size > 0;
    const others = here ? attached.filter((other) => other !== host) : [];
    const endpoints = others.flatMap(({ local, address }) =>
      [...local.values()].map((ip) => nameOf({ ip: ip.split('/')[0]!, mac: macOf(ip), vtep: address })),
    );
    say('endpoints', vtep.endpoints, endpoints);
    say('flood list', vtep.flood, new Set(others.map(({ address }) => address)));
    say(
      'entries',
      db.entries(NETWORK).map(({ key, owner }) => `${key} of ${owner}`),
      here ? attached.flatMap(({ local, name: owner }) => [...local.keys()].map((key) => `${key} of ${owner}`)) : [],
    );
    say(
      'attached',
      db.peers(NETWORK),
      attached.map((other) => other.name),
    );
    const { malformed } = member.machine.counters();
    if (malformed > 0) found.push(`${name}: ${malformed} messages that it could not read`);
  }
  return found;
}

/** A cluster with two times of random events, each followed by a quiet time. */
function run(seed: number, log: Log): string[] {
  const random = new Random(seed);
  const link = anyLink(random);
  const encrypted = random.chance(0.7);
  const cluster: SimCluster = new SimCluster(
    seed,
    link,
    { compressed: random.chance(0.2) },
    { skewed: true, ...(encrypted ? { security: (member) => keys.security(member) } : {}) },
  );
  const weather = new Weather(cluster.network, random.fork(), log);
  const keys: Keys = new Keys(cluster, random.fork(), seed % 10 === 0 ? aesGcm : cheapAead, () => weather.forget());
  cluster.received = (datagram) => weather.received(datagram);
  log(JSON.stringify(link));
  const hosts = Array.from({ length: 2 + random.integer(4) }, (_, i) => new Host(cluster, `host-${i}`));
  const addresses = hosts.map(({ address }) => address);
  const others = (host: Host): Host[] => hosts.filter((other) => other !== host);
  for (const [i, host] of hosts.entries()) {
    host.start(others(host));
    if (random.chance(0.6)) host.add(`endpoint-${i + 2}`, `10.0.0.${i + 2}/24`);
  }
  for (let round = 0; round < 2; round++) {
    for (const { node } of hosts.map(({ member }) => member)) node.link.set(link);
    for (let turns = 10 + random.integer(20); turns > 0; turns--) {
      cluster.clock.advance(random.integer(5000));
      if (encrypted && random.chance(0.1)) keys.rotate();
      if (random.chance(0.35)) weather.mishap(addresses);
      else turn(random.pick(hosts), hosts, random, log);
    }
    weather.calm();
    log(`${cluster.clock.now.toFixed(0)} quiet`);
    for (const host of hosts) {
      host.member.resume();
      if (!host.member.running && random.chance(0.7)) host.start(others(host));
    }
    const found = settle(cluster.clock, () => findings(cluster, hosts), 5 * MINUTE, 35_000);
    if (found.length > 0) return [`after round ${round}`, ...found];
  }
  if (seed % 32 !== 0) return [];
  cluster.clock.advance(40 * MINUTE); // tombstones expire, and no entry may come back
  const found = findings(cluster, hosts);
  return found.length > 0 ? ['after the tombstones', ...found] : [];
}

/** Applies a random event to a host or its endpoints. */
function turn(host: Host, hosts: readonly Host[], random: Random, log: Log): void {
  const what = random.integer(12);
  const { member } = host;
  const say = (line: string): void => log(`${member.clock.now.toFixed(0)} ${line}`);
  if (what < 4) {
    // Few ids, so that endpoints come back, and move.
    const number = 2 + random.integer(12);
    const id = `endpoint-${number}`;
    if (!host.up || hosts.some(({ local }) => local.has(id))) return;
    say(`${host.name} has ${id}`);
    host.add(id, `10.0.0.${number}/24`);
  } else if (what < 7) {
    if (host.local.size === 0 || (member.running && !host.up)) return;
    const id = random.pick([...host.local.keys()]);
    say(`${host.name} has ${id} no more`);
    host.remove(id);
  } else if (what < 9) {
    if (!host.up && !member.paused) return;
    say(`${host.name} ${host.up ? 'pauses' : 'goes on'}`);
    if (host.up) member.pause();
    else member.resume();
  } else if (what === 9 && host.up) {
    say(`${host.name} leaves`);
    host.leave();
  } else if (member.running) {
    if (!host.up) return;
    say(`${host.name} is killed`);
    host.kill();
  } else {
    // With its endpoints or without; without, they must disappear everywhere.
    if (random.chance(0.3)) host.local.clear();
    const name = random.chance(0.3) ? `${host.name.split('.')[0]}.${member.clock.now.toFixed(0)}` : host.name;
    say(`${name} starts with ${[...host.local.keys()].join()}`);
    host.start(
      hosts.filter((other) => other !== host),
      name,
    );
  }
}

simulate({
  file: 'test/gossip-sim.test.ts',
  holds: 'both machines together agree after every quiet time',
  count: 100,
  run,
});

scenario('an endpoint is known everywhere within a second, and not sent to a failed host', () => {
  const cluster = new SimCluster(1);
  const hosts = Array.from({ length: 10 }, (_, i) => new Host(cluster, `host-${i}`));
  for (const [i, host] of hosts.entries()) {
    host.start(hosts.slice(0, i));
    host.add(`e${i}`, `10.0.0.${i + 2}/24`);
  }
  cluster.clock.advance(60_000);
  assert.equal(findings(cluster, hosts), []);
  hosts[3]!.add('new', '10.0.0.99/24');
  cluster.clock.advance(1200);
  assert.equal(findings(cluster, hosts), []);
  hosts[3]!.remove('new');
  cluster.clock.advance(1200);
  assert.equal(findings(cluster, hosts), []);
  hosts[3]!.kill();
  cluster.clock.advance(30_000);
  assert.equal(findings(cluster, hosts), []);
  hosts[3]!.start(hosts.slice(0, 1));
  cluster.clock.advance(5000);
  assert.equal(findings(cluster, hosts), []);
});

test.run();
