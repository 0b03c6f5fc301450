import { PacketList, type AeadKey } from './aead.js';
import { HEADER_LENGTH, IV_LENGTH, setIv, setSequence, setSpi } from './header.js';
import { TRAILER_LENGTH, paddingOf, writeTrailer } from './trailer.js';

/** Bytes in front of a payload: ESP header and IV. */
export const FRONT = HEADER_LENGTH + IV_LENGTH;

const HALF = 2 ** 32;

/** Bytes behind a payload of a length: padding, trailer and ICV. */
export function backOf(payload: number, icv: number): number {
  return paddingOf(payload) + TRAILER_LENGTH + icv;
}

/** An association of one direction at its sender (RFC 4303, section 3.3). */
export class Outbound {
  readonly spi: number;
  /** Bytes of the ICV. */
  readonly icv: number;
  readonly #key: AeadKey;
  #high = 0;
  #low = 0;

  /** @param last The sequence number of the last packet under this key: 0 for a new key. */
  constructor(spi: number, icv: number, key: AeadKey, last = 0) {
    this.spi = spi;
    this.icv = icv;
    this.#key = key;
    this.#high = Math.floor(last / HALF);
    this.#low = last % HALF;
  }

  /** The sequence number of the last packet. */
  get sequence(): number {
    return this.#high * HALF + this.#low;
  }

  /**
   * Prepares a packet: writes header, IV and trailer around a payload, and adds it to a list that has room. `seal` completes
   * it. No two packets of the association get the same IV.
   * @param offset Where the packet begins; its payload is `[offset + FRONT, end)`, and `backOf` bytes behind it are free.
   * @param nextHeader The IP protocol of the payload.
   * @returns the end of the packet.
   */
  add(bytes: Uint8Array, offset: number, end: number, nextHeader: number, packets: PacketList): number {
    this.#low = (this.#low + 1) >>> 0;
    if (this.#low === 0) this.#high++;
    setSpi(bytes, offset, this.spi);
    setSequence(bytes, offset, this.#low);
    setIv(bytes, offset, this.#high, this.#low);
    const start = offset + FRONT;
    const stop = writeTrailer(bytes, end, end - start, nextHeader);
    const index = packets.count++;
    packets.offset[index] = offset;
    packets.length[index] = stop - start;
    packets.high[index] = this.#high;
    return stop + this.icv;
  }

  /** Encrypts the packets of a list, all of which `add` has prepared, and empties the list. */
  seal(packets: PacketList): void {
    if (packets.count > 0) this.#key.seal(packets);
    packets.count = 0;
  }

  /** Frees the key. Seal prepared packets before. */
  free(): void {
    this.#key.free();
  }
}
