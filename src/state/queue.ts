/**
 * A set whose elements are visited in a circle, in the order in which they were added. (To start over at the first
 * element of a `Set` takes time for each one that was removed before it, so that emptying a large one would take
 * quadratic time.)
 */
export class Ring<T> {
  readonly #items = new Set<T>();
  #walk = this.#items.values();

  get size(): number {
    return this.#items.size;
  }

  /** Adds an element at the end, unless it is there already. */
  add(item: T): void {
    this.#items.add(item);
  }

  delete(item: T): boolean {
    return this.#items.delete(item);
  }

  /** The next element; `undefined` if there is none at all. */
  next(): T | undefined {
    if (this.#items.size === 0) return undefined;
    const next = this.#walk.next();
    if (next.done !== true) return next.value;
    this.#walk = this.#items.values();
    return this.#walk.next().value;
  }

  /** Visits every element once, the next one first. Of several rounds at a time, only the last one visits them all. */
  *round(): Generator<T, undefined> {
    for (let left = this.size; left > 0; left--) {
      const next = this.next();
      if (next !== undefined) yield next;
    }
    return undefined;
  }
}

/** A set from which elements are taken in the order in which they were added. */
export class Queue<T> {
  readonly #items = new Ring<T>();

  get size(): number {
    return this.#items.size;
  }

  /** Adds an element at the end, unless it is there already. */
  add(item: T): void {
    this.#items.add(item);
  }

  delete(item: T): void {
    this.#items.delete(item);
  }

  /** Removes and returns the first element; `undefined` for none. */
  take(): T | undefined {
    const next = this.#items.next();
    if (next !== undefined) this.#items.delete(next);
    return next;
  }
}

/** What the data plane has refused, and why. */
export class Refused<T> {
  readonly #reasons = new Map<T, string>();
  #queue = new Queue<T>();

  has(item: T): boolean {
    return this.#reasons.has(item);
  }

  reason(item: T): string | undefined {
    return this.#reasons.get(item);
  }

  add(item: T, reason: string): void {
    this.#reasons.set(item, reason);
    this.#queue.add(item);
  }

  delete(item: T): void {
    this.#reasons.delete(item);
    this.#queue.delete(item);
  }

  clear(): void {
    this.#reasons.clear();
    this.#queue = new Queue();
  }

  /** Removes and returns the one that was refused first; `undefined` for none. */
  take(): T | undefined {
    const first = this.#queue.take();
    if (first !== undefined) this.#reasons.delete(first);
    return first;
  }
}
