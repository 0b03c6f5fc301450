/**
 * The clock of `performance.now()` in whole milliseconds. Each call of `performance.now()` allocates a heap number; in
 * a loop that turns once for every few frames, these numbers were most of the garbage.
 */
import { performance } from 'node:perf_hooks';
import * as abi from './abi.js';
import { type Arena } from './arena.js';
import { type Libc, type Pointer } from './libc.js';

/** `micros` wraps at this value: larger numbers would be heap numbers. */
const ROUND = 1_000_000_000;

export class Clock {
  readonly #libc: Libc;
  readonly #arena: Arena;
  readonly #time: number;
  readonly #pointer: Pointer;
  /** Added to the system's seconds since boot, and to the milliseconds computed from them. */
  readonly #seconds: number;
  readonly #shift: number;

  constructor(libc: Libc, arena: Arena) {
    this.#libc = libc;
    this.#arena = arena;
    this.#time = arena.take(abi.TIMESPEC.length);
    this.#pointer = arena.pointer(this.#time);
    this.#seconds = 0;
    this.#shift = 0;
    this.now();
    this.#seconds = -arena.view.getUint32(this.#time + abi.TIMESPEC.seconds, true);
    this.#shift = Math.floor(performance.now()) - this.now();
  }

  now(): number {
    this.#libc.clock_gettime(abi.CLOCK_MONOTONIC, this.#pointer);
    const { view } = this.#arena;
    const seconds = view.getUint32(this.#time + abi.TIMESPEC.seconds, true) + this.#seconds;
    const milliseconds = Math.floor(view.getUint32(this.#time + abi.TIMESPEC.nanoseconds, true) / 1e6);
    return seconds * 1000 + milliseconds + this.#shift;
  }

  /** Whole microseconds, for `since`. */
  micros(): number {
    this.#libc.clock_gettime(abi.CLOCK_MONOTONIC, this.#pointer);
    const { view } = this.#arena;
    const seconds = view.getUint32(this.#time + abi.TIMESPEC.seconds, true) % (ROUND / 1e6);
    return seconds * 1e6 + Math.floor(view.getUint32(this.#time + abi.TIMESPEC.nanoseconds, true) / 1000);
  }

  /** Microseconds since `micros` returned `start`, at most a quarter of an hour ago. */
  since(start: number): number {
    const passed = this.micros() - start;
    return passed < 0 ? passed + ROUND : passed;
  }
}
