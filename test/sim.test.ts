import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as arp from '../src/arp/index.js';
import * as ethernet from '../src/ethernet/index.js';
import * as icmp from '../src/icmp/index.js';
import * as ipv4 from '../src/ipv4/index.js';
import {
  Agenda,
  Alarm,
  Clock,
  connect,
  Link,
  Network,
  Random,
  Station,
  type LinkOptions,
  type PacketError,
  type PingResult,
  type StationOptions,
  type Timer,
  type TraceEvent,
} from '../src/sim/index.js';
import { arpRequest, BROADCAST, C1, C2, udpFrame } from './support/frames.js';
import { fromHex, hex } from './support/hex.js';

// ---- Random numbers ----

test('draws the numbers of the reference xoshiro128**', () => {
  // From prng.di.unimi.it/xoshiro128starstar.c with the state 1, 2, 3, 4; rand_xoshiro of Rust tests the same ten.
  const random = new Random([1, 2, 3, 4]);
  assert.equal(
    Array.from({ length: 10 }, () => random.next()),
    [11520, 0, 5927040, 70819200, 2031721883, 1637235492, 1287239034, 3734860849, 3729100597, 4258142804],
  );
});

/** Pearson's chi-square statistic for equal expected counts. */
function chiSquare(counts: readonly number[]): number {
  const expected = counts.reduce((sum, count) => sum + count, 0) / counts.length;
  return counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
}

// The bounds of chi-square that one in 10,000 exceeds: 33.7 for 9 degrees of freedom, 25.7 for 5.
test('numbers are uniform, also for adjacent seeds', () => {
  for (const seed of [0, 1, 2, -1, 2 ** 32, 2 ** 52 + 1]) {
    const random = new Random(seed);
    const counts = new Array<number>(10).fill(0);
    const floats = new Array<number>(10).fill(0);
    const orders = new Map<string, number>();
    for (let i = 0; i < 20_000; i++) {
      counts[random.integer(10)]!++;
      const float = random.float();
      assert.ok(float >= 0 && float < 1);
      floats[Math.floor(float * 10)]!++;
      const order = random.shuffle(['a', 'b', 'c']).join('');
      orders.set(order, (orders.get(order) ?? 0) + 1);
    }
    assert.ok(chiSquare(counts) < 33.7, `integer, seed ${seed}`);
    assert.ok(chiSquare(floats) < 33.7, `float, seed ${seed}`);
    assert.is(orders.size, 6);
    assert.ok(chiSquare([...orders.values()]) < 25.7, `shuffle, seed ${seed}`);
  }
  const firsts = new Array<number>(10).fill(0);
  for (let seed = 0; seed < 20_000; seed++) firsts[Math.floor(new Random(seed).float() * 10)]!++;
  assert.ok(chiSquare(firsts) < 33.7, 'first numbers');
});

test('integer is unbiased for ranges near 2^32', () => {
  const random = new Random(3);
  const count = 3 * 2 ** 30;
  const thirds = [0, 0, 0];
  for (let i = 0; i < 30_000; i++) thirds[Math.floor(random.integer(count) / 2 ** 30)]!++;
  assert.ok(chiSquare(thirds) < 18.4, thirds.join()); // a simple modulo would give the first third half of all
  assert.is(random.integer(1), 0);
  assert.ok(random.integer(2 ** 32) < 2 ** 32);
});

test('the same seed gives the same numbers, and a fork is independent', () => {
  const numbers = (random: Random): number[] => Array.from({ length: 5 }, () => random.next());
  assert.equal(numbers(new Random(42)), numbers(new Random(42)));
  assert.not.equal(numbers(new Random(42)), numbers(new Random(43)));
  assert.not.equal(numbers(new Random(5)), numbers(new Random(5 + 2 ** 32)));
  const one = new Random(42);
  const other = new Random(42);
  const fork = one.fork();
  other.fork().next();
  numbers(fork);
  assert.equal(numbers(one), numbers(other), 'what a fork draws changes nothing for its source');
  assert.not.equal(numbers(new Random(42).fork()), numbers(new Random(42)));
});

test('chances of 0 and 1 draw no number', () => {
  const random = new Random(1);
  assert.not(random.chance(0));
  assert.ok(random.chance(1));
  assert.is(random.next(), new Random(1).next());
  const hits = Array.from({ length: 10_000 }, () => random.chance(0.2)).filter((hit) => hit).length;
  assert.ok(Math.abs(hits - 2000) < 160, `${hits} of 10,000 at 0.2`); // four standard deviations
  assert.ok(['x', 'y'].includes(random.pick(['x', 'y'])));
  assert.throws(() => new Random(0.5), /seed must be an integer, not 0.5/);
  assert.throws(() => new Random([0, 0, 0, 0]), RangeError);
});

// ---- Time ----

test('an agenda returns items in the order of a sorted list', () => {
  const step = fc.oneof(
    fc.record({ add: fc.nat(20) }),
    fc.record({ cancel: fc.nat(200) }),
    fc.constant({ take: true as const }),
    fc.constant({ clear: true as const }),
  );
  const steps = fc.array(
    fc.oneof({ weight: 60, arbitrary: step }, { weight: 1, arbitrary: fc.constant({ clear: true as const }) }),
    { maxLength: 400 },
  );
  const adding = fc.array(fc.record({ add: fc.nat(1000) }), { minLength: 100, maxLength: 300 });
  fc.assert(
    fc.property(fc.boolean(), adding, steps, (full, first, then) => {
      const agenda = new Agenda();
      const timers: Timer[] = [];
      let list: { id: number; time: number }[] = [];
      let taken = -1;
      for (const one of full ? [...first, ...then] : then) {
        if ('add' in one) {
          const id = timers.length;
          timers.push(agenda.add(one.add, () => (taken = id)));
          list.push({ id, time: one.add });
          list.sort((a, b) => a.time - b.time || a.id - b.id);
        } else if ('cancel' in one) {
          if (timers.length === 0) continue;
          const id = one.cancel % timers.length;
          const there = list.some((item) => item.id === id);
          assert.is(agenda.cancel(timers[id]!), there);
          list = list.filter((item) => item.id !== id);
        } else if ('take' in one) {
          if (list.length === 0) continue;
          agenda.take()();
          assert.is(taken, list.shift()!.id);
        } else if (!full) {
          agenda.clear();
          list = [];
        }
        assert.is(agenda.size, list.length);
        assert.is(agenda.next, list[0]?.time ?? Infinity);
      }
      while (list.length > 0) {
        agenda.take()();
        assert.is(taken, list.shift()!.id);
      }
      assert.is(agenda.next, Infinity);
    }),
    { numRuns: 300 },
  );
});

test('a clock runs events in order of time, then of insertion', () => {
  const clock = new Clock();
  const seen: string[] = [];
  const note = (text: string) => () => void seen.push(`${text}@${clock.now}`);
  clock.at(20, note('c'));
  clock.at(10, note('a'));
  clock.at(10, note('b'));
  clock.at(10, () => {
    note('x')();
    clock.after(0, note('z')); // at the same time, but after those inserted before
  });
  clock.at(10, note('y'));
  const cancelled = clock.after(15, note('never'));
  assert.ok(clock.cancel(cancelled));
  assert.not(clock.cancel(cancelled));
  assert.is(clock.next, 10);
  assert.is(clock.run(19.5), 5);
  assert.equal(seen, ['a@10', 'b@10', 'x@10', 'y@10', 'z@10']);
  assert.is(clock.now, 19.5);
  assert.is(clock.pending, 1);
  assert.is(clock.advance(0.5), 1, 'what is due at the end runs too');
  assert.is(seen.at(-1), 'c@20');
  assert.not(clock.step());
  assert.is(clock.run(), 0);
  assert.is(clock.now, 20);
  assert.is(clock.events, 6);
});

test('every repeats until it is cancelled', () => {
  const clock = new Clock();
  const times: number[] = [];
  const stop = clock.every(0.25, () => times.push(clock.now));
  clock.run(1000);
  assert.equal(
    times,
    Array.from({ length: 4000 }, (_, i) => (i + 1) / 4),
  );
  stop();
  clock.run(2000);
  assert.is(times.length, 4000);
  let count = 0;
  const stopInside = clock.every(1, () => {
    if (++count === 3) stopInside();
  });
  clock.run();
  assert.is(count, 3);
});

test('a clock rejects invalid arguments, and works afterwards', () => {
  const clock = new Clock();
  clock.run(10);
  assert.throws(() => clock.at(9.9, () => {}), /time must be 10 or later, not 9.9/);
  assert.throws(() => clock.at(NaN, () => {}), RangeError);
  assert.throws(() => clock.after(-1, () => {}), RangeError);
  assert.throws(() => clock.every(0, () => {}), /interval must be above 0/);
  clock.after(1, () => void clock.run());
  assert.throws(() => clock.run(), /already running/);
  clock.after(1, () => {});
  assert.is(clock.run(), 1);
  assert.is(clock.run(5), 0);
  assert.is(clock.now, 12, 'it does not go back');
});

test('an alarm keeps the earliest time that was set', () => {
  const clock = new Clock();
  const times: number[] = [];
  const alarm = new Alarm(clock, () => times.push(clock.now));
  alarm.set(50);
  alarm.set(20);
  alarm.set(30);
  clock.run(100);
  assert.equal(times, [20]);
  alarm.set(40); // has passed: at once
  clock.run(101);
  assert.equal(times, [20, 100]);
  alarm.set(200);
  alarm.clear();
  clock.run(300);
  assert.equal(times, [20, 100]);
  assert.is(clock.pending, 0);
});

// ---- Links ----

/** Sends `count` packets of 1000 bytes, one per millisecond. @returns their numbers and times in order of arrival. */
function through(
  options: LinkOptions,
  count: number,
  every = 1,
): { arrivals: { number: number; time: number }[]; link: Link } {
  const clock = new Clock();
  const link = new Link(clock, new Random(11), options);
  const arrivals: { number: number; time: number }[] = [];
  for (let number = 0; number < count; number++)
    clock.at(number * every, () => void link.send(1000, () => arrivals.push({ number, time: clock.now })));
  clock.run();
  return { arrivals, link };
}

/** Four standard deviations of a binomial count. */
function within(count: number, trials: number, probability: number): void {
  const bound = 4 * Math.sqrt(trials * probability * (1 - probability));
  assert.ok(
    Math.abs(count - trials * probability) <= bound,
    `${count} of ${trials} at ${probability}, not within ${bound}`,
  );
}

test('a link adds its latency, and jitter keeps the order', () => {
  const { arrivals } = through({ latency: 5 }, 10);
  assert.equal(
    arrivals,
    Array.from({ length: 10 }, (_, number) => ({ number, time: number + 5 })),
  );
  const jittery = through({ latency: 5, jitter: 4 }, 5000, 10).arrivals;
  const delays = jittery.map(({ number, time }) => time - number * 10);
  assert.ok(delays.every((delay) => delay >= 5 && delay < 9));
  const counts = new Array<number>(10).fill(0);
  for (const delay of delays) counts[Math.floor(((delay - 5) / 4) * 10)]!++;
  assert.ok(chiSquare(counts) < 33.7);
  const dense = through({ latency: 5, jitter: 40 }, 1000).arrivals;
  assert.equal(
    dense.map(({ number }) => number),
    Array.from({ length: 1000 }, (_, number) => number),
  );
});

test('a link drops, duplicates and delays at the configured rates', () => {
  const trials = 20_000;
  const { arrivals: some, link: lossy } = through({ loss: 0.1 }, trials);
  within(trials - some.length, trials, 0.1);
  assert.is(lossy.counters.lost, trials - some.length);
  assert.is(lossy.counters.sent, trials);
  assert.is(lossy.counters.bytes, trials * 1000);
  assert.is(lossy.counters.delivered, some.length);
  assert.is(through({ loss: 1 }, 100).arrivals.length, 0);

  const { arrivals: twice, link: doubling } = through({ duplicate: 0.05 }, trials);
  within(twice.length - trials, trials, 0.05);
  assert.is(doubling.counters.duplicated, twice.length - trials);
  assert.is(new Set(twice.map(({ number }) => number)).size, trials);
  assert.is(through({ duplicate: 1 }, 100).arrivals.length, 200);

  const { arrivals: mixed, link: unruly } = through({ latency: 2, reorder: 0.03, reorderDelay: 4.5 }, trials);
  const held = mixed.filter(({ number, time }) => time !== number + 2);
  within(held.length, trials, 0.03);
  assert.is(unruly.counters.reordered, held.length);
  assert.ok(held.every(({ number, time }) => time === number + 6.5));
  // One per millisecond, delayed by 4.5: it arrives after the four sent after it, unless those are delayed too.
  const place = new Map(mixed.map(({ number }, at) => [number, at]));
  const alone = held.filter(({ number }) =>
    [1, 2, 3, 4].every((ahead) => !held.some((h) => h.number === number + ahead)),
  );
  assert.ok(alone.length > 300);
  for (const { number } of alone.filter(({ number }) => number < trials - 5))
    assert.ok([1, 2, 3, 4].every((ahead) => place.get(number + ahead)! < place.get(number)!));
  const obedient = mixed.filter(({ number, time }) => time === number + 2).map(({ number }) => number);
  assert.equal(
    obedient,
    [...obedient].sort((a, b) => a - b),
  );
});

test('a link with a bandwidth sends packets one by one, and its queue is bounded', () => {
  // 1000 bytes at 1 Mbit/s take 8 ms.
  const { arrivals, link } = through({ latency: 3, bandwidth: 1e6, queue: 4000 }, 20);
  assert.equal(
    arrivals.slice(0, 4).map(({ time }) => time),
    [11, 19, 27, 35],
  );
  assert.ok(link.counters.overflowed > 0);
  assert.is(arrivals.length + link.counters.overflowed, 20);
  const gaps = arrivals.slice(1).map(({ time }, i) => time - arrivals[i]!.time);
  assert.ok(gaps.every((gap) => Math.abs(gap - 8) < 1e-9));
  assert.is(through({ bandwidth: 1e6 }, 20, 8).link.counters.overflowed, 0);
});

test('a link carries packets up to its MTU, and can change while it runs', () => {
  const clock = new Clock();
  const link = new Link(clock, new Random(1), { mtu: 100 });
  assert.is(
    link.send(100, () => {}),
    'sent',
  );
  assert.is(
    link.send(101, () => {}),
    'too-big',
  );
  assert.is(link.counters.tooBig, 1);
  link.set({ mtu: 101, loss: 1 });
  assert.is(
    link.send(101, () => {}),
    'lost',
  );
  assert.is(link.options.latency, 1);
  assert.throws(() => link.set({ loss: 1.1 }), /link.loss must be from 0 to 1, not 1.1/);
  assert.throws(() => link.set({ latency: -1 }), /link.latency/);
  assert.throws(() => link.set({ jitter: NaN }), /link.jitter/);
  assert.throws(() => new Link(clock, new Random(1), { bandwidth: 0 }), /link.bandwidth must be above 0/);
  assert.is(link.options.mtu, 101);
});

// ---- The underlay ----

const A = '172.31.1.5';
const B = '192.168.1.25';
const C = '203.0.113.7';

/** A network of three nodes that record datagrams to port 7. */
function network(options: LinkOptions = {}, seed = 1) {
  const clock = new Clock();
  const events: TraceEvent[] = [];
  const net = new Network(clock, new Random(seed), options, (event) => events.push(event));
  const received: string[] = [];
  for (const address of [A, B, C])
    net
      .join(address)
      .bind(7, ({ source, sourcePort, tos, payload }) =>
        received.push(`${clock.now} ${source}:${sourcePort} to ${address}: ${hex(payload)} tos ${tos}`),
      );
  const send = (from: string, to: string, byte = 1): void =>
    net.node(from)!.send(to, 7, 9, Uint8Array.of(0xa5, byte, 0xa5), 1, 2);
  /** Which node reaches which. */
  const hearing = (): string => {
    received.length = 0;
    const names: Record<string, string> = { [A]: 'A', [B]: 'B', [C]: 'C' };
    for (const from of [A, B, C]) for (const to of [A, B, C]) if (from !== to) send(from, to);
    clock.advance(10);
    return received
      .map((line) => line.split(' '))
      .map(([, from, , to]) => names[from!.split(':')[0]!]! + names[to!.slice(0, -1)]!)
      .join(' ');
  };
  return { clock, net, received, events, send, hearing };
}

test('datagrams go from address to address', () => {
  const { clock, net, received, events, send } = network({ latency: 2.5 });
  const bytes = Uint8Array.of(1, 2, 3);
  net.node(A)!.send(B, 7, 4000, bytes, 0, 3, 0xb8);
  bytes.fill(9); // the sender's again
  clock.run();
  assert.equal(received, [`2.5 ${A}:4000 to ${B}: 010203 tos 184`]);
  net.node(A)!.send(B, 8, 4000, bytes);
  net.node(A)!.send('198.51.100.1', 7, 4000, bytes);
  send(B, A, 5);
  clock.run();
  assert.is(received.length, 2);
  assert.equal(
    events.map((event) => `${event.time} ${event.event} ${event.location}`),
    [
      `0 send ${A}`,
      `2.5 receive ${B}`,
      `2.5 send ${A}`,
      `2.5 send ${A}`,
      `2.5 send ${B}`,
      `5 no-port ${B}`,
      '5 no-node 198.51.100.1',
      `5 receive ${A}`,
    ],
  );
  assert.equal(
    [...net.nodes()].map(({ address }) => address),
    [A, B, C],
  );
  assert.throws(() => net.join(A), /already has a node/);
  assert.throws(() => net.node(A)!.bind(7, () => {}), /port 7 of 172.31.1.5 is already in use/);
  assert.ok(net.node(A)!.unbind(7));
  assert.not(net.node(A)!.unbind(7));
});

test('partitions and one-way cuts, and their healing', () => {
  const { net, hearing } = network();
  const all = 'AB AC BA BC CA CB';
  assert.is(hearing(), all);
  net.partition([A], [B, C]);
  assert.is(hearing(), 'BC CB');
  net.partition([A, B]);
  assert.is(hearing(), 'AB BA', 'those that no group names are a side of their own');
  net.partition([C], [A]);
  assert.is(hearing(), '');
  net.heal();
  assert.is(hearing(), all);
  net.cut(A, B);
  net.cut(A, C);
  net.cut(C, B);
  assert.is(hearing(), 'BA BC CA');
  assert.not(net.connected(A, B));
  net.heal();
  assert.is(hearing(), all);
});

test('a node that is down neither sends nor receives, and one that left can be replaced', () => {
  const { net, hearing, received, send, clock } = network();
  net.node(B)!.up = false;
  assert.is(hearing(), 'AC CA');
  net.node(B)!.up = true;
  send(A, B);
  net.node(B)!.up = false; // while the datagram is in transit
  received.length = 0;
  clock.advance(10);
  assert.equal(received, []);
  assert.ok(net.leave(B));
  assert.not(net.leave(B));
  assert.is(net.node(B), undefined);
  net.join(B).bind(7, () => received.push('new'));
  send(A, B);
  clock.advance(10);
  assert.equal(received, ['new']);
});

test('a path can have its own conditions, in one direction', () => {
  const { clock, net, received, send } = network({ latency: 2 });
  net.path(A, B).set({ latency: 30 });
  net.path(C, B).set({ loss: 1 });
  for (const [from, to] of [
    [A, B],
    [B, A],
    [A, C],
    [C, B],
  ] as const)
    send(from, to);
  clock.run();
  assert.equal(
    received.map((line) => line.split(':')[0]),
    [`2 ${B}`, `2 ${A}`, `30 ${A}`],
  );
  assert.is(net.path(A, B).counters.delivered, 1);
  assert.is(net.path(C, B).counters.lost, 1);
  assert.is(net.node(A)!.link.counters.delivered, 1, 'to C, by its own link');
  const slow = new Network(new Clock(), new Random(1), { latency: 2 });
  assert.is(slow.join(A, { latency: 9 }).link.options.latency, 9);
  assert.is(slow.path(A, B).options.latency, 9);
  assert.is(slow.path(B, A).options.latency, 2);
});

test('a sender gets an error for a datagram whose size with headers exceeds the MTU', () => {
  const { clock, net, received, events } = network({ latency: 2 });
  const reported: string[] = [];
  net.node(A)!.onTooBig = (address, mtu) => reported.push(`${clock.now} ${address} ${mtu}`);
  net.path(A, B).set({ mtu: 100 });
  const send = (size: number): void => net.node(A)!.send(B, 7, 9, new Uint8Array(size));
  send(72); // 20 + 8 in front
  clock.run();
  assert.is(received.length, 1);
  send(73);
  clock.run();
  assert.is(received.length, 1);
  assert.equal(reported, [`4 ${B} 100`]);
  assert.is(events.at(-1)!.event, 'too-big');
  net.join('fd00::1');
  net.path('fd00::1', 'fd00::2').set({ mtu: 100 });
  net.node('fd00::1')!.send('fd00::2', 7, 9, new Uint8Array(52));
  assert.is(events.at(-1)!.event, 'send');
  net.node('fd00::1')!.send('fd00::2', 7, 9, new Uint8Array(53));
  assert.is(events.at(-1)!.event, 'too-big');
});

test('datagrams are copied, small and large', () => {
  const { clock, net } = network();
  const sizes = [0, 1, 60, 1400, 20_000, 65_000];
  const kept: Uint8Array[] = [];
  net.node(A)!.link.set({ mtu: 70_000, duplicate: 1 });
  net.node(B)!.bind(8, ({ payload }) => kept.push(payload));
  for (let round = 0; round < 30; round++)
    for (const size of sizes) net.node(A)!.send(B, 8, 9, new Uint8Array(size).fill(kept.length + round));
  clock.run();
  assert.is(kept.length, 360);
  let at = 0;
  for (let round = 0; round < 30; round++)
    for (const size of sizes)
      for (let copy = 0; copy < 2; copy++, at++) {
        assert.is(kept[at]!.length, size);
        assert.ok(kept[at]!.every((octet) => octet === round));
      }
});

// ---- Stations ----

/** A station on a port that records what it sends, with a test clock. */
function rig(options: Partial<StationOptions> = {}) {
  const station = new Station({
    mac: C1.mac,
    ip: `${C1.ip}/24`,
    probe: false,
    announce: false,
    random: new Random(1),
    ...options,
  });
  const sent: { time: number; frame: Uint8Array }[] = [];
  let now = 0;
  let wake = Infinity;
  station.plug(
    {
      transmit: (bytes, offset, end, at) => void sent.push({ time: at, frame: bytes.slice(offset, end) }),
      wake: (at) => (wake = Math.min(wake, at)),
    },
    now,
  );
  /** Advances the time, and wakes the station at the times that it requested. */
  const until = (time: number): void => {
    while (wake <= time) {
      now = Math.max(now, wake);
      wake = Infinity;
      station.wake(now);
    }
    now = time;
  };
  return {
    station,
    sent,
    until,
    now: () => now,
    start: () => station.start(now),
    frame: (frame: Uint8Array): void => {
      const bytes = new Uint8Array(frame.length + 9).fill(0xa5);
      bytes.set(frame, 4);
      station.receive(bytes, 4, 4 + frame.length, now);
    },
    /** What was sent since the last call, as hexadecimal digits. */
    take: (): string[] => sent.splice(0).map(({ frame }) => hex(frame)),
    ping: (ip = C2.ip, options = {}): (PingResult | undefined)[] => {
      const results: (PingResult | undefined)[] = [undefined];
      station.ping(ip, options, now, (result) => (results[0] = result));
      return results;
    },
  };
}

function arpReply(from: { ip: string; mac: string }, to: { ip: string; mac: string }): Uint8Array {
  return ethernet.encode({
    destination: to.mac,
    source: from.mac,
    etherType: ethernet.TYPE_ARP,
    payload: arp.encode({
      operation: arp.REPLY,
      senderMac: from.mac,
      senderIp: from.ip,
      targetMac: to.mac,
      targetIp: to.ip,
    }),
  });
}

function ipFrame(
  from: { ip: string; mac: string },
  to: { ip: string; mac: string },
  rest: Partial<ipv4.Ipv4>,
): Uint8Array {
  const payload = ipv4.encode({
    protocol: 1,
    source: from.ip,
    destination: to.ip,
    payload: new Uint8Array(0),
    ...rest,
  });
  return ethernet.encode({ destination: to.mac, source: from.mac, etherType: ethernet.TYPE_IPV4, payload });
}

// Frames written by hand, with checksums computed by another program.
const REQUEST_FOR_C2 = 'ffffffffffff02420a0000030806000108000604000102420a0000030a0000030000000000000a000004';
const ANNOUNCEMENT = 'ffffffffffff02420a0000030806000108000604000102420a0000030a0000030000000000000a000003';
const PROBE = 'ffffffffffff02420a0000030806000108000604000102420a000003000000000000000000000a000003';
const REPLY_TO_C2 = '02420a00000402420a0000030806000108000604000202420a0000030a00000302420a0000040a000004';
const UNICAST_REQUEST = '02420a00000402420a0000030806000108000604000102420a0000030a0000030000000000000a000004';
const ECHO_REQUEST =
  '02420a00000402420a00000308004500002400014000400126d20a0000030a0000040800ebee000100000001020304050607';
const ECHO_REPLY =
  '02420a00000302420a00000408004500002400014000400126d20a0000040a0000030000f3ee000100000001020304050607';
const UDP_TO_C2 = '02420a00000402420a00000308004500002100014000401126c50a0000030a00000413880007000d946c68656c6c6f';
const PORT_UNREACHABLE =
  '02420a00000302420a00000408004500003d00014000400126b90a0000040a00000303031122000000004500002100014000401126c50a0000030a00000413880007000d946c68656c6c6f';

test('ping: resolves the address, sends the queued request, and receives the reply', () => {
  const { take, start, frame, ping, until, station } = rig();
  start();
  const results = ping(C2.ip, { size: 8 });
  assert.equal(take(), [REQUEST_FOR_C2]);
  frame(arpReply(C2, C1));
  assert.equal(take(), [ECHO_REQUEST]);
  until(7.5);
  frame(fromHex(ECHO_REPLY));
  assert.equal(results[0], { sent: 1, received: 1, lost: 0, duplicates: 0, damaged: 0, rtts: [7.5], errors: [] });
  assert.is(station.neighbor(C2.ip), C2.mac);
  assert.equal(take(), []);
  frame(fromHex(ECHO_REPLY));
  assert.is(station.counters.strayReplies, 1);
});

test('answers ARP requests for its address and echo requests, with their data', () => {
  const c2 = rig({ mac: C2.mac, ip: `${C2.ip}/24` });
  c2.start();
  c2.frame(fromHex(REQUEST_FOR_C2));
  assert.equal(c2.take(), [hex(arpReply(C2, C1))]);
  c2.frame(fromHex(ECHO_REQUEST));
  assert.equal(c2.take(), [ECHO_REPLY], 'C1 is known from its request');
  assert.is(c2.station.counters.echoesAnswered, 1);
  c2.frame(fromHex(ECHO_REQUEST + 'a5a5a5')); // padding
  assert.is(c2.take()[0]!.length, ECHO_REPLY.length);
  const c1 = rig();
  c1.start();
  c1.frame(arpRequest(C2, C1.ip));
  assert.equal(c1.take(), [REPLY_TO_C2]);
  c1.frame(arpRequest({ ip: '0.0.0.0', mac: C2.mac }, C1.ip)); // a probe
  assert.is(c1.take()[0]!.slice(-20), '02420a00000400000000');
  assert.is(c1.station.neighbor('0.0.0.0'), null);
});

test('counts duplicates, damage and losses of a series', () => {
  const { take, start, frame, ping, until } = rig();
  start();
  frame(arpRequest(C2, C1.ip));
  take();
  const results = ping(C2.ip, { count: 3, size: 8, interval: 100, timeout: 500 });
  assert.equal(take(), [ECHO_REQUEST]);
  frame(fromHex(ECHO_REPLY));
  frame(fromHex(ECHO_REPLY));
  until(100);
  const second = icmp.encode({ type: 0, code: 0, identifier: 1, sequence: 1, payload: new Uint8Array(8) });
  frame(ipFrame(C2, C1, { payload: second })); // correct length and checksum, wrong data
  const data = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9); // correct at first, but too long
  frame(ipFrame(C2, C1, { payload: icmp.encode({ type: 0, code: 0, identifier: 1, sequence: 1, payload: data }) }));
  until(699);
  assert.is(results[0], undefined);
  until(700);
  assert.equal(results[0], { sent: 3, received: 1, lost: 2, duplicates: 1, damaged: 2, rtts: [0], errors: [] });
  assert.is(take().length, 2);
  assert.throws(() => ping(C2.ip, { count: 65_537 }), /ping.count/);
  assert.throws(() => ping(C2.ip, { size: 65_508 }), /ping.size/);
});

test('sends three ARP requests, one second apart, and gives up', () => {
  const { sent, start, ping, until } = rig();
  start();
  const results = ping(C2.ip, { count: 2, interval: 500 });
  until(10_000);
  assert.equal(
    sent.map(({ time, frame }) => [time, hex(frame)]),
    [0, 1000, 2000].map((time) => [time, REQUEST_FOR_C2]),
  );
  assert.equal(results[0]!.errors, [
    { reason: 'no-neighbor', sequence: 0 },
    { reason: 'no-neighbor', sequence: 1 },
  ]);
  assert.is(results[0]!.lost, 2);
});

test('bounds the queue of packets that wait for ARP, and keeps the newest', () => {
  const { take, start, frame, station, now } = rig({ arp: { queue: 2 } });
  start();
  const errors: string[] = [];
  station.bind(5000, { receive: () => {}, error: ({ reason }) => errors.push(reason) });
  for (const data of [1, 2, 3]) assert.is(station.sendUdp(C2.ip, 7, 5000, Uint8Array.of(data), now()), null);
  assert.equal(errors, ['no-neighbor']);
  take();
  frame(arpReply(C2, C1));
  assert.equal(
    take().map((frame) => frame.slice(-2)),
    ['02', '03'],
  );
});

test('verifies an old neighbour by unicast, and by broadcast if that is not answered', () => {
  const { take, start, frame, ping, until, station, sent } = rig();
  start();
  frame(arpRequest(C2, C1.ip));
  take();
  until(30_000);
  ping();
  assert.is(take().length, 1, 'thirty seconds are not too old');
  until(30_001);
  ping();
  const [packet, request] = take();
  assert.is(packet!.slice(0, 12), '02420a000004', 'the packet goes all the same');
  assert.is(request, UNICAST_REQUEST);
  ping();
  assert.is(take().length, 1, 'one question at a time');
  frame(arpReply(C2, C1));
  until(40_000);
  assert.equal(take(), [], 'the answer ends it');
  until(70_002);
  ping();
  take();
  until(72_900);
  assert.equal(take(), [UNICAST_REQUEST, UNICAST_REQUEST]);
  until(73_100);
  assert.is(station.neighbor(C2.ip), null);
  ping();
  assert.equal(
    sent.splice(0).map(({ frame }) => hex(frame)),
    [REQUEST_FOR_C2],
  );
});

test('learns from ARP as in RFC 826: from requests to it, and changes of known neighbours', () => {
  const { station, start, frame } = rig();
  start();
  frame(arpRequest(C2, '10.0.0.9'));
  assert.is(station.neighbor(C2.ip), null, 'not from what is between others');
  frame(arpRequest({ ip: '10.9.9.9', mac: C2.mac }, C1.ip));
  assert.is(station.neighbor('10.9.9.9'), null, 'not from another subnet');
  frame(arpRequest(C2, C1.ip));
  assert.is(station.neighbor(C2.ip), C2.mac);
  const elsewhere = { ip: C2.ip, mac: '02:42:0a:00:00:99' };
  frame(arpRequest(elsewhere, elsewhere.ip)); // an announcement
  assert.is(station.neighbor(C2.ip), elsewhere.mac);
  const full = rig({ arp: { capacity: 2 } });
  full.start();
  for (const host of [10, 11, 12]) full.frame(arpRequest({ ip: `10.0.0.${host}`, mac: C2.mac }, C1.ip));
  assert.is(full.station.neighbor('10.0.0.10'), null);
  assert.is(full.station.neighbor('10.0.0.12'), C2.mac);
});

test('probes before it uses its address, then announces it (RFC 5227, section 2.1.1)', () => {
  for (const seed of [1, 2, 3]) {
    const { sent, start, station, until, frame, ping } = rig({ probe: true, announce: true, random: new Random(seed) });
    start();
    assert.is(station.state, 'probing');
    frame(arpRequest(C2, C1.ip));
    frame(fromHex(ECHO_REQUEST));
    assert.is(ping()[0]!.errors[0]!.reason, 'down');
    until(20_000);
    assert.is(station.state, 'up');
    assert.equal(
      sent.map(({ frame }) => hex(frame)),
      [PROBE, PROBE, PROBE, ANNOUNCEMENT, ANNOUNCEMENT],
      'and nothing else: an address that is not yet its own is not answered for',
    );
    const [first, second, third, claim, again] = sent.map(({ time }) => time) as [
      number,
      number,
      number,
      number,
      number,
    ];
    assert.ok(first >= 0 && first < 1000, 'PROBE_WAIT');
    for (const gap of [second - first, third - second]) assert.ok(gap >= 1000 && gap <= 2000, 'PROBE_MIN, PROBE_MAX');
    assert.ok(Math.abs(claim - third - 2000) < 1e-6, 'ANNOUNCE_WAIT');
    assert.ok(Math.abs(again - claim - 2000) < 1e-6, 'ANNOUNCE_INTERVAL');
  }
});

test('gives its address up if it is in use, or another station probes for it', () => {
  const taken = { ip: C1.ip, mac: C2.mac };
  for (const frame of [
    arpReply(taken, C1),
    arpRequest(taken, '10.0.0.9'),
    arpRequest({ ip: '0.0.0.0', mac: C2.mac }, C1.ip),
  ]) {
    const one = rig({ probe: true });
    one.start();
    one.until(1500);
    one.take();
    one.frame(frame);
    assert.is(one.station.state, 'conflict');
    one.until(60_000);
    assert.equal(one.take(), []);
    one.start();
    assert.is(one.station.state, 'probing');
    one.frame(fromHex(PROBE)); // its own probe, looped back
    assert.is(one.station.state, 'probing');
  }
});

test('defends its address once in ten seconds (RFC 5227, section 2.4)', () => {
  const { station, start, until, take, frame, ping } = rig();
  const rival = arpRequest({ ip: C1.ip, mac: C2.mac }, '10.0.0.9');
  start();
  frame(rival);
  assert.equal(take(), [ANNOUNCEMENT]);
  assert.is(station.state, 'up');
  until(10_000);
  frame(rival);
  assert.equal(take(), [ANNOUNCEMENT]);
  const results = ping('10.0.0.9', { count: 9 });
  until(19_999);
  frame(rival);
  assert.is(station.state, 'conflict');
  assert.is(station.counters.conflicts, 3);
  assert.ok(results[0], 'a ping that was under way has ended');
  take();
  frame(arpRequest(C2, C1.ip));
  assert.equal(take(), []);
});

test('sends and receives UDP with checksums', () => {
  const c1 = rig();
  c1.start();
  c1.frame(arpRequest(C2, C1.ip));
  c1.take();
  assert.is(c1.station.sendUdp(C2.ip, 7, 5000, fromHex('68656c6c6f'), 0), null);
  assert.equal(c1.take(), [UDP_TO_C2]);
  const c2 = rig({ mac: C2.mac, ip: `${C2.ip}/24` });
  c2.start();
  const got: unknown[] = [];
  c2.station.bind(7, { receive: ({ payload, ...rest }, now) => got.push({ ...rest, payload: hex(payload), now }) });
  assert.throws(() => c2.station.bind(7, { receive: () => {} }), /UDP port 7 is already in use/);
  c2.until(3);
  c2.frame(fromHex(UDP_TO_C2));
  const expected = {
    source: C1.ip,
    sourcePort: 5000,
    destination: C2.ip,
    destinationPort: 7,
    payload: '68656c6c6f',
    now: 3,
  };
  assert.equal(got, [expected]);
  const wrong = fromHex(UDP_TO_C2);
  wrong[wrong.length - 1]! ^= 1;
  c2.frame(wrong);
  assert.is(c2.station.counters.badChecksum, 1);
  c2.frame(fromHex(UDP_TO_C2.replace('946c', '0000'))); // none
  assert.is(got.length, 2);
  c2.frame(fromHex(UDP_TO_C2.replace('000d946c', '00ff946c'))); // longer than the packet
  assert.is(c2.station.counters.malformed, 1);
  assert.ok(c2.station.unbind(7));
  assert.equal(c2.take(), []);
});

test('sends and receives port and protocol unreachable', () => {
  const c2 = rig({ mac: C2.mac, ip: `${C2.ip}/24` });
  c2.start();
  c2.frame(fromHex(REQUEST_FOR_C2));
  c2.take();
  c2.frame(fromHex(UDP_TO_C2));
  assert.equal(c2.take(), [PORT_UNREACHABLE]);
  c2.frame(ipFrame(C1, C2, { protocol: 132, payload: new Uint8Array(2000) }));
  const [answer] = c2.take();
  assert.is(answer!.slice(68, 72), '0302');
  assert.is(answer!.length / 2 - 14, 576, 'at most the size of RFC 1812');

  const c1 = rig();
  c1.start();
  const errors: [PacketError, string, number][] = [];
  c1.station.bind(5000, { receive: () => {}, error: (error, ip, port) => void errors.push([error, ip, port]) });
  c1.frame(arpRequest(C2, C1.ip));
  c1.station.sendUdp(C2.ip, 7, 5000, fromHex('68656c6c6f'), 0);
  c1.take();
  c1.frame(fromHex(PORT_UNREACHABLE));
  assert.equal(errors, [[{ reason: 'unreachable', from: C2.ip, code: 3 }, C2.ip, 7]]);
  assert.equal(c1.take(), []);
});

test('reports ICMP errors to a ping', () => {
  const { start, frame, take, ping, until } = rig();
  start();
  frame(arpRequest(C2, C1.ip));
  take();
  const twice = ping(C2.ip, { count: 2, interval: 1, timeout: 1 });
  const about = fromHex(take()[0]!).subarray(14, 14 + 28);
  for (let i = 0; i < 2; i++) frame(ipFrame(C2, C1, { payload: icmp.encode({ type: 3, code: 1, payload: about }) }));
  until(10);
  assert.is(twice[0]!.errors.length, 1, 'one for each request');
  for (const [message, reason] of [
    [{ type: 3, code: 1 }, 'unreachable'],
    [{ type: 11, code: 0 }, 'expired'],
    [{ type: 12, code: 0 }, 'malformed'],
  ] as const) {
    take();
    const results = ping(C2.ip, { timeout: 10 });
    const quote = fromHex(take()[0]!).subarray(14);
    frame(
      ipFrame({ ip: '10.0.0.1', mac: C2.mac }, C1, {
        payload: icmp.encode({ ...message, payload: quote.subarray(0, 28) }),
      }),
    );
    assert.equal(results[0]!.errors, [{ reason, from: '10.0.0.1', code: message.code, sequence: 0 }]);
  }
});

test('sends no ICMP error for an error, a broadcast, or a source that is not a host (RFC 1122, section 3.2.2)', () => {
  const { start, frame, take, station } = rig();
  start();
  for (const other of [
    C2,
    { ip: '10.0.0.255', mac: C2.mac },
    { ip: '224.0.0.5', mac: C2.mac },
    { ip: '127.0.0.1', mac: C2.mac },
  ])
    frame(arpRequest(other, C1.ip));
  take();
  const closed = { protocol: 17, payload: fromHex('1388000700080000') };
  frame(ipFrame(C2, { ip: C1.ip, mac: BROADCAST }, closed));
  frame(ipFrame(C2, { ip: '10.0.0.255', mac: BROADCAST }, closed));
  frame(ipFrame(C2, { ip: '255.255.255.255', mac: BROADCAST }, closed));
  frame(ipFrame(C2, { ip: '10.0.0.255', mac: C1.mac }, closed));
  frame(ipFrame(C2, { ip: '10.0.0.255', mac: BROADCAST }, { payload: fromHex(ECHO_REQUEST).subarray(34) }));
  for (const ip of ['10.0.0.255', '224.0.0.5', '127.0.0.1', '0.0.0.0', '250.0.0.1'])
    frame(ipFrame({ ip, mac: C2.mac }, C1, closed));
  const error = icmp.encode({ type: 3, code: 3, payload: fromHex(UDP_TO_C2).subarray(14) });
  frame(ipFrame(C2, C1, { payload: error }));
  assert.equal(take(), []);
  frame(ipFrame(C2, C1, closed));
  assert.is(take().length, 1);
  assert.is(station.counters.errorsSent, 1);
});

test('drops packets for others, damaged packets and fragments', () => {
  const { start, frame, take, station } = rig();
  start();
  frame(arpRequest(C2, C1.ip));
  take();
  frame(udpFrame(C2, { ip: C1.ip, mac: '02:42:0a:00:00:77' }));
  assert.is(station.counters.otherMac, 1);
  frame(udpFrame(C2, { ip: '10.0.0.77', mac: C1.mac }));
  assert.is(station.counters.otherIp, 1);
  const packet = udpFrame(C2, C1);
  packet[22]! ^= 1; // TTL
  frame(packet);
  assert.is(station.counters.badChecksum, 1);
  frame(ipFrame(C2, C1, { moreFragments: true, payload: new Uint8Array(8) }));
  assert.is(station.counters.fragments, 1);
  frame(packet.subarray(0, 30));
  frame(packet.subarray(0, 13));
  frame(fromHex(REPLY_TO_C2).subarray(0, 40));
  frame(fromHex('02420a00000302420a000003080600')); // nothing behind its header
  assert.is(station.counters.malformed, 3);
  assert.is(station.counters.otherMac, 2);
  const echo = fromHex(ECHO_REPLY);
  echo[34 + 8]! ^= 1;
  frame(echo);
  assert.is(station.counters.badChecksum, 2);
  frame(fromHex('02420a00000302420a00000486dd6000'));
  frame(ipFrame(C2, C1, { payload: icmp.encode({ type: 13, code: 0, payload: new Uint8Array(0) }) }));
  frame(ipFrame(C2, C1, { payload: icmp.encode({ type: 5, code: 1, payload: fromHex(UDP_TO_C2).subarray(14) }) }));
  assert.is(station.counters.ignored, 3);
  frame(ipFrame(C2, C1, { payload: icmp.encode({ type: 3, code: 1, payload: packet.subarray(14) }) }));
  assert.is(station.counters.malformed, 4, 'an error about a packet that is not its own');
  assert.equal(take(), []);
});

function tooBig(quote: Uint8Array, mtu: number): Uint8Array {
  return ipFrame({ ip: '10.0.0.1', mac: C2.mac }, C1, {
    payload: icmp.encode({ type: 3, code: 4, nextHopMtu: mtu, payload: quote.subarray(14, 14 + 28) }),
  });
}

test('keeps a path MTU for ten minutes (RFC 1191)', () => {
  const { start, frame, sent, take, ping, until, now, station } = rig({ mtu: 1500 });
  start();
  frame(arpRequest(C2, C1.ip));
  take();
  const learn = (mtu: number, size = 1472): PingResult => {
    const results = ping(C2.ip, { size, timeout: 1 });
    const probe = sent.splice(0).find(({ frame }) => frame[13] === 0);
    if (probe !== undefined) frame(tooBig(probe.frame, mtu));
    until(now() + 1);
    return results[0]!;
  };
  assert.equal(learn(1400).errors, [{ reason: 'too-big', from: '10.0.0.1', code: 4, mtu: 1400, sequence: 0 }]);
  assert.is(station.pathMtu(C2.ip, now()), 1400);
  assert.is(station.pathMtu('10.0.0.9', now()), 1500);
  assert.equal(learn(1).errors, [{ reason: 'too-big', mtu: 1400, sequence: 0 }], 'it is not even sent');
  assert.equal(take(), []);
  assert.equal(learn(1380, 1372).errors[0]!.mtu, 1380, '1400 bytes with the headers do go');
  assert.equal(learn(1400, 1000).errors, [], 'a larger MTU than known is not believed');
  assert.equal(learn(67, 1000).errors, [], 'nor one that no path may have');
  assert.equal(learn(1028, 1000).errors, [], 'nor one that the packet fitted into');
  assert.is(station.pathMtu(C2.ip, now()), 1380);
  const both = [0, 0].map(() => {
    ping(C2.ip, { size: 1352 });
    return take()[0]!;
  });
  frame(tooBig(fromHex(both[0]!), 1360));
  frame(tooBig(fromHex(both[1]!), 1370)); // sent before the path MTU was known, over another path
  assert.is(station.pathMtu(C2.ip, now()), 1360);
  until(599_000);
  assert.is(station.pathMtu(C2.ip, now()), 1360);
  until(601_000);
  assert.is(station.pathMtu(C2.ip, now()), 1500);
  frame(arpRequest(C2, C1.ip));
  take();
  assert.is(learn(0).errors[0]!.mtu, 1492, 'the next plateau of RFC 1191, section 7.1');
  assert.is(learn(0, 1464).errors[0]!.mtu, 1006);
  assert.is(station.sendUdp(C2.ip, 7, 5000, new Uint8Array(978), now()), null);
  assert.equal(station.sendUdp(C2.ip, 7, 5000, new Uint8Array(979), now()), { reason: 'too-big', mtu: 1006 });
  start();
  assert.is(station.pathMtu(C2.ip, now()), 1500);
});

test('sends to other subnets through its gateway, to itself over no link, and to broadcast', () => {
  const gateway = { ip: '10.0.0.1', mac: '02:42:0a:00:00:01' };
  const { start, frame, take, ping, until, station } = rig({ gateway: gateway.ip });
  start();
  ping('192.0.2.1', { size: 0 });
  assert.is(take()[0]!.slice(-8), '0a000001');
  frame(arpReply(gateway, C1));
  const [packet] = take();
  assert.is(packet!.slice(0, 12), '02420a000001');
  assert.is(packet!.slice(60, 68), 'c0000201');
  assert.is(ping('224.0.0.1')[0]!.errors[0]!.reason, 'no-route');
  const own = ping(C1.ip, { count: 2, interval: 10 });
  until(11);
  assert.is(own[0]!.received, 2);
  assert.equal(take(), []);
  station.sendUdp('10.0.0.255', 7, 5000, new Uint8Array(0), 11);
  station.sendUdp('255.255.255.255', 7, 5000, new Uint8Array(0), 11);
  assert.equal(
    take().map((frame) => frame.slice(0, 12)),
    ['ffffffffffff', 'ffffffffffff'],
  );
  const pointToPoint = rig({ ip: '10.0.0.2/31' }); // RFC 3021: both addresses are hosts
  pointToPoint.start();
  pointToPoint.station.sendUdp('10.0.0.3', 7, 5000, new Uint8Array(0), 0);
  assert.is(pointToPoint.take()[0]!.slice(24, 28), '0806');
  const alone = rig();
  alone.start();
  assert.is(alone.ping('192.0.2.1')[0]!.errors[0]!.reason, 'no-route');
  assert.equal(alone.station.sendUdp('192.0.2.1', 7, 5000, new Uint8Array(0), 0), { reason: 'no-route' });
  assert.throws(() => rig({ mac: BROADCAST }), /is a group address/);
  assert.throws(() => rig({ ip: '10.0.0.3' }), /is not an IPv4 prefix/);
});

test('loses its state at a restart, and sends nothing when stopped', () => {
  const { start, frame, take, ping, until, station, now } = rig({ announce: true });
  assert.is(station.state, 'down');
  frame(arpRequest(C2, C1.ip));
  assert.equal(take(), []);
  start();
  frame(arpRequest(C2, C1.ip));
  const results = ping(C2.ip, { count: 10 });
  start();
  assert.is(results[0]!.lost, 1);
  assert.is(station.neighbor(C2.ip), null);
  take();
  station.announce(now());
  assert.equal(take(), [ANNOUNCEMENT]);
  station.stop(now());
  until(10_000);
  assert.equal(take(), []);
  assert.is(station.due, Infinity);
  station.announce(now());
  assert.equal(take(), []);
  start();
  station.plug(null, now());
  const unplugged = ping();
  until(20_000);
  assert.equal(unplugged, [undefined], 'without a port, nothing wakes it');
});

test('two stations on a cable', () => {
  const clock = new Clock();
  const random = new Random(5);
  const make = (one: { ip: string; mac: string }): Station =>
    new Station({ mac: one.mac, ip: `${one.ip}/24`, random: random.fork() });
  const c1 = make(C1);
  const c2 = make(C2);
  const { there, back } = connect(clock, random, c1, c2, { latency: 10 });
  c1.start(clock.now);
  c2.start(clock.now);
  clock.run(20_000);
  assert.equal([c1.state, c2.state], ['up', 'up']);
  const results: PingResult[] = [];
  c1.ping(C2.ip, { count: 5 }, clock.now, (result) => results.push(result));
  clock.run(30_000);
  assert.equal(results[0]!.rtts, [40, 20, 20, 20, 20], 'ARP takes a round trip of its own');
  // An echo server and its client.
  const received: string[] = [];
  c2.bind(7, {
    receive: ({ source, sourcePort, payload }, now) => void c2.sendUdp(source, sourcePort, 7, payload.slice(), now),
  });
  c1.bind(5000, { receive: ({ payload }, now) => void received.push(`${now} ${hex(payload)}`) });
  c1.sendUdp(C2.ip, 7, 5000, Uint8Array.of(1, 2, 3), clock.now);
  clock.run(31_000);
  assert.equal(received, ['30020 010203']);
  // The cable's limit excludes the Ethernet header, like an MTU.
  there.set({ mtu: 84 });
  c1.ping(C2.ip, { size: 56 }, clock.now, (result) => results.push(result));
  c1.ping(C2.ip, { size: 57 }, clock.now, (result) => results.push(result));
  back.set({ loss: 1 });
  clock.run(40_000);
  assert.equal([there.counters.tooBig, back.counters.lost], [1, 1]);
  assert.equal(
    results.slice(1).map(({ lost }) => lost),
    [1, 1],
  );
});

test('the second of two stations with one address detects that it is in use', () => {
  const clock = new Clock();
  const random = new Random(5);
  const c1 = new Station({ mac: C1.mac, ip: `${C1.ip}/24`, random: random.fork() });
  const c2 = new Station({ mac: C2.mac, ip: `${C1.ip}/24`, random: random.fork() });
  connect(clock, random, c1, c2);
  c1.start(0);
  clock.run(10_000);
  c2.start(clock.now);
  clock.run(20_000);
  assert.equal([c1.state, c2.state], ['up', 'conflict']);
});

test('a station never throws for any bytes', () => {
  const { start, frame, station, until } = rig({ gateway: '10.0.0.1' });
  start();
  const seeds = [
    REQUEST_FOR_C2,
    ECHO_REPLY,
    PORT_UNREACHABLE,
    hex(udpFrame(C2, C1)),
    hex(tooBig(fromHex(ECHO_REQUEST), 500)),
  ];
  const damaged = fc
    .tuple(fc.constantFrom(...seeds), fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }), fc.nat(200))
    .map(([seed, flips, cut]) => {
      const bytes = fromHex(seed);
      for (const [at, octet] of flips) bytes[at % bytes.length] = octet;
      // Half of them get correct checksums, to pass the first checks.
      if (cut % 2 === 0 && ipv4.check(bytes, 14, bytes.length) > 0) ipv4.fillChecksum(bytes, 14);
      return cut < bytes.length ? bytes.subarray(0, cut) : bytes;
    });
  let now = 0;
  fc.assert(
    fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 100 })), (bytes) => {
      frame(bytes);
      until(++now);
      if (station.state !== 'up') station.start(now);
    }),
    { numRuns: 3000 },
  );
});

test.run();
