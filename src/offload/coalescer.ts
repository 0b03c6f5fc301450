import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import * as tcp from '../tcp/index.js';
import * as udp from '../udp/index.js';
import { finish, getI32 } from '../wire/index.js';
import { Layout, MAX_HEADER, OTHER } from './layout.js';
import { MAX_PACKET, Run } from './run.js';
import { MAX_PREFIX } from './segmenter.js';
import { LINE, SLACK, toLine, type Join } from './bulk.js';
import { less, TCP_CHECKSUM, type Sum } from './sum.js';

/** Bytes in front of a merged head that the sink may write: a virtio header and a VLAN tag. */
export const HEAD_ROOM = 16;
const SLOT = HEAD_ROOM + MAX_PREFIX + MAX_HEADER;

/** TCP flags of frames that may be merged. */
const MERGEABLE = tcp.FLAG_ACK | tcp.FLAG_PSH | tcp.FLAG_FIN | tcp.FLAG_ECE | tcp.FLAG_CWR | tcp.FLAG_AE;
/** TCP flags that only the last frame of a run may set. */
const LAST_FLAGS = tcp.FLAG_PSH | tcp.FLAG_FIN;

export interface CoalescerOptions {
  /** Maximum number of flows that are merged at the same time. Default 8. */
  flows?: number;
  /** Maximum number of frames merged into one. Default 64. */
  segments?: number;
  /** Whether to merge UDP too, which requires a TAP with USO. Default false. */
  udp?: boolean;
  /**
   * Bytes in front of each frame that must be equal too, and that precede the merged frame: 8 for a VXLAN header.
   * Default 0.
   */
  prefix?: number;
}

/** For `addMany`: joins many frames of a flow in one call. */
export interface Joining {
  join: Join;
  /** Offset of `joinScratch(flows)` bytes for the frames' data. */
  scratch: number;
}

/** Bytes for a run's data, slack included. */
const DATA_SLOT = toLine(MAX_PACKET + SLACK);
/** Bytes for the mask of a head. */
const MASK = toLine(MAX_PREFIX + MAX_HEADER + SLACK);

/** Bytes of scratch to join that many flows; place it at the start of a cache line. */
export function joinScratch(flows: number): number {
  return MASK + flows * DATA_SLOT;
}

/** Bytes of scratch to merge that many flows. */
export function coalesceScratch(flows: number): number {
  return flows * SLOT;
}

/** Receives the frames of a `Coalescer`. */
export interface CoalescerSink {
  /** A frame that was not merged, as received, prefix included. */
  single(offset: number, end: number, tag: number): void;
  /** Several frames merged into one. */
  merged(run: Run): void;
}

/**
 * Merges consecutive frames of one flow into super-frames, as GRO in Linux does, so that a TAP accepts them in one
 * call. The frames of a flow keep their order, and a merged frame segments to the same bytes. There is one exception:
 * if a kernel segments it, packets with DF whose identifications were all the same get consecutive ones (RFC 6864).
 *
 * Frames are merged in place: do not change them until `flush`.
 */
export class Coalescer {
  /** The data ranges of runs; `Run.first` is an index into them. */
  readonly dataOffset: Int32Array;
  readonly dataLength: Int32Array;
  /** Number of frames that were merged. */
  mergedFrames = 0;
  /** Number of super-frames made. */
  mergedRuns = 0;
  /** TCP and UDP frames with a wrong checksum. They pass unchanged, and their receiver drops them. */
  badChecksums = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #sum: Sum;
  readonly #limit: number;
  #udp: boolean;
  readonly #prefix: number;
  readonly #layout = new Layout();
  readonly #joining: Joining | undefined;
  /** Describes the mask in the scratch. */
  readonly #masked = { ip: -1, upper: -1, headLength: 0, checksum: 0 };
  /** The first `#open` of these are open, the oldest first. */
  readonly #runs: Run[] = [];
  #open = 0;

  /**
   * @param bytes The buffer with all frames and the scratch.
   * @param scratch Offset in it of `coalesceScratch(flows)` bytes for merged heads.
   * @param sum Bound to `bytes`: `jsSum(bytes)`, or a faster one.
   * @param joining If absent, `addMany` calls `add` for each frame.
   */
  constructor(bytes: Uint8Array, scratch: number, sum: Sum, options: CoalescerOptions = {}, joining?: Joining) {
    const flows = options.flows ?? 8;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#sum = sum;
    this.#limit = options.segments ?? 64;
    this.#udp = options.udp ?? false;
    this.#prefix = options.prefix ?? 0;
    if (!(flows >= 1)) throw new RangeError(`flows must be at least 1, not ${flows}`);
    if (!(this.#limit >= 1)) throw new RangeError(`segments must be at least 1, not ${this.#limit}`);
    if (!(this.#prefix >= 0 && this.#prefix <= MAX_PREFIX))
      throw new RangeError(`prefix must be from 0 to ${MAX_PREFIX}, not ${this.#prefix}`);
    if (!(scratch >= 0) || scratch + coalesceScratch(flows) > bytes.length)
      throw new RangeError(`scratch at ${scratch} has no room for ${flows} flows in ${bytes.length} bytes`);
    if (joining !== undefined && !(joining.scratch >= 0 && joining.scratch + joinScratch(flows) <= bytes.length))
      throw new RangeError(`scratch at ${joining.scratch} has no room to join ${flows} flows in ${bytes.length} bytes`);
    this.#joining = joining;
    this.dataOffset = new Int32Array(flows * this.#limit);
    this.dataLength = new Int32Array(flows * this.#limit);
    for (let i = 0; i < flows; i++) {
      const run = new Run();
      run.first = i * this.#limit;
      run.head = scratch + i * SLOT + HEAD_ROOM;
      if (joining !== undefined) run.joined = joining.scratch + MASK + i * DATA_SLOT;
      this.#runs.push(run);
    }
  }

  /** Merges UDP too from now on: there is a TAP with USO. */
  mergeUdp(): void {
    this.#udp = true;
  }

  /**
   * Takes a frame whose prefix begins at `offset`.
   * @param tag A number below 2^31 that must be equal in all frames of a run, such as the sender and the outer ECN
   *   field.
   */
  add(offset: number, end: number, tag: number, sink: CoalescerSink): void {
    this.#add(offset, end, tag, sink);
  }

  /**
   * Takes adjacent frames of `size` bytes each, prefixes included, as UDP_GRO delivers them; the last one may be
   * shorter. Compares those of one flow in one call.
   * @param gap Bytes between two frames, which are ignored.
   */
  addMany(offset: number, end: number, size: number, tag: number, sink: CoalescerSink, gap = 0): void {
    let at = offset;
    do {
      const stop = size > 0 && at + size < end ? at + size : end;
      const run = this.#add(at, stop, tag, sink);
      at = stop + gap;
      if (run !== null && this.#joining !== undefined && size === run.end - run.start)
        at = this.#join(this.#joining, run, at, end, size, gap, sink);
    } while (at < end);
  }

  /** Takes a frame. If it became the last frame of an open run, returns that run, otherwise null. */
  #add(offset: number, end: number, tag: number, sink: CoalescerSink): Run | null {
    const bytes = this.#bytes;
    const layout = this.#layout;
    const frame = offset + this.#prefix;
    const code = layout.read(bytes, frame, end);
    // The frame belongs to no flow that can be merged.
    if (code === OTHER || (code > 0 && layout.protocol === udp.PROTOCOL && !this.#udp)) {
      sink.single(offset, end, tag);
      return null;
    }
    if (code < 0) {
      // It may be a fragment of a flow that has an open run.
      this.flush(sink);
      sink.single(offset, end, tag);
      return null;
    }
    const key = this.#key();
    const index = this.#find(key);
    if (!this.#mergeable(end)) {
      if (index >= 0) this.#close(index, sink);
      sink.single(offset, end, tag);
      return null;
    }
    const isTcp = layout.protocol === tcp.PROTOCOL;
    const flags = isTcp ? tcp.getFlags(bytes, layout.upper) : 0;
    const last = (flags & LAST_FLAGS) !== 0;
    if (index >= 0) {
      const run = this.#runs[index]!;
      if (this.#fits(run, offset, end, tag, flags)) {
        const length = end - layout.data;
        this.dataOffset[run.first + run.pieces] = layout.data;
        this.dataLength[run.first + run.pieces] = length;
        run.pieces += 1;
        run.count += 1;
        run.dataBytes += length;
        run.wireBytes += end - offset;
        run.sequence = (run.sequence + length) | 0;
        run.flags |= flags & LAST_FLAGS;
        if (!last && length === run.gsoSize && run.count < this.#limit) return run;
        this.#close(index, sink);
        return null;
      }
      this.#close(index, sink);
    }
    if (last || this.#limit === 1) {
      sink.single(offset, end, tag);
      return null;
    }
    if (this.#open === this.#runs.length) this.#close(0, sink);
    const run = this.#runs[this.#open++]!;
    run.begin(bytes, layout, this.#prefix, offset, end, tag, key, flags);
    this.dataOffset[run.first] = layout.data;
    this.dataLength[run.first] = end - layout.data;
    return run;
  }

  /** Adds the frames from `at` on that continue a run. Returns the offset of the first that does not. */
  #join(
    { join, scratch }: Joining,
    run: Run,
    at: number,
    end: number,
    size: number,
    gap: number,
    sink: CoalescerSink,
  ): number {
    const bytes = this.#bytes;
    const { start, ip, upper, data, gsoSize } = run;
    const headLength = data - start;
    let count = Math.floor((end - at + gap) / (size + gap));
    if (count > this.#limit - run.count) count = this.#limit - run.count;
    const room = Math.floor((run.room - run.dataBytes) / gsoSize);
    if (count > room) count = room;
    // Only the first frame of a run may have flag CWR, and the joined frames must equal it.
    if (count <= 0 || end + SLACK > bytes.length || (run.flags & tcp.FLAG_CWR) !== 0) return at;
    this.#mask(run, scratch);
    const isTcp = run.checksumOffset === TCP_CHECKSUM;
    const protocol = isTcp ? tcp.PROTOCOL : udp.PROTOCOL;
    const isIpv4 = run.version === 4;
    const first = isIpv4 ? ipv4.getIdentification(bytes, ip) : 0;
    let { fixedId } = run;
    if (run.count === 1 && isIpv4 && ipv4.getDontFragment(bytes, ip))
      fixedId = ipv4.getIdentification(bytes, at + (ip - start)) === first;
    const step = fixedId ? 0 : 1;
    const ipSum = isIpv4 ? this.#sum(ip, upper - ip, less(first) + less(ipv4.getChecksum(bytes, ip))) : 0;
    const pseudo = isIpv4
      ? ipv4.pseudoHeaderSum(bytes, ip, protocol, data - upper + gsoSize)
      : ipv6.pseudoHeaderSum(bytes, ip, protocol, data - upper + gsoSize);
    const sequence = isTcp ? tcp.getSequence(bytes, upper) : 0;
    // The kernel copies a frame's data to the start of a page. This alignment skips at most the bytes of data that lie
    // elsewhere, so a run never uses more room than it has bytes of data.
    const to = run.joinedEnd + ((run.dataBytes + run.joined - run.joinedEnd) & (LINE - 1));
    const variable = isTcp
      ? less(tcp.getChecksum(bytes, upper)) + less(sequence >>> 16) + less(sequence & 0xffff)
      : less(udp.getChecksum(bytes, upper));
    const joined = join(
      start,
      scratch,
      headLength,
      isIpv4 ? ip - start : -1,
      upper - start,
      run.checksumOffset,
      at,
      size,
      count,
      to,
      (first + step * run.count) & 0xffff,
      step,
      run.sequence,
      ipSum,
      this.#sum(upper, data - upper, pseudo + variable),
      gap,
    );
    if (joined === 0) return at;
    run.fixedId = fixedId;
    const bytesJoined = joined * gsoSize;
    const piece = run.first + run.pieces - 1;
    if (this.dataOffset[piece]! + this.dataLength[piece]! === to) this.dataLength[piece]! += bytesJoined;
    else {
      this.dataOffset[piece + 1] = to;
      this.dataLength[piece + 1] = bytesJoined;
      run.pieces += 1;
    }
    run.joinedEnd = to + bytesJoined;
    run.count += joined;
    run.dataBytes += bytesJoined;
    run.wireBytes += joined * size;
    run.sequence = (run.sequence + bytesJoined) | 0;
    if (run.count === this.#limit) this.#close(this.#runs.indexOf(run), sink);
    return at + joined * (size + gap);
  }

  /** Builds the mask of a run's heads: ones, except where the frames of a run may differ. */
  #mask(run: Run, at: number): void {
    const bytes = this.#bytes;
    const masked = this.#masked;
    const ip = run.version === 4 ? run.ip - run.start : -1;
    const upper = run.upper - run.start;
    const headLength = run.data - run.start;
    const checksum = run.checksumOffset;
    if (masked.ip === ip && masked.upper === upper && masked.headLength === headLength && masked.checksum === checksum)
      return;
    bytes.fill(0xff, at, at + headLength);
    bytes.fill(0, at + headLength, at + headLength + SLACK);
    if (ip >= 0) {
      ipv4.setIdentification(bytes, at + ip, 0);
      ipv4.setChecksum(bytes, at + ip, 0);
    }
    if (checksum === TCP_CHECKSUM) {
      tcp.setSequence(bytes, at + upper, 0);
      tcp.setChecksum(bytes, at + upper, 0);
    } else udp.setChecksum(bytes, at + upper, 0);
    masked.ip = ip;
    masked.upper = upper;
    masked.headLength = headLength;
    masked.checksum = checksum;
  }

  /** Delivers all frames that were held back. Their memory may then be reused. */
  flush(sink: CoalescerSink): void {
    while (this.#open > 0) this.#close(0, sink);
  }

  /** A hash of addresses, ports and protocol. Flows with the same hash are not merged at the same time. */
  #key(): number {
    const bytes = this.#bytes;
    const { ip, upper, version, protocol } = this.#layout;
    let key = Math.imul(getI32(bytes, upper) ^ protocol, 0x9e37_79b1);
    if (version === 4)
      key ^= ipv4.getSourceWord(bytes, ip) ^ Math.imul(ipv4.getDestinationWord(bytes, ip), 0x85eb_ca6b);
    else
      for (let i = 0; i < 4; i++)
        key =
          Math.imul(key, 31) ^
          ipv6.getSourceWord(bytes, ip, i) ^
          Math.imul(ipv6.getDestinationWord(bytes, ip, i), 0x85eb_ca6b);
    return key;
  }

  #find(key: number): number {
    for (let i = 0; i < this.#open; i++) if (this.#runs[i]!.key === key) return i;
    return -1;
  }

  /** Whether the frame can be merged with others; if so, its checksums are correct. */
  #mergeable(end: number): boolean {
    const bytes = this.#bytes;
    const { ip, version, upper, protocol, data, exact } = this.#layout;
    if (data === end || !exact) return false;
    // Segmentation would not restore a checksum that no computation gives.
    if (version === 4 && ipv4.getChecksum(bytes, ip) === 0xffff) return false;
    if (protocol === tcp.PROTOCOL) {
      const flags = tcp.getFlags(bytes, upper);
      if ((flags & ~MERGEABLE) !== 0 || (flags & tcp.FLAG_ACK) === 0) return false;
      if (tcp.getChecksum(bytes, upper) === 0xffff) return false;
    } else if (udp.getChecksum(bytes, upper) === 0) return false;
    const pseudo = this.#layout.pseudoSum(bytes) + (end - upper);
    const right =
      finish(this.#sum(upper, end - upper, pseudo)) === 0 && (version !== 4 || ipv4.verifyChecksum(bytes, ip));
    if (!right) this.badChecksums += 1;
    return right;
  }

  /** Whether the frame just read continues the run. */
  #fits(run: Run, offset: number, end: number, tag: number, flags: number): boolean {
    const bytes = this.#bytes;
    const { ip, upper, data, version, protocol } = this.#layout;
    const length = end - data;
    const { start } = run;
    if (
      tag !== run.tag ||
      length > run.gsoSize ||
      run.dataBytes + length > run.room ||
      ip - offset !== run.ip - start ||
      upper - offset !== run.upper - start ||
      data - offset !== run.data - start
    )
      return false;
    if (protocol === tcp.PROTOCOL && !this.#fitsTcp(run, flags)) return false;
    if (getI32(bytes, upper) !== getI32(bytes, run.upper)) return false; // both ports
    if (!this.#same(offset, start, ip)) return false;
    return version === 4 ? this.#fitsIpv4(run) : this.#fitsIpv6(run);
  }

  // Separate functions, because V8 inlines the getters into each of them, but not into a single large one.

  #fitsTcp(run: Run, flags: number): boolean {
    const bytes = this.#bytes;
    const { upper, data } = this.#layout;
    return (
      (tcp.getSequence(bytes, upper) | 0) === run.sequence &&
      ((flags ^ run.flags) & ~(LAST_FLAGS | tcp.FLAG_CWR)) === 0 &&
      (flags & tcp.FLAG_CWR) === 0 &&
      tcp.getReserved(bytes, upper) === tcp.getReserved(bytes, run.upper) &&
      tcp.getAcknowledgment(bytes, upper) === tcp.getAcknowledgment(bytes, run.upper) &&
      tcp.getWindow(bytes, upper) === tcp.getWindow(bytes, run.upper) &&
      tcp.getUrgentPointer(bytes, upper) === tcp.getUrgentPointer(bytes, run.upper) &&
      this.#same(upper + tcp.MIN_HEADER_LENGTH, run.upper + tcp.MIN_HEADER_LENGTH, data)
    );
  }

  #fitsIpv4(run: Run): boolean {
    const bytes = this.#bytes;
    const { ip, upper } = this.#layout;
    return (
      this.#fitsIdentification(run) &&
      ipv4.getTos(bytes, ip) === ipv4.getTos(bytes, run.ip) &&
      ipv4.getDontFragment(bytes, ip) === ipv4.getDontFragment(bytes, run.ip) &&
      ipv4.getReservedFlag(bytes, ip) === ipv4.getReservedFlag(bytes, run.ip) &&
      ipv4.getTtl(bytes, ip) === ipv4.getTtl(bytes, run.ip) &&
      ipv4.getProtocol(bytes, ip) === ipv4.getProtocol(bytes, run.ip) &&
      ipv4.getSourceWord(bytes, ip) === ipv4.getSourceWord(bytes, run.ip) &&
      ipv4.getDestinationWord(bytes, ip) === ipv4.getDestinationWord(bytes, run.ip) &&
      this.#same(ip + ipv4.MIN_HEADER_LENGTH, run.ip + ipv4.MIN_HEADER_LENGTH, upper)
    );
  }

  /** Packets that are never fragmented may share one identification (RFC 6864, section 4.1). The second packet decides. */
  #fitsIdentification(run: Run): boolean {
    const bytes = this.#bytes;
    const { ip } = this.#layout;
    const id = ipv4.getIdentification(bytes, ip);
    const first = ipv4.getIdentification(bytes, run.ip);
    if (run.count === 1) run.fixedId = id === first && ipv4.getDontFragment(bytes, ip);
    return id === (run.fixedId ? first : (first + run.count) & 0xffff);
  }

  #fitsIpv6(run: Run): boolean {
    const bytes = this.#bytes;
    const { ip, upper } = this.#layout;
    if (
      getI32(bytes, ip) !== getI32(bytes, run.ip) || // version, class and label
      ipv6.getNextHeader(bytes, ip) !== ipv6.getNextHeader(bytes, run.ip) ||
      ipv6.getHopLimit(bytes, ip) !== ipv6.getHopLimit(bytes, run.ip)
    )
      return false;
    for (let i = 0; i < 4; i++)
      if (
        ipv6.getSourceWord(bytes, ip, i) !== ipv6.getSourceWord(bytes, run.ip, i) ||
        ipv6.getDestinationWord(bytes, ip, i) !== ipv6.getDestinationWord(bytes, run.ip, i)
      )
        return false;
    return this.#same(ip + ipv6.HEADER_LENGTH, run.ip + ipv6.HEADER_LENGTH, upper);
  }

  /** Whether `[a, end)` equals as many bytes at `b`. */
  #same(a: number, b: number, end: number): boolean {
    const view = this.#view; // reads four bytes at once, aligned or not
    let i = a;
    let j = b;
    for (; i + 4 <= end; i += 4, j += 4) if (view.getInt32(i) !== view.getInt32(j)) return false;
    for (; i < end; i++, j++) if (view.getUint8(i) !== view.getUint8(j)) return false;
    return true;
  }

  /** Delivers an open run to the sink. */
  #close(index: number, sink: CoalescerSink): void {
    const runs = this.#runs;
    const run = runs[index]!;
    // The others move up, so that the oldest stays first.
    this.#open -= 1;
    for (let i = index; i < this.#open; i++) runs[i] = runs[i + 1]!;
    runs[this.#open] = run;
    if (run.count === 1) return sink.single(run.start, run.end, run.tag);
    this.mergedFrames += run.count;
    this.mergedRuns += 1;
    run.complete(this.#bytes, this.#prefix);
    sink.merged(run);
  }
}
