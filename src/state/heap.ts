/** A set whose first element, in an order of the caller, is known. Additions and removals take O(log n). */
export class Heap<T> {
  /** A binary heap: the children of the element at i are at 2i + 1 and 2i + 2, and not before it. */
  readonly #items: T[] = [];
  readonly #positions = new Map<T, number>();
  readonly #isBefore: (a: T, b: T) => boolean;

  /** @param isBefore A strict order; of elements that are equal in it, any may be the first. If the place of an element in it changes, `put` must follow at once. */
  constructor(isBefore: (a: T, b: T) => boolean) {
    this.#isBefore = isBefore;
  }

  get size(): number {
    return this.#items.length;
  }

  get first(): T | null {
    return this.#items[0] ?? null;
  }

  /** Adds an element, or moves it to where it belongs now. */
  put(item: T): void {
    this.#settle(item, this.#positions.get(item) ?? this.#items.length);
  }

  remove(item: T): void {
    const at = this.#positions.get(item);
    if (at === undefined) return;
    this.#positions.delete(item);
    const last = this.#items.pop()!;
    if (last !== item) this.#settle(last, at);
  }

  /** Places an element at `at`, or above or below it. */
  #settle(item: T, at: number): void {
    const items = this.#items;
    for (let parent = (at - 1) >> 1; at > 0 && this.#isBefore(item, items[parent]!); parent = (at - 1) >> 1) {
      this.#set(at, items[parent]!);
      at = parent;
    }
    for (let child = this.#firstChild(at); child < items.length; child = this.#firstChild(at)) {
      if (!this.#isBefore(items[child]!, item)) break;
      this.#set(at, items[child]!);
      at = child;
    }
    this.#set(at, item);
  }

  /** The child of a position that comes first; the length of the heap or more if there is none. */
  #firstChild(at: number): number {
    const left = 2 * at + 1;
    const right = left + 1;
    return right < this.#items.length && this.#isBefore(this.#items[right]!, this.#items[left]!) ? right : left;
  }

  #set(at: number, item: T): void {
    this.#items[at] = item;
    this.#positions.set(item, at);
  }
}
