import { contradict, isOlder, type Placement, type Placements, type Ruling, type Settled } from './placements.js';

/** The records of a network's waiting table: endpoints of all hosts that are not announced because of a conflict. */
export class WaitingList {
  /** By record key. */
  readonly #placements = new Map<string, Placement>();
  /** Their IP and MAC addresses, and those of this host's unannounced endpoints, as of the last `collectAddresses`. */
  #addresses = new Set<string>();

  get size(): number {
    return this.#placements.size;
  }

  get(key: string): Placement | undefined {
    return this.#placements.get(key);
  }

  all(): Iterable<Placement> {
    return this.#placements.values();
  }

  /** Adds or replaces the placement of a record; `null` removes it. */
  set(key: string, placement: Placement | null): void {
    if (placement === null) this.#placements.delete(key);
    else this.#placements.set(key, placement);
  }

  /** Collects the addresses for `concerns`. @param unannounced Endpoints of this host, which may have no record. */
  collectAddresses(unannounced: readonly Placement[]): void {
    if (this.#addresses.size === 0 && this.size === 0 && unannounced.length === 0) return;
    this.#addresses = new Set();
    for (const { ip, mac } of this.#placements.values()) this.#addresses.add(ip).add(mac);
    for (const { ip, mac } of unannounced) this.#addresses.add(ip).add(mac);
  }

  /** Whether any of these changes may end or begin a conflict of a waiting endpoint. */
  concerns(changes: readonly Settled[]): boolean {
    if (this.#addresses.size === 0) return false;
    return changes.some(({ before, after }) => this.#hasAddressOf(before) || this.#hasAddressOf(after));
  }

  /** What refuses an unannounced endpoint: a placement or ruling that holds, or a placement that has waited longer. */
  rivalOf(placement: Placement, placements: Placements): Placement | Ruling | null {
    const rival = placements.rival(placement);
    if (rival !== null) return rival;
    const { ruling } = placements;
    for (const other of this.#placements.values()) {
      if (other.owner === placement.owner || !isOlder(other, placement)) continue;
      const isOther =
        other.parameters !== placement.parameters && other.parameters !== '' && placement.parameters !== '';
      if (!contradict(other, placement) && !(isOther && ruling === null)) continue;
      if (placements.rival(other) === null) return other;
    }
    return null;
  }

  #hasAddressOf(placement: Placement | null): boolean {
    return placement !== null && (this.#addresses.has(placement.ip) || this.#addresses.has(placement.mac));
  }
}
