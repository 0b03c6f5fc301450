import { decodeText, malformed, truncated, unsupported, WireError } from '../wire/index.js';
import {
  BLOCK,
  ENHANCED,
  FILE,
  get16,
  get32,
  INTERFACE,
  MAGIC_MICROSECONDS,
  MAGIC_MODIFIED,
  MAGIC_NANOSECONDS,
  MAX_CAPTURED,
  MODIFIED_RECORD_LENGTH,
  OPTION,
  PACKET,
  pad4,
  RECORD,
  SECTION,
  SECTION_MAGIC,
  SIMPLE,
} from './format.js';

/** The format of the file. */
export type Format = 'pcap' | 'pcapng';

/** An interface on which packets were captured. A pcap file has one, without a name. */
export interface CaptureInterface {
  /** Position in its section, starting at 0. */
  id: number;
  linkType: number;
  /** Maximum number of captured bytes of a packet; 0 if the file sets no limit. */
  snapLength: number;
  /** Name, such as `eth0`, if given (up to 1024 octets). */
  name?: string;
  /** Timestamp units per second. */
  unitsPerSecond: bigint;
  /** Seconds to add to timestamps. */
  offsetSeconds: bigint;
  /** Octets of frame check sequence at the end of each packet, if given. */
  fcsLength?: number;
}

/** The direction of a packet, seen from the capturing host. */
export type Direction = 'inbound' | 'outbound';

/** A packet of a capture file. */
export interface CapturedPacket {
  /** Position in the file, starting at 1. */
  number: number;
  /** Nanoseconds since 1970 UTC; `null` for a Simple Packet Block, which has no time. Finer units are truncated. */
  timestamp: bigint | null;
  /** Length of the packet on the wire, in bytes. */
  length: number;
  /** Bytes of it in the file: `data.length`. More than `length` only if the file contradicts itself. */
  captured: number;
  linkType: number;
  interface: CaptureInterface;
  direction?: Direction;
  comment?: string;
  /** Shares memory with the pushed chunk if that contained the whole packet. */
  data: Uint8Array;
}

export interface CaptureReaderOptions {
  /** Maximum number of bytes of a packet in the file; a higher length is an error. Default 262,144. */
  maxCaptured?: number;
}

/** Maximum octets of options in a block; a higher length is an error. */
const MAX_OPTIONS = 262_144;
/** Maximum number of interfaces of a section: the reader keeps them in memory. */
const MAX_INTERFACES = 4096;
const MAX_NAME = 1024;
const NANOSECONDS = 1_000_000_000n;
const MAGIC_GZIP = 0x1f8b;

/**
 * Reads a capture file in chunks of any size. The first octets determine whether it is pcap or pcapng.
 *
 *     const reader = new CaptureReader();
 *     for await (const chunk of stream) for (const packet of reader.push(chunk)) show(packet);
 *     reader.finish();
 *     if (reader.problem !== null) complain(reader.problem);
 *
 * Memory use is bounded by one packet (or the options of one block) and the chunk, whatever the length fields say: the
 * reader stores bytes as they arrive, and never allocates according to a length field.
 */
export class CaptureReader {
  /** `null` before the first octets. */
  format: Format | null = null;
  /** The interfaces of the current section. */
  interfaces: CaptureInterface[] = [];
  /** The problem that ended reading, with its offset in the file; `null` if there is none. */
  problem: WireError | null = null;
  /** Packets read so far. */
  count = 0;

  readonly #maxCaptured: number;
  #little = false;
  /** pcap: length of a record's header, and whether versions before 2.4 may have swapped its two length fields. */
  #recordLength: number = RECORD.length;
  #swapped: 'no' | 'yes' | 'maybe' = 'no';
  #nanosPerFraction = 1;
  /** Offset in the file of the next item. */
  #position = 0;
  /** Bytes of an incomplete item, and how many are needed to continue. */
  #kept = new Uint8Array(0);
  #keptLength = 0;
  #need: number = BLOCK.body;
  /** Bytes of a block to skip, without its second length. */
  #skip = 0;
  /** The block whose second length comes next, after a skip: its position and length. */
  #skipped: { position: number; length: number } | null = null;

  constructor(options: CaptureReaderOptions = {}) {
    this.#maxCaptured = options.maxCaptured ?? MAX_CAPTURED;
  }

  /**
   * Takes the next bytes of the file and returns the packets that they complete; none after a problem. Do not overwrite
   * the chunk while its packets are in use.
   */
  push(chunk: Uint8Array): CapturedPacket[] {
    const out: CapturedPacket[] = [];
    let at = 0;
    while (this.problem === null && at < chunk.length) {
      if (this.#skip > 0) {
        const passed = Math.min(this.#skip, chunk.length - at);
        this.#skip -= passed;
        this.#position += passed;
        at += passed;
      } else if (this.#keptLength > 0) {
        at += this.#keep(chunk, at, this.#need - this.#keptLength);
        if (this.#keptLength === this.#need) {
          const used = this.#item(this.#kept, 0, this.#keptLength, out);
          if (used > 0) this.#release();
        }
      } else {
        const used = chunk.length - at < this.#need ? 0 : this.#item(chunk, at, chunk.length, out);
        at += used;
        if (used === 0 && this.problem === null && this.#skip === 0)
          at += this.#keep(chunk, at, Math.min(this.#need, chunk.length - at));
      }
    }
    return out;
  }

  /** Ends the file. Returns a problem if a packet or block is incomplete. */
  finish(): WireError | null {
    if (this.problem !== null) return this.problem;
    if (this.#skip > 0 || this.#skipped !== null) {
      const { position, length } = this.#skipped!;
      this.problem = truncated('pcapng', position, length, this.#position + this.#keptLength, 'end of file');
    } else if (this.format === null || this.#keptLength > 0) {
      this.problem = truncated(
        this.format ?? 'pcap',
        this.#position,
        this.#need,
        this.#position + this.#keptLength,
        'end of file',
      );
    }
    return this.problem;
  }

  /** Copies up to `count` bytes into the buffer, which grows with the bytes that arrive, not with a length field. */
  #keep(chunk: Uint8Array, at: number, count: number): number {
    const taken = Math.min(count, chunk.length - at);
    const total = this.#keptLength + taken;
    if (total > this.#kept.length) {
      const grown = new Uint8Array(Math.min(this.#need, Math.max(64, total * 2)));
      grown.set(this.#kept.subarray(0, this.#keptLength));
      this.#kept = grown;
    }
    this.#kept.set(chunk.subarray(at, at + taken), this.#keptLength);
    this.#keptLength = total;
    return taken;
  }

  /** Releases the buffer. It is not reused, because a packet may share its memory. */
  #release(): void {
    this.#kept = new Uint8Array(0);
    this.#keptLength = 0;
  }

  /** Stores how many bytes the current item needs, and returns whether they are available. */
  #has(needed: number, available: number): boolean {
    this.#need = needed;
    return needed <= available;
  }

  #fail(problem: WireError): number {
    this.problem = problem;
    return 0;
  }

  /**
   * Reads one item (file header, record, block) at `offset`, adds its packet to `out`, and returns the number of bytes
   * used. Returns 0 if there is a problem, or if `#need` says that more bytes are needed.
   */
  #item(bytes: Uint8Array, offset: number, end: number, out: CapturedPacket[]): number {
    let used: number;
    if (this.format === 'pcap') used = this.#record(bytes, offset, end, out);
    else if (this.format === 'pcapng') used = this.#block(bytes, offset, end, out);
    else used = this.#begin(bytes, offset, end);
    if (used > 0) {
      this.#position += used;
      this.#need = this.format === 'pcap' ? this.#recordLength : this.#skipped !== null ? BLOCK.trailer : BLOCK.body;
    }
    return used;
  }

  #begin(bytes: Uint8Array, offset: number, end: number): number {
    const magic = get32(bytes, offset, false);
    if (magic === SECTION.type) {
      this.format = 'pcapng';
      return this.#block(bytes, offset, end, []);
    }
    const reversed = get32(bytes, offset, true);
    this.#little = [MAGIC_MICROSECONDS, MAGIC_NANOSECONDS, MAGIC_MODIFIED].includes(reversed);
    const value = this.#little ? reversed : magic;
    if (value !== MAGIC_MICROSECONDS && value !== MAGIC_NANOSECONDS && value !== MAGIC_MODIFIED) {
      const detail =
        magic >>> 16 === MAGIC_GZIP
          ? 'this is a gzip file; unpack it first'
          : `neither a pcap nor a pcapng file: it begins with ${magic.toString(16).padStart(8, '0')}`;
      return this.#fail(unsupported('pcap', this.#position, detail));
    }
    if (!this.#has(FILE.length, end - offset)) return 0;
    const major = get16(bytes, offset + FILE.major, this.#little);
    const minor = get16(bytes, offset + FILE.minor, this.#little);
    if (major !== 2) {
      const detail = `version is ${major}.${minor}, not 2.4`;
      return this.#fail(unsupported('pcap', this.#position + FILE.major, detail));
    }
    this.format = 'pcap';
    this.#swapped = minor < 3 ? 'yes' : minor === 3 ? 'maybe' : 'no';
    this.#recordLength = value === MAGIC_MODIFIED ? MODIFIED_RECORD_LENGTH : RECORD.length;
    this.#nanosPerFraction = value === MAGIC_NANOSECONDS ? 1 : 1000;
    const link = get32(bytes, offset + FILE.linkType, this.#little);
    this.interfaces.push({
      id: 0,
      linkType: link & 0xffff,
      snapLength: get32(bytes, offset + FILE.snapLength, this.#little),
      unitsPerSecond: NANOSECONDS / BigInt(this.#nanosPerFraction),
      offsetSeconds: 0n,
      ...((link & 0x0400_0000) !== 0 && { fcsLength: (link >>> 28) * 2 }), // bit f: FCS counts 16-bit words
    });
    return FILE.length;
  }

  #record(bytes: Uint8Array, offset: number, end: number, out: CapturedPacket[]): number {
    const little = this.#little;
    if (!this.#has(this.#recordLength, end - offset)) return 0;
    let captured = get32(bytes, offset + RECORD.captured, little);
    let length = get32(bytes, offset + RECORD.original, little);
    if (this.#swapped === 'yes' || (this.#swapped === 'maybe' && captured > length))
      [captured, length] = [length, captured];
    if (captured > this.#maxCaptured) return this.#tooLong('pcap', RECORD.captured, captured);
    if (!this.#has(this.#recordLength + captured, end - offset)) return 0;
    const seconds = get32(bytes, offset + RECORD.seconds, little);
    const fraction = get32(bytes, offset + RECORD.fraction, little) * this.#nanosPerFraction;
    const timestamp = BigInt(seconds) * NANOSECONDS + BigInt(fraction);
    out.push(this.#packet(this.interfaces[0]!, timestamp, length, captured, bytes, offset + this.#recordLength));
    return this.#recordLength + captured;
  }

  #packet(
    on: CaptureInterface,
    timestamp: bigint | null,
    length: number,
    captured: number,
    bytes: Uint8Array,
    offset: number,
  ): CapturedPacket {
    return {
      number: ++this.count,
      timestamp,
      length,
      captured,
      linkType: on.linkType,
      interface: on,
      data: bytes.subarray(offset, offset + captured),
    };
  }

  #tooLong(protocol: Format, field: number, captured: number): number {
    const detail = `captured length ${captured} is above the limit of ${this.#maxCaptured}`;
    return this.#fail(unsupported(protocol, this.#position + field, detail));
  }

  #block(bytes: Uint8Array, offset: number, end: number, out: CapturedPacket[]): number {
    if (this.#skipped !== null) return this.#endOfSkipped(bytes, offset);
    const type = get32(bytes, offset, this.#little);
    if (type === SECTION.type) {
      if (!this.#has(SECTION.options, end - offset)) return 0;
      const magic = get32(bytes, offset + SECTION.magic, false);
      this.#little = magic !== SECTION_MAGIC;
      if (get32(bytes, offset + SECTION.magic, this.#little) !== SECTION_MAGIC) {
        const detail = `byte-order magic is ${magic.toString(16).padStart(8, '0')}, not 1a2b3c4d in either byte order`;
        return this.#fail(malformed('pcapng', this.#position + SECTION.magic, detail));
      }
    }
    const total = get32(bytes, offset + BLOCK.totalLength, this.#little);
    const least = leastBody(type) + BLOCK.trailer;
    if (total < least || total % 4 !== 0) {
      const detail = `block length ${total} of block type ${type} is ${total < least ? `below ${least}` : 'not a multiple of 4'}`;
      return this.#fail(malformed('pcapng', this.#position + BLOCK.totalLength, detail));
    }
    if (type === SECTION.type) return this.#section(bytes, offset, total);
    if (leastBody(type) === BLOCK.body) return this.#pass(BLOCK.body, total);

    // Bounds the options, so that no file makes the reader buffer more.
    if (total > pad4(this.#maxCaptured) + MAX_OPTIONS) {
      if (!this.#has(least, end - offset)) return 0;
      if (type !== INTERFACE.type && type !== SIMPLE.type) {
        const captured = get32(bytes, offset + ENHANCED.captured, this.#little);
        if (captured > this.#maxCaptured) return this.#tooLong('pcapng', ENHANCED.captured, captured);
      }
      const detail = `block length ${total} of block type ${type} is above the limit of ${pad4(this.#maxCaptured) + MAX_OPTIONS}`;
      return this.#fail(unsupported('pcapng', this.#position + BLOCK.totalLength, detail));
    }
    if (!this.#has(total, end - offset)) return 0;
    const again = get32(bytes, offset + total - BLOCK.trailer, this.#little);
    if (again !== total) return this.#lengthsDiffer(this.#position, total, again);
    if (type === INTERFACE.type) return this.#interface(bytes, offset, total);
    if (type === SIMPLE.type) return this.#simple(bytes, offset, total, out);
    return this.#enhanced(bytes, offset, total, type, out);
  }

  #lengthsDiffer(position: number, total: number, again: number): number {
    const detail = `block length is ${total} at its beginning and ${again} at its end`;
    return this.#fail(malformed('pcapng', position + total - BLOCK.trailer, detail));
  }

  /** Uses the first `used` bytes of a block and skips the rest, up to its second length. */
  #pass(used: number, total: number): number {
    this.#skipped = { position: this.#position, length: total };
    this.#skip = total - used - BLOCK.trailer;
    return used;
  }

  #endOfSkipped(bytes: Uint8Array, offset: number): number {
    const { position, length } = this.#skipped!;
    const again = get32(bytes, offset, this.#little);
    if (again !== length) return this.#lengthsDiffer(position, length, again);
    this.#skipped = null;
    return BLOCK.trailer;
  }

  #section(bytes: Uint8Array, offset: number, total: number): number {
    const major = get16(bytes, offset + SECTION.major, this.#little);
    const minor = get16(bytes, offset + SECTION.minor, this.#little);
    if (major !== 1) {
      const detail = `version is ${major}.${minor}, not 1.0`;
      return this.#fail(unsupported('pcapng', this.#position + SECTION.major, detail));
    }
    this.interfaces = [];
    return this.#pass(SECTION.options, total);
  }

  #interface(bytes: Uint8Array, offset: number, total: number): number {
    if (this.interfaces.length === MAX_INTERFACES) {
      const detail = `the section has more than ${MAX_INTERFACES} interfaces`;
      return this.#fail(unsupported('pcapng', this.#position, detail));
    }
    const found: CaptureInterface = {
      id: this.interfaces.length,
      linkType: get16(bytes, offset + INTERFACE.linkType, this.#little),
      snapLength: get32(bytes, offset + INTERFACE.snapLength, this.#little),
      unitsPerSecond: 1_000_000n,
      offsetSeconds: 0n,
    };
    this.#options(bytes, offset + INTERFACE.options, offset + total - BLOCK.trailer, (code, at, length) => {
      if (code === OPTION.interfaceName && length <= MAX_NAME) found.name = decodeText(bytes, at, at + length);
      else if (code === OPTION.resolution && length === 1)
        found.unitsPerSecond = bytes[at]! < 0x80 ? 10n ** BigInt(bytes[at]!) : 1n << BigInt(bytes[at]! & 0x7f);
      else if (code === OPTION.fcsLength && length === 1) found.fcsLength = bytes[at]!;
      else if (code === OPTION.offset && length === 8) found.offsetSeconds = BigInt.asIntN(64, this.#get64(bytes, at));
    });
    this.interfaces.push(found);
    return total;
  }

  #get64(bytes: Uint8Array, at: number): bigint {
    const first = BigInt(get32(bytes, at, this.#little));
    const second = BigInt(get32(bytes, at + 4, this.#little));
    return this.#little ? (second << 32n) | first : (first << 32n) | second;
  }

  #simple(bytes: Uint8Array, offset: number, total: number, out: CapturedPacket[]): number {
    const on = this.interfaces[0];
    if (on === undefined) return this.#noInterface(0, SIMPLE.type);
    const length = get32(bytes, offset + SIMPLE.original, this.#little);
    const captured = Math.min(length, on.snapLength === 0 ? length : on.snapLength);
    const room = total - SIMPLE.data - BLOCK.trailer;
    if (captured > room) return this.#dataBeyondBlock(SIMPLE.original, captured, room);
    if (captured > this.#maxCaptured) return this.#tooLong('pcapng', SIMPLE.original, captured);
    out.push(this.#packet(on, null, length, captured, bytes, offset + SIMPLE.data));
    return total;
  }

  #noInterface(id: number, type: number): number {
    const field = type === SIMPLE.type ? BLOCK.type : ENHANCED.id;
    const detail = `the packet is of interface ${id}, which the section does not describe`;
    return this.#fail(malformed('pcapng', this.#position + field, detail));
  }

  #dataBeyondBlock(field: number, captured: number, room: number): number {
    const detail = `captured length is ${captured}, but the block has room for ${room}`;
    return this.#fail(malformed('pcapng', this.#position + field, detail));
  }

  #enhanced(bytes: Uint8Array, offset: number, total: number, type: number, out: CapturedPacket[]): number {
    const little = this.#little;
    const id =
      type === PACKET.type ? get16(bytes, offset + PACKET.id, little) : get32(bytes, offset + ENHANCED.id, little);
    const on = this.interfaces[id];
    if (on === undefined) return this.#noInterface(id, type);
    const captured = get32(bytes, offset + ENHANCED.captured, little);
    const length = get32(bytes, offset + ENHANCED.original, little);
    const room = total - ENHANCED.data - BLOCK.trailer;
    if (captured > room) return this.#dataBeyondBlock(ENHANCED.captured, captured, room);
    if (captured > this.#maxCaptured) return this.#tooLong('pcapng', ENHANCED.captured, captured);
    const high = get32(bytes, offset + ENHANCED.high, little);
    const low = get32(bytes, offset + ENHANCED.low, little);
    const units = (BigInt(high) << 32n) | BigInt(low);
    const timestamp = (units * NANOSECONDS) / on.unitsPerSecond + on.offsetSeconds * NANOSECONDS;
    const packet = this.#packet(on, timestamp, length, captured, bytes, offset + ENHANCED.data);
    const options = offset + ENHANCED.data + pad4(captured);
    this.#options(bytes, options, offset + total - BLOCK.trailer, (code, at, size) => {
      if (code === OPTION.comment) packet.comment = decodeText(bytes, at, at + size);
      else if (code === OPTION.flags && size === 4) {
        const direction = get32(bytes, at, little) & 3; // bits 0 and 1: 1 inbound, 2 outbound
        if (direction === 1) packet.direction = 'inbound';
        else if (direction === 2) packet.direction = 'outbound';
      }
    });
    out.push(packet);
    return total;
  }

  /**
   * Calls back for each option. Stops at the first that does not fit, because bad options do not justify losing a
   * packet.
   */
  #options(
    bytes: Uint8Array,
    offset: number,
    end: number,
    each: (code: number, at: number, length: number) => void,
  ): void {
    for (let at = offset; at + 4 <= end;) {
      const code = get16(bytes, at, this.#little);
      const length = get16(bytes, at + 2, this.#little);
      if (code === OPTION.end || at + 4 + length > end) return;
      each(code, at + 4, length);
      at += 4 + pad4(length);
    }
  }
}

/** Octets before the data or options of the supported block types; for others, those before the body. */
function leastBody(type: number): number {
  switch (type) {
    case SECTION.type:
      return SECTION.options;
    case INTERFACE.type:
      return INTERFACE.options;
    case SIMPLE.type:
      return SIMPLE.data;
    case PACKET.type:
    case ENHANCED.type:
      return ENHANCED.data;
    default:
      return BLOCK.body;
  }
}

/** Reads a whole capture file in memory; `problem` is what ended reading early, or `null`. */
export function readCapture(
  bytes: Uint8Array,
  options?: CaptureReaderOptions,
): { packets: CapturedPacket[]; problem: WireError | null } {
  const reader = new CaptureReader(options);
  const packets = reader.push(bytes);
  return { packets, problem: reader.finish() };
}
