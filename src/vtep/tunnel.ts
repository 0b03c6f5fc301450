/** What a tunnel adds to a packet: the only place that knows it. MTUs, headroom and buffers follow from it. */
import * as esp from '../esp/index.js';
import * as ethernet from '../ethernet/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import * as udp from '../udp/index.js';
import * as vxlan from '../vxlan/index.js';

/** A kind of tunnel, by what it adds. All lengths are in bytes. */
export interface Tunnel {
  /** How much longer the outer IP packet is than the inner one. */
  readonly overhead: number;
  /** What the machine writes in front of an inner frame. The engine adds the outer UDP and IP headers. */
  readonly headroom: number;
  /** What the machine writes behind an inner frame. */
  readonly tailroom: number;
}

/** VXLAN (RFC 7348) over an IP header of a length. */
function vxlanOver(ip: number): Tunnel {
  const headroom = vxlan.HEADER_LENGTH;
  return { overhead: ip + udp.HEADER_LENGTH + headroom + ethernet.HEADER_LENGTH, headroom, tailroom: 0 };
}

/** The tunnel between IPv4 addresses. */
export const OVER_IPV4 = vxlanOver(ipv4.MIN_HEADER_LENGTH);
const OVER_IPV6 = vxlanOver(ipv6.HEADER_LENGTH);

/** The tunnel to an underlay address. */
export function tunnelTo(address: string): Tunnel {
  return address.includes(':') ? OVER_IPV6 : OVER_IPV4;
}

/** Bytes of the integrity check value of encrypted tunnels. */
export const ICV = 16;
/** Bytes of an ESP packet's payload besides the inner IP packet. */
const SEALED_HEADERS = udp.HEADER_LENGTH + vxlan.HEADER_LENGTH + ethernet.HEADER_LENGTH;

/**
 * The largest inner IP packet that fits into an outer one of `outer` bytes if the tunnel is encrypted: ESP (RFC 4303) in UDP
 * (RFC 3948), in it UDP and VXLAN. Its padding makes the overhead vary by up to 3 bytes.
 */
export function sealedRoom(outer: number, tunnel: Pick<Tunnel, 'overhead'>): number {
  const outerHeaders = tunnel.overhead - vxlan.HEADER_LENGTH - ethernet.HEADER_LENGTH; // IP and UDP
  return esp.longestPayload(outer - outerHeaders - esp.FRONT - ICV) - SEALED_HEADERS;
}

/** The most that encryption adds to a datagram: UDP, ESP header and IV, padding with its trailer, and ICV. */
export const SEALED_MORE = udp.HEADER_LENGTH + esp.FRONT + 3 + esp.TRAILER_LENGTH + ICV;

/** A multiple of this keeps what follows the headroom aligned. */
const ALIGN = 8;

/**
 * Free bytes that `Vtep.receiveFrame` needs in the buffer in front of a frame: for the header of any tunnel and for
 * a trunk's VLAN tag.
 */
export const HEADROOM =
  Math.ceil((Math.max(OVER_IPV4.headroom, OVER_IPV6.headroom) + ethernet.vlan.HEADER_LENGTH) / ALIGN) * ALIGN;
