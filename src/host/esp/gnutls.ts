/** AES-GCM of GnuTLS, which has one call for a whole packet: half the cost of OpenSSL's five. */
import { FRONT, type Aead, type AeadKey, type KeyParameters } from '../../esp/index.js';
import { AAD, Inputs, NONCE, OWN } from './inputs.js';
import { addressOf, exact, requireWords, type Bind, type Koffi } from './native.js';

/** The name has been the same since version 3.4, which has been the first with these functions. */
const LIBRARY = 'libgnutls.so.30';
/** gnutls_cipher_algorithm_t. */
const AES_128_GCM = 10;
const AES_256_GCM = 11;
/** Offsets in a key's memory: the size of the result, the handle, and a gnutls_datum_t. */
const SIZE = OWN;
const HANDLE = OWN + 8;
const DATUM = OWN + 16;

type Call = (...values: readonly number[]) => number;

/** @throws Error if the library is not there, or not as expected. */
export function loadGnutls(koffi: Koffi): Bind {
  requireWords(koffi);
  const library = koffi.load(LIBRARY);
  const define = (name: string, result: string, parameters: readonly string[]): Call =>
    library.func(name, result, [...parameters]) as unknown as Call;
  const packet = [
    ...['size_t', 'size_t', 'size_t', 'size_t', 'size_t'], // handle, nonce, its length, additional data, its length
    ...['size_t', 'size_t', 'size_t', 'size_t', 'size_t'], // length of the tag, input, its length, output, its length
  ];
  const calls: Calls = {
    initialize: define('gnutls_aead_cipher_init', 'int', ['size_t', 'int', 'size_t']),
    encrypt: define('gnutls_aead_cipher_encrypt', 'int', packet),
    decrypt: define('gnutls_aead_cipher_decrypt', 'int', packet),
    release: define('gnutls_aead_cipher_deinit', 'void', ['size_t']),
  };
  return (packets, address): Aead => ({
    name: 'gnutls',
    key: (parameters) => makeKey(koffi, calls, packets, address, parameters),
  });
}

interface Calls {
  readonly initialize: Call;
  readonly encrypt: Call;
  readonly decrypt: Call;
  readonly release: Call;
}

function makeKey(
  koffi: Koffi,
  { initialize, encrypt, decrypt, release }: Calls,
  packets: Uint8Array,
  address: number,
  parameters: KeyParameters,
): AeadKey {
  const { icv } = parameters;
  const inputs = new Inputs(packets, parameters);
  const own = addressOf(koffi, new Uint8Array(inputs.memory));
  const handle = open(koffi, initialize, inputs, own, parameters.key);
  // Constants: V8 boxes each of these numbers once.
  const text = address + FRONT;
  const nonce = own + NONCE;
  const aad = own + AAD;
  const size = own + SIZE;
  const nonceLength = inputs.nonce.length;
  const aadLength = inputs.aad.length;
  let freed = false;
  const requireKey = (): void => {
    if (freed) throw new Error('the key was freed');
  };
  return {
    seal({ count, offset, length, high }) {
      requireKey();
      for (let i = 0; i < count; i++) {
        const at = offset[i]!;
        const bytes = length[i]!;
        inputs.take(at, high[i]!);
        inputs.view.setUint32(SIZE, bytes + icv, true);
        const data = text + at;
        const code = encrypt(handle, nonce, nonceLength, aad, aadLength, icv, data, bytes, data, size);
        if (code !== 0) throw new Error(`gnutls_aead_cipher_encrypt returned ${code}`);
      }
    },
    open({ count, offset, length, high, authentic }) {
      requireKey();
      for (let i = 0; i < count; i++) {
        const at = offset[i]!;
        const bytes = length[i]!;
        inputs.take(at, high[i]!);
        inputs.view.setUint32(SIZE, bytes, true);
        const data = text + at;
        const code = decrypt(handle, nonce, nonceLength, aad, aadLength, icv, data, bytes + icv, data, size);
        authentic[i] = code === 0 ? 1 : 0;
      }
    },
    free() {
      if (!freed) release(handle);
      freed = true;
    },
  };
}

/** Returns the handle of a key, of which the library makes a copy. */
function open(koffi: Koffi, initialize: Call, inputs: Inputs, own: number, key: Uint8Array): number {
  const copy = new Uint8Array(key); // `slice` of a Buffer would not copy
  inputs.view.setBigUint64(DATUM, BigInt(addressOf(koffi, copy)), true);
  inputs.view.setUint32(DATUM + 8, copy.length, true);
  const code = initialize(own + HANDLE, copy.length === 16 ? AES_128_GCM : AES_256_GCM, own + DATUM);
  copy.fill(0);
  if (code !== 0) throw new Error(`gnutls_aead_cipher_init returned ${code}`);
  return exact(inputs.view.getBigUint64(HANDLE, true));
}
