// @ts-check
/**
 * The fuzzing loop, in a thread of its own, so that `fuzz.mjs` can terminate it when the target never returns.
 *
 * jsfuzz supplies the corpus and its mutations, istanbul the coverage counters. jsfuzz's own loop sends every input to
 * another process and reads every counter: 3,700 runs per second for a codec, where this one makes 20,000 and more. An
 * input is interesting if it moves a counter from zero, so the loop looks only at the counters still at zero.
 */
import { readFileSync } from 'node:fs';
import Module, { createRequire } from 'node:module';
import { performance } from 'node:perf_hooks';
import { workerData } from 'node:worker_threads';

/** @type {{ file: string, folders: string[], seconds: number, state: Int32Array, input: Uint8Array }} */
const { file, folders, seconds, state, input } = workerData;
const here = createRequire(import.meta.url);
const { Corpus } = here('jsfuzz/build/src/corpus.js');
const { createInstrumenter } = createRequire(here.resolve('jsfuzz'))('istanbul-lib-instrument');

Error.stackTraceLimit = 0; // stack traces take half the time of a rejected input; replaying a crash shows its stack

/** Indices in `state`: see fuzz.mjs. */
const RUNS = 0;
const COVERED = 1;
const LENGTH = 2;
const CRASHED = 3;

// Node's types lack `_compile`.
const module = /** @type {Module & { _compile(code: string, file: string): void }} */ (new Module(file));
module._compile(createInstrumenter({ compact: true }).instrumentSync(readFileSync(file, 'utf8'), file), file);
/** @type {(data: Uint8Array) => void} */
const fuzz = module.exports.fuzz;

/** Counters still at zero. @type {[counters: Record<string, number>, key: string][]} */
let silent = [];
// @ts-expect-error: istanbul's global
const [coverage] = Object.values(globalThis.__coverage__);
for (const counters of [coverage.s, coverage.f, ...Object.values(coverage.b)])
  for (const key of Object.keys(counters)) silent.push([counters, key]);
const total = silent.length;

/** Whether any counter moved from zero since the last call. */
function reachedNew() {
  let moved = false;
  for (let i = 0; i < silent.length && !moved; i++) {
    const [counters, key] = /** @type {[Record<string, number>, string]} */ (silent[i]);
    moved = counters[key] !== 0;
  }
  if (moved) silent = silent.filter(([counters, key]) => counters[key] === 0);
  return moved;
}

const corpus = new Corpus(folders, false);
const seeds = corpus.getLength();
const until = performance.now() + seconds * 1000;
for (let runs = 1; runs % 256 !== 0 || performance.now() < until; runs++) {
  /** @type {Buffer} */
  const drawn = corpus.generateInput();
  const bytes = new Uint8Array(drawn); // a copy, and not a Buffer, whose slice() shares memory
  input.set(bytes.subarray(0, input.length));
  state[LENGTH] = bytes.length;
  Atomics.store(state, RUNS, runs);
  try {
    fuzz(bytes);
  } catch {
    state[CRASHED] = 1;
    break;
  }
  if (reachedNew()) {
    state[COVERED] = total - silent.length;
    if (runs > seeds) corpus.putBuffer(drawn);
  }
}
