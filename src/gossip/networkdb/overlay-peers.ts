import { isIpv6Text } from '../../address/index.js';
import { isOlder, isSameEndpoint } from '../../state/index.js';
import { WireError } from '../../wire/index.js';
import { Attachment } from './attachment.js';
import { conflictBetween, ConflictReports, listConflicts, type OverlayConflict } from './conflicts.js';
import { tableOf, type Local } from './local-endpoint.js';
import type { NetworkDb } from './networkdb.js';
import type { NetworkPart, OverlayPeersOptions } from './overlay-options.js';
import { SinkEndpoints, type OverlaySink } from './overlay-sink.js';
import { Pace } from './pace.js';
import {
  decodePlacement,
  encodePlacement,
  PEER_TABLES,
  placementKey,
  placementOf,
  recordKey,
  Origins,
  underlay,
  type LocalEndpoint,
  type LocalHost,
} from './placement-records.js';
import { isNewerPlace, parametersOf, Placements, type Placement, type Ruling } from './placements.js';
import { WAITING_TABLE } from './records.js';
import type { TableChange } from './types.js';
import { WaitingList } from './waiting.js';

/** A time before all those of records. */
const BEFORE_ALL = -1;

/** Milliseconds for which the first endpoint of a network waits for the tables of others before its announcement. */
const PATIENCE = 1000;

/**
 * Connects the tables of one overlay network, or of one subnet of it, to a VTEP. Records of `overlay_peer_table`, and of
 * `weft_peer_table` for IPv6 addresses, become endpoints, and a flood list of the VTEPs that have at least one endpoint;
 * endpoints of this host become records. This node is attached to
 * the network while it has an endpoint there.
 *
 * Where two hosts have different endpoints with the same IP or MAC address, or a different VNI or subnet for the same
 * network, the older attachment holds at every host (see `placements.ts`). The host of the newer one withdraws its record,
 * or does not announce it at all, and writes it into `weft_waiting_table` instead. It announces the endpoint when no
 * conflict is left; of several waiting endpoints, the one that has waited longest goes first. The age of an attachment
 * counts from its announcement, so an endpoint that waited never displaces one that was announced meanwhile.
 *
 * An endpoint (an IP and a MAC address) that a second host attaches has moved there: its newest place holds. The record of
 * the older place stays, so it is in effect again on every host as soon as the newer one is withdrawn, and the endpoint
 * keeps its age. A node dates its record later than the other places that it knows, whatever its clock shows.
 */
export class OverlayPeers {
  readonly network: string;
  readonly vni: number;
  readonly #db: NetworkDb;
  readonly #host: LocalHost;
  readonly #time: (() => number) | undefined;
  readonly #announced: OverlayPeersOptions['announced'];
  /** The records of the peer tables, including those of this host. */
  readonly #placements = new Placements();
  /** The records of the waiting table, including those of this host. */
  readonly #waiting = new WaitingList();
  readonly #origins = new Origins();
  readonly #endpoints: SinkEndpoints;
  readonly #reports: ConflictReports;
  readonly #locals = new Map<string, Local>();
  /** The endpoints of this host that are not announced. */
  readonly #unannounced = new Set<Local>();
  readonly #accepts: NetworkPart['accepts'] | undefined;
  readonly #attachment: Attachment;
  /** Whether this object uses the attachment. */
  #joined = false;
  /** VNI and subnet of this node's endpoints; of one of several subnets, also without any endpoint here. */
  #parameters: string;
  /** When this node attached to the network; 0 while none of its endpoints is announced. */
  #attached = 0;
  /** `yes` once the tables of others are known, or took too long: announce endpoints. A new object per attachment. */
  #ready = { yes: false };
  readonly #pace: Pace;
  #settling = false;
  /** While this node leaves the network, which removes all records: `#settle` waits until it has left. */
  #leaving = false;
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
    this.#host = { node: db.name, vtep: underlay(options.local), vni: options.vni };
    this.#time = options.time;
    this.#announced = options.announced;
    const { part } = options;
    this.#accepts = part === undefined ? undefined : (endpoint) => part.accepts(endpoint);
    this.#attachment = part?.attachment ?? new Attachment(db, options.network);
    this.#parameters = part === undefined ? '' : parametersOf(options.vni, part.subnet);
    this.#db = db;
    this.#endpoints = new SinkEndpoints(options.vni, sink, (ip) => this.#placements.keysOf(ip));
    this.#reports = new ConflictReports(options.conflict);
    const { network } = this;
    this.#pace = new Pace((delay, now, then) => db.after(network, delay, now, then));
    this.#unsubscribes = [
      ...PEER_TABLES.flatMap((table) => [
        db.watch({ table, network }, (change, now) => this.#changed(change, now)),
        db.reclaim({ table, network }, (key, value) => this.#reclaim(table, key, value)),
      ]),
      db.watch({ table: WAITING_TABLE, network }, (change, now) => this.#waitingChanged(change, now)),
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

  /** Number of known remote endpoints with an IPv6 address. */
  get size6(): number {
    return this.#endpoints.size6;
  }

  /** Number of endpoints of this host that are not announced, or not yet. */
  get refused(): number {
    return this.#unannounced.size;
  }

  /** The same, with an IPv6 address. */
  get refused6(): number {
    let count = 0;
    for (const { ip } of this.#unannounced) if (isIpv6Text(ip)) count++;
    return count;
  }

  /** The VTEPs of the flood list. */
  peers(): string[] {
    return this.#endpoints.peers();
  }

  /** Whether a record that holds places an IP address at a node. */
  isPlaced(ip: string, owner: string): boolean {
    for (const key of this.#placements.keysOf(ip))
      if (this.#placements.get(key)!.owner === owner && this.#placements.holds(key)) return true;
    return false;
  }

  /** The current conflicts, of this node and between others. */
  conflicts(): OverlayConflict[] {
    return [...this.#reports.listed];
  }

  /** Number of current conflicts. */
  get conflictCount(): number {
    return this.#reports.size;
  }

  /** The conflict that an endpoint of this host would have if it were added; `null` for none. */
  conflictOf(endpoint: LocalEndpoint): OverlayConflict | null {
    const placement = { ...this.#placementOf(endpoint), since: Infinity };
    const rival = this.#rivalOf(placement);
    return rival === null ? null : conflictBetween(this.network, placement, rival);
  }

  /**
   * Adds an endpoint of this host, and announces it as soon as it is in no conflict. The first one attaches this node
   * to the network.
   * @throws RangeError if an address is invalid, or the id exists already.
   */
  addLocal(endpoint: LocalEndpoint, now: number): void {
    const { id } = endpoint;
    const waiting = this.#placementOf(endpoint);
    if (this.#locals.has(id)) throw new RangeError(`endpoint ${id} already exists`);
    const first = this.#locals.size === 0;
    this.#parameters = waiting.parameters;
    const local: Local = { ...endpoint, waiting, isDated: false, told: null, announced: null };
    this.#locals.set(id, local);
    this.#unannounced.add(local);
    if (first) {
      const ready = { yes: false };
      this.#ready = ready;
      this.#joined = true;
      this.#attachment.join(now);
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
    if (this.#locals.size === 0) this.#leave([id], now);
    else {
      this.#erase(tableOf(local), id, now);
      this.#erase(WAITING_TABLE, this.#waitingKey(id), now);
      if (![...this.#locals.values()].some(({ announced }) => announced !== null)) this.#attached = 0;
      this.#settle(now, true);
    }
    return true;
  }

  /** Withdraws all endpoints of this host, and removes every endpoint and peer from the sink. */
  close(now: number): void {
    const ids = [...this.#locals.keys()];
    this.#locals.clear();
    this.#unannounced.clear();
    this.#leave(ids, now);
    for (const unsubscribe of this.#unsubscribes) unsubscribe();
    this.#endpoints.clear();
  }

  /** @param ids Endpoints of this host whose entries must go. */
  #leave(ids: readonly string[], now: number): void {
    this.#ready = { yes: false };
    this.#attached = 0;
    this.#leaving = true;
    if (this.#joined) {
      if (this.#attachment.isShared)
        for (const id of ids) {
          for (const table of PEER_TABLES) this.#erase(table, id, now);
          this.#erase(WAITING_TABLE, this.#waitingKey(id), now);
        }
      this.#joined = false;
      this.#attachment.leave(now);
    }
    this.#leaving = false;
    this.#pace.cancel();
    this.#settle(now, true);
  }

  // ---- Changes of the tables ----

  #changed({ kind, table, key, value, owner }: TableChange, now: number): void {
    const local = this.#localAt(table, key);
    const announced = local?.announced ?? null;
    if (kind === 'delete') {
      if (announced !== null) {
        // The former host of the endpoint withdrew it late, with a Lamport time ahead of ours.
        this.#db.createEntry(this.network, table, key, announced.value, now);
        return;
      }
      this.#placements.remove(placementKey(table, key));
    } else {
      const placement = this.#read(table, key, owner, value);
      if (placement === null) this.#placements.remove(placementKey(table, key));
      else {
        this.#placements.put(placement);
        if (announced !== null && owner !== this.#db.name) this.#overwritten(local!, placement, now);
      }
    }
    this.#settle(now, false);
  }

  /** Another node has overwritten the record of an endpoint of this host: that which holds by the rule stays. */
  #overwritten(local: Local, by: Placement, now: number): void {
    const { value, placement } = local.announced!;
    // Without times the later record stays: two hosts that both write again would never stop.
    const isOurs = isSameEndpoint(placement, by)
      ? isNewerPlace(placement, by)
      : isOlder(placement.since, placement, by.since, by);
    if (placement.since > 0 && isOurs) this.#db.replaceEntry(this.network, tableOf(local), local.id, value, now);
    else this.#setAnnounced(local, null);
  }

  #waitingChanged({ kind, table, key, value, owner }: TableChange, now: number): void {
    const placement = kind === 'delete' ? null : this.#read(table, key, owner, value);
    this.#waiting.set(key, placement);
    this.#settle(now, true);
  }

  /** Whether a record that this node wrote before a restart is still correct: an endpoint keeps its seniority then. */
  #reclaim(table: string, key: string, value: Uint8Array): boolean {
    const local = this.#localAt(table, key);
    if (local === undefined || local.announced !== null) return false;
    const placement = this.#read(table, key, this.#db.name, value);
    if (placement === null) return false;
    const { ip, mac, vtep, parameters } = local.waiting;
    const isSame =
      placement.ip === ip && placement.mac === mac && placement.vtep === vtep && placement.parameters === parameters;
    const rival = isSame ? this.#placements.rival(placement) : null;
    if (!isSame || (rival !== null && !isMove(placement, rival))) return false;
    this.#setAnnounced(local, { value, placement });
    if (placement.attached > 0 && (this.#attached === 0 || placement.attached < this.#attached))
      this.#attached = placement.attached;
    return true;
  }

  // ---- Consequences ----

  /**
   * Determines which placements hold, updates the sink, and announces or withdraws endpoints of this host; at the end
   * of the pause, if the last times were expensive.
   * @param recheck Whether to check the waiting endpoints even if no change of the tables concerns them.
   */
  #settle(now: number, recheck: boolean): void {
    this.#due = true;
    this.#recheck ||= recheck;
    if (this.#settling) return; // the loop below writes entries, which arrive here as changes
    if (this.#leaving || this.#pace.pausing) return;
    this.#settling = true;
    const spent = this.#spent;
    let cost = 0;
    let reports = false;
    while (this.#due) {
      this.#due = false;
      for (const local of this.#program()) if (local.announced !== null) this.#withdraw(local, now);
      if (!this.#recheck) continue;
      this.#recheck = false;
      reports = true;
      cost += this.#unannounced.size;
      this.#waiting.setUnannounced(this.#unannounced);
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
    if (reports) {
      for (const local of this.#unannounced) this.#tell(local);
      cost += this.#placements.refused.size + this.#waiting.size;
      this.#reports.update(this.#listConflicts());
    }
    if (this.#locals.size > 0) this.#pace.spend(cost + this.#spent - spent, now, (then) => this.#resume(then));
  }

  /** Handles the changes that arrived during a pause. */
  #resume(now: number): void {
    if (this.#due) this.#settle(now, false);
  }

  /** What the parts have cost so far, in the units of `Pace`. */
  get #spent(): number {
    return this.#placements.examined + this.#waiting.compared / 256;
  }

  /** Updates the sink to the placements that hold. @returns the endpoints of this host whose records do not. */
  #program(): Local[] {
    const { ruling } = this.#placements;
    const refused = this.#placements.refused.size;
    const changes = this.#placements.settle();
    if (ruling !== this.#placements.ruling && this.#waiting.size > 0) this.#recheck = true;
    if (ruling?.parameters !== this.#placements.ruling?.parameters) this.#recheck = true;
    // A record that was refused may have gone since.
    if (refused + this.#placements.refused.size + this.#reports.size > 0) this.#recheck = true;
    if (!this.#recheck) this.#recheck = this.#waiting.concerns(changes);
    const settled = changes.map(({ before, after }) => ({
      key: (before ?? after)!.key,
      after: after !== null && this.#concernsSink(after) ? after : null,
    }));
    for (const { after } of changes) {
      const local = after?.owner === this.#db.name ? this.#locals.get(recordKey(after)) : undefined;
      if (local !== undefined) this.#tell(local);
    }
    const lost: Local[] = [];
    for (const placement of this.#placements.refused) {
      const local = placement.owner === this.#db.name ? this.#locals.get(recordKey(placement)) : undefined;
      if (local?.waiting.key !== placement.key) continue;
      this.#tell(local);
      const rival = this.#placements.rival(placement);
      if (rival === null || !isMove(placement, rival)) lost.push(local);
    }
    this.#endpoints.update(settled);
    return lost;
  }

  /** Whether an endpoint is remote and reachable from here: its record has our VNI and subnet, or none. */
  #concernsSink({ vtep, parameters }: Placement): boolean {
    return (
      vtep !== this.#host.vtep && (parameters === '' || this.#parameters === '' || parameters === this.#parameters)
    );
  }

  /** Writes the record of an endpoint of this host; while a conflict refuses it, into the waiting table. */
  #announce(local: Local, now: number): void {
    if (!local.isDated) this.#date(local);
    if (this.#rivalOf(local.waiting) !== null) return this.#wait(local, now);
    const since = Math.max(this.#wallTime(), local.waiting.since);
    if (this.#attached === 0) this.#attached = since;
    const placement = { ...local.waiting, since, attached: this.#attached };
    const value = encodePlacement(local, this.#host, placement);
    this.#setAnnounced(local, { value, placement });
    this.#write(tableOf(local), local.id, value, now);
    this.#erase(WAITING_TABLE, this.#waitingKey(local.id), now);
  }

  /** Removes the record of an endpoint of this host, because an older attachment holds its address or parameters. */
  #withdraw(local: Local, now: number): void {
    this.#setAnnounced(local, null);
    if (![...this.#locals.values()].some(({ announced }) => announced !== null)) this.#attached = 0;
    this.#wait(local, now);
    this.#erase(tableOf(local), local.id, now);
  }

  #setAnnounced(local: Local, announced: Local['announced']): void {
    local.announced = announced;
    if (announced === null) this.#unannounced.add(local);
    else this.#unannounced.delete(local);
    this.#recheck = true;
    this.#tell(local);
  }

  /** An endpoint that is attached here has moved here: its place is newer than those that this node knows. */
  #date(local: Local): void {
    local.isDated = true;
    const { waiting } = local;
    const known = this.#placements.elsewhere(waiting);
    if (waiting.since > 0 && known !== null && isNewerPlace(known, waiting))
      local.waiting = { ...waiting, since: Math.min(known.since + 1, Number.MAX_SAFE_INTEGER) };
  }

  /** Tells the host the time from which an endpoint counts, if it has changed. */
  #tell(local: Local): void {
    const elsewhere = this.#placements.elsewhere(local.waiting);
    const isMoved = elsewhere !== null && this.#placements.holds(elsewhere.key);
    const since = isMoved ? BEFORE_ALL : (local.announced?.placement.since ?? null);
    if (since === local.told) return;
    local.told = since;
    this.#announced?.(local, since);
  }

  #wait(local: Local, now: number): void {
    const key = this.#waitingKey(local.id);
    if (this.#waiting.get(key)?.owner !== this.#db.name)
      this.#write(WAITING_TABLE, key, encodePlacement(local, this.#host, local.waiting), now);
  }

  /** The endpoint of this host whose record this is. */
  #localAt(table: string, key: string): Local | undefined {
    const local = this.#locals.get(key);
    return local !== undefined && tableOf(local) === table ? local : undefined;
  }

  /** Includes the VTEP, because two hosts may have an endpoint with the same id. */
  #waitingKey(id: string): string {
    return `${id}@${this.#host.vtep}`;
  }

  #rivalOf(placement: Placement): Placement | Ruling | null {
    return this.#waiting.rivalOf(placement, this.#placements);
  }

  #listConflicts(): Map<string, OverlayConflict> {
    const candidates = [...this.#placements.refused, ...this.#waiting.all()];
    return listConflicts(this.network, candidates, (placement) => this.#rivalOf(placement));
  }

  // ---- Records ----

  #wallTime(): number {
    return Math.floor(this.#time?.() ?? 0);
  }

  #placementOf(endpoint: LocalEndpoint): Placement {
    return placementOf(endpoint, this.#host, this.#wallTime());
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

  /**
   * Decodes a placement.
   * @returns `null` for an invalid record, another node's that names this host's VTEP, or one of another subnet.
   */
  #read(table: string, key: string, owner: string, value: Uint8Array): Placement | null {
    try {
      const placement = decodePlacement(table, key, owner, value, this.#host, this.#origins);
      return placement === null || this.#accepts?.(placement) === false ? null : placement;
    } catch (error) {
      if (!(error instanceof WireError) && !(error instanceof RangeError)) throw error;
      this.#rejected++;
      return null;
    }
  }
}

/** Whether a placement does not hold because its endpoint is at a newer place. */
function isMove(placement: Placement, rival: Placement | Ruling): boolean {
  return 'vtep' in rival && isSameEndpoint(placement, rival);
}
