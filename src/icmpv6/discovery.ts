/** What a message of neighbor discovery must fulfil before a node may act on it. */
import * as ipv6 from '../ipv6/index.js';
import {
  check,
  DESTINATION_OFFSET,
  DISCOVERY_HOP_LIMIT,
  getCode,
  getTargetWord,
  getType,
  isSolicited,
  NEIGHBOR_ADVERTISEMENT,
  NEIGHBOR_SOLICITATION,
  REDIRECT,
  ROUTER_ADVERTISEMENT,
  ROUTER_SOLICITATION,
  TARGET_OFFSET,
  verifyChecksum,
} from './message.js';
import { checkOptions, findOption, OPTION_SOURCE_LINK_LAYER_ADDRESS } from './options.js';

const LINK_LOCAL = 0xfe80_0000 | 0;
const LINK_LOCAL_MASK = 0xffc0_0000 | 0;
const MULTICAST = 0xff;

/**
 * Whether a message of neighbor discovery is valid (RFC 4861, sections 6.1, 7.1 and 8.1): its hop limit is 255, and
 * checksum, code, length, addresses and options are as they must be. A node discards other messages silently. Neither
 * throws nor allocates.
 * @param ip Start of the IPv6 header, which `ipv6.check` has accepted.
 * @param offset Start of the message.
 * @param end End of the message, as the payload length says.
 */
export function verifyDiscovery(bytes: Uint8Array, ip: number, offset: number, end: number): boolean {
  const length = check(bytes, offset, end);
  if (length < 0 || ipv6.getHopLimit(bytes, ip) !== DISCOVERY_HOP_LIMIT || getCode(bytes, offset) !== 0) return false;
  const options = offset + length;
  const unspecified =
    (ipv6.getSourceWord(bytes, ip, 0) |
      ipv6.getSourceWord(bytes, ip, 1) |
      ipv6.getSourceWord(bytes, ip, 2) |
      ipv6.getSourceWord(bytes, ip, 3)) ===
    0;
  const local = (ipv6.getSourceWord(bytes, ip, 0) & LINK_LOCAL_MASK) === LINK_LOCAL;
  switch (getType(bytes, offset)) {
    case ROUTER_SOLICITATION:
      break;
    case NEIGHBOR_SOLICITATION:
      if (bytes[offset + TARGET_OFFSET] === MULTICAST) return false;
      if (unspecified && !isToSolicitedNode(bytes, ip)) return false;
      break;
    case NEIGHBOR_ADVERTISEMENT:
      if (bytes[offset + TARGET_OFFSET] === MULTICAST) return false;
      if (isSolicited(bytes, offset) && ipv6.getDestinationWord(bytes, ip, 0) >>> 24 === MULTICAST) return false;
      break;
    case REDIRECT:
      if (bytes[offset + DESTINATION_OFFSET] === MULTICAST) return false;
      if ((getTargetWord(bytes, offset, 0) & LINK_LOCAL_MASK) !== LINK_LOCAL)
        for (let i = 0; i < 16; i++)
          if (bytes[offset + TARGET_OFFSET + i] !== bytes[offset + DESTINATION_OFFSET + i]) return false;
      if (!local) return false;
      break;
    case ROUTER_ADVERTISEMENT:
      if (!local) return false;
      break;
    default:
      return false;
  }
  if (!checkOptions(bytes, options, end)) return false;
  if (unspecified && findOption(bytes, options, end, OPTION_SOURCE_LINK_LAYER_ADDRESS) >= 0) return false;
  return verifyChecksum(bytes, offset, end, ipv6.pseudoHeaderSum(bytes, ip, ipv6.NEXT_ICMPV6, end - offset));
}

/** Whether the destination is a solicited-node address: ff02::1:ff00:0/104 (RFC 4291, section 2.7.1). */
function isToSolicitedNode(bytes: Uint8Array, ip: number): boolean {
  return (
    ipv6.getDestinationWord(bytes, ip, 0) === (0xff02_0000 | 0) &&
    ipv6.getDestinationWord(bytes, ip, 1) === 0 &&
    ipv6.getDestinationWord(bytes, ip, 2) === 1 &&
    ipv6.getDestinationWord(bytes, ip, 3) >>> 24 === 0xff
  );
}
