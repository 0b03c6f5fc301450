/** The assertions of the codec contract reject codecs that break it: a correct one, broken in one way at a time. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  getU16,
  malformed,
  problemAt,
  setU16,
  truncatedProblem,
  WireError,
  type WireProblem,
} from '../src/wire/index.js';
import { accessorsHold, holds, type Codec } from './support/contract.js';
import { fromHex } from './support/hex.js';

interface Value {
  tag: number;
  payload: Uint8Array;
}

/** A non-zero tag of two octets, and a payload. */
const sound = {
  check: (bytes: Uint8Array, offset: number, end: number): number =>
    end - offset < 2 ? -1 : getU16(bytes, offset) === 0 ? -2 : 2,
  diagnose: (bytes: Uint8Array, offset: number, end: number, limitedBy?: string): WireProblem | null =>
    end - offset >= 2 && getU16(bytes, offset) === 0
      ? problemAt('x', offset, 'tag is 0')
      : truncatedProblem('x', offset, 2, end, limitedBy),
  decode(bytes: Uint8Array, offset = 0, end = bytes.length): Value {
    if (sound.check(bytes, offset, end) < 0) throw new WireError(sound.diagnose(bytes, offset, end)!);
    return { tag: getU16(bytes, offset), payload: bytes.subarray(offset + 2, end) };
  },
  decodeLax: (bytes: Uint8Array, offset: number, end: number) =>
    end - offset < 2 ? null : { tag: getU16(bytes, offset), payload: bytes.subarray(offset + 2, end) },
  encode(value: Value) {
    const bytes = new Uint8Array(2 + value.payload.length);
    sound.encodeInto(value, bytes, 0);
    return bytes;
  },
  encodeInto(value: Value, bytes: Uint8Array, offset: number) {
    setU16(bytes, offset, value.tag);
    bytes.set(value.payload, offset + 2);
    return offset + 2 + value.payload.length;
  },
  getTag: (bytes: Uint8Array, offset: number) => getU16(bytes, offset),
  setTag: (bytes: Uint8Array, offset: number, tag: number) => setU16(bytes, offset, tag),
} satisfies Codec<Value> & Record<string, unknown>;

const INPUTS = ['', '00', '0000', '0001', 'ffff00', '0001aabbcc'].map(fromHex);
const tryAll = (codec: Codec<Value>): void => INPUTS.forEach((input) => holds(codec, input));

test('a correct codec passes', () => {
  tryAll(sound);
  accessorsHold(sound, fromHex('1234'), 2);
});

const BROKEN: [how: string, broken: Partial<Codec<Value>>, message: RegExp][] = [
  [
    'decode throws another error',
    {
      decode(bytes, offset = 0, end = bytes.length) {
        if (end - offset < 2) throw new TypeError('oops');
        return sound.decode(bytes, offset, end);
      },
    },
    /not a WireError: TypeError: oops/,
  ],
  [
    'decode accepts bytes that check rejects',
    { decode: (bytes, offset = 0, end = bytes.length) => sound.decodeLax(bytes, offset, end)! },
    /check returned -\d, but decode/,
  ],
  ['check accepts bytes that decode rejects', { check: () => 2 }, /check returned 2(, but decode threw| for 0 bytes)/],
  [
    'check gives another reason',
    { check: (...where) => (sound.check(...where) === -2 ? -3 : sound.check(...where)) },
    /check reports unsupported, decode malformed/,
  ],
  [
    'the error has an offset outside the bytes',
    {
      decode(bytes, offset = 0, end = bytes.length) {
        if (sound.check(bytes, offset, end) < 0) throw malformed('x', end + 1, 'there');
        return sound.decode(bytes, offset, end);
      },
      check: (...where) => (sound.check(...where) < 0 ? -2 : 2),
    },
    /the error's offset is \d+, outside/,
  ],
  [
    'diagnose reports another problem',
    { diagnose: () => truncatedProblem('y', 0, 1, 0) },
    /diagnose, compared with decode/,
  ],
  [
    'diagnose returns an Error',
    { diagnose: (...where) => sound.diagnose(...where) && new WireError(sound.diagnose(...where)!) },
    /diagnose returns an Error/,
  ],
  [
    'diagnose does not name the limit',
    { diagnose: (bytes, offset, end) => sound.diagnose(bytes, offset, end) },
    /the limit that diagnose names/,
  ],
  [
    'decodeLax returns less than decode',
    {
      decodeLax: (bytes, offset, end) =>
        end - offset < 2 ? null : { tag: getU16(bytes, offset), payload: new Uint8Array(0) },
    },
    /decodeLax, compared with decode: \.payload has 0 bytes/,
  ],
  [
    'decodeLax reads behind the end',
    {
      decodeLax: (bytes, offset, end) =>
        end - offset < 1 ? null : sound.decodeLax(bytes, offset, Math.max(end, offset + 2)),
    },
    /between zeros, compared with between ones/,
  ],
  [
    'check changes the input',
    {
      check(bytes, offset, end) {
        const code = sound.check(bytes, offset, end);
        if (code > 0) bytes[offset]! |= 1;
        return code;
      },
    },
    /which must not change it/,
  ],
  [
    'encode does not restore the bytes',
    { encode: ({ tag, payload }) => sound.encode({ tag: tag & 0xff, payload }) },
    /encode\(decode\(b\)\), compared with b: \[0\] is 0, not 255/,
  ],
  [
    'encodeInto leaves an octet unwritten',
    {
      encodeInto(value, bytes, offset) {
        bytes[offset + 1] = value.tag;
        bytes.set(value.payload, offset + 2);
        return offset + 2 + value.payload.length;
      },
    },
    /the bytes that encodeInto wrote, compared with encode/,
  ],
];
for (const [how, broken, message] of BROKEN)
  test(`rejected: ${how}`, () => assert.throws(() => tryAll({ ...sound, ...broken }), message));

test('rejected: getters that read outside the header, setters that do not restore the value of the getter', () => {
  const wide = { ...sound, getTag: (bytes: Uint8Array, offset: number) => getU16(bytes, offset + 1) };
  assert.throws(() => accessorsHold(wide, fromHex('1234'), 2), /getTag reads outside the header/);
  const stray = { ...sound, setTag: (bytes: Uint8Array, offset: number) => setU16(bytes, offset, 1) };
  assert.throws(() => accessorsHold(stray, fromHex('1234'), 2), /setTag with the value of getTag/);
  accessorsHold(stray, fromHex('1234'), 2, ['setTag']);
});

test.run();
