/**
 * Runs simulations with many seeds. Prints the command that reproduces each failing one.
 *
 *     SEED=17 node --import tsx test/gossip-sim.test.ts         one seed, with a log of events
 *     SEEDS=1-5000 node --import tsx test/gossip-sim.test.ts    a range of seeds
 *     npm run seeds -- gossip 1-5000                            a range of seeds, bundled first, which is faster
 */
import { performance } from 'node:perf_hooks';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

export type Log = (line: string) => void;

export interface Simulation {
  /** The test's path, for the command. */
  file: string;
  /** The property that holds for every seed; becomes the test's title. */
  holds: string;
  /** Runs the seeds from 1 to this one unless SEED or SEEDS is set; a tenth of them if WEFT_FEW_SEEDS is set. */
  count: number;
  /** Seeds that have failed in the past. They run unless SEED or SEEDS is set. */
  before?: readonly number[];
  /** Runs a seed. @returns the errors. */
  run: (seed: number, log: Log) => string[];
}

const { SEED, SEEDS, WEFT_FEW_SEEDS } = process.env;

/** As many, or a tenth of it where others have run all: `npm test -- --library`. */
export const few = (count: number): number => (WEFT_FEW_SEEDS === undefined ? count : Math.ceil(count / 10));

/** A test beside the simulation: skipped if SEED or SEEDS is set. */
export const scenario: typeof test = SEED === undefined && SEEDS === undefined ? test : (test.skip as typeof test);

/** A run without SEEDS stops after this many failures. */
const PATIENCE = 5;

/** Parses `17` or `1-5000`. */
function range(text: string): [first: number, last: number] {
  const match = /^(\d+)(?:-(\d+))?$/.exec(text);
  if (match === null) throw new RangeError(`SEEDS must be a seed or a range such as 1-5000, not "${text}"`);
  return [Number(match[1]), Number(match[2] ?? match[1])];
}

/** Registers a simulation as a test. */
export function simulate({ file, holds, count, before = [], run }: Simulation): void {
  if (SEED !== undefined) {
    test(`seed ${SEED}: ${holds}`, () => assert.equal(run(Number(SEED), console.log), []));
    return;
  }
  const [first, last] = SEEDS === undefined ? [1, few(count)] : range(SEEDS);
  test(`seeds ${first} to ${last}: ${holds}`, () => {
    const started = performance.now();
    const chosen = Array.from({ length: last - first + 1 }, (_, i) => first + i);
    if (SEEDS === undefined) chosen.push(...before.filter((seed) => seed > last));
    const failed: string[] = [];
    let ran = 0;
    // Partial streams cause many errors, and their stack traces would take a fifth of the time.
    Error.stackTraceLimit = 0;
    for (const seed of chosen) {
      ran++;
      const wrong = attempt(run, seed);
      if (wrong.length === 0) continue;
      failed.push(`reproduce it: SEED=${seed} node --import tsx ${file}\n  ${wrong.join('\n  ')}`);
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
 * Advances the clock until there have been no findings for `stay`.
 * @param patience Most milliseconds to wait: pending events, such as an unanswered probe, must first run out.
 * @param stay Milliseconds without findings.
 * @returns the findings that remain; empty on success.
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
    if (clock.now >= until) return found.length > 0 ? found : [`correct only since ${right.toFixed(0)}`];
    clock.advance(2500);
  }
}
