/**
 * The endpoints of one segment as announced by the control plane: IP address, MAC address and location. Also the ARP
 * proxy that answers from them (RFC 826, RFC 5227; RFC 9161 for what a proxy may answer).
 *
 * A location is an integer whose meaning is the caller's, such as a destination of an `Fdb`, or `LOCAL`.
 */
import {
  getOperation,
  getSenderIp,
  getSenderMac,
  getTargetIp,
  isEthernetIpv4,
  REQUEST,
  check as checkArp,
} from '../arp/index.js';
import { ipv4ToText, macToText } from '../address/index.js';

/** The location of an endpoint on this host, which answers ARP itself. */
export const LOCAL = -1;

/** One endpoint as the control plane announced it. */
export interface Binding {
  /** IPv4 address, unsigned 32 bits. */
  readonly ip: number;
  /** MAC address, 48 bits. */
  readonly mac: number;
  readonly location: number;
}

/** One endpoint of a listing. */
export interface NeighborEntry {
  ip: string;
  mac: string;
  location: number;
  /** Whether a newer binding of the same IP address hides this one. */
  hidden: boolean;
}

/** A binding, and its neighbors in the chains of its IP address and of its MAC address: from the newest to the oldest. */
interface Entry {
  readonly binding: Binding;
  olderIp: Entry | undefined;
  newerIp: Entry | undefined;
  olderMac: Entry | undefined;
  newerMac: Entry | undefined;
}

/**
 * The endpoint table. While a container moves, its old and new bindings may both exist for a while. The one added last
 * is in effect. When it is withdrawn, the one before it is in effect again. (Docker's kernel tables refuse the second
 * and lose the first, which drops all packets to the endpoint.)
 *
 * The time of a change does not depend on how many bindings share an address, because other hosts decide that.
 */
export class Neighbors {
  readonly #all = new Map<string, Entry>();
  /** The newest binding of each address. */
  readonly #byIp = new Map<number, Entry>();
  readonly #byMac = new Map<number, Entry>();

  /** Number of bindings, hidden ones included. */
  get size(): number {
    return this.#all.size;
  }

  /** Adds a binding, or makes an existing one the newest. */
  add(binding: Binding): void {
    this.remove(binding);
    const { ip, mac } = binding;
    const [olderIp, olderMac] = [this.#byIp.get(ip), this.#byMac.get(mac)];
    const entry: Entry = { binding, olderIp, olderMac, newerIp: undefined, newerMac: undefined };
    if (olderIp !== undefined) olderIp.newerIp = entry;
    if (olderMac !== undefined) olderMac.newerMac = entry;
    this.#byIp.set(ip, entry);
    this.#byMac.set(mac, entry);
    this.#all.set(keyOf(binding), entry);
  }

  /** Withdraws a binding and returns whether it existed. */
  remove(binding: Binding): boolean {
    const key = keyOf(binding);
    const entry = this.#all.get(key);
    if (entry === undefined) return false;
    this.#all.delete(key);
    const { olderIp, newerIp, olderMac, newerMac } = entry;
    if (olderIp !== undefined) olderIp.newerIp = newerIp;
    if (newerIp !== undefined) newerIp.olderIp = olderIp;
    else setNewest(this.#byIp, binding.ip, olderIp);
    if (olderMac !== undefined) olderMac.newerMac = newerMac;
    if (newerMac !== undefined) newerMac.olderMac = olderMac;
    else setNewest(this.#byMac, binding.mac, olderMac);
    return true;
  }

  /** The binding in effect for an IP address. */
  byIp(ip: number): Binding | undefined {
    return this.#byIp.get(ip)?.binding;
  }

  /** The binding in effect for a MAC address, which may have several IP addresses. */
  byMac(mac: number): Binding | undefined {
    return this.#byMac.get(mac)?.binding;
  }

  /** All bindings; for each IP address the one in effect comes first. */
  *bindings(): Generator<Binding & { hidden: boolean }> {
    for (const newest of this.#byIp.values()) {
      const all: Binding[] = []; // a copy, because the chain may change between two entries
      for (let entry: Entry | undefined = newest; entry !== undefined; entry = entry.olderIp) all.push(entry.binding);
      for (let i = 0; i < all.length; i++) yield { ...all[i]!, hidden: i > 0 };
    }
  }

  /** All bindings for listings. */
  *entries(): Generator<NeighborEntry> {
    for (const { ip, mac, location, hidden } of this.bindings())
      yield { ip: ipv4ToText(ip), mac: macToText(mac), location, hidden };
  }
}

function keyOf({ ip, mac, location }: Binding): string {
  return `${ip} ${mac} ${location}`;
}

function setNewest(map: Map<number, Entry>, address: number, newest: Entry | undefined): void {
  if (newest === undefined) map.delete(address);
  else map.set(address, newest);
}

/**
 * How the proxy answers for a remote endpoint: with the endpoint's own MAC address, as Docker's kernel device does;
 * with the VTEP's, so that hosts see a single neighbor; or not at all.
 */
export type ProxyMode = 'endpoint' | 'vtep' | 'off';

/** `judge`: answer for the target. */
export const ANSWER = 0;
/** `judge`: not a complete Ethernet/IPv4 ARP request; forward it like any frame. */
export const NOT_A_REQUEST = 1;
/** `judge`: an announcement, or a request for the sender's own address (RFC 5227, section 2.1.1); forward it to all. */
export const OWN_ADDRESS = 2;
/** `judge`: the control plane has no endpoint with the target address. */
export const UNKNOWN = 3;
/** `judge`: the target is on this host and answers itself. */
export const ON_THIS_HOST = 4;

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
