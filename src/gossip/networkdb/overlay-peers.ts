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

/** Milliseconds for which the first endpoint of a network waits for the tables of others before its announcement. */
const PATIENCE = 1000;

/** An endpoint and its VTEP, with the fields that a `Vtep` takes. */
export interface OverlayEndpoint {
  /** `10.0.0.4` */
  ip: string;
  /** `02:42:0a:00:00:04` */
  mac: string;
  /** Underlay address of its VTEP. */
  vtep: string;
}

/** Receives endpoints and peers; `Vtep` implements it. */
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

/** Two hosts with contradictory attachments; one is refused. All hosts of a network list the same conflicts. */
export interface OverlayConflict {
  network: string;
  /** `ip`, `mac`: both hosts have this address. `parameters`: their VNI or subnet differ. */
  kind: 'ip' | 'mac' | 'parameters';
  /** What the refused host has: `10.0.0.4`, `02:42:0a:00:00:04`, `VNI 5000, subnet 10.0.0.0/24`. */
  value: string;
  /** Address or parameters that hold; for an address the same as `value`. */
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
   * Returns the time of the host's clock, in milliseconds since 1970. Without it, records have neither times nor a VNI,
   * like those of Docker.
   */
  time?: () => number;
  /** Called when a conflict begins, of this node or of others, and with `over` when it ends. Must not throw. */
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

/** An endpoint of this host and its state. */
interface Local extends LocalEndpoint {
  /** Its placement, dated from when it began to wait for its announcement. */
  readonly waiting: Placement;
  /** Its record while the table contains one. */
  announced: { readonly value: Uint8Array; readonly placement: Placement } | null;
}

/**
 * Connects the tables of one overlay network to a VTEP. Records of `overlay_peer_table` become endpoints, and a flood
 * list of the VTEPs that have at least one endpoint; endpoints of this host become records. This node is attached to
 * the network while it has an endpoint there.
 *
 * Where two hosts have the same IP or MAC address, or a different VNI or subnet for the same network, the older
 * attachment holds at every host (see `placements.ts`). The host of the newer one withdraws its record, or does not
 * announce it at all, and writes it into `weft_waiting_table` instead. It announces the endpoint when no conflict is
 * left; of several waiting endpoints, the one that has waited longest goes first. The age of an attachment counts from
 * its announcement, so an endpoint that waited never displaces one that was announced meanwhile.
 */
export class OverlayPeers {
  readonly network: string;
  readonly vni: number;
  readonly #db: NetworkDb;
  readonly #sink: OverlaySink;
  readonly #local: string;
  readonly #time: (() => number) | undefined;
  readonly #report: OverlayPeersOptions['conflict'];
  /** The records of the peer table, including those of this host. */
  readonly #placements = new Placements();
  /** The records of the waiting table, including those of this host. */
  readonly #waiting = new Map<string, Placement>();
  /** The endpoints that were added to the sink, by record key. */
  readonly #endpoints = new Map<string, OverlayEndpoint>();
  /** Number of endpoints by VTEP. */
  readonly #peers = new Map<string, number>();
  /** Number of records by endpoint. */
  readonly #recordCounts = new Map<string, number>();
  readonly #locals = new Map<string, Local>();
  /** The endpoints of this host that are not announced. */
  readonly #unannounced = new Set<Local>();
  /** IP and MAC addresses of those, and of all waiting endpoints. */
  #waitingAddresses = new Set<string>();
  /** The reported conflicts, by kind, value and hosts. */
  #conflicts = new Map<string, OverlayConflict>();
  /** VNI and subnet of this node's endpoints. */
  #parameters = '';
  /** When this node attached to the network; 0 while none of its endpoints is announced. */
  #attached = 0;
  /** `yes` once the tables of others are known, or took too long: announce endpoints. A new object per attachment. */
  #ready = { yes: false };
  #settling = false;
  /** Whether there are changes since the last `#settle`. */
  #due = false;
  /** Whether one of them may concern waiting endpoints or conflicts. */
  #recheck = false;
  readonly #unsubscribes: (() => void)[];
  #rejected = 0;

  /** @throws RangeError if `local` is not the address of a host. */
  constructor(options: OverlayPeersOptions, db: NetworkDb, sink: OverlaySink) {
    this.network = options.network;
    this.vni = options.vni;
    this.#local = underlay(options.local);
    this.#time = options.time;
    this.#report = options.conflict;
    this.#db = db;
    this.#sink = sink;
    const { network } = this;
    this.#unsubscribes = [
      db.watch({ table: OVERLAY_PEER_TABLE, network }, (change, now) => this.#changed(change, now)),
      db.watch({ table: WAITING_TABLE, network }, (change, now) => this.#waitingChanged(change, now)),
      db.reclaim({ table: OVERLAY_PEER_TABLE, network }, (key, value) => this.#reclaim(key, value)),
    ];
  }

  /** Number of records that are malformed or do not name a host. */
  get rejected(): number {
    return this.#rejected;
  }

  /** Number of known remote endpoints. */
  get size(): number {
    return this.#endpoints.size;
  }

  /** Number of endpoints of this host that are not announced, or not yet. */
  get refused(): number {
    return this.#unannounced.size;
  }

  /** The VTEPs of the flood list. */
  peers(): string[] {
    return [...this.#peers.keys()];
  }

  /** The current conflicts, of this node and between others. */
  conflicts(): OverlayConflict[] {
    return [...this.#findConflicts().values()];
  }

  /** The conflict that an endpoint of this host would have if it were added; `null` for none. */
  conflictOf(endpoint: LocalEndpoint): OverlayConflict | null {
    const placement = this.#placementOf(endpoint);
    const rival = this.#rivalOf(placement);
    return rival === null ? null : this.#conflict(placement, rival);
  }

  /**
   * Adds an endpoint of this host, and announces it as soon as it is in no conflict. The first one attaches this node
   * to the network.
   * @throws RangeError if an address is invalid, or the id exists already.
   */
  addLocal(endpoint: LocalEndpoint, now: number): void {
    const { id, ip, mac } = endpoint;
    const waiting = this.#placementOf(endpoint);
    if (this.#locals.has(id)) throw new RangeError(`endpoint ${id} already exists`);
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

  /** Withdraws an endpoint of this host. With the last one, this node leaves the network. @returns if it existed. */
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

  /** Withdraws all endpoints of this host, and removes every endpoint and peer from the sink. */
  close(now: number): void {
    this.#locals.clear();
    this.#unannounced.clear();
    this.#leave(now);
    for (const unsubscribe of this.#unsubscribes) unsubscribe();
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
        // The former host of the endpoint withdrew it late, with a Lamport time ahead of ours.
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

  /** Another node has overwritten the record of an endpoint of this host: the older of the two stays. */
  #overwritten(local: Local, by: Placement, now: number): void {
    const { value, placement } = local.announced!;
    // Without times the later record stays: two hosts that both write again would never stop.
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

  /** Whether a record that this node wrote before a restart is still correct: an endpoint keeps its seniority then. */
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

  // ---- Consequences ----

  /**
   * Determines which placements hold, updates the sink, and announces or withdraws endpoints of this host.
   * @param recheck Whether to check the waiting endpoints even if no change of the tables concerns them.
   */
  #settle(now: number, recheck: boolean): void {
    this.#due = true;
    this.#recheck ||= recheck;
    if (this.#settling) return; // the loop below writes entries, which arrive here as changes
    this.#settling = true;
    let reports = false;
    while (this.#due) {
      this.#due = false;
      for (const local of this.#program()) if (local.announced !== null) this.#withdraw(local, now);
      if (!this.#recheck) continue;
      this.#recheck = false;
      reports = true;
      this.#collectWaitingAddresses();
      if (!this.#ready.yes) continue;
      for (const local of [...this.#unannounced]) {
        if (!this.#placements.isSettled) {
          this.#recheck = true;
          break;
        }
        this.#announce(local, now);
      }
    }
    this.#settling = false;
    if (reports) this.#reportConflicts();
  }

  #collectWaitingAddresses(): void {
    if (this.#waitingAddresses.size === 0 && this.#waiting.size === 0 && this.#unannounced.size === 0) return;
    this.#waitingAddresses = new Set();
    for (const { ip, mac } of this.#waiting.values()) this.#waitingAddresses.add(ip).add(mac);
    for (const { waiting } of this.#unannounced) this.#waitingAddresses.add(waiting.ip).add(waiting.mac);
  }

  /** Updates the sink to the placements that hold. @returns the endpoints of this host whose records do not. */
  #program(): Local[] {
    const { ruling } = this.#placements;
    const refused = this.#placements.refused.size;
    const changes = this.#placements.settle();
    if (ruling !== this.#placements.ruling && this.#waiting.size > 0) this.#recheck = true;
    if (ruling?.parameters !== this.#placements.ruling?.parameters) this.#recheck = true;
    if (refused !== 0 || this.#placements.refused.size !== 0) this.#recheck = true;
    const concernsWaiting = (placement: Placement | null): boolean =>
      placement !== null && (this.#waitingAddresses.has(placement.ip) || this.#waitingAddresses.has(placement.mac));
    if (!this.#recheck && this.#waitingAddresses.size > 0)
      this.#recheck = changes.some(({ before, after }) => concernsWaiting(before) || concernsWaiting(after));
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
    // Adds before it removes, so that a VTEP with an old and a new endpoint stays in the flood list.
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
      if (count(this.#recordCounts, nameOf(endpoint), 1) === 1) this.#sink.addEndpoint(this.vni, endpoint);
      if (count(this.#peers, endpoint.vtep, 1) === 1) this.#sink.addPeer(this.vni, endpoint.vtep);
    }
    for (const endpoint of old) this.#remove(endpoint);
    return lost;
  }

  /** Whether an endpoint is remote and reachable from here: its record has our VNI and subnet, or none. */
  #concernsSink({ vtep, parameters }: Placement): boolean {
    return vtep !== this.#local && (parameters === '' || this.#parameters === '' || parameters === this.#parameters);
  }

  #forget(key: string): void {
    const endpoint = this.#endpoints.get(key)!;
    this.#endpoints.delete(key);
    this.#remove(endpoint);
  }

  #remove(endpoint: OverlayEndpoint): void {
    if (count(this.#recordCounts, nameOf(endpoint), -1) === 0) this.#sink.removeEndpoint(this.vni, endpoint);
    if (count(this.#peers, endpoint.vtep, -1) === 0) this.#sink.removePeer(this.vni, endpoint.vtep);
  }

  /** Writes the record of an endpoint of this host; while a conflict refuses it, into the waiting table. */
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

  /** Removes the record of an endpoint of this host, because an older attachment holds its address or parameters. */
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
    this.#recheck = true;
  }

  #wait(local: Local, now: number): void {
    const key = this.#waitingKey(local.id);
    if (this.#waiting.get(key)?.owner !== this.#db.name)
      this.#write(WAITING_TABLE, key, this.#encode(local, local.waiting), now);
  }

  /** Includes the VTEP, because two hosts may have an endpoint with the same id. */
  #waitingKey(id: string): string {
    return `${id}@${this.#local}`;
  }

  /** What refuses an unannounced endpoint: a placement or ruling that holds, or a placement that has waited longer. */
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
        if (rival === null) continue; // its host is about to announce it
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
    // After a container moved here with its id, the entry may still belong to its former host.
    if (this.#db.entry(network, table, key) !== undefined) this.#db.replaceEntry(network, table, key, value, now);
    else this.#db.createEntry(network, table, key, value, now);
  }

  /** Deletes an entry, unless another host owns it by now. */
  #erase(table: string, key: string, now: number): void {
    if (this.#db.entry(this.network, table, key)?.owner === this.#db.name)
      this.#db.deleteEntry(this.network, table, key, now);
  }

  /** Decodes a placement. @returns `null` for an invalid record, or another node's that names this host's VTEP. */
  #read(key: string, owner: string, value: Uint8Array): Placement | null {
    try {
      const record = peerRecord.decode(value);
      const vtep = underlay(record.tunnelIp);
      if (vtep === this.#local && owner !== this.#db.name) return null;
      const { address, length } = parseIpv4Prefix(record.endpointIp);
      if (address === 0 || address === 0xffff_ffff || isMulticastIpv4(address))
        throw new RangeError('not the address of a host');
      const mac = parseMac(record.endpointMac);
      if (mac === 0 || isGroupMac(mac)) throw new RangeError('not the address of a host');
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

/** Ignores an extension that does not decode: a later Docker may use these fields for something else. */
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

/** Returns an underlay address in canonical text. @throws RangeError unless it is the address of a host. */
function underlay(text: string): string {
  if (isIpv6Text(text)) {
    const bytes = parseIpv6(text);
    if (bytes[0] === 0xff || bytes.every((octet) => octet === 0))
      throw new RangeError(`${text} is not the address of a host`);
    return formatIpv6(bytes);
  }
  const address = parseIpv4(text);
  if (address === 0 || address === 0xffff_ffff || isMulticastIpv4(address))
    throw new RangeError(`${text} is not the address of a host`);
  return text;
}

function nameOf({ ip, mac, vtep }: OverlayEndpoint): string {
  return `${ip} ${mac} ${vtep}`;
}

/** Adds to a count, removes it at zero, and returns it. */
function count(counts: Map<string, number>, key: string, by: number): number {
  const now = (counts.get(key) ?? 0) + by;
  if (now === 0) counts.delete(key);
  else counts.set(key, now);
  return now;
}
