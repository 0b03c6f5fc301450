/** Limits of work that hold on a slow machine, and on one that does something else at the same time. */
import * as assert from 'uvu/assert';

/**
 * Milliseconds of processor time that this process spends in a call, in all its threads. Unlike the duration of the call, it
 * does not contain the time for which other processes have the processor.
 */
export function processorTime(run: () => void): number {
  const before = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}

/** Attempts of `requireLinear`: other programs use the same caches, and garbage is collected now and then. */
const ATTEMPTS = 4;
/** By how much more there is to do in the second measurement. */
const MORE = 8;
/**
 * Linear work then takes eight times as long, and up to three times that if only the first one fits into the caches; quadratic
 * work takes 64 times as long.
 */
const GROWTH = 28;

/**
 * Fails unless work takes linear time.
 * @param work Works for that many. Returns the milliseconds of processor time that count.
 */
export function requireLinear(count: number, work: (count: number) => number): void {
  const few = Math.round(count / MORE);
  work(few); // compiles it
  let [part, whole] = [Infinity, Infinity];
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    part = Math.min(part, work(few));
    whole = Math.min(whole, work(count));
    if (whole < GROWTH * part) return;
  }
  assert.unreachable(`${count} take ${whole.toFixed(1)} ms, and ${few} of them ${part.toFixed(1)} ms`);
}

/**
 * Measures the turns of the event loop, in milliseconds of processor time, until the returned function is called.
 */
export function measureTurns(): () => { longest: number; total: number } {
  let [longest, total] = [0, 0];
  let last = process.cpuUsage();
  let measuring = true;
  const measure = (): void => {
    const { user, system } = process.cpuUsage(last);
    last = process.cpuUsage();
    longest = Math.max(longest, (user + system) / 1000);
    total += (user + system) / 1000;
    if (measuring) setImmediate(measure);
  };
  setImmediate(measure);
  return () => {
    measuring = false;
    return { longest, total };
  };
}
