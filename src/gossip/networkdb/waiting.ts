import { isSameEndpoint } from '../../state/index.js';
import { contradict, isNewerPlace, type Placement, type Placements, type Ruling, type Settled } from './placements.js';

/** Of more waiting endpoints with one address, or with other parameters, this many are compared with a placement. */
export const MAX_COMPARED = 256;

/** Whether waiting endpoint `a` is announced before `b`: the newer place of one endpoint, or the one that has waited longer. */
export function goesFirst(a: Placement, b: Placement): boolean {
  if (isSameEndpoint(a, b)) return isNewerPlace(a, b);
  if (a.since !== b.since) return a.since < b.since;
  return a.owner === b.owner ? a.key < b.key : a.owner < b.owner;
}

/** A record of the waiting table. */
interface Waiting {
  readonly placement: Placement;
  /** Its position in the list. */
  readonly order: number;
  /** Whether no placement or ruling refuses it, and for which `settle` of the placements this was determined. */
  isFree: boolean;
  checked: number;
}

/** Records by what they have in common. */
class Groups {
  readonly #groups = new Map<string, Set<Waiting>>();

  add(name: string, waiting: Waiting): void {
    const group = this.#groups.get(name);
    if (group === undefined) this.#groups.set(name, new Set([waiting]));
    else group.add(waiting);
  }

  remove(name: string, waiting: Waiting): void {
    const group = this.#groups.get(name);
    if (group?.delete(waiting) === true && group.size === 0) this.#groups.delete(name);
  }

  has(name: string): boolean {
    return this.#groups.has(name);
  }

  of(name: string): Iterable<Waiting> {
    return this.#groups.get(name) ?? [];
  }

  /** The records of all groups but one. */
  *except(name: string): Generator<Waiting, void> {
    for (const [other, group] of this.#groups) if (other !== name) yield* group;
  }
}

/** The records of a network's waiting table: endpoints of all hosts that are not announced because of a conflict. */
export class WaitingList {
  /** By record key. */
  readonly #records = new Map<string, Waiting>();
  readonly #byIp = new Groups();
  readonly #byMac = new Groups();
  /** Those that have parameters. */
  readonly #byParameters = new Groups();
  /** Addresses of this host's unannounced endpoints, which may have no record. */
  #unannounced = new Set<string>();
  #order = 0;
  #compared = 0;

  get size(): number {
    return this.#records.size;
  }

  /** Number of comparisons so far. */
  get compared(): number {
    return this.#compared;
  }

  get(key: string): Placement | undefined {
    return this.#records.get(key)?.placement;
  }

  *all(): Generator<Placement, void> {
    for (const { placement } of this.#records.values()) yield placement;
  }

  /** Adds or replaces the placement of a record; `null` removes it. */
  set(key: string, placement: Placement | null): void {
    const before = this.#records.get(key);
    if (before !== undefined) {
      this.#byIp.remove(before.placement.ip, before);
      this.#byMac.remove(before.placement.mac, before);
      this.#byParameters.remove(before.placement.parameters, before);
    }
    if (placement === null) {
      this.#records.delete(key);
      return;
    }
    const waiting: Waiting = { placement, order: before?.order ?? this.#order++, isFree: false, checked: -1 };
    this.#records.set(key, waiting);
    this.#byIp.add(placement.ip, waiting);
    this.#byMac.add(placement.mac, waiting);
    if (placement.parameters !== '') this.#byParameters.add(placement.parameters, waiting);
  }

  /** @param unannounced The endpoints of this host that are not announced, for `concerns`. */
  setUnannounced(unannounced: Iterable<{ readonly waiting: Placement }>): void {
    const addresses = new Set<string>();
    for (const { waiting } of unannounced) addresses.add(waiting.ip).add(waiting.mac);
    this.#unannounced = addresses;
  }

  /** Whether any of these changes may end or begin a conflict of a waiting endpoint. */
  concerns(changes: readonly Settled[]): boolean {
    if (this.#unannounced.size === 0 && this.size === 0) return false;
    return changes.some(({ before, after }) => this.#hasAddressOf(before) || this.#hasAddressOf(after));
  }

  /** What refuses an unannounced endpoint: a placement or ruling that holds, or a placement that waits and goes first. */
  rivalOf(placement: Placement, placements: Placements): Placement | Ruling | null {
    const rival = placements.rival(placement);
    if (rival !== null) return rival;
    const { ip, mac, parameters } = placement;
    let first: Waiting | null = null;
    const sources: [others: Iterable<Waiting>, isAddress: boolean][] = [
      [this.#byIp.of(ip), true],
      [this.#byMac.of(mac), true],
    ];
    if (parameters !== '' && placements.ruling === null) sources.push([this.#byParameters.except(parameters), false]);
    for (const [others, isAddress] of sources) {
      let left = MAX_COMPARED;
      for (const other of others) {
        if (left-- === 0) break;
        this.#compared++;
        if (first !== null && other.order > first.order) continue;
        if (other.placement.owner === placement.owner || !goesFirst(other.placement, placement)) continue;
        if (isAddress && !contradict(other.placement, placement)) continue;
        if (this.#isFree(other, placements)) first = other;
      }
    }
    return first?.placement ?? null;
  }

  #isFree(waiting: Waiting, placements: Placements): boolean {
    if (waiting.checked !== placements.version) {
      waiting.checked = placements.version;
      waiting.isFree = placements.rival(waiting.placement) === null;
    }
    return waiting.isFree;
  }

  #hasAddressOf(placement: Placement | null): boolean {
    if (placement === null) return false;
    const { ip, mac } = placement;
    return this.#unannounced.has(ip) || this.#unannounced.has(mac) || this.#byIp.has(ip) || this.#byMac.has(mac);
  }
}
