/** VLAN tags: single, stacked, of VLAN 0, hidden; from ports and tunnels. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as arp from '../src/arp/index.js';
import * as ethernet from '../src/ethernet/index.js';
import { flowPort, Frame, HEADROOM, Vtep } from '../src/vtep/index.js';
import { arpRequest, C1, C2, udpFrame } from './support/frames.js';
import { fromHex, hex } from './support/hex.js';
import { HEADER, host, tag, wrap } from './support/vtep-host.js';

const zeros = (count: number): string => '00'.repeat(count);
const PEER = '198.51.100.2';

/** Three segments, the last of which carries tags, on every kind of port. */
const PORTS = {
  access1: { vni: 1 },
  other1: { vni: 1 },
  access5: { vni: 5 },
  other5: { vni: 5 },
  trunk: { vlans: { 10: 1, 20: 200, 50: 5 } },
  native1: { vlans: { 30: 200, 60: 5 }, native: 1 },
  native5: { vlans: { 10: 1, 20: 200 }, native: 5 },
} as const;
type PortName = keyof typeof PORTS;
const NAMES = Object.keys(PORTS) as PortName[];
const VNIS = [1, 200, 5] as const;
const TAGGED = 5;

function machine() {
  const vtep = new Vtep({ local: '192.0.2.1' });
  for (const vni of VNIS) vtep.addSegment({ vni, tagged: vni === TAGGED });
  for (const name of NAMES) vtep.addPort({ name, ...PORTS[name] });
  for (const vni of VNIS) vtep.addPeer(vni, PEER);
  const out: Record<string, string> = {};
  const sink = {
    deliver: (port: number, { bytes, start, end }: Frame) => void (out[NAMES[port]!] = hex(bytes.subarray(start, end))),
    transmit: (_: unknown, { bytes, start, end }: Frame) =>
      void (out[`vni${Number.parseInt(hex(bytes.subarray(start + 4, start + 7)), 16)}`] = hex(
        bytes.subarray(start + 8, end),
      )),
  };
  const drops = (): string[] =>
    Object.entries(vtep.counters().drops).flatMap(([name, count]) => (count > 0 ? [name] : []));
  const receive = (from: PortName | number, frame: Uint8Array): Record<string, string> => {
    const header = typeof from === 'number' ? `08000000${from.toString(16).padStart(6, '0')}00` : '';
    const input = fromHex(header + hex(frame));
    const expected =
      typeof from === 'number'
        ? vtep.explain({ from: PEER, datagram: input }, 0)
        : vtep.explain({ port: NAMES.indexOf(from), frame: input }, 0);
    const bytes = new Uint8Array(HEADROOM + input.length).fill(0xa5);
    bytes.set(input, HEADROOM);
    for (const key of Object.keys(out)) delete out[key];
    if (typeof from === 'number') vtep.receiveDatagram(PEER, new Frame(bytes, HEADROOM), 0, 0, sink);
    else vtep.receiveFrame(NAMES.indexOf(from), new Frame(bytes, HEADROOM), 0, sink);
    const ports = Object.keys(out).filter((name) => !name.startsWith('vni'));
    assert.equal([expected.delivered, expected.transmitted.length], [ports, Object.keys(out).length - ports.length]);
    return { ...out };
  };
  return { vtep, receive, drops };
}

interface Tag {
  type: number;
  control: number;
}

const idOf = (one: Tag): number => one.control & 0xfff;
const bitsOf = (one: Tag): number => one.control & 0xf000;
const textOf = (tags: readonly Tag[]): string =>
  tags
    .map(({ type, control }) => ((type << 16) | control) >>> 0)
    .map((word) => word.toString(16).padStart(8, '0'))
    .join('');
const firstPriority = (tags: readonly Tag[]): number => tags.map(bitsOf).find((bits) => bits !== 0) ?? 0;

/** The fate of a broadcast frame: the name of a drop, or frames by port and VNI. */
function model(from: PortName | number, tags: readonly Tag[], rest: string): string | Record<string, string> {
  const addresses = `${'ff'.repeat(6)}0200000000c1`;
  const left = [...tags];
  const removed: Tag[] = [];
  const takePriorityTags = (): Tag[] => {
    const taken: Tag[] = [];
    while (left.length > 0 && idOf(left[0]!) === 0) taken.push(left.shift()!);
    removed.push(...taken);
    return taken;
  };
  let vni: number | undefined;
  let priorityTags = takePriorityTags();
  if (typeof from === 'number') vni = from;
  else {
    const port: { vni?: number; native?: number; vlans?: Readonly<Record<number, number>> } = PORTS[from];
    if (port.vlans === undefined) vni = port.vni;
    else if (left.length === 0) vni = port.native;
    else {
      vni = port.vlans[idOf(left[0]!)];
      if (vni === undefined) return 'vlan-unmapped';
      removed.push(left.shift()!);
      priorityTags = takePriorityTags();
    }
  }
  if (vni === undefined) return 'vlan-unmapped';
  if (vni !== TAGGED && left.length > 0) return 'vlan-unexpected';
  const priorityTag = vni === TAGGED ? priorityTags.filter((one) => bitsOf(one) !== 0).slice(0, 1) : [];
  const plain = addresses + textOf(priorityTag.map((one) => ({ ...one, control: bitsOf(one) }))) + textOf(left) + rest;
  const out: Record<string, string> = {};
  for (const name of NAMES) {
    if (name === from) continue;
    const port: { vni?: number; native?: number; vlans?: Readonly<Record<number, number>> } = PORTS[name];
    if (port.vni === vni) out[name] = plain;
    if (port.native === vni && left.length === 0) out[name] = plain;
    for (const [vid, mapped] of Object.entries(port.vlans ?? {}))
      if (mapped === vni)
        out[name] =
          addresses + textOf([{ type: 0x8100, control: Number(vid) | firstPriority(removed) }, ...left]) + rest;
  }
  if (typeof from !== 'number') out[`vni${vni}`] = plain;
  return out;
}

const TYPES = [0x8100, 0x88a8, 0x9100];
const arbitraryTag = fc
  .record({
    type: fc.constantFrom(...TYPES),
    id: fc.oneof({ weight: 3, arbitrary: fc.constantFrom(0) }, fc.constantFrom(5, 10, 20, 30, 50, 60, 4095)),
    bits: fc.oneof(fc.constantFrom(0), fc.nat(15)),
  })
  .map(({ type, id, bits }) => ({ type, control: (bits << 12) | id }));

test('any stack of tags from any port and tunnel is handled as in the model, and explain agrees', () => {
  const seen = new Set<string>();
  fc.assert(
    fc.property(
      fc.constantFrom(...NAMES, ...VNIS),
      fc.oneof(
        { weight: 9, arbitrary: fc.array(arbitraryTag, { maxLength: 5 }) },
        fc.array(arbitraryTag, { maxLength: 40 }),
      ),
      (from, tags) => {
        const rest = `88b5aa02${zeros(40)}`;
        const { receive, drops } = machine();
        const out = receive(from, fromHex(`${'ff'.repeat(6)}0200000000c1${textOf(tags)}${rest}`));
        const expected = model(from, tags, rest);
        if (typeof expected === 'string') {
          seen.add(expected);
          assert.equal([out, drops()], [{}, [expected]]);
        } else {
          assert.equal(out, expected);
          if (drops().includes('vlan-native')) seen.add('vlan-native');
          if (Object.values(expected).some((frame) => /^.{24}8100[1-9a-f]0/.test(frame))) seen.add('priority tag');
        }
      },
    ),
    { numRuns: 3000 },
  );
  assert.equal([...seen].sort(), ['priority tag', 'vlan-native', 'vlan-unexpected', 'vlan-unmapped']);
});

test('a tag behind a removed tag does not get from an access port into another VLAN (CVE-2021-27853)', () => {
  for (const stack of ['8100000081000005', '8100000081000014', '88a8000081000014', '910000008100000088a80014']) {
    const { receive, drops } = machine();
    const frame = fromHex(`ffffffffffff0200000000c1${stack}88b5aa02${zeros(40)}`);
    assert.equal(receive('access1', frame), {}, stack);
    assert.equal(receive(1, frame), {}, `${stack} out of a tunnel`);
    assert.equal(drops(), ['vlan-unexpected']);
  }
});

test('a tag inside a segment that carries tags does not become a VLAN of a trunk where the segment is untagged', () => {
  const { receive, drops } = machine();
  const frame = fromHex(`ffffffffffff0200000000c18100001488b5aa02${zeros(40)}`);
  const out = receive('access5', frame);
  assert.equal(Object.keys(out), ['other5', 'trunk', 'native1', 'vni5']);
  assert.is(out['trunk'], `ffffffffffff0200000000c1810000328100001488b5aa02${zeros(40)}`);
  assert.equal(drops(), ['vlan-native']);
});

test('VLAN 0 from a tunnel means no VLAN: delivered untagged; a segment with tags keeps the priority', () => {
  const { vtep, datagram, delivered, drops } = host();
  vtep.addPort({ name: 'tap0', vni: 4097 });
  datagram(C2.host, fromHex(`${HEADER}ffffffffffff02420a0000048100000088b5${zeros(46)}`));
  assert.equal(
    delivered.map(({ frame }) => hex(frame)),
    [`ffffffffffff02420a00000488b5${zeros(46)}`],
  );
  assert.equal(drops(), {});
  const open = host({ tagged: true });
  open.vtep.addPort({ name: 'tap0', vni: 4097 });
  open.vtep.addPort({ name: 'trunk0', vlans: { 10: 4097 } });
  open.datagram(C2.host, fromHex(`${HEADER}ffffffffffff02420a0000048100a00088b5${zeros(46)}`));
  assert.equal(
    open.delivered.map(({ frame }) => hex(frame)),
    [`ffffffffffff02420a0000048100a00088b5${zeros(46)}`, `ffffffffffff02420a0000048100a00a88b5${zeros(46)}`],
  );
});

test('a truncated tag is dropped at any position', () => {
  for (const from of [...NAMES, ...VNIS])
    for (const stack of ['8100', '81000000', '8100000081', '810000008100', '81000000810000', '88a80000910000008100']) {
      const { receive, drops } = machine();
      assert.equal(receive(from, fromHex(`ffffffffffff0200000000c1${stack}`)), {});
      assert.equal(drops(), ['frame-truncated'], `${stack} from ${from}`);
    }
});

test('a length field that says more than there is makes no difference, with a tag or without', () => {
  for (const front of ['', '81000000', '8100000a']) {
    const { receive, drops } = machine();
    const rest = `05dc4242${zeros(44)}`;
    const out = receive('trunk', fromHex(`ffffffffffff0200000000c1${front}${rest}`));
    const mapped = front === '8100000a'; // VLAN 10 is VNI 1; untagged frames have no segment on this trunk
    assert.equal(drops(), mapped ? [] : ['vlan-unmapped']);
    if (mapped) assert.is(out['access1'], `ffffffffffff0200000000c1${rest}`);
  }
  const { receive, drops } = machine();
  receive('access1', fromHex(`ffffffffffff0200000000c181000005${`05dc4242${zeros(44)}`}`));
  assert.equal(drops(), ['vlan-unexpected']);
});

test('a tag hidden behind LLC and SNAP is dropped, whatever the length field says (CVE-2021-27861, CVE-2021-27862)', () => {
  for (const from of ['access1', 'access5', 1, 5] as const)
    for (const front of ['', '81000000'])
      for (const length of ['0030', '0000', '05ff'])
        for (const snap of ['aaaa03000000', 'aaaa030000f8'])
          for (const type of ['8100', '88a8', '9100']) {
            const { receive, drops } = machine();
            const frame = `ffffffffffff0200000000c1${front}${length}${snap}${type}001488b5${zeros(40)}`;
            // A tag followed by an impossible length counts as truncated first.
            assert.equal(receive(from, fromHex(frame)), {}, frame);
            assert.is(drops().length, 1);
          }
  const { receive } = machine();
  const spanningTree = fromHex(`ffffffffffff0200000000c10026424203${zeros(35)}`);
  assert.ok('other1' in receive('access1', spanningTree), 'other 802.3 frames pass');
  assert.ok('other1' in receive('access1', fromHex(`ffffffffffff0200000000c10030aaaa0300000088b5${zeros(40)}`)));
});

test('the proxy and the duplicate check see ARP behind tags, and an answer has the tags of the request', () => {
  const stacks: [from: 'tap' | 'trunk', tagged: boolean, tags: string, answered: string][] = [
    ['tap', false, '81000000', ''],
    ['tap', false, '8100e00088a8000091000000', ''],
    ['trunk', false, '8100000a81000000', '8100000a'],
    ['trunk', false, '810000008100a00a', '8100a00a'],
    ['tap', true, '81000005', '81000005'],
    ['tap', true, '81006000', '81006000'],
    ['tap', true, '88a8000581000007', '88a8000581000007'],
    ['trunk', true, '8100000a81000007', '8100000a81000007'],
    ['trunk', true, '8100000a8100600081000007', '8100600a81000007'],
  ];
  for (const [from, tagged, tags, answered] of stacks) {
    const { vtep, frame, delivered, sent, count } = host({ tagged });
    const ports = { tap: vtep.addPort({ name: 'tap', vni: 4097 }), trunk: 0 };
    ports.trunk = vtep.addPort({ name: 'trunk', vlans: { 10: 4097 } });
    vtep.addPeer(4097, C2.host);
    vtep.addEndpoint(4097, { ...C2, vtep: C2.host });
    const insert = (untagged: Uint8Array, stack: string): Uint8Array =>
      fromHex(hex(untagged.subarray(0, 12)) + stack + hex(untagged.subarray(12)));
    frame(ports[from], insert(arpRequest(C1, C2.ip), tags));
    assert.equal([delivered.length, sent.length, count('arp-answered')], [1, 0, 1], tags);
    assert.is(delivered[0]!.port, ports[from]);
    const plain = ethernet.encode({
      destination: C1.mac,
      source: C2.mac,
      etherType: ethernet.TYPE_ARP,
      payload: arp.encode({
        operation: arp.REPLY,
        ...{ senderMac: C2.mac, senderIp: C2.ip, targetMac: C1.mac, targetIp: C1.ip },
      }),
    });
    assert.is(hex(delivered[0]!.frame), hex(insert(plain, answered)));
    frame(ports[from], insert(arpRequest({ ip: C2.ip, mac: C1.mac }, '10.0.0.99'), tags));
    assert.is(count('duplicate-address'), 1, tags);
  }
});

test('ARP behind tags from a tunnel reaches the duplicate check', () => {
  const { vtep, datagram, count } = host();
  vtep.addPort({ name: 'tap', vni: 4097 });
  vtep.addEndpoint(4097, C1);
  datagram(C2.host, wrap(tag(arpRequest({ ip: C1.ip, mac: C2.mac }, C2.ip), 0)));
  assert.is(count('duplicate-address'), 1);
});

test('in a segment with tags, flow hash, ECN and MTU apply to the packet behind the tags', () => {
  const { vtep, frame, datagram, delivered, sent, count } = host({ tagged: true });
  const port = vtep.addPort({ name: 'tap', vni: 4097 });
  vtep.addEndpoint(4097, { ...C2, vtep: C2.host });
  const ports = [1000, 2000] as [number, number];
  const packet = udpFrame(C1, C2, { ports, ip: { ecn: 2 } });
  const twice = tag(tag(packet, 7), 8);
  frame(port, twice);
  assert.is(hex(sent[0]!.datagram), HEADER + hex(twice));
  assert.is(sent[0]!.tos, 2);
  assert.is(flowPort(twice, 0, twice.length), flowPort(packet, 0, packet.length));
  datagram(C2.host, wrap(tag(udpFrame(C2, C1, { ip: { ecn: 2 } }), 7)), 3);
  assert.is(count('ecn-marked'), 1);
  assert.is(hex(delivered[0]!.frame), hex(tag(udpFrame(C2, C1, { ip: { ecn: 3 } }), 7)));
  // 1450 bytes of IP fit, whatever the tags; one more is answered in the same VLAN.
  frame(port, tag(tag(udpFrame(C1, C2, { size: 1422, ip: { dontFragment: true } }), 7), 8));
  assert.is(sent.length, 1);
  frame(port, tag(udpFrame(C1, C2, { size: 1423, ip: { dontFragment: true } }), 7));
  assert.equal([sent.length, delivered.length, count('fragmentation-needed')], [0, 1, 1]);
  assert.is(hex(delivered[0]!.frame.subarray(0, 18)), `${C1.mac}${C2.mac}810000070800`.replaceAll(':', ''));
});

test('explains each tag', () => {
  const { vtep } = machine();
  const words = (port: PortName, stack: string): string[] =>
    vtep
      .explain({ port: NAMES.indexOf(port), frame: fromHex(`ffffffffffff0200000000c1${stack}88b5aa02${zeros(40)}`) }, 0)
      .steps.filter(({ stage }) => stage === 'vlan' || stage === 'drop')
      .map(({ text }) => text);
  assert.equal(words('access1', '8100000081000014'), [
    'VLAN 0 names no VLAN; the tag is removed',
    'VLAN 20 is not allowed here',
    'vlan-unexpected: a VLAN-tagged frame in a segment that does not carry tags (RFC 7348, section 6.1)',
  ]);
  assert.equal(words('trunk', '8100003281006000'), [
    'VLAN 50 on trunk trunk is VNI 5; the tag is removed',
    'VLAN 0 names no VLAN; the tag is removed',
    'the segment carries tags: priority 3 stays, in a tag of VLAN 0',
    'the tag of VLAN 60 is added for trunk native1',
  ]);
  assert.equal(words('access5', '81000014').slice(-1), [
    'vlan-native: a VLAN-tagged frame for the untagged side of a trunk, where the tag would be read as the trunk’s',
  ]);
});

test('the error about a packet that is too big has the VLAN and the priority of the packet', () => {
  const { vtep, frame, delivered } = host({ mtu: 600 });
  const trunk = vtep.addPort({ name: 'trunk', vlans: { 10: 4097 } });
  vtep.addEndpoint(4097, { ...C2, vtep: PEER });
  frame(trunk, tag(udpFrame(C1, C2, { size: 573, ip: { dontFragment: true } }), 10, 5));
  assert.is(delivered.length, 1);
  const { frame: answer } = delivered[0]!;
  assert.is(hex(answer.subarray(0, 18)), `${C1.mac}${C2.mac}`.replaceAll(':', '') + '8100a00a0800'); // 5 << 13 | 10
  assert.is(hex(answer.subarray(18 + 20, 18 + 20 + 8)).replace(/(?<=^0304)..../, '....'), '0304....00000258'); // 600
});

test.run();
