/**
 * AES-GCM for the data path. The expected bytes are the test cases of draft-mcgrew-gcm-test-01 (support/esp-vectors.json;
 * without the one of AES-192 and those of GMAC, which weft does not have). Those of NIST have additional data of other
 * lengths than ESP.
 */
import { readFileSync } from 'node:fs';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { PacketList, type Aead, type KeyParameters } from '../src/esp/index.js';
import { AEADS, loadAead, type AeadName } from '../src/host/esp/load.js';
import { passesSelfTest, SELF_TEST_ROOM } from '../src/host/esp/self-test.js';
import { fromHex, hex } from './support/hex.js';

/** Bytes of header and IV. */
const TEXT = 16;

interface Vector {
  key: string;
  nonce: string;
  aad: string;
  plain: string;
  sealed: string;
}
const VECTORS = JSON.parse(
  readFileSync(new URL('support/esp-vectors.json', import.meta.url), 'utf8'),
) as readonly Vector[];

/** A packet before it is sealed: header, IV and plaintext. */
interface Packet {
  bytes: Uint8Array;
  high: number;
}

/** Puts packets into a buffer at odd places, with room for an ICV of 16 octets. */
function place(buffer: Uint8Array, packets: readonly Packet[]): PacketList {
  const list = new PacketList(packets.length + 1); // one entry is not in use
  let at = 3;
  for (const { bytes, high } of packets) {
    buffer.set(bytes, at);
    list.offset[list.count] = at;
    list.length[list.count] = bytes.length - TEXT;
    list.high[list.count] = high;
    list.count++;
    at += bytes.length + 16 + 5;
  }
  return list;
}

const sealedIn = (buffer: Uint8Array, list: PacketList, i: number, icv: number): Uint8Array =>
  buffer.slice(list.offset[i]! + TEXT, list.offset[i]! + TEXT + list.length[i]! + icv);

const parametersOf = ({ key, nonce, aad }: Vector, icv: 8 | 16): KeyParameters => ({
  key: fromHex(key),
  salt: fromHex(nonce.slice(0, 8)),
  icv,
  extended: aad.length === 24,
});

/** The packet of a vector: additional data with an extended sequence number is SPI, high half, low half. */
function packetOf({ nonce, aad, plain }: Vector): Packet {
  const extended = aad.length === 24;
  return {
    bytes: fromHex(aad.slice(0, 8) + aad.slice(extended ? 16 : 8) + nonce.slice(8) + plain),
    high: extended ? Number.parseInt(aad.slice(8, 16), 16) | 0 : 0,
  };
}

/** Those of this machine. With CI=true, all of them must be there. */
const HERE: AeadName[] = [];
for (const name of AEADS) {
  const lacking = await loadAead(new Uint8Array(1), undefined, name).then(
    () => undefined,
    (error: Error) => error.message,
  );
  if (lacking === undefined || process.env['CI'] === 'true') HERE.push(name);
  else console.log(`skipped the tests of ${name}: ${lacking}`);
}

for (const name of HERE) {
  const bind = async (size: number): Promise<{ aead: Aead; buffer: Uint8Array }> => {
    const buffer = new Uint8Array(size);
    return { buffer, aead: await loadAead(buffer, undefined, name) };
  };

  test(`${name}: the test cases of the draft, with an ICV of 16 octets, and of 8, which is its first half`, async () => {
    const { buffer, aead } = await bind(1000);
    assert.is(aead.name, name);
    assert.is(VECTORS.length, 13);
    for (const vector of VECTORS)
      for (const icv of [16, 8] as const) {
        const key = aead.key(parametersOf(vector, icv));
        const packet = packetOf(vector);
        const list = place(buffer.fill(0xa5), [packet]);
        key.seal(list);
        const expected = vector.sealed.slice(0, vector.sealed.length - (16 - icv) * 2);
        assert.is(hex(sealedIn(buffer, list, 0, icv)), expected);
        const end = list.offset[0]! + packet.bytes.length;
        assert.equal([...buffer.subarray(0, 3)], [0xa5, 0xa5, 0xa5]);
        assert.ok(buffer.subarray(end + icv).every((byte) => byte === 0xa5));
        key.open(list);
        assert.is(list.authentic[0], 1);
        assert.is(hex(buffer.subarray(list.offset[0], end)), hex(packet.bytes));
        key.free();
      }
  });

  test(`${name}: a list is sealed and opened up to its count, and packets that others changed are refused one by one`, async () => {
    const { buffer, aead } = await bind(1000);
    const vector = VECTORS[0]!;
    for (const icv of [8, 16] as const) {
      const key = aead.key(parametersOf(vector, icv));
      const packet = packetOf(vector);
      const size = packet.bytes.length;
      // SPI, sequence number, IV, first and last octet of the ciphertext, first and last of the ICV.
      for (const wrong of [0, 7, 8, 15, TEXT, size - 1, size, size + icv - 1]) {
        const list = place(buffer.fill(0), [packet, packet, packet]);
        key.seal(list);
        buffer[list.offset[1]! + wrong]! ^= 0x10;
        list.authentic.fill(2);
        key.open(list);
        assert.equal([...list.authentic], [1, 0, 1, 2], `octet ${wrong}`);
        assert.is(hex(buffer.subarray(list.offset[2], list.offset[2]! + size)), hex(packet.bytes));
      }
      const list = place(buffer.fill(0), [packet]);
      key.seal(list);
      list.high[0]!++; // not in the packet, but authenticated
      key.open(list);
      assert.is(list.authentic[0], 0);
      key.free();
    }
  });

  test(`${name}: wrong keys are refused, keys of a Buffer stay as they are, and a freed key is not used`, async () => {
    const { buffer, aead } = await bind(1000);
    const vector = VECTORS[0]!;
    const good = parametersOf(vector, 16);
    assert.throws(() => aead.key({ ...good, key: new Uint8Array(24) }), /16 or 32 octets here, not 24/);
    assert.throws(() => aead.key({ ...good, salt: new Uint8Array(8) }), /the salt has 4 octets/);
    assert.throws(() => aead.key({ ...good, icv: 12 as never }), /8 or 16 octets here, not 12/);
    const of = Buffer.from(vector.key, 'hex');
    const key = aead.key({ ...good, key: of });
    assert.is(of.toString('hex'), vector.key);
    of.fill(0); // the caller may
    const list = place(buffer, [packetOf(vector)]);
    key.seal(list);
    assert.is(hex(sealedIn(buffer, list, 0, 16)), vector.sealed);
    key.free();
    key.free();
    assert.throws(() => key.seal(list), /the key was freed/);
    assert.throws(() => key.open(list), /the key was freed/);
  });

  test(`${name}: two keys do not disturb each other, and the buffer may begin within another`, async () => {
    const whole = new Uint8Array(2000);
    const buffer = whole.subarray(999, 1999);
    const aead = await loadAead(buffer, undefined, name);
    const keys = VECTORS.map((vector) => aead.key(parametersOf(vector, 16)));
    for (const [i, key] of keys.entries()) {
      const list = place(buffer, [packetOf(VECTORS[i]!)]);
      key.seal(list);
      assert.is(hex(sealedIn(buffer, list, 0, 16)), VECTORS[i]!.sealed);
      const { key: own, nonce } = VECTORS[i]!;
      const other = VECTORS.findIndex((one) => one.key !== own && one.nonce !== nonce);
      keys[other]!.open(list);
      assert.is(list.authentic[0], 0);
    }
    for (const key of keys) key.free();
  });
}

test('all give the same bytes for random packets of 0 to 9000 octets, and open those of the others', async () => {
  let state = 42;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) | 0;
    return (state >>> 8) % below;
  };
  const randomBytes = (length: number): Uint8Array => Uint8Array.from({ length }, () => random(256));
  const size = 400_000;
  const bound = await Promise.all(
    HERE.map(async (name) => {
      const buffer = new Uint8Array(size);
      return { name, buffer, aead: await loadAead(buffer, undefined, name) };
    }),
  );
  // Around the lengths at which the libraries change to code for several blocks, and others.
  const lengths = [
    0, 1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 513, 1408, 9000,
  ];
  for (const octets of [16, 32])
    for (const icv of [16, 8] as const)
      for (const extended of [true, false]) {
        const parameters = { key: randomBytes(octets), salt: randomBytes(4), icv, extended };
        const packets = [...lengths, ...Array.from({ length: 40 }, () => random(9001))].map((length) => ({
          bytes: randomBytes(TEXT + length),
          high: random(0xff_ffff) * 256,
        }));
        const sealed = bound.map(({ buffer, aead }) => {
          const key = aead.key(parameters);
          const list = place(buffer.fill(0), packets);
          key.seal(list);
          return { key, list, bytes: buffer.slice() };
        });
        for (const [i, { bytes }] of sealed.entries())
          assert.ok(Buffer.compare(bytes, sealed[0]!.bytes) === 0, `${bound[i]!.name} is like ${bound[0]!.name}`);
        for (const [i, { key, list }] of sealed.entries()) {
          const { buffer } = bound[i]!;
          key.open(list);
          assert.equal(new Set(list.authentic.subarray(0, list.count)), new Set([1]));
          for (const [j, { bytes }] of packets.entries())
            assert.ok(Buffer.compare(buffer.subarray(list.offset[j], list.offset[j]! + bytes.length), bytes) === 0);
          key.free();
        }
      }
});

test('the fastest is taken that works, or the one that WEFT_AEAD names', async () => {
  const { WEFT_AEAD } = process.env;
  const buffer = new Uint8Array(100);
  try {
    delete process.env['WEFT_AEAD'];
    assert.is((await loadAead(buffer)).name, HERE[0]);
    process.env['WEFT_AEAD'] = HERE[1]!;
    assert.is((await loadAead(buffer)).name, HERE[1]);
    process.env['WEFT_AEAD'] = 'rot13';
    let message = '';
    await loadAead(buffer).catch((error: Error) => (message = error.message));
    assert.is(message, 'WEFT_AEAD is one of gnutls, openssl, node, and not "rot13"');
  } finally {
    if (WEFT_AEAD === undefined) delete process.env['WEFT_AEAD'];
    else process.env['WEFT_AEAD'] = WEFT_AEAD;
  }
});

test('a library that is missing, or that gives wrong bytes, is not used', async () => {
  const buffer = new Uint8Array(100);
  const missing = (): never => {
    throw new Error('no such library');
  };
  const clear = (): (() => Aead) => () => ({
    name: 'openssl',
    key: () => ({ seal: () => undefined, open: () => undefined, free: () => undefined }),
  });
  const loaders = { gnutls: missing, openssl: clear };
  const load = async (prefer?: string): Promise<string> =>
    loadAead(buffer, undefined, prefer, loaders).then(
      ({ name }) => name,
      (error: Error) => error.message,
    );
  const { WEFT_AEAD } = process.env;
  delete process.env['WEFT_AEAD'];
  assert.is(await load(), 'node');
  if (WEFT_AEAD !== undefined) process.env['WEFT_AEAD'] = WEFT_AEAD;
  assert.is(await load('gnutls'), 'AES-GCM of gnutls does not work on this machine: no such library; unset WEFT_AEAD');
  assert.match(await load('openssl'), /AES-GCM of openssl does not work on this machine: it gives wrong bytes/);
});

test('the self-test refuses an implementation that writes wrong bytes, or accepts what is not authentic', async () => {
  const buffer = new Uint8Array(SELF_TEST_ROOM);
  const good = await loadAead(buffer, undefined, 'node');
  assert.ok(passesSelfTest(good, buffer));
  const changed = (change: (key: ReturnType<Aead['key']>, list: PacketList) => void, which: 'seal' | 'open'): Aead => ({
    name: 'node',
    key(parameters) {
      const key = good.key(parameters);
      return {
        seal: (list) => (which === 'seal' ? change(key, list) : key.seal(list)),
        open: (list) => (which === 'open' ? change(key, list) : key.open(list)),
        free: () => key.free(),
      };
    },
  });
  const clear = changed(() => undefined, 'seal');
  const oneBit = changed((key, list) => {
    key.seal(list);
    buffer[list.offset[0]! + TEXT]! ^= 1;
  }, 'seal');
  const credulous = changed((key, list) => {
    key.open(list);
    list.authentic[0] = 1;
  }, 'open');
  const refusing = changed((_, list) => void (list.authentic[0] = 0), 'open');
  for (const bad of [clear, oneBit, credulous, refusing]) assert.not.ok(passesSelfTest(bad, buffer));
});

test.run();
