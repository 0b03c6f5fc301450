import * as ethernet from '../ethernet/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import { getI32 } from '../wire/index.js';
import { behindTags } from './tags.js';

/**
 * The outer source port for the flow that the frame at `offset` belongs to, by which the underlay balances load (RFC 7348,
 * section 5), in the range that the RFC recommends: 49152 to 65535. It is a hash of addresses, protocol and ports, behind any
 * VLAN tags. Fragments are hashed without ports, so that all fragments of a packet have the same one.
 *
 * V8 does not inline a function of this size, which is good: it would use up the budget of the caller, whose look-ups in the
 * FDB then are calls that take 20 ns more.
 */
export function flowPort(bytes: Uint8Array, offset: number, end: number): number {
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
  return FIRST_PORT | ((hash ^ (hash >>> 15)) & PORT_BITS);
}

const FIRST_PORT = 49_152;
const PORT_BITS = 16_383;

/** Source and destination port together. */
const PORTS = 4;

function hasPorts(protocol: number): boolean {
  return protocol === ipv4.PROTOCOL_TCP || protocol === ipv4.PROTOCOL_UDP;
}

function mix(hash: number, word: number): number {
  const product = Math.imul(hash ^ word, 0x9e37_79b1);
  return product ^ (product >>> 16);
}
