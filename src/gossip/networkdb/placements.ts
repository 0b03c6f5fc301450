/**
 * The placements of one network (which endpoint is behind which VTEP, according to the records), and which of them hold
 * where they contradict each other: a function of the set of placements alone, so all nodes with the same set agree.
 */

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
 * Whether placement `a` wins over `b` if they contradict each other: the older attachment does, and within the same
 * millisecond the one with the lower node name. A record without a time wins over all records with one: Docker never
 * withdraws an endpoint because of another node, so any other order would give Docker's nodes a different view.
 */
export function isOlder(a: Placement, b: Placement): boolean {
  if (a.since !== b.since) return a.since < b.since;
  if (a.owner !== b.owner) return a.owner < b.owner;
  return a.key < b.key;
}

/** Whether two placements put one IP or MAC address behind different VTEPs. */
export function contradict(a: Placement, b: Placement): boolean {
  return a.vtep !== b.vtep && (a.ip === b.ip || a.mac === b.mac);
}

/** What a node states about the parameters of the network, with the number of records that state it. */
interface Claim extends Ruling {
  records: number;
}

/** The placements of an address that has several. */
class Crowd {
  readonly all = new Set<Placement>();
  /** Those that hold: all of them are behind one VTEP. */
  readonly held = new Set<Placement>();
  /** Number of placements by VTEP. */
  readonly #vteps = new Map<string, number>();

  add(placement: Placement, holds: boolean): void {
    const { vtep } = placement;
    this.all.add(placement);
    if (holds) this.held.add(placement);
    this.#vteps.set(vtep, (this.#vteps.get(vtep) ?? 0) + 1);
  }

  remove(placement: Placement): void {
    if (!this.all.delete(placement)) return;
    this.held.delete(placement);
    const { vtep } = placement;
    const left = this.#vteps.get(vtep)! - 1;
    if (left === 0) this.#vteps.delete(vtep);
    else this.#vteps.set(vtep, left);
  }

  get isContested(): boolean {
    return this.#vteps.size > 1;
  }
}

/** Placements by address. Nearly every address has just one, which is stored without a set. */
class Index {
  readonly #placements = new Map<string, Placement | Crowd>();
  readonly #holds: (placement: Placement) => boolean;

  /** @param holds Whether a placement holds. */
  constructor(holds: (placement: Placement) => boolean) {
    this.#holds = holds;
  }

  add(address: string, placement: Placement): void {
    const found = this.#placements.get(address);
    if (found === undefined) this.#placements.set(address, placement);
    else if (found instanceof Crowd) found.add(placement, this.#holds(placement));
    else {
      const crowd = new Crowd();
      for (const one of [found, placement]) crowd.add(one, this.#holds(one));
      this.#placements.set(address, crowd);
    }
  }

  remove(address: string, placement: Placement): void {
    const found = this.#placements.get(address);
    if (found === placement) this.#placements.delete(address);
    else if (found instanceof Crowd) {
      found.remove(placement);
      if (found.all.size === 0) this.#placements.delete(address);
    }
  }

  of(address: string): Iterable<Placement> {
    const found = this.#placements.get(address);
    return found === undefined ? [] : found instanceof Crowd ? found.all : [found];
  }

  /** The placement that holds an address; one of them, if several do. */
  holder(address: string): Placement | null {
    const found = this.#placements.get(address);
    if (!(found instanceof Crowd)) return found !== undefined && this.#holds(found) ? found : null;
    for (const held of found.held) return held;
    return null;
  }

  /** Notes whether a placement holds. */
  note(address: string, placement: Placement, holds: boolean): void {
    const found = this.#placements.get(address);
    if (!(found instanceof Crowd)) return;
    if (holds) found.held.add(placement);
    else found.held.delete(placement);
  }

  /** Whether the placements of an address name different VTEPs. */
  isContested(address: string): boolean {
    const found = this.#placements.get(address);
    return found instanceof Crowd && found.isContested;
  }
}

/** All placements of a network. After changes, `settle` determines which of them hold. */
export class Placements {
  /** By record key. */
  readonly #all = new Map<string, Placement>();
  readonly #byIp = new Index((placement) => this.#holds(placement));
  readonly #byMac = new Index((placement) => this.#holds(placement));
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
    return this.#examined;
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
    const affected = before === this.#ruling?.parameters ? this.#component(this.#changed) : [...this.#all.values()];
    this.#changed = new Set();
    this.#heldBefore = new Map();
    this.#version++;
    this.#examined += affected.length;
    affected.sort((a, b) => (isOlder(a, b) ? -1 : 1));
    // The VTEP that holds each address.
    const ips = new Map<string, string>();
    const macs = new Map<string, string>();
    for (const placement of affected) {
      const { key, ip, mac, vtep } = placement;
      const holds =
        this.#matchesRuling(placement) && (ips.get(ip) ?? vtep) === vtep && (macs.get(mac) ?? vtep) === vtep;
      if (holds) {
        ips.set(ip, vtep);
        macs.set(mac, vtep);
      }
      const last = this.#holds(placement) ? placement : (heldBefore.get(key) ?? null);
      const after = holds ? placement : null;
      heldBefore.delete(key);
      this.#byIp.note(ip, placement, holds);
      this.#byMac.note(mac, placement, holds);
      if (holds) this.#refused.delete(placement);
      else this.#refused.add(placement);
      if (last !== after) settled.push({ before: last, after });
    }
    this.#undecided.clear();
    for (const held of heldBefore.values()) if (held !== null) settled.push({ before: held, after: null });
    return settled;
  }

  /** What prevents a placement without a record from holding: another placement, or the ruling; `null` for nothing. */
  rival(placement: Placement): Placement | Ruling | null {
    if (!this.#matchesRuling(placement)) return this.#ruling;
    for (const holder of [this.#byIp.holder(placement.ip), this.#byMac.holder(placement.mac)])
      if (holder !== null && contradict(placement, holder)) return holder;
    return null;
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

  /** The placements of some addresses, and all that share contested addresses with them, directly or through others. */
  #component(addresses: ReadonlySet<string>): Placement[] {
    const found = new Set<Placement>();
    const queue = [...addresses];
    const seen = new Set(queue);
    for (let address = queue.pop(); address !== undefined; address = queue.pop())
      for (const index of [this.#byIp, this.#byMac])
        for (const placement of index.of(address)) {
          if (found.has(placement)) continue;
          found.add(placement);
          const { ip, mac } = placement;
          if (!seen.has(ip) && this.#byIp.isContested(ip)) queue.push(ip);
          if (!seen.has(mac) && this.#byMac.isContested(mac)) queue.push(mac);
          seen.add(ip).add(mac);
        }
    return [...found];
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
