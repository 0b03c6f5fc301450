/**
 * A task in steps. Each `next` does one step and yields what it cost, where an entry that is read, written or merged
 * costs 1, which is about 10 us.
 */
export type Task = Iterator<number, void>;

/** Cost of all steps between two pauses, and milliseconds from the beginning of one such slice to that of the next. */
const SLICE = 300;
const PAUSE = 5;
/** Milliseconds that a slice takes at most, where there is a clock to tell. */
const LONGEST = 3;
/** Cost after which another task gets its turn. */
const QUANTUM = 16;

/**
 * Tasks that may be long, such as the merge of a large table, in slices: what a slice has room for runs at once, the rest
 * when `due` has come, so that whoever drives the machine can do something else in between. Tasks take turns.
 */
export class Work {
  readonly #clock: (() => number) | undefined;
  #tasks: Task[] = [];
  #left = SLICE;
  #began = -Infinity;
  #running = false;

  /** @param clock The time in milliseconds. */
  constructor(clock?: () => number) {
    this.#clock = clock;
  }

  /** When `run` has something to do; `Infinity` without tasks. */
  get due(): number {
    return this.#tasks.length === 0 ? Infinity : this.#began + PAUSE;
  }

  /** Tasks that are not done. */
  get size(): number {
    return this.#tasks.length;
  }

  add(task: Task, now: number): void {
    this.#tasks.push(task);
    this.run(now);
  }

  /** Does as much as the present slice has room for. A step may add tasks. */
  run(now: number): void {
    if (now - this.#began >= PAUSE) {
      this.#began = now;
      this.#left = SLICE;
    }
    if (this.#running) return;
    this.#running = true;
    const end = (this.#clock?.() ?? 0) + LONGEST;
    try {
      while (this.#left > 0 && this.#tasks.length > 0) {
        const task = this.#tasks.shift()!;
        if (!this.#turn(task)) this.#tasks.push(task);
        if (this.#clock !== undefined && this.#clock() >= end) this.#left = 0;
      }
    } finally {
      this.#running = false;
    }
  }

  clear(): void {
    this.#tasks = [];
  }

  /** @returns whether the task is done. */
  #turn(task: Task): boolean {
    for (let quantum = QUANTUM; quantum > 0 && this.#left > 0;) {
      const { done, value } = task.next();
      if (done === true) return true;
      quantum -= value;
      this.#left -= value;
    }
    return false;
  }
}
