/** Routers in the simulation: every host has the same gateways, and stations of several subnets on several hosts talk. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { dissect, type Layer } from '../src/packet/index.js';
import { Overlay, type HostPlan, type OverlayOptions, type Station, type TraceEvent } from '../src/sim/index.js';

const MAC = '02:42:0a:00:00:01';
const [NEAR, FAR] = [4097, 4098];
const SUBNETS = [
  { vni: NEAR, prefix: '10.0.0.0/24', gateway: '10.0.0.1' },
  { vni: FAR, prefix: '10.0.1.0/24', gateway: '10.0.1.1' },
];
const plan = (name: string, vni: number, last: number): HostPlan['stations'][number] => {
  const net = vni - NEAR;
  return { name, vni, ip: `10.0.${net}.${last}/24`, mac: `02:42:0a:00:0${net}:0${last}` };
};
const HOSTS: readonly HostPlan[] = [
  { name: 'h1', address: '172.31.1.5', stations: [plan('a', NEAR, 3), plan('b', FAR, 3)] },
  { name: 'h2', address: '192.168.1.25', stations: [plan('c', NEAR, 4), plan('d', FAR, 4)] },
  { name: 'h3', address: '192.168.1.26', stations: [plan('e', NEAR, 5)] },
];

/** An overlay with routers, and what happened in it. */
function overlay(options: Partial<OverlayOptions> = {}): { net: Overlay; events: TraceEvent[] } {
  const events: TraceEvent[] = [];
  const net = new Overlay({
    hosts: HOSTS,
    gateways: { mac: MAC, subnets: SUBNETS },
    trace: (event) => void events.push(event),
    ...options,
  });
  return { net, events };
}

const pairs = (net: Overlay): [Station, Station][] =>
  net.stations.flatMap((from) => net.stations.filter((to) => to !== from).map((to): [Station, Station] => [from, to]));

function layersOf(event: TraceEvent): Layer[] {
  return event.kind === 'frame' ? dissect(event.frame).layers : [];
}

const find = <P extends Layer['protocol']>(layers: readonly Layer[], protocol: P) =>
  layers.find((layer) => layer.protocol === protocol) as Extract<Layer, { protocol: P }> | undefined;

for (const control of ['endpoints', 'flood', 'both'] as const)
  test(`every station reaches every other one, and all gateways; control plane: ${control}`, () => {
    const { net, events } = overlay({ control });
    for (const { received, lost, errors, duplicates } of net.ping(pairs(net), { count: 3 }))
      assert.equal([received, lost, errors, duplicates], [3, 0, [], 0]);
    for (const station of net.stations)
      for (const gateway of ['10.0.0.1', '10.0.1.1'])
        assert.is(ping(net, station, gateway).received, 1, `${station.name} to ${gateway}`);
    let routed = 0;
    for (const event of events) {
      const layers = layersOf(event);
      const [frame, packet] = [find(layers, 'ethernet'), find(layers, 'ipv4')];
      if (event.kind !== 'frame' || event.event !== 'receive' || packet === undefined) continue;
      const crossed = packet.source.split('.')[2] !== packet.destination.split('.')[2];
      if (crossed || packet.source.endsWith('.1')) assert.is(frame!.source, MAC);
      else assert.is.not(frame!.source, MAC);
      // Once, on the host of the sender.
      if (!packet.source.endsWith('.1')) assert.is(packet.ttl, crossed ? 63 : 64);
      if (crossed) routed++;
    }
    assert.ok(routed > 50, `${routed}`);
  });

/** The result of one ping to an address. */
function ping(net: Overlay, from: Station, to: string): { received: number; errors: unknown[] } {
  let result: { received: number; errors: unknown[] } | undefined;
  from.ping(to, {}, net.clock.now, (done) => (result = done));
  while (result === undefined && net.clock.step());
  return result!;
}

test('a packet between subnets crosses the underlay once, in the segment of its destination; ARP for gateways never', () => {
  const { net, events } = overlay();
  const [a, d] = [net.station('a'), net.station('d')];
  assert.is(net.ping([[a, d]], { count: 5 })[0]!.received, 5);
  const crossing = events.flatMap((event) => (event.kind === 'datagram' && event.event === 'send' ? [event] : []));
  assert.is(crossing.length, 10, 'five requests, five replies');
  for (const {
    datagram: { payload },
  } of crossing) {
    const vni = (payload[4]! << 16) | (payload[5]! << 8) | payload[6]!;
    const packet = find(dissect(payload.subarray(8)).layers, 'ipv4')!;
    assert.is(vni, packet.destination === d.ip ? FAR : NEAR);
  }
});

test('without a control plane, a router learns from the answer that another host received', () => {
  const { net } = overlay({ control: 'flood' });
  const [a, d] = [net.station('a'), net.station('d')];
  assert.is(net.ping([[a, d]])[0]!.received, 1);
  const vtep = net.host('h1').host.vtep!;
  const known = vtep.routerNeighbors('overlay').filter(({ vni }) => vni === FAR);
  assert.equal(known, [{ ip: d.ip, vni: FAR, mac: '02:42:0a:00:01:04', state: 'reachable' }]);
  assert.is(vtep.counters().counts['gateway-asked'], 1);
});

const SUBNETS6 = [
  { vni: NEAR, prefix: 'fd00::/64', gateway: 'fd00::1' },
  { vni: FAR, prefix: 'fd01::/64', gateway: 'fd01::1' },
];
/** The hosts, with an IPv6 address for each station: that of `a` is `fd00::3`. */
const DUAL = HOSTS.map((host) => ({
  ...host,
  stations: host.stations.map((one) => ({ ...one, ip6: one.ip.replace(/^10\.0\.(\d)\.(\d)\/24$/, 'fd0$1::$2/64') })),
}));
const dual = (options: Partial<OverlayOptions> = {}) =>
  overlay({ hosts: DUAL, gateways: { mac: MAC, subnets: [...SUBNETS, ...SUBNETS6] }, ...options });

for (const control of ['endpoints', 'flood', 'both'] as const)
  test(`a dual-stack network: every station reaches every other one over IPv6; control plane: ${control}`, () => {
    const { net, events } = dual({ control });
    for (const family of [6, 4] as const)
      for (const { received, lost, errors, duplicates } of net.ping(pairs(net), { count: 3 }, family))
        assert.equal([received, lost, errors, duplicates], [3, 0, [], 0]);
    for (const station of net.stations)
      for (const gateway of ['fd00::1', 'fd01::1'])
        assert.is(ping(net, station, gateway).received, 1, `${station.name} to ${gateway}`);
    let routed = 0;
    for (const event of events) {
      const layers = layersOf(event);
      const [frame, packet] = [find(layers, 'ethernet'), find(layers, 'ipv6')];
      const echo = find(layers, 'icmpv6');
      if (event.kind !== 'frame' || event.event !== 'receive' || packet === undefined) continue;
      if (echo?.type !== 128 && echo?.type !== 129) continue;
      const crossed = packet.source.slice(0, 4) !== packet.destination.slice(0, 4);
      const byGateway = packet.source.endsWith('::1');
      if (crossed || byGateway) assert.is(frame!.source, MAC);
      if (!byGateway) assert.is(packet.hopLimit, crossed ? 63 : 64);
      if (crossed) routed++;
    }
    assert.ok(routed > 50, `${routed}`);
    for (const { counters } of net.stations) assert.equal([counters.malformed, counters.badChecksum], [0, 0]);
  });

test('over IPv6: unknown hosts and subnets, packets too big, and a station without IPv6', () => {
  const subnets = [SUBNETS[0]!, SUBNETS6[0]!, { ...SUBNETS[1]!, mtu: 1300 }, SUBNETS6[1]!];
  const { net } = dual({ gateways: { mac: MAC, subnets } });
  const [a, b, d] = [net.station('a'), net.station('b'), net.station('d')];
  const error = { reason: 'unreachable', from: 'fd00::1', sequence: 0 };
  assert.equal(ping(net, a, 'fd01::99').errors, [{ ...error, code: 3 }]);
  assert.equal(ping(net, a, 'fd09::1').errors, [{ ...error, code: 0 }]);
  assert.equal(ping(net, a, 'fd00::99').errors, [{ reason: 'no-neighbor', sequence: 0 }]);
  const [big] = net.ping([[a, d]], { size: 1253 }, 6);
  assert.equal(big!.errors, [{ reason: 'too-big', from: 'fd00::1', code: 0, mtu: 1300, sequence: 0 }]);
  assert.is(a.pathMtu(d.ip6!, net.clock.now), 1300);
  assert.is(net.ping([[a, d]], { size: 1252 }, 6)[0]!.received, 1);
  assert.is(a.neighbor('fd00::1'), MAC);
  assert.is(ping(net, b, b.ip6!).received, 1, 'itself');
  const { net: four } = overlay();
  assert.is(four.station('a').ip6, null);
  assert.equal(ping(four, four.station('a'), 'fd00::1').errors, [{ reason: 'no-route', sequence: 0 }]);
});

test('over IPv6, a station moves to another host, and a host restarts', () => {
  const { net } = dual({ control: 'both' });
  const [a, d] = [net.station('a'), net.station('d')];
  net.move(d, net.host('h3'));
  net.clock.advance(100);
  assert.is(net.ping([[a, d]], { count: 2 }, 6)[0]!.received, 2);
  net.restart(net.host('h1'), 1000);
  net.clock.advance(2000);
  assert.is(net.ping([[a, d]], { count: 2 }, 6)[0]!.received, 2);
});

test('every host answers its own stations at the gateways, also after a restart', () => {
  const { net, events } = overlay({ control: 'both' });
  const text = (bytes: Uint8Array): string => String.fromCharCode(...bytes);
  const bytes = (one: string): Uint8Array => Uint8Array.from(one, (char) => char.charCodeAt(0));
  for (const { name, host } of net.hosts)
    host.serve(53, ({ vni, source, payload }) => bytes(`${name} ${vni} ${source} ${text(payload)}`));
  const asked = (): string[] => {
    const answers: string[] = [];
    for (const station of net.stations) {
      const receive = ({ source, sourcePort, payload }: { source: string; sourcePort: number; payload: Uint8Array }) =>
        void answers.push(`${source}:${sourcePort} ${text(payload)}`);
      station.bind(7000, { receive, error: (error) => void answers.push(JSON.stringify(error)) });
      for (const { gateway } of SUBNETS) assert.is(station.sendUdp(gateway, 53, 7000, bytes('x'), net.clock.now), null);
    }
    net.clock.advance(100);
    for (const station of net.stations) station.unbind(7000);
    return answers.sort();
  };
  const expected = net.hosts
    .flatMap(({ name, host }) =>
      host.stations.flatMap((one) =>
        SUBNETS.map(({ gateway }) => `${gateway}:53 ${name} ${net.vniOf(one)} ${one.ip} x`),
      ),
    )
    .sort();
  assert.equal(asked(), expected);
  net.restart(net.host('h1'), 1000);
  net.clock.advance(2000);
  assert.equal(asked(), expected);
  const crossed = events.some(
    (event) =>
      event.kind === 'datagram' &&
      dissect(event.datagram.payload.subarray(8)).layers.some(
        (one) => one.protocol === 'udp' && (one.sourcePort === 53 || one.destinationPort === 53),
      ),
  );
  assert.not(crossed, 'no request leaves its host');
});

test('unknown hosts and subnets: the near gateway reports them', () => {
  for (const control of ['endpoints', 'flood'] as const) {
    const { net } = overlay({ control });
    const a = net.station('a');
    const error = { reason: 'unreachable', from: '10.0.0.1', sequence: 0 };
    assert.equal(ping(net, a, '10.0.1.99').errors, [{ ...error, code: 1 }]);
    assert.equal(ping(net, a, '10.9.0.1').errors, [{ ...error, code: 0 }]);
  }
});

test('too big for the far segment: the station learns its MTU from the near gateway', () => {
  const subnets = [SUBNETS[0]!, { ...SUBNETS[1]!, mtu: 1300 }];
  const { net } = overlay({ gateways: { mac: MAC, subnets } });
  const [a, d] = [net.station('a'), net.station('d')];
  const [first] = net.ping([[a, d]], { size: 1273 });
  assert.equal(first!.errors, [{ reason: 'too-big', from: '10.0.0.1', code: 4, mtu: 1300, sequence: 0 }]);
  assert.is(a.pathMtu(d.ip, net.clock.now), 1300);
  assert.is(net.ping([[a, d]], { size: 1272 })[0]!.received, 1);
});

test('a station moves to another host, and a host restarts: packets find their way', () => {
  for (const control of ['both', 'flood'] as const) {
    const { net } = overlay({ control });
    const [a, d] = [net.station('a'), net.station('d')];
    assert.is(net.ping([[a, d]])[0]!.received, 1);
    net.move(d, net.host('h3'));
    net.clock.advance(100); // the announcement arrives
    assert.is(net.ping([[a, d]], { count: 2 })[0]!.received, 2, `${control}: moved`);
    net.restart(net.host('h1'), 1000);
    net.clock.advance(2000);
    assert.is(net.ping([[a, d]], { count: 2 })[0]!.received, 2, `${control}: restarted`);
    net.move(d, net.host('h1'));
    net.clock.advance(100);
    assert.is(net.ping([[a, d]], { count: 2 })[0]!.received, 2, `${control}: on the same host`);
  }
});

test('any overlay delivers across subnets after losses end', () => {
  fc.assert(
    fc.property(
      fc.nat(1000),
      fc.constantFrom('endpoints' as const, 'flood' as const, 'both' as const),
      fc.double({ min: 0, max: 0.4, noNaN: true }),
      (seed, control, loss) => {
        const { net } = overlay({ seed, control, link: { loss, jitter: 3 } });
        net.ping(pairs(net), { count: 2 });
        for (const one of net.hosts)
          for (const other of net.hosts)
            if (one !== other) net.network.path(one.address, other.address).set({ loss: 0 });
        // Questions that were lost are asked again.
        net.ping(pairs(net), { count: 4 });
        for (const { received, duplicates } of net.ping(pairs(net))) assert.equal([received, duplicates], [1, 0]);
      },
    ),
    { numRuns: 25 },
  );
});

test.run();
