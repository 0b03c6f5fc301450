import { createHash } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { performance } from 'node:perf_hooks';
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as arp from '../src/arp/index.js';
import {
  Overlay,
  planHosts,
  Random,
  SimHost,
  Station,
  TWO_HOSTS,
  type OverlayHost,
  type OverlayOptions,
  type PingResult,
  type TraceEvent,
} from '../src/sim/index.js';
import { Vtep } from '../src/vtep/index.js';
import { C1, C2, udpFrame } from './support/frames.js';
import { hex } from './support/hex.js';

const VNI = 4097;
const ARP = 0x0806;
const ARP_REPLY = 2;

function pairsOf<T>(items: readonly T[]): [T, T][] {
  return items.flatMap((a) => items.filter((b) => b !== a).map((b): [T, T] => [a, b]));
}

const received = (results: readonly PingResult[]): number => results.reduce((sum, one) => sum + one.received, 0);

/**
 * Counts how often each frame is sent anywhere and delivered at each station. Ignores the destination, which a VTEP may
 * change. No station may receive a frame more often than it was sent.
 */
class Watch {
  readonly sent = new Map<string, number>();
  readonly delivered = new Map<string, number>();
  frames = 0;

  readonly trace = (event: TraceEvent): void => {
    if (event.kind !== 'frame') return;
    const { frame, location } = event;
    this.frames++;
    // A proxy may send an ARP reply, which no station has sent.
    if (((frame[12]! << 8) | frame[13]!) === ARP && frame[21] === ARP_REPLY) return;
    // A VTEP may send an announcement of an endpoint's new MAC address.
    if (((frame[12]! << 8) | frame[13]!) === ARP && arp.isAnnouncement(frame, 14)) return;
    const key = Buffer.from(frame.buffer, frame.byteOffset + 6, frame.length - 6).toString('latin1');
    const map = event.event === 'send' ? this.sent : this.delivered;
    const name = event.event === 'send' ? key : `${location.split('/')[1]} ${key}`;
    map.set(name, (map.get(name) ?? 0) + 1);
  };

  /** Frames that a station received more often than they were sent. */
  excess(): string[] {
    return [...this.delivered]
      .filter(([name, count]) => count > (this.sent.get(name.slice(name.indexOf(' ') + 1)) ?? 0))
      .map(([name, count]) => `${count} times ${Buffer.from(name, 'latin1').toString('hex')}`);
  }
}

function fdbOf({ host }: OverlayHost, now: number): Record<string, string | null> {
  return Object.fromEntries(host.vtep!.fdb(VNI, now).map(({ mac, port, vtep }) => [mac, port ?? vtep]));
}

function countOf(hosts: readonly OverlayHost[], name: 'flooded' | 'moved' | 'learned' | 'contradicted'): number {
  return hosts.reduce((sum, { host }) => sum + host.vtep!.counters().counts[name], 0);
}

test('one ping, step by step, between two hosts of different subnets', () => {
  const events: TraceEvent[] = [];
  const net = new Overlay({ hosts: TWO_HOSTS, station: { announce: false }, trace: (event) => events.push(event) });
  const [c1, c2] = net.stations as [Station, Station];
  const [result] = net.ping([[c1, c2]], { size: 10 });
  assert.equal(result!.rtts, [2], 'a millisecond each way; the proxy answers at once');
  assert.equal(
    events.map(({ time, location, event, kind }) => `${time} ${location} ${event} ${kind}`),
    [
      '0 h1/c1 send frame', // who has 10.0.0.4
      '0 h1/c1 receive frame', // the proxy's reply
      '0 h1/c1 send frame',
      '0 172.31.1.5 send datagram',
      '1 192.168.1.25 receive datagram',
      '1 h2/c2 receive frame',
      '1 h2/c2 send frame', // who has 10.0.0.3
      '1 h2/c2 receive frame',
      '1 h2/c2 send frame',
      '1 192.168.1.25 send datagram',
      '2 172.31.1.5 receive datagram',
      '2 h1/c1 receive frame',
    ],
  );
  const echo = events[2]!.kind === 'frame' ? hex(events[2]!.frame) : '';
  assert.is(echo.slice(0, 28), '02420a000004' + '02420a000003' + '0800');
  for (const at of [3, 4]) {
    const event = events[at]!;
    assert.is(event.kind, 'datagram');
    if (event.kind !== 'datagram') continue;
    const { source, destination, destinationPort, sourcePort, payload } = event.datagram;
    assert.equal([source, destination, destinationPort], [C1.host, C2.host, 4789]);
    assert.ok(sourcePort >= 49_152);
    assert.is(hex(payload), '0800000000100100' + echo, 'RFC 7348: flag I, VNI 4097, the frame');
  }
  assert.equal([c1.ip, c2.ip, net.hostOf(c2).name], [C1.ip, C2.ip, 'h2']);
});

test('the same seed gives an identical run, another seed a different one', () => {
  const run = (seed: number): string => {
    const hash = createHash('sha256');
    const net = new Overlay({
      hosts: 8,
      stationsEach: 2,
      seed,
      control: 'flood',
      link: { latency: 1, jitter: 5, loss: 0.05, duplicate: 0.02, reorder: 0.05 },
      station: { probe: true },
      trace: (event) => {
        const { time, location, event: what } = event;
        hash
          .update(`${time} ${location} ${what} `)
          .update(event.kind === 'frame' ? event.frame : event.datagram.payload);
      },
    });
    net.clock.run(8000);
    net.ping(pairsOf(net.stations).slice(0, 60), { count: 2 });
    net.move(net.station('c3'), net.host('h7'));
    net.restart(net.host('h2'), 300);
    net.clock.advance(20_000);
    net.ping(pairsOf(net.stations).slice(100, 160));
    return hash.digest('hex');
  };
  assert.is(run(1), run(1));
  assert.is.not(run(1), run(2));
});

const MODES: [name: string, options: Partial<OverlayOptions>][] = [
  ['the proxy answers for endpoints', { control: 'endpoints' }],
  ['the proxy answers with the VTEP’s address', { control: 'endpoints', segment: { proxy: 'vtep' } }],
  ['the VTEPs flood and learn', { control: 'flood' }],
  ['the VTEPs know the endpoints and flood as well', { control: 'both' }],
];

for (const [name, options] of MODES)
  test(`a hundred hosts: a thousand pairs ping, and no frame comes twice, where ${name}`, () => {
    const watch = new Watch();
    const net = new Overlay({ hosts: 100, seed: 7, trace: watch.trace, ...options });
    const { random } = net;
    const pairs = Array.from({ length: 1000 }, (): [Station, Station] => {
      const [a, b] = random.shuffle([...net.stations.keys()]) as [number, number];
      return [net.stations[a]!, net.stations[b]!];
    });
    net.clock.advance(3000);
    const results = net.ping(pairs);
    assert.is(received(results), 1000);
    assert.is(results.filter(({ duplicates, damaged }) => duplicates + damaged > 0).length, 0);
    assert.equal(watch.excess(), []);
    assert.ok(watch.frames > 4000, 'the watch has seen something');
    for (const { node } of net.hosts) assert.is(node.link.counters.delivered, node.link.counters.sent);
  });

test('a broadcast among a hundred hosts reaches every station once, and its sender never', () => {
  const received = new Map<string, number>();
  let datagrams = 0;
  const net = new Overlay({
    hosts: 100,
    stationsEach: 2,
    control: 'flood',
    station: { announce: false },
    trace: (event) => {
      if (event.event === 'receive' && event.kind === 'frame')
        received.set(event.location, (received.get(event.location) ?? 0) + 1);
      if (event.event === 'send' && event.kind === 'datagram') datagrams++;
    },
  });
  net.station('c5').sendUdp('255.255.255.255', 9, 9, new Uint8Array(4), 0);
  net.clock.run(100);
  assert.is(received.size, 199);
  assert.not(received.has('h3/c5'));
  assert.ok([...received.values()].every((count) => count === 1));
  assert.is(datagrams, 99, 'head-end replication: one for each other host, and no host forwards it');
});

test('after minutes of silence learned entries expire; then a frame is flooded, and the VTEPs learn again', () => {
  const net = new Overlay({ hosts: 3, control: 'flood', station: { announce: false } });
  const { clock } = net;
  const [c1, c2, c3] = net.stations as [Station, Station, Station];
  const [h1, h2, h3] = net.hosts as [OverlayHost, OverlayHost, OverlayHost];
  assert.is(received(net.ping([[c1, c2]])), 1);
  const both = { '02:42:0a:00:00:03': h1.address, '02:42:0a:00:00:04': h2.address };
  assert.equal(fdbOf(h1, clock.now), { ...both, '02:42:0a:00:00:03': 'c1' });
  assert.equal(fdbOf(h2, clock.now), { ...both, '02:42:0a:00:00:04': 'c2' });
  assert.equal(fdbOf(h3, clock.now), { '02:42:0a:00:00:03': h1.address }, 'it has received the question only');
  const flooded = countOf([h1, h2], 'flooded');
  clock.advance(290_000);
  assert.is(Object.keys(fdbOf(h1, clock.now)).length, 2);
  clock.advance(15_000);
  for (const host of net.hosts) assert.equal(fdbOf(host, clock.now), {});
  const before = c3.counters.otherMac;
  assert.is(received(net.ping([[c1, c2]])), 1);
  // The request, and behind it the question if c2 is still there, which is due after so long. The answers know their
  // way.
  assert.is(c3.counters.otherMac, before + 2);
  assert.is(countOf([h1, h2], 'flooded'), flooded + 3, 'h1 floods both, h2 the first');
  assert.equal(fdbOf(h1, clock.now), { ...both, '02:42:0a:00:00:03': 'c1' });
  h1.host.vtep!.removePeer(VNI, h2.address);
  clock.advance(310_000);
  const remotes = [...h1.host.vtep!.remotes()].map(({ address }) => address);
  assert.equal(remotes, [h3.address], 'the VTEP’s own clockwork runs');
});

for (const control of ['flood', 'endpoints', 'both'] as const)
  test(`a station moves with its address and loses nothing (${control})`, () => {
    const net = new Overlay({ hosts: 4, control });
    const { clock } = net;
    const [c1, c2] = net.stations as [Station, Station];
    const [h1, h2, h3, h4] = net.hosts as [OverlayHost, OverlayHost, OverlayHost, OverlayHost];
    net.ping([[c1, c2]]);
    const mac = '02:42:0a:00:00:04';
    assert.is(fdbOf(h1, clock.now)[mac], h2.address);
    const results: PingResult[] = [];
    c1.ping(c2.ip, { count: 100, interval: 100 }, clock.now, (result) => results.push(result));
    const start = clock.now;
    clock.run(start + 3050);
    net.move(c2, h3);
    assert.is(net.hostOf(c2), h3);
    clock.run(start + 3060);
    assert.equal(
      net.hosts.map((host) => fdbOf(host, clock.now)[mac]),
      // Whom only the control plane tells does not know by which port until the station sends.
      control === 'endpoints'
        ? [h3, h3, null, h3].map((at) => at?.address ?? 'c2')
        : [h3.address, h3.address, 'c2', h3.address],
    );
    assert.is(countOf([h1, h4], 'moved'), control === 'flood' ? 2 : 0);
    clock.run(start + 6050);
    net.move(c2, h1);
    clock.run(start + 9050);
    net.move(c2, h2);
    net.move(c2, h2); // where it is
    clock.run(start + 20_000);
    assert.is(results[0]!.received, 100);
    assert.is(results[0]!.duplicates, 0);
    assert.equal(h1.host.stations, [c1]);
    if (control !== 'flood')
      for (const { host, address } of net.hosts) {
        const known = host.vtep!.neighbors(VNI);
        assert.is(known.length, 4, 'nothing is left of its former locations');
        assert.is(known.find(({ ip }) => ip === c2.ip)!.vtep, address === h2.address ? null : h2.address);
      }
    assert.throws(() => h1.host.detach(c2, clock.now), /station c2 is not on host h1/);
  });

test('a station that moves silently is learned again from its next frame', () => {
  const net = new Overlay({ hosts: 3, control: 'flood', station: { announce: false } });
  const { clock } = net;
  const [c1, c2] = net.stations as [Station, Station];
  const [h1, h2, h3] = net.hosts as [OverlayHost, OverlayHost, OverlayHost];
  net.ping([[c1, c2]]);
  net.move(c2, h3, false);
  assert.is(received(net.ping([[c1, c2]])), 0, 'a black hole: they still send to its old host');
  assert.is(fdbOf(h1, clock.now)['02:42:0a:00:00:04'], h2.address);
  assert.is(received(net.ping([[c2, c1]])), 1);
  assert.is(fdbOf(h1, clock.now)['02:42:0a:00:00:04'], h3.address);
  assert.is(received(net.ping([[c1, c2]])), 1);
});

for (const control of ['flood', 'endpoints'] as const)
  test(`a host that restarts has empty tables, and recovers soon after (${control})`, () => {
    const net = new Overlay({ hosts: 3, stationsEach: 2, control });
    const { clock } = net;
    const h2 = net.host('h2');
    const [c1, c3, c4] = ['c1', 'c3', 'c4'].map((name) => net.station(name)) as [Station, Station, Station];
    clock.run(5000);
    const results: PingResult[] = [];
    c1.ping(c3.ip, { count: 60 }, clock.now, (result) => results.push(result));
    clock.run(25_500); // twenty-one are answered
    const { vtep } = h2.host;
    net.restart(h2, 10_000);
    assert.is(h2.host.vtep, null);
    assert.not(h2.node.up);
    assert.equal([c3.state, c4.state], ['down', 'down']);
    clock.run(35_499);
    assert.is(h2.host.vtep, null);
    clock.run(35_500);
    assert.ok(h2.host.vtep !== null && h2.host.vtep !== vtep);
    assert.is(c4.neighbor(c3.ip), null);
    clock.run(80_000);
    assert.is(results.length, 1);
    // Ten while it was down. Without a proxy, ARP drops up to three more from its queue.
    if (control === 'endpoints') assert.is(results[0]!.lost, 10);
    else assert.ok(results[0]!.lost >= 10 && results[0]!.lost <= 13, `${results[0]!.lost} lost`);
    const everybody = pairsOf(net.stations);
    assert.is(received(net.ping(everybody)), everybody.length);
    net.restart(h2, 100);
    net.stop(net.host('h3')); // so that c5 starts on h1, and h3 learns of both when it is up
    net.move(c1, h2);
    net.move(net.station('c5'), net.host('h1'));
    net.move(c4, net.host('h3'));
    assert.equal([net.station('c5').state, c1.state], ['up', 'down'], 'a station is as its host is');
    net.start(net.host('h3'));
    clock.advance(10_000);
    assert.is(received(net.ping(everybody)), everybody.length);
  });

test('a partition separates stations, and after it heals all reach each other', () => {
  for (const control of ['flood', 'endpoints'] as const) {
    const net = new Overlay({ hosts: 6, control });
    const sides = [net.hosts.slice(0, 2), net.hosts.slice(2)];
    const same = ([a, b]: [Station, Station]): boolean =>
      sides[0]!.includes(net.hostOf(a)) === sides[0]!.includes(net.hostOf(b));
    const pairs = pairsOf(net.stations);
    assert.is(received(net.ping(pairs)), 30);
    net.partition(...sides);
    net.clock.advance(60_000);
    const results = net.ping(pairs);
    for (const [at, pair] of pairs.entries()) assert.is(results[at]!.received, same(pair) ? 1 : 0);
    net.heal();
    net.clock.advance(10_000);
    assert.is(received(net.ping(pairs)), 30);
    net.network.cut(net.hosts[0]!.address, net.hosts[1]!.address);
    assert.is(received(net.ping([[net.stations[0]!, net.stations[1]!]])), 0);
    assert.is(received(net.ping([[net.stations[0]!, net.stations[2]!]])), 1);
  }
});

test('pings are lost and duplicated at the rates of the underlay', () => {
  const count = 1000;
  const lossy = new Overlay({ hosts: TWO_HOSTS, seed: 5, link: { loss: 0.1 } });
  const [lost] = lossy.ping([[lossy.stations[0]!, lossy.stations[1]!]], { count });
  // Both ways: 1 - 0.9², give or take four standard deviations.
  assert.ok(Math.abs(lost!.lost - count * 0.19) < 4 * Math.sqrt(count * 0.19 * 0.81), `${lost!.lost} of ${count} lost`);
  const double = new Overlay({ hosts: TWO_HOSTS, seed: 5, link: { duplicate: 0.1 } });
  const [twice] = double.ping([[double.stations[0]!, double.stations[1]!]], { count });
  assert.is(twice!.received, count);
  // A request doubled gives an answer more, and each answer may be doubled: 1.1² - 1.
  const answers = count * 0.21;
  assert.ok(Math.abs(twice!.duplicates - answers) < 4 * Math.sqrt(answers), `${twice!.duplicates} duplicates`);
});

test('path MTU discovery in the segment: the VTEP sends an ICMP error to the station, which stores the MTU', () => {
  const net = new Overlay({ hosts: TWO_HOSTS, station: { mtu: 1500 } });
  const [c1, c2] = net.stations as [Station, Station];
  assert.is(received(net.ping([[c1, c2]], { size: 1422 })), 1, '1422 + 8 + 20 = 1450');
  const error = { reason: 'too-big', mtu: 1450 };
  assert.equal(net.ping([[c1, c2]], { size: 1472 })[0]!.errors, [{ ...error, from: C2.ip, code: 4, sequence: 0 }]);
  assert.is(c1.pathMtu(C2.ip, net.clock.now), 1450);
  const { framesOut } = c1.counters;
  assert.equal(net.ping([[c1, c2]], { size: 1423 })[0]!.errors, [{ ...error, sequence: 0 }]);
  assert.is(c1.counters.framesOut, framesOut);
  assert.is(received(net.ping([[c1, c2]], { size: 1422 })), 1);
  const errors: unknown[] = [];
  c2.bind(5000, { receive: () => {}, error: ({ reason, mtu }, ip, port) => errors.push([reason, mtu, ip, port]) });
  assert.is(c2.sendUdp(C1.ip, 7, 5000, new Uint8Array(1472), net.clock.now), null);
  net.clock.advance(100);
  assert.equal(errors, [['too-big', 1450, C1.ip, 7]]);
});

test('path MTU discovery in the underlay: its routers notify the VTEP, and the VTEP notifies the station', () => {
  const net = new Overlay({ hosts: TWO_HOSTS, station: { mtu: 1500 } });
  const [c1, c2] = net.stations as [Station, Station];
  net.network.path(C1.host, C2.host).set({ mtu: 1400 });
  const big = { size: 1400, count: 3 };
  const [result] = net.ping([[c1, c2]], big);
  // 1400 less Ethernet 14, VXLAN 8, UDP 8 and IPv4 20. The first is lost by the way, the third not even sent.
  assert.equal(
    result!.errors.map(({ sequence, mtu, from }) => [sequence, mtu, from]),
    [
      [1, 1350, C2.ip],
      [2, 1350, undefined],
    ],
  );
  assert.is(received(net.ping([[c1, c2]], { size: 1322 })), 1);
  assert.is(received(net.ping([[c2, c1]], { size: 1322 })), 1, 'the answers take the narrow way too');
});

test('a path that becomes narrow in silence, and wide again: pings of full size pass after 10 seconds, with any loss up to 10 %', () => {
  for (const [seed, loss] of [
    [1, 0],
    [2, 0.01],
    [3, 0.1],
  ] as const) {
    const net = new Overlay({ hosts: TWO_HOSTS, station: { mtu: 1450 }, probes: true, seed });
    const [c1, c2] = net.stations as [Station, Station];
    const path = net.network.path(C1.host, C2.host);
    const large = (count: number): number => received(net.ping([[c1, c2]], { size: 1422, count, interval: 500 }));
    path.set({ loss });
    assert.ok(large(40) >= (loss === 0 ? 40 : 25));
    path.set({ mtu: 1400, silent: true });
    const mtu = (): number => c1.pathMtu(C2.ip, net.clock.now);
    large(40); // 20 seconds, in which the station learns
    assert.ok(mtu() <= 1350 && mtu() >= 1280, `seed ${seed}: ${mtu()}`);
    assert.ok(received(net.ping([[c1, c2]], { size: mtu() - 28, count: 20 })) >= (loss === 0 ? 20 : 12));
    path.set({ mtu: 1500 });
    net.ping([[c1, c2]], { size: 1000, count: 600, interval: 500 });
    const [remote] = net.hosts[0]!.host.vtep!.remoteListing();
    assert.is(remote!.mtu, null, `seed ${seed}: wide again`);
  }
});

test('any overlay recovers from random events after a quiet time', () => {
  const event = fc.oneof(
    fc.record({ move: fc.nat(), to: fc.nat() }),
    fc.record({ restart: fc.nat(), downtime: fc.integer({ min: 1, max: 40_000 }) }),
    fc.record({ split: fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }) }),
    fc.record({ cut: fc.nat(), from: fc.nat() }),
    fc.record({ loss: fc.constantFrom(0, 0.3, 1) }),
    fc.constant({ heal: true as const }),
    fc.record({ ping: fc.nat() }),
    fc.record({ wait: fc.integer({ min: 1, max: 120_000 }) }),
  );
  fc.assert(
    fc.property(
      fc.record({
        hosts: fc.integer({ min: 1, max: 6 }),
        stationsEach: fc.integer({ min: 1, max: 3 }),
        seed: fc.nat(),
        control: fc.constantFrom('endpoints' as const, 'flood' as const, 'both' as const),
        proxy: fc.constantFrom('endpoint' as const, 'vtep' as const, 'off' as const),
        probe: fc.boolean(),
      }),
      fc.array(event, { maxLength: 12 }),
      ({ proxy, probe, control, ...options }, events) => {
        const watch = new Watch();
        // Without proxy and flooding, ARP would get no reply.
        const segment = { proxy: control === 'endpoints' && proxy === 'off' ? ('endpoint' as const) : proxy };
        const net = new Overlay({ ...options, control, segment, station: { probe }, trace: watch.trace });
        const { hosts, stations, clock } = net;
        const pick = <T>(items: readonly T[], number: number): T => items[number % items.length]!;
        clock.advance(10_000);
        for (const one of events) {
          if ('move' in one) net.move(pick(stations, one.move), pick(hosts, one.to));
          else if ('restart' in one) net.restart(pick(hosts, one.restart), one.downtime);
          else if ('split' in one) net.partition(hosts.filter((_, at) => one.split[at]));
          else if ('cut' in one) net.network.cut(pick(hosts, one.from).address, pick(hosts, one.cut).address);
          else if ('loss' in one) for (const { node } of hosts) node.link.set({ loss: one.loss });
          else if ('heal' in one) net.heal();
          else if ('ping' in one)
            for (const station of stations)
              station.ping(pick(stations, one.ping).ip, { count: 20 }, clock.now, () => undefined);
          else clock.advance(one.wait);
          clock.advance(100);
        }
        net.heal();
        for (const { node } of hosts) node.link.set({ loss: 0 });
        clock.advance(310_000 + 40_000);
        assert.ok(stations.every(({ state }) => state === 'up'));
        const pairs = pairsOf(stations);
        const results = net.ping(pairs);
        const failed = pairs.filter((_, at) => results[at]!.received !== 1).map(([a, b]) => `${a.name} to ${b.name}`);
        assert.equal(failed, []);
        assert.equal(watch.excess(), []);
      },
    ),
    { numRuns: 60 },
  );
});

test('stations on one host may answer each other as often as they like', () => {
  const net = new Overlay({ hosts: 1, stationsEach: 2 });
  const [c1, c2] = net.stations as [Station, Station];
  let bounces = 0;
  for (const station of [c1, c2])
    station.bind(9, {
      receive: ({ source }, now) => {
        if (++bounces < 50_000) station.sendUdp(source, 9, 9, new Uint8Array(1), now);
      },
    });
  c1.sendUdp(c2.ip, 9, 9, new Uint8Array(1), net.clock.now);
  net.clock.advance(10);
  assert.is(bounces, 50_000);
});

test('each station of a host is woken at its own time', () => {
  const sends: string[] = [];
  const net = new Overlay({
    hosts: planHosts(2, 3),
    station: { announce: false },
    trace: ({ kind, event, location, time }) => {
      if (kind === 'frame' && event === 'send' && location !== 'h1/c3') sends.push(`${location} ${time}`);
    },
  });
  const { clock } = net;
  const [c1, c2, c3] = net.stations as [Station, Station, Station];
  const done: string[] = [];
  const ask = (station: Station, at: number, then = (): void => {}): void =>
    void clock.at(at, () =>
      station.ping('10.0.9.9', {}, clock.now, () => {
        done.push(`${station.name} ${clock.now}`);
        then();
      }),
    );
  ask(c1, 100);
  ask(c2, 350);
  clock.run(5000);
  assert.equal(sends, ['h1/c1 100', 'h1/c2 350', 'h1/c1 1100', 'h1/c2 1350', 'h1/c1 2100', 'h1/c2 2350']);
  assert.equal(done.splice(0), ['c1 3100', 'c2 3350']);
  ask(c1, 5500, () => net.move(c1, net.host('h2')));
  ask(c2, 5500);
  ask(c3, 5500);
  clock.run(10_000);
  assert.equal(done, ['c1 8500', 'c2 8500', 'c3 8500'], 'though one leaves when they are woken');
});

test('buffers are not shared between stations, links and machines', () => {
  const events: TraceEvent[] = [];
  const net = new Overlay({ hosts: 3, segment: { proxy: 'vtep' }, trace: (event) => events.push(event) });
  const { clock } = net;
  const [c1, c2] = net.stations as [Station, Station];
  net.ping([[c1, c2]]);
  const echo = events.flatMap((event) => (event.kind === 'frame' && event.frame[13] === 0 ? [hex(event.frame)] : []));
  // The VTEP's address is made of 02:76 and the VNI, 0x1001; it puts that of C2 in its place.
  assert.is(echo[0]!.slice(0, 12), '027600001001');
  assert.is(echo[1]!.slice(0, 12), '02420a000004');

  // Two answers of one proxy under way at a time.
  const other = new Overlay({ hosts: 4 });
  const [d1, d2, d3, d4] = other.stations as [Station, Station, Station, Station];
  d1.bind(9, {
    receive: (_, now) => {
      for (const { ip } of [d3, d4]) d1.sendUdp(ip, 9, 9, new Uint8Array(1), now);
    },
  });
  d2.sendUdp(d1.ip, 9, 9, new Uint8Array(1), 0);
  other.clock.advance(100);
  assert.equal([d1.neighbor(d3.ip), d1.neighbor(d4.ip)], ['02:42:0a:00:00:05', '02:42:0a:00:00:06']);

  // A datagram may be delivered twice, so that the first delivery is not to change it: congestion, RFC 6040.
  const frame = udpFrame(C2, C1, { ip: { ecn: 2 } });
  const datagram = Uint8Array.from([8, 0, 0, 0, 0, 0x10, 1, 0, ...frame]);
  const before = hex(datagram);
  events.length = 0;
  net.hostOf(c1).host.receive(net.hostOf(c2).address, datagram, 3, clock.now);
  assert.is(hex(datagram), before);
  net.hostOf(c2).node.send(net.hostOf(c1).address, 4789, 4789, datagram, 0, datagram.length, 3);
  clock.advance(10);
  const marks = events.flatMap((event) =>
    event.kind === 'frame' && event.event === 'receive' && event.frame[23] === 17 ? [event.frame[15]! & 3] : [],
  );
  assert.equal(marks, [3, 3]);
});

test('a frame in transit is not delivered to a station that has gone', () => {
  const watch = new Watch();
  const locations: string[] = [];
  const net = new Overlay({
    hosts: planHosts(2, 3),
    control: 'flood',
    station: { announce: false },
    trace: (event) => {
      watch.trace(event);
      if (event.kind === 'frame' && event.event === 'receive') locations.push(event.location);
    },
  });
  const [c1, c2, c3] = net.stations as [Station, Station, Station];
  c2.bind(9, { receive: () => net.move(c3, net.host('h2')) });
  c1.sendUdp('255.255.255.255', 9, 9, new Uint8Array(1), net.clock.now);
  net.clock.advance(10);
  assert.ok(locations.includes('h1/c2') && locations.includes('h2/c3') && !locations.includes('h1/c3'));
  assert.equal(watch.excess(), []);
});

test('plans hosts, and rejects references to missing ones', () => {
  const plan = planHosts(300, 2);
  assert.equal(plan[0], {
    name: 'h1',
    address: '172.31.0.1',
    stations: [
      { name: 'c1', ip: '10.0.0.3/16', mac: '02:42:0a:00:00:03' },
      { name: 'c2', ip: '10.0.0.4/16', mac: '02:42:0a:00:00:04' },
    ],
  });
  assert.is(plan[299]!.address, '172.31.1.44');
  assert.equal(plan[299]!.stations[1], { name: 'c600', ip: '10.0.2.90/16', mac: '02:42:0a:00:02:5a' });
  assert.throws(() => planHosts(65_535), /hosts must be an integer/);
  assert.throws(() => planHosts(60_000, 2), /stations must be an integer/);
  const net = new Overlay({ hosts: 2 });
  assert.throws(() => net.host('h3'), /there is no host h3/);
  assert.throws(() => net.station('c3'), /there is no station c3/);
});

test('the same hosts run on a real clock and real sockets', async () => {
  const sockets: Socket[] = [];
  const timers = new Set<NodeJS.Timeout>();
  const random = new Random(1);
  /** The loopback ports that stand for the underlay addresses. */
  const ports = new Map<string, number>();
  const addresses = new Map<number, string>();
  const hosts: SimHost[] = [];
  const stations: Station[] = [];
  const started = performance.now();
  const now = (): number => performance.now() - started;
  for (const plan of TWO_HOSTS) {
    const socket = createSocket('udp4');
    await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', resolve));
    sockets.push(socket);
    ports.set(plan.address, socket.address().port);
    addresses.set(socket.address().port, plan.address);
    const host = new SimHost({
      name: plan.name,
      makeVtep: () => {
        const vtep = new Vtep({ local: plan.address });
        vtep.addSegment({ vni: VNI });
        for (const { address, stations } of TWO_HOSTS)
          for (const { ip, mac } of stations)
            vtep.addEndpoint(VNI, {
              ip: ip.split('/')[0]!,
              mac,
              ...(address === plan.address ? {} : { vtep: address }),
            });
        return vtep;
      },
      port: {
        send: (address, _port, _sourcePort, bytes, offset, end) =>
          socket.send(bytes.slice(offset, end), ports.get(address)!, '127.0.0.1'),
        wake: (at) => {
          const timer = setTimeout(
            () => {
              timers.delete(timer);
              host.wake(now());
            },
            Math.max(0, at - now()),
          );
          timers.add(timer);
        },
      },
    });
    socket.on('message', (bytes, { port }) => host.receive(addresses.get(port)!, bytes, 0, now()));
    const station = new Station({ ...plan.stations[0]!, probe: false, random });
    host.attach(station, VNI, now());
    host.start(now());
    hosts.push(host);
    stations.push(station);
  }
  const result = await new Promise<PingResult>((resolve) =>
    stations[0]!.ping(C2.ip, { count: 3, interval: 5 }, now(), resolve),
  );
  for (const host of hosts) host.stop(now());
  for (const timer of timers) clearTimeout(timer);
  for (const socket of sockets) socket.close();
  assert.equal([result.sent, result.received, result.errors], [3, 3, []]);
  assert.ok(result.rtts.every((rtt) => rtt > 0));
});

test('with flooding off, a silent container is reachable', () => {
  const net = new Overlay({ hosts: 2, segment: { flood: false }, station: { announce: false } });
  assert.is(net.ping([[net.stations[0]!, net.stations[1]!]])[0]!.received, 1);
});

test('with proxy vtep, a silent container that moved from another host is reachable', () => {
  const net = new Overlay({ hosts: 2, segment: { proxy: 'vtep' } });
  const [c1, c2] = net.stations as [Station, Station];
  net.clock.advance(5000);
  net.ping([[c1, c2]]);
  net.move(c1, net.hosts[1]!);
  net.clock.advance(310_000);
  assert.is(net.ping([[c1, c2]])[0]!.received, 1);
});

test.run();
