/**
 * Memberlist clusters in simulated time: what happens, and when, if members die, pause, leave, or are cut off; then
 * many clusters with random events (see support/seeds.ts).
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  encodeCompound,
  encodeMessage,
  Keyring,
  LAN,
  type MemberlistOptions,
  type Message,
} from '../src/gossip/memberlist/index.js';
import { aesGcm } from '../src/host/index.js';
import { Random } from '../src/sim/index.js';
import { PORT, SimCluster, type SimMember } from './support/gossip.js';
import { cheapAead, Keys, nonces } from './support/keys.js';
import { scenario, settle, simulate, type Log } from './support/seeds.js';
import { anyLink, Weather } from './support/weather.js';

const agree = (cluster: SimCluster): void => assert.equal(cluster.disagreements(), []);
const text = (bytes: string): Uint8Array => new Uint8Array(Buffer.from(bytes));

/** A cluster whose members know each other. */
function settled(count: number, seed = 1, options: Partial<MemberlistOptions> = {}): [SimCluster, SimMember[]] {
  const cluster = new SimCluster(seed, {}, options);
  const members = cluster.grow(count);
  cluster.clock.advance(10_000);
  agree(cluster);
  return [cluster, members];
}

scenario('twenty members know each other five seconds after all have joined the first one', () => {
  const cluster = new SimCluster(1);
  cluster.grow(20);
  cluster.clock.advance(5000);
  agree(cluster);
  cluster.clock.advance(60_000);
  agree(cluster);
  for (const { machine, reported } of cluster.members) {
    assert.is(reported.length, 19); // each other one joined, once, and nothing else happened
    assert.is(machine.counters()['probes-failed'], 0);
    assert.is(machine.counters().malformed, 0);
    assert.is(machine.self.incarnation, 1);
    assert.equal(machine.sizes(), { members: 20, broadcasts: 0, streams: 0, streamOctets: 0, relays: 0 });
  }
});

scenario('one of three members dies: 4 s after the suspicion the others declare it dead', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const [cluster, [a, b, c]] = settled(3, seed);
    const died = cluster.clock.now;
    c!.kill();
    let suspected = 0;
    while (a!.state('c') !== 'dead' || b!.state('c') !== 'dead') {
      cluster.clock.step();
      if (suspected === 0 && [a!, b!].some((member) => member.state('c') === 'suspect')) suspected = cluster.clock.now;
      assert.ok(cluster.clock.now < died + 20_000);
    }
    // Each probes the dead one every other second at the latest, for one second, or for two by then.
    assert.ok(suspected - died <= 3000 + 10, `suspected after ${suspected - died} ms`);
    const first = Math.min(a!.when('dead c')!, b!.when('dead c')!);
    assert.ok(Math.abs(first - suspected - 4000) < 1e-6, `${first - suspected}`);
    // All know one gossip interval later; other implementations took 4.2 s.
    assert.ok(cluster.clock.now - suspected <= 4000 + LAN.gossipInterval + 5);
    cluster.clock.advance(40_000);
    assert.is(a!.machine.member('c'), undefined); // forgotten 30 s later
  }
});

scenario('confirmations shorten a suspicion: among ten members, from 24 s down to 4 s', () => {
  const [cluster, members] = settled(10);
  const last = members.at(-1)!;
  const died = cluster.clock.now;
  last.kill();
  cluster.clock.advance(40_000);
  agree(cluster);
  const took = members.slice(0, -1).map((member) => member.when(`dead ${last.name}`)! - died);
  assert.ok(Math.min(...took) > 4000 && Math.max(...took) < 16_000, took.join());
  assert.ok(Math.max(...took) - Math.min(...took) < 1500, took.join());
});

scenario(
  'a member that pauses is suspected, returns and refutes; after a long pause it is dead and joins again',
  () => {
    const [cluster, [a, b, c]] = settled(3, 3);
    b!.pause();
    while (a!.state('b') !== 'suspect') cluster.clock.step();
    cluster.clock.advance(1000);
    b!.resume();
    cluster.clock.advance(3000);
    agree(cluster);
    const { incarnation } = b!.machine.self;
    assert.ok(incarnation === 2 || incarnation === 3, `${incarnation}`); // 1, accused by one or both: 2 or 3
    assert.is(a!.when('dead b'), undefined);
    assert.ok(b!.machine.counters().refuted >= 1);
    b!.pause();
    cluster.clock.advance(15_000);
    assert.is(a!.state('b'), 'dead');
    assert.is(c!.state('b'), 'dead');
    b!.resume();
    cluster.clock.advance(15_000); // the others still list it, and send it their view
    agree(cluster);
    assert.ok(a!.when('joined b', a!.when('dead b'))! > 0);
  },
);

scenario('a member that leaves is listed as left, and is not suspected', () => {
  const [cluster, members] = settled(5);
  const [a, ...others] = members;
  a!.leave();
  cluster.clock.advance(2000);
  assert.not(a!.running);
  for (const member of others) {
    assert.is(member.state('a'), 'left');
    assert.ok(member.when('left a')! > 0);
    assert.is(member.when('dead a'), undefined);
  }
  cluster.clock.advance(20_000);
  agree(cluster);
  // And may come again, by its old name.
  a!.restart();
  a!.join(others[0]!);
  cluster.clock.advance(5000);
  agree(cluster);
});

scenario('a member restarts before the others miss it, and joins no one: within 4 s all know each other again', () => {
  for (let seed = 1; seed <= 20; seed++) {
    const [cluster, members] = settled(2 + (seed % 4), seed);
    const [first] = members;
    first!.kill();
    cluster.clock.advance(500);
    first!.restart();
    cluster.clock.advance(4000);
    agree(cluster);
    const names = members.map(({ name }) => name).sort();
    for (const member of members) assert.equal(member.sees(), names, `seed ${seed}: ${member.name}`);
  }
});

scenario('a member restarts without state: its new incarnation is above all that others have', () => {
  const [cluster, [a, b, c]] = settled(3);
  c!.act((machine, now) => machine.updateMeta(text('v2'), now));
  c!.act((machine, now) => machine.updateMeta(text('v3'), now));
  cluster.clock.advance(3000);
  assert.is(Buffer.from(a!.machine.member('c')!.meta).toString(), 'v3');
  assert.ok(a!.when('updated c')! > 0);
  c!.restart();
  c!.join(a!, b!);
  cluster.clock.advance(5000);
  agree(cluster);
  assert.ok(c!.machine.self.incarnation > 3);
  assert.is(b!.machine.member('c')!.meta.length, 0);
  assert.is(b!.when('dead c'), undefined);
});

scenario(
  'a member restarts with state: it knows all at once, broadcasts only itself, and detects failed members',
  () => {
    const [cluster, [a, b, c]] = settled(3);
    const state = c!.machine.state();
    c!.kill();
    b!.kill();
    cluster.clock.advance(100);
    c!.restart();
    const { clock } = cluster;
    c!.act((machine, now) => machine.restore(state, now));
    assert.equal(c!.sees(), ['a', 'b', 'c']);
    assert.is(c!.reported.filter(({ what, time }) => what === 'joined b' && time === clock.now).length, 1);
    assert.is(c!.machine.sizes().broadcasts, 1); // its own
    cluster.clock.advance(20_000);
    agree(cluster);
    assert.is(a!.when('dead c'), undefined);
    assert.ok(c!.when('dead b')! > 0);
  },
);

scenario('two halves of a cluster join again after ten minutes of partition', () => {
  const [cluster, members] = settled(6, 3, { reconnectInterval: 1000 });
  const side = members.map((member) => member.address);
  cluster.network.partition(side.slice(0, 3), side.slice(3));
  cluster.clock.advance(600_000);
  assert.is(members[0]!.sees().join(), 'a,b,c');
  assert.is(members[5]!.sees().join(), 'd,e,f');
  cluster.network.heal();
  cluster.clock.advance(20_000);
  agree(cluster);
});

scenario('one direction between two members is cut: indirect probes succeed, and no member is declared dead', () => {
  const [cluster, [a, b]] = settled(5);
  cluster.network.cut(a!.address, b!.address);
  cluster.clock.advance(300_000);
  for (const member of cluster.members) for (const { what } of member.reported) assert.match(what, /^joined/);
  agree(cluster);
});

scenario('a member that receives nothing lowers its health score, and recovers', () => {
  const [cluster, members] = settled(5);
  const deaf = members[4]!;
  for (const other of members.slice(0, 4)) cluster.network.cut(other.address, deaf.address);
  cluster.clock.advance(6000);
  assert.ok(deaf.machine.awareness > 0);
  cluster.network.heal();
  cluster.clock.advance(30_000);
  agree(cluster);
  cluster.clock.advance(20_000);
  assert.is(deaf.machine.awareness, 0);
});

scenario('with 20 % packet loss, members find each other and stay alive', () => {
  const cluster = new SimCluster(6, { loss: 0.1, latency: 5, jitter: 20, duplicate: 0.05, reorder: 0.1 });
  cluster.grow(8);
  cluster.clock.advance(120_000);
  agree(cluster);
  for (const member of cluster.members)
    assert.equal(
      member.reported.filter(({ what }) => !what.startsWith('joined')),
      [],
    );
});

scenario('the application: broadcasts, packets, streams and state', () => {
  const cluster = new SimCluster(
    1,
    {},
    { security: { keyring: new Keyring([new Uint8Array(16)]), aead: aesGcm, nonce: nonces() } },
  );
  let left = 20; // as b is alone with it for a second
  const a = cluster.add('a', {
    localState: () => text('state of a'),
    broadcasts: (overhead, limit) => (limit > overhead + 5 && left-- > 0 ? [text('news!')] : []),
  });
  const b = cluster.add('b', { localState: () => text('state of b') });
  const c = cluster.add('c');
  b.join(a);
  cluster.clock.advance(1000);
  c.join(b);
  cluster.clock.advance(5000);
  agree(cluster);
  assert.ok(a.merged.includes('state of b'));
  assert.ok(b.merged.includes('state of a'));
  assert.ok(c.merged.includes('state of b'));
  assert.ok(b.messages.includes('news!') && c.messages.includes('news!'));
  a.act((machine) => {
    assert.ok(machine.sendPacket('b', text('a packet')));
    assert.ok(machine.sendReliable('b', text('long '.repeat(20_000))));
    assert.not(machine.sendReliable('z', text('nobody')));
  });
  cluster.clock.advance(1000);
  assert.ok(b.messages.includes('a packet'));
  assert.ok(b.messages.includes('long '.repeat(20_000)));
  for (const { machine } of cluster.members) assert.is(machine.counters().malformed, 0);
});

/** Lets a member send a false message to all others but `about`. */
function lie(liar: SimMember, members: readonly SimMember[], about: SimMember, messages: readonly Message[]): void {
  const bytes = encodeCompound(messages.map(encodeMessage));
  for (const member of members) if (member !== about) liar.node.send(member.address, PORT, PORT, bytes);
}

scenario('false messages about a member: it is back within seconds, and others are not affected', () => {
  // It refutes a suspicion in time. Now and then a member misses the refutation of a death, until the next one.
  for (const [what, most] of [
    ['doubt', 1500],
    ['death', 6000],
    ['farewell', 12_000],
  ] as const) {
    const [cluster, members] = settled(8, 2);
    const [victim, liar] = [members[0]!, members[7]!];
    const others = members.slice(1, 7);
    const node = victim.name;
    let away = 0;
    let longest = 0;
    for (let lies = 0; lies < 20; lies++) {
      const { incarnation } = victim.machine.self;
      const accuse = (from: string): Message => ({
        type: what === 'doubt' ? 'suspect' : 'dead',
        node,
        from,
        incarnation,
      });
      const accusers = what === 'doubt' ? ['x', 'y', 'z', 'w'] : [what === 'death' ? liar.name : node];
      lie(liar, members, victim, accusers.map(accuse));
      for (let i = 0; i < 100; i++) {
        cluster.clock.advance(50);
        away = others.every((member) => member.sees().includes(node)) ? 0 : away + 50;
        longest = Math.max(longest, away);
      }
    }
    assert.ok(longest <= most, `${what}: it was away for ${longest} ms`);
    cluster.clock.advance(20_000);
    agree(cluster);
    for (const member of others)
      assert.not(member.reported.some((one) => /^(dead|left)/.test(one.what) && !one.what.endsWith(node)));
    assert.is(victim.machine.self.incarnation, 21); // one more for each lie
  }
});

scenario('a member with the highest incarnation stays, dies, is forgotten and comes back', () => {
  const [cluster, members] = settled(8, 2);
  const [victim, liar] = [members[0]!, members[7]!];
  const node = victim.name;
  const incarnation = 0xffff_ffff;
  const lies: Message[] = [
    { type: 'suspect', node, from: 'x', incarnation: incarnation - 1 },
    { type: 'suspect', node, from: 'x', incarnation },
    { type: 'dead', node, from: 'y', incarnation },
    { type: 'dead', node, from: node, incarnation },
  ];
  for (let i = 0; i < 60; i++) {
    lie(liar, members, victim, lies);
    lie(liar, [victim], liar, lies);
    cluster.clock.advance(1000);
  }
  agree(cluster);
  assert.is(victim.machine.self.incarnation, incarnation);
  for (const member of members) assert.is(member.when(`dead ${node}`) ?? member.when(`left ${node}`), undefined);
  victim.kill();
  cluster.clock.advance(40_000);
  agree(cluster);
  cluster.clock.advance(120_000);
  for (const member of members.slice(1)) {
    assert.is(member.state(node), undefined); // no member announced it
    assert.is(member.reported.filter(({ what }) => what === `dead ${node}`).length, 1);
  }
  victim.restart();
  victim.join(members[3]!);
  cluster.clock.advance(5000);
  agree(cluster);
});

scenario('clusters with other keys, other labels or versions stay apart', () => {
  const apart = (left: Partial<MemberlistOptions>, right: Partial<MemberlistOptions>): string[] => {
    const cluster = new SimCluster(1, {}, left);
    const a = cluster.add('a');
    Object.assign(cluster.options, { vsn: undefined, security: undefined }, right);
    for (const key of ['vsn', 'security'] as const) if (cluster.options[key] === undefined) delete cluster.options[key];
    const b = cluster.add('b');
    const failures: string[] = [];
    b.act((machine, now) =>
      machine.join([{ address: a.address, port: 7946 }], now, (joined) => failures.push(...joined.failures)),
    );
    cluster.clock.advance(30_000);
    assert.is(a.sees().join() + b.sees().join(), 'ab');
    return failures;
  };
  const key = (fill: number) => ({
    security: { keyring: new Keyring([new Uint8Array(16).fill(fill)]), aead: aesGcm, nonce: nonces() },
  });
  assert.match(apart(key(1), key(2))[0]!, /10\.0\.0\.1: /);
  assert.match(apart(key(1), {})[0]!, /10\.0\.0\.1: /);
  assert.match(apart({ security: { label: 'one' } }, { security: { label: 'two' } })[0]!, /another cluster/);
  assert.match(
    apart({}, { vsn: Uint8Array.of(1, 5, 2, 2, 5, 4) })[0]!,
    /version 0 of the application, but the live members have no version in common/,
  );
});

/** A cluster with random events, and then a quiet time. */
function run(seed: number, log: Log): string[] {
  const random = new Random(seed);
  const link = anyLink(random);
  const encrypted = random.chance(0.3);
  const cluster: SimCluster = new SimCluster(
    seed,
    link,
    { reconnectInterval: 1000, compressed: random.chance(0.2), streamPings: random.chance(0.7) },
    { skewed: true, ...(encrypted ? { security: (member) => keys.security(member) } : {}) },
  );
  const weather = new Weather(cluster.network, random.fork(), log);
  const keys: Keys = new Keys(cluster, random.fork(), seed % 10 === 0 ? aesGcm : cheapAead, () => weather.forget());
  cluster.received = (datagram) => weather.received(datagram);
  log(JSON.stringify(link));
  const members = cluster.grow(2 + random.integer(6));
  const addresses = members.map(({ address }) => address);
  for (let happened = 4 + random.integer(16); happened > 0; happened--) {
    cluster.clock.advance(random.pick([100, 1000, 5000, 20_000]) * random.float());
    if (encrypted && random.chance(0.1)) keys.rotate();
    if (random.chance(0.5)) weather.mishap(addresses);
    else turn(random.pick(members), members, random, log);
  }
  weather.calm();
  for (const member of members) member.resume();
  // Members that never had contact since their start must be joined from outside.
  cluster.clock.every(5000, () => {
    const running = members.filter((member) => member.running);
    for (const member of running)
      if (member.sees().length === 1) member.join(...running);
      else member.join(...running.filter((other) => other !== member && !member.knew(other.name)));
  });
  return settle(cluster.clock, () => findings(cluster), 120_000, 15_000);
}

/** Applies a random event to the process of one member. */
function turn(one: SimMember, members: readonly SimMember[], random: Random, log: Log): void {
  const what = random.pick(['kill', 'restart', 'rename', 'pause', 'resume', 'leave', 'meta'] as const);
  log(`${one.clock.now.toFixed(0)} ${what} ${one.name}`);
  if (what === 'restart' || what === 'rename') {
    one.restart(what === 'rename' ? `${one.name[0]}${one.reported.length}` : one.name);
    one.join(...members.filter((member) => member !== one));
  } else if (what === 'resume') members.forEach((member) => member.resume());
  else if (!one.running || one.paused) return;
  else if (what === 'meta') one.act((machine, now) => machine.updateMeta(text(`${now}`), now));
  else one[what]();
}

/** Errors after a quiet time: wrong views of members, and state that should have been removed. */
function findings(cluster: SimCluster): string[] {
  const { members } = cluster;
  const wrong = cluster.disagreements();
  const silent = members.filter((member) => !member.running).length; // addresses that do not answer
  const running = members.filter((member) => member.running);
  for (const { name, machine } of running) {
    const { members: known, broadcasts, streams, relays, streamOctets } = machine.sizes();
    // One exchange and connections to stopped members may be open. A single member has no one to send to.
    if ((broadcasts > 0 && known > 1) || relays > 0 || streams > 2 * silent + 4 || streamOctets > 4096)
      wrong.push(`${name} keeps ${JSON.stringify(machine.sizes())}`);
    if (machine.counters().malformed > 0) wrong.push(`${name} could not read ${machine.counters().malformed} messages`);
    for (const { name: other, incarnation } of machine.members())
      if (incarnation > 1000) wrong.push(`${name} has ${other} at ${incarnation}`);
    for (const other of running)
      if (machine.member(other.name)?.incarnation !== other.machine.self.incarnation)
        wrong.push(`${name} has an old ${other.name}`);
  }
  return wrong;
}

simulate({
  file: 'test/memberlist-sim.test.ts',
  holds: 'members come together again, whatever happened',
  count: 600,
  run,
});

test.run();
