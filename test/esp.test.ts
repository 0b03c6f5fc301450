import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as esp from '../src/esp/index.js';
import { nodeAead } from '../src/host/esp/node.js';
import { codecProperties } from './support/codec.js';
import { accessorsHold } from './support/contract.js';
import { fromHex, hex } from './support/hex.js';

const SIZE = 2 ** 32;

// ---- The header ----

test('reads and writes the header of RFC 4303', () => {
  const bytes = fromHex('00001000 0000000a aabb');
  assert.equal(esp.decode(bytes), { spi: 4096, sequence: 10, payload: fromHex('aabb') });
  assert.is(hex(esp.encode({ spi: 4096, sequence: 10, payload: fromHex('aabb') })), hex(bytes));
});

test('rejects an SPI of 0, which other datagrams in the port of ESP have', () => {
  const bytes = fromHex('00000000 00000001');
  assert.is(esp.check(bytes, 0, 8), -2);
  assert.throws(() => esp.decode(bytes), /esp: malformed at offset 0: the SPI is 0, which no association has/);
  assert.throws(() => esp.encode({ spi: 0, sequence: 1, payload: bytes }), /esp\.spi must not be 0/);
});

test('accessors of the header', () => accessorsHold(esp, fromHex('0000100000000001'), 8, ['setIv']));

codecProperties({
  name: 'esp',
  codec: esp,
  values: fc.record({
    spi: fc.integer({ min: 1, max: SIZE - 1 }),
    sequence: fc.nat(SIZE - 1),
    payload: fc.uint8Array({ maxLength: 40 }),
  }),
});

// ---- The trailer ----

test('the trailer pads with 1, 2, 3 to a multiple of 4', () => {
  for (let payload = 0; payload < 20; payload++) {
    const bytes = new Uint8Array(64).fill(0xa5);
    const end = esp.writeTrailer(bytes, payload, payload, 17);
    assert.is(end % 4, 0);
    assert.is(end, payload + esp.paddingOf(payload) + 2);
    assert.ok(end - payload >= 2 && end - payload <= 5);
    assert.is(bytes[end - 1], 17);
    assert.equal([...bytes.subarray(payload, end - 2)], [1, 2, 3].slice(0, end - 2 - payload));
    assert.is(bytes[end], 0xa5);
    assert.is(esp.payloadEnd(bytes, 0, end), payload);
  }
});

test('wrong padding is refused', () => {
  assert.is(esp.payloadEnd(fromHex('aabb 0102 02 11'), 0, 6), 2);
  assert.is(esp.payloadEnd(fromHex('aabb 0103 02 11'), 0, 6), esp.BAD_PADDING);
  assert.is(esp.payloadEnd(fromHex('aabb 0102 05 11'), 0, 6), esp.BAD_PADDING);
  assert.is(esp.payloadEnd(fromHex('11'), 0, 1), esp.BAD_PADDING);
});

test('the longest payload is the longest one that fits', () => {
  for (let room = 2; room < 200; room++) {
    let longest = -Infinity;
    for (let payload = 0; payload <= room; payload++)
      if (payload + esp.paddingOf(payload) + esp.TRAILER_LENGTH <= room) longest = payload;
    if (room >= 4) assert.is(esp.longestPayload(room), longest, `${room}`);
  }
});

// ---- The window ----

/** What RFC 4303, section 3.4.3, says, without a ring: all numbers that were seen. */
class NaiveWindow {
  top = 0;
  readonly seen = new Set<number>();
  isNew(number: number): boolean {
    return number > 0 && number > this.top - esp.WINDOW && !this.seen.has(number);
  }
  note(number: number): boolean {
    if (!this.isNew(number)) return false;
    this.seen.add(number);
    this.top = Math.max(this.top, number);
    return true;
  }
  /** RFC 4303, appendix A2.2, in its words. */
  extend(low: number): number {
    const tl = this.top % SIZE;
    const th = Math.floor(this.top / SIZE);
    if (tl >= esp.WINDOW - 1) return (low >= tl - esp.WINDOW + 1 ? th : th + 1) * SIZE + low;
    const under = (((tl - esp.WINDOW + 1) % SIZE) + SIZE) % SIZE;
    return low >= under ? (th === 0 ? esp.IMPOSSIBLE : (th - 1) * SIZE + low) : th * SIZE + low;
  }
}

test('the window is at least 1024 wide', () => assert.ok(esp.WINDOW >= 1024));

test('the window accepts each number once, as a list of all numbers does', () => {
  const starts = fc.constantFrom(0, 1, 31, 32, SIZE - 3000, SIZE - 1, SIZE, 5 * SIZE - 20);
  const steps = fc.array(
    fc.oneof(
      fc.integer({ min: -40, max: 40 }),
      fc.integer({ min: -2100, max: 2100 }),
      fc.integer({ min: -9000, max: 9000 }),
    ),
    { maxLength: 300 },
  );
  fc.assert(
    fc.property(starts, steps, (start, moves) => {
      const [window, naive] = [new esp.ReplayWindow(), new NaiveWindow()];
      if (start > 0) assert.is(window.note(start), naive.note(start));
      for (const move of moves) {
        const number = naive.top + move;
        if (number < 0) continue;
        assert.is(window.extend(number % SIZE), naive.extend(number % SIZE), `${naive.top} ${number}`);
        assert.is(window.isNew(number), naive.isNew(number), `${naive.top} ${number}`);
        assert.is(window.note(number), naive.note(number));
        assert.is(window.top, naive.top);
      }
    }),
    { numRuns: 300 },
  );
});

test('a number is extended to 64 bits across the wrap of its low half, in both directions', () => {
  const window = new esp.ReplayWindow();
  window.note(SIZE - 2);
  assert.is(window.extend(1), SIZE + 1);
  window.note(SIZE + 1);
  assert.is(window.extend(SIZE - 1), SIZE - 1);
  assert.ok(window.isNew(SIZE - 1));
  assert.not.ok(window.isNew(SIZE - 2));
});

// ---- Associations ----

const KEY = fromHex('000102030405060708090a0b0c0d0e0f');
const SALT = fromHex('cafebabe');
const ROOM = 1 << 16;

/** Both ends of an association over one buffer. */
function association(extended = true, icv: 8 | 16 = 16, last = 0) {
  const bytes = new Uint8Array(ROOM);
  const aead = nodeAead(bytes);
  const parameters = { key: KEY, salt: SALT, icv, extended };
  const packets = new esp.PacketList(64);
  const outbound = new esp.Outbound(0x1234_5678, icv, aead.key(parameters), last);
  const inbound = new esp.Inbound(0x1234_5678, icv, aead.key(parameters), extended);
  const got: string[] = [];
  const sink: esp.InboundSink = {
    opened: (_offset, start, end, next) => void got.push(`${next} ${hex(bytes.subarray(start, end))}`),
    refused: (_offset, why) => void got.push(why),
  };
  return { bytes, packets, outbound, inbound, got, sink };
}

type Ends = ReturnType<typeof association>;

/** Seals payloads one behind the other; returns where each packet begins and ends. */
function seal({ bytes, packets, outbound }: Ends, payloads: readonly Uint8Array[]): [number, number][] {
  let at = 0;
  const places = payloads.map((payload): [number, number] => {
    const offset = at;
    bytes.set(payload, offset + esp.FRONT);
    at = outbound.add(bytes, offset, offset + esp.FRONT + payload.length, 17, packets);
    return [offset, at];
  });
  outbound.seal(packets);
  return places;
}

function open({ bytes, packets, inbound, sink }: Ends, places: readonly [number, number][]): number[] {
  const codes = places.map(([offset, end]) => inbound.add(bytes, offset, end, packets));
  inbound.open(bytes, packets, sink);
  return codes;
}

test('what is sealed is opened, in any order, once', () => {
  const ends = association();
  const payloads = [fromHex('aabbcc'), new Uint8Array(0), new Uint8Array(1400).fill(7)];
  const places = seal(ends, payloads);
  places.forEach(([offset, end], i) => {
    assert.is(end - offset, esp.FRONT + payloads[i]!.length + esp.backOf(payloads[i]!.length, 16));
    assert.is(esp.getSequence(ends.bytes, offset), i + 1);
  });
  const copy = ends.bytes.slice();
  assert.equal(open(ends, [...places].reverse()), [0, 0, 0]);
  assert.equal(
    ends.got.splice(0),
    [...payloads].reverse().map((payload) => `17 ${hex(payload)}`),
  );
  ends.bytes.set(copy);
  assert.equal(open(ends, places), [esp.REPLAYED, esp.REPLAYED, esp.REPLAYED]);
  assert.equal(ends.got, []);
});

test('the same packet twice in one list is opened once', () => {
  const ends = association();
  const [[offset, end]] = seal(ends, [fromHex('aa')]) as [[number, number]];
  ends.bytes.copyWithin(1024, offset, end);
  open(ends, [
    [offset, end],
    [1024, 1024 + end - offset],
  ]);
  assert.equal(ends.got, ['17 aa', 'replay']);
});

test('a packet that was modified moves no window', () => {
  const ends = association();
  const [[offset, end]] = seal(ends, [fromHex('aabb')]) as [[number, number]];
  const good = ends.bytes.slice(offset, end);
  for (let bit = 0; bit < good.length * 8; bit++) {
    ends.bytes.set(good, offset);
    ends.bytes[offset + (bit >> 3)]! ^= 1 << (bit & 7);
    const [code] = open(ends, [[offset, end]]);
    assert.ok(code !== 0 || ends.got.at(-1) === 'authentication', `bit ${bit}`);
    assert.is(ends.inbound.window.top, 0);
  }
  ends.got.length = 0;
  ends.bytes.set(good, offset);
  open(ends, [[offset, end]]);
  assert.equal(ends.got, ['17 aabb']);
});

test('a packet cut anywhere is refused', () => {
  const ends = association();
  const [[offset, end]] = seal(ends, [fromHex('aabbccddeeff')]) as [[number, number]];
  const good = ends.bytes.slice(offset, end);
  for (let length = 0; length < good.length; length++) {
    ends.bytes.set(good, offset);
    const [code] = open(ends, [[offset, offset + length]]);
    assert.ok(code === esp.TOO_SHORT || ends.got.at(-1) === 'authentication', `${length}`);
  }
});

test('no two packets have the same nonce, and all are opened, while the low half of the sequence number wraps', () => {
  const first = SIZE - 1500;
  const ends = association(true, 16, first - 1);
  ends.inbound.window.note(first - 1);
  const seen = new Set<string>();
  for (let i = 0; i < 3000; i++) {
    const places = seal(ends, [fromHex('aa')]);
    seen.add(hex(ends.bytes.subarray(places[0]![0] + 8, places[0]![0] + 16)));
    assert.equal(open(ends, places), [0]);
  }
  assert.is(seen.size, 3000);
  assert.is(ends.outbound.sequence, first + 2999);
  assert.is(ends.inbound.window.top, first + 2999);
  assert.equal(new Set(ends.got), new Set(['17 aa']));
  assert.is(ends.got.length, 3000);
});

test('a dummy packet has next header 59 and no payload', () => {
  const ends = association();
  const end = ends.outbound.add(ends.bytes, 0, esp.FRONT, esp.NO_NEXT_HEADER, ends.packets);
  ends.outbound.seal(ends.packets);
  open(ends, [[0, end]]);
  assert.equal(ends.got, ['59 ']);
});

test.run();
