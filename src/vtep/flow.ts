import * as ethernet from '../ethernet/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import { getI32 } from '../wire/index.js';
import { behindTags } from './tags.js';

/**
 * A hash of the flow that the frame at `offset` belongs to, for the outer source port, by which the underlay balances load
 * (RFC 7348, section 5). It covers addresses, protocol and ports, behind any VLAN tags. Fragments are hashed without ports,
 * so that all fragments of a packet have the same hash.
 */
export function flowHash(bytes: Uint8Array, offset: number, end: number): number {
  let type = ethernet.getEtherType(bytes, offset);
  let ip = offset + ethernet.HEADER_LENGTH;
  if (type !== ethernet.TYPE_IPV4 && ethernet.isVlanType(type)) {
    const start = behindTags(bytes, offset, end);
    type = ethernet.getEtherType(bytes, start);
    ip = start + ethernet.HEADER_LENGTH;
  }
  let hash: number;
  if (type === ethernet.TYPE_IPV4 && end - ip >= ipv4.MIN_HEADER_LENGTH) {
    const protocol = ipv4.getProtocol(bytes, ip);
    hash = mix(mix(protocol, ipv4.getSourceWord(bytes, ip)), ipv4.getDestinationWord(bytes, ip));
    const ports = ip + ipv4.getHeaderLength(bytes, ip);
    if (hasPorts(protocol) && !ipv4.isFragment(bytes, ip) && end - ports >= PORTS)
      hash = mix(hash, getI32(bytes, ports));
  } else if (type === ethernet.TYPE_IPV6 && end - ip >= ipv6.HEADER_LENGTH) {
    const protocol = ipv6.getNextHeader(bytes, ip);
    const ports = ip + ipv6.HEADER_LENGTH;
    hash = protocol;
    for (let i = 0; i < 4; i++)
      hash = mix(mix(hash, ipv6.getSourceWord(bytes, ip, i)), ipv6.getDestinationWord(bytes, ip, i));
    if (hasPorts(protocol) && end - ports >= PORTS) hash = mix(hash, getI32(bytes, ports));
  } else {
    hash = mix(mix(getI32(bytes, offset), getI32(bytes, offset + 4)), getI32(bytes, offset + 8));
  }
  return hash ^ (hash >>> 15);
}

/** The source port for a flow, in the range that RFC 7348 recommends: 49152 to 65535. */
export function sourcePort(hash: number): number {
  return 49_152 | (hash & 16_383);
}

/** Source and destination port together. */
const PORTS = 4;

function hasPorts(protocol: number): boolean {
  return protocol === ipv4.PROTOCOL_TCP || protocol === ipv4.PROTOCOL_UDP;
}

function mix(hash: number, word: number): number {
  const product = Math.imul(hash ^ word, 0x9e37_79b1);
  return product ^ (product >>> 16);
}
