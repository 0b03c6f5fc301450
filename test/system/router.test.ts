/**
 * The router beside the kernel's. The kernel routes between two bridges of one namespace, as in Docker's overlay networks:
 *
 *     station s1 ---- br1 10.0.0.1/24, fd00::1/64 -- kernel -- br2 10.0.1.1/24, fd00:1::1/64 ---- s2 station
 *
 * Both get the same frames, and must send the same. Then two kernels talk to each other through the router.
 */
import * as assert from 'uvu/assert';
import * as icmp from '../../src/icmp/index.js';
import * as icmpv6 from '../../src/icmpv6/index.js';
import * as ipv4 from '../../src/ipv4/index.js';
import { dissect, type Layer } from '../../src/packet/index.js';
import { Router } from '../../src/router/index.js';
import { fromHex, hex } from '../support/hex.js';
import { exec, Lab, must, ping, run, waitFor } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { RawFrames } from '../support/raw-frames.js';
import { C1, C2, FAR, FRAMES, GATEWAY_MAC, NEAR, packetTo, packetTo6, routerHost } from '../support/router-host.js';
import { offloads, quietNamespace } from '../support/traffic.js';

const NEEDS = ['root', 'ip', 'python3', 'sysctl', 'ethtool'];
const PORT_OF: Readonly<Record<string, number>> = { s1: NEAR, s2: FAR };
const DEVICE_OF: Readonly<Record<number, string>> = { [NEAR]: 's1', [FAR]: 's2' };

/** A frame that left one of the two routers. */
interface Out {
  device: string;
  frame: string;
}

// ---- The same frames for both ----

const kernel = suiteWith("the kernel's router and ours", NEEDS);
const lab = new Lab('rk');
let raw: RawFrames;
let heard: Out[] = [];

/** A bridge with the gateway's addresses, and a veth pair to a station. */
async function bridge(gateway: string, station: string, index: 1 | 2, addresses: readonly string[]): Promise<void> {
  const [br, port, device] = [`br${index}`, `p${index}`, `s${index}`];
  await must(['ip', '-n', gateway, 'link', 'add', 'name', br, 'type', 'bridge', 'mcast_snooping', '0']);
  await must(['ip', '-n', gateway, 'link', 'set', 'dev', br, 'address', GATEWAY_MAC]);
  const veth = ['name', port, 'netns', gateway, 'type', 'veth', 'peer', 'name', device, 'netns', station];
  await must(['ip', 'link', 'add', ...veth]);
  await offloads(gateway, port, 'off');
  await must(['ip', '-n', gateway, 'link', 'set', 'dev', port, 'master', br, 'up']);
  await must(['ip', '-n', station, 'link', 'set', 'dev', device, 'up']);
  await must(['ip', '-n', gateway, 'link', 'set', 'dev', br, 'up']);
  if (index === 2) await must(['ip', '-n', gateway, 'link', 'set', 'dev', br, 'mtu', '1400']);
  for (const address of addresses)
    await must(['ip', '-n', gateway, 'addr', 'add', address, 'dev', br, ...(address.includes(':') ? ['nodad'] : [])]);
}

kernel.before(async () => {
  const gateway = await lab.namespace('gateway');
  const station = await quietNamespace(lab, 'stations');
  const settings = [
    'net.ipv4.ip_forward=1',
    'net.ipv6.conf.all.forwarding=1',
    // Not `icmp_ratelimit`, whose value 0 makes the kernel send no error about a missing route.
    'net.ipv4.icmp_ratemask=0',
    'net.ipv6.icmp.ratelimit=0',
    'net.ipv6.auto_flowlabels=0',
    ...['all', 'default'].flatMap((name) => [
      `net.ipv4.conf.${name}.send_redirects=0`,
      // Without it, the kernel does not look whether a source is a broadcast address.
      `net.ipv4.conf.${name}.rp_filter=1`,
      `net.ipv4.conf.${name}.accept_source_route=0`,
      `net.ipv6.conf.${name}.accept_dad=0`,
    ]),
  ];
  await exec(gateway, ['sysctl', '-qw', ...settings]);
  await bridge(gateway, station, 1, ['10.0.0.1/24', 'fd00::1/64']);
  await bridge(gateway, station, 2, ['10.0.1.1/24', 'fd00:1::1/64']);
  // What the control plane tells both about the two stations.
  for (const [ip, mac, device] of [
    [C1.ip, C1.mac, 'br1'],
    [C1.ip6, C1.mac, 'br1'],
    ['fe80::3', C1.mac, 'br1'],
    [C2.ip, C2.mac, 'br2'],
    [C2.ip6, C2.mac, 'br2'],
  ] as const)
    await must(['ip', '-n', gateway, 'neigh', 'replace', ip, 'lladdr', mac, 'dev', device, 'nud', 'permanent']);
  raw = await RawFrames.open(station, ['s1', 's2']);
  raw.onFrame = (device, frame) => void (isNoise(frame) || isMarker(frame) || heard.push({ device, frame }));
});
kernel.after(async () => {
  await raw?.close();
  await lab.teardown();
});

/** What a kernel's interface says by itself: multicast listener reports, router solicitations. */
function isNoise(frame: string): boolean {
  const bytes = fromHex(frame);
  if (bytes[12] !== 0x86 || bytes[13] !== 0xdd) return false;
  const report = bytes[20] === 0 && bytes[54] === 58 && bytes[62] === 143;
  return report || (bytes[20] === 58 && bytes[54] === icmpv6.ROUTER_SOLICITATION);
}

/** A station that only asks for the gateways: frames that the kernel had to send before have arrived with the answers. */
const MARKER = '02420a0000fe';
const MARKERS: Readonly<Record<string, string>> = { s1: '0a0000fe', s2: '0a0001fe' };
const isMarker = (frame: string): boolean => frame.startsWith(MARKER);

/** Waits until `count` frames have come back, and for those that the kernel sends besides. */
async function settle(count: number, patience = 2000): Promise<Out[]> {
  await waitFor('the kernel', () => heard.length >= count, patience).catch(() => undefined);
  const marked = new Set<string>();
  raw.onFrame = (device, frame) => {
    if (isMarker(frame)) marked.add(device);
    else if (!isNoise(frame)) heard.push({ device, frame });
  };
  for (const [device, ip] of Object.entries(MARKERS)) {
    const gateway = `${ip.slice(0, 6)}01`;
    raw.send(device, `ffffffffffff${MARKER}08060001080006040001${MARKER}${ip}000000000000${gateway}`);
  }
  await waitFor('the answers to ARP', () => marked.size === 2);
  return heard;
}

/** The layers of a frame without what a router may choose: identifications, flow labels, and checksums over them. */
function essence({ device, frame }: Out): unknown[] {
  const { layers, stopped } = dissect(fromHex(frame));
  const own = layers.some(({ protocol }) => protocol === 'icmp');
  // A kernel cuts the padding of a frame off.
  const essential = layers.filter(({ protocol }) => protocol !== 'trailer');
  const fields = essential.map((layer) => {
    if (layer.protocol === 'ipv4' && own) {
      // Of an error or a reply of its own.
      const { identification: _, checksum: __, dontFragment: ___, ...rest } = layer;
      return rest;
    }
    if (layer.protocol === 'ipv4') {
      const { checksum: _, ...rest } = layer;
      return rest;
    }
    if (layer.protocol === 'ipv6') {
      const { flowLabel: _, ...rest } = layer;
      return rest;
    }
    return layer.protocol === 'payload' ? { ...layer, bytes: hex(layer.bytes) } : layer;
  });
  return [device, isSound(layers, frame), stopped, ...fields];
}

/** Whether the checksums that a router computes are right. */
function isSound(layers: readonly Layer[], frame: string): boolean {
  const bytes = fromHex(frame);
  return layers.every((layer) => {
    if (layer.protocol === 'ipv4') return ipv4.verifyChecksum(bytes, layer.offset);
    return layer.protocol !== 'icmp' || icmp.verifyChecksum(bytes, layer.offset, bytes.length);
  });
}

/** Gives a frame to both, and returns what each of them sends. */
async function compare(frame: string, device = 's1'): Promise<[ours: unknown[], theirs: unknown[]]> {
  const host = routerHost();
  const { result, frame: after } = host.receive(frame, { vni: PORT_OF[device]! });
  const ours: Out[] = [
    ...(result >= 0 ? [{ device: DEVICE_OF[result]!, frame: after }] : []),
    ...[...host.answers, ...host.sent].map(({ vni, frame: sent }) => ({ device: DEVICE_OF[vni]!, frame: sent })),
  ];
  heard = [];
  raw.send(device, frame);
  const theirs = await settle(ours.length);
  return [ours.map(essence), theirs.map(essence)];
}

/**
 * Not what the router itself asks and reports; and not the answer to a unicast solicitation, from which the kernel leaves
 * out the link-layer address, as it may (RFC 4861, section 7.2.4).
 */
const NAMES = Object.keys(FRAMES).filter((name) => !/^(ask6?|unanswered6?|solicitation unicast)$/.test(name));
for (const name of NAMES)
  kernel(`scapy's frame: ${name}`, async () => {
    const [ours, theirs] = await compare(FRAMES[name]![0]);
    assert.ok(ours.length > 0);
    assert.equal(ours, theirs);
  });

const echo = (destination: string, fields: Partial<ipv4.Ipv4> = {}): string =>
  packetTo(destination, {
    protocol: 1,
    payload: icmp.encode({ type: 8, code: 0, identifier: 1, sequence: 2, payload: new Uint8Array(24) }),
    ...fields,
  });
const error = icmp.encode({ type: 3, code: 1, payload: ipv4.decode(fromHex(packetTo(C2.ip)), 14).payload });
const MORE: [what: string, frame: string][] = [
  ['TTL 0', packetTo(C2.ip, { ttl: 0 })],
  ['TTL 2', packetTo(C2.ip, { ttl: 2 })],
  ['TTL 1 to an unknown subnet', packetTo('10.9.0.1', { ttl: 1 })],
  ['TTL 1 to the gateway', echo('10.0.0.1', { ttl: 1 })],
  ['TTL 1 and too big', packetTo(C2.ip, { ttl: 1, dontFragment: true, payload: new Uint8Array(1400) })],
  ['hop limit 0', packetTo6(C2.ip6, { hopLimit: 0 })],
  ['hop limit 1 to an unknown subnet', packetTo6('fd09::1', { hopLimit: 1 })],
  ['hop limit 1 and too big', packetTo6(C2.ip6, { hopLimit: 1, payload: new Uint8Array(1400) })],
  ['DSCP and ECN', packetTo(C2.ip, { dscp: 46, ecn: 1 })],
  ['an error about a packet with DSCP', packetTo(C2.ip, { ttl: 1, dscp: 46 })],
  ['ping of the gateway with DSCP', echo('10.0.0.1', { dscp: 10 })],
  ['a first fragment that expires', packetTo(C2.ip, { ttl: 1, moreFragments: true })],
  ['a later fragment that expires', packetTo(C2.ip, { ttl: 1, fragmentOffset: 24 })],
  ['a later fragment', packetTo(C2.ip, { fragmentOffset: 24 })],
  ['an ICMP error that expires', packetTo(C2.ip, { ttl: 1, protocol: 1, payload: error })],
  ['an echo request that expires', echo(C2.ip, { ttl: 1 })],
  ['a wrong header checksum', packetTo(C2.ip, { checksum: 0x1234 })],
  ['from a loopback address', packetTo(C2.ip, { source: '127.0.0.9' })],
  ['from a group', packetTo(C2.ip, { source: '239.1.2.3' })],
  ['from the gateway', packetTo(C2.ip, { source: '10.0.0.1' })],
  ['from the broadcast address of its subnet', packetTo(C2.ip, { source: '10.0.0.255' })],
  ['to the broadcast address of a subnet', packetTo('10.0.1.255')],
  ['to the limited broadcast address', packetTo('255.255.255.255')],
  ['to a group', packetTo('239.1.2.3')],
  ['from an IPv6 group', packetTo6(C2.ip6, { source: 'ff02::1' })],
  ['from nobody', packetTo6(C2.ip6, { source: '::' })],
  ['from the IPv6 loopback address', packetTo6(C2.ip6, { source: '::1' })],
  ['a source route', packetTo(C2.ip, { options: [{ kind: 131, data: Uint8Array.of(4, 10, 0, 1, 9) }] })],
  ['a full recorded route', packetTo(C2.ip, { options: [{ kind: 7, data: Uint8Array.of(8, 1, 2, 3, 4) }] })],
  ['a router alert', packetTo(C2.ip, { options: [{ kind: 148, data: Uint8Array.of(0, 0) }] })],
  ['exactly as big as the MTU', packetTo(C2.ip, { dontFragment: true, payload: new Uint8Array(1380) })],
  ['one byte too big', packetTo(C2.ip, { dontFragment: true, payload: new Uint8Array(1381) })],
  ['one byte too big, to be fragmented', packetTo(C2.ip, { payload: new Uint8Array(1381) })],
  ['a fragment to be fragmented', packetTo(C2.ip, { payload: new Uint8Array(1384), fragmentOffset: 800, moreFragments: true })],
  ['IPv6, exactly as big as the MTU', packetTo6(C2.ip6, { payload: new Uint8Array(1360) })],
  ['IPv6, one byte too big', packetTo6(C2.ip6, { payload: new Uint8Array(1361) })],
  ['padding behind the packet', packetTo(C2.ip, { payload: new Uint8Array(4) }) + '00'.repeat(22)],
]; // prettier-ignore
for (const [what, frame] of MORE)
  kernel(what, async () => {
    const [ours, theirs] = await compare(frame);
    assert.equal(ours, theirs);
  });

// ---- Addresses that nobody has told ----

const UNKNOWN = { ip: '10.0.1.77', ip6: 'fd00:1::77', mac: '02:42:0a:00:01:77' };

/** What a question is about, without the address that it comes from: the kernel solicits from its link-local address. */
function question({ device, frame }: Out): unknown[] {
  const bytes = fromHex(frame);
  const { layers } = dissect(bytes);
  const asked = layers.find(({ protocol }) => protocol === 'arp');
  if (asked !== undefined) return [device, frame];
  const { target, options, type } = icmpv6.decode(bytes, 54);
  return [device, hex(bytes.subarray(0, 14)), hex(bytes.subarray(38, 54)), type, target, options];
}

for (const [family, frame] of [
  ['IPv4', packetTo(UNKNOWN.ip)],
  ['IPv6', packetTo6(UNKNOWN.ip6)],
] as const) {
  kernel(`${family}: three questions, and host unreachable`, async () => {
    const host = routerHost();
    host.receive(frame);
    for (let i = 0; i < 3; i++) host.second();
    heard = [];
    raw.send('s1', frame);
    const theirs = await settle(4, 15_000);
    const far = (out: Out): boolean => out.device === 's2';
    const ours = [...host.sent, ...host.answers].map((out) => ({ device: DEVICE_OF[out.vni]!, frame: out.frame }));
    assert.equal(ours.filter(far).map(question), theirs.filter(far).map(question));
    assert.is(ours.filter(far).length, 3);
    assert.equal(ours.filter((out) => !far(out)).map(essence), theirs.filter((out) => !far(out)).map(essence));
    assert.is(ours.length, 4);
  });

  kernel(`${family}: the answer releases the packets that waited`, async () => {
    const host = routerHost();
    host.receive(frame);
    heard = [];
    raw.send('s1', frame);
    await settle(1);
    const theirQuestion = heard[0]!;
    assert.equal(question({ device: 's2', frame: host.sent[0]!.frame }), question(theirQuestion));
    // Each gets the answer to its own question.
    host.receive(answerTo(host.sent[0]!.frame), { vni: FAR, from: 9 });
    heard = [];
    raw.send('s2', answerTo(theirQuestion.frame));
    const theirs = await settle(1);
    assert.equal([{ device: 's2', frame: host.sent[1]!.frame }].map(essence), theirs.map(essence));
    assert.is(host.sent.length, 2);
  });
}

/** The answer of the unknown station to a question. */
function answerTo(asked: string): string {
  const bytes = fromHex(asked);
  const [target, from] = [UNKNOWN.mac.replaceAll(':', ''), GATEWAY_MAC.replaceAll(':', '')];
  if (bytes[13] === 0x06) {
    const [sender, own] = [hex(bytes.subarray(28, 32)), hex(bytes.subarray(38, 42))];
    return `${from}${target}08060001080006040002${target}${own}${from}${sender}`;
  }
  const { layers } = dissect(bytes);
  const { source } = layers.find(({ protocol }) => protocol === 'ipv6') as Extract<Layer, { protocol: 'ipv6' }>;
  const ends = { source: UNKNOWN.ip6, destination: source };
  const message: icmpv6.Icmpv6 = {
    type: icmpv6.NEIGHBOR_ADVERTISEMENT,
    code: 0,
    solicited: true,
    override: true,
    target: UNKNOWN.ip6,
    options: [icmpv6.encodeOption({ type: icmpv6.OPTION_TARGET_LINK_LAYER_ADDRESS, address: UNKNOWN.mac })],
    payload: new Uint8Array(0),
  };
  const packet = packetTo6(source, { hopLimit: 255, nextHeader: 58, ...ends, payload: icmpv6.encode(message, ends) });
  return `${from}${target}${packet.slice(24)}`;
}

kernel.run();

// ---- Two kernels, and the router between them ----

const between = suiteWith('two kernels and our router', [...NEEDS, 'ping', 'traceroute']);
const wire = new Lab('rw');
let frames: RawFrames;
let timer: NodeJS.Timeout;
let router: Router;
let stations: readonly [string, string];
/** The namespace of the router's ends of the veth pairs. */
let middle: string;

/** A namespace with an address of each family, whose device ends at the router. */
async function station(name: string, device: string, mac: string, addresses: readonly string[]): Promise<string> {
  const ns = await wire.namespace(name);
  await exec(ns, ['sysctl', '-qw', 'net.ipv6.conf.default.accept_dad=0', 'net.ipv6.conf.default.accept_ra=0']);
  const veth = ['name', 'eth0', 'address', mac, 'netns', ns, 'type', 'veth', 'peer', 'name', device];
  await must(['ip', 'link', 'add', ...veth, 'netns', middle]);
  await offloads(ns, 'eth0', 'off');
  await must(['ip', '-n', middle, 'link', 'set', 'dev', device, 'up']);
  await must(['ip', '-n', ns, 'link', 'set', 'dev', 'eth0', 'up']);
  for (const address of addresses) {
    await must(['ip', '-n', ns, 'addr', 'add', address, 'dev', 'eth0', ...(address.includes(':') ? ['nodad'] : [])]);
    const gateway = address.replace(/(\.|::)\d+\/\d+$/, '$11');
    await must(['ip', '-n', ns, 'route', 'add', 'default', 'via', gateway]);
  }
  return ns;
}

between.before(async () => {
  middle = await quietNamespace(wire, 'wire');
  stations = [
    await station('c1', 's1', C1.mac, ['10.0.0.3/24', 'fd00::3/64']),
    await station('c2', 's2', C2.mac, ['10.0.1.4/24', 'fd00:1::4/64']),
  ];
  frames = await RawFrames.open(middle, ['s1', 's2']);
});
between.before.each(() => {
  // The router knows nothing, and must ask.
  router = new Router({ mac: GATEWAY_MAC });
  router.addInterface({ vni: NEAR, gateway: '10.0.0.1/24' });
  router.addInterface({ vni: FAR, gateway: '10.0.1.1/24', mtu: 1400 });
  router.addInterface({ vni: NEAR, gateway: 'fd00::1/64' });
  router.addInterface({ vni: FAR, gateway: 'fd00:1::1/64', mtu: 1400 });
  const send = (vni: number, bytes: Uint8Array, offset: number, end: number): void =>
    frames.send(DEVICE_OF[vni]!, hex(bytes.subarray(offset, end)));
  const sink = {
    send,
    answer: (vni: number, _port: number, bytes: Uint8Array, offset: number, end: number) =>
      send(vni, bytes, offset, end),
  };
  frames.onFrame = (device, frame) => {
    const bytes = fromHex(frame);
    const vni = PORT_OF[device]!;
    const to = router.receive(vni, vni, bytes, 0, bytes.length, performance.now(), sink);
    if (to >= 0) send(to, bytes, 0, bytes.length);
  };
  clearInterval(timer);
  timer = setInterval(() => router.tick(performance.now(), sink), 1000);
});
between.after(async () => {
  clearInterval(timer);
  await frames?.close();
  await wire.teardown();
});

// First, because the kernels remember the MTU.
between('too big for the far segment: the sender learns its MTU', async () => {
  const big = ['ip', 'netns', 'exec', stations[0], 'ping', '-c1', '-W3', '-n', '-Mdo', '-s1420'];
  const four = await run([...big, C2.ip]);
  assert.match(four.stdout + four.stderr, 'From 10.0.0.1 icmp_seq=1 Frag needed and DF set (mtu = 1400)');
  assert.is(await ping(stations[0], C2.ip, { count: 1, size: 1372, dontFragment: true }), 1);
  const six = await run([...big, C2.ip6]);
  assert.match(six.stdout + six.stderr, 'From fd00::1 icmp_seq=1 Packet too big: mtu=1400');
  assert.is(await ping(stations[0], C2.ip6, { count: 1, size: 1352, dontFragment: true }), 1);
});

for (const [from, to, gateways] of [
  [0, 1, ['10.0.0.1', 'fd00::1', '10.0.1.1', 'fd00:1::1']],
  [1, 0, ['10.0.1.1', 'fd00:1::1', '10.0.0.1', 'fd00::1']],
] as const) {
  const peer = [C1, C2][to]!;
  const title = (what: string): string => `${what}, c${from + 1} to c${to + 1}`;

  between(title('ping of the gateways and of the other station'), async () => {
    for (const target of [...gateways, peer.ip, peer.ip6])
      assert.is(await ping(stations[from], target, { count: 2 }), 2, target);
    assert.is(await ping(stations[from], peer.ip, { count: 1, size: 1300, dontFragment: true }), 1);
  });

  between(title('traceroute: the gateway, then the station'), async () => {
    for (const [target, gateway] of [
      [peer.ip, gateways[0]],
      [peer.ip6, gateways[1]],
    ] as const) {
      const route = await exec(stations[from], ['traceroute', '-n', '-q1', '-w3', '-m4', target]);
      const hops = [...route.matchAll(/^ *\d+ +(\S+)/gm)].map(([, hop]) => hop);
      assert.equal(hops, [gateway, target], route);
    }
  });

  between(title('TCP'), async () => {
    for (const target of [peer.ip, peer.ip6])
      assert.is(await transfer(stations[from], stations[to], target), SIZE, target);
  });

  between(title('unknown host, unknown subnet, connection to the gateway'), async () => {
    const near = gateways[2].replace(/\d+$/, '99');
    const host = await run(['ip', 'netns', 'exec', stations[from], 'ping', '-c1', '-W6', '-n', near]);
    assert.match(host.stdout, `From ${gateways[0]} icmp_seq=1 Destination Host Unreachable`);
    const subnet = await run(['ip', 'netns', 'exec', stations[from], 'ping', '-c1', '-W6', '-n', '10.9.0.1']);
    assert.match(subnet.stdout, `From ${gateways[0]} icmp_seq=1 Destination Net Unreachable`);
    const six = await run(['ip', 'netns', 'exec', stations[from], 'ping', '-c1', '-W6', '-n', 'fd09::1']);
    assert.match(six.stdout, `From ${gateways[1]} icmp_seq=1 Destination unreachable: No route`);
    for (const gateway of gateways.slice(0, 2)) {
      const refused = await run(['ip', 'netns', 'exec', stations[from], 'python3', '-c', CONNECT, gateway, '80']);
      assert.match(refused.stderr, 'ConnectionRefusedError');
    }
  });
}

/** Bytes that a transfer sends. */
const SIZE = 300_000;
const CONNECT = 'import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)';
const SERVE =
  'import socket, sys; s = socket.create_server((sys.argv[1], 7000), family=int(sys.argv[2])); print("ready", flush=True); ' +
  'c, _ = s.accept(); print(sum(len(d) for d in iter(lambda: c.recv(65536), b"")))';
const SEND = `import socket, sys; s = socket.create_connection((sys.argv[1], 7000), 5); s.sendall(b"w" * ${SIZE}); s.close()`;

/** Sends {@link SIZE} bytes over TCP, and returns how many arrive. */
async function transfer(from: string, to: string, address: string): Promise<number> {
  const server = wire.spawn(['python3', '-c', SERVE, address, address.includes(':') ? '10' : '2'], { ns: to });
  await waitFor('the server', () => server.stdout.startsWith('ready'));
  await exec(from, ['python3', '-c', SEND, address]);
  const { stdout } = await server.ended;
  return Number(stdout.split('\n')[1]);
}

between.run();
