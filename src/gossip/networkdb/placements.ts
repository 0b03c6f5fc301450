/**
 * Where the endpoints of one network are, as their records say, and which of these placements hold where they contradict
 * each other. What holds is a function of the set of placements alone, so all nodes that know the same set agree.
 */

/** That an endpoint is behind a VTEP. */
export interface Placement {
  /** Key of its record. */
  readonly key: string;
  /** The node that wrote the record. */
  readonly owner: string;
  /** `10.0.0.4` */
  readonly ip: string;
  /** `02:42:0a:00:00:04` */
  readonly mac: string;
  /** Underlay address of the VTEP. */
  readonly vtep: string;
  /** VNI and subnet of the network, as `parametersOf` writes them; empty for a record of Docker's, which has no VNI. */
  readonly parameters: string;
  /** When the endpoint was attached there, in milliseconds since 1970; 0 for a record of Docker's. */
  readonly since: number;
  /** When the owner attached to the network; 0 for a record of Docker's. */
  readonly attached: number;
}

/** The VNI and subnet of a network, and the node whose attachment decides them: the oldest one. */
export interface Ruling {
  readonly parameters: string;
  readonly owner: string;
  readonly attached: number;
}

/** What a settlement changed: the placement of a record that held before, and the one that holds now. */
export interface Settled {
  readonly before: Placement | null;
  readonly after: Placement | null;
}

/** @param subnet With host bits cleared: `10.0.0.0/24`. */
export function parametersOf(vni: number, subnet: string): string {
  return `VNI ${vni}, subnet ${subnet}`;
}

/**
 * Whether one placement goes before another where they contradict each other: the older attachment, of two of the same
 * millisecond the one of the lower node name. A record without a time goes before all that have one, since Docker never
 * withdraws an endpoint for another node's sake: only so do Docker's own nodes see what all others see.
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
  /** The placement of this record that held when it was settled last. */
  held: Placement | null;
}

/** The attachments of a node with the same parameters. */
interface Voice extends Ruling {
  records: number;
}

/** Records by an address. Nearly every address has one. */
class Index {
  readonly #entries = new Map<string, Entry | Set<Entry>>();

  add(address: string, entry: Entry): void {
    const found = this.#entries.get(address);
    if (found === undefined) this.#entries.set(address, entry);
    else if (found instanceof Set) found.add(entry);
    else this.#entries.set(address, new Set([found, entry]));
  }

  remove(address: string, entry: Entry): void {
    const found = this.#entries.get(address);
    if (found === entry) this.#entries.delete(address);
    else if (found instanceof Set && found.delete(entry) && found.size === 0) this.#entries.delete(address);
  }

  of(address: string): Iterable<Entry> {
    const found = this.#entries.get(address);
    return found === undefined ? [] : found instanceof Set ? found : [found];
  }

  /** Whether the records of an address name different VTEPs. */
  isContested(address: string): boolean {
    const found = this.#entries.get(address);
    if (!(found instanceof Set)) return false;
    let vtep: string | undefined;
    for (const { placement } of found)
      if (vtep === undefined) vtep = placement.vtep;
      else if (vtep !== placement.vtep) return true;
    return false;
  }
}

/** All placements of a network. After changes, `settle` finds out which of them hold. */
export class Placements {
  readonly #entries = new Map<string, Entry>();
  readonly #byIp = new Index();
  readonly #byMac = new Index();
  readonly #voices = new Map<string, Voice>();
  /** Addresses whose records changed since the last settlement. */
  #changed = new Set<string>();
  /** What records held at the last settlement that are gone or were written again since. */
  #gone = new Map<string, Placement | null>();
  #ruling: Ruling | null = null;
  #ruled = true;
  readonly #refused = new Set<Placement>();

  /** Whose VNI and subnet hold; `null` where no record has any. As of the last settlement. */
  get ruling(): Ruling | null {
    return this.#ruling;
  }

  get(key: string): Placement | undefined {
    return this.#entries.get(key)?.placement;
  }

  /** Whether the placement of a record held at the last settlement. */
  holds(key: string): boolean {
    return this.#entries.get(key)?.held != null;
  }

  /** The placements that do not hold, as of the last settlement. */
  get refused(): ReadonlySet<Placement> {
    return this.#refused;
  }

  put(placement: Placement): void {
    const before = this.#entries.get(placement.key);
    if (before !== undefined) this.#take(before);
    const entry: Entry = { placement, held: null };
    this.#entries.set(placement.key, entry);
    this.#byIp.add(placement.ip, entry);
    this.#byMac.add(placement.mac, entry);
    this.#speak(placement, 1);
    this.#mark(placement);
  }

  remove(key: string): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#take(entry);
  }

  /** Whether anything changed since the last settlement. */
  get isSettled(): boolean {
    return this.#changed.size === 0;
  }

  /** Decides anew which placements hold, as far as that may have changed. */
  settle(): Settled[] {
    const settled: Settled[] = [];
    const gone = this.#gone;
    const before = this.#ruling?.parameters;
    if (!this.#ruled) this.#ruling = this.#rule();
    this.#ruled = true;
    const affected = before === this.#ruling?.parameters ? this.#component(this.#changed) : [...this.#entries.values()];
    this.#changed = new Set();
    this.#gone = new Map();
    affected.sort((a, b) => (isOlder(a.placement, b.placement) ? -1 : 1));
    /** The VTEPs that hold an address. */
    const ips = new Map<string, string>();
    const macs = new Map<string, string>();
    for (const entry of affected) {
      const { placement } = entry;
      const { key, ip, mac, vtep } = placement;
      const holds = this.#rules(placement) && (ips.get(ip) ?? vtep) === vtep && (macs.get(mac) ?? vtep) === vtep;
      if (holds) {
        ips.set(ip, vtep);
        macs.set(mac, vtep);
      }
      const last = entry.held ?? gone.get(key) ?? null;
      gone.delete(key);
      entry.held = holds ? placement : null;
      if (holds) this.#refused.delete(placement);
      else this.#refused.add(placement);
      if (last !== entry.held) settled.push({ before: last, after: entry.held });
    }
    for (const held of gone.values()) if (held !== null) settled.push({ before: held, after: null });
    return settled;
  }

  /** Why a placement that has no record here could not hold: a placement that holds, or the ruling; else `null`. */
  rival(placement: Placement): Placement | Ruling | null {
    if (!this.#rules(placement)) return this.#ruling;
    for (const index of [this.#byIp.of(placement.ip), this.#byMac.of(placement.mac)])
      for (const { placement: other, held } of index) if (held !== null && contradict(placement, other)) return other;
    return null;
  }

  /** Whether a placement has the parameters that hold, or none. */
  #rules({ parameters }: Placement): boolean {
    return parameters === '' || this.#ruling === null || parameters === this.#ruling.parameters;
  }

  /** The parameters of the oldest attachment. */
  #rule(): Ruling | null {
    let oldest: Ruling | null = null;
    for (const voice of this.#voices.values())
      if (
        oldest === null ||
        voice.attached < oldest.attached ||
        (voice.attached === oldest.attached && nameOf(voice) < nameOf(oldest))
      )
        oldest = voice;
    return oldest;
  }

  /** All records that share contested addresses with those of some addresses, directly or by way of others. */
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

  #take(entry: Entry): void {
    const { placement } = entry;
    this.#refused.delete(placement);
    this.#byIp.remove(placement.ip, entry);
    this.#byMac.remove(placement.mac, entry);
    this.#speak(placement, -1);
    this.#mark(placement);
    // Of several in a row the first one is what was settled.
    if (!this.#gone.has(placement.key)) this.#gone.set(placement.key, entry.held);
  }

  #mark({ ip, mac }: Placement): void {
    this.#changed.add(ip).add(mac);
  }

  #speak(placement: Placement, by: 1 | -1): void {
    const { parameters, owner, attached } = placement;
    if (parameters === '') return;
    this.#ruled = false;
    const name = `${attached} ${nameOf(placement)}`;
    const voice = this.#voices.get(name);
    if (voice === undefined) this.#voices.set(name, { parameters, owner, attached, records: 1 });
    else if ((voice.records += by) === 0) this.#voices.delete(name);
  }
}

function nameOf({ owner, parameters }: { owner: string; parameters: string }): string {
  return `${owner} ${parameters}`;
}
