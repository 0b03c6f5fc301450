import { PacketList, type AeadKey } from './aead.js';
import { FRONT } from './outbound.js';
import { getSequence } from './header.js';
import { IMPOSSIBLE, ReplayWindow } from './replay-window.js';
import { BAD_PADDING, payloadEnd, TRAILER_LENGTH } from './trailer.js';

/** Next header of a dummy packet, which carries nothing (RFC 4303, section 2.6). */
export const NO_NEXT_HEADER = 59;

/** `Inbound.add`: what is wrong with a packet. */
export const TOO_SHORT = -1;
export const REPLAYED = -2;

const HALF = 2 ** 32;

/** Receives what `Inbound.open` finds out of each packet. */
export interface InboundSink {
  /** The payload `[start, end)` of an authentic packet that began at `offset`. */
  opened(offset: number, start: number, end: number, nextHeader: number): void;
  /** A packet is not authentic, arrived before, or has wrong padding. */
  refused(offset: number, why: 'authentication' | 'replay' | 'padding'): void;
}

/** The payload of a packet, or what is wrong with it. */
export type InboundTest =
  | 'length'
  | 'replay'
  | 'authentication'
  | 'padding'
  | { readonly start: number; readonly end: number; readonly nextHeader: number };

/** An association of one direction at its receiver (RFC 4303, section 3.4). */
export class Inbound {
  readonly spi: number;
  /** Bytes of the ICV. */
  readonly icv: number;
  readonly window = new ReplayWindow();
  /** Whether an authentic packet has arrived. */
  used = false;
  readonly #key: AeadKey;
  readonly #extended: boolean;

  /** @param extended Whether sequence numbers have 64 bits. */
  constructor(spi: number, icv: number, key: AeadKey, extended = true) {
    this.spi = spi;
    this.icv = icv;
    this.#key = key;
    this.#extended = extended;
  }

  /**
   * Adds a packet `[offset, end)` to a list that has room, if its sequence number may be new. It changes nothing in the window,
   * because anyone can send a sequence number.
   * @returns 0, `TOO_SHORT`, also for a length that is no multiple of 4, or `REPLAYED`.
   */
  add(bytes: Uint8Array, offset: number, end: number, packets: PacketList): number {
    const length = end - offset - FRONT - this.icv;
    if (length < TRAILER_LENGTH || (length & 3) !== 0) return TOO_SHORT;
    const number = this.#numberAt(bytes, offset);
    if (number === IMPOSSIBLE || !this.window.isNew(number)) return REPLAYED;
    const index = packets.count++;
    packets.offset[index] = offset;
    packets.length[index] = length;
    packets.high[index] = Math.floor(number / HALF);
    return 0;
  }

  /** Checks and decrypts the packets of a list, passes each one to the sink in their order, and empties the list. */
  open(bytes: Uint8Array, packets: PacketList, sink: InboundSink): void {
    const { count } = packets;
    if (count === 0) return;
    packets.count = count;
    this.#key.open(packets);
    packets.count = 0;
    for (let i = 0; i < count; i++) {
      const offset = packets.offset[i]!;
      if (packets.authentic[i] === 0) {
        sink.refused(offset, 'authentication');
        continue;
      }
      // The same packet may be in the list twice.
      if (!this.window.note(packets.high[i]! * HALF + getSequence(bytes, offset))) {
        sink.refused(offset, 'replay');
        continue;
      }
      this.used = true;
      const start = offset + FRONT;
      const stop = start + packets.length[i]!;
      const end = payloadEnd(bytes, start, stop);
      if (end === BAD_PADDING) sink.refused(offset, 'padding');
      else sink.opened(offset, start, end, bytes[stop - 1]!);
    }
  }

  /**
   * What `add` and `open` would say of a packet `[offset, end)`, which is decrypted in place. Nothing else changes.
   * @param packets An empty list with room for one.
   */
  test(bytes: Uint8Array, offset: number, end: number, packets: PacketList): InboundTest {
    const code = this.add(bytes, offset, end, packets);
    if (code !== 0) return code === REPLAYED ? 'replay' : 'length';
    this.#key.open(packets);
    packets.count = 0;
    if (packets.authentic[0] === 0) return 'authentication';
    const start = offset + FRONT;
    const stop = start + packets.length[0]!;
    const last = payloadEnd(bytes, start, stop);
    return last === BAD_PADDING ? 'padding' : { start, end: last, nextHeader: bytes[stop - 1]! };
  }

  #numberAt(bytes: Uint8Array, offset: number): number {
    const low = getSequence(bytes, offset);
    return this.#extended ? this.window.extend(low) : low;
  }

  free(): void {
    this.#key.free();
  }
}
