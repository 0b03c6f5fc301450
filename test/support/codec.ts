import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { agree, roundTrip, stayInside, type Codec } from './contract.js';
import { hex } from './hex.js';

export type { Codec } from './contract.js';

export interface CodecCase<V, D extends V = V> {
  name: string;
  codec: Codec<V, D>;
  /** Complete values, as `decode` returns them. */
  values: fc.Arbitrary<V>;
  /** Byte strings that are valid or nearly so; encoded values, cut and with changed octets, are tested as well. */
  bytes?: fc.Arbitrary<Uint8Array>;
}

/** Registers the property tests of the codec contract for one codec. */
export function codecProperties<V, D extends V>({ name, codec, values: drawn, bytes }: CodecCase<V, D>): void {
  const values = drawn.map((value) => structuredClone(value)); // fast-check's records may lack a prototype

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

  test(`${name}: encode(decode(b)) equals the bytes consumed`, () => {
    fc.assert(
      fc.property(inputs, (input) => roundTrip(codec, input)),
      { numRuns: 1000 },
    );
  });

  test(`${name}: decode throws only WireError, and agrees with check and decodeLax`, () => {
    fc.assert(
      fc.property(inputs, fc.nat(6), fc.nat(6), (input, before, after) => agree(codec, input, before, after)),
      { numRuns: 1000 },
    );
  });

  test(`${name}: decode reads nothing outside [offset, end)`, () => {
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
