/** What is derived from the key of a group: HKDF with SHA-256 (RFC 5869), with what it is for as the info. */
import { parseIpv6, parseIpv4 } from '../address/index.js';
import { encodeText } from '../wire/index.js';
import { type AssociationKey } from './association.js';
import { CODE_LENGTH, KEY_ID_LENGTH } from './message.js';

/** The functions that the host provides. */
export interface KeyingCrypto {
  /** HKDF-SHA-256. */
  hkdf(key: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Uint8Array;
  /** HMAC-SHA-256. */
  hmac(key: Uint8Array, text: Uint8Array): Uint8Array;
  /** Random octets that cannot be guessed. */
  random(length: number): Uint8Array;
}

const NONE = new Uint8Array(0);
const CODE_KEY_LENGTH = 32;
const SALT_LENGTH = 4;

/** A key of a group, and what its messages need. */
export class DerivedKey {
  readonly number: number;
  /** Names the group and the key in messages, and reveals neither. */
  readonly id: Uint8Array;
  readonly #key: Uint8Array;
  readonly #group: string;
  readonly #codeKey: Uint8Array;
  readonly #crypto: KeyingCrypto;

  constructor(group: string, number: number, key: Uint8Array, crypto: KeyingCrypto) {
    this.number = number;
    this.#key = key;
    this.#group = group;
    this.#crypto = crypto;
    this.id = crypto.hkdf(key, NONE, info('id', group), KEY_ID_LENGTH);
    this.#codeKey = crypto.hkdf(key, NONE, info('code', group), CODE_KEY_LENGTH);
  }

  /** The authentication code of a message from one host to another. */
  code(part: Uint8Array, from: string, to: string): Uint8Array {
    return this.#crypto.hmac(this.#codeKey, join(part, addressBytes(from), addressBytes(to))).subarray(0, CODE_LENGTH);
  }

  /**
   * The keys of the associations from a sender to a receiver. Each side has put a fresh nonce into them, so that no key occurs
   * twice, even if one side forgets or repeats everything.
   * @param spi The SPI of the first; one for each worker of the sender.
   */
  associations(
    from: string,
    to: string,
    nonces: { senderNonce: Uint8Array; receiverNonce: Uint8Array },
    spi: number,
    senders: number,
  ): AssociationKey[] {
    const { length } = this.#key;
    const salt = join(nonces.senderNonce, nonces.receiverNonce);
    return Array.from({ length: senders }, (_, worker) => {
      const own = spi + worker;
      const what = join(info('esp', this.#group), addressBytes(from), addressBytes(to), u32(own));
      const material = this.#crypto.hkdf(this.#key, salt, what, length + SALT_LENGTH);
      return { spi: own, key: material.slice(0, length), salt: material.slice(length) };
    });
  }
}

/** The name of what is derived, and the group; the zeros end them, so that no two inputs are alike. */
function info(what: string, group: string): Uint8Array {
  return join(encodeText(`weft ${what}`), ZERO, encodeText(group), ZERO);
}

const ZERO = Uint8Array.of(0);

/** An address in 16 octets: IPv4 as ::ffff:a.b.c.d. */
function addressBytes(text: string): Uint8Array {
  if (text.includes(':')) return parseIpv6(text);
  const bytes = new Uint8Array(16);
  bytes.fill(0xff, 10, 12);
  bytes.set(u32(parseIpv4(text)), 12);
  return bytes;
}

function u32(value: number): Uint8Array {
  return Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);
}

function join(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
