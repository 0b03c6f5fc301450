/**
 * Clusters of memberlist on simulated time: what is to happen to members that die, pause, leave, lose their way or are
 * cut off, and after what times; then many clusters to which all of that happens at random.
 *
 *     SEED=17 node --import tsx test/memberlist-sim.test.ts     one of the random ones, with what happens
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Keyring, LAN, type MemberlistOptions } from '../src/gossip/memberlist/index.js';
import { aesGcm } from '../src/host/index.js';
import { Random } from '../src/sim/index.js';
import { SimCluster, type SimMember } from './support/gossip.js';

const only = process.env['SEED'];
const scenario: typeof test = only === undefined ? test : (test.skip as typeof test);
const agree = (cluster: SimCluster): void => assert.equal(cluster.disagreements(), []);
const text = (bytes: string): Uint8Array => new Uint8Array(Buffer.from(bytes));

/** A cluster that has come together. */
function settled(count: number, seed = 1, options: Partial<MemberlistOptions> = {}): [SimCluster, SimMember[]] {
  const cluster = new SimCluster(seed, {}, options);
  const members = cluster.grow(count);
  cluster.clock.advance(10_000);
  agree(cluster);
  return [cluster, members];
}

scenario('twenty members know each other five seconds after all have called the first one', () => {
  const cluster = new SimCluster(1);
  cluster.grow(20);
  cluster.clock.advance(5000);
  agree(cluster);
  cluster.clock.advance(60_000);
  agree(cluster);
  for (const { machine, told } of cluster.members) {
    assert.is(told.length, 19); // each other one joined, once, and nothing else happened
    assert.is(machine.counters()['probes-failed'], 0);
    assert.is(machine.counters().malformed, 0);
    assert.is(machine.self.incarnation, 1);
    assert.equal(machine.sizes(), { members: 20, broadcasts: 0, streams: 0, streamOctets: 0, relays: 0 });
  }
});

scenario('of three members one dies: 4 s after it was suspected the others know', () => {
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
    // Each probes the dead one every other second at the latest, for one second, or two by then.
    assert.ok(suspected - died <= 3000 + 10, `suspected after ${suspected - died} ms`);
    const first = Math.min(a!.when('dead c')!, b!.when('dead c')!);
    assert.ok(Math.abs(first - suspected - 4000) < 1e-6, `${first - suspected}`);
    // And a gossip tick later everybody: peers took 4.2 s.
    assert.ok(cluster.clock.now - suspected <= 4000 + LAN.gossipInterval + 5);
    cluster.clock.advance(40_000);
    assert.is(a!.machine.member('c'), undefined); // forgotten 30 s later
  }
});

scenario('the more share a suspicion the shorter it is: among ten, from 24 s down to 4 s', () => {
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

scenario('a member that pauses is suspected, returns and refutes; for long, is dead and joins again', () => {
  const [cluster, [a, b, c]] = settled(3);
  b!.pause();
  while (a!.state('b') !== 'suspect') cluster.clock.step();
  cluster.clock.advance(1000);
  b!.resume();
  cluster.clock.advance(3000);
  agree(cluster);
  assert.is(b!.machine.self.incarnation, 2); // 1, accused: 2
  assert.is(a!.when('dead b'), undefined);
  assert.ok(b!.machine.counters().refuted >= 1);
  b!.pause();
  cluster.clock.advance(15_000);
  assert.is(a!.state('b'), 'dead');
  assert.is(c!.state('b'), 'dead');
  b!.resume();
  cluster.clock.advance(15_000); // it is in their lists still, and told what they think
  agree(cluster);
  assert.ok(a!.when('joined b', a!.when('dead b'))! > 0);
});

scenario('a member that leaves is shown as left, and nobody suspects it', () => {
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

scenario('a member restarts without state: its new incarnation is above all that others remember', () => {
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

scenario('halves of a cluster that were apart for ten minutes find each other again', () => {
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

scenario('one direction between two members is cut: others vouch, and nobody dies', () => {
  const [cluster, [a, b]] = settled(5);
  cluster.network.cut(a!.address, b!.address);
  cluster.clock.advance(300_000);
  for (const member of cluster.members) for (const { what } of member.told) assert.match(what, /^joined/);
  agree(cluster);
});

scenario('a member that hears nothing doubts itself, and not for ever', () => {
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

scenario('a fifth of all packets lost, and members come together and stay', () => {
  const cluster = new SimCluster(5, { loss: 0.1, latency: 5, jitter: 20, duplicate: 0.05, reorder: 0.1 });
  cluster.grow(8);
  cluster.clock.advance(120_000);
  agree(cluster);
  for (const member of cluster.members)
    assert.equal(
      member.told.filter(({ what }) => !what.startsWith('joined')),
      [],
    );
});

scenario('the application: broadcasts, packets, streams and state', () => {
  const cluster = new SimCluster(
    1,
    {},
    { security: { keyring: new Keyring([new Uint8Array(16)]), aead: aesGcm, nonce: nonces() } },
  );
  let left = 8;
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
  assert.match(apart({}, { vsn: Uint8Array.of(1, 5, 2, 2, 5, 4) })[0]!, /version 0 of the application, and 2 to 0/);
});

function nonces(): () => Uint8Array {
  let count = 0;
  return () => {
    const nonce = new Uint8Array(12);
    new DataView(nonce.buffer).setUint32(8, count++);
    return nonce;
  };
}

/** A cluster to which things happen at random for a while, and which is then left in peace. */
function random(seed: number, log: (line: string) => void): string[] {
  const random = new Random(seed);
  const lossy = {
    latency: 0.2 + 20 * random.float(),
    jitter: random.pick([0, 5, 40]),
    loss: random.pick([0, 0, 0.05, 0.2]),
    duplicate: random.pick([0, 0.1]),
    reorder: random.pick([0, 0.2]),
  };
  const security = random.chance(0.2)
    ? { keyring: new Keyring([new Uint8Array(16).fill(1)]), aead: aesGcm, nonce: nonces() }
    : {};
  const cluster = new SimCluster(seed, lossy, {
    reconnectInterval: 1000,
    security,
    compressed: random.chance(0.3),
    streamPings: random.chance(0.7),
  });
  log(JSON.stringify(lossy));
  const members = cluster.grow(2 + random.integer(6));
  const address = (member: SimMember): string => member.address;
  for (let happened = 4 + random.integer(12); happened > 0; happened--) {
    cluster.clock.advance(random.pick([100, 1000, 5000, 20_000]) * random.float());
    const one = random.pick(members);
    const other = random.pick(members);
    const what = random.pick([
      'kill',
      'restart',
      'pause',
      'resume',
      'leave',
      'cut',
      'partition',
      'heal',
      'meta',
    ] as const);
    log(`${cluster.clock.now.toFixed(0)} ${what} ${one.name} ${other.name}`);
    if (what === 'restart') {
      one.restart();
      one.join(...members.filter((member) => member !== one));
    } else if (what === 'cut') cluster.network.cut(one.address, other.address);
    else if (what === 'partition') {
      const cut = random.integer(members.length);
      cluster.network.partition(members.slice(0, cut).map(address), members.slice(cut).map(address));
    } else if (what === 'heal') cluster.network.heal();
    else if (what === 'resume') members.forEach((member) => member.resume());
    else if (!one.running) continue;
    else if (what === 'meta') one.act((machine, now) => machine.updateMeta(text(`${now}`), now));
    else one[what]();
  }
  cluster.network.heal();
  for (const member of members) {
    member.resume();
    member.node.link.set({ loss: 0 });
  }
  // Those that run may have been alone when they were started: whoever starts them tries again.
  const running = members.filter((member) => member.running);
  cluster.clock.advance(2000); // who is leaving has left
  for (const member of running) if (member.running && member.sees().length === 1) member.join(...running);
  cluster.clock.advance(90_000);
  const wrong = cluster.disagreements();
  for (const { name, machine, running: runs } of members) {
    if (!runs) continue;
    const { members: known, broadcasts, streams, relays, streamOctets } = machine.sizes();
    if (known === 1) continue; // it has nobody to tell
    const silent = members.filter((member) => !member.running).length; // who is called in vain
    // One exchange may be under way.
    if (broadcasts + relays > 0 || streams > 2 * silent + 1 || streamOctets > 4096)
      wrong.push(`${name} keeps ${JSON.stringify(machine.sizes())}`);
    if (machine.counters().malformed > 0) wrong.push(`${name} could not read ${machine.counters().malformed} messages`);
    for (const member of machine.members())
      if (member.incarnation > 1000) wrong.push(`${name} has ${member.name} at ${member.incarnation}`);
  }
  for (const { name, machine } of running)
    for (const other of running)
      if (machine.self.state === 'alive' && other.machine.self.state === 'alive') {
        const seen = machine.member(other.name);
        if (seen?.incarnation !== other.machine.self.incarnation) wrong.push(`${name} has an old ${other.name}`);
      }
  return wrong;
}

const SEEDS = Number(process.env['SEEDS'] ?? 200);
if (only !== undefined)
  test(`seed ${only}`, () => {
    assert.equal(random(Number(only), console.log), []);
  });
else
  test(`${SEEDS} clusters come together again, whatever happened`, () => {
    for (let seed = 1; seed <= SEEDS; seed++) {
      const wrong = random(seed, () => undefined);
      const command = `SEED=${seed} node --import tsx test/memberlist-sim.test.ts`;
      assert.equal(wrong, [], `replay it: ${command}\n${wrong.join('\n')}`);
    }
  });

test.run();
