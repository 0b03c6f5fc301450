import {
  formatIpv6,
  isGroupMac,
  isIpv6Text,
  isMulticastIpv4,
  macToText,
  parseIpv4,
  parseIpv4Prefix,
  parseIpv6,
  parseMac,
} from '../../address/index.js';
import { WireError } from '../../wire/index.js';
import type { NetworkDb } from './networkdb.js';
import { OVERLAY_PEER_TABLE, peerRecord } from './records.js';
import type { TableChange } from './types.js';

/** Where an endpoint is: as a `Vtep` wants to be told. */
export interface OverlayEndpoint {
  /** `10.0.0.4` */
  ip: string;
  /** `02:42:0a:00:00:04` */
  mac: string;
  /** Underlay address of the VTEP that it is behind. */
  vtep: string;
}

/** What is told of endpoints and peers; a `Vtep` is one. */
export interface OverlaySink {
  addEndpoint(vni: number, endpoint: OverlayEndpoint): void;
  removeEndpoint(vni: number, endpoint: OverlayEndpoint): unknown;
  /** A VTEP is to get what goes to all. */
  addPeer(vni: number, address: string): void;
  removePeer(vni: number, address: string): unknown;
}

export interface OverlayPeersOptions {
  /** The id of the network in the tables. */
  network: string;
  vni: number;
  /** This host's own underlay address. */
  local: string;
}

/** An endpoint of this host. */
export interface LocalEndpoint {
  /** Docker's ids have 64 hexadecimal digits. */
  id: string;
  /** With the subnet's prefix length: `10.0.0.2/24`. */
  ip: string;
  mac: string;
}

/**
 * One overlay network between the tables and a VTEP: records of `overlay_peer_table` become endpoints and the flood list,
 * which holds the VTEPs that have an endpoint there, and endpoints of this host become records. This node is attached to
 * the network while it has an endpoint there, and no longer.
 */
export class OverlayPeers {
  readonly network: string;
  readonly vni: number;
  readonly #db: NetworkDb;
  readonly #sink: OverlaySink;
  readonly #local: string;
  readonly #endpoints = new Map<string, OverlayEndpoint>();
  /** Endpoints by VTEP. */
  readonly #peers = new Map<string, number>();
  /** How many records name the same endpoint. */
  readonly #same = new Map<string, number>();
  /** The records of endpoints of this host. */
  readonly #locals = new Map<string, Uint8Array>();
  readonly #unwatch: () => void;
  #rejected = 0;

  /** @throws RangeError where `local` is no address. */
  constructor(options: OverlayPeersOptions, db: NetworkDb, sink: OverlaySink) {
    this.network = options.network;
    this.vni = options.vni;
    this.#local = underlay(options.local);
    this.#db = db;
    this.#sink = sink;
    this.#unwatch = db.watch({ table: OVERLAY_PEER_TABLE, network: this.network }, (change, now) =>
      this.#changed(change, now),
    );
  }

  /** Records that were no record of an endpoint. */
  get rejected(): number {
    return this.#rejected;
  }

  /** Remote endpoints known. */
  get size(): number {
    return this.#endpoints.size;
  }

  /** The VTEPs of the flood list. */
  peers(): string[] {
    return [...this.#peers.keys()];
  }

  /**
   * Tells the others of an endpoint of this host; the first one attaches this node to the network.
   * @throws RangeError naming what is wrong.
   */
  addLocal({ id, ip, mac }: LocalEndpoint, now: number): void {
    parseIpv4Prefix(ip);
    parseMac(mac);
    if (this.#locals.has(id)) throw new RangeError(`endpoint ${id} is there already`);
    const value = peerRecord.encode({ endpointIp: ip, endpointMac: mac, tunnelIp: this.#local });
    this.#db.joinNetwork(this.network, now);
    // An entry of that name may be of another host still, where a container moved here with its id.
    if (this.#db.entry(this.network, OVERLAY_PEER_TABLE, id) !== undefined)
      this.#db.replaceEntry(this.network, OVERLAY_PEER_TABLE, id, value, now);
    else this.#db.createEntry(this.network, OVERLAY_PEER_TABLE, id, value, now);
    this.#locals.set(id, value);
  }

  /** Withdraws an endpoint of this host; with the last one this node leaves the network. */
  removeLocal(id: string, now: number): boolean {
    if (!this.#locals.delete(id)) return false;
    if (this.#locals.size === 0) this.#db.leaveNetwork(this.network, now);
    // Another host may have it by now.
    else if (this.#db.entry(this.network, OVERLAY_PEER_TABLE, id)?.owner === this.#db.name)
      this.#db.deleteEntry(this.network, OVERLAY_PEER_TABLE, id, now);
    return true;
  }

  /** Withdraws all endpoints of this host, and all that was told to the sink. */
  close(now: number): void {
    this.#locals.clear();
    this.#db.leaveNetwork(this.network, now);
    this.#unwatch();
    for (const key of [...this.#endpoints.keys()]) this.#remove(key);
  }

  #changed({ kind, key, value }: TableChange, now: number): void {
    const local = this.#locals.get(key);
    if (local !== undefined && kind === 'delete') {
      // Its former host withdrew it late, by a clock that is ahead of ours, and it is here.
      this.#db.createEntry(this.network, OVERLAY_PEER_TABLE, key, local, now);
      return;
    }
    const before = this.#endpoints.get(key);
    const after = kind === 'delete' ? null : this.#read(value);
    if (before !== undefined && after !== null && nameOf(before) === nameOf(after)) return;
    // The new one first, so that a VTEP which has both does not leave the flood list in between.
    if (after !== null) {
      if (count(this.#same, nameOf(after), 1) === 1) this.#sink.addEndpoint(this.vni, after);
      if (count(this.#peers, after.vtep, 1) === 1) this.#sink.addPeer(this.vni, after.vtep);
    }
    if (before !== undefined) this.#remove(key);
    if (after !== null) this.#endpoints.set(key, after);
  }

  #remove(key: string): void {
    const endpoint = this.#endpoints.get(key)!;
    this.#endpoints.delete(key);
    if (count(this.#same, nameOf(endpoint), -1) === 0) this.#sink.removeEndpoint(this.vni, endpoint);
    if (count(this.#peers, endpoint.vtep, -1) === 0) this.#sink.removePeer(this.vni, endpoint.vtep);
  }

  /** The endpoint that a record tells of; `null` for one of this host, and for what is none. */
  #read(value: Uint8Array): OverlayEndpoint | null {
    try {
      const record = peerRecord.decode(value);
      const vtep = underlay(record.tunnelIp);
      if (vtep === this.#local) return null;
      const { address } = parseIpv4Prefix(record.endpointIp);
      if (address === 0 || address === 0xffff_ffff || isMulticastIpv4(address)) throw new RangeError('no host');
      const mac = parseMac(record.endpointMac);
      if (mac === 0 || isGroupMac(mac)) throw new RangeError('no host');
      return { ip: record.endpointIp.split('/')[0]!, mac: macToText(mac), vtep };
    } catch (error) {
      if (!(error instanceof WireError) && !(error instanceof RangeError)) throw error;
      this.#rejected++;
      return null;
    }
  }
}

/** An underlay address of a host in the one way to write it. @throws RangeError for what is none. */
function underlay(text: string): string {
  if (isIpv6Text(text)) {
    const bytes = parseIpv6(text);
    if (bytes[0] === 0xff || bytes.every((octet) => octet === 0)) throw new RangeError(`${text} is no host`);
    return formatIpv6(bytes);
  }
  const address = parseIpv4(text);
  if (address === 0 || address === 0xffff_ffff || isMulticastIpv4(address)) throw new RangeError(`${text} is no host`);
  return text;
}

function nameOf({ ip, mac, vtep }: OverlayEndpoint): string {
  return `${ip} ${mac} ${vtep}`;
}

/** Adds to a count, leaves out zero, and returns it. */
function count(counts: Map<string, number>, key: string, by: number): number {
  const now = (counts.get(key) ?? 0) + by;
  if (now === 0) counts.delete(key);
  else counts.set(key, now);
  return now;
}
