import {
  formatIpv6,
  ipv4ToText,
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
import { contradict, isOlder, parametersOf, Placements, type Placement, type Ruling } from './placements.js';
import { OVERLAY_PEER_TABLE, peerExtension, peerRecord, WAITING_TABLE } from './records.js';
import type { TableChange } from './types.js';

/** Milliseconds for which the first endpoint of a network waits for the others' tables before it is announced. */
const PATIENCE = 1000;

/** Where an endpoint is: the fields that a `Vtep` takes. */
export interface OverlayEndpoint {
  /** `10.0.0.4` */
  ip: string;
  /** `02:42:0a:00:00:04` */
  mac: string;
  /** Underlay address of the VTEP that it is behind. */
  vtep: string;
}

/** Receives endpoints and peers; a `Vtep` is one. */
export interface OverlaySink {
  addEndpoint(vni: number, endpoint: OverlayEndpoint): void;
  removeEndpoint(vni: number, endpoint: OverlayEndpoint): unknown;
  /** Adds a VTEP that gets a copy of every flooded frame. */
  addPeer(vni: number, address: string): void;
  removePeer(vni: number, address: string): unknown;
}

/** One side of a conflict. */
export interface ConflictParty {
  /** The node's name. */
  node: string;
  /** Underlay address of its VTEP; absent where the conflict is about the network's VNI or subnet. */
  vtep?: string;
  /** When it attached, in milliseconds since 1970; 0 where its record does not say, as Docker's do not. */
  since: number;
}

/** Two hosts that contradict each other, with the one that gives way. All hosts of a network list the same conflicts. */
export interface OverlayConflict {
  network: string;
  /** What both have, or where they differ: an address, or VNI and subnet. */
  kind: 'ip' | 'mac' | 'parameters';
  /** `10.0.0.4`, `02:42:0a:00:00:04`, `VNI 5000, subnet 10.0.0.0/24`: the refused one's. */
  value: string;
  /** The address or the parameters that hold; the same as `value` for addresses. */
  holds: string;
  holder: ConflictParty;
  refused: ConflictParty;
}

export interface OverlayPeersOptions {
  /** The id of the network in the tables. */
  network: string;
  vni: number;
  /** This host's own underlay address. */
  local: string;
  /**
   * The time of the host's clock, in milliseconds since 1970. Absent: records say neither when their endpoint was attached
   * nor which VNI they are of, as Docker's.
   */
  time?: () => number;
  /** Is told of conflicts that begin, with this node or among others, and of those that are over. It must not throw. */
  conflict?: (conflict: OverlayConflict, over: boolean) => void;
}

/** An endpoint of this host. */
export interface LocalEndpoint {
  /** Docker's ids have 64 hexadecimal digits. */
  id: string;
  /** With the subnet's prefix length: `10.0.0.2/24`. */
  ip: string;
  mac: string;
}

/** An endpoint of this host, and what became of it. */
interface Local extends LocalEndpoint {
  /** Its placement, with the time from which it counts among those that wait. */
  readonly waiting: Placement;
  /** Its record, while that is in the table. */
  announced: { readonly value: Uint8Array; readonly placement: Placement } | null;
}

/**
 * One overlay network between the tables and a VTEP: records of `overlay_peer_table` become endpoints and the flood list,
 * which holds the VTEPs that have an endpoint there, and endpoints of this host become records. This node is attached to
 * the network while it has an endpoint there, and no longer.
 *
 * Where two hosts have one IP or MAC address, or another VNI or subnet for the same network, the older attachment holds at
 * every host (see `placements.ts`). The host of the newer one withdraws its record, or does not announce it in the first
 * place, and writes it into `weft_waiting_table` instead; it announces the endpoint once nothing is in its way, those that
 * have waited longer first. An attachment counts from its announcement, so that one that waited takes nothing from another
 * that was announced meanwhile.
 */
export class OverlayPeers {
  readonly network: string;
  readonly vni: number;
  readonly #db: NetworkDb;
  readonly #sink: OverlaySink;
  readonly #local: string;
  readonly #time: (() => number) | undefined;
  readonly #report: OverlayPeersOptions['conflict'];
  /** The records of the table, this host's among them. */
  readonly #placements = new Placements();
  /** The records of those that wait, this host's among them. */
  readonly #waiting = new Map<string, Placement>();
  /** What the sink was told, by the keys of records. */
  readonly #endpoints = new Map<string, OverlayEndpoint>();
  /** Endpoints by VTEP. */
  readonly #peers = new Map<string, number>();
  /** How many records name the same endpoint. */
  readonly #same = new Map<string, number>();
  readonly #locals = new Map<string, Local>();
  /** Those of them that are not announced. */
  readonly #unannounced = new Set<Local>();
  /** The addresses of those, and of all that wait. */
  #wanted = new Set<string>();
  /** The conflicts that were reported, by what they are about. */
  #conflicts = new Map<string, OverlayConflict>();
  /** VNI and subnet as this node's endpoints have them. */
  #parameters = '';
  /** When this node attached to the network; 0 while none of its endpoints is announced. */
  #attached = 0;
  /** Whether the others' tables are known well enough to announce endpoints. Another object for each attachment. */
  #ready = { yes: false };
  #settling = false;
  /** Whether something changed that has not been settled, and whether it matters to those that wait. */
  #due = false;
  #matters = false;
  readonly #ends: (() => void)[];
  #rejected = 0;

  /** @throws RangeError where `local` is no address. */
  constructor(options: OverlayPeersOptions, db: NetworkDb, sink: OverlaySink) {
    this.network = options.network;
    this.vni = options.vni;
    this.#local = underlay(options.local);
    this.#time = options.time;
    this.#report = options.conflict;
    this.#db = db;
    this.#sink = sink;
    const { network } = this;
    this.#ends = [
      db.watch({ table: OVERLAY_PEER_TABLE, network }, (change, now) => this.#changed(change, now)),
      db.watch({ table: WAITING_TABLE, network }, (change, now) => this.#waitingChanged(change, now)),
      db.reclaim({ table: OVERLAY_PEER_TABLE, network }, (key, value) => this.#reclaim(key, value)),
    ];
  }

  /** Records that could not be read, or name no host. */
  get rejected(): number {
    return this.#rejected;
  }

  /** Remote endpoints known. */
  get size(): number {
    return this.#endpoints.size;
  }

  /** Endpoints of this host that are not announced, or not yet. */
  get refused(): number {
    return this.#unannounced.size;
  }

  /** The VTEPs of the flood list. */
  peers(): string[] {
    return [...this.#peers.keys()];
  }

  /** The conflicts that there are now, of this node and of others. */
  conflicts(): OverlayConflict[] {
    return [...this.#findConflicts().values()];
  }

  /** What stands in the way of an endpoint of this host, before it is added; `null` for nothing. */
  conflictOf(endpoint: LocalEndpoint): OverlayConflict | null {
    const placement = this.#placementOf(endpoint);
    const rival = this.#rivalOf(placement);
    return rival === null ? null : this.#conflict(placement, rival);
  }

  /**
   * Announces an endpoint of this host, as soon as nothing stands in its way; the first one attaches this node to the
   * network.
   * @throws RangeError naming what is wrong.
   */
  addLocal(endpoint: LocalEndpoint, now: number): void {
    const { id, ip, mac } = endpoint;
    const waiting = this.#placementOf(endpoint);
    if (this.#locals.has(id)) throw new RangeError(`endpoint ${id} is there already`);
    const first = this.#locals.size === 0;
    this.#parameters = waiting.parameters;
    const local: Local = { id, ip, mac, waiting, announced: null };
    this.#locals.set(id, local);
    this.#unannounced.add(local);
    if (first) {
      const ready = { yes: false };
      this.#ready = ready;
      this.#db.joinNetwork(this.network, now);
      this.#db.whenSynced(this.network, PATIENCE, now, (then) => {
        ready.yes = true;
        if (this.#ready === ready) this.#settle(then, true);
      });
    }
    this.#settle(now, true);
  }

  /** Withdraws an endpoint of this host; with the last one this node leaves the network. */
  removeLocal(id: string, now: number): boolean {
    const local = this.#locals.get(id);
    if (local === undefined) return false;
    this.#locals.delete(id);
    this.#unannounced.delete(local);
    if (this.#locals.size === 0) this.#leave(now);
    else {
      this.#erase(OVERLAY_PEER_TABLE, id, now);
      this.#erase(WAITING_TABLE, this.#waitingKey(id), now);
      if (![...this.#locals.values()].some(({ announced }) => announced !== null)) this.#attached = 0;
      this.#settle(now, true);
    }
    return true;
  }

  /** Withdraws all endpoints of this host, and everything that the sink was told. */
  close(now: number): void {
    this.#locals.clear();
    this.#unannounced.clear();
    this.#leave(now);
    for (const end of this.#ends) end();
    for (const key of [...this.#endpoints.keys()]) this.#forget(key);
  }

  #leave(now: number): void {
    this.#ready = { yes: false };
    this.#attached = 0;
    this.#db.leaveNetwork(this.network, now);
    this.#settle(now, true);
  }

  // ---- Changes of the tables ----

  #changed({ kind, key, value, owner }: TableChange, now: number): void {
    const local = this.#locals.get(key);
    const announced = local?.announced ?? null;
    if (kind === 'delete') {
      if (announced !== null) {
        // Its former host withdrew it late, by a clock that is ahead of ours, and it is here.
        this.#db.createEntry(this.network, OVERLAY_PEER_TABLE, key, announced.value, now);
        return;
      }
      this.#placements.remove(key);
    } else {
      const placement = this.#read(key, owner, value);
      if (placement === null) this.#placements.remove(key);
      else {
        this.#placements.put(placement);
        if (announced !== null && owner !== this.#db.name) this.#overwritten(local!, placement, now);
      }
    }
    this.#settle(now, false);
  }

  /** Another node has written the record of an endpoint that is here: the older one of the two stays. */
  #overwritten(local: Local, by: Placement, now: number): void {
    const { value, placement } = local.announced!;
    // Where no record has a time, the later one stays: hosts that both wrote again would never end.
    if (placement.since > 0 && isOlder(placement, by))
      this.#db.replaceEntry(this.network, OVERLAY_PEER_TABLE, local.id, value, now);
    else this.#setAnnounced(local, null);
  }

  #waitingChanged({ kind, key, value, owner }: TableChange, now: number): void {
    const placement = kind === 'delete' ? null : this.#read(key, owner, value);
    if (placement === null) this.#waiting.delete(key);
    else this.#waiting.set(key, placement);
    this.#settle(now, true);
  }

  /** Whether a record of an earlier life of this node is still true: an endpoint keeps its seniority over a restart. */
  #reclaim(key: string, value: Uint8Array): boolean {
    const local = this.#locals.get(key);
    if (local === undefined || local.announced !== null) return false;
    const placement = this.#read(key, this.#db.name, value);
    if (placement === null) return false;
    const { ip, mac, vtep, parameters } = local.waiting;
    const isSame =
      placement.ip === ip && placement.mac === mac && placement.vtep === vtep && placement.parameters === parameters;
    if (!isSame || this.#placements.rival(placement) !== null) return false;
    this.#setAnnounced(local, { value, placement });
    if (placement.attached > 0 && (this.#attached === 0 || placement.attached < this.#attached))
      this.#attached = placement.attached;
    return true;
  }

  // ---- What follows from them ----

  /**
   * Finds out what holds now, tells the sink, and announces or withdraws endpoints of this host.
   * @param matters Whether those that wait are to be looked at in any case.
   */
  #settle(now: number, matters: boolean): void {
    this.#due = true;
    this.#matters ||= matters;
    if (this.#settling) return; // what is written here comes back as a change
    this.#settling = true;
    let reports = false;
    while (this.#due) {
      this.#due = false;
      for (const local of this.#program()) if (local.announced !== null) this.#withdraw(local, now);
      if (!this.#matters) continue;
      this.#matters = false;
      reports = true;
      this.#collectWanted();
      if (!this.#ready.yes) continue;
      for (const local of [...this.#unannounced]) {
        if (!this.#placements.isSettled) {
          this.#matters = true;
          break;
        }
        this.#announce(local, now);
      }
    }
    this.#settling = false;
    if (reports) this.#reportConflicts();
  }

  #collectWanted(): void {
    if (this.#wanted.size === 0 && this.#waiting.size === 0 && this.#unannounced.size === 0) return;
    this.#wanted = new Set();
    for (const { ip, mac } of this.#waiting.values()) this.#wanted.add(ip).add(mac);
    for (const { waiting } of this.#unannounced) this.#wanted.add(waiting.ip).add(waiting.mac);
  }

  /** Tells the sink which placements hold. @returns the endpoints of this host whose records do not. */
  #program(): Local[] {
    const { ruling } = this.#placements;
    const refused = this.#placements.refused.size;
    const changes = this.#placements.settle();
    if (ruling !== this.#placements.ruling && this.#waiting.size > 0) this.#matters = true;
    if (ruling?.parameters !== this.#placements.ruling?.parameters) this.#matters = true;
    if (refused !== 0 || this.#placements.refused.size !== 0) this.#matters = true;
    const isWanted = (placement: Placement | null): boolean =>
      placement !== null && (this.#wanted.has(placement.ip) || this.#wanted.has(placement.mac));
    if (!this.#matters && this.#wanted.size > 0)
      this.#matters = changes.some(({ before, after }) => isWanted(before) || isWanted(after));
    const settled = changes.map(({ before, after }) => ({
      key: (before ?? after)!.key,
      after: after !== null && this.#concernsSink(after) ? after : null,
    }));
    const lost: Local[] = [];
    for (const { owner, key } of this.#placements.refused) {
      const local = owner === this.#db.name ? this.#locals.get(key) : undefined;
      if (local !== undefined) lost.push(local);
    }
    const old: OverlayEndpoint[] = [];
    // The new ones first, so that a VTEP which has both does not leave the flood list in between.
    for (const { key, after } of settled) {
      const before = this.#endpoints.get(key);
      if (before !== undefined && after !== null && nameOf(before) === nameOf(after)) continue;
      if (before !== undefined) {
        old.push(before);
        this.#endpoints.delete(key);
      }
      if (after === null) continue;
      const endpoint = { ip: after.ip, mac: after.mac, vtep: after.vtep };
      this.#endpoints.set(key, endpoint);
      if (count(this.#same, nameOf(endpoint), 1) === 1) this.#sink.addEndpoint(this.vni, endpoint);
      if (count(this.#peers, endpoint.vtep, 1) === 1) this.#sink.addPeer(this.vni, endpoint.vtep);
    }
    for (const endpoint of old) this.#remove(endpoint);
    return lost;
  }

  /** Whether the VTEP here can reach an endpoint: one elsewhere, with our VNI and subnet as far as its record names them. */
  #concernsSink({ vtep, parameters }: Placement): boolean {
    return vtep !== this.#local && (parameters === '' || this.#parameters === '' || parameters === this.#parameters);
  }

  #forget(key: string): void {
    const endpoint = this.#endpoints.get(key)!;
    this.#endpoints.delete(key);
    this.#remove(endpoint);
  }

  #remove(endpoint: OverlayEndpoint): void {
    if (count(this.#same, nameOf(endpoint), -1) === 0) this.#sink.removeEndpoint(this.vni, endpoint);
    if (count(this.#peers, endpoint.vtep, -1) === 0) this.#sink.removePeer(this.vni, endpoint.vtep);
  }

  /** Writes the record of an endpoint of this host, or lets it wait for what is in its way. */
  #announce(local: Local, now: number): void {
    if (this.#rivalOf(local.waiting) !== null) return this.#wait(local, now);
    const since = this.#wallTime();
    if (this.#attached === 0) this.#attached = since;
    const placement = { ...local.waiting, since, attached: this.#attached };
    const value = this.#encode(local, placement);
    this.#setAnnounced(local, { value, placement });
    this.#write(OVERLAY_PEER_TABLE, local.id, value, now);
    this.#erase(WAITING_TABLE, this.#waitingKey(local.id), now);
  }

  /** An older attachment holds what an endpoint of this host has: its record goes. */
  #withdraw(local: Local, now: number): void {
    this.#setAnnounced(local, null);
    if (![...this.#locals.values()].some(({ announced }) => announced !== null)) this.#attached = 0;
    this.#wait(local, now);
    this.#erase(OVERLAY_PEER_TABLE, local.id, now);
  }

  #setAnnounced(local: Local, announced: Local['announced']): void {
    local.announced = announced;
    if (announced === null) this.#unannounced.add(local);
    else this.#unannounced.delete(local);
    this.#matters = true;
  }

  #wait(local: Local, now: number): void {
    const key = this.#waitingKey(local.id);
    if (this.#waiting.get(key)?.owner !== this.#db.name)
      this.#write(WAITING_TABLE, key, this.#encode(local, local.waiting), now);
  }

  /** Two hosts may have an endpoint of the same id. */
  #waitingKey(id: string): string {
    return `${id}@${this.#local}`;
  }

  /** What stands in the way of an endpoint that is not announced: what holds, or one that has waited longer. */
  #rivalOf(placement: Placement): Placement | Ruling | null {
    const rival = this.#placements.rival(placement);
    if (rival !== null) return rival;
    const { ruling } = this.#placements;
    for (const other of this.#waiting.values()) {
      if (other.owner === placement.owner || !isOlder(other, placement)) continue;
      const isOther =
        other.parameters !== placement.parameters && other.parameters !== '' && placement.parameters !== '';
      if (!contradict(other, placement) && !(isOther && ruling === null)) continue;
      if (this.#placements.rival(other) === null) return other;
    }
    return null;
  }

  // ---- Conflicts ----

  #reportConflicts(): void {
    const before = this.#conflicts;
    this.#conflicts = this.#findConflicts();
    for (const [name, conflict] of before) if (!this.#conflicts.has(name)) this.#report?.(conflict, true);
    for (const [name, conflict] of this.#conflicts) if (!before.has(name)) this.#report?.(conflict, false);
  }

  #findConflicts(): Map<string, OverlayConflict> {
    const found = new Map<string, OverlayConflict>();
    for (const placements of [this.#placements.refused, this.#waiting.values()])
      for (const placement of placements) {
        const rival = this.#rivalOf(placement);
        if (rival === null) continue; // it is about to be announced
        const conflict = this.#conflict(placement, rival);
        found.set(`${conflict.kind} ${conflict.value} ${conflict.refused.node} ${conflict.holder.node}`, conflict);
      }
    return found;
  }

  #conflict(placement: Placement, rival: Placement | Ruling): OverlayConflict {
    const { network } = this;
    const { owner, vtep, ip, mac, parameters, since } = placement;
    const isAddress = 'vtep' in rival && contradict(placement, rival);
    if (!isAddress)
      return {
        network,
        kind: 'parameters',
        value: parameters,
        holds: rival.parameters,
        holder: { node: rival.owner, since: 'vtep' in rival ? rival.since : rival.attached },
        refused: { node: owner, since },
      };
    const kind = ip === rival.ip ? 'ip' : 'mac';
    const value = kind === 'ip' ? ip : mac;
    return {
      network,
      kind,
      value,
      holds: value,
      holder: { node: rival.owner, vtep: rival.vtep, since: rival.since },
      refused: { node: owner, vtep, since },
    };
  }

  // ---- Records ----

  #wallTime(): number {
    return Math.floor(this.#time?.() ?? 0);
  }

  #placementOf({ id, ip, mac }: LocalEndpoint): Placement {
    const { address, length } = parseIpv4Prefix(ip);
    const since = this.#wallTime();
    const parameters = since === 0 ? '' : parametersOf(this.vni, subnetOf(address, length));
    const [host] = ip.split('/') as [string];
    const name = macToText(parseMac(mac));
    return { key: id, owner: this.#db.name, ip: host, mac: name, vtep: this.#local, parameters, since, attached: 0 };
  }

  #encode({ ip, mac }: Local, { since, attached }: Placement): Uint8Array {
    const record = { endpointIp: ip, endpointMac: mac, tunnelIp: this.#local };
    if (since === 0) return peerRecord.encode(record);
    return peerRecord.encode({ ...record, unknown: peerExtension.encode({ since, attached, vni: this.vni }) });
  }

  #write(table: string, key: string, value: Uint8Array, now: number): void {
    const { network } = this;
    // An entry of that name may be of another host still, where a container moved here with its id.
    if (this.#db.entry(network, table, key) !== undefined) this.#db.replaceEntry(network, table, key, value, now);
    else this.#db.createEntry(network, table, key, value, now);
  }

  /** Withdraws an entry, unless another host has it by now. */
  #erase(table: string, key: string, now: number): void {
    if (this.#db.entry(this.network, table, key)?.owner === this.#db.name)
      this.#db.deleteEntry(this.network, table, key, now);
  }

  /** The placement that a record names; `null` for what names none, and for one that is said to be here and is not ours. */
  #read(key: string, owner: string, value: Uint8Array): Placement | null {
    try {
      const record = peerRecord.decode(value);
      const vtep = underlay(record.tunnelIp);
      if (vtep === this.#local && owner !== this.#db.name) return null;
      const { address, length } = parseIpv4Prefix(record.endpointIp);
      if (address === 0 || address === 0xffff_ffff || isMulticastIpv4(address)) throw new RangeError('not a host');
      const mac = parseMac(record.endpointMac);
      if (mac === 0 || isGroupMac(mac)) throw new RangeError('not a host');
      const { since, attached, vni } = extensionOf(record.unknown);
      return {
        key,
        owner,
        ip: record.endpointIp.split('/')[0]!,
        mac: macToText(mac),
        vtep,
        parameters: since === 0 ? '' : parametersOf(vni, subnetOf(address, length)),
        since,
        attached,
      };
    } catch (error) {
      if (!(error instanceof WireError) && !(error instanceof RangeError)) throw error;
      this.#rejected++;
      return null;
    }
  }
}

const NO_EXTENSION = { since: 0, attached: 0, vni: 0 };

/** A later Docker may use the fields for something else. */
function extensionOf(unknown: Uint8Array | undefined): { since: number; attached: number; vni: number } {
  if (unknown === undefined) return NO_EXTENSION;
  try {
    return peerExtension.decode(unknown);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    return NO_EXTENSION;
  }
}

function subnetOf(address: number, length: number): string {
  const mask = length === 0 ? 0 : (0xffff_ffff << (32 - length)) >>> 0;
  return `${ipv4ToText((address & mask) >>> 0)}/${length}`;
}

/** An underlay address of a host in its canonical text. @throws RangeError for anything else. */
function underlay(text: string): string {
  if (isIpv6Text(text)) {
    const bytes = parseIpv6(text);
    if (bytes[0] === 0xff || bytes.every((octet) => octet === 0))
      throw new RangeError(`${text} is not a host's address`);
    return formatIpv6(bytes);
  }
  const address = parseIpv4(text);
  if (address === 0 || address === 0xffff_ffff || isMulticastIpv4(address))
    throw new RangeError(`${text} is not a host's address`);
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
