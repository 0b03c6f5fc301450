import { Agenda, type Timer } from './agenda.js';

/**
 * A clock that goes from one event to the next and nowhere between: an hour in which little happens takes no time. Times
 * are milliseconds from 0 on, and may be fractions. What is due at the same time runs in the order of its entry.
 */
export class Clock {
  readonly #agenda = new Agenda();
  #now = 0;
  #running = false;
  #events = 0;

  /** The present time in milliseconds. */
  get now(): number {
    return this.#now;
  }

  /** The time of the next event; `Infinity` where there is none. */
  get next(): number {
    return this.#agenda.next;
  }

  /** Events that are still to come. */
  get pending(): number {
    return this.#agenda.size;
  }

  /** Events that have run. */
  get events(): number {
    return this.#events;
  }

  /** @throws RangeError for a time that has passed, or is none. */
  at(time: number, action: () => void): Timer {
    if (!(time >= this.#now)) throw new RangeError(`time is to be from ${this.#now} on, not ${time}`);
    return this.#agenda.add(time, action);
  }

  /** @throws RangeError for a delay below 0. */
  after(delay: number, action: () => void): Timer {
    return this.at(this.#now + delay, action);
  }

  /**
   * Runs an action again and again, the first time one interval from now.
   * @returns what cancels it.
   */
  every(interval: number, action: () => void): () => void {
    if (!(interval > 0)) throw new RangeError(`interval is to be above 0, not ${interval}`);
    const again = (): void => {
      timer = this.after(interval, again);
      action();
    };
    let timer = this.after(interval, again);
    return () => void this.cancel(timer);
  }

  /** Says whether the event was still to come. */
  cancel(timer: Timer): boolean {
    return this.#agenda.cancel(timer);
  }

  /** Runs the next event and says whether there was one. */
  step(): boolean {
    const time = this.#agenda.next;
    if (time === Infinity) return false;
    this.#now = time;
    this.#events++;
    this.#agenda.take()();
    return true;
  }

  /**
   * Runs all events up to and with those at `until`, and sets the clock to that time. Without `until`: all events until
   * none is left, which with `every` is never.
   * @returns how many events ran.
   * @throws Error when an event calls it.
   */
  run(until = Infinity): number {
    if (this.#running) throw new Error('the clock is running already; an event cannot run it');
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

  /** Runs what happens in the next `duration` milliseconds. */
  advance(duration: number): number {
    return this.run(this.#now + duration);
  }
}

/** Wakes a machine at the earliest of the times that it asked for; it is to ask again once woken. */
export class Alarm {
  readonly #clock: Clock;
  readonly #wake: () => void;
  #timer: Timer | null = null;

  constructor(clock: Clock, wake: () => void) {
    this.#clock = clock;
    this.#wake = wake;
  }

  /** Asks to be woken at `time`, or at once where that has passed. */
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

  /** Takes back what was asked for. */
  clear(): void {
    if (this.#timer !== null) this.#clock.cancel(this.#timer);
    this.#timer = null;
  }
}
