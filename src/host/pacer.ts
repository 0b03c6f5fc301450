/**
 * Runs what the sockets deliver a few milliseconds at a time. Node hands over up to 32 datagrams, or 2 MiB of a stream,
 * in one turn of the event loop. To process all of them at once would keep timers and other sockets waiting.
 */
import { performance } from 'node:perf_hooks';

/** Milliseconds of work in one turn of the event loop. */
const SLICE = 3;

/** Bytes of memory that a job takes besides its data: it bounds the number of jobs. */
const OVERHEAD = 512;

interface Job {
  readonly run: () => void;
  readonly bytes: number;
}

export class Pacer {
  readonly #limit: number;
  #jobs: Job[] = [];
  #bytes = 0;
  /** Milliseconds that jobs took since the last turn began. */
  #spent = 0;
  #scheduled = false;
  #stopped = false;

  /** @param limit Maximum number of bytes to keep. If there are more, the oldest jobs run at once. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /**
   * Runs a job at once if there is time for it, and otherwise later, in the order of the calls.
   * @param data Number of bytes that the job holds.
   */
  add(data: number, run: () => void): void {
    if (this.#stopped) return;
    if (this.#jobs.length === 0 && this.#spent < SLICE) this.#run(run);
    else {
      const bytes = data + OVERHEAD;
      this.#jobs.push({ run, bytes });
      this.#bytes += bytes;
      while (this.#bytes > this.#limit) this.#next();
    }
    if (!this.#scheduled) this.#schedule();
  }

  /** Drops the jobs that have not run. */
  stop(): void {
    this.#stopped = true;
    this.#jobs = [];
  }

  #schedule(): void {
    this.#scheduled = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#scheduled = false;
    this.#spent = 0;
    while (this.#jobs.length > 0 && this.#spent < SLICE) this.#next();
    if (this.#spent > 0 && !this.#stopped && !this.#scheduled) this.#schedule();
  }

  #next(): void {
    const { run, bytes } = this.#jobs.shift()!;
    this.#bytes -= bytes;
    this.#run(run);
  }

  #run(run: () => void): void {
    const began = performance.now();
    run();
    this.#spent += performance.now() - began;
  }
}
