/** What an error quotes of the packet that caused it. */
import { hasPorts } from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import { getU16 } from '../wire/index.js';
import { isError, type Icmpv6 } from './message.js';

// Offsets from the start of a quoted packet's upper header.
const QUOTED_SOURCE_PORT = 0;
const QUOTED_DESTINATION_PORT = 2;

/** The packet that an error quotes: an IPv6 header and, where the quote goes that far, what follows it. */
export interface Quoted {
  header: Required<ipv6.Ipv6>;
  /** The protocol behind extension headers; 44 in fragments other than the first. */
  protocol?: number;
  /** Of TCP, UDP, DCCP and SCTP, but not of fragments other than the first. */
  sourcePort?: number;
  destinationPort?: number;
}

/** Where in an error's payload the quoted packet ends and extensions may begin (RFC 4884, section 5.1). */
function quotedEnd(value: Icmpv6): number {
  const length = (value.length ?? 0) * 8;
  return length === 0 ? value.payload.length : Math.min(length, value.payload.length);
}

/**
 * Reads, as far as it is there, the packet that caused an error. `null` where the message is no error or quotes no IPv6
 * header.
 */
export function quoted(value: Icmpv6): Quoted | null {
  if (!isError(value.type)) return null;
  const end = quotedEnd(value);
  const header = ipv6.decodeLax(value.payload, 0, end);
  if (header === null) return null;
  const found = ipv6.findUpper(value.payload, 0, end);
  if (found < 0) return { header };
  const protocol = ipv6.upperProtocol(found);
  const at = ipv6.upperOffset(found);
  if (!hasPorts(protocol) || end - at < QUOTED_DESTINATION_PORT + 2) return { header, protocol };
  return {
    header,
    protocol,
    sourcePort: getU16(value.payload, at + QUOTED_SOURCE_PORT),
    destinationPort: getU16(value.payload, at + QUOTED_DESTINATION_PORT),
  };
}

/** The extension structure behind what an error quotes (RFC 4884, section 7), empty where there is none. */
export function extensions(value: Icmpv6): Uint8Array {
  return value.payload.subarray(quotedEnd(value));
}
