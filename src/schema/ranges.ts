/** Which addresses a host, a VTEP or a subnet may have. */
import ipaddr from 'ipaddr.js';
import { SPECIAL_RANGES } from '../ipam/index.js';

/** An accepted IP address and its prefix length, as numbers. */
interface Net {
  address: bigint;
  length: number;
  /** Bits of an address of this family. */
  bits: 32 | 128;
}

/** The first range that contains an address describes it. */
const NETS = SPECIAL_RANGES.map(({ prefix, what, kind }) => ({ net: netOf(prefix), what, kind }));

/**
 * Why no host can have an address, as a noun phrase; `undefined` if one can.
 * @param text An IP address, without a prefix length.
 */
export function unusable(text: string): string | undefined {
  const net = netOf(text);
  return NETS.find((range) => overlaps(range.net, net))?.what;
}

/** Like `unusable`, for the address of a VTEP: allows loopback addresses, which tests and demonstrations use. */
export function unusableVtep(text: string): string | undefined {
  const net = netOf(text);
  const range = NETS.find((candidate) => overlaps(candidate.net, net));
  if (range !== undefined) return range.kind === 'loopback' ? undefined : range.what;
  if (isLinkLocal(text) && net.bits === 128)
    return 'a link-local address, which needs a zone; use a global one (or fd00::/8)';
  return undefined;
}

export function isLoopback(text: string): boolean {
  const net = netOf(text);
  return NETS.some((range) => range.kind === 'loopback' && overlaps(range.net, net));
}

/** Whether an address is in 169.254.0.0/16 or fe80::/10. */
export function isLinkLocal(text: string): boolean {
  return ipaddr.parse(text).range() === 'linkLocal';
}

/**
 * Why a host cannot have an address with this prefix length, as a noun phrase; `undefined` if it can. IPv4 prefixes of
 * 31 and 32 bits have neither a network nor a broadcast address (RFC 3021). IPv6 prefixes of 127 and 128 bits have no
 * anycast address of routers (RFC 6164).
 */
export function unusableHost(prefix: string): string | undefined {
  const { address, length, bits } = netOf(prefix);
  const plain = unusable(prefix.slice(0, prefix.indexOf('/')));
  if (plain !== undefined) return plain;
  if (length === 0) return 'an address with prefix length 0, whose subnet is the whole address space';
  if (bits - length < 2) return undefined;
  const host = address & ((1n << BigInt(bits - length)) - 1n);
  if (host === 0n)
    return bits === 32
      ? `the network address of ${subnetText(prefix)}`
      : `the subnet-router anycast address of ${subnetText(prefix)} (RFC 4291, section 2.6.1)`;
  if (bits === 32 && host === (1n << BigInt(bits - length)) - 1n)
    return `the broadcast address of ${subnetText(prefix)}`;
  return undefined;
}

/** Why a prefix is not a usable subnet, as words that follow the prefix; `undefined` if it is usable. */
export function unusableSubnet(prefix: string): string | undefined {
  const net = netOf(prefix);
  if (net.length === 0) return 'which is the whole address space';
  if (subnetText(prefix) !== canonicalPrefix(prefix)) return `whose subnet is ${subnetText(prefix)}`;
  const range = NETS.find((candidate) => candidate.kind !== '' && overlaps(candidate.net, net));
  return range === undefined ? undefined : `which holds ${range.kind} addresses`;
}

function canonicalPrefix(prefix: string): string {
  const [address, length] = ipaddr.parseCIDR(prefix);
  return `${address.toString()}/${length}`;
}

/** The first address of a subnet that a host can have; its only one, if it has no other. */
export function firstHost(subnet: string): string {
  const { address, length, bits } = netOf(subnet);
  const first = bits - length < 2 ? address : address + 1n;
  const bytes = Array.from({ length: bits / 8 }, (_, i) => Number((first >> BigInt(bits - 8 * (i + 1))) & 0xffn));
  return ipaddr.fromByteArray(bytes).toString();
}

/** Clears the host bits of a prefix: `10.0.0.0/24` for `10.0.0.3/24`. */
export function subnetText(prefix: string): string {
  const [address, length] = ipaddr.parseCIDR(prefix);
  const network =
    address.kind() === 'ipv4' ? ipaddr.IPv4.networkAddressFromCIDR(prefix) : ipaddr.IPv6.networkAddressFromCIDR(prefix);
  return `${network.toString()}/${length}`;
}

/** Whether two prefixes or addresses of one family overlap. */
export function shareAddresses(a: string, b: string): boolean {
  return overlaps(netOf(a), netOf(b));
}

/**
 * The first prefix before each one that shares addresses with it, as a number in the list; -1 for none. Two prefixes share
 * addresses only if one contains the other, so in the order of their first addresses, those that contain a prefix are the
 * ones that have begun and not ended.
 */
export function firstShared(prefixes: readonly string[]): number[] {
  const nets = prefixes.map((prefix, at): Span => {
    const { address, length, bits } = netOf(prefix);
    const host = BigInt(bits - length);
    const first = (address >> host) << host;
    return { at, bits, length, first, last: first + (1n << host) - 1n };
  });
  nets.sort((a, b) => a.bits - b.bits || (a.first < b.first ? -1 : a.first > b.first ? 1 : a.length - b.length));
  const found = new Array<number>(nets.length).fill(-1);
  /** Those around the next one: the earliest of the list among them, and the earliest within each so far. */
  const open: { net: Span; earliest: number; within: number }[] = [];
  const note = (one: number, other: number): void => {
    if (other < one && (found[one]! < 0 || other < found[one]!)) found[one] = other;
  };
  const leave = (): void => {
    const { net, within } = open.pop()!;
    note(net.at, within);
    const outer = open.at(-1);
    if (outer !== undefined) outer.within = Math.min(outer.within, within, net.at);
  };
  for (const net of nets) {
    for (let top = open.at(-1); top !== undefined && !holds(top.net, net); top = open.at(-1)) leave();
    const earliest = open.at(-1)?.earliest ?? Infinity;
    note(net.at, earliest);
    open.push({ net, earliest: Math.min(earliest, net.at), within: Infinity });
  }
  while (open.length > 0) leave();
  return found;
}

/** A prefix in a list, and its first and last address. */
interface Span {
  at: number;
  bits: number;
  length: number;
  first: bigint;
  last: bigint;
}

function holds(a: Span, b: Span): boolean {
  return a.bits === b.bits && b.first >= a.first && b.last <= a.last;
}

function overlaps(a: Net, b: Net): boolean {
  if (a.bits !== b.bits) return false;
  const shift = BigInt(a.bits - Math.min(a.length, b.length));
  return a.address >> shift === b.address >> shift;
}

function netOf(text: string): Net {
  const [address, length] = text.split('/');
  const bytes = ipaddr.parse(address!).toByteArray();
  const bits = bytes.length === 4 ? 32 : 128;
  return {
    address: bytes.reduce((value, byte) => (value << 8n) | BigInt(byte), 0n),
    length: length === undefined ? bits : Number(length),
    bits,
  };
}
