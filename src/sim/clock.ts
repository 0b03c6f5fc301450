import { Agenda, type Timer } from './agenda.js';

/**
 * A virtual clock that jumps from one event to the next, so that an idle hour takes no time. Times are milliseconds from 0,
 * and may be fractions. Events at the same time run in the order in which they were added.
 */
export class Clock {
  readonly #agenda = new Agenda();
  #now = 0;
  #running = false;
  #events = 0;

  /** The current time in milliseconds. */
  get now(): number {
    return this.#now;
  }

  /** The time of the next event; `Infinity` if there is none. */
  get next(): number {
    return this.#agenda.next;
  }

  /** Pending events. */
  get pending(): number {
    return this.#agenda.size;
  }

  /** Events that have run. */
  get events(): number {
    return this.#events;
  }

  /** @throws RangeError for a time in the past, or NaN. */
  at(time: number, action: () => void): Timer {
    if (!(time >= this.#now)) throw new RangeError(`time must be ${this.#now} or later, not ${time}`);
    return this.#agenda.add(time, action);
  }

  /** @throws RangeError for a delay below 0. */
  after(delay: number, action: () => void): Timer {
    return this.at(this.#now + delay, action);
  }

  /**
   * Runs an action once per interval, the first time one interval from now.
   * @returns a function that cancels it.
   */
  every(interval: number, action: () => void): () => void {
    if (!(interval > 0)) throw new RangeError(`interval must be above 0, not ${interval}`);
    const again = (): void => {
      timer = this.after(interval, again);
      action();
    };
    let timer = this.after(interval, again);
    return () => void this.cancel(timer);
  }

  /** Cancels an event and returns whether it was pending. */
  cancel(timer: Timer): boolean {
    return this.#agenda.cancel(timer);
  }

  /** Runs the next event and returns whether there was one. */
  step(): boolean {
    const time = this.#agenda.next;
    if (time === Infinity) return false;
    this.#now = time;
    this.#events++;
    this.#agenda.take()();
    return true;
  }

  /**
   * Runs all events up to and including `until`, and sets the clock to that time. Without `until`, runs until no event is
   * left, which with `every` is never.
   * @returns how many events ran.
   * @throws Error if an event calls it.
   */
  run(until = Infinity): number {
    if (this.#running) throw new Error('the clock is already running: an event must not call run');
    const before = this.#events;
    this.#running = true;
    try {
      while (this.#agenda.next <= until && this.step());
    } finally {
      this.#running = false;
    }
    if (until !== Infinity && until > this.#now) this.#now = until;
    return this.#events - before;
  }

  /** Runs the events of the next `duration` milliseconds. */
  advance(duration: number): number {
    return this.run(this.#now + duration);
  }
}

/** Wakes a machine at the earliest time that it asked for. Once woken, it must ask again. */
export class Alarm {
  readonly #clock: Clock;
  readonly #wake: () => void;
  #timer: Timer | null = null;

  constructor(clock: Clock, wake: () => void) {
    this.#clock = clock;
    this.#wake = wake;
  }

  /** Asks to be woken at `time`, or at once if that has passed. */
  set(time: number): void {
    if (this.#timer !== null) {
      if (this.#timer.time <= time) return;
      this.#clock.cancel(this.#timer);
    }
    this.#timer = this.#clock.at(Math.max(time, this.#clock.now), () => {
      this.#timer = null;
      this.#wake();
    });
  }

  /** Cancels the request. */
  clear(): void {
    if (this.#timer !== null) this.#clock.cancel(this.#timer);
    this.#timer = null;
  }
}
