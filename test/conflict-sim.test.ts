/**
 * Conflicting hosts: one address on two of them, or different VNIs or subnets for the same network; and endpoints that two
 * hosts have, which are where they were attached last. After every quiet time all hosts have the same view: announced
 * endpoints do not conflict with each other, each waiting one conflicts with an announced one, all list the same conflicts,
 * and each has in effect what the rule says of the announced ones. (support/seeds.ts says how to run a single seed.)
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { OVERLAY_PEER_TABLE, PEER_TABLE6, peerRecord, type OverlayConflict } from '../src/gossip/networkdb/index.js';
import { peerExtension } from '../src/gossip/networkdb/records.js';
import { Clock, Random, type LinkOptions } from '../src/sim/index.js';
import { GossipLab, type LabHost } from './support/gossip-lab.js';
import { naiveEffect } from './support/naive-rule.js';
import { scenario, settle, simulate, type Log } from './support/seeds.js';
import { anyLink, Weather } from './support/weather.js';

const MINUTE = 60_000;
const NET = 'net-aaaaaaaaaaaaaaaaaaaa1';
const VNI = 4097;
const OTHER_VNI = 5000;
/** Reading of the clocks at time 0. */
const EPOCH = 1_700_000_000_000;

interface Wish {
  host: LabHost;
  id: string;
  ip: string;
  mac: string;
  vni: number;
  subnet: string;
}

const running = (lab: GossipLab): LabHost[] => lab.hosts.filter(({ process }) => process !== null && !process.frozen);

/** All endpoints of hosts whose process runs. */
function wishes(lab: GossipLab): Wish[] {
  return running(lab).flatMap((host) =>
    [...(host.endpoints.get(NET) ?? [])].map(([id, { ip, mac, subnet: subnet6 }]) => {
      const [address, length] = ip.split('/') as [string, string];
      const subnet = subnet6 ?? `${address.split('.').slice(0, 3).join('.')}.0/${length}`;
      return { host, id, ip: address, mac, vni: host.vnis.get(NET) ?? VNI, subnet };
    }),
  );
}

function contradict(a: Wish, b: Wish): boolean {
  if (a.host === b.host || isSame(a, b)) return false;
  if (a.ip === b.ip || a.mac === b.mac) return true;
  const known = a.host.time !== undefined && b.host.time !== undefined;
  return known && (a.vni !== b.vni || a.subnet !== b.subnet);
}

/** Whether two hosts have the same endpoint. */
function isSame(a: Wish, b: Wish): boolean {
  return a.ip === b.ip && a.mac === b.mac;
}

const conflictText = ({ kind, value, holds, holder, refused }: OverlayConflict): string =>
  `${kind} ${value}: ${holder.node} has ${holds}, not ${refused.node}`;

/** Errors, from the hosts' endpoints and their views alone. */
function findings(lab: GossipLab): string[] {
  const found: string[] = [];
  const all = wishes(lab);
  const attached = running(lab).filter(({ endpoints }) => endpoints.has(NET));
  const views = attached.map((host) => {
    const entries = [OVERLAY_PEER_TABLE, PEER_TABLE6].flatMap((table) => host.process!.db.entries(NET, table));
    return {
      host,
      text: entries
        .map(({ key, owner }) => `${key} of ${owner}`)
        .sort()
        .join('; '),
    };
  });
  for (const { host, text } of views)
    if (text !== views[0]!.text)
      found.push(`${host.address} sees ${text}\n  and ${attached[0]!.address} ${views[0]!.text}`);
  if (views.length === 0 || found.length > 0) return found;
  const holds = new Set(views[0]!.text.split('; '));
  const announced = all.filter(({ host, id }) => holds.has(`${id} of ${host.process!.name}`));
  if (announced.length !== (views[0]!.text === '' ? 0 : holds.size))
    found.push(`entries without a host: ${views[0]!.text}`);
  const waiting = all.filter((wish) => !announced.includes(wish));
  const name = ({ host, ip, mac }: Wish): string => `${ip} ${mac} ${host.address}`;
  const records = announced.map((wish) => ({ ...wish, vtep: wish.host.address, since: sinceOf(attached[0]!, wish) }));
  const effective = naiveEffect(records);
  for (const wish of effective)
    for (const other of effective)
      if (contradict(wish, other)) found.push(`${name(wish)} and ${name(other)} both hold`);
  for (const wish of announced)
    if (!effective.some((other) => isSame(wish, other))) found.push(`${name(wish)} is in effect nowhere`);
  for (const wish of waiting)
    if (!announced.some((other) => contradict(wish, other) || isSame(wish, other)))
      found.push(`${name(wish)} waits without a conflict`);
  const conflicts = attached.map(({ process }) =>
    process!.overlay(NET).conflicts().map(conflictText).sort().join('; '),
  );
  for (const [i, { address, process, endpoints }] of attached.entries()) {
    if (conflicts[i] !== conflicts[0]) found.push(`${address} lists ${conflicts[i]}\n  and not ${conflicts[0]}`);
    const reported = [...process!.vteps.get(VNI)!.endpoints].sort().join('; ');
    const own = all.filter(({ host, id }) => host.process === process && endpoints.get(NET)!.has(id));
    const reachable = effective.filter((wish) => own.every((one) => !differ(one, wish)));
    const remote = reachable.filter((wish) => wish.host.process !== process);
    const wanted = remote.map(name).sort().join('; ');
    if (reported !== wanted) found.push(`${address}: its VTEP knows ${reported}\n  and not ${wanted}`);
    if (reachable.length < effective.length) continue;
    const inEffect = process!.inEffect(NET).sort().join('; ');
    const rule = reachable.map(name).sort().join('; ');
    if (inEffect !== rule) found.push(`${address}: in effect is ${inEffect}\n  and not ${rule}`);
  }
  const moved = announced.filter((wish) => !effective.some(({ host, id }) => host === wish.host && id === wish.id));
  for (const { host } of [...waiting, ...moved])
    if (!conflicts[0]!.includes(`not ${host.process!.name}`)) found.push(`no conflict names ${host.address}`);
  if (waiting.length + moved.length === 0 && conflicts[0] !== '')
    found.push(`conflicts without a reason: ${conflicts[0]}`);
  return found;
}

/** The time of the record of an announced endpoint; 0 for none. */
function sinceOf({ process }: LabHost, { id, ip }: Wish): number {
  const { value } = process!.db.entry(NET, ip.includes(':') ? PEER_TABLE6 : OVERLAY_PEER_TABLE, id)!;
  const { unknown } = peerRecord.decode(value);
  return unknown === undefined ? 0 : peerExtension.decode(unknown).since;
}

/** Whether the records of two hosts' endpoints show different parameters of the network. */
function differ(a: Wish, b: Wish): boolean {
  return a.host.time !== undefined && b.host.time !== undefined && (a.vni !== b.vni || a.subnet !== b.subnet);
}

/** A wall clock: correct, or wrong by up to a year. */
function wallClock(clock: Clock, random: Random): () => number {
  const wrong = random.chance(0.3) ? (random.float() - 0.5) * 31_536_000_000 : random.integer(100);
  return () => Math.round(EPOCH + clock.now + wrong);
}

function turn(lab: GossipLab, random: Random, names: { next: number }, log: Log): void {
  const host = random.pick(lab.hosts);
  const { process, address } = host;
  const note = (what: string): void => log(`${lab.clock.now.toFixed(0)} ${address} ${what}`);
  const what = random.integer(9);
  if (what < 4) {
    // Few addresses, so that hosts conflict; ids are shared by several hosts or unique.
    const number = 2 + random.integer(5);
    const mac = `02:42:0a:00:00:0${random.chance(0.8) ? number : 2 + random.integer(5)}`;
    const subnet = `10.0.${host.vnis.get('subnet') ?? 0}.0/24`;
    const six = random.chance(0.3);
    const ip = six ? `fd00::${number}/128` : subnet.replace('.0/', `.${number}/`);
    const unique = `e${number}-${mac.at(-1)}${six ? '-6' : ''}`;
    const id = random.chance(0.8) ? `${unique}-${address}` : unique;
    if (host.endpoints.get(NET)?.has(id) === true) return;
    // A host has one MAC address per IP address.
    const isSame = (one: { ip: string; mac: string }): boolean =>
      one.ip === ip || (one.mac === mac && one.ip.includes(':') === six);
    if ([...(host.endpoints.get(NET)?.values() ?? [])].some(isSame)) return;
    note(`has ${id}: ${ip} ${mac}`);
    host.add(NET, id, six ? { ip, mac, subnet } : { ip, mac });
  } else if (what < 6) {
    const ids = [...(host.endpoints.get(NET)?.keys() ?? [])];
    if (ids.length === 0) return;
    const id = random.pick(ids);
    note(`has ${id} no more`);
    host.remove(NET, id);
  } else if (what === 6 && process !== null) {
    note(process.frozen ? 'goes on' : 'freezes');
    process.freeze(!process.frozen);
  } else if (process === null) {
    if (random.chance(0.3)) host.endpoints.clear();
    boot(host, random, names);
    note(`starts as ${host.process!.name}`);
  } else if (random.chance(0.5)) {
    const farewell = random.chance(0.3);
    note(farewell ? 'leaves' : 'crashes');
    if (farewell) process.db.close(process.now);
    host.crash();
  }
}

function boot(host: LabHost, random: Random, names: { next: number }): void {
  host.boot(random.chance(0.7) ? `node-${host.address}` : `node-${names.next++}`);
}

function run(seed: number, log: Log): string[] {
  const random = new Random(seed);
  const clock = new Clock();
  const link = anyLink(random);
  log(JSON.stringify(link));
  const lab = new GossipLab(clock, random, [{ id: NET, vni: VNI }], 2 + random.integer(4), link);
  const weather = new Weather(lab.network, random.fork(), log);
  lab.received = (datagram) => weather.received(datagram);
  const addresses = lab.hosts.map(({ address }) => address);
  const names = { next: 1 };
  for (const host of lab.hosts) {
    if (random.chance(0.85)) host.time = wallClock(clock, random);
    if (random.chance(0.1)) host.vnis.set(NET, OTHER_VNI);
    if (random.chance(0.1)) host.vnis.set('subnet', 1);
    boot(host, random, names);
  }
  for (let round = 0; round < 2; round++) {
    for (const { node } of lab.hosts) node.link.set(link);
    for (let turns = 10 + random.integer(40); turns > 0; turns--) {
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
    const found = settle(clock, () => findings(lab), 5 * MINUTE, 35_000);
    if (found.length > 0) return [`after round ${round}`, ...found];
  }
  return [];
}

simulate({
  file: 'test/conflict-sim.test.ts',
  holds: 'conflicting hosts agree after every quiet time',
  count: 150,
  run,
});

// ---- Scenarios ----

const MAC = '02:42:0a:00:00:05';
const OTHER_MAC = '02:42:0a:00:00:55';
const LINK: LinkOptions = { latency: 1 };

class Scene {
  readonly clock = new Clock();
  readonly lab: GossipLab;

  constructor(count: number) {
    this.lab = new GossipLab(this.clock, new Random(1), [{ id: NET, vni: VNI }], count, LINK);
    for (const host of this.lab.hosts) {
      host.time = () => EPOCH + this.clock.now;
      host.add(NET, `base-${host.address}`, {
        ip: `10.0.0.10${host.address.at(-1)}/24`,
        mac: `02:42:0a:00:01:0${host.address.at(-1)}`,
      });
    }
  }

  host(number: number): LabHost {
    return this.lab.hosts[number - 1]!;
  }

  boot(...numbers: number[]): void {
    for (const number of numbers) {
      const host = this.host(number);
      const endpoints = [...(host.endpoints.get(NET) ?? [])];
      host.endpoints.clear();
      host.boot(`node-${number}`);
      // Like a host: joins, or finds that it cannot, and then announces its endpoints.
      const until = this.clock.now + 1000;
      const add = (): void => {
        const joined = host.process!.db.known().length > 0;
        if (!joined && this.clock.now < until) return void this.clock.after(1, add);
        for (const [id, endpoint] of endpoints) host.add(NET, id, endpoint);
      };
      add();
    }
  }

  /** Gives a host the address 10.0.0.5, by default with a MAC address of its own. */
  claim(number: number, mac = `02:42:0a:00:05:0${number}`): void {
    this.host(number).add(NET, `e5-${number}`, { ip: '10.0.0.5/24', mac });
  }

  pass(milliseconds: number): void {
    for (let left = milliseconds; left > 0; left -= 1000) this.clock.advance(Math.min(left, 1000));
  }

  /** Where 10.0.0.5 is in effect on all running hosts. */
  holder(): string {
    const views = running(this.lab).map(({ process }) =>
      process!
        .inEffect(NET)
        .filter((one) => one.startsWith('10.0.0.5 '))
        .map((one) => one.split(' ')[2]!.split('.')[3])
        .join(' and '),
    );
    return [...new Set(views)].join(' or ');
  }

  conflicts(number: number): string[] {
    return this.host(number).process!.overlay(NET).conflicts().map(conflictText).sort();
  }
}

scenario('two hosts have one IP address: the older one wins everywhere, and all list the conflict', () => {
  const scene = new Scene(3);
  scene.boot(1, 2, 3);
  scene.claim(2);
  scene.pass(3000);
  scene.claim(1);
  scene.pass(3000);
  assert.is(scene.holder(), '2');
  for (const number of [1, 2, 3])
    assert.equal(scene.conflicts(number), ['ip 10.0.0.5: node-2 has 10.0.0.5, not node-1']);
  scene.host(1).remove(NET, 'e5-1');
  scene.pass(1000);
  assert.is(scene.holder(), '2');
  for (const number of [1, 2, 3]) assert.equal(scene.conflicts(number), []);
});

scenario('two hosts have one endpoint: it is where it was attached last, and returns when that one goes', () => {
  for (const wrong of [0, 1e11, -1e11]) {
    const scene = new Scene(3);
    scene.host(1).time = () => EPOCH + scene.clock.now + wrong;
    scene.boot(1, 2, 3);
    scene.claim(2, MAC);
    scene.pass(3000);
    scene.claim(1, MAC);
    scene.pass(3000);
    assert.is(scene.holder(), '1', 'whatever its clock shows');
    for (const number of [1, 2, 3])
      assert.equal(scene.conflicts(number), ['place 10.0.0.5: node-1 has 10.0.0.5, not node-2']);
    // The endpoint keeps its age: another one is younger, although it was attached before the move.
    scene.claim(3);
    scene.pass(3000);
    assert.is(scene.holder(), '1');
    scene.host(3).remove(NET, 'e5-3');
    scene.host(1).remove(NET, 'e5-1');
    scene.pass(1000);
    assert.is(scene.holder(), '2');
    for (const number of [1, 2, 3]) assert.equal(scene.conflicts(number), []);
  }
});

scenario('a host that has lost an endpoint to a newer place leaves it there when it restarts', () => {
  const scene = new Scene(3);
  scene.boot(1, 2, 3);
  scene.claim(1, MAC);
  scene.pass(2000);
  scene.claim(2, MAC);
  scene.pass(2000);
  scene.host(1).crash();
  scene.pass(1000);
  scene.boot(1);
  scene.pass(40_000);
  assert.is(scene.holder(), '2');
  scene.host(2).remove(NET, 'e5-2');
  scene.pass(2000);
  assert.is(scene.holder(), '1');
});

scenario('one MAC address with two IP addresses is a conflict on two hosts, but not on one', () => {
  const scene = new Scene(2);
  scene.boot(1, 2);
  scene.host(1).add(NET, 'a', { ip: '10.0.0.6/24', mac: MAC });
  scene.pass(2000);
  scene.host(1).add(NET, 'b', { ip: '10.0.0.7/24', mac: MAC });
  scene.host(2).add(NET, 'c', { ip: '10.0.0.8/24', mac: MAC });
  scene.pass(2000);
  for (const number of [1, 2]) assert.equal(scene.conflicts(number), [`mac ${MAC}: node-1 has ${MAC}, not node-2`]);
  const keys = scene
    .host(2)
    .process!.db.entries(NET, OVERLAY_PEER_TABLE)
    .map(({ key }) => key);
  assert.ok(keys.includes('a') && keys.includes('b') && !keys.includes('c'), keys.join());
});

scenario('waiting endpoints return within two seconds, the oldest first', () => {
  const scene = new Scene(4);
  scene.boot(1, 2, 3, 4);
  for (const number of [3, 4, 1, 2]) {
    scene.claim(number);
    scene.pass(2000);
  }
  assert.is(scene.holder(), '3');
  assert.is(scene.conflicts(2).length, 3);
  for (const [leaves, follows] of [
    [3, '4'],
    [4, '1'],
    [1, '2'],
  ] as const) {
    scene.host(leaves).remove(NET, `e5-${leaves}`);
    scene.pass(2000);
    assert.is(scene.holder(), follows);
  }
  assert.equal(scene.conflicts(4), []);
});

scenario('a moved endpoint is announced within two seconds, whichever host changes first', () => {
  const scene = new Scene(3);
  scene.boot(1, 2, 3);
  scene.claim(1, MAC);
  scene.pass(2000);
  scene.host(1).remove(NET, 'e5-1');
  scene.claim(2, MAC);
  scene.pass(2000);
  assert.is(scene.holder(), '2');
  scene.claim(3, MAC);
  scene.host(2).remove(NET, 'e5-2');
  scene.pass(2000);
  assert.is(scene.holder(), '3');
});

scenario('a host that restarts before others detect it keeps its seniority, and no VTEP changes', () => {
  const scene = new Scene(3);
  scene.boot(1, 2, 3);
  scene.claim(1);
  scene.pass(2000);
  scene.claim(2);
  scene.pass(2000);
  const vtep = scene.host(3).process!.vteps.get(VNI)!;
  const changes: string[] = [];
  vtep.removeEndpoint = (_, { ip }) => void changes.push(ip);
  scene.host(1).crash();
  scene.pass(1000);
  scene.boot(1);
  scene.pass(40_000);
  assert.is(scene.holder(), '1');
  assert.equal(changes, [], 'withdrawn from the VTEP of host 3');
  assert.is(scene.conflicts(3).length, 1);
});

scenario('a host that left or died does not block others', () => {
  for (const farewell of [true, false]) {
    const scene = new Scene(3);
    scene.boot(1, 2, 3);
    scene.claim(1);
    scene.pass(2000);
    scene.claim(2);
    scene.pass(2000);
    assert.is(scene.holder(), '1');
    if (farewell) {
      const { process } = scene.host(1);
      process!.overlay(NET).close(process!.now);
      process!.db.close(process!.now);
      scene.pass(500);
    }
    scene.host(1).crash();
    scene.pass(farewell ? 1500 : 10_000);
    assert.is(scene.holder(), '2');
    assert.equal(scene.conflicts(3), []);
    scene.boot(1);
    scene.pass(40_000);
    // After a death both are announced again for a moment, and the older attachment is that of host 1.
    assert.ok(['1', '2'].includes(scene.holder()), scene.holder());
    if (farewell) assert.is(scene.holder(), '2');
    assert.is(scene.conflicts(3).length, 1);
  }
});

scenario('both sides of a partition announce an address; after it heals, the older attachment wins', () => {
  for (const older of [1, 2]) {
    const scene = new Scene(3);
    scene.boot(1, 2, 3);
    scene.pass(2000);
    scene.lab.network.partition([scene.host(1).address]);
    scene.pass(10_000);
    scene.claim(older);
    scene.pass(2000);
    scene.claim(3 - older);
    scene.pass(5000);
    scene.lab.network.heal();
    scene.pass(90_000);
    assert.is(scene.holder(), String(older));
    for (const number of [1, 2, 3])
      assert.equal(scene.conflicts(number), [`ip 10.0.0.5: node-${older} has 10.0.0.5, not node-${3 - older}`]);
  }
});

scenario('a host with a wrong clock cannot take an address from a host that it knows', () => {
  for (const wrong of [-1e11, 1e11]) {
    const scene = new Scene(3);
    scene.host(1).time = () => EPOCH + scene.clock.now + wrong;
    scene.boot(2, 3);
    scene.pass(1000);
    scene.claim(2);
    scene.pass(3000);
    scene.claim(1);
    scene.boot(1);
    scene.pass(5000);
    assert.is(scene.holder(), '2');
  }
});

scenario('a record without a time wins over all others, since its host never withdraws it', () => {
  const scene = new Scene(3);
  scene.host(2).time = undefined;
  scene.boot(1, 2, 3);
  scene.claim(1);
  scene.pass(3000);
  const { process } = scene.host(2);
  // Like Docker, which does not check for conflicts.
  process!.db.createEntry(
    NET,
    OVERLAY_PEER_TABLE,
    'e5-docker',
    Uint8Array.from(Buffer.from(`\n\u000b10.0.0.5/24\u0012\u0011${OTHER_MAC}\u001a\u0009192.0.2.2`)),
    process!.now,
  );
  scene.pass(3000);
  assert.is(scene.holder(), '2 or ', 'host 2 is Docker’s: it has no state');
  for (const number of [1, 3]) assert.equal(scene.conflicts(number), ['ip 10.0.0.5: node-2 has 10.0.0.5, not node-1']);
});

for (const what of ['VNI', 'subnet'] as const)
  scenario(`a host with another ${what} for the network withdraws, is listed everywhere, and returns`, () => {
    const scene = new Scene(3);
    const own = what === 'VNI' ? '10.0.0.103/24' : '10.0.0.103/16';
    if (what === 'VNI') scene.host(3).vnis.set(NET, OTHER_VNI);
    scene.host(3).remove(NET, 'base-192.0.2.3');
    scene.host(3).add(NET, 'odd', { ip: own, mac: '02:42:0a:00:01:03' });
    scene.boot(1, 2);
    scene.pass(3000);
    scene.boot(3);
    scene.pass(3000);
    const [odd, even] =
      what === 'VNI'
        ? ['VNI 5000, subnet 10.0.0.0/24', 'VNI 4097, subnet 10.0.0.0/24']
        : ['VNI 4097, subnet 10.0.0.0/16', 'VNI 4097, subnet 10.0.0.0/24'];
    for (const number of [1, 2, 3])
      assert.equal(scene.conflicts(number), [`parameters ${odd}: node-1 has ${even}, not node-3`]);
    const knows = (number: number): number => scene.host(number).process!.vteps.get(VNI)!.endpoints.size;
    assert.equal([1, 2, 3].map(knows), [1, 1, 0]);
    // The oldest one leaves; host 2, which is announced, still wins over one that waits.
    for (const [number, left] of [
      [1, [1, 0]],
      [2, [0]],
    ] as const) {
      scene.host(number).remove(NET, `base-192.0.2.${number}`);
      scene.pass(2000);
      const others = [1, 2].filter((other) => other > number);
      for (const other of [...others, 3]) assert.is(scene.conflicts(other).length, others.length === 0 ? 0 : 1);
      void left;
    }
    // Now host 3 is the oldest.
    scene.host(1).add(NET, 'base-192.0.2.1', { ip: '10.0.0.101/24', mac: '02:42:0a:00:01:01' });
    scene.pass(2000);
    for (const number of [1, 3])
      assert.equal(scene.conflicts(number), [`parameters ${even}: node-3 has ${odd}, not node-1`]);
  });

test.run();
