/**
 * Congestion notification through a tunnel, RFC 6040: encapsulation copies the inner field to the outer header (normal
 * mode, section 4.1); decapsulation combines the two by the table of section 4.2.
 */
import * as ethernet from '../ethernet/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as ipv6 from '../ipv6/index.js';
import type { Frame } from './frame.js';

/** The four values of the ECN field. */
export const NOT_ECT = 0;
export const ECT1 = 1;
export const ECT0 = 2;
export const CE = 3;

/** `combine`: drop the packet. */
export const ECN_DROP = -1;

// Rows: the inner field on arrival; columns: the outer one, Not-ECT, ECT(1), ECT(0), CE.
// prettier-ignore
const TABLE = Int8Array.of(
  /* Not-ECT */ NOT_ECT, NOT_ECT, NOT_ECT, ECN_DROP,
  /* ECT(1)  */ ECT1, ECT1, ECT1, CE,
  /* ECT(0)  */ ECT0, ECT1, ECT0, CE,
  /* CE      */ CE, CE, CE, CE,
);

/** The inner field after decapsulation, or `ECN_DROP`. */
export function combine(inner: number, outer: number): number {
  return TABLE[(inner << 2) | outer]!;
}

/** The ECN field of a frame's IP header; Not-ECT if it has none. */
export function ecnOf(frame: Frame): number {
  if (!frame.isIp) return NOT_ECT;
  const { bytes, type, payload } = frame;
  return type === ethernet.TYPE_IPV4 ? ipv4.getEcn(bytes, payload) : ipv6.getEcn(bytes, payload);
}

/** Sets the ECN field of a frame's IP header, which it must have. */
export function setEcn(frame: Frame, ecn: number): void {
  const { bytes, type, payload } = frame;
  if (type === ethernet.TYPE_IPV4) ipv4.setEcn(bytes, payload, ecn);
  else ipv6.setEcn(bytes, payload, ecn);
}
