/** An action at a time. Its holder may cancel it. */
export interface Timer {
  readonly time: number;
  readonly order: number;
  /** `null` once it has run or was cancelled. */
  run: ((now: number) => void) | null;
}

/** Timers as a heap; at equal times in the order of their addition. */
export class Timers {
  #heap: Timer[] = [];
  #order = 0;
  #cancelled = 0;

  /** The time of the first timer; `Infinity` if there is none. */
  get next(): number {
    return this.#heap[0]?.time ?? Infinity;
  }

  set(time: number, run: (now: number) => void): Timer {
    const timer: Timer = { time, order: this.#order++, run };
    this.#heap.push(timer);
    this.#rise(this.#heap.length - 1);
    return timer;
  }

  cancel(timer: Timer | null): void {
    if (timer === null || timer.run === null) return;
    timer.run = null;
    this.#cancelled++;
    // Cancelled timers stay until they come first, or until they are more than half of the heap.
    if (this.#cancelled * 2 > this.#heap.length) {
      this.#heap = this.#heap.filter((one) => one.run !== null).sort((a, b) => (before(a, b) ? -1 : 1));
      this.#cancelled = 0;
    } else this.#prune();
  }

  clear(): void {
    for (const timer of this.#heap) timer.run = null;
    this.#heap = [];
    this.#cancelled = 0;
  }

  /** Runs everything that is due, including timers added by it for no later than `now`. */
  run(now: number): void {
    while (this.next <= now) {
      const timer = this.#heap[0]!;
      const { run } = timer;
      timer.run = null;
      this.#removeFirst();
      this.#prune();
      run!(now);
    }
  }

  #prune(): void {
    while (this.#heap.length > 0 && this.#heap[0]!.run === null) {
      this.#cancelled--;
      this.#removeFirst();
    }
  }

  #removeFirst(): void {
    const last = this.#heap.pop()!;
    if (this.#heap.length === 0) return;
    this.#heap[0] = last;
    this.#sink(0);
  }

  #rise(from: number): void {
    const heap = this.#heap;
    const timer = heap[from]!;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (before(heap[parent]!, timer)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = timer;
  }

  #sink(from: number): void {
    const heap = this.#heap;
    const timer = heap[from]!;
    let at = from;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (before(timer, heap[child]!)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = timer;
  }
}

function before(a: Timer, b: Timer): boolean {
  return a.time < b.time || (a.time === b.time && a.order < b.order);
}
