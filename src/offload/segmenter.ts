import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import * as tcp from '../tcp/index.js';
import * as udp from '../udp/index.js';
import { GSO_ECN, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4 } from '../virtio/index.js';
import { finish, fold, MALFORMED, TRUNCATED, UNSUPPORTED } from '../wire/index.js';
import { SLACK, toLine, type Cut } from './bulk.js';
import { Layout, MAX_HEADER } from './layout.js';
import { less, TCP_CHECKSUM, UDP_CHECKSUM, type Sum } from './sum.js';

/** The most bytes before a frame that may go before each of its segments. */
export const MAX_PREFIX = 32;

/** Bytes of scratch that a segment's headers take at most. */
const SLOT = MAX_PREFIX + MAX_HEADER + 8;

/** Flags that only the last segment has. */
const LAST_FLAGS = tcp.FLAG_FIN | tcp.FLAG_PSH;

/** Bytes of scratch that so many segments need. */
export function segmentScratch(segments: number): number {
  return segments * SLOT;
}

/**
 * Cuts super-frames, as read from a TAP with TSO and USO, into the frames for the wire. Each is a head,
 * copied and adapted into the caller's scratch, and a range of the super-frame, which stays as it is. All is in one buffer.
 *
 *     const total = segmenter.open(frame, end, gsoType, gsoSize, 8);
 *     if (total < 0) return drop();
 *     for (let n; (n = segmenter.next(64, scratch)) > 0; ) send(n);
 *
 * Segment i of a call is `headLength` bytes at `headOffset[i]` and `dataLength[i]` bytes at `dataOffset[i]`. All of one
 * super-frame are `headLength + gsoSize` bytes, but the last, which may be shorter: what UDP_SEGMENT asks for. `segmentInto` puts
 * them whole one behind the other instead.
 */
export class Segmenter {
  readonly headOffset: Int32Array;
  readonly dataOffset: Int32Array;
  readonly dataLength: Int32Array;
  /** Bytes of each segment before its data: prefix and headers. */
  headLength = 0;
  /** Segments in all of the super-frame that is open. */
  total = 0;
  /** Where the segments of the last `segmentInto` end. */
  segmentsEnd = 0;
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #sum: Sum;
  readonly #layout = new Layout();
  /** Segments handed out so far. */
  #done = 0;
  /** Where the prefix begins. */
  #start = 0;
  #end = 0;
  #size = 0;
  #flags = 0;
  /** Between the identifications of one segment and the next. */
  #idStep = 1;
  /** Sum of the IPv4 header without what differs between segments. */
  #ipSum = 0;
  /** Sum of pseudo-header and TCP or UDP header without what differs between segments. */
  #upperSum = 0;

  /**
   * @param bytes Where everything is.
   * @param sum Over `bytes`; `jsSum(bytes)`, or one that is faster.
   * @param limit Segments at most a call of `next`.
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
   * Opens the super-frame `[frame, end)` and checks everything that can be wrong with it.
   * @param gsoType Of its virtio header.
   * @param gsoSize Likewise: bytes of data a segment.
   * @param prefix As many bytes before the frame go before each segment as they are: a VXLAN header's 8.
   * @param fixedId Whether every segment has the IPv4 identification of the super-frame, and not each the next one.
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
    this.#idStep = fixedId ? 0 : 1;
    this.headLength = header + prefix;
    this.total = data === end ? 1 : Math.ceil((end - data) / gsoSize);
    return this.total;
  }

  /**
   * Makes the next segments, at most `limit`, their heads in the `segmentScratch(limit)` bytes at `scratch`.
   * @returns how many, 0 after the last.
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
    // Heads are copied by aligned words, which takes them to where they lie to a word as in the super-frame.
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
   * Makes the next segments, at most `limit`, whole and one behind the other, with `cut` of a {@link Bulk}. A copy of the
   * data in the pass that sums it up costs a quarter more, and saves whoever takes them a list of pieces.
   * @param to Where to, but for some bytes of scratch that come first: `segmentsStart(to)`.
   * @returns how many, 0 after the last. They end at `segmentsEnd`.
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
      // As many as have the same flags and length: the first alone where it tells of congestion, and the last.
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

/** Where `segmentInto` puts the first segment: at the beginning of a cache line, if that is where `to` is. */
export function segmentsStart(to: number): number {
  return to + toLine(MAX_PREFIX + MAX_HEADER + SLACK);
}

/** Bytes of scratch that `segmentInto` takes for segments of so many bytes in all. */
export function segmentIntoScratch(bytes: number): number {
  return segmentsStart(0) + bytes + SLACK;
}
