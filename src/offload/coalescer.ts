import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import * as tcp from '../tcp/index.js';
import * as udp from '../udp/index.js';
import { GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, writeHeader } from '../virtio/index.js';
import { finish, fold, getI32 } from '../wire/index.js';
import { Layout, MAX_HEADER, OTHER } from './layout.js';
import { MAX_PREFIX } from './segmenter.js';
import { LINE, SLACK, toLine, type Join } from './bulk.js';
import { less, TCP_CHECKSUM, UDP_CHECKSUM, type Sum } from './sum.js';

/** Longest IP packet in bytes. */
const MAX_PACKET = 0xffff;
/** Bytes before a merged head that its receiver may write: a virtio header, and a VLAN tag. */
export const HEAD_ROOM = 16;
const SLOT = HEAD_ROOM + MAX_PREFIX + MAX_HEADER;

/** TCP flags of frames that may be merged. */
const MERGEABLE = tcp.FLAG_ACK | tcp.FLAG_PSH | tcp.FLAG_FIN | tcp.FLAG_ECE | tcp.FLAG_CWR | tcp.FLAG_AE;
/** TCP flags in which the last frame of a run may differ from the others. */
const LAST_FLAGS = tcp.FLAG_PSH | tcp.FLAG_FIN;

export interface CoalescerOptions {
  /** Limit of flows merged at a time. Default 8. */
  flows?: number;
  /** Limit of frames merged into one. Default 64. */
  segments?: number;
  /** Whether to merge UDP too, which requires a TAP with USO. Default false. */
  udp?: boolean;
  /** Bytes in front of each frame that must be equal too, and precede the merged frame: 8 for a VXLAN header. Default 0. */
  prefix?: number;
}

/** For `addMany`: what joins many frames of a flow in one call. */
export interface Joining {
  join: Join;
  /** Where `joinScratch(flows)` bytes for their data are. */
  scratch: number;
}

/** Bytes of a run's data, and behind it. */
const DATA_SLOT = toLine(MAX_PACKET + SLACK);
/** Bytes of the mask of a head. */
const MASK = toLine(MAX_PREFIX + MAX_HEADER + SLACK);

/** Bytes of scratch that joining so many flows needs; best at the beginning of a cache line. */
export function joinScratch(flows: number): number {
  return MASK + flows * DATA_SLOT;
}

/** Bytes of scratch that so many flows need. */
export function coalesceScratch(flows: number): number {
  return flows * SLOT;
}

/** Frames of one flow merged into one. Its fields belong to the coalescer and are valid during the call of the sink. */
export class Run {
  /** The caller's tag of each of the frames. */
  tag = 0;
  /** Frames. */
  count = 0;
  /** The merged head: prefix, and headers with the lengths of the whole. `HEAD_ROOM` bytes before it are free. */
  head = 0;
  /** Behind the prefix, where the Ethernet header begins. */
  frame = 0;
  /** Where the head ends. */
  headEnd = 0;
  /** Data ranges `first` to `first + pieces - 1` of the coalescer's `dataOffset` and `dataLength` follow the head. */
  first = 0;
  /** Whether all have the identification of the first, and not each the next one: for `Segmenter.open`. */
  fixedId = false;
  pieces = 0;
  /** Bytes of data in all of them. */
  dataBytes = 0;
  /** Bytes of the frames as they came, prefixes included. */
  wireBytes = 0;
  /** For the virtio header. */
  gsoType = GSO_NONE;
  gsoSize = 0;
  checksumStart = 0;
  checksumOffset = 0;

  // What the next frame has to fit. Offsets are of the first frame, where it lies.
  /** @internal */ key = 0;
  /** @internal */ start = 0;
  /** @internal */ end = 0;
  /** @internal */ version = 0;
  /** @internal */ ip = 0;
  /** @internal */ upper = 0;
  /** @internal */ data = 0;
  /** @internal */ sequence = 0;
  /** @internal */ flags = 0;
  /** @internal */ room = 0;
  /** Where data that is joined goes, and where the last ended. */
  /** @internal */ joined = 0;
  /** @internal */ joinedEnd = 0;

  /**
   * Writes the virtio header of the merged frame.
   * @param shift Bytes by which the frame grew at its front since: 4 for a VLAN tag.
   */
  writeVirtio(bytes: Uint8Array, offset: number, shift = 0): void {
    const length = this.headEnd - this.frame + shift;
    writeHeader(bytes, offset, this.gsoType, length, this.gsoSize, this.checksumStart + shift, this.checksumOffset);
  }
}

/** Receives the frames of a `Coalescer`. */
export interface CoalescerSink {
  /** A frame as it came, its prefix included. */
  single(offset: number, end: number, tag: number): void;
  /** Several as one. */
  merged(run: Run): void;
}

/**
 * Merges consecutive frames of one flow into super-frames, as GRO in Linux does, so that a TAP accepts them in one
 * call. The frames of a flow come out in the order in which they came in, and what comes out segments to the same bytes;
 * only a kernel that segments it again numbers packets with DF whose identifications were all the same (RFC 6864).
 *
 * Frames are merged in place: they must stay unchanged until `flush`.
 */
export class Coalescer {
  /** The data of runs, which `Run.first` points into. */
  readonly dataOffset: Int32Array;
  readonly dataLength: Int32Array;
  /** Frames that became part of a run of several. */
  mergedFrames = 0;
  /** Runs of several frames. */
  mergedRuns = 0;
  /** Frames of TCP and UDP that came with a wrong checksum, and went on unchanged for their receiver to drop. */
  badChecksums = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #sum: Sum;
  readonly #limit: number;
  readonly #udp: boolean;
  readonly #prefix: number;
  readonly #layout = new Layout();
  readonly #joining: Joining | undefined;
  /** What the mask in the scratch is for. */
  readonly #masked = { ip: -1, upper: -1, headLength: 0, checksum: 0 };
  /** The open runs are the first `#open`, the oldest first. */
  readonly #runs: Run[] = [];
  #open = 0;

  /**
   * @param bytes Where everything is.
   * @param scratch Where in it are `coalesceScratch(flows)` bytes for merged heads.
   * @param sum Over `bytes`; `jsSum(bytes)`, or one that is faster.
   * @param joining Without it `addMany` is `add` many times.
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

  /**
   * Takes a frame, whose prefix begins at `offset`.
   * @param tag Anything below 2^31 that has to be equal in the frames of a run: who sent it, its outer ECN field.
   */
  add(offset: number, end: number, tag: number, sink: CoalescerSink): void {
    this.#add(offset, end, tag, sink);
  }

  /**
   * Takes frames of `size` bytes with their prefixes, the last one perhaps shorter, that lie one behind the other, as
   * UDP_GRO hands them out. Those of one flow are looked at in one call.
   */
  addMany(offset: number, end: number, size: number, tag: number, sink: CoalescerSink): void {
    let at = offset;
    do {
      const stop = size > 0 && at + size < end ? at + size : end;
      const run = this.#add(at, stop, tag, sink);
      at = stop;
      if (run !== null && this.#joining !== undefined && size === run.end - run.start)
        at = this.#join(this.#joining, run, at, end, size, sink);
    } while (at < end);
  }

  /** Takes a frame; returns the open run that it became the last of, or null. */
  #add(offset: number, end: number, tag: number, sink: CoalescerSink): Run | null {
    const bytes = this.#bytes;
    const layout = this.#layout;
    const frame = offset + this.#prefix;
    const code = layout.read(bytes, frame, end);
    // Of no flow that is held back here.
    if (code === OTHER || (code > 0 && layout.protocol === udp.PROTOCOL && !this.#udp)) {
      sink.single(offset, end, tag);
      return null;
    }
    if (code < 0) {
      // Perhaps a fragment of a flow that is.
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
    this.#begin(run, key, offset, end, tag, flags);
    return run;
  }

  /** Adds to an open run the frames from `at` that continue it; returns where the first that does not is. */
  #join({ join, scratch }: Joining, run: Run, at: number, end: number, size: number, sink: CoalescerSink): number {
    const bytes = this.#bytes;
    const { start, ip, upper, data, gsoSize } = run;
    const headLength = data - start;
    let count = Math.floor((end - at) / size);
    if (count > this.#limit - run.count) count = this.#limit - run.count;
    const room = Math.floor((run.room - run.dataBytes) / gsoSize);
    if (count > room) count = room;
    // Only the first of a run may say CWR, and those that are joined equal it.
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
    // The kernel has a frame's data from the beginning of a page. What this leaves free is at most what lies elsewhere, so
    // that a run never takes more than its bytes of data.
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
    return at + joined * size;
  }

  /** Makes the mask of a run's heads: ones, but where frames of a run differ. */
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

  /** Sends all frames held back; their memory may be reused after that. */
  flush(sink: CoalescerSink): void {
    while (this.#open > 0) this.#close(0, sink);
  }

  /** A hash of addresses, ports and protocol. Flows that share one are merely not merged at the same time. */
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

  /** Whether the frame is one that could be merged with others; its checksums are right then. */
  #mergeable(end: number): boolean {
    const bytes = this.#bytes;
    const { ip, version, upper, protocol, data, exact } = this.#layout;
    if (data === end || !exact) return false;
    // What computing a checksum never gives would not come out of the segmentation again.
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

  // These are functions of their own for V8, which inlines the getters into each of them and not into one that has all.

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

  /** Packets that are never fragmented may have one identification in common (RFC 6864, section 4.1): the second one tells. */
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
    const view = this.#view; // which reads four bytes at once, wherever they lie
    let i = a;
    let j = b;
    for (; i + 4 <= end; i += 4, j += 4) if (view.getInt32(i) !== view.getInt32(j)) return false;
    for (; i < end; i++, j++) if (view.getUint8(i) !== view.getUint8(j)) return false;
    return true;
  }

  #begin(run: Run, key: number, offset: number, end: number, tag: number, flags: number): void {
    const bytes = this.#bytes;
    const { ip, version, upper, protocol, data } = this.#layout;
    const isTcp = protocol === tcp.PROTOCOL;
    const frame = offset + this.#prefix;
    const length = end - data;
    run.tag = tag;
    run.key = key;
    run.start = offset;
    run.end = end;
    run.version = version;
    run.ip = ip;
    run.upper = upper;
    run.data = data;
    run.count = 1;
    run.fixedId = false;
    run.pieces = 1;
    run.joinedEnd = run.joined;
    run.dataBytes = length;
    run.wireBytes = end - offset;
    run.flags = flags;
    run.sequence = isTcp ? (tcp.getSequence(bytes, upper) + length) | 0 : 0;
    run.room = MAX_PACKET - (data - ip) + (version === 4 ? 0 : ipv6.HEADER_LENGTH);
    run.gsoSize = length;
    run.gsoType = !isTcp
      ? GSO_UDP_L4
      : (version === 4 ? GSO_TCPV4 : GSO_TCPV6) | ((flags & tcp.FLAG_CWR) !== 0 ? GSO_ECN : 0);
    run.checksumStart = upper - frame;
    run.checksumOffset = isTcp ? TCP_CHECKSUM : UDP_CHECKSUM;
    this.dataOffset[run.first] = data;
    this.dataLength[run.first] = length;
  }

  /** Hands out an open run. */
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
    this.#complete(run);
    sink.merged(run);
  }

  /** Makes the head of a run of several: a copy of the first frame's, with the lengths of the whole. */
  #complete(run: Run): void {
    const bytes = this.#bytes;
    const { start, head } = run;
    bytes.copyWithin(head, start, run.data);
    run.frame = head + this.#prefix;
    run.headEnd = head + (run.data - start);
    const ip = head + (run.ip - start);
    const upper = head + (run.upper - start);
    const length = run.data - run.upper + run.dataBytes;
    const isTcp = run.checksumOffset === TCP_CHECKSUM;
    const protocol = isTcp ? tcp.PROTOCOL : udp.PROTOCOL;
    let pseudo: number;
    if (run.version === 4) {
      ipv4.setTotalLength(bytes, ip, run.data - run.ip + run.dataBytes);
      ipv4.fillChecksum(bytes, ip);
      pseudo = ipv4.pseudoHeaderSum(bytes, ip, protocol, length);
    } else {
      ipv6.setPayloadLength(bytes, ip, run.data - run.ip - ipv6.HEADER_LENGTH + run.dataBytes);
      pseudo = ipv6.pseudoHeaderSum(bytes, ip, protocol, length);
    }
    if (isTcp) {
      tcp.setFlags(bytes, upper, run.flags);
      tcp.setChecksum(bytes, upper, fold(pseudo));
    } else {
      udp.setLength(bytes, upper, length);
      udp.setChecksum(bytes, upper, fold(pseudo));
    }
  }
}
