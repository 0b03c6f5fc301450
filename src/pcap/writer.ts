import { uint } from '../wire/index.js';
import {
  BLOCK,
  ENHANCED,
  FILE,
  INTERFACE,
  MAGIC_MICROSECONDS,
  MAGIC_NANOSECONDS,
  MAX_CAPTURED,
  OPTION,
  pad4,
  RECORD,
  SECTION,
  SECTION_MAGIC,
  set16,
  set32,
} from './format.js';
import { LINKTYPE_ETHERNET } from './linktype.js';
import type { Direction } from './reader.js';
import { encodeText } from '../wire/index.js';

/** A packet to write into a pcap file. */
export interface PacketToWrite {
  /** Nanoseconds since 1970 UTC. */
  timestamp: bigint;
  data: Uint8Array;
  /** Length of the packet on the wire. Default: `data.length`. */
  length?: number;
}

export interface PcapWriterOptions {
  /** Default: {@link LINKTYPE_ETHERNET}. */
  linkType?: number;
  /**
   * Maximum number of bytes of a packet in the file, which the header states; longer packets are truncated. Default
   * 262,144.
   */
  snapLength?: number;
  /** Resolution of the times: nanoseconds (the default), or microseconds, which more programs support. */
  resolution?: 'nanoseconds' | 'microseconds';
  /** Big-endian instead of little-endian numbers. */
  bigEndian?: boolean;
}

const NANOSECONDS = 1_000_000_000n;

/** Encodes a pcap file (version 2.4): first `header()`, then `packet()` for each packet. */
export class PcapWriter {
  readonly #linkType: number;
  readonly #snapLength: number;
  readonly #nanoseconds: boolean;
  readonly #little: boolean;

  /** @throws RangeError if an option does not fit. */
  constructor(options: PcapWriterOptions = {}) {
    this.#linkType = uint('pcap.linkType', options.linkType ?? LINKTYPE_ETHERNET, 0xffff);
    this.#snapLength = uint('pcap.snapLength', options.snapLength ?? MAX_CAPTURED, MAX_CAPTURED);
    this.#nanoseconds = options.resolution !== 'microseconds';
    this.#little = options.bigEndian !== true;
  }

  /** The header of the file. */
  header(): Uint8Array {
    const bytes = new Uint8Array(FILE.length);
    set32(bytes, FILE.magic, this.#nanoseconds ? MAGIC_NANOSECONDS : MAGIC_MICROSECONDS, this.#little);
    set16(bytes, FILE.major, 2, this.#little);
    set16(bytes, FILE.minor, 4, this.#little);
    set32(bytes, FILE.snapLength, this.#snapLength, this.#little);
    set32(bytes, FILE.linkType, this.#linkType, this.#little);
    return bytes;
  }

  /**
   * The record of one packet.
   * @throws RangeError if its time is outside 1970 to 2106, or its length is less than the given bytes.
   */
  packet(packet: PacketToWrite): Uint8Array {
    const data = packet.data.subarray(0, this.#snapLength);
    const seconds = packet.timestamp / NANOSECONDS;
    if (packet.timestamp < 0n || seconds > 0xffff_ffffn)
      throw new RangeError(`pcap.timestamp must be from 0 to ${2n ** 32n * NANOSECONDS - 1n}, not ${packet.timestamp}`);
    const fraction = Number(packet.timestamp % NANOSECONDS);
    const bytes = new Uint8Array(RECORD.length + data.length);
    set32(bytes, RECORD.seconds, Number(seconds), this.#little);
    set32(bytes, RECORD.fraction, this.#nanoseconds ? fraction : Math.floor(fraction / 1000), this.#little);
    set32(bytes, RECORD.captured, data.length, this.#little);
    set32(bytes, RECORD.original, originalLength('pcap', packet), this.#little);
    bytes.set(data, RECORD.length);
    return bytes;
  }
}

function originalLength(format: string, { length, data }: PacketToWrite): number {
  const original = uint(`${format}.length`, length ?? data.length, 0xffff_ffff);
  if (original < data.length)
    throw new RangeError(`${format}.length ${original} is below the ${data.length} bytes given`);
  return original;
}

/** A packet to write into a pcapng file. */
export interface PacketForInterface extends PacketToWrite {
  /** The interface's position: 0, the default, for the first one added with {@link PcapngWriter.addInterface}. */
  interface?: number;
  direction?: Direction;
  comment?: string;
}

export interface PcapngWriterOptions {
  /** The name of the writing program. */
  application?: string;
  comment?: string;
  /** Big-endian instead of little-endian numbers. */
  bigEndian?: boolean;
}

export interface InterfaceToWrite {
  name?: string;
  description?: string;
  comment?: string;
  /** Default: {@link LINKTYPE_ETHERNET}. */
  linkType?: number;
  /**
   * Maximum number of bytes of a packet in the file, which the block states; longer packets are truncated. Default
   * 262,144.
   */
  snapLength?: number;
}

/**
 * Encodes a pcapng file (version 1.0, times in nanoseconds): first `header()`, then `addInterface()` for each interface
 * before its first `packet()`.
 */
export class PcapngWriter {
  readonly #options: PcapngWriterOptions;
  readonly #little: boolean;
  readonly #snapLengths: number[] = [];

  constructor(options: PcapngWriterOptions = {}) {
    this.#options = options;
    this.#little = options.bigEndian !== true;
  }

  /**
   * The Section Header Block, with which the file begins.
   * @throws RangeError if a text is longer than 65,535 octets.
   */
  header(): Uint8Array {
    const options = this.#encodeOptions([
      [OPTION.comment, this.#options.comment],
      [OPTION.application, this.#options.application],
    ]);
    const bytes = this.#block(SECTION.type, SECTION.options, options);
    set32(bytes, SECTION.magic, SECTION_MAGIC, this.#little);
    set16(bytes, SECTION.major, 1, this.#little);
    bytes.fill(0xff, SECTION.length, SECTION.options); // length not specified
    return bytes;
  }

  /**
   * The Interface Description Block of another interface. Packets refer to it by its position: 0, 1, …
   * @throws RangeError if a field does not fit.
   */
  addInterface(on: InterfaceToWrite = {}): Uint8Array {
    const snapLength = uint('pcapng.snapLength', on.snapLength ?? MAX_CAPTURED, MAX_CAPTURED);
    const options = this.#encodeOptions([
      [OPTION.comment, on.comment],
      [OPTION.interfaceName, on.name],
      [OPTION.interfaceDescription, on.description],
      [OPTION.resolution, Uint8Array.of(9)], // units of 10^-9 seconds
    ]);
    const bytes = this.#block(INTERFACE.type, INTERFACE.options, options);
    set16(bytes, INTERFACE.linkType, uint('pcapng.linkType', on.linkType ?? LINKTYPE_ETHERNET, 0xffff), this.#little);
    set32(bytes, INTERFACE.snapLength, snapLength, this.#little);
    this.#snapLengths.push(snapLength);
    return bytes;
  }

  /**
   * The Enhanced Packet Block of one packet.
   * @throws RangeError if its interface was not added, its time is before 1970, or its length is less than the given
   *   bytes.
   */
  packet(packet: PacketForInterface): Uint8Array {
    const id = packet.interface ?? 0;
    const snapLength = this.#snapLengths[id];
    if (snapLength === undefined)
      throw new RangeError(`pcapng.interface ${id} does not exist; call addInterface first`);
    if (packet.timestamp < 0n || packet.timestamp >= 1n << 64n)
      throw new RangeError(`pcapng.timestamp must be from 0 to ${(1n << 64n) - 1n}, not ${packet.timestamp}`);
    const data = packet.data.subarray(0, snapLength);
    const flags = packet.direction === undefined ? undefined : new Uint8Array(4);
    if (flags !== undefined) set32(flags, 0, packet.direction === 'inbound' ? 1 : 2, this.#little);
    const options = this.#encodeOptions([
      [OPTION.comment, packet.comment],
      [OPTION.flags, flags],
    ]);
    const bytes = this.#block(ENHANCED.type, ENHANCED.data + pad4(data.length), options);
    set32(bytes, ENHANCED.id, id, this.#little);
    set32(bytes, ENHANCED.high, Number(packet.timestamp >> 32n), this.#little);
    set32(bytes, ENHANCED.low, Number(packet.timestamp & 0xffff_ffffn), this.#little);
    set32(bytes, ENHANCED.captured, data.length, this.#little);
    set32(bytes, ENHANCED.original, originalLength('pcapng', packet), this.#little);
    bytes.set(data, ENHANCED.data);
    return bytes;
  }

  /** A block with its type, both lengths and its options; `before` octets precede the options. */
  #block(type: number, before: number, options: Uint8Array): Uint8Array {
    const total = before + options.length + BLOCK.trailer;
    const bytes = new Uint8Array(total);
    set32(bytes, BLOCK.type, type, this.#little);
    set32(bytes, BLOCK.totalLength, total, this.#little);
    bytes.set(options, before);
    set32(bytes, total - BLOCK.trailer, total, this.#little);
    return bytes;
  }

  /** The options that are not `undefined`, each padded, with the end mark; empty if there are none. */
  #encodeOptions(options: readonly (readonly [number, string | Uint8Array | undefined])[]): Uint8Array {
    const present: (readonly [number, Uint8Array])[] = [];
    for (const [code, value] of options)
      if (value !== undefined) present.push([code, typeof value === 'string' ? encodeText(value) : value]);
    if (present.length === 0) return new Uint8Array(0);
    const bytes = new Uint8Array(present.reduce((sum, [, value]) => sum + 4 + pad4(value.length), 4));
    let at = 0;
    for (const [code, value] of present) {
      set16(bytes, at, code, this.#little);
      set16(bytes, at + 2, uint('pcapng option length', value.length, 0xffff), this.#little);
      bytes.set(value, at + 4);
      at += 4 + pad4(value.length);
    }
    return bytes;
  }
}
