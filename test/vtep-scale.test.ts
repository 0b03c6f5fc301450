/** A VTEP whose ports, networks and addresses come and go: what remains, and what does not. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { macToText, setMac } from '../src/address/index.js';
import * as ethernet from '../src/ethernet/index.js';
import * as vxlan from '../src/vxlan/index.js';
import { Frame, HEADROOM, Vtep, type PortOptions } from '../src/vtep/index.js';

const { vlan } = ethernet;
const SECOND = 1000;
const AGEING = 300 * SECOND;
const HOST = '192.0.2.2';

/** A VTEP that receives small frames, with what it sent last: ports, with VLAN ids, and remotes. */
function machine(options = {}) {
  const vtep = new Vtep(options);
  const out: string[] = [];
  const sink = {
    deliver(port: number, { bytes, start }: Frame) {
      const tagged = ethernet.getEtherType(bytes, start) === ethernet.TYPE_VLAN;
      out.push(tagged ? `${port}.${vlan.getId(bytes, start + ethernet.HEADER_LENGTH)}` : `${port}`);
    },
    transmit: ({ address }: { address: string }) => void out.push(address),
  };
  const bytes = new Uint8Array(HEADROOM + 64);
  const write = (at: number, to: number, from: number, type: number): void => {
    bytes.fill(0, at);
    setMac(bytes, at, to);
    setMac(bytes, at + ethernet.SOURCE_OFFSET, from);
    ethernet.setEtherType(bytes, at, type);
    out.length = 0;
  };
  return {
    vtep,
    sink,
    /** Returns where the frame went, sorted. */
    frame(port: number, id: number, to: number, from: number, now: number): string[] {
      write(HEADROOM, to, from, id === 0 ? 0x88b5 : ethernet.TYPE_VLAN);
      if (id !== 0) vlan.writeHeader(bytes, HEADROOM + ethernet.HEADER_LENGTH, id, 0x88b5);
      vtep.receiveFrame(port, new Frame(bytes, HEADROOM), now, sink);
      return out.slice().sort();
    },
    datagram(vni: number, source: string, to: number, from: number, now: number): string[] {
      write(HEADROOM, to, from, 0x88b5);
      const start = HEADROOM - vxlan.HEADER_LENGTH;
      vxlan.writeHeader(bytes, start, vni);
      vtep.receiveDatagram(source, new Frame(bytes, start), now, 0, sink);
      return out.slice().sort();
    },
  };
}

const mac = (i: number): number => 0x0200_0000_0000 + i;

test('frames go where a model says, while ports, trunks and networks come, go and lose their devices', () => {
  const kinds = [
    ...['frame', 'frame', 'frame', 'frame', 'frame', 'frame', 'frame', 'frame', 'datagram', 'tick', 'tick', 'wait'],
    ...['add port', 'add trunk', 'remove port', 'forget port', 'add segment', 'remove segment', 'wait long'],
  ] as const;
  const step = fc.tuple(fc.constantFrom(...kinds), fc.nat(6), fc.nat(3), fc.nat(5), fc.nat(5));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300, size: 'max' }), (steps) => {
      const { vtep, sink, frame, datagram } = machine({ seed: 3 });
      let now = 0;
      /** Segments: places of addresses, and when they were seen there; a place is a port, or -1 for the remote. */
      const segments = new Map<number, Map<number, { place: number; seen: number }>>();
      /** Ports: VLAN id, or 0, by VNI. */
      const ports = new Map<number, Map<number, number>>();
      const trunks = new Set<number>();
      const add = (vni: number): void => {
        vtep.addSegment({ vni });
        segments.set(vni, new Map());
      };
      [1, 2, 3].forEach(add);
      const expected = (vni: number, from: number, to: number): string[] => {
        const known = segments.get(vni)!.get(to);
        const isKnown = known !== undefined && now - known.seen <= AGEING;
        const members = [...ports].flatMap(([port, ids]) => (ids.has(vni) ? [port] : []));
        const places = isKnown ? [known.place] : members;
        if (isKnown && known.place < 0) return from < 0 ? [] : [HOST];
        return places
          .filter((port) => port !== from)
          .map((port) => (ports.get(port)!.get(vni) === 0 ? `${port}` : `${port}.${ports.get(port)!.get(vni)}`))
          .sort();
      };
      for (const [kind, a, b, c, d] of steps) {
        const port = [...ports.keys()][a % Math.max(1, ports.size)];
        const vni = 1 + b;
        const table = segments.get(vni);
        if (kind === 'wait') now += SECOND;
        else if (kind === 'wait long') now += AGEING / 2 + SECOND;
        else if (kind === 'tick') vtep.tick(now, sink);
        else if (kind === 'add segment') {
          if (table === undefined) add(vni);
        } else if (kind === 'remove segment') {
          if (table === undefined) continue;
          vtep.removeSegment(vni);
          segments.delete(vni);
          for (const ids of ports.values()) ids.delete(vni);
        } else if (kind === 'add port' || kind === 'add trunk') {
          const vlans = [...segments.keys()].slice(0, a);
          const options: PortOptions | null =
            kind === 'add trunk'
              ? { name: 'trunk', vlans: Object.fromEntries(vlans.map((one) => [one + 10, one])) }
              : table === undefined
                ? null
                : { name: 'tap', vni };
          if (options === null) continue;
          const ids =
            kind === 'add trunk' ? vlans.map((one): [number, number] => [one, one + 10]) : [[vni, 0] as const];
          const added = vtep.addPort(options);
          ports.set(added, new Map(ids));
          if (kind === 'add trunk') trunks.add(added);
        } else if (port === undefined) continue;
        else if (kind === 'remove port' || kind === 'forget port') {
          if (kind === 'remove port') {
            vtep.removePort(port);
            ports.delete(port);
            assert.throws(() => frame(port, 0, mac(1), mac(2), now), /there is no port/);
          } else vtep.forgetPort(port);
          for (const places of segments.values())
            for (const [one, { place }] of places) if (place === port) places.delete(one);
        } else if (kind === 'frame' && trunks.has(port) && !ports.get(port)!.has(vni))
          assert.equal(frame(port, vni + 10, mac(c), mac(d), now), []);
        else if (table === undefined || c === d) continue;
        else if (kind === 'datagram') {
          // A station of a port is not moved by another frame of the remote.
          const before = table.get(d);
          if (before !== undefined && before.place >= 0 && now - before.seen <= AGEING) continue;
          table.set(d, { place: -1, seen: now });
          assert.equal(datagram(vni, HOST, mac(c), mac(d), now), expected(vni, -1, c));
        } else {
          const id = ports.get(port)!.get(vni);
          if (id === undefined) continue;
          table.set(d, { place: port, seen: now });
          assert.equal(frame(port, id, mac(c), mac(d), now), expected(vni, port, c));
        }
      }
      for (const [vni, table] of segments) {
        const live = [...table].filter(([, { seen }]) => now - seen <= AGEING).map(([one]) => macToText(mac(one)));
        assert.equal(
          vtep
            .fdb(vni, now)
            .map((one) => one.mac)
            .sort(),
          live.sort(),
        );
      }
    }),
    { numRuns: 200 },
  );
});

test('100,000 addresses that expire at once are gone at once, and leave their remotes to be forgotten after some ticks', () => {
  const { vtep, sink, frame, datagram } = machine({ learnedRemotes: 1000 });
  vtep.addSegment({ vni: 1, capacity: 200_000 });
  vtep.addPort({ name: 'a', vni: 1 });
  vtep.addPort({ name: 'b', vni: 1 });
  const sender = (i: number): string => `198.51.${i >> 8}.${i & 255}`;
  for (let i = 0; i < 100_000; i++) datagram(1, sender(i % 1000), mac(0xff_0000), mac(i), 0);
  assert.is(vtep.fdb(1, AGEING).length, 100_000);
  let now = AGEING + SECOND;
  assert.equal(frame(0, 0, mac(5), mac(0xff_0000), now), ['1'], 'flooded');
  assert.equal(
    vtep.fdb(1, now).map((one) => one.port),
    ['a'],
  );
  let ticks = 0;
  for (; [...vtep.remotes()].length > 0; now += SECOND, ticks++) vtep.tick(now, sink);
  assert.ok(ticks <= 16, `${ticks} ticks`); // a call removes 7,500 addresses
});

test('a network that follows another one has none of its addresses, counts, questions and findings', () => {
  const { vtep, frame, sink } = machine();
  vtep.addSegment({ vni: 1 });
  const port = vtep.addPort({ name: 'a', vni: 1 });
  for (let i = 0; i < 2000; i++) frame(port, 0, mac(0xff_0000), mac(i), 0);
  vtep.removeSegment(1);
  vtep.addSegment({ vni: 1 });
  assert.equal(vtep.fdb(1, 0), []);
  assert.equal(
    Object.values(vtep.counters().counts).filter((count) => count > 0),
    [],
  );
  assert.equal(vtep.findings(SECOND), []);
  vtep.tick(SECOND, sink);
  // The port has no segment until it is added again.
  assert.equal(frame(port, 0, mac(1), mac(2), SECOND), []);
  assert.is(vtep.counters().drops['vlan-unmapped'], 1);
});

test('remotes of a removed network are forgotten, unless another network names them', () => {
  const { vtep, sink, datagram } = machine();
  for (const vni of [1, 2]) vtep.addSegment({ vni });
  vtep.addPort({ name: 'a', vni: 1 });
  for (let i = 0; i < 100; i++) datagram(1, `203.0.113.${i}`, mac(1000), mac(100 + i), 0);
  for (let i = 0; i < 5000; i++) vtep.addPeer(1 + (i & 1), `198.51.${i >> 9}.${(i >> 1) & 255}`);
  for (let i = 0; i < 10; i++) {
    const endpoint = { ip: `10.0.0.${i + 1}`, mac: macToText(mac(i)), vtep: `198.51.100.${i}` };
    vtep.addEndpoint(1, endpoint);
    vtep.addEndpoint(1, { ...endpoint, mac: macToText(mac(i + 10)) });
  }
  vtep.tick(0, sink);
  assert.is([...vtep.remotes()].length, 2610);
  vtep.removeSegment(1);
  for (let i = 0; i < 3; i++) vtep.tick(i * SECOND, sink);
  assert.is([...vtep.remotes()].length, 2500);
  vtep.removeSegment(2);
  for (let i = 3; i < 6; i++) vtep.tick(i * SECOND, sink);
  assert.is([...vtep.remotes()].length, 0);
});

test('a trunk that is refused is in no network, and its number is free', () => {
  const { vtep, frame } = machine();
  for (const vni of [1, 2, 3]) vtep.addSegment({ vni });
  const refused: [Extract<PortOptions, { vlans: unknown }>['vlans'], number | undefined, RegExp][] = [
    [{ 10: 1, 20: 2, 30: 1 }, undefined, /vni 1 is mapped twice on port trunk/],
    [{ 10: 1, 20: 3 }, 3, /vni 3 is mapped twice/],
    [
      new Map([
        [10, 1],
        [20, 4],
      ]),
      3,
      /vni 4 has no segment/,
    ],
    [{ 10: 1, 4095: 2 }, 3, /VLAN id must be an integer from 1 to 4094/],
  ];
  for (const [vlans, native, message] of refused)
    assert.throws(() => vtep.addPort({ name: 'trunk', vlans, ...(native === undefined ? {} : { native }) }), message);
  for (const vni of [1, 2, 3]) assert.is(vtep.addPort({ name: `tap${vni}`, vni }), vni - 1);
  for (const port of [0, 1, 2]) assert.equal(frame(port, 0, 0xffff_ffff_ffff, mac(port), 0), []);
  // Of two spellings of a VLAN id, the last one counts.
  const trunk = vtep.addPort({ name: 'trunk', vlans: { '010': 1, '10': 2, '0x0a': 3 } as Record<string, number> });
  assert.equal(
    [0, 1, 2].map((port) => frame(port, 0, 0xffff_ffff_ffff, mac(port), 0)),
    [[], [], [`${trunk}.10`]],
  );
});

test('an address of another machine is not adopted behind a port outside the network', () => {
  const { vtep } = machine();
  for (const vni of [1, 2]) vtep.addSegment({ vni });
  const port = vtep.addPort({ name: 'a', vni: 1 });
  vtep.adopt({ vni: 2, mac: mac(1), location: port, age: 0 }, 0);
  vtep.adopt({ vni: 1, mac: mac(1), location: port, age: 0 }, 0);
  assert.equal([vtep.fdb(1, 0).length, vtep.fdb(2, 0).length], [1, 0]);
});

test.run();
