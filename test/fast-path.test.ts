/** The fast path: whatever passes, a machine with it sends, learns and counts the same as one whose frames all cross the bridge. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { macToText, setMac } from '../src/address/index.js';
import * as ethernet from '../src/ethernet/index.js';
import * as ipv4 from '../src/ipv4/index.js';
import * as udp from '../src/udp/index.js';
import * as vxlan from '../src/vxlan/index.js';
import { fold } from '../src/wire/index.js';
import { Frame, HEADROOM, Vtep, type Remote } from '../src/vtep/index.js';
import { HotRows, OUT_PACKETS, IN_PACKETS, WORDS } from '../src/vtep/hot-rows.js';
import { DISCOVERY } from './support/discovery-frames.js';
import { C1, C2, udpFrame } from './support/frames.js';
import { fromHex, hex } from './support/hex.js';
import { host, wrap } from './support/vtep-host.js';

const { vlan } = ethernet;
const VNIS = [1, 2, 3, 4, 5, 6];
const HOSTS = ['192.0.2.1', '192.0.2.2', '192.0.2.3'];
const LOCAL = '192.0.2.9';
const GATEWAY_MAC = 0x0200_0000_0063;
const macOf = (i: number): number => 0x0200_0000_0000 + i;
const ipOf = (i: number): string => `10.0.0.${10 + i}`;
const ROUTER = {
  id: 'net',
  mac: macToText(GATEWAY_MAC),
  subnets: [
    { prefix: '10.0.0.0/24', gateway: '10.0.0.1', vni: 2 },
    { prefix: '10.0.1.0/24', gateway: '10.0.1.1', vni: 3 },
  ],
};

type Machine = ReturnType<typeof machine>;

/** A machine with segments of several kinds, its rows, and what it sends. */
function machine(peersOnly: boolean, fast: boolean) {
  const vtep = new Vtep({ peersOnly, local: LOCAL, seed: 7 });
  const rows: HotRows<unknown>[] = [];
  const { take } = HotRows.prototype;
  HotRows.prototype.take = function (...words) {
    // Without a table, no row has a fast path.
    if (!fast) this.publish = () => undefined;
    rows.push(this);
    return take.apply(this, words);
  };
  vtep.addSegment({ vni: 1 });
  HotRows.prototype.take = take;
  const sent: string[] = [];
  const describe = (to: string, { bytes, start, end, packets, moreBytes, excess }: Frame): string =>
    `${to} ${packets} ${moreBytes} ${excess} ${hex(bytes.subarray(start, end))}`;
  const sink = {
    deliver: (port: number, frame: Frame) => void sent.push(describe(`port ${port}`, frame)),
    transmit: ({ address }: Remote, frame: Frame, sourcePort: number, tos: number) =>
      void sent.push(describe(`${address} ${sourcePort} ${tos}`, frame)),
    learned: (learned: object) => void sent.push(JSON.stringify(learned)),
  };
  vtep.addSegment({ vni: 2, mtu: 200 });
  vtep.addSegment({ vni: 3, ageing: 1 });
  vtep.addSegment({ vni: 4, proxy: 'vtep' });
  vtep.addSegment({ vni: 5, learn: false, flood: false });
  vtep.addSegment({ vni: 6, tagged: true, capacity: 2 });
  for (const vni of VNIS) vtep.addPort({ name: `tap${vni}`, vni });
  vtep.addPort({ name: 'trunk', vlans: { 1: 1, 2: 2, 3: 3, 4: 4, 5: 5 }, native: 6 });
  const [first, second] = HOSTS as [string, string, string];
  for (const vni of VNIS) {
    vtep.addPeer(vni, first);
    vtep.addEndpoint(vni, { ip: ipOf(0), mac: macToText(macOf(0)), vtep: first });
    vtep.addEndpoint(vni, { ip: ipOf(1), mac: macToText(macOf(1)), vtep: second });
  }
  return { vtep, rows: rows[0]!, sent, sink };
}

/** Nearly always the first value: the frames of the fast path have nothing special. */
const mostly = <T extends number | boolean>(usual: T, ...others: T[]): fc.Arbitrary<T> =>
  fc.oneof({ weight: 7, arbitrary: fc.constant(usual) }, { weight: 1, arbitrary: fc.constantFrom(...others) });
const common = {
  size: fc.constantFrom(18, 60, 150, 300, 0, 1450),
  six: fc.boolean(),
  many: mostly(1, 3),
  cut: mostly(0, 20, 60),
};
const frame = fc.record({
  kind: fc.constant('frame' as const),
  /** The last port is the trunk. */
  port: fc.nat(VNIS.length),
  tag: mostly<number>(-1, 0, 1, 2, 3, 5, 9),
  to: fc.constantFrom(0, 0, 1, 1, 2, 3, 0x63, 0xff),
  from: mostly<number>(2, 3, 4, 0, 0x63),
  ...common,
});
const trunkFrame = frame.map((one) => ({ ...one, port: VNIS.length, tag: 1 + (one.size % 5), from: 3 }));
const datagram = fc.record({
  kind: fc.constant('datagram' as const),
  host: fc.constantFrom(...HOSTS, LOCAL),
  known: mostly(true, false),
  vni: fc.constantFrom(...VNIS, 9),
  tag: mostly<number>(-1, 0, 3),
  to: mostly<number>(2, 3, 4, 0, 0x63),
  from: fc.constantFrom(0, 0, 0, 1, 1, 5, 2, 0x63),
  ecn: mostly(0, 1, 3),
  policy: mostly(false, true),
  unfinished: mostly(false, true),
  ...common,
});
const usual = datagram.map((one) => ({ ...one, host: HOSTS[one.from & 1]! }));
const change = fc.record({
  kind: fc.constant('change' as const),
  what: fc.constantFrom(
    'add endpoint',
    'remove endpoint',
    'add port',
    'remove port',
    'forget port',
    'add router',
    'remove router',
    'remove segment',
    'add segment',
    'add many',
    'narrow',
    'tick',
    'wait',
  ),
  vni: fc.constantFrom(...VNIS),
  which: fc.nat(4),
});
type Step = typeof frame | typeof datagram | typeof change extends fc.Arbitrary<infer T> ? T : never;
const step = fc.oneof(
  { weight: 8, arbitrary: frame },
  { weight: 4, arbitrary: trunkFrame },
  { weight: 4, arbitrary: datagram },
  { weight: 8, arbitrary: usual },
  { weight: 1, arbitrary: change },
);

/** The inner frame of a step, with room in front. Tags have the VLAN id of the step. */
function bytesOf({ to, from, tag, size, six, cut }: Step & { kind: 'frame' | 'datagram' }): Uint8Array {
  const ends = [to, from].map((i) => ({ ip: six ? `fd00::${i + 1}` : ipOf(i), mac: macToText(macOf(i)) }));
  const plain = udpFrame(ends[1]!, ends[0]!, { size, ports: [1000 + from, 53] });
  const tagged = tag < 0 ? 0 : vlan.HEADER_LENGTH;
  const bytes = new Uint8Array(HEADROOM + plain.length + tagged);
  bytes.set(plain, HEADROOM + tagged);
  setMac(bytes, HEADROOM, to === 0xff ? 0xffff_ffff_ffff : macOf(to));
  setMac(bytes, HEADROOM + ethernet.SOURCE_OFFSET, macOf(from));
  if (tagged !== 0) {
    ethernet.setEtherType(bytes, HEADROOM, ethernet.TYPE_VLAN);
    vlan.writeHeader(bytes, HEADROOM + ethernet.HEADER_LENGTH, tag, ethernet.getEtherType(plain, 0));
  }
  return bytes.subarray(0, Math.max(HEADROOM, bytes.length - cut)).slice();
}

function setFrame(frame: Frame, bytes: Uint8Array, start: number, many: number): Frame {
  const length = bytes.length - start;
  return many === 1
    ? frame.set(bytes, start, bytes.length)
    : frame.setMany(bytes, start, bytes.length, many, length * many - 7, Math.max(0, length - 9));
}

/** Does one step, and returns what the caller sees of it. */
function act({ vtep, sink }: Machine, one: Step, reused: Frame, now: number): string {
  try {
    if (one.kind === 'frame') {
      vtep.receiveFrame(one.port, setFrame(reused, bytesOf(one), HEADROOM, one.many), now, sink);
      return '';
    }
    if (one.kind === 'datagram') {
      const bytes = bytesOf(one);
      // RFC 768: an unfinished checksum is the sum of the pseudo-header.
      const ip = HEADROOM + ethernet.HEADER_LENGTH;
      const udpLength = bytes.length - ip - ipv4.MIN_HEADER_LENGTH;
      if (one.unfinished && !one.six && one.tag < 0 && udpLength >= udp.HEADER_LENGTH)
        udp.setChecksum(
          bytes,
          ip + ipv4.MIN_HEADER_LENGTH,
          fold(ipv4.pseudoHeaderSum(bytes, ip, ipv4.PROTOCOL_UDP, udpLength)),
        );
      const start = HEADROOM - vxlan.HEADER_LENGTH;
      vxlan.writeHeader(bytes, start, one.vni);
      if (one.policy) vxlan.setFlags(bytes, start, vxlan.FLAG_VNI | vxlan.FLAG_GROUP);
      if (one.policy) bytes[start + 1] = 0x40; // do not learn
      const source = (one.known ? vtep.remote(one.host) : undefined) ?? one.host;
      vtep.receiveDatagram(source, setFrame(reused, bytes, start, one.many), now, one.ecn, sink);
      return '';
    }
    const { vni, which } = one;
    const endpoint = { ip: ipOf(which), mac: macToText(macOf(which)), vtep: HOSTS[which % 3]! };
    if (one.what === 'add endpoint') vtep.addEndpoint(vni, endpoint);
    else if (one.what === 'remove endpoint') vtep.removeEndpoint(vni, endpoint);
    else if (one.what === 'add port') vtep.addPort({ name: 'tap', vni });
    else if (one.what === 'remove port') vtep.removePort(which);
    else if (one.what === 'forget port') vtep.forgetPort(which);
    else if (one.what === 'add router') vtep.addRouter(ROUTER);
    else if (one.what === 'remove router') vtep.removeRouter('net');
    else if (one.what === 'remove segment') vtep.removeSegment(vni);
    else if (one.what === 'add segment') vtep.addSegment({ vni });
    else if (one.what === 'narrow') vtep.remote(HOSTS[which % 3]!)!.outerMtu = 300;
    // So many that the table moves into a larger one, a part with each addition.
    else if (one.what === 'add many')
      for (let i = 0; i < 1540; i++)
        vtep.addEndpoint(vni, { ip: `10.9.${i >> 8}.${i & 255}`, mac: macToText(macOf(0x1000 + i)), vtep: HOSTS[0]! });
    else if (one.what === 'tick') vtep.tick(now, sink);
    return '';
  } catch (error) {
    if (error instanceof RangeError || error instanceof TypeError) return String(error);
    throw error;
  }
}

/** How many packets took the fast path in a machine: from ports, and to ports. */
function fastPackets({ words, counts }: HotRows<unknown>): [out: number, back: number] {
  let [out, back] = [0, 0];
  for (let row = 0; row < words.length; row += WORDS) {
    out += counts[(row >> 1) + OUT_PACKETS]!;
    back += counts[(row >> 1) + IN_PACKETS]!;
  }
  return [out, back];
}

test('a machine sends, learns and counts the same with the fast path and without', () => {
  let [out, back, all] = [0, 0, 0];
  fc.assert(
    fc.property(fc.boolean(), fc.array(step, { minLength: 30, maxLength: 60, size: 'max' }), (peersOnly, steps) => {
      const [fast, slow] = [machine(peersOnly, true), machine(peersOnly, false)];
      const frames = [new Frame(), new Frame()] as const;
      let now = 1000;
      // Each port has a station from the start, so that most frames find both addresses.
      const learn = VNIS.map((vni): Step => ({
        ...{ kind: 'frame', port: vni - 1, tag: -1, to: 0, from: 2, size: 60, six: false, many: 1, cut: 0 },
      }));
      for (const one of [...learn, ...steps]) {
        if (one.kind === 'change' && one.what === 'wait') now += 1500;
        now += 10;
        assert.is(act(fast, one, frames[0], now), act(slow, one, frames[1], now), JSON.stringify(one));
        assert.equal(fast.sent.splice(0), slow.sent.splice(0), JSON.stringify(one));
        all++;
      }
      assert.equal(fast.vtep.counters().counts, slow.vtep.counters().counts);
      assert.equal(fast.vtep.counters().drops, slow.vtep.counters().drops);
      for (const vni of fast.vtep.vnis()) {
        const [a, b] = [fast, slow].map(({ vtep }) => vtep.counters().segments.find((one) => one.vni === vni)!);
        assert.equal([a!.counts, a!.drops], [b!.counts, b!.drops]);
        assert.equal(fast.vtep.fdb(vni, now), slow.vtep.fdb(vni, now));
      }
      assert.equal(fast.vtep.findings(now), slow.vtep.findings(now));
      assert.equal(fastPackets(slow.rows), [0, 0], 'the other machine must not have a fast path');
      const taken = fastPackets(fast.rows);
      out += taken[0];
      back += taken[1];
    }),
    { numRuns: 200 },
  );
  const few = `of ${all} steps, ${out} packets left and ${back} arrived by the fast path`;
  assert.ok(out > all / 40 && back > all / 80, few);
});

test('a remote that is a peer no more sends nothing, although its addresses are still known', () => {
  const { vtep, frame, datagram, delivered, drops } = host({}, { peersOnly: true });
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  vtep.addPeer(4097, C2.host);
  frame(port, udpFrame(C1, C2));
  datagram(C2.host, wrap(udpFrame(C2, C1)));
  datagram(C2.host, wrap(udpFrame(C2, C1)));
  assert.is(delivered.length, 1);
  vtep.removePeer(4097, C2.host);
  datagram(C2.host, wrap(udpFrame(C2, C1)));
  assert.equal(delivered, []);
  assert.equal(drops(), { 'unknown-peer': 1 });
});

test('the gateway gets what is sent to its address, even if an endpoint claims to have it', () => {
  const { vtep, frame, delivered, sent, count } = host({ vni: 2 });
  vtep.addSegment({ vni: 3 });
  vtep.addRouter(ROUTER);
  const port = vtep.addPort({ name: 'tap0', vni: 2 });
  vtep.addEndpoint(2, { ip: '10.0.0.66', mac: ROUTER.mac, vtep: C2.host });
  const gateway = { ip: '10.0.1.1', mac: ROUTER.mac };
  frame(port, udpFrame(C1, gateway));
  frame(port, udpFrame(C1, gateway));
  assert.equal(sent, []);
  assert.is(delivered.length, 1, 'a closed port of the gateway');
  assert.is(count('gateway-errors'), 2);
});

test('neighbor discovery to a single address reaches the proxy', () => {
  const { vtep, frame, delivered, sent } = host();
  const port = vtep.addPort({ name: 'tap0', vni: 4097 });
  vtep.addEndpoint(4097, { ip: 'fd00::4', mac: C2.mac, vtep: C2.host });
  const [asked, answer] = DISCOVERY.answered['unicast solicitation']!;
  for (let i = 0; i < 2; i++) {
    frame(port, fromHex(asked));
    assert.equal([sent, delivered.map((one) => hex(one.frame))], [[], [answer]]);
  }
});

test.run();
