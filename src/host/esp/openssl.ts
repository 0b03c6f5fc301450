/** AES-GCM of the OpenSSL inside Node, called without `node:crypto`, which makes several objects for each packet. */
import { FRONT, type Aead, type AeadKey, type KeyParameters } from '../../esp/index.js';
import { AAD, Inputs, NONCE, OWN } from './inputs.js';
import { addressOf, exact, requireWords, type Bind, type Koffi } from './native.js';

/** EVP_CTRL_AEAD_GET_TAG and EVP_CTRL_AEAD_SET_TAG. */
const GET_TAG = 0x10;
const SET_TAG = 0x11;
/** Offsets in a key's memory: an int for lengths, and room for what a cipher could write at the end, which GCM does not. */
const LENGTH = OWN;
const REST = OWN + 16;

type Call = (...values: readonly number[]) => number;

/** @throws Error if the program does not export these functions. */
export function loadOpenssl(koffi: Koffi): Bind {
  requireWords(koffi);
  const program = koffi.load(null);
  const define = (name: string, result: string, parameters: readonly string[]): Call =>
    program.func(name, result, [...parameters]) as unknown as Call;
  const pointer = 'size_t';
  const init = [pointer, pointer, pointer, pointer, pointer];
  const update = [pointer, pointer, pointer, pointer, 'int'];
  const final = [pointer, pointer, pointer];
  const calls: Calls = {
    make: define('EVP_CIPHER_CTX_new', pointer, []),
    release: define('EVP_CIPHER_CTX_free', 'void', [pointer]),
    control: define('EVP_CIPHER_CTX_ctrl', 'int', [pointer, 'int', 'int', pointer]),
    encryptInit: define('EVP_EncryptInit_ex', 'int', init),
    encryptUpdate: define('EVP_EncryptUpdate', 'int', update),
    encryptFinal: define('EVP_EncryptFinal_ex', 'int', final),
    decryptInit: define('EVP_DecryptInit_ex', 'int', init),
    decryptUpdate: define('EVP_DecryptUpdate', 'int', update),
    decryptFinal: define('EVP_DecryptFinal_ex', 'int', final),
    ciphers: {
      16: exact(define('EVP_aes_128_gcm', pointer, [])()),
      32: exact(define('EVP_aes_256_gcm', pointer, [])()),
    },
  };
  return (packets, address): Aead => ({
    name: 'openssl',
    key: (parameters) => makeKey(koffi, calls, packets, address, parameters),
  });
}

interface Calls {
  readonly make: Call;
  readonly release: Call;
  readonly control: Call;
  readonly encryptInit: Call;
  readonly encryptUpdate: Call;
  readonly encryptFinal: Call;
  readonly decryptInit: Call;
  readonly decryptUpdate: Call;
  readonly decryptFinal: Call;
  /** By the length of the key. */
  readonly ciphers: Readonly<Record<number, number>>;
}

function makeKey(koffi: Koffi, calls: Calls, packets: Uint8Array, address: number, parameters: KeyParameters): AeadKey {
  const { control, encryptInit, encryptUpdate, encryptFinal, decryptInit, decryptUpdate, decryptFinal } = calls;
  const { icv } = parameters;
  const inputs = new Inputs(packets, parameters);
  const own = addressOf(koffi, new Uint8Array(inputs.memory));
  // A context for each direction: no version of OpenSSL promises that one serves both.
  const sealer = open(koffi, calls, encryptInit, parameters.key);
  const opener = open(koffi, calls, decryptInit, parameters.key);
  // Constants: V8 boxes each of these numbers once.
  const text = address + FRONT;
  const nonce = own + NONCE;
  const aad = own + AAD;
  const written = own + LENGTH;
  const rest = own + REST;
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
        const data = text + at;
        inputs.take(at, high[i]!);
        const sealed =
          encryptInit(sealer, 0, 0, 0, nonce) === 1 &&
          encryptUpdate(sealer, 0, written, aad, aadLength) === 1 &&
          encryptUpdate(sealer, data, written, data, bytes) === 1 &&
          encryptFinal(sealer, rest, written) === 1 &&
          control(sealer, GET_TAG, icv, data + bytes) === 1;
        if (!sealed) throw new Error('OpenSSL did not encrypt the packet');
      }
    },
    open({ count, offset, length, high, authentic }) {
      requireKey();
      for (let i = 0; i < count; i++) {
        const at = offset[i]!;
        const bytes = length[i]!;
        const data = text + at;
        inputs.take(at, high[i]!);
        const opened =
          decryptInit(opener, 0, 0, 0, nonce) === 1 &&
          control(opener, SET_TAG, icv, data + bytes) === 1 &&
          decryptUpdate(opener, 0, written, aad, aadLength) === 1 &&
          decryptUpdate(opener, data, written, data, bytes) === 1 &&
          decryptFinal(opener, rest, written) === 1;
        authentic[i] = opened ? 1 : 0;
      }
    },
    free() {
      if (freed) return;
      calls.release(sealer);
      calls.release(opener);
      freed = true;
    },
  };
}

/** Returns a context with a key, of which the library makes a copy. */
function open(koffi: Koffi, { make, ciphers }: Calls, initialize: Call, key: Uint8Array): number {
  const context = exact(make());
  const copy = new Uint8Array(key); // `slice` of a Buffer would not copy
  const ready = context !== 0 && initialize(context, ciphers[copy.length]!, 0, addressOf(koffi, copy), 0) === 1;
  copy.fill(0);
  if (!ready) throw new Error('OpenSSL did not take the key');
  return context;
}
