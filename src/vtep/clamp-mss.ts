/**
 * Lowers the maximum segment size in TCP's SYN, so that both ends send segments that fit the path: for stations that ignore ICMP
 * errors, or whose firewalls drop them.
 */
import * as ethernet from '../ethernet/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import * as tcp from '../tcp/index.js';
import { getU16, setU16 } from '../wire/index.js';
import type { Frame } from './frame.js';

/** Offset of TCP's checksum in its header. */
const CHECKSUM = 16;
const END_OF_OPTIONS = 0;
const NO_OPERATION = 1;
const MSS_LENGTH = 4;
/** The smallest maximum segment size to write: senders may ignore less. */
const LEAST = 64;

/**
 * Lowers the MSS of a SYN or SYN-ACK to what fits packets of `mtu` bytes, and adapts the checksum (RFC 1624).
 * @returns the new MSS, or 0 if nothing was changed. A segment without the option stays: it means 536 bytes (RFC 9293).
 */
export function clampMss(frame: Frame, mtu: number): number {
  const { bytes, payload: ip, end, type, snap, packets } = frame;
  if (snap || packets > 1) return 0;
  let start: number;
  let stop: number;
  let header: number;
  if (type === ethernet.TYPE_IPV4) {
    const length = ipv4.check(bytes, ip, end);
    if (length < 0 || ipv4.getProtocol(bytes, ip) !== ipv4.PROTOCOL_TCP || ipv4.isFragment(bytes, ip)) return 0;
    [start, stop, header] = [ip + length, ip + ipv4.getTotalLength(bytes, ip), ipv4.MIN_HEADER_LENGTH];
  } else if (type === ethernet.TYPE_IPV6) {
    if (ipv6.check(bytes, ip, end) < 0) return 0;
    stop = Math.min(end, ip + ipv6.HEADER_LENGTH + ipv6.getPayloadLength(bytes, ip));
    const found = ipv6.findUpper(bytes, ip, stop);
    if (found < 0 || ipv6.upperProtocol(found) !== ipv4.PROTOCOL_TCP) return 0;
    [start, header] = [ip + ipv6.upperOffset(found), ipv6.HEADER_LENGTH];
  } else return 0;
  if (tcp.check(bytes, start, stop) < 0 || (tcp.getFlags(bytes, start) & tcp.FLAG_SYN) === 0) return 0;
  const at = findMss(bytes, start + tcp.MIN_HEADER_LENGTH, start + tcp.getHeaderLength(bytes, start));
  const most = Math.max(LEAST, mtu - header - tcp.MIN_HEADER_LENGTH);
  if (at < 0 || getU16(bytes, at) <= most) return 0;
  writeChecked(bytes, at, most, start);
  return most;
}

/** The offset of the value of the MSS option, or -1. */
function findMss(bytes: Uint8Array, start: number, end: number): number {
  for (let at = start; at < end;) {
    const kind = bytes[at]!;
    if (kind === END_OF_OPTIONS) return -1;
    if (kind === NO_OPERATION) {
      at++;
      continue;
    }
    const length = at + 1 < end ? bytes[at + 1]! : 0;
    if (length < 2 || at + length > end) return -1;
    if (kind === tcp.OPTION_MSS) return length === MSS_LENGTH ? at + 2 : -1;
    at += length;
  }
  return -1;
}

/** Writes 16 bits of a TCP segment, which may begin at an odd offset of it, and adapts its checksum. */
function writeChecked(bytes: Uint8Array, at: number, value: number, tcpStart: number): void {
  const odd = ((at - tcpStart) & 1) === 1;
  const before = getU16(bytes, at);
  setU16(bytes, at, value);
  const swap = (word: number): number => (odd ? ((word & 0xff) << 8) | (word >> 8) : word);
  const field = tcpStart + CHECKSUM;
  let sum = (~getU16(bytes, field) & 0xffff) + (~swap(before) & 0xffff) + swap(value);
  sum = (sum & 0xffff) + (sum >>> 16);
  sum = (sum & 0xffff) + (sum >>> 16);
  setU16(bytes, field, ~sum & 0xffff);
}
