/**
 * Encryption: AES-GCM with the first key of a ring. A message is accepted if any key of the ring decrypts it.
 *
 *     +---------+------------+------------------+----------+
 *     | version | nonce (12) | ciphertext       | tag (16) |
 *     +---------+------------+------------------+----------+
 *
 * Version 1 has no padding. Version 0 pads to a multiple of 16 octets first, with 1 to 16 octets that each hold their
 * number.
 */
import { malformed, truncated } from '../../wire/index.js';

const PROTOCOL = 'memberlist';
/** The `detail` of a `WireError` about traffic that does not match this member's keys or label. */
export const UNREADABLE = {
  /** It is encrypted with a key that is not in the ring. */
  otherKey: 'no key of the ring opens it',
  /** It is encrypted, and this member has no key. */
  encrypted: 'the stream is encrypted',
  /** It is not encrypted, and this member has keys. */
  plain: 'the stream is not encrypted',
  /** It carries another label, or none where this member has one. */
  label: 'the label is that of another cluster',
} as const;
const NONCE = 12;
const TAG = 16;
const BLOCK = 16;
const HEADER = 1 + NONCE;

/** Octets that encryption adds: the exact number for version 1, the maximum for version 0. */
export const OVERHEAD = [HEADER + BLOCK + TAG, HEADER + TAG] as const;

export type SealVersion = 0 | 1;

/** AES-GCM with 128, 192 or 256 bits, depending on the length of the key. */
export interface Aead {
  /** Returns the ciphertext and its tag. */
  seal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, aad: Uint8Array): Uint8Array;
  /** Returns the plaintext; `null` if the tag is wrong. */
  open(key: Uint8Array, nonce: Uint8Array, sealed: Uint8Array, aad: Uint8Array): Uint8Array | null;
}

/** The keys of a cluster. The first one encrypts. */
export class Keyring {
  #keys: Uint8Array[] = [];

  /** @throws RangeError if there is no key, or one that is not 16, 24 or 32 octets long. */
  constructor(keys: readonly Uint8Array[]) {
    if (keys.length === 0) throw new RangeError('a keyring must have at least one key');
    for (const key of keys) this.add(key);
  }

  get keys(): readonly Uint8Array[] {
    return this.#keys;
  }

  get primary(): Uint8Array {
    return this.#keys[0]!;
  }

  /** Adds a key for decryption only. A key that is already in the ring keeps its position. */
  add(key: Uint8Array): void {
    if (key.length !== 16 && key.length !== 24 && key.length !== 32)
      throw new RangeError(`a key must have 16, 24 or 32 octets, not ${key.length}`);
    if (this.#find(key) < 0) this.#keys = [...this.#keys, key.slice()];
  }

  /** Encrypts with this key from now on. @throws RangeError if the key is not in the ring. */
  use(key: Uint8Array): void {
    const at = this.#find(key);
    if (at < 0) throw new RangeError('the key is not in the ring; add it first');
    const chosen = this.#keys[at]!;
    this.#keys = [chosen, ...this.#keys.filter((other) => other !== chosen)];
  }

  /** Removes a key. @throws RangeError for the key that encrypts. */
  remove(key: Uint8Array): void {
    const at = this.#find(key);
    if (at === 0) throw new RangeError('this key encrypts outgoing messages; use another key first');
    this.#keys = this.#keys.filter((_, i) => i !== at);
  }

  has(key: Uint8Array): boolean {
    return this.#find(key) >= 0;
  }

  #find(key: Uint8Array): number {
    return this.#keys.findIndex((known) => known.length === key.length && known.every((octet, i) => octet === key[i]));
  }
}

/** The length of `plain` octets after encryption. */
export function sealedLength(version: SealVersion, plain: number): number {
  return HEADER + (version === 1 ? plain : plain + BLOCK - (plain % BLOCK)) + TAG;
}

/** Encrypts. @param nonce 12 octets that never repeat with the same key. */
export function seal(
  aead: Aead,
  key: Uint8Array,
  version: SealVersion,
  nonce: Uint8Array,
  plain: Uint8Array,
  aad: Uint8Array,
): Uint8Array {
  if (nonce.length !== NONCE) throw new RangeError(`a nonce must have ${NONCE} octets, not ${nonce.length}`);
  const out = new Uint8Array(sealedLength(version, plain.length));
  out[0] = version;
  out.set(nonce, 1);
  let padded = plain;
  if (version === 0) {
    padded = new Uint8Array(out.length - HEADER - TAG).fill(BLOCK - (plain.length % BLOCK));
    padded.set(plain);
  }
  out.set(aead.seal(key, nonce, padded, aad), HEADER);
  return out;
}

/**
 * Decrypts with any key of the ring.
 * @throws WireError `truncated`, or `malformed` if no key fits.
 */
export function open(aead: Aead, keyring: Keyring, sealed: Uint8Array, aad: Uint8Array): Uint8Array {
  if (sealed.length < HEADER + TAG) throw truncated(PROTOCOL, 0, HEADER + TAG, sealed.length);
  const version = sealed[0]!;
  if (version > 1) throw malformed(PROTOCOL, 0, `encryption version ${version} is not supported`);
  if (version === 0 && (sealed.length - HEADER - TAG) % BLOCK !== 0)
    throw malformed(PROTOCOL, HEADER, `the length of the ciphertext is not a multiple of ${BLOCK}`);
  const nonce = sealed.subarray(1, HEADER);
  for (const key of keyring.keys) {
    const plain = aead.open(key, nonce, sealed.subarray(HEADER), aad);
    if (plain === null) continue;
    if (version === 1) return plain;
    const fill = plain[plain.length - 1] ?? 0;
    if (fill < 1 || fill > BLOCK || fill > plain.length)
      throw malformed(PROTOCOL, sealed.length - TAG - 1, 'the padding is invalid');
    return plain.subarray(0, plain.length - fill);
  }
  throw malformed(PROTOCOL, 0, UNREADABLE.otherKey);
}
