/**
 * The placements of one network (which endpoint is behind which VTEP, according to the records), and which of them hold
 * where they contradict each other: a function of the set of placements alone, so all nodes with the same set agree. Among
 * those with the VNI and subnet that hold in the network, it is the rule of `state`.
 */
import { holderOf, isNewer, isSameEndpoint } from '../../state/index.js';

/** An endpoint behind a VTEP. */
export interface Placement {
  /** Of the record: see `placementKey`. */
  readonly key: string;
  /** The node that wrote the record. */
  readonly owner: string;
  /** `10.0.0.4`, `fd00::4` */
  readonly ip: string;
  /** `02:42:0a:00:00:04` */
  readonly mac: string;
  /** Underlay address of the VTEP. */
  readonly vtep: string;
  /** VNI and subnet of the network, as `parametersOf` returns them; empty for a record of Docker, which has no VNI. */
  readonly parameters: string;
  /** When the endpoint was attached, in milliseconds since 1970; 0 for a record of Docker. */
  readonly since: number;
  /** When the owner attached to the network, in milliseconds since 1970; 0 for a record of Docker. */
  readonly attached: number;
}

/** The VNI and subnet that hold in a network, and the node that decides them: the one that attached first. */
export interface Ruling {
  readonly parameters: string;
  readonly owner: string;
  readonly attached: number;
}

/** A change for one record: the placement that held before, and the one that holds now. */
export interface Settled {
  readonly before: Placement | null;
  readonly after: Placement | null;
}

/** @param subnet With host bits cleared: `10.0.0.0/24`. */
export function parametersOf(vni: number, subnet: string): string {
  return `VNI ${vni}, subnet ${subnet}`;
}

/**
 * Whether two placements cannot both be in effect: one IP address with two MAC addresses, or one of both addresses behind
 * different VTEPs.
 */
export function contradict(a: Placement, b: Placement): boolean {
  if (a.ip === b.ip && a.mac !== b.mac) return true;
  return a.vtep !== b.vtep && (a.ip === b.ip || a.mac === b.mac);
}

/** Whether `a` is a newer place of its endpoint than `b`. */
export function isNewerPlace(a: Placement, b: Placement): boolean {
  return isNewer(a.since, a.vtep, b.since, b.vtep);
}

/** What a node states about the parameters of the network, with the number of records that state it. */
interface Claim extends Ruling {
  records: number;
}

/** The placements of an address that has several, and the one that holds it; `undefined` if that is not determined yet. */
class Crowd {
  readonly all = new Set<Placement>();
  holder: Placement | null | undefined;

  constructor(first: Placement) {
    this.all.add(first);
  }
}

/** Placements by address. Nearly every address has just one, which is stored without a set. */
class Index {
  readonly #placements = new Map<string, Placement | Crowd>();
  readonly #counts: (placement: Placement) => boolean;
  /** The addresses with several placements. */
  readonly #crowds = new Set<Crowd>();
  /** Number of placements that were examined to find holders. */
  examined = 0;

  /** @param counts Whether a placement may hold at all. */
  constructor(counts: (placement: Placement) => boolean) {
    this.#counts = counts;
  }

  add(address: string, placement: Placement): void {
    const found = this.#placements.get(address);
    if (found === undefined) return void this.#placements.set(address, placement);
    const crowd = found instanceof Crowd ? found : new Crowd(found);
    crowd.all.add(placement);
    crowd.holder = undefined;
    if (crowd === found) return;
    this.#placements.set(address, crowd);
    this.#crowds.add(crowd);
  }

  remove(address: string, placement: Placement): void {
    const found = this.#placements.get(address);
    if (found === placement) this.#placements.delete(address);
    else if (found instanceof Crowd && found.all.delete(placement)) {
      found.holder = undefined;
      if (found.all.size > 1) return;
      this.#crowds.delete(found);
      for (const last of found.all) this.#placements.set(address, last);
    }
  }

  of(address: string): Iterable<Placement> {
    const found = this.#placements.get(address);
    return found === undefined ? [] : found instanceof Crowd ? found.all : [found];
  }

  /** The placement that holds an address. */
  holder(address: string): Placement | null {
    const found = this.#placements.get(address);
    if (!(found instanceof Crowd)) return found !== undefined && this.#counts(found) ? found : null;
    if (found.holder !== undefined) return found.holder;
    this.examined += found.all.size;
    const all = [...found.all].filter((placement) => this.#counts(placement));
    return (found.holder = holderOf(all, hasPriority));
  }

  /** What counts has changed. */
  reconsider(): void {
    for (const crowd of this.#crowds) crowd.holder = undefined;
  }
}

/** Of two records of one placement, the one that conflicts name. */
function hasPriority(a: Placement, b: Placement): boolean {
  return a.owner === b.owner ? a.key < b.key : a.owner < b.owner;
}

/** All placements of a network. After changes, `settle` determines which of them hold. */
export class Placements {
  /** By record key. */
  readonly #all = new Map<string, Placement>();
  readonly #byIp = new Index((placement) => this.#matchesRuling(placement));
  readonly #byMac = new Index((placement) => this.#matchesRuling(placement));
  readonly #claims = new Map<string, Claim>();
  /** Addresses whose records changed since the last `settle`. */
  #changed = new Set<string>();
  /** For records removed or replaced since the last `settle`: the placement that held then. */
  #heldBefore = new Map<string, Placement | null>();
  #ruling: Ruling | null = null;
  #isRulingCurrent = true;
  /** Of the placements, those that do not hold, and those of which the next `settle` decides that; all others hold. */
  readonly #refused = new Set<Placement>();
  readonly #undecided = new Set<Placement>();
  #version = 0;
  #examined = 0;

  /** Number of `settle` so far: what holds does not change in between, except that records are removed. */
  get version(): number {
    return this.#version;
  }

  /** Number of records and claims that `settle` has examined so far. */
  get examined(): number {
    return this.#examined + this.#byIp.examined + this.#byMac.examined;
  }

  /** Whose VNI and subnet hold, as of the last `settle`; `null` if no record has any. */
  get ruling(): Ruling | null {
    return this.#ruling;
  }

  get(key: string): Placement | undefined {
    return this.#all.get(key);
  }

  /** The keys of the records with an IP address. */
  *keysOf(ip: string): Generator<string, void> {
    for (const { key } of this.#byIp.of(ip)) yield key;
  }

  /** Whether the placement of a record held after the last `settle`. */
  holds(key: string): boolean {
    const placement = this.#all.get(key);
    return placement !== undefined && this.#holds(placement);
  }

  #holds(placement: Placement): boolean {
    return !this.#refused.has(placement) && !this.#undecided.has(placement);
  }

  /** The placements that do not hold, as of the last `settle`. */
  get refused(): ReadonlySet<Placement> {
    return this.#refused;
  }

  put(placement: Placement): void {
    const before = this.#all.get(placement.key);
    if (before !== undefined) this.#unlink(before);
    this.#undecided.add(placement);
    this.#all.set(placement.key, placement);
    this.#byIp.add(placement.ip, placement);
    this.#byMac.add(placement.mac, placement);
    this.#countClaim(placement, 1);
    this.#markChanged(placement);
  }

  remove(key: string): void {
    const placement = this.#all.get(key);
    if (placement === undefined) return;
    this.#all.delete(key);
    this.#unlink(placement);
  }

  /** Whether nothing changed since the last `settle`. */
  get isSettled(): boolean {
    return this.#changed.size === 0;
  }

  /** Determines which placements hold, among those that changes may have affected. @returns the differences. */
  settle(): Settled[] {
    const settled: Settled[] = [];
    const heldBefore = this.#heldBefore;
    const before = this.#ruling?.parameters;
    if (!this.#isRulingCurrent) this.#ruling = this.#findRuling();
    this.#isRulingCurrent = true;
    const isRulingNew = before !== this.#ruling?.parameters;
    if (isRulingNew) for (const index of [this.#byIp, this.#byMac]) index.reconsider();
    const affected = isRulingNew ? this.#all.values() : this.#withAddresses(this.#changed);
    this.#changed = new Set();
    this.#heldBefore = new Map();
    this.#version++;
    for (const placement of affected) {
      const { key } = placement;
      this.#examined++;
      const holds = this.#isInEffect(placement);
      const last = this.#holds(placement) ? placement : (heldBefore.get(key) ?? null);
      const after = holds ? placement : null;
      heldBefore.delete(key);
      if (holds) this.#refused.delete(placement);
      else this.#refused.add(placement);
      if (last !== after) settled.push({ before: last, after });
    }
    this.#undecided.clear();
    for (const held of heldBefore.values()) if (held !== null) settled.push({ before: held, after: null });
    return settled;
  }

  /** Whether a placement is at the place of the holders of its addresses. */
  #isInEffect(placement: Placement): boolean {
    if (!this.#matchesRuling(placement)) return false;
    const { ip, mac, vtep } = placement;
    const holder = this.#byIp.holder(ip)!;
    return holder.mac === mac && holder.vtep === vtep && this.#byMac.holder(mac)!.vtep === vtep;
  }

  /**
   * What prevents a placement from holding, or would if it had a record and its endpoint were not older than others: another
   * placement, or the ruling; `null` for nothing.
   */
  rival(placement: Placement): Placement | Ruling | null {
    if (!this.#matchesRuling(placement)) return this.#ruling;
    const byIp = this.#byIp.holder(placement.ip);
    if (byIp !== null) {
      if (byIp.mac !== placement.mac) return byIp;
      if (byIp.vtep !== placement.vtep && isNewerPlace(byIp, placement)) return byIp;
    }
    const byMac = this.#byMac.holder(placement.mac);
    return byMac === null || byMac.vtep === placement.vtep || isSameEndpoint(byMac, placement) ? null : byMac;
  }

  /** The newest place of an endpoint behind other VTEPs than this one. */
  elsewhere({ ip, mac, vtep }: Placement): Placement | null {
    let newest: Placement | null = null;
    for (const one of this.#byIp.of(ip))
      if (one.mac === mac && one.vtep !== vtep && this.#matchesRuling(one))
        if (newest === null || isNewerPlace(one, newest)) newest = one;
    return newest;
  }

  /** Whether a placement has the parameters of the ruling, or none. */
  #matchesRuling({ parameters }: Placement): boolean {
    return parameters === '' || this.#ruling === null || parameters === this.#ruling.parameters;
  }

  /** Finds the claim of the node that attached first. */
  #findRuling(): Ruling | null {
    this.#examined += this.#claims.size;
    let oldest: Ruling | null = null;
    for (const claim of this.#claims.values())
      if (
        oldest === null ||
        claim.attached < oldest.attached ||
        (claim.attached === oldest.attached && nameOf(claim) < nameOf(oldest))
      )
        oldest = claim;
    return oldest;
  }

  /** The placements of some addresses. */
  #withAddresses(addresses: Iterable<string>): Set<Placement> {
    const found = new Set<Placement>();
    for (const address of addresses)
      for (const index of [this.#byIp, this.#byMac]) for (const placement of index.of(address)) found.add(placement);
    return found;
  }

  #unlink(placement: Placement): void {
    // Of several changes in a row, the first one replaced what `settle` decided.
    if (!this.#heldBefore.has(placement.key))
      this.#heldBefore.set(placement.key, this.#holds(placement) ? placement : null);
    this.#refused.delete(placement);
    this.#undecided.delete(placement);
    this.#byIp.remove(placement.ip, placement);
    this.#byMac.remove(placement.mac, placement);
    this.#countClaim(placement, -1);
    this.#markChanged(placement);
  }

  #markChanged({ ip, mac }: Placement): void {
    this.#changed.add(ip).add(mac);
  }

  #countClaim(placement: Placement, by: 1 | -1): void {
    const { parameters, owner, attached } = placement;
    if (parameters === '') return;
    this.#isRulingCurrent = false;
    const name = `${attached} ${nameOf(placement)}`;
    const claim = this.#claims.get(name);
    if (claim === undefined) this.#claims.set(name, { parameters, owner, attached, records: 1 });
    else if ((claim.records += by) === 0) this.#claims.delete(name);
  }
}

function nameOf({ owner, parameters }: { owner: string; parameters: string }): string {
  return `${owner} ${parameters}`;
}
