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
/** Linear work for four times as much takes four times as long, and quadratic work sixteen times. */
const GROWTH = 9;

/**
 * Fails unless work takes linear time.
 * @param work Works for that many. Returns the milliseconds of processor time that count.
 */
export function requireLinear(count: number, work: (count: number) => number): void {
  work(count / 4); // compiles it
  let [quarter, whole] = [Infinity, Infinity];
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    quarter = Math.min(quarter, work(count / 4));
    whole = Math.min(whole, work(count));
    if (whole < GROWTH * quarter) return;
  }
  assert.unreachable(`${count} take ${whole.toFixed(1)} ms, and a quarter of them ${quarter.toFixed(1)} ms`);
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
