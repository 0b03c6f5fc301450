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

interface Entry {
  readonly placement: Placement;
  /** The placement of this record that held after the last `settle`. */
  held: Placement | null;
}

/** What a node states about the parameters of the network, with the number of records that state it. */
interface Claim extends Ruling {
  records: number;
}

/** The entries of an address that has several. */
class Crowd {
  readonly entries = new Set<Entry>();
  /** Those that hold: all of them are behind one VTEP. */
  readonly held = new Set<Entry>();
  /** Number of entries by VTEP. */
  readonly #vteps = new Map<string, number>();

  add(entry: Entry): void {
    const { vtep } = entry.placement;
    this.entries.add(entry);
    if (entry.held !== null) this.held.add(entry);
    this.#vteps.set(vtep, (this.#vteps.get(vtep) ?? 0) + 1);
  }

  remove(entry: Entry): void {
    if (!this.entries.delete(entry)) return;
    this.held.delete(entry);
    const { vtep } = entry.placement;
    const left = this.#vteps.get(vtep)! - 1;
    if (left === 0) this.#vteps.delete(vtep);
    else this.#vteps.set(vtep, left);
  }

  get isContested(): boolean {
    return this.#vteps.size > 1;
  }
}

/** Entries by address. Nearly every address has just one, which is stored without a set. */
class Index {
  readonly #entries = new Map<string, Entry | Crowd>();

  add(address: string, entry: Entry): void {
    const found = this.#entries.get(address);
    if (found === undefined) this.#entries.set(address, entry);
    else if (found instanceof Crowd) found.add(entry);
    else {
      const crowd = new Crowd();
      crowd.add(found);
      crowd.add(entry);
      this.#entries.set(address, crowd);
    }
  }

  remove(address: string, entry: Entry): void {
    const found = this.#entries.get(address);
    if (found === entry) this.#entries.delete(address);
    else if (found instanceof Crowd) {
      found.remove(entry);
      if (found.entries.size === 0) this.#entries.delete(address);
    }
  }

  of(address: string): Iterable<Entry> {
    const found = this.#entries.get(address);
    return found === undefined ? [] : found instanceof Crowd ? found.entries : [found];
  }

  /** The placement that holds an address; one of them, if several do. */
  holder(address: string): Placement | null {
    const found = this.#entries.get(address);
    if (!(found instanceof Crowd)) return found?.held ?? null;
    for (const { held } of found.held) return held;
    return null;
  }

  /** Notes whether an entry holds. */
  note(address: string, entry: Entry): void {
    const found = this.#entries.get(address);
    if (!(found instanceof Crowd)) return;
    if (entry.held === null) found.held.delete(entry);
    else found.held.add(entry);
  }

  /** Whether the entries of an address name different VTEPs. */
  isContested(address: string): boolean {
    const found = this.#entries.get(address);
    return found instanceof Crowd && found.isContested;
  }
}

/** All placements of a network. After changes, `settle` determines which of them hold. */
export class Placements {
  readonly #entries = new Map<string, Entry>();
  readonly #byIp = new Index();
  readonly #byMac = new Index();
  readonly #claims = new Map<string, Claim>();
  /** Addresses whose records changed since the last `settle`. */
  #changed = new Set<string>();
  /** For records removed or replaced since the last `settle`: the placement that held then. */
  #heldBefore = new Map<string, Placement | null>();
  #ruling: Ruling | null = null;
  #isRulingCurrent = true;
  readonly #refused = new Set<Placement>();
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
    return this.#entries.get(key)?.placement;
  }

  /** The keys of the records with an IP address. */
  *keysOf(ip: string): Generator<string, void> {
    for (const { placement } of this.#byIp.of(ip)) yield placement.key;
  }

  /** Whether the placement of a record held after the last `settle`. */
  holds(key: string): boolean {
    return this.#entries.get(key)?.held != null;
  }

  /** The placements that do not hold, as of the last `settle`. */
  get refused(): ReadonlySet<Placement> {
    return this.#refused;
  }

  put(placement: Placement): void {
    const before = this.#entries.get(placement.key);
    if (before !== undefined) this.#unlink(before);
    const entry: Entry = { placement, held: null };
    this.#entries.set(placement.key, entry);
    this.#byIp.add(placement.ip, entry);
    this.#byMac.add(placement.mac, entry);
    this.#countClaim(placement, 1);
    this.#markChanged(placement);
  }

  remove(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#unlink(entry);
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
    const affected = before === this.#ruling?.parameters ? this.#component(this.#changed) : [...this.#entries.values()];
    this.#changed = new Set();
    this.#heldBefore = new Map();
    this.#version++;
    this.#examined += affected.length;
    affected.sort((a, b) => (isOlder(a.placement, b.placement) ? -1 : 1));
    // The VTEP that holds each address.
    const ips = new Map<string, string>();
    const macs = new Map<string, string>();
    for (const entry of affected) {
      const { placement } = entry;
      const { key, ip, mac, vtep } = placement;
      const holds =
        this.#matchesRuling(placement) && (ips.get(ip) ?? vtep) === vtep && (macs.get(mac) ?? vtep) === vtep;
      if (holds) {
        ips.set(ip, vtep);
        macs.set(mac, vtep);
      }
      const last = entry.held ?? heldBefore.get(key) ?? null;
      heldBefore.delete(key);
      entry.held = holds ? placement : null;
      this.#byIp.note(ip, entry);
      this.#byMac.note(mac, entry);
      if (holds) this.#refused.delete(placement);
      else this.#refused.add(placement);
      if (last !== entry.held) settled.push({ before: last, after: entry.held });
    }
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

  /** The entries of some addresses, and all that share contested addresses with them, directly or through others. */
  #component(addresses: ReadonlySet<string>): Entry[] {
    const found = new Set<Entry>();
    const queue = [...addresses];
    const seen = new Set(queue);
    for (let address = queue.pop(); address !== undefined; address = queue.pop())
      for (const index of [this.#byIp, this.#byMac])
        for (const entry of index.of(address)) {
          if (found.has(entry)) continue;
          found.add(entry);
          const { ip, mac } = entry.placement;
          if (!seen.has(ip) && this.#byIp.isContested(ip)) queue.push(ip);
          if (!seen.has(mac) && this.#byMac.isContested(mac)) queue.push(mac);
          seen.add(ip).add(mac);
        }
    return [...found];
  }

  #unlink(entry: Entry): void {
    const { placement } = entry;
    this.#refused.delete(placement);
    this.#byIp.remove(placement.ip, entry);
    this.#byMac.remove(placement.mac, entry);
    this.#countClaim(placement, -1);
    this.#markChanged(placement);
    // Of several changes in a row, the first one replaced what `settle` decided.
    if (!this.#heldBefore.has(placement.key)) this.#heldBefore.set(placement.key, entry.held);
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
