/** Packets captured by a running VTEP, as they are shown and written. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { layersOf, lineOf, toShown } from '../src/cli/captured.js';
import { table } from '../src/cli/table.js';
import { type Captured } from '../src/host/index.js';

/** A VXLAN header, and zero octets behind it. */
function datagram(length: number, kept: number, v6 = false): Captured {
  const data = `0800000000100100${'00'.repeat(kept - 8)}`;
  const [one, other] = v6 ? ['fd00::1', 'fd00::2'] : ['172.31.1.5', '192.168.1.25'];
  return {
    time: '1700000000123456789',
    place: 'underlay',
    direction: 'out',
    length,
    data,
    source: { address: one!, port: 50_000 },
    destination: { address: other!, port: 4789 },
  };
}

const lengths = (bytes: Uint8Array, ip: number, udp: number): number[] => {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return [view.getUint16(ip), view.getUint16(udp)];
};

test('a datagram gets the headers that it had: lengths of RFC 791, RFC 8200 and RFC 768', () => {
  const whole = toShown(datagram(100, 100));
  assert.equal([whole.data.length, whole.length], [128, 128]);
  assert.equal(lengths(whole.data, 2, 24), [128, 108]);
  const v6 = toShown(datagram(100, 100, true));
  assert.equal([v6.data.length, v6.length], [148, 148]);
  assert.equal(lengths(v6.data, 4, 44), [108, 108]);
});

test('of a packet that was cut, the headers have the length that it had', () => {
  const cut = toShown(datagram(1000, 60));
  assert.equal([cut.data.length, cut.length], [88, 1028]);
  assert.equal(lengths(cut.data, 2, 24), [1028, 1008]);
  const { stopped } = layersOf(cut);
  assert.is(stopped?.limitedBy, 'capture');
  assert.match(lineOf(cut), /^22:13:20\.123456 underlay out .*172\.31\.1\.5/);
});

test('a super-frame longer than an IP packet can be is cut to that length', () => {
  for (const v6 of [false, true]) {
    const { data, length } = toShown(datagram(65_600, 65_600, v6));
    assert.is(data.length, length);
    assert.is(length, v6 ? 65_575 : 65_535);
    assert.equal(lengths(data, v6 ? 4 : 2, v6 ? 44 : 24), v6 ? [65_535, 65_535] : [65_535, 65_515]);
  }
});

test('a frame stays as it is', () => {
  const packet = { time: '0', place: 'eth0', direction: 'in', length: 60, data: '00'.repeat(20) } as const;
  const { data, length } = toShown(packet);
  assert.equal([data.length, length], [20, 60]);
});

test('a table may have more rows than a call has arguments', () => {
  const rows = Array.from({ length: 300_000 }, (_, i) => [i]);
  assert.is(table(['N'], rows).length, 300_001);
});

test.run();
