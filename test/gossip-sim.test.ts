/**
 * NetworkDB on memberlist: both machines in one simulation, as a host joins them. Processes crash, pause and return under
 * their names, the network loses packets and is cut, and after every quiet time all tables are equal.
 *
 *     WEFT_SEED=17 node --import tsx test/gossip-sim.test.ts     one of the random ones
 */
import { performance } from 'node:perf_hooks';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { NetworkDb, OverlayPeers, type OverlayEndpoint } from '../src/gossip/networkdb/index.js';
import { Random } from '../src/sim/index.js';
import { PORT, SimCluster, type SimMember } from './support/gossip.js';

const NETWORK = 'net-aaaaaaaaaaaaaaaaaaaaa';
const VNI = 4097;

/** A host: a member of memberlist's, the tables on it, and what they tell its VTEP. */
class Host {
  readonly member: SimMember;
  readonly local = new Map<string, string>();
  readonly endpoints = new Set<string>();
  db!: NetworkDb;
  overlay!: OverlayPeers;
  #cancel = (): void => {};
  #paused = false;
  readonly #cluster: SimCluster;

  constructor(cluster: SimCluster, name: string) {
    this.#cluster = cluster;
    // The machine that runs at the time: memberlist calls what its process has.
    this.member = cluster.add(name, {
      receive: (message, now) => this.db.receive(message, now),
      broadcasts: (overhead, limit) => this.db.broadcasts(overhead, limit),
      localState: (join, now) => this.db.localState(join, now),
      mergeState: (state, now) => this.db.mergeState(state, now),
      nodeJoined: (member, now) => this.db.nodeJoined(member, now),
      nodeLeft: (node, now) => this.db.nodeLeft(node, now),
    });
  }

  get up(): boolean {
    return this.member.running && !this.#paused;
  }

  /** A new process, which knows nothing. */
  start(others: readonly Host[]): void {
    const { clock } = this.#cluster;
    const random = this.#cluster.random.fork();
    if (!this.member.running) this.member.restart();
    const { machine } = this.member;
    this.endpoints.clear();
    this.db = new NetworkDb(
      {
        name: this.member.name,
        random: () => random.float(),
        bootstrap: others.map(({ member }) => ({ address: member.address, port: PORT })),
      },
      machine,
    );
    const key = ({ ip, mac, vtep }: OverlayEndpoint): string => `${ip} ${mac} ${vtep}`;
    this.overlay = new OverlayPeers({ network: NETWORK, vni: VNI, local: this.member.address }, this.db, {
      addEndpoint: (_, one) => void this.endpoints.add(key(one)),
      removeEndpoint: (_, one) => this.endpoints.delete(key(one)),
      addPeer() {},
      removePeer() {},
    });
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

  kill(): void {
    this.#cancel();
    this.#paused = false;
    this.member.kill();
  }

  pause(paused: boolean): void {
    if (!this.member.running || paused === this.#paused) return;
    this.#paused = paused;
    if (paused) this.member.pause();
    else this.member.resume();
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

function findings(hosts: readonly Host[]): string[] {
  const running = hosts.filter((host) => host.up);
  return running.flatMap((host) => {
    const wanted = running
      .filter((other) => other !== host && host.local.size > 0)
      .flatMap(({ local, member }) =>
        [...local.values()].map((ip) => `${ip.split('/')[0]} ${macOf(ip)} ${member.address}`),
      );
    const [has, not] = [[...host.endpoints].sort().join(), wanted.sort().join()];
    return has === not ? [] : [`${host.member.name} has ${has}, not ${not}`];
  });
}

function run(seed: number): string[] {
  const random = new Random(seed);
  const cluster = new SimCluster(seed, {
    latency: 1 + random.integer(20),
    jitter: random.integer(40),
    loss: random.pick([0, 0.05, 0.2]),
    duplicate: 0.05,
    reorder: 0.1,
  });
  const hosts = Array.from({ length: 2 + random.integer(4) }, (_, i) => new Host(cluster, `host-${i}`));
  const others = (host: Host): Host[] => hosts.filter((other) => other !== host);
  for (const host of hosts) host.start(others(host));
  let number = 2;
  for (let round = 0; round < 2; round++) {
    for (let turns = 10 + random.integer(20); turns > 0; turns--) {
      cluster.clock.advance(random.integer(5000));
      const host = random.pick(hosts);
      const what = random.integer(10);
      if (what < 3) {
        host.pause(false);
        host.add(`endpoint-${number}`, `10.0.0.${number++}/24`);
      } else if (what < 5 && host.up && host.local.size > 0) host.remove(random.pick([...host.local.keys()]));
      else if (what === 5) cluster.network.cut(host.member.address, random.pick(hosts).member.address);
      else if (what === 6) cluster.network.heal();
      else if (what === 7) host.pause(host.up);
      else if (what === 8 && host.member.running) host.kill();
      else if (what === 9 && !host.member.running) host.start(others(host));
    }
    cluster.network.heal();
    for (const host of hosts) {
      host.pause(false);
      if (!host.member.running && random.chance(0.7)) host.start(others(host));
    }
    cluster.clock.advance(5 * 60_000);
    const found = findings(hosts);
    if (found.length > 0) return [`after round ${round}`, ...found, ...cluster.disagreements()];
  }
  return [];
}

const single = process.env['WEFT_SEED'];
const count = Number(process.env['WEFT_SEEDS'] ?? 20);
const seeds = single !== undefined ? [Number(single)] : Array.from({ length: count }, (_, i) => i + 1);

test(`${seeds.length} seeds: both machines together agree after every quiet time`, () => {
  const started = performance.now();
  const failed: string[] = [];
  for (const seed of seeds) {
    const found = run(seed);
    if (found.length > 0)
      failed.push(`seed ${seed}: WEFT_SEED=${seed} node --import tsx test/gossip-sim.test.ts\n  ${found.join('\n  ')}`);
  }
  console.log(`${seeds.length} seeds in ${((performance.now() - started) / 1000).toFixed(1)} s`);
  assert.is(failed.length, 0, failed.join('\n'));
});

test('an endpoint is known everywhere within a second, and a failed host is not told to', () => {
  const cluster = new SimCluster(1);
  const hosts = Array.from({ length: 10 }, (_, i) => new Host(cluster, `host-${i}`));
  for (const [i, host] of hosts.entries()) {
    host.start(hosts.slice(0, i));
    host.add(`e${i}`, `10.0.0.${i + 2}/24`);
  }
  cluster.clock.advance(60_000);
  assert.equal(findings(hosts), []);
  hosts[3]!.add('new', '10.0.0.99/24');
  cluster.clock.advance(1200);
  assert.equal(findings(hosts), []);
  hosts[3]!.remove('new');
  cluster.clock.advance(1200);
  assert.equal(findings(hosts), []);
  hosts[3]!.kill();
  cluster.clock.advance(30_000);
  assert.equal(findings(hosts), []);
  hosts[3]!.start(hosts.slice(0, 1));
  cluster.clock.advance(5000);
  assert.equal(findings(hosts), []);
});

test.run();
