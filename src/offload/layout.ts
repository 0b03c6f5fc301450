import * as ethernet from '../ethernet/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import * as tcp from '../tcp/index.js';
import * as udp from '../udp/index.js';
import { TRUNCATED, UNSUPPORTED } from '../wire/index.js';

const { vlan } = ethernet;

// Offsets from the start of an IPv6 options header.
const OPTIONS_NEXT_HEADER = 0;
const OPTIONS_LENGTH = 1;
const OPTIONS_MIN_LENGTH = 8;

/** Maximum number of VLAN tags before IP. */
export const MAX_TAGS = 2;

/** Maximum length of all headers, Ethernet to TCP or UDP, for segmentation and coalescing. */
export const MAX_HEADER = 256;

/** `read`: the frame is complete and neither TCP nor UDP. */
export const OTHER = 0;

/** The offsets of a frame's headers. */
export class Layout {
  /** Start of the IP header. */
  ip = 0;
  /** 4 or 6. */
  version = 0;
  /** Start of the TCP or UDP header. */
  upper = 0;
  /** `tcp.PROTOCOL` or `udp.PROTOCOL`. */
  protocol = 0;
  /** Start of the TCP or UDP payload. */
  data = 0;
  /** Whether all length fields match the frame's end. */
  exact = false;

  /**
   * Reads the headers of the frame `[frame, end)`: Ethernet, up to two VLAN tags, IPv4 with options or IPv6 with
   * options headers, TCP or UDP.
   * @returns the length of all headers; `OTHER`; or a negative number for a truncated frame or a fragment, which may
   *   belong to any TCP or UDP flow.
   */
  read(bytes: Uint8Array, frame: number, end: number): number {
    let ip = frame + ethernet.HEADER_LENGTH;
    if (end < ip) return TRUNCATED;
    let type = ethernet.getEtherType(bytes, frame);
    for (let tags = 0; ethernet.isVlanType(type); tags++) {
      if (tags === MAX_TAGS) return UNSUPPORTED;
      if (vlan.check(bytes, ip, end) < 0) return TRUNCATED;
      type = vlan.getEtherType(bytes, ip);
      ip += vlan.HEADER_LENGTH;
    }
    let upper: number;
    let protocol: number;
    if (type === ethernet.TYPE_IPV4) {
      const length = ipv4.check(bytes, ip, end);
      if (length < 0) return length;
      protocol = ipv4.getProtocol(bytes, ip);
      if (protocol !== tcp.PROTOCOL && protocol !== udp.PROTOCOL) return OTHER;
      if (ipv4.isFragment(bytes, ip)) return UNSUPPORTED;
      this.version = 4;
      this.exact = ipv4.getTotalLength(bytes, ip) === end - ip;
      upper = ip + length;
    } else if (type === ethernet.TYPE_IPV6) {
      const length = ipv6.check(bytes, ip, end);
      if (length < 0) return length;
      upper = ip + length;
      protocol = ipv6.getNextHeader(bytes, ip);
      while (protocol === ipv6.NEXT_HOP_BY_HOP || protocol === ipv6.NEXT_DESTINATION_OPTIONS) {
        if (end - upper < OPTIONS_MIN_LENGTH) return TRUNCATED;
        protocol = bytes[upper + OPTIONS_NEXT_HEADER]!;
        upper += (bytes[upper + OPTIONS_LENGTH]! + 1) << 3;
      }
      // With a routing header the checksum covers another address. Other extension headers encrypt or sign what
      // follows.
      if (ipv6.isExtension(protocol)) return UNSUPPORTED;
      if (protocol !== tcp.PROTOCOL && protocol !== udp.PROTOCOL) return OTHER;
      this.version = 6;
      this.exact = ipv6.getPayloadLength(bytes, ip) === end - ip - length;
    } else return OTHER;

    let length: number;
    if (protocol === tcp.PROTOCOL) length = tcp.check(bytes, upper, end);
    else {
      length = udp.check(bytes, upper, end);
      if (length >= 0 && udp.getLength(bytes, upper) !== end - upper) this.exact = false;
    }
    if (length < 0) return length;
    this.ip = ip;
    this.upper = upper;
    this.protocol = protocol;
    this.data = upper + length;
    return this.data - frame > MAX_HEADER ? UNSUPPORTED : this.data - frame;
  }

  /** The partial sum of the pseudo-header, without the length. */
  pseudoSum(bytes: Uint8Array): number {
    return this.version === 4
      ? ipv4.pseudoHeaderSum(bytes, this.ip, this.protocol, 0)
      : ipv6.pseudoHeaderSum(bytes, this.ip, this.protocol, 0);
  }
}
