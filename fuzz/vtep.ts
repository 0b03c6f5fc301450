/**
 * A VTEP. The input is a series of operations: a kind octet, a length in two octets, and as many bytes.
 *
 *     0 to 3   a frame from that port; 2 is a trunk, 3 is in a segment that carries tags and does not flood
 *     4 to 6   a datagram from a peer, from another peer, from an unknown host
 *     7        a datagram from a peer, marked CE
 *     8        time passes: seconds from the bytes
 *     9        an ICMP error about the path to a peer: the MTU in two octets, and the quote
 *
 * Whatever happens, an address that the control plane has bound stays where it is, a stranger takes none away from a
 * port or a peer, the tables stay within their limits, and a frame becomes a bounded number of others.
 */
import { PathMtus } from '../src/host/linux/path-mtu.js';
import { Frame, HEADROOM, MAX_REQUESTS, Vtep, type VtepSink } from '../src/vtep/index.js';
import { probe } from '../src/vxlan/index.js';
import { ensure, equal } from '../test/support/contract.js';

const PORTS = ['a', 'b', 'trunk', 'tagged'];
const REMOTES = ['198.51.100.2', '198.51.100.3', '203.0.113.9'];
const CANARY = 32;
/** Learned addresses of a segment, and remotes learned from datagrams. */
const CAPACITY = 64;
const LEARNED_REMOTES = 4;
/** A peer's frames for the test of ICMP errors: the largest that was sent. */
const LARGEST = 1472;
/** Addresses that the control plane binds, by VNI: to a port, to a remote, or to this host. */
const BOUND: readonly [vni: number, mac: string, place: string | null][] = [
  [4097, '02:42:0a:00:00:04', REMOTES[0]!],
  [4097, '02:42:0a:00:00:07', 'b'],
  [8, '02:42:0a:00:01:04', REMOTES[1]!],
];
const HERE = '02:42:0a:00:00:03';
const GATEWAY = '02:42:0a:00:00:01';

function machine(): Vtep {
  const vtep = new Vtep({ local: '192.0.2.1', learnedRemotes: LEARNED_REMOTES });
  vtep.addSegment({ vni: 4097, capacity: CAPACITY });
  vtep.addSegment({ vni: 8, proxy: 'vtep', tagged: true, flood: false, mtu: 600, capacity: CAPACITY });
  vtep.addPort({ name: 'a', vni: 4097 });
  vtep.addPort({ name: 'b', vni: 4097, mac: '02:42:0a:00:00:07' });
  vtep.addPort({ name: 'trunk', vlans: { 10: 4097, 20: 8 } });
  vtep.addPort({ name: 'tagged', vni: 8 });
  for (const peer of REMOTES.slice(0, 2)) vtep.addPeer(4097, peer);
  vtep.addEndpoint(4097, { ip: '10.0.0.3', mac: HERE });
  vtep.addEndpoint(4097, { ip: '10.0.0.4', mac: '02:42:0a:00:00:04', vtep: REMOTES[0]! });
  vtep.addEndpoint(8, { ip: '10.0.1.4', mac: '02:42:0a:00:01:04', vtep: REMOTES[1]! });
  vtep.addEndpoint(4097, { ip: 'fd00::9', mac: HERE });
  vtep.addEndpoint(4097, { ip: 'fd00::4', mac: '02:42:0a:00:00:04', vtep: REMOTES[0]! });
  vtep.addEndpoint(8, { ip: 'fd00::4', mac: '02:42:0a:00:01:04', vtep: REMOTES[1]! });
  const subnets = [
    { vni: 4097, prefix: '10.0.0.0/24', gateway: '10.0.0.1' },
    { vni: 8, prefix: '10.0.1.0/24', gateway: '10.0.1.1' },
    { vni: 8, prefix: 'fd00:1::/64', gateway: 'fd00:1::1' },
  ];
  vtep.addRouter({ id: 'network', mac: GATEWAY, subnets });
  vtep.services.serve(53);
  return vtep;
}

const sum = (of: Record<string, number>): number => Object.values(of).reduce((total, one) => total + one, 0);

export function fuzz(data: Uint8Array): void {
  const vtep = machine();
  let now = 1000;
  for (let at = 0; at + 3 <= data.length;) {
    const kind = data[at]! % 10;
    const input = data.subarray(at + 3, at + 3 + ((data[at + 1]! << 8) | data[at + 2]!));
    at += 3 + input.length;
    if (kind === 8) {
      now += input.reduce((seconds, octet) => seconds * 256 + octet, 0) % 1_000_000_000;
      vtep.tick(now, { deliver: () => undefined, transmit: () => undefined });
    } else if (kind === 9) quote(vtep, input, now);
    else step(vtep, kind, input, now);
    for (const [vni, mac, place] of BOUND) {
      const entry = vtep.fdbEntry(vni, mac, now);
      // The entry of a local station ages.
      if (entry !== null || place !== 'b')
        equal(entry?.vtep ?? entry?.port, place, `the place of ${mac}, which is bound`);
    }
    for (const vni of vtep.vnis()) equal(vtep.fdbEntry(vni, GATEWAY, now), null, 'the place of the gateway');
    equal(vtep.fdbEntry(4097, HERE, now)?.vtep ?? null, null, `the VTEP of ${HERE}, an endpoint of this host`);
    for (const vni of vtep.vnis()) {
      const size = vtep.fdb(vni, now).length;
      ensure(size <= CAPACITY + 2, `${size} addresses`);
      ensure(vtep.neighbors(vni).length <= 4, 'a neighbor from the data path');
    }
    const remotes = [...vtep.remotes()].length;
    ensure(remotes <= 2 + LEARNED_REMOTES, `${remotes} remotes`);
  }
  const { counts, drops } = vtep.counters();
  for (const [name, count] of Object.entries({ ...counts, ...drops })) ensure(count >= 0, `${name} is ${count}`);
}

/** An ICMP error about a datagram to the first peer. */
function quote(vtep: Vtep, input: Uint8Array, now: number): void {
  if (input.length < 2) return;
  const remote = vtep.remote(REMOTES[0]!)!;
  const quoted = vtep.lengthOfQuote(remote, input, 2, input.length, now);
  ensure(quoted >= -1 && quoted <= 65_535 + 200, `a datagram of ${quoted} bytes`);
  for (const v6 of [false, true]) {
    const mtus = new PathMtus(
      v6,
      () => LARGEST,
      () => undefined,
    );
    const before = remote.outerMtu;
    mtus.take(remote, { mtu: (input[0]! << 8) | input[1]!, quoted, here: false }, now);
    const least = v6 ? 1280 : quoted > 0 ? 552 : 1330;
    ensure(remote.outerMtu === before || (quoted >= 0 && remote.outerMtu >= least), `MTU ${remote.outerMtu}`);
    mtus.expire(now + 60_000);
    equal(remote.outerMtu, before, 'the MTU after a minute');
  }
}

/** Where the source address of a frame is, in each segment. */
function placesOf(vtep: Vtep, frame: Uint8Array, now: number): (string | null)[] {
  const mac = [...frame.subarray(6, 12)].map((octet) => octet.toString(16).padStart(2, '0')).join(':');
  return vtep.vnis().map((vni) => {
    const entry = frame.length < 12 ? null : vtep.fdbEntry(vni, mac, now);
    return entry === null ? null : (entry.port ?? (REMOTES.indexOf(entry.vtep!) < 2 ? entry.vtep : null));
  });
}

/** Handles one frame or datagram: checks it against `explain`, the bounds of the buffer, and the drop counters. */
function step(vtep: Vtep, kind: number, input: Uint8Array, now: number): void {
  const framed = new Uint8Array(CANARY + HEADROOM + input.length + CANARY).fill(0xa5);
  const start = CANARY + HEADROOM;
  const end = start + input.length;
  framed.set(input, start);
  const local = kind < 4;
  const from = REMOTES[kind === 7 ? 0 : kind - 4] ?? '';
  const ecn = kind === 7 ? 3 : 0;

  const before = JSON.stringify(vtep.counters());
  const { delivered, transmitted } = vtep.explain(
    local ? { port: kind, frame: input } : { from, datagram: input, ecn },
    now,
  );
  equal(JSON.stringify(vtep.counters()), before, 'the counters after explain');

  const deliveredTo: string[] = [];
  const transmittedTo: string[] = [];
  let requests = 0;
  const inside = ({ bytes, start: first, end: stop }: Frame): void => {
    ensure(first >= 0 && first < stop && stop <= bytes.length, `hands out ${first} to ${stop} of ${bytes.length}`);
    if (bytes === framed)
      ensure(first >= CANARY && stop <= end, `hands out ${first} to ${stop}, beyond the frame's end at ${end}`);
  };
  const sink: VtepSink = {
    deliver(port, out) {
      inside(out);
      ensure(!local || port !== kind || out.bytes !== framed, 'a frame goes back to its port');
      deliveredTo.push(PORTS[port]!);
    },
    transmit(remote, out) {
      inside(out);
      ensure(local, 'a datagram from a tunnel goes into a tunnel');
      transmittedTo.push(remote.address);
    },
    probe(_, answer) {
      ensure(isProbe && answer.length <= input.length, 'an answer to what is no probe, or a longer one');
      return true;
    },
    request({ port, vni, gatewayPort }) {
      ensure(local && port === kind && gatewayPort === 53, `a request from port ${port}`);
      ensure(vtep.hasSegment(vni), `a request in segment ${vni}`);
      requests++;
    },
  };
  const isProbe = !local && probe.check(input, 0, input.length) > 0;
  const dropped = sum(vtep.counters().drops);
  const places = kind === 6 ? placesOf(vtep, input.subarray(8), now) : [];
  if (local) vtep.receiveFrame(kind, new Frame(framed, start, end), now, sink);
  else vtep.receiveDatagram(from, new Frame(framed, start, end), now, ecn, sink);

  const after = kind === 6 ? placesOf(vtep, input.subarray(8), now) : [];
  places.forEach((place, i) => place !== null && equal(after[i], place, 'the place of the source, after a stranger'));
  ensure(deliveredTo.length <= PORTS.length && transmittedTo.length <= 2, 'more frames than ports and peers');
  equal(deliveredTo, delivered, 'the ports that frames went to, compared with explain');
  equal(transmittedTo, transmitted, 'the remotes that datagrams went to, compared with explain');
  ensure(
    isProbe || deliveredTo.length + transmittedTo.length + requests > 0 || sum(vtep.counters().drops) > dropped,
    'neither output nor a counted drop',
  );
  ensure(vtep.services.waiting <= MAX_REQUESTS, `${vtep.services.waiting} requests wait`);
  for (let i = 0; i < CANARY; i++)
    ensure(framed[i] === 0xa5 && framed[end + i] === 0xa5, 'it wrote outside the frame and its headroom');
}
