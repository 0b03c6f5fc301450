/**
 * A task in steps. Each `next` performs one step and yields its cost. Reading, writing or merging one entry costs 1,
 * which is about 10 us.
 */
export type Task = Iterator<number, void>;

/** Cost of the steps of one slice, and milliseconds from the start of one slice to the start of the next. */
const SLICE = 300;
const PAUSE = 5;
/** Maximum duration of a slice in milliseconds, if there is a clock. */
const LONGEST = 3;
/** Cost after which the next task runs. */
const QUANTUM = 16;

/**
 * Runs long tasks, for example the merge of a large table, in slices: the first slice runs at once, the rest from `due`
 * on, so that the caller of the machine can do something else in between. Tasks take turns.
 */
export class Work {
  readonly #clock: (() => number) | undefined;
  #tasks: Task[] = [];
  #left = SLICE;
  #began = -Infinity;
  #running = false;
  /** The time of the last call, for the steps of tasks. */
  now = -Infinity;

  /** @param clock Returns the time in milliseconds. */
  constructor(clock?: () => number) {
    this.#clock = clock;
  }

  /** When `run` must be called next; `Infinity` without tasks. */
  get due(): number {
    return this.#tasks.length === 0 ? Infinity : this.#began + PAUSE;
  }

  /** Number of unfinished tasks. */
  get size(): number {
    return this.#tasks.length;
  }

  /** Adds a task, and starts it if something is left of the current slice. */
  add(task: Task, now: number): void {
    this.now = now;
    if (this.#tasks.length === 0 && now - this.#began >= PAUSE) this.#begin(now);
    this.#tasks.push(task);
    this.#run();
  }

  /** Performs the steps that fit into the current slice. A step may add tasks. */
  run(now: number): void {
    this.now = now;
    if (now - this.#began >= PAUSE) this.#begin(now);
    this.#run();
  }

  #begin(now: number): void {
    this.#began = now;
    this.#left = SLICE;
  }

  #run(): void {
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

  /** @returns whether the task is finished. */
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
