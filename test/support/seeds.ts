/**
 * Simulations with many seeds. Of each that fails it prints the command that shows it again.
 *
 *     SEED=17 node --import tsx test/gossip-sim.test.ts         one seed, with what happens
 *     SEEDS=1-5000 node --import tsx test/gossip-sim.test.ts    these
 *     npm run seeds -- gossip 1-5000                            these, bundled first, which is faster
 */
import { performance } from 'node:perf_hooks';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

export type Log = (line: string) => void;

export interface Simulation {
  /** The test's path, for the command. */
  file: string;
  /** What holds for every seed. */
  holds: string;
  /** Where nothing else is asked for, the seeds from 1 to this one run. */
  count: number;
  /** Seeds that have failed before, which always run. */
  before?: readonly number[];
  /** Runs a seed and says what was wrong. */
  run: (seed: number, log: Log) => string[];
}

const { SEED, SEEDS } = process.env;

/** A test beside the simulation: left out where seeds are asked for. */
export const scenario: typeof test = SEED === undefined && SEEDS === undefined ? test : (test.skip as typeof test);

/** Failures after which an ordinary run ends. */
const PATIENCE = 5;

/** The first and the last seed of `17`, `1-5000`. */
function range(text: string): [first: number, last: number] {
  const match = /^(\d+)(?:-(\d+))?$/.exec(text);
  if (match === null) throw new RangeError(`SEEDS is to be one seed or two, as 1-5000, not "${text}"`);
  return [Number(match[1]), Number(match[2] ?? match[1])];
}

/** Makes a test of a simulation. */
export function simulate({ file, holds, count, before = [], run }: Simulation): void {
  if (SEED !== undefined) {
    test(`seed ${SEED}: ${holds}`, () => assert.equal(run(Number(SEED), console.log), []));
    return;
  }
  const [first, last] = SEEDS === undefined ? [1, count] : range(SEEDS);
  test(`seeds ${first} to ${last}: ${holds}`, () => {
    const started = performance.now();
    const chosen = Array.from({ length: last - first + 1 }, (_, i) => first + i);
    if (SEEDS === undefined) chosen.push(...before.filter((seed) => seed > last));
    const failed: string[] = [];
    let ran = 0;
    // Streams that come in pieces make many errors, and traces of them a fifth of all the work.
    Error.stackTraceLimit = 0;
    for (const seed of chosen) {
      ran++;
      const wrong = attempt(run, seed);
      if (wrong.length === 0) continue;
      failed.push(`replay it: SEED=${seed} node --import tsx ${file}\n  ${wrong.join('\n  ')}`);
      if (SEEDS !== undefined) console.log(failed.at(-1));
      else if (failed.length === PATIENCE) break;
    }
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    console.log(`${file}: ${ran} seeds ran, ${ran - failed.length} passed, ${failed.length} failed (${seconds} s)`);
    assert.is(failed.length, 0, failed.slice(0, PATIENCE).join('\n'));
  });
}

function attempt(run: Simulation['run'], seed: number): string[] {
  try {
    return run(seed, () => undefined);
  } catch (error) {
    return [error instanceof Error ? (error.stack ?? error.message) : String(error)];
  }
}

/**
 * Lets time pass until nothing has been wrong for a while, and says what still is.
 * @param patience Milliseconds that there are for it. What began before, as a probe that nobody answered, takes its time.
 * @param stay Milliseconds for which nothing is to be wrong.
 */
export function settle(
  clock: { now: number; advance(milliseconds: number): unknown },
  findings: () => string[],
  patience: number,
  stay: number,
): string[] {
  const until = clock.now + patience;
  let right = Infinity;
  for (;;) {
    const found = findings();
    if (found.length > 0) right = Infinity;
    else if (right === Infinity) right = clock.now;
    if (clock.now - right >= stay) return [];
    if (clock.now >= until) return found.length > 0 ? found : [`right only since ${right.toFixed(0)}`];
    clock.advance(2500);
  }
}
