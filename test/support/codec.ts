import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { agree, giveBack, stayInside, type Codec } from './contract.js';
import { hex } from './hex.js';

export type { Codec } from './contract.js';

export interface CodecCase<V, D extends V = V> {
  name: string;
  codec: Codec<V, D>;
  /** Complete values: those that `decode` would give. */
  values: fc.Arbitrary<V>;
  /** Byte strings likely to be accepted or nearly so; encoded values, cut and flipped, come on top. */
  bytes?: fc.Arbitrary<Uint8Array>;
}

/** Registers the properties that the codec contract promises, for one codec. */
export function codecProperties<V, D extends V>({ name, codec, values: drawn, bytes }: CodecCase<V, D>): void {
  const values = drawn.map((value) => structuredClone(value)); // records of fast-check may lack a prototype

  const encoded = values.map((value) => codec.encode(value));
  const damaged = fc
    .tuple(encoded, fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }), fc.nat())
    .map(([whole, flips, cut]) => {
      const copy = whole.slice(0, cut % 4 === 0 ? cut % (whole.length + 1) : whole.length);
      for (const [at, octet] of flips) if (copy.length > 0) copy[at % copy.length] = octet;
      return copy;
    });
  const inputs = fc.oneof(encoded, damaged, fc.uint8Array({ maxLength: 80 }), ...(bytes === undefined ? [] : [bytes]));

  test(`${name}: decode(encode(v)) equals v`, () => {
    fc.assert(fc.property(values, (value) => assert.equal(codec.decode(codec.encode(value)), value)));
  });

  test(`${name}: encode(decode(b)) gives back the bytes consumed`, () => {
    fc.assert(
      fc.property(inputs, (input) => giveBack(codec, input)),
      { numRuns: 1000 },
    );
  });

  test(`${name}: decode throws WireError and nothing else, and agrees with check and decodeLax`, () => {
    fc.assert(
      fc.property(inputs, fc.nat(6), fc.nat(6), (input, before, after) => agree(codec, input, before, after)),
      { numRuns: 1000 },
    );
  });

  test(`${name}: nothing outside [offset, end) is read`, () => {
    fc.assert(
      fc.property(inputs, fc.nat(3), (input, before) => stayInside(codec, input, before)),
      { numRuns: 500 },
    );
  });

  test(`${name}: encodeInto writes every octet of a dirty buffer and none beyond`, () => {
    fc.assert(
      fc.property(values, fc.nat(9), (value, offset) => {
        const clean = codec.encode(value);
        const dirty = new Uint8Array(offset + clean.length + 9).fill(0xa5);
        assert.is(codec.encodeInto(value, dirty, offset), offset + clean.length);
        assert.is(hex(dirty.subarray(offset, offset + clean.length)), hex(clean));
        assert.ok(dirty.subarray(0, offset).every((octet) => octet === 0xa5));
        assert.ok(dirty.subarray(offset + clean.length).every((octet) => octet === 0xa5));
        assert.throws(() => codec.encodeInto(value, new Uint8Array(clean.length - 1), 0), RangeError);
      }),
    );
  });
}
