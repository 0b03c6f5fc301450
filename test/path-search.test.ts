/** The search for path MTUs (RFC 8899): one path, and all paths of a VTEP, in virtual time. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { innerMtu, PathSearch, UNLIMITED, Vtep, type Remote, type VtepSink } from '../src/vtep/index.js';
import { Frame } from '../src/vtep/index.js';
import { probe } from '../src/vxlan/index.js';

// ---- One path ----

/** A path with a search, and a remote at its end that may answer. Time passes in steps of a second, as in an engine. */
function path(options: { v6?: boolean; max?: number; answers?: boolean } = {}) {
  const { v6 = false, max = 1500 } = options;
  const search = new PathSearch(v6, v6 ? 70 : 50);
  const state = {
    mtu: UNLIMITED,
    icmp: false,
    answers: options.answers ?? true,
    active: true,
    large: true,
    max,
    loss: 0,
  };
  let seed = 1;
  const random = (): number => (seed = (seed * 48_271) % 0x7fff_ffff) / 0x7fff_ffff;
  let now = 0;
  const sent: { at: number; size: number }[] = [];
  const pass = (seconds: number): void => {
    for (let i = 0; i < seconds; i++) {
      now += 1000;
      for (const size of search.step(now, state.max, state.active, state.large)) {
        sent.push({ at: now / 1000, size });
        if (size > state.mtu) {
          if (state.icmp) search.refused(size, state.mtu, now);
        } else if (state.answers && random() >= state.loss) search.answered(size, now + 1);
      }
    }
  };
  /** Seconds until `check` holds. */
  const until = (check: () => boolean): number => {
    for (let seconds = 0; seconds <= 2000; seconds++, pass(1)) if (check()) return seconds;
    throw new Error(`it does not happen: limit ${search.limit}, phase ${search.phase}`);
  };
  return { search, state, sent, pass, until };
}

test('a wide path is confirmed at once, and then every 2 seconds with one probe', () => {
  const { search, sent, pass } = path();
  pass(1);
  assert.equal([search.phase, search.limit, search.isKnown], ['complete', UNLIMITED, true]);
  assert.equal(
    sent.map(({ size }) => size),
    [576, 1330, 1500],
  );
  sent.length = 0;
  pass(60);
  assert.ok(sent.length >= 18 && sent.length <= 31, `${sent.length} probes`);
  assert.ok(sent.every(({ size }) => size === 1500));
});

test('while only small datagrams go to a remote, the size in use is confirmed once in a minute', () => {
  const { state, sent, pass } = path();
  pass(1);
  sent.length = 0;
  state.large = false;
  pass(300);
  assert.ok(sent.length >= 4 && sent.length <= 5, `${sent.length} probes`);
});

test('an idle remote gets no probes', () => {
  const { state, sent, pass } = path();
  pass(10);
  sent.length = 0;
  state.active = false;
  pass(10_000);
  assert.equal(sent, []);
  state.active = true;
  pass(1);
  assert.equal(
    sent.map(({ size }) => size),
    [1500],
  );
});

test('a path that narrows without ICMP is detected within 6 seconds, and found out exactly or within 4 bytes', () => {
  for (const v6 of [false, true])
    for (const mtu of [1499, 1492, 1450, 1420, 1400, 1387, 1351, 1330, 1300, 1280, ...(v6 ? [] : [1000, 600, 576])]) {
      const { search, state, until, pass } = path({ v6 });
      pass(10);
      state.mtu = mtu;
      const seconds = until(() => search.limit <= mtu);
      assert.ok(seconds <= 6, `${mtu}: ${seconds} s`);
      const found = until(() => search.phase === 'complete');
      assert.ok(found <= 40, `${mtu}: ${found} s`);
      assert.ok(search.limit <= mtu && search.limit > mtu - 4, `${mtu}: ${search.limit}`);
    }
});

test('a path that carries IPv6 of 1280 bytes does so from the moment on that it is found to be narrow', () => {
  const { search, state, until, pass } = path();
  pass(10);
  state.mtu = 1400;
  until(() => search.limit < UNLIMITED);
  assert.is(search.limit, 1330);
});

test('with ICMP, one probe finds the MTU out', () => {
  for (const mtu of [1499, 1400, 1331, 1290, 600]) {
    const { search, state, until, pass, sent } = path();
    pass(10);
    state.icmp = true;
    state.mtu = mtu;
    sent.length = 0;
    assert.ok(until(() => search.limit === mtu) <= 6);
    assert.ok(until(() => search.phase === 'complete') <= 2);
    assert.is(search.limit, mtu);
    assert.ok(sent.length <= 4, `${sent.length} probes`);
  }
});

test('a path that widens is found after 10 seconds at first; while it does not, the time doubles up to 10 minutes', () => {
  const { search, state, until, pass, sent } = path();
  pass(10);
  state.mtu = 1400;
  until(() => search.phase === 'complete' && search.limit === 1400);
  state.mtu = UNLIMITED;
  assert.ok(until(() => search.limit === UNLIMITED) <= 13);
  state.mtu = 1400;
  until(() => search.phase === 'complete' && search.limit === 1400);
  pass(2 * 3600);
  sent.length = 0;
  pass(3600);
  const tries = sent.filter(({ size }) => size === 1500).length;
  assert.ok(tries >= 15 && tries <= 18, `${tries} probes of the larger size in an hour: six rounds of three`);
  state.mtu = UNLIMITED;
  assert.ok(until(() => search.limit === UNLIMITED) <= 640);
});

test('a path that flaps is followed each time', () => {
  const { search, state, until } = path();
  until(() => search.phase === 'complete');
  for (let i = 0; i < 20; i++) {
    state.mtu = 1350 + i;
    assert.ok(until(() => search.limit <= state.mtu) <= 6, `narrower, ${i}`);
    state.mtu = UNLIMITED;
    until(() => search.limit === UNLIMITED);
  }
});

test('a remote that answers no probe gets no limit, and few probes', () => {
  const { search, state, pass, sent } = path({ answers: false });
  state.mtu = 1400;
  pass(3600);
  assert.equal([search.phase, search.limit, search.isKnown], ['disabled', UNLIMITED, false]);
  assert.ok(sent.length < 120, `${sent.length} probes in an hour`);
  state.answers = true;
  search.heard(3_600_000);
  pass(10);
  assert.ok(search.limit <= 1400);
});

test('a remote that is unreachable for a time keeps its limit; one that does not return loses it', () => {
  const { search, state, pass, until } = path();
  state.mtu = 1400;
  until(() => search.phase === 'complete' && search.limit === 1400);
  state.answers = false;
  pass(30);
  assert.equal([search.phase, search.limit], ['error', 1400]);
  state.answers = true;
  pass(10);
  assert.equal([search.isKnown, search.limit], [true, 1400]);
  assert.not.equal(search.phase, 'error');
  state.answers = false;
  pass(120);
  assert.equal([search.phase, search.limit], ['disabled', UNLIMITED]);
});

test('losses alone make no path narrow: 1 to 30 % for a day', () => {
  for (const loss of [0.01, 0.1, 0.3]) {
    const { search, state, pass } = path();
    state.loss = loss;
    let narrow = 0;
    for (let i = 0; i < 86_400; i++) {
      pass(1);
      if (search.limit < UNLIMITED) narrow++;
    }
    assert.ok(narrow <= { 0.01: 60, 0.1: 900, 0.3: 13_000 }[loss]!, `${loss}: ${narrow} s`);
  }
});

test('with losses a narrow path is found nevertheless', () => {
  for (const loss of [0.01, 0.1, 0.3]) {
    const { search, state, until, pass } = path();
    state.loss = loss;
    pass(10);
    state.mtu = 1400;
    until(() => search.limit <= 1400);
    until(() => search.phase === 'complete');
    assert.ok(search.limit <= 1400 && search.limit >= 1280, `${search.limit}`);
  }
});

test('a size that this host cannot send limits nothing: the look-up of the route bounds what is needed', () => {
  for (const answers of [true, false]) {
    const { search, state, pass, sent } = path({ answers, max: 1504 });
    // What a device with an MTU of 1500 does.
    const step = search.step.bind(search);
    search.step = (now, ...more) => {
      const sizes = step(now, ...more);
      for (const size of sizes) if (size > 1500) search.blocked(size);
      return sizes.filter((size) => size <= 1500);
    };
    pass(60);
    assert.is(search.limit, UNLIMITED);
    state.max = 1500;
    sent.length = 0;
    pass(60);
    assert.is(search.limit, UNLIMITED);
    assert.is(search.phase, answers ? 'complete' : 'disabled');
  }
});

test('a need that grows or shrinks changes what is probed', () => {
  const { search, state, pass, sent } = path();
  pass(10);
  state.max = 9000;
  sent.length = 0;
  pass(10);
  assert.ok(sent.every(({ size }) => size === 9000));
  state.max = 1400;
  pass(10);
  assert.is(sent.at(-1)!.size, 1400);
  assert.is(search.limit, UNLIMITED);
  state.max = 576;
  sent.length = 0;
  pass(100);
  assert.equal(sent, [], 'every path carries what is needed');
});

// ---- All paths of a VTEP ----

interface Sent {
  address: string;
  bytes: Uint8Array;
}

/** A VTEP with remotes that traffic goes to, and its probes. */
function vtepWith(remotes: number, options: { peersOnly?: boolean; v6?: boolean } = {}) {
  const { v6 = false } = options;
  let seed = 7;
  const vtep = new Vtep({
    local: v6 ? 'fd00::1' : '192.0.2.1',
    peersOnly: options.peersOnly ?? false,
    random: (octets) => octets.forEach((_, i) => (octets[i] = (seed = (seed * 48_271) % 0x7fff_ffff) & 0xff)),
  });
  vtep.addSegment({ vni: 1, mtu: v6 ? 1430 : 1450 });
  const addressOf = (i: number): string => (v6 ? `fd00::2:${i.toString(16)}` : `198.18.${i >> 8}.${i & 255}`);
  for (let i = 0; i < remotes; i++) vtep.addPeer(1, addressOf(i));
  const sent: Sent[] = [];
  const traffic = { to: (_: Remote): number => 1458 };
  const sink: VtepSink = {
    deliver: () => assert.unreachable(),
    transmit: () => assert.unreachable(),
    probe: ({ address }, bytes) => sent.push({ address, bytes }) > 0,
    largestTo: (remote) => traffic.to(remote),
  };
  let now = 1000;
  const tick = (): void => vtep.tick((now += 1000), sink);
  const receive = (from: string, bytes: Uint8Array): void =>
    vtep.receiveDatagram(from, new Frame(bytes.slice(), 0, bytes.length), now, 0, sink);
  /** The answer that the other VTEP gives, by the definition of the format. */
  const answer = ({ bytes }: Sent, size = probe.getSize(bytes, 0)): Uint8Array => {
    const one = bytes.slice(0, 32);
    one[17] = 2;
    one[18] = size >> 8;
    one[19] = size & 255;
    return one;
  };
  return { vtep, sent, tick, receive, answer, addressOf, traffic, now: () => now };
}

const counts = ({ vtep }: { vtep: Vtep }) => vtep.counters().counts;

test('probes have the length of the outer packet that they name, and an answer makes the path known', () => {
  for (const v6 of [false, true]) {
    const all = vtepWith(1, { v6 });
    all.tick();
    const sizes = all.sent.map(({ bytes }) => bytes.length + (v6 ? 48 : 28));
    assert.equal(sizes, v6 ? [1280, 1350, 1500] : [576, 1330, 1500]);
    assert.equal(
      all.sent.map(({ bytes }) => probe.getSize(bytes, 0)),
      sizes,
    );
    const tokens = new Set(all.sent.map(({ bytes }) => bytes.subarray(24, 32).join()));
    assert.is(tokens.size, 3);
    for (const one of all.sent) all.receive(one.address, all.answer(one));
    const remote = all.vtep.remote(all.addressOf(0))!;
    assert.is(all.vtep.paths.searchOf(remote)!.phase, 'complete');
    assert.equal([counts(all)['path-probes-sent'], counts(all)['path-probes-answered']], [3, 3]);
  }
});

test('an answer counts only if its probe is outstanding, from its remote, and with its size', () => {
  const all = vtepWith(2);
  all.tick();
  const mine = all.sent.filter(({ address }) => address === all.addressOf(0));
  const search = (): boolean => all.vtep.paths.searchOf(all.vtep.remote(all.addressOf(0))!)!.isKnown;
  const large = mine.at(-1)!;
  all.receive(all.addressOf(1), all.answer(large));
  all.receive('203.0.113.9', all.answer(large));
  all.receive(all.addressOf(0), all.answer(large, 1400));
  const wrong = all.answer(large);
  wrong[31]! ^= 1;
  all.receive(all.addressOf(0), wrong);
  assert.is(search(), false);
  assert.is(counts(all)['path-probes-answered'], 0);
  all.receive(all.addressOf(0), all.answer(large));
  assert.is(search(), true);
  all.receive(all.addressOf(0), all.answer(large));
  assert.is(counts(all)['path-probes-answered'], 1, 'once');
  for (let i = 0; i < 6; i++) all.tick();
  all.receive(all.addressOf(0), all.answer(mine[0]!));
  assert.is(counts(all)['path-probes-answered'], 1, 'not after 5 seconds');
});

test('what probes find out becomes the MTU of the remote', () => {
  const all = vtepWith(1);
  const remote = all.vtep.remote(all.addressOf(0))!;
  for (let i = 0; i < 40; i++) {
    all.tick();
    for (const one of all.sent.splice(0)) if (one.bytes.length + 28 <= 1400) all.receive(one.address, all.answer(one));
  }
  assert.is(innerMtu(remote), 1350);
  assert.equal(all.vtep.paths.takeNarrowed().includes(remote), true);
  assert.ok(counts(all)['path-probes-lost'] >= 6);
});

test('4096 remotes get 128 probes a second together, each has its turn, and idle ones get none', () => {
  const all = vtepWith(4096);
  const seen = new Set<string>();
  for (let i = 0; i < 120; i++) {
    all.tick();
    assert.ok(all.sent.length <= 130, `${all.sent.length} probes in a second`);
    for (const { address } of all.sent.splice(0)) seen.add(address);
  }
  assert.is(seen.size, 4096);
  const busy = all.addressOf(7);
  all.traffic.to = ({ address }) => (address === busy ? 1458 : 0);
  for (let i = 0; i < 5; i++) all.tick();
  all.sent.length = 0;
  for (let i = 0; i < 60; i++) all.tick();
  assert.ok(all.sent.every(({ address }) => address === busy));
});

test('a VTEP answers with 32 octets at most, with peersOnly to peers only, at a limited rate, and never itself', () => {
  const all = vtepWith(1, { peersOnly: true });
  const question = (size: number): Uint8Array =>
    probe.encode({ type: 1, size, token: new Uint8Array(8).fill(9), padding: size - 28 - 32 });
  all.receive(all.addressOf(0), question(1500));
  assert.is(all.sent.length, 1);
  assert.equal([...all.sent[0]!.bytes], [...all.answer({ address: '', bytes: question(1500) })]);
  assert.is(all.sent[0]!.address, all.addressOf(0));
  all.receive('203.0.113.9', question(1500));
  all.receive('192.0.2.1', question(1500));
  assert.is(all.sent.length, 1);
  all.vtep.addMember('203.0.113.9');
  all.receive('203.0.113.9', question(60));
  assert.is(all.sent.length, 2);
  assert.is(all.sent[1]!.bytes.length, 32);
  for (let i = 0; i < 1000; i++) all.receive(all.addressOf(0), question(100));
  assert.is(all.sent.length, 65);
  const open = vtepWith(0);
  for (let i = 0; i < 5000; i++) open.receive(open.addressOf(i), question(100));
  assert.is(open.sent.length, 1024);
  assert.is([...open.vtep.remotes()].length, 0, 'nothing is learned');
});

test('what is no probe is dropped as before, and explain says what a probe is', () => {
  const all = vtepWith(1);
  const before = all.vtep.counters().drops['vxlan-flag'];
  all.receive(all.addressOf(0), new Uint8Array(60));
  assert.is(all.vtep.counters().drops['vxlan-flag'], before + 1);
  const datagram = probe.encode({ type: 1, size: 100, token: new Uint8Array(8), padding: 40 });
  const { steps, dropped } = all.vtep.explain({ from: all.addressOf(0), datagram }, all.now());
  assert.is(dropped, null);
  assert.match(steps[0]!.text, /a probe of the path MTU/);
  assert.is(all.sent.length, 0);
});

test.run();
