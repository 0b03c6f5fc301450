/** A VTEP with encrypted segments: which association seals a frame, what waits for one, what is refused, and how large frames may be. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as esp from '../src/esp/index.js';
import { Frame, HEADROOM, Vtep, type DropReason, type Remote } from '../src/vtep/index.js';
import { C1, C2, udpFrame } from './support/frames.js';
import { fromHex, hex } from './support/hex.js';
import { C2 as FAR_C2, FAR, GATEWAY_MAC, NEAR, NETWORK } from './support/router-host.js';

const VNI = 4097;
const H2 = C2.host;
const H3 = '203.0.113.7';
const H6 = '2001:db8::2';
const GROUP = 'vni-4097';
const ICV = 16;

/** An association that seals nothing, and says when it was freed. */
function association(spi: number): { outbound: esp.Outbound; inbound: esp.Inbound; freed: () => number } {
  let freed = 0;
  const key: esp.AeadKey = {
    seal: () => undefined,
    open: ({ count, authentic }) => void authentic.fill(1, 0, count),
    free: () => void freed++,
  };
  return { outbound: new esp.Outbound(spi, ICV, key), inbound: new esp.Inbound(spi, ICV, key), freed: () => freed };
}

interface Sealed {
  address: string;
  spi: number;
  datagram: string;
}

/** A VTEP with a port in an encrypted segment. */
function host(segments: readonly { vni: number; group?: string; mtu?: number }[] = [{ vni: VNI, group: GROUP }]) {
  const vtep = new Vtep({ local: C1.host });
  for (const one of segments) vtep.addSegment(one);
  const port = vtep.addPort({ name: 'tap0', vni: segments[0]!.vni });
  const sealed: Sealed[] = [];
  const clear: string[] = [];
  const delivered: Uint8Array[] = [];
  const sink = {
    deliver: (_port: number, { bytes, start, end }: Frame) => void delivered.push(bytes.slice(start, end)),
    transmit: (remote: Remote) => void clear.push(remote.address),
    transmitSealed: ({ address }: Remote, { spi }: esp.Outbound, { bytes, start, end }: Frame) =>
      void sealed.push({ address, spi, datagram: hex(bytes.subarray(start, end)) }),
  };
  let now = 0;
  const { associations } = vtep;
  return {
    ...{ vtep, port, sealed, clear, delivered, associations },
    wait: (milliseconds: number): void => void (now += milliseconds),
    tick: (): void => vtep.tick(now, sink),
    frame(bytes: Uint8Array, change: (frame: Frame) => Frame = (one) => one): void {
      const buffer = new Uint8Array(HEADROOM + bytes.length);
      buffer.set(bytes, HEADROOM);
      vtep.receiveFrame(port, change(new Frame(buffer, HEADROOM, buffer.length)), now, sink);
    },
    /** A datagram that came by an association, or in clear text. */
    datagram(from: string, vni: number, bytes: Uint8Array, spi?: number): void {
      const header = `08000000${vni.toString(16).padStart(6, '0')}00`;
      const datagram = fromHex(header + hex(bytes));
      const frame = new Frame(datagram);
      if (spi === undefined) vtep.receiveDatagram(vtep.remote(from) ?? from, frame, now, 0, sink);
      else associations.receive(associations.find(spi)!, vtep.remote(from) ?? from, frame, now, 0, sink);
    },
    send: (address: string, spi: number, group = GROUP) => {
      const one = association(spi);
      return { ...one, done: associations.setOutbound(group, address, one.outbound, now, sink) };
    },
    drops: (): Partial<Record<DropReason, number>> =>
      Object.fromEntries(Object.entries(vtep.counters().drops).filter(([, count]) => count !== 0)),
  };
}

/** A host that knows C2 behind another one. */
function withC2(address = H2): ReturnType<typeof host> {
  const one = host();
  one.vtep.addEndpoint(VNI, { ip: C2.ip, mac: C2.mac, vtep: address });
  return one;
}

const numbered = (i: number): Uint8Array => udpFrame(C1, C2, { data: Uint8Array.of(i) });

test('frames wait for an association, and leave by it in their order', () => {
  const { frame, sealed, clear, send, associations, drops, wait } = withC2();
  const frames = Array.from({ length: 5 }, (_, i) => numbered(i));
  for (const one of frames) frame(one);
  assert.equal([sealed.length, clear.length], [0, 0]);
  assert.equal(associations.takeWanted(), [{ group: GROUP, address: H2 }], 'once, as a peer and for five frames');
  wait(100);
  assert.ok(send(H2, 1000).done);
  assert.equal(
    sealed.splice(0),
    frames.map((one) => ({ address: H2, spi: 1000, datagram: `0800000000100100${hex(one)}` })),
  );
  frame(numbered(9));
  assert.is(sealed.splice(0).length, 1, 'the next one does not wait');
  send(H2, 1001);
  assert.is(sealed.length, 0, 'none is sent again');
  assert.equal(drops(), {});
});

test('what lacks is said again each second, as long as frames need it', () => {
  const { frame, associations, wait } = withC2();
  let said = 0;
  associations.takeWanted();
  for (let i = 0; i < 50; i++) {
    wait(100);
    frame(numbered(i));
    said += associations.takeWanted().length;
  }
  assert.is(said, 5);
});

test('16 frames wait for a remote, and 1024 for all; others are dropped', () => {
  const { vtep, frame, send, sealed, drops, associations } = withC2();
  for (let i = 0; i < 20; i++) frame(numbered(i));
  assert.equal(drops(), { 'esp-no-association': 4 });
  send(H2, 1000);
  assert.equal(
    sealed.map(({ datagram }) => Number(`0x${datagram.slice(-2)}`)),
    Array.from({ length: 16 }, (_, i) => i),
    'the oldest',
  );
  const remotes = Array.from({ length: 80 }, (_, i) => `198.51.100.${i + 1}`);
  for (const [i, address] of remotes.entries())
    vtep.addEndpoint(VNI, { ip: `10.0.1.${i + 1}`, mac: `02:00:00:00:01:${(i + 16).toString(16)}`, vtep: address });
  for (const [i] of remotes.entries())
    for (let j = 0; j < 16; j++)
      frame(udpFrame(C1, { ip: '10.0.1.1', mac: `02:00:00:00:01:${(i + 16).toString(16)}` }));
  assert.equal(drops(), { 'esp-no-association': 4 + 80 * 16 - 1024 });
  for (const address of remotes) send(address, 1000);
  assert.is(sealed.length, 16 + 1024);
  frame(udpFrame(C1, { ip: '10.0.1.1', mac: '02:00:00:00:01:10' }));
  assert.is(sealed.length, 16 + 1024 + 1);
  assert.ok(associations.takeWanted().length >= 80);
});

test('a frame waits for three seconds, then it is dropped and counted', () => {
  const { frame, tick, wait, drops, send, sealed } = withC2();
  frame(numbered(1));
  wait(1500);
  frame(numbered(2));
  wait(1499);
  tick();
  assert.equal(drops(), {});
  wait(1);
  tick();
  assert.equal(drops(), { 'esp-no-association': 1 });
  send(H2, 1000);
  assert.equal(
    sealed.map(({ datagram }) => datagram.slice(-2)),
    ['02'],
  );
  wait(10_000);
  tick();
  assert.equal(drops(), { 'esp-no-association': 1 });
});

test('a super-frame does not wait: it is dropped with all of its packets', () => {
  const { frame, drops, sealed, send, associations } = withC2();
  associations.takeWanted();
  const bytes = udpFrame(C1, C2, { size: 4000 });
  const many = (one: Frame): Frame => one.setMany(one.bytes, one.start, one.end, 5, bytes.length + 4 * 42, 1042);
  frame(bytes, many);
  assert.equal(drops(), { 'esp-no-association': 5 });
  send(H2, 1000);
  assert.is(sealed.length, 0);
  frame(bytes, many);
  assert.is(sealed.length, 1);
});

test('explain says that a frame would wait, and keeps nothing', () => {
  const { vtep, port, send, sealed } = withC2();
  const explained = vtep.explain({ port, frame: numbered(1) }, 0);
  assert.ok(JSON.stringify(explained).includes('no association with 192.168.1.25'), JSON.stringify(explained));
  send(H2, 1000);
  assert.is(sealed.length, 0);
});

test('segments of one group share an association, and another group has its own', () => {
  const segments = [
    { vni: VNI, group: 'a' },
    { vni: VNI + 1, group: 'a' },
    { vni: VNI + 2, group: 'b' },
    { vni: VNI + 3 },
  ];
  const { vtep, frame, sealed, clear, send, associations, drops } = host(segments);
  for (const { vni } of segments) vtep.addPeer(vni, H2);
  assert.equal(associations.takeWanted(), [
    { group: 'a', address: H2 },
    { group: 'b', address: H2 },
  ]);
  frame(numbered(1)); // flooded
  send(H2, 1000, 'b');
  assert.equal([sealed.length, clear.length], [0, 0], 'an association of another group sends nothing');
  const one = send(H2, 2000, 'a');
  assert.is(sealed[0]!.spi, 2000);
  // The association stays as long as a segment of its group does.
  vtep.removeSegment(VNI + 1);
  assert.is(one.freed(), 0);
  assert.ok(associations.hasGroup('a'));
  assert.equal(send(H2, 3000, 'c').done, false);
  assert.is(send('198.51.100.99', 3000, 'a').freed(), 1, 'no such remote: it is freed');
  assert.equal(drops(), {});
});

test('the last segment of a group takes its associations with it, and what waits', () => {
  const { vtep, frame, send, associations, sealed } = withC2();
  const out = send(H2, 1000);
  const into = association(2000);
  assert.ok(associations.addInbound(GROUP, H2, into.inbound));
  vtep.addEndpoint(VNI, { ip: '10.0.0.9', mac: '02:42:0a:00:00:09', vtep: H3 });
  frame(udpFrame(C1, { ip: '10.0.0.9', mac: '02:42:0a:00:00:09' }));
  vtep.removeSegment(VNI);
  assert.equal([out.freed(), into.freed()], [1, 1]);
  assert.is(associations.find(2000), undefined);
  assert.is(associations.hasGroup(GROUP), false);
  // Added again, it has nothing of before.
  vtep.addSegment({ vni: VNI, group: GROUP });
  vtep.addEndpoint(VNI, { ip: '10.0.0.9', mac: '02:42:0a:00:00:09', vtep: H3 });
  send(H3, 3000);
  assert.is(sealed.length, 0);
});

test('a replaced, a removed and a surplus association are freed once each', () => {
  const { send, associations, frame, sealed } = withC2();
  const [one, two] = [send(H2, 1000), send(H2, 1001)];
  assert.equal([one.freed(), two.freed()], [1, 0]);
  associations.removeOutbound(GROUP, H2);
  associations.removeOutbound(GROUP, H2);
  associations.removeOutbound(GROUP, H3);
  associations.removeOutbound('other', H2);
  assert.is(two.freed(), 1);
  frame(numbered(1));
  assert.is(sealed.length, 0, 'it waits again');
  const [first, second] = [association(7000), association(7000)];
  assert.ok(associations.addInbound(GROUP, H2, first.inbound));
  assert.is(associations.addInbound(GROUP, H3, second.inbound), false, 'the SPI is in use');
  assert.is(associations.addInbound('other', H2, association(7001).inbound), false);
  assert.equal([first.freed(), second.freed()], [0, 1]);
  associations.removeInbound(7000);
  associations.removeInbound(7000);
  assert.is(first.freed(), 1);
});

test('a forgotten remote loses its association and its frames, and the next one with its id inherits nothing', () => {
  const { vtep, send, tick, wait, frame, sealed, associations } = host();
  vtep.addPeer(VNI, H2);
  const { id } = vtep.remote(H2)!;
  const out = send(H2, 1000);
  vtep.removePeer(VNI, H2);
  wait(1000);
  tick();
  assert.is(vtep.remote(H2), undefined);
  assert.is(out.freed(), 1);
  associations.takeWanted();
  vtep.addPeer(VNI, H3);
  assert.is(vtep.remote(H3)!.id, id, 'the id is used again');
  frame(numbered(1));
  assert.equal([sealed.length, associations.takeWanted()], [0, [{ group: GROUP, address: H3 }]]);
  vtep.removePeer(VNI, H3);
  wait(1000);
  tick();
  vtep.addPeer(VNI, H2);
  send(H2, 1001);
  assert.is(sealed.length, 0, 'what waited for the other remote is not sent');
});

test('a datagram is for segments of its association’s group alone, and clear text for none of them', () => {
  const segments = [{ vni: VNI, group: 'a' }, { vni: VNI + 1, group: 'b' }, { vni: VNI + 2 }];
  const { vtep, datagram, delivered, associations, drops } = host(segments);
  for (const { vni } of segments.slice(1)) vtep.addPort({ name: `tap${vni}`, vni });
  for (const { vni } of segments) vtep.addPeer(vni, H2);
  associations.addInbound('a', H2, association(1000).inbound);
  const frame = udpFrame(C2, C1);
  const cases: [number, number | undefined, DropReason | null][] = [
    [VNI, 1000, null],
    [VNI + 1, 1000, 'esp-vni'],
    [VNI + 2, 1000, 'esp-vni'],
    [VNI, undefined, 'esp-clear'],
    [VNI + 1, undefined, 'esp-clear'],
    [VNI + 2, undefined, null],
    [VNI + 3, 1000, 'unknown-vni'],
  ];
  for (const [vni, spi, reason] of cases) {
    const before = drops();
    delivered.length = 0;
    datagram(H2, vni, frame, spi);
    assert.is(delivered.length, reason === null ? 1 : 0, `VNI ${vni} by ${spi ?? 'clear text'}`);
    if (reason !== null) assert.is(drops()[reason], (before[reason] ?? 0) + 1);
  }
});

/**
 * The longest inner packet by RFC 4303, section 2, and RFC 3948, section 2.1: outer IP and UDP, SPI and sequence number, IV, then UDP,
 * VXLAN, Ethernet, the packet, padding to a multiple of four with two octets of trailer, and the ICV.
 */
function longest(outer: number, ip: number): number {
  const size = (inner: number): number => ip + 8 + 8 + 8 + Math.ceil((8 + 8 + 14 + inner + 2) / 4) * 4 + 16;
  let inner = 0;
  while (size(inner + 1) <= outer) inner++;
  return inner;
}

/** A UDP packet of a length with DF set. */
const packetOf = (length: number, to = C2): Uint8Array =>
  udpFrame(C1, to, { size: length - 28, ip: { dontFragment: true, identification: 7 } });

test('the largest frame is exact for each path MTU, and the sender of a larger one gets an error', () => {
  assert.is(longest(1500, 20), 1408);
  assert.is(longest(1500, 40), 1388);
  for (const [address, ip] of [
    [H2, 20],
    [H6, 40],
  ] as const)
    for (let outer = 1280; outer < 1290; outer++) {
      const { vtep, frame, sealed, delivered, send, wait, drops } = withC2(address);
      send(address, 1000);
      vtep.remote(address)!.outerMtu = outer;
      const most = longest(outer, ip);
      frame(packetOf(most));
      assert.is(sealed.splice(0).length, 1, `${most} bytes over ${outer}`);
      assert.equal(drops(), {});
      wait(10_000);
      frame(packetOf(most + 1));
      assert.is(sealed.length, 0, `${most + 1} bytes over ${outer}`);
      assert.is(drops()['too-big'], 1);
      // RFC 1191, section 4: type 3, code 4, and the next-hop MTU in the second half of the second word.
      assert.is(hex(delivered[0]!.subarray(34, 36)), '0304');
      assert.is(Buffer.from(delivered[0]!).readUInt16BE(40), most);
    }
});

test('the MTU of the segment holds as well, also before there is an association', () => {
  const { vtep, frame, sealed, delivered, send } = host([{ vni: VNI, group: GROUP, mtu: 1300 }]);
  vtep.addEndpoint(VNI, { ip: C2.ip, mac: C2.mac, vtep: H2 });
  frame(packetOf(1301));
  assert.is(Buffer.from(delivered[0]!).readUInt16BE(40), 1300);
  frame(packetOf(1300));
  send(H2, 1000);
  assert.is(sealed.length, 1, 'the one that fits has waited');
});

test('a routed packet gets the error of the gateway with the room of the encrypted path', () => {
  const { vtep, frame, sealed, delivered, send } = host([{ vni: NEAR }, { vni: FAR, group: 'far' }]);
  vtep.addRouter(NETWORK);
  vtep.addEndpoint(FAR, { ip: FAR_C2.ip, mac: FAR_C2.mac, vtep: H2 });
  send(H2, 1000, 'far');
  vtep.remote(H2)!.outerMtu = 1400;
  const most = longest(1400, 20);
  const to = { ...C2, ip: FAR_C2.ip, mac: GATEWAY_MAC };
  frame(packetOf(most, to));
  assert.is(sealed.splice(0).length, 1);
  frame(packetOf(most + 1, to));
  assert.is(sealed.length, 0);
  const [answer] = delivered as [Uint8Array];
  assert.is(hex(answer.subarray(34, 36)), '0304');
  assert.is(Buffer.from(answer).readUInt16BE(40), most);
  assert.is([...answer.subarray(26, 30)].join('.'), '10.0.0.1', 'from the gateway of the sender');
});

test('a super-frame is measured by the largest of its packets', () => {
  const { vtep, frame, sealed, drops, send } = withC2();
  send(H2, 1000);
  vtep.remote(H2)!.outerMtu = 1400;
  const most = longest(1400, 20);
  const bytes = udpFrame(C1, C2, { size: 5000, ip: { dontFragment: true } });
  for (const [largest, count] of [
    [14 + most, 1],
    [14 + most + 1, 0],
  ] as const) {
    frame(bytes, (one) => one.setMany(one.bytes, one.start, one.end, 4, bytes.length + 3 * 42, largest));
    assert.is(sealed.splice(0).length, count, `${largest} bytes`);
  }
  assert.is(drops()['too-big'], 4);
});

test.run();
