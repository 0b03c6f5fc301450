import * as ethernet from '../ethernet/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import * as tcp from '../tcp/index.js';
import * as udp from '../udp/index.js';
import { GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, writeHeader } from '../virtio/index.js';
import { fold } from '../wire/index.js';
import { MAX_TAGS, type Layout } from './layout.js';
import { TCP_CHECKSUM, UDP_CHECKSUM } from './sum.js';

/** Longest IP packet in bytes; over IPv6, the header comes on top. */
export const MAX_PACKET = 0xffff;
/** Longest merged frame in bytes: Ethernet, all VLAN tags that `Layout` reads, and the longest IPv6 packet. */
export const MAX_RUN =
  ethernet.HEADER_LENGTH + MAX_TAGS * ethernet.vlan.HEADER_LENGTH + ipv6.HEADER_LENGTH + MAX_PACKET;

/**
 * Frames of one flow merged into one. The fields belong to the coalescer and are valid only during the call of the
 * sink.
 */
export class Run {
  /** The caller's tag, which all frames share. */
  tag = 0;
  /** Number of frames. */
  count = 0;
  /**
   * Offset of the merged head: the prefix, and headers with the lengths of the merged frame. `HEAD_ROOM` bytes before
   * it are free.
   */
  head = 0;
  /** Offset of the Ethernet header, behind the prefix. */
  frame = 0;
  /** Offset behind the head. */
  headEnd = 0;
  /** Data ranges `first` to `first + pieces - 1` of the coalescer's `dataOffset` and `dataLength` follow the head. */
  first = 0;
  /** Whether all frames have the first one's identification, instead of consecutive ones: see `Segmenter.open`. */
  fixedId = false;
  pieces = 0;
  /** Bytes of data of all frames. */
  dataBytes = 0;
  /** Bytes of the frames as received, prefixes included. */
  wireBytes = 0;
  /** For the virtio header. */
  gsoType = GSO_NONE;
  gsoSize = 0;
  checksumStart = 0;
  checksumOffset = 0;

  // What the next frame must match. Offsets are in the first frame, at its original place.
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
  /** Offset for the next joined data, and the end of the last joined data. */
  /** @internal */ joined = 0;
  /** @internal */ joinedEnd = 0;

  /**
   * Writes the virtio header of the merged frame.
   * @param shift Bytes that were inserted at the front of the frame since: 4 for a VLAN tag.
   */
  writeVirtio(bytes: Uint8Array, offset: number, shift = 0): void {
    const length = this.headEnd - this.frame + shift;
    writeHeader(bytes, offset, this.gsoType, length, this.gsoSize, this.checksumStart + shift, this.checksumOffset);
  }

  /**
   * Begins with a frame.
   * @param layout Where its headers are.
   * @param prefix Bytes between `offset` and its Ethernet header.
   * @internal
   */
  begin(
    bytes: Uint8Array,
    layout: Layout,
    prefix: number,
    offset: number,
    end: number,
    tag: number,
    key: number,
    flags: number,
  ): void {
    const { ip, version, upper, protocol, data } = layout;
    const isTcp = protocol === tcp.PROTOCOL;
    const length = end - data;
    this.tag = tag;
    this.key = key;
    this.start = offset;
    this.end = end;
    this.version = version;
    this.ip = ip;
    this.upper = upper;
    this.data = data;
    this.count = 1;
    this.fixedId = false;
    this.pieces = 1;
    this.joinedEnd = this.joined;
    this.dataBytes = length;
    this.wireBytes = end - offset;
    this.flags = flags;
    this.sequence = isTcp ? (tcp.getSequence(bytes, upper) + length) | 0 : 0;
    this.room = MAX_PACKET - (data - ip) + (version === 4 ? 0 : ipv6.HEADER_LENGTH);
    this.gsoSize = length;
    this.gsoType = !isTcp
      ? GSO_UDP_L4
      : (version === 4 ? GSO_TCPV4 : GSO_TCPV6) | ((flags & tcp.FLAG_CWR) !== 0 ? GSO_ECN : 0);
    this.checksumStart = upper - (offset + prefix);
    this.checksumOffset = isTcp ? TCP_CHECKSUM : UDP_CHECKSUM;
  }

  /**
   * Builds the head of the merged frame: the first frame's head, with the lengths of the whole.
   * @internal
   */
  complete(bytes: Uint8Array, prefix: number): void {
    const { start, head } = this;
    bytes.copyWithin(head, start, this.data);
    this.frame = head + prefix;
    this.headEnd = head + (this.data - start);
    const ip = head + (this.ip - start);
    const upper = head + (this.upper - start);
    const length = this.data - this.upper + this.dataBytes;
    const isTcp = this.checksumOffset === TCP_CHECKSUM;
    const protocol = isTcp ? tcp.PROTOCOL : udp.PROTOCOL;
    let pseudo: number;
    if (this.version === 4) {
      ipv4.setTotalLength(bytes, ip, this.data - this.ip + this.dataBytes);
      ipv4.fillChecksum(bytes, ip);
      pseudo = ipv4.pseudoHeaderSum(bytes, ip, protocol, length);
    } else {
      ipv6.setPayloadLength(bytes, ip, this.data - this.ip - ipv6.HEADER_LENGTH + this.dataBytes);
      pseudo = ipv6.pseudoHeaderSum(bytes, ip, protocol, length);
    }
    if (isTcp) {
      tcp.setFlags(bytes, upper, this.flags);
      tcp.setChecksum(bytes, upper, fold(pseudo));
    } else {
      udp.setLength(bytes, upper, length);
      udp.setChecksum(bytes, upper, fold(pseudo));
    }
  }
}
