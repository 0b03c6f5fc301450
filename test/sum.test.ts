/** The checksum over a buffer in WebAssembly SIMD and in JavaScript, compared with a naive one. */
import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { compile, MODULE } from '../scripts/wasm.mjs';
import { sums } from '../src/host/simd.js';
import { jsCopySum, jsSum } from '../src/offload/index.js';

const LONGEST = 9001;
const PAGES = 2;

const memory = new (
  globalThis as unknown as { WebAssembly: { Memory: new (how: object) => { buffer: ArrayBuffer } } }
).WebAssembly.Memory({ initial: PAGES, maximum: PAGES });
const bytes = new Uint8Array(memory.buffer);
const { sum: wasmSum, copySum: wasmCopySum, simd } = sums(memory);
const twin = jsSum(bytes);

// Pseudo-random octets, many of them 0xff so that carries are frequent.
let state = 1;
for (let i = 0; i < bytes.length; i++) {
  state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
  bytes[i] = (state >>> 28) % 3 === 0 ? 0xff : state >>> 16;
}

/** RFC 1071, word by word, with the carry added back each time. */
function naive(offset: number, length: number, initial: number): number {
  let sum = 0;
  const add = (word: number): void => {
    sum += word;
    if (sum > 0xffff) sum -= 0xffff;
  };
  for (let i = 0; i < length; i += 2) add(bytes[offset + i]! * 256 + (i + 1 < length ? bytes[offset + i + 1]! : 0));
  add(Math.floor(initial / 65_536));
  add(initial % 65_536);
  return sum;
}

const INITIAL = [0, 0x1234, 0xffff_ffff, 0x8000_0001];

test('the committed module matches its source', async () => {
  assert.is(await compile(), readFileSync(MODULE, 'utf8'), 'node scripts/wasm.mjs');
});

test('this machine runs the WebAssembly code', () => assert.ok(simd));

test('both equal the naive sum for every length and alignment', () => {
  for (let align = 0; align < 16; align++) {
    const start = 64 + align;
    // The naive sum is extended by one octet per length.
    let folded = 0;
    for (let length = 0; length <= LONGEST; length++) {
      if (length > 0) {
        folded += bytes[start + length - 1]! * ((length & 1) === 1 ? 256 : 1);
        if (folded > 0xffff) folded -= 0xffff;
      }
      if (wasmSum(start, length, 0) !== folded || twin(start, length, 0) !== folded)
        assert.unreachable(
          `${length} at ${start}: ${wasmSum(start, length, 0)}, ${twin(start, length, 0)}, not ${folded}`,
        );
    }
    assert.is(folded, naive(start, LONGEST, 0));
  }
});

test('both accept an initial sum, up to 2^32', () => {
  for (const initial of INITIAL)
    for (let align = 0; align < 16; align++)
      for (let length = 0; length < 200; length++) {
        const expected = naive(align, length, initial);
        assert.is(wasmSum(align, length, initial), expected);
        assert.is(twin(align, length, initial), expected);
      }
});

test('the longest buffer of ones, and of zeros', () => {
  const kept = bytes.slice();
  bytes.fill(0xff);
  for (const length of [65_535, 65_536, bytes.length]) {
    const expected = naive(0, length, 0xffff_ffff);
    assert.is(wasmSum(0, length, 0xffff_ffff), expected);
    assert.is(twin(0, length, 0xffff_ffff), expected);
  }
  bytes.fill(0);
  assert.equal([wasmSum(3, 1000, 0), twin(3, 1000, 0)], [0, 0]);
  bytes.set(kept);
});

test('a buffer that does not start at offset 0 of its memory', () => {
  for (let begin = 0; begin < 8; begin++) {
    const part = bytes.subarray(begin, begin + 300);
    const sum = jsSum(part);
    for (let length = 0; length < 260; length++)
      for (const offset of [0, 1, 2, 3]) assert.is(sum(offset, length, 7), naive(begin + offset, length, 7));
  }
  const alone = new Uint8Array([1, 2, 3, 4, 5, 6, 7]); // a memory whose size is not a multiple of a word
  assert.is(jsSum(alone)(0, 7, 0), 0x0102 + 0x0304 + 0x0506 + 0x0700);
});

test('copySum gives the same sums and bytes, and writes nothing else', () => {
  const to = 70_000;
  const jsCopy = jsCopySum(bytes);
  for (const copy of [wasmCopySum, jsCopy])
    for (let align = 0; align < 16; align++)
      for (let length = 0; length <= LONGEST; length += length < 300 ? 1 : 347) {
        const from = 128 + align;
        const target = to + ((align * 7 + length) % 16);
        bytes.fill(0xa5, to - 20, target + length + 40);
        const expected = naive(from, length, 9);
        assert.is(copy(from, target, length, 9), expected, `${length} from ${from}`);
        const same = Buffer.compare(bytes.subarray(from, from + length), bytes.subarray(target, target + length));
        assert.is(same, 0);
        assert.ok(bytes.subarray(to - 20, target).every((octet) => octet === 0xa5));
        assert.ok(bytes.subarray(target + length, target + length + 40).every((octet) => octet === 0xa5));
      }
});

test('copySum gives the sums of sum for every length and alignment', () => {
  const to = 90_000;
  const jsCopy = jsCopySum(bytes);
  for (let align = 0; align < 16; align++)
    for (let length = 0; length <= LONGEST; length++) {
      const expected = wasmSum(200 + align, length, 0);
      if (
        wasmCopySum(200 + align, to, length, 0) !== expected ||
        jsCopy(200 + align, to + 9100, length, 0) !== expected
      )
        assert.unreachable(`${length} from ${200 + align}`);
    }
});

test.run();
