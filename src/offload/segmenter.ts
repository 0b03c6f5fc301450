import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import * as tcp from '../tcp/index.js';
import * as udp from '../udp/index.js';
import { GSO_ECN, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4 } from '../virtio/index.js';
import { finish, fold, MALFORMED, TRUNCATED, UNSUPPORTED } from '../wire/index.js';
import { SLACK, toLine, type Cut } from './bulk.js';
import { Layout, MAX_HEADER } from './layout.js';
import { less, TCP_CHECKSUM, UDP_CHECKSUM, type Sum } from './sum.js';

/** Maximum length of the prefix that is copied in front of each segment. */
export const MAX_PREFIX = 56;

/** Maximum bytes of scratch for the headers of a segment. */
const SLOT = MAX_PREFIX + MAX_HEADER + 8;

/** The smallest MSS that Linux sends with, TCP options included: `TCP_MIN_SND_MSS`. */
const MIN_MSS = 48;
/** Most segments of a TCP super-frame, whatever its options are. */
const MAX_TCP_SEGMENTS = Math.ceil(0xffff / MIN_MSS);
/** Segments of a TCP super-frame of any size: GRO on a router in a container merges packets smaller than the MSS. */
const MERGED = 16;
/** Most datagrams of a UDP super-frame in Linux: `UDP_MAX_SEGMENTS`, which was 64 before Linux 6.9. */
const MAX_UDP_SEGMENTS = 128;

/** Flags that only the last segment may have. */
const LAST_FLAGS = tcp.FLAG_FIN | tcp.FLAG_PSH;

/** Bytes of scratch for the heads of that many segments. */
export function segmentScratch(segments: number): number {
  return segments * SLOT;
}

/**
 * Cuts super-frames, as read from a TAP with TSO and USO, into frames for the wire. Each frame consists of a head,
 * which is adapted in the caller's scratch, and a data range of the super-frame, which stays unchanged. Everything is
 * in one buffer.
 *
 *     const total = segmenter.open(frame, end, gsoType, gsoSize, 8);
 *     if (total < 0) return drop();
 *     for (let n; (n = segmenter.next(64, scratch)) > 0; ) send(n);
 *
 * Segment i of a call is `headLength` bytes at `headOffset[i]` and `dataLength[i]` bytes at `dataOffset[i]`. All
 * segments have `headLength + gsoSize` bytes, only the last may be shorter, as UDP_SEGMENT requires. `segmentInto`
 * writes whole segments one after the other instead.
 */
export class Segmenter {
  readonly headOffset: Int32Array;
  readonly dataOffset: Int32Array;
  readonly dataLength: Int32Array;
  /** Bytes of each segment before its data: prefix and headers. */
  headLength = 0;
  /** Number of segments of the open super-frame. */
  total = 0;
  /** Offset behind the segments of the last `segmentInto`. */
  segmentsEnd = 0;
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #sum: Sum;
  readonly #layout = new Layout();
  /** Segments made so far. */
  #done = 0;
  /** Start of the prefix. */
  #start = 0;
  #end = 0;
  #size = 0;
  #flags = 0;
  /** Whether the type has the bit for CWR, which is TCP's. */
  #ecn = false;
  /** Difference between the identifications of consecutive segments. */
  #idStep = 1;
  /** Sum of the IPv4 header, without the fields that differ between segments. */
  #ipSum = 0;
  /** Sum of the pseudo-header and the TCP or UDP header, without the fields that differ between segments. */
  #upperSum = 0;

  /**
   * @param bytes The buffer with the super-frames and the scratch.
   * @param sum Bound to `bytes`: `jsSum(bytes)`, or a faster one.
   * @param limit Maximum number of segments per call of `next`.
   */
  constructor(bytes: Uint8Array, sum: Sum, limit = 64) {
    this.#bytes = bytes;
    this.#words = new Int32Array(bytes.buffer, 0, bytes.buffer.byteLength >>> 2);
    this.#sum = sum;
    this.headOffset = new Int32Array(limit);
    this.dataOffset = new Int32Array(limit);
    this.dataLength = new Int32Array(limit);
  }

  /**
   * Opens the super-frame `[frame, end)` and validates it.
   * @param gsoType From its virtio header.
   * @param gsoSize From its virtio header: bytes of data per segment.
   * @param prefix Number of bytes before the frame that are copied in front of each segment: 8 for a VXLAN header.
   * @param fixedId Whether all segments have the super-frame's IPv4 identification, instead of consecutive ones.
   * @returns the number of segments, at least 1; or `TRUNCATED`, `MALFORMED`, `UNSUPPORTED`.
   */
  open(frame: number, end: number, gsoType: number, gsoSize: number, prefix = 0, fixedId = false): number {
    this.total = 0;
    this.#done = 0;
    const bytes = this.#bytes;
    if (prefix < 0 || prefix > MAX_PREFIX || frame < prefix || end > bytes.length) return TRUNCATED;
    const layout = this.#layout;
    const header = layout.read(bytes, frame, end);
    if (header < 0) return header;
    const type = gsoType & ~GSO_ECN;
    if (type !== GSO_TCPV4 && type !== GSO_TCPV6 && type !== GSO_UDP_L4) return UNSUPPORTED;
    if (header === 0 || layout.protocol !== (type === GSO_UDP_L4 ? udp.PROTOCOL : tcp.PROTOCOL)) return MALFORMED;
    if (type !== GSO_UDP_L4 && layout.version !== (type === GSO_TCPV4 ? 4 : 6)) return MALFORMED;
    if (!layout.exact || !(gsoSize > 0)) return MALFORMED;

    const { ip, upper, data } = layout;
    if (layout.version === 4) {
      const variable =
        less(ipv4.getTotalLength(bytes, ip)) +
        less(ipv4.getIdentification(bytes, ip)) +
        less(ipv4.getChecksum(bytes, ip));
      this.#ipSum = this.#sum(ip, ipv4.getHeaderLength(bytes, ip), variable);
    }
    let variable = layout.pseudoSum(bytes);
    if (layout.protocol === tcp.PROTOCOL) {
      const sequence = tcp.getSequence(bytes, upper);
      this.#flags = tcp.getFlags(bytes, upper);
      variable +=
        less(tcp.getChecksum(bytes, upper)) + less(sequence >>> 16) + less(sequence & 0xffff) + less(this.#flags);
    } else variable += less(udp.getChecksum(bytes, upper)) + less(udp.getLength(bytes, upper));
    this.#upperSum = this.#sum(upper, data - upper, fold(variable));
    this.#start = frame - prefix;
    this.#end = end;
    this.#size = gsoSize;
    this.#ecn = (gsoType & GSO_ECN) !== 0;
    this.#idStep = fixedId ? 0 : 1;
    this.headLength = header + prefix;
    this.total = data === end ? 1 : Math.ceil((end - data) / gsoSize);
    return this.total;
  }

  /**
   * Whether a kernel makes super-frames like the open one. Any header is possible on a TAP, because a container may
   * write it (packet(7), `PACKET_VNET_HDR`): one of 64 KiB with a size of 1 would become 65,000 packets.
   */
  isPlausible(): boolean {
    const { protocol, upper, data } = this.#layout;
    if (protocol === udp.PROTOCOL) return this.total <= MAX_UDP_SEGMENTS && !this.#ecn;
    if (this.total <= MERGED) return true;
    return this.total <= MAX_TCP_SEGMENTS && this.#size + data - upper - tcp.MIN_HEADER_LENGTH >= MIN_MSS;
  }

  /**
   * Makes the next segments, at most `limit`, with their heads in the `segmentScratch(limit)` bytes at `scratch`.
   * @returns their number; 0 after the last.
   */
  next(limit: number, scratch: number): number {
    const first = this.#done;
    const most = limit < this.headOffset.length ? limit : this.headOffset.length;
    const left = this.total - first;
    const count = left < most ? left : most;
    if (count <= 0) return 0;
    const bytes = this.#bytes;
    const words = this.#words;
    if (scratch < 0 || scratch + count * SLOT > bytes.length)
      throw new RangeError(`scratch at ${scratch} has no room for ${count} segments in ${bytes.length} bytes`);
    const { headOffset, dataOffset, dataLength, headLength } = this;
    const { ip, version, upper, protocol, data } = this.#layout;
    const start = this.#start;
    const size = this.#size;
    // Heads are copied by aligned words, so each has the same alignment as in the super-frame.
    const absolute = bytes.byteOffset + start;
    const skew = absolute & 3;
    const source = absolute >>> 2;
    const stride = (skew + headLength + 3) >>> 2;
    let slot = (bytes.byteOffset + scratch + 3) >>> 2;
    const identification = version === 4 ? ipv4.getIdentification(bytes, ip) : 0;
    const idStep = this.#idStep;
    const isTcp = protocol === tcp.PROTOCOL;
    const sequence = isTcp ? tcp.getSequence(bytes, upper) : 0;

    for (let i = 0; i < count; i++) {
      const index = first + i;
      const from = data + index * size;
      const rest = this.#end - from;
      const length = rest < size ? rest : size;
      for (let word = 0; word < stride; word++) words[slot + word] = words[source + word]!;
      const head = (slot << 2) + skew - bytes.byteOffset;
      slot += stride;
      const headIp = head + (ip - start);
      const headUpper = head + (upper - start);
      if (version === 4) {
        const total = data - ip + length;
        const id = (identification + index * idStep) & 0xffff;
        ipv4.setTotalLength(bytes, headIp, total);
        ipv4.setIdentification(bytes, headIp, id);
        ipv4.setChecksum(bytes, headIp, finish(this.#ipSum + total + id));
      } else ipv6.setPayloadLength(bytes, headIp, data - ip - ipv6.HEADER_LENGTH + length);
      const upperLength = data - upper + length;
      if (isTcp) {
        let flags = this.#flags;
        if (index > 0) flags &= ~tcp.FLAG_CWR;
        if (index < this.total - 1) flags &= ~LAST_FLAGS;
        const number = sequence + index * size; // 33 bits, of which the low 32 are written
        tcp.setFlags(bytes, headUpper, flags);
        tcp.setSequence(bytes, headUpper, number);
        const changed = this.#upperSum + upperLength + flags + ((number >>> 16) & 0xffff) + (number & 0xffff);
        tcp.setChecksum(bytes, headUpper, finish(this.#sum(from, length, changed)));
      } else {
        udp.setLength(bytes, headUpper, upperLength);
        const checksum = finish(this.#sum(from, length, this.#upperSum + upperLength + upperLength));
        udp.setChecksum(bytes, headUpper, checksum === 0 ? 0xffff : checksum);
      }
      headOffset[i] = head;
      dataOffset[i] = from;
      dataLength[i] = length;
    }
    this.#done = first + count;
    return count;
  }

  /**
   * Makes the next segments, at most `limit`, whole and one after the other, with `cut` of a {@link Bulk}. Copying the
   * data while summing it costs a quarter more, but the caller needs no list of pieces.
   * @param to Offset of the output. Scratch comes first; the segments begin at `segmentsStart(to)`.
   * @returns their number; 0 after the last. They end at `segmentsEnd`.
   */
  segmentInto(cut: Cut, limit: number, to: number): number {
    const first = this.#done;
    const left = this.total - first;
    const count = left < limit ? left : limit;
    if (count <= 0) return 0;
    const bytes = this.#bytes;
    const { headLength } = this;
    const size = this.#size;
    let at = segmentsStart(to);
    if (to < 0 || at + count * (headLength + size) + SLACK > bytes.length)
      throw new RangeError(`no room at ${to} for ${count} segments in ${bytes.length} bytes`);
    const { ip, version, upper, protocol, data } = this.#layout;
    const start = this.#start;
    const isTcp = protocol === tcp.PROTOCOL;
    const identification = version === 4 ? ipv4.getIdentification(bytes, ip) : 0;
    const sequence = isTcp ? tcp.getSequence(bytes, upper) : 0;
    bytes.copyWithin(to, start, data);
    const headIp = to + (ip - start);
    const headUpper = to + (upper - start);
    for (let index = first; index < first + count;) {
      // One call covers segments with the same flags and length. The first is separate if it signals congestion, and so
      // is the last.
      const last = index === this.total - 1;
      let flags = this.#flags;
      let same = 1;
      if (index > 0) flags &= ~tcp.FLAG_CWR;
      if (!last) {
        flags &= ~LAST_FLAGS;
        const stop = first + count < this.total ? first + count : this.total - 1;
        if (index > 0 || (flags & tcp.FLAG_CWR) === 0 || !isTcp) same = stop - index;
      }
      const from = data + index * size;
      const length = last ? this.#end - from : size;
      const upperLength = data - upper + length;
      const total = data - ip + length;
      if (version === 4) ipv4.setTotalLength(bytes, headIp, total);
      else ipv6.setPayloadLength(bytes, headIp, total - ipv6.HEADER_LENGTH);
      let changed = this.#upperSum + upperLength;
      if (isTcp) {
        tcp.setFlags(bytes, headUpper, flags);
        changed += flags;
      } else {
        udp.setLength(bytes, headUpper, upperLength);
        changed += upperLength;
      }
      at = cut(
        to,
        headLength,
        version === 4 ? ip - start : -1,
        upper - start,
        isTcp ? TCP_CHECKSUM : UDP_CHECKSUM,
        from,
        length,
        same,
        at,
        (identification + index * this.#idStep) & 0xffff,
        this.#idStep,
        (sequence + index * size) | 0,
        this.#ipSum + total,
        changed,
      );
      index += same;
    }
    this.segmentsEnd = at;
    this.#done = first + count;
    return count;
  }
}

/** Offset of the first segment that `segmentInto` writes: at the start of a cache line, if `to` is at one. */
export function segmentsStart(to: number): number {
  return to + toLine(MAX_PREFIX + MAX_HEADER + SLACK);
}

/** Bytes of scratch that `segmentInto` needs for segments of that many bytes in total. */
export function segmentIntoScratch(bytes: number): number {
  return segmentsStart(0) + bytes + SLACK;
}
