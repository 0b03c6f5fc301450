/** `Preparation`: whatever it reads, a machine with it does the same as one without. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { setMac } from '../src/address/index.js';
import * as ethernet from '../src/ethernet/index.js';
import * as vxlan from '../src/vxlan/index.js';
import { HotRows } from '../src/vtep/hot-rows.js';
import { Frame, HEADROOM, MAX_PREPARED, Vtep } from '../src/vtep/index.js';

const { vlan } = ethernet;
const NETWORKS = 4;
const HOSTS = ['192.0.2.1', '192.0.2.2'];
/** Bytes of a frame with the room in front. */
const ROOM = HEADROOM + 64;
const mac = (i: number): number => 0x0200_0000_0000 + i;

/** A machine with a port for each network, a trunk of all, and what it has sent. */
function machine() {
  const vtep = new Vtep();
  for (let vni = 1; vni <= NETWORKS; vni++) {
    vtep.addSegment({ vni });
    vtep.addPort({ name: `tap${vni}`, vni });
    vtep.addEndpoint(vni, { ip: '10.0.0.1', mac: '02:00:00:00:00:01', vtep: HOSTS[0]! });
    vtep.addPeer(vni, HOSTS[1]!);
  }
  vtep.addPort({ name: 'trunk', vlans: { 1: 1, 2: 2, 3: 3, 4: 4 } });
  const out: string[] = [];
  const hex = ({ bytes, start, end }: Frame): string => Buffer.from(bytes.subarray(start, end)).toString('hex');
  const sink = {
    deliver: (port: number, frame: Frame) => void out.push(`${port} ${hex(frame)}`),
    transmit: ({ address }: { address: string }, frame: Frame) => void out.push(`${address} ${hex(frame)}`),
  };
  return { vtep, sink, out };
}

const arrival = fc.record({
  /** Ports from 0 on, of which the last one is the trunk; then the remotes. */
  from: fc.nat(NETWORKS + HOSTS.length),
  network: fc.integer({ min: 0, max: NETWORKS + 1 }),
  tag: fc.integer({ min: -1, max: NETWORKS + 1 }),
  to: fc.constantFrom(0, 1, 2, 3, 4, 0x0100_0000_0000),
  source: fc.nat(4),
  length: fc.constantFrom(0, 13, 14, 17, 18, 40),
});

test('a machine forwards, learns and counts the same, whether its frames were prepared or not', () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(arrival, { maxLength: MAX_PREPARED + 6 }), { maxLength: 8 }),
      fc.boolean(),
      (batches, removes) => {
        const [prepared, plain] = [machine(), machine()];
        let now = 0;
        for (const batch of batches) {
          now += 100_000; // some entries expire
          for (const one of [prepared, plain]) {
            const { vtep, sink } = one;
            if (removes && now === 300_000) vtep.removeSegment(2);
            const bytes = new Uint8Array(batch.length * ROOM);
            const all = batch.map(({ from, network, tag, to, source, length }, i) => {
              const start = i * ROOM + HEADROOM;
              setMac(bytes, start, mac(to));
              setMac(bytes, start + ethernet.SOURCE_OFFSET, mac(source));
              ethernet.setEtherType(bytes, start, tag < 0 ? 0x88b5 : ethernet.TYPE_VLAN);
              if (tag >= 0) vlan.writeHeader(bytes, start + ethernet.HEADER_LENGTH, tag, 0x88b5);
              if (from <= NETWORKS) return { from, start, end: start + length };
              vxlan.writeHeader(bytes, start - vxlan.HEADER_LENGTH, network);
              return { from, start: start - vxlan.HEADER_LENGTH, end: start + length };
            });
            const [frames, datagrams] = [
              all.filter(({ from }) => from <= NETWORKS),
              all.filter(({ from }) => from > NETWORKS),
            ];
            const startsOf = (some: typeof all): Int32Array => Int32Array.from(some, ({ start }) => start);
            if (one === prepared) {
              const ports = Int32Array.from(frames, ({ from }) => from);
              vtep.preparation.frames(bytes, ports, startsOf(frames), frames.length);
              vtep.preparation.datagrams(bytes, startsOf(datagrams), datagrams.length);
            }
            for (const { from, start, end } of all) {
              const frame = new Frame(bytes, start, end);
              if (from <= NETWORKS) vtep.receiveFrame(from, frame, now, sink);
              else vtep.receiveDatagram(HOSTS[from - NETWORKS - 1] ?? '192.0.2.9', frame, now, 0, sink);
            }
          }
          assert.equal(prepared.out.splice(0), plain.out.splice(0));
        }
        assert.equal(prepared.vtep.counters(), plain.vtep.counters());
        for (const vni of plain.vtep.vnis()) assert.equal(prepared.vtep.fdb(vni, now), plain.vtep.fdb(vni, now));
      },
    ),
  );
});

test('it reads the slots of both addresses of each frame, in the network that the frame belongs to', () => {
  const rows = new Set<HotRows<unknown>>();
  const { take } = HotRows.prototype;
  HotRows.prototype.take = function (...words) {
    rows.add(this);
    return take.apply(this, words);
  };
  const { vtep } = machine();
  HotRows.prototype.take = take;
  const bytes = new Uint8Array(ROOM);
  setMac(bytes, HEADROOM, 0x0200_0000_0001);
  setMac(bytes, HEADROOM + ethernet.SOURCE_OFFSET, 0x0200_0000_0b07);
  ethernet.setEtherType(bytes, HEADROOM, ethernet.TYPE_IPV4);
  const start = HEADROOM - vxlan.HEADER_LENGTH;
  vxlan.writeHeader(bytes, start, 3);
  vtep.receiveDatagram(HOSTS[1]!, new Frame(bytes.slice(), start), 0, 0, { deliver: () => 0, transmit: () => 0 }); // learns
  const { tables } = [...rows][0]!;
  const read: number[] = [];
  for (const [i, table] of tables.entries())
    tables[i] = new Proxy(table, {
      get: (words, at) => {
        read.push(words[Number(at)]!);
        return words[Number(at)];
      },
    });
  const lows = [0x0b07, 1];
  vtep.preparation.datagrams(bytes, Int32Array.of(start), 1);
  assert.equal(read.splice(0), lows);
  vtep.preparation.frames(bytes, Int32Array.of(2), Int32Array.of(HEADROOM), 1);
  assert.equal(read.splice(0), lows);
  vtep.preparation.frames(bytes, Int32Array.of(1), Int32Array.of(HEADROOM), 1);
  assert.equal(read.splice(0), [0, 1], 'the source is not known in the network of another port');
  ethernet.setEtherType(bytes, HEADROOM, ethernet.TYPE_VLAN);
  vlan.writeHeader(bytes, HEADROOM + ethernet.HEADER_LENGTH, 3, ethernet.TYPE_IPV4);
  vtep.preparation.frames(bytes, Int32Array.of(NETWORKS), Int32Array.of(HEADROOM), 1);
  assert.equal(read.splice(0), lows);
  vlan.writeHeader(bytes, HEADROOM + ethernet.HEADER_LENGTH, 0, ethernet.TYPE_IPV4);
  vtep.preparation.frames(bytes, Int32Array.of(NETWORKS), Int32Array.of(HEADROOM), 1);
  assert.equal(read, [], 'the trunk has no network of untagged frames');
});

test('frames at the end of the buffer, of ports that do not exist, and beyond the most that one call takes, do no harm', () => {
  const { vtep } = machine();
  const bytes = new Uint8Array(100);
  const starts = Int32Array.from({ length: 200 }, (_, i) => i);
  const ports = Int32Array.from({ length: 200 }, (_, i) => i - 50);
  vtep.preparation.frames(bytes, ports, starts, 200);
  vtep.preparation.datagrams(bytes, starts, 200);
  vtep.preparation.frames(new Uint8Array(0), ports, starts, 1);
  vtep.preparation.datagrams(new Uint8Array(0), starts, 1);
});

test('it pays with thousands of networks, or a large one, and no longer after they have gone', () => {
  const vtep = new Vtep();
  for (let vni = 1; vni <= 2048; vni++) vtep.addSegment({ vni });
  assert.is(vtep.preparation.pays, false);
  vtep.addSegment({ vni: 2049 });
  assert.is(vtep.preparation.pays, true);
  vtep.removeSegment(1);
  assert.is(vtep.preparation.pays, false);
});

test.run();
