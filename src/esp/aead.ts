/**
 * What an engine injects: AES in Galois/Counter Mode, as RFC 4106 uses it in ESP. It seals and opens lists of packets, because
 * the cost of a packet is that of the calls into a library more than that of the cipher.
 */
import { IV_LENGTH } from './header.js';

/**
 * Packets of one association, in the one buffer that the `Aead` is bound to. An engine reuses a list. The arrays have `room`
 * entries, of which the first `count` are in use.
 */
export class PacketList {
  count = 0;
  /** Where each ESP header begins. The IV follows it, and then what is encrypted. */
  readonly offset: Int32Array;
  /** Bytes between the IV and the ICV: what is, or is to be, encrypted. */
  readonly length: Int32Array;
  /** The high 32 bits of the extended sequence number (RFC 4303, section 2.2.1). Authenticated, but not sent. */
  readonly high: Int32Array;
  /** Written by `open`: 1 if the packet is authentic, otherwise 0. */
  readonly authentic: Uint8Array;

  constructor(room: number) {
    this.offset = new Int32Array(room);
    this.length = new Int32Array(room);
    this.high = new Int32Array(room);
    this.authentic = new Uint8Array(room);
  }

  get room(): number {
    return this.offset.length;
  }
}

/** What a key of an association is made of (RFC 4106, section 8.1), and how its packets look. */
export interface KeyParameters {
  /** The AES key: 16 octets for AES-128, 32 for AES-256. */
  readonly key: Uint8Array;
  /** 4 octets. The nonce of a packet is the salt and its IV (RFC 4106, section 4). */
  readonly salt: Uint8Array;
  /** Length of the integrity check value: 16, or 8 as Docker has it. */
  readonly icv: 8 | 16;
  /** Whether sequence numbers are extended to 64 bits, so that the additional data is SPI, high and low half (section 5). */
  readonly extended: boolean;
}

/** One key. Of its two operations, only one is used: an association has one direction. */
export interface AeadKey {
  /** Encrypts the packets in place, and writes the ICV behind each. Header and IV must be complete. */
  seal(packets: PacketList): void;
  /** Checks each packet, sets `authentic`, and decrypts it in place if it is. The bytes of others are undefined afterwards. */
  open(packets: PacketList): void;
  /** Frees the key, which must not be used any more. */
  free(): void;
}

/** An implementation, bound to one buffer. All implementations produce identical bytes. */
export interface Aead {
  /** `openssl`, `gnutls` or `node`. */
  readonly name: string;
  /** @throws RangeError for a key or a salt of another length. */
  key(parameters: KeyParameters): AeadKey;
}

/** @throws RangeError with what is wrong. */
export function checkKeyParameters({ key, salt, icv }: KeyParameters): void {
  if (key.length !== 16 && key.length !== 32)
    throw new RangeError(`an AES key has 16 or 32 octets here, not ${key.length}`);
  if (salt.length !== NONCE_LENGTH - IV_LENGTH)
    throw new RangeError(`the salt has ${NONCE_LENGTH - IV_LENGTH} octets (RFC 4106, section 4), not ${salt.length}`);
  if (icv !== 8 && icv !== 16) throw new RangeError(`the ICV has 8 or 16 octets here, not ${icv as number}`);
}

/** Bytes of a GCM nonce: salt and IV. */
export const NONCE_LENGTH = 12;
