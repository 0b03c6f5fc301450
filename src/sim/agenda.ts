/** An action scheduled for a time. Its holder may cancel it. */
export interface Timer {
  /** Milliseconds. */
  readonly time: number;
}

interface Entry extends Timer {
  /** `null` once it has been taken or cancelled. */
  action: (() => void) | null;
}

const SMALLEST = 64;

/**
 * A queue of actions by time; at equal times in the order of their addition.
 *
 * A heap with four children per node, over arrays of numbers beside the entries, so that sifting touches no object: two to
 * three times as fast, with a hundred entries and with a hundred thousand. A cancelled entry stays until it comes first or
 * until half of all entries are cancelled.
 */
export class Agenda {
  #times = new Float64Array(SMALLEST);
  #orders = new Float64Array(SMALLEST);
  #entries: Entry[] = [];
  #cancelled = 0;
  #order = 0;

  /** Pending actions. */
  get size(): number {
    return this.#entries.length - this.#cancelled;
  }

  /** The time of the first action; `Infinity` if there is none. */
  get next(): number {
    return this.#entries.length === 0 ? Infinity : this.#times[0]!;
  }

  add(time: number, action: () => void): Timer {
    const entry: Entry = { time, action };
    const at = this.#entries.length;
    if (at === this.#times.length) this.#grow();
    this.#entries.push(entry);
    this.#rise(at, time, this.#order++, entry);
    return entry;
  }

  /** Cancels an action and returns whether it was pending. */
  cancel(timer: Timer): boolean {
    const entry = timer as Entry;
    if (entry.action === null) return false;
    entry.action = null;
    this.#cancelled++;
    if (this.#cancelled * 2 > this.#entries.length) this.#compact();
    this.#prune();
    return true;
  }

  /** Removes the first action and returns it for the caller to run. There must be one. */
  take(): () => void {
    const entry = this.#entries[0]!;
    const action = entry.action!;
    entry.action = null;
    this.#removeFirst();
    this.#prune();
    return action;
  }

  /** Removes all actions. */
  clear(): void {
    for (const entry of this.#entries) entry.action = null;
    this.#entries = [];
    this.#cancelled = 0;
  }

  /** Removes cancelled entries from the front. */
  #prune(): void {
    while (this.#cancelled > 0 && this.#entries[0]!.action === null) {
      this.#cancelled--;
      this.#removeFirst();
    }
  }

  #removeFirst(): void {
    const last = this.#entries.length - 1;
    const entry = this.#entries.pop()!;
    if (last > 0) this.#sink(0, this.#times[last]!, this.#orders[last]!, entry);
  }

  /** Removes the cancelled entries. */
  #compact(): void {
    const entries = this.#entries;
    let count = 0;
    for (let at = 0; at < entries.length; at++)
      if (entries[at]!.action !== null) this.#put(count++, this.#times[at]!, this.#orders[at]!, entries[at]!);
    entries.length = count;
    this.#cancelled = 0;
    for (let at = (count - 2) >> 2; at >= 0; at--) this.#sink(at, this.#times[at]!, this.#orders[at]!, entries[at]!);
  }

  #rise(from: number, time: number, order: number, entry: Entry): void {
    const times = this.#times;
    let at = from;
    // A new entry has the highest order of all, so that among equal times it stays below.
    while (at > 0) {
      const parent = (at - 1) >> 2;
      if (times[parent]! <= time) break;
      this.#put(at, times[parent]!, this.#orders[parent]!, this.#entries[parent]!);
      at = parent;
    }
    this.#put(at, time, order, entry);
  }

  #sink(from: number, time: number, order: number, entry: Entry): void {
    const times = this.#times;
    const orders = this.#orders;
    const { length } = this.#entries;
    let at = from;
    for (;;) {
      const first = at * 4 + 1;
      if (first >= length) break;
      const end = first + 4 < length ? first + 4 : length;
      let child = first;
      for (let other = first + 1; other < end; other++) {
        const ahead = times[other]! - times[child]!;
        if (ahead < 0 || (ahead === 0 && orders[other]! < orders[child]!)) child = other;
      }
      if (times[child]! > time || (times[child]! === time && orders[child]! > order)) break;
      this.#put(at, times[child]!, orders[child]!, this.#entries[child]!);
      at = child;
    }
    this.#put(at, time, order, entry);
  }

  #put(at: number, time: number, order: number, entry: Entry): void {
    this.#times[at] = time;
    this.#orders[at] = order;
    this.#entries[at] = entry;
  }

  #grow(): void {
    const times = new Float64Array(this.#times.length * 2);
    const orders = new Float64Array(times.length);
    times.set(this.#times);
    orders.set(this.#orders);
    this.#times = times;
    this.#orders = orders;
  }
}
