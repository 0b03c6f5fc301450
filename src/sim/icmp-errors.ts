/** The ICMP errors that a station sends and receives: what it quotes, and whose packet an error is about. */
import * as icmp from '../icmp/index.js';
import * as ipv4 from '../ipv4/index.js';
import { type PacketError } from './ping.js';

/** Bytes of the offending packet to quote, so that an error stays within 576 bytes (RFC 1812, section 4.3.2.3). */
const QUOTE = 576 - ipv4.MIN_HEADER_LENGTH - icmp.HEADER_LENGTH;

/** The ICMP errors that say that a packet was not delivered, and why. */
const REASONS: Partial<Record<number, PacketError['reason']>> = {
  [icmp.UNREACHABLE]: 'unreachable',
  [icmp.TIME_EXCEEDED]: 'expired',
  [icmp.PARAMETER_PROBLEM]: 'malformed',
};

/** Whether a message of this type says that a packet was not delivered. */
export function isFailure(type: number): boolean {
  return REASONS[type] !== undefined;
}

/** A packet that was not delivered. */
export interface Failure {
  error: PacketError;
  /** Of a message that the packet was too big: the MTU that it states. */
  nextHopMtu: number | undefined;
  /** The header of the packet. */
  header: NonNullable<ReturnType<typeof icmp.quoted>>['header'];
  /** If it was an echo request. */
  echo?: { identifier: number; sequence: number };
  /** If it was a UDP datagram. */
  sourcePort?: number;
  destinationPort?: number;
}

/**
 * The packet that an ICMP error is about.
 * @param from The sender of the error.
 * @returns `null` if the error quotes no packet of the station at `self`.
 */
export function failureOf(message: icmp.DecodedIcmp, from: string, self: string): Failure | null {
  const about = icmp.quoted(message);
  if (about === null || about.header.source !== self) return null;
  const { header, sourcePort, destinationPort } = about;
  const { type, code, nextHopMtu } = message;
  const failure: Failure = { error: { reason: REASONS[type]!, from, code }, nextHopMtu, header };
  if (header.protocol === ipv4.PROTOCOL_ICMP) {
    const echo = icmp.decodeLax(header.payload, 0, header.payload.length);
    if (echo?.type === icmp.ECHO_REQUEST && echo.sequence !== undefined)
      failure.echo = { identifier: echo.identifier!, sequence: echo.sequence };
  } else if (header.protocol === ipv4.PROTOCOL_UDP && sourcePort !== undefined)
    Object.assign(failure, { sourcePort, destinationPort });
  return failure;
}

/** What an error quotes of the packet at `ip`. */
export function quoteOf(bytes: Uint8Array, ip: number, end: number): Uint8Array {
  return bytes.subarray(ip, Math.min(end, ip + QUOTE));
}

/**
 * Whether an ICMP error may be sent to an address: not to 0.0.0.0/8, loopback, multicast or reserved (RFC 1122, section
 * 3.2.2).
 */
export function isHost(address: number): boolean {
  const net = address >>> 24;
  return net !== 0 && net !== 127 && net < 224;
}
