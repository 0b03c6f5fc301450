/** What a router changes in an IPv4 header, and the options that concern it: source routes and recorded routes (RFC 791). */
import { IPV4_LENGTH } from '../address/index.js';
import * as ipv4 from '../ipv4/index.js';
import { OPTION_END, OPTION_NOP } from '../wire/index.js';
import type { Route } from './routes.js';

const RECORD_ROUTE = 7;
const LOOSE_SOURCE_ROUTE = 131;
const STRICT_SOURCE_ROUTE = 137;
// Offsets from an option's start.
const LENGTH = 1;
const POINTER = 2;
/** Octets of a recorded route before its addresses; the pointer counts from 1. */
const ROUTE_HEADER = 3;

// What `readRouterOptions` returns.
/** Nothing that the router must not forward. */
export const PLAIN = 0;
/** The packet has a source route. */
export const SOURCE_ROUTED = 1;
/** This, plus the offset in the area of an option that is malformed. */
export const MALFORMED_AT = 2;

/** Checks the options in `bytes[offset, end)`. Neither throws nor allocates. */
export function readRouterOptions(bytes: Uint8Array, offset: number, end: number): number {
  let at = offset;
  while (at < end) {
    const kind = bytes[at]!;
    if (kind === OPTION_END) return PLAIN;
    if (kind === OPTION_NOP) {
      at++;
      continue;
    }
    const length = at + LENGTH < end ? bytes[at + LENGTH]! : 0;
    if (length < 2 || length > end - at) return MALFORMED_AT + at - offset;
    if (kind === LOOSE_SOURCE_ROUTE || kind === STRICT_SOURCE_ROUTE) return SOURCE_ROUTED;
    if (kind === RECORD_ROUTE && (length < ROUTE_HEADER || bytes[at + POINTER]! < ROUTE_HEADER + 1))
      return MALFORMED_AT + at + POINTER - offset;
    at += length;
  }
  return PLAIN;
}

/**
 * Changes the header at `ip` as a router must that passes it on: decrements the TTL, and records the route. Updates the
 * checksum. `readRouterOptions` has accepted the options.
 * @param length The header's length.
 */
export function pass(route: Route, bytes: Uint8Array, ip: number, length: number): void {
  if (length > ipv4.MIN_HEADER_LENGTH) recordRoute(bytes, ip, length, route.out.octets);
  ipv4.decrementTtl(bytes, ip);
}

/**
 * Writes an address into the recorded route of a packet, if it has one with room, and computes the header's checksum
 * (RFC 1812, section 4.2.2.1).
 */
function recordRoute(bytes: Uint8Array, ip: number, length: number, address: Uint8Array): void {
  for (let at = ip + ipv4.MIN_HEADER_LENGTH; at < ip + length && bytes[at] !== OPTION_END;) {
    if (bytes[at] === OPTION_NOP) {
      at++;
      continue;
    }
    const size = bytes[at + LENGTH]!;
    const pointer = bytes[at + POINTER]!;
    if (bytes[at] === RECORD_ROUTE && pointer + IPV4_LENGTH - 1 <= size) {
      bytes.set(address, at + pointer - 1);
      bytes[at + POINTER] = pointer + IPV4_LENGTH;
      ipv4.fillChecksum(bytes, ip);
      return;
    }
    at += size;
  }
}
