const FREE = -1;
const SMALLEST = 8;

/**
 * A map from integers of up to 30 bits, such as VNIs and VLAN ids, which several frames in turn rarely share. Key and value
 * lie side by side in one array, so that a look-up reads one cache line; in a `Map` it reads two or three.
 */
export class IdMap<T extends object | number> {
  /** A key, or `FREE`, at each even index, and its value behind it. At most half of the keys are used. */
  #slots: (number | T | null)[];
  #mask: number;
  #size = 0;

  /** @param expected How many ids it will have: with so many, it need not grow. */
  constructor(expected = 0) {
    let count = SMALLEST;
    while (count < expected * 2) count *= 2;
    this.#slots = emptySlots(count);
    this.#mask = count - 1;
  }

  get(id: number): T | undefined {
    const slots = this.#slots;
    const mask = this.#mask;
    for (let slot = home(id) & mask; ; slot = (slot + 1) & mask) {
      const key = slots[slot << 1];
      if (key === id) return slots[(slot << 1) | 1] as T;
      if (key === FREE) return undefined;
    }
  }

  set(id: number, value: T): void {
    const slot = this.#find(id);
    if (this.#slots[slot << 1] === FREE) {
      if (++this.#size * 2 > this.#mask + 1) {
        this.#grow();
        return this.#put(this.#find(id), id, value);
      }
    }
    this.#put(slot, id, value);
  }

  /** Removes an id, and returns whether there was one. */
  delete(id: number): boolean {
    let hole = this.#find(id);
    const slots = this.#slots;
    const mask = this.#mask;
    if (slots[hole << 1] === FREE) return false;
    this.#size--;
    // Moves the ids that probed past the hole, so that no tombstones are needed.
    for (let slot = (hole + 1) & mask; ; slot = (slot + 1) & mask) {
      const key = slots[slot << 1] as number;
      if (key === FREE) break;
      if (((slot - home(key)) & mask) < ((slot - hole) & mask)) continue;
      this.#put(hole, key, slots[(slot << 1) | 1] as T);
      hole = slot;
    }
    slots[hole << 1] = FREE;
    slots[(hole << 1) | 1] = null;
    return true;
  }

  /** The values, in unspecified order. */
  *values(): Generator<T> {
    const slots = this.#slots;
    for (let at = 0; at < slots.length; at += 2) if (slots[at] !== FREE) yield slots[at + 1] as T;
  }

  /** The slot of an id, or the free slot for it. */
  #find(id: number): number {
    const slots = this.#slots;
    const mask = this.#mask;
    let slot = home(id) & mask;
    while (slots[slot << 1] !== id && slots[slot << 1] !== FREE) slot = (slot + 1) & mask;
    return slot;
  }

  #put(slot: number, id: number, value: T): void {
    this.#slots[slot << 1] = id;
    this.#slots[(slot << 1) | 1] = value;
  }

  #grow(): void {
    const before = this.#slots;
    this.#mask = this.#mask * 2 + 1;
    this.#slots = emptySlots(this.#mask + 1);
    for (let at = 0; at < before.length; at += 2) {
      const key = before[at] as number;
      if (key !== FREE) this.#put(this.#find(key), key, before[at + 1] as T);
    }
  }
}

/** Where the search for an id begins, before the mask: neighboring ids do not share cache lines. */
function home(id: number): number {
  return Math.imul(id, 0x9e37_79b1) >>> 12;
}

function emptySlots(count: number): (number | null)[] {
  const slots = new Array<number | null>(count * 2);
  for (let at = 0; at < slots.length; at += 2) {
    slots[at] = FREE;
    slots[at + 1] = null;
  }
  return slots;
}
