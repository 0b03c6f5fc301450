/** The judgement of ARP packets: which ones a proxy answers (RFC 826, RFC 5227), and which ones contradict the table. */
import {
  getOperation,
  getSenderIp,
  getSenderMac,
  getTargetIp,
  isEthernetIpv4,
  REQUEST,
  check as checkArp,
} from '../arp/index.js';
import { LOCAL, type Neighbors } from './table.js';
import { ANSWER, NOT_A_REQUEST, ON_THIS_HOST, OWN_ADDRESS, UNKNOWN } from './verdict.js';

/**
 * Whether a proxy must answer the ARP packet at `offset`. It answers a probe (sender 0.0.0.0, RFC 5227) for another
 * endpoint's address, so that the prober detects the duplicate, but never one for the prober's own address.
 * @returns one of `ANSWER`, `NOT_A_REQUEST`, `OWN_ADDRESS`, `UNKNOWN`, `ON_THIS_HOST`.
 */
export function judge(neighbors: Neighbors, bytes: Uint8Array, offset: number, end: number): number {
  if (checkArp(bytes, offset, end) < 0 || !isEthernetIpv4(bytes, offset)) return NOT_A_REQUEST;
  if (getOperation(bytes, offset) !== REQUEST) return NOT_A_REQUEST;
  const target = getTargetIp(bytes, offset);
  if (getSenderIp(bytes, offset) === target) return OWN_ADDRESS;
  const binding = neighbors.byIp(target);
  if (binding === undefined) return UNKNOWN;
  if (binding.mac === getSenderMac(bytes, offset)) return OWN_ADDRESS;
  return binding.location === LOCAL ? ON_THIS_HOST : ANSWER;
}

/**
 * Whether an ARP packet claims an IP address that the control plane assigns to another MAC address: a duplicate or
 * spoofed address (RFC 9161, section 3.6).
 */
export function contradicts(neighbors: Neighbors, bytes: Uint8Array, offset: number, end: number): boolean {
  if (checkArp(bytes, offset, end) < 0 || !isEthernetIpv4(bytes, offset)) return false;
  const binding = neighbors.byIp(getSenderIp(bytes, offset));
  return binding !== undefined && binding.mac !== getSenderMac(bytes, offset);
}

/** Whether an Ethernet/IPv4 ARP packet has an all-zero sender hardware address, which no station has. */
export function hasNoSender(bytes: Uint8Array, offset: number, end: number): boolean {
  return checkArp(bytes, offset, end) >= 0 && isEthernetIpv4(bytes, offset) && getSenderMac(bytes, offset) === 0;
}
