/** The fast engine's clock, with a fake C library that sets the time. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as abi from '../src/host/linux/abi.js';
import { Arena } from '../src/host/linux/arena.js';
import { Clock } from '../src/host/linux/clock.js';
import { type Libc } from '../src/host/linux/libc.js';

/** A clock, and a function that sets the system's clock, in nanoseconds since boot. */
function clockAt(nanoseconds: bigint): { clock: Clock; set(nanoseconds: bigint): void } {
  let time = nanoseconds;
  const calls = {
    address: () => 0n, // makes pointers offsets in the arena
    madvise: () => 0,
    clock_gettime: (_: number, at: bigint) => {
      arena.view.setBigInt64(Number(at) + abi.TIMESPEC.seconds, time / BigInt(1e9), true);
      arena.view.setBigInt64(Number(at) + abi.TIMESPEC.nanoseconds, time % BigInt(1e9), true);
      return 0;
    },
  } as unknown as Libc;
  const arena = new Arena(calls, 1 << 16);
  return { clock: new Clock(calls, arena), set: (now) => void (time = now) };
}

const start = fc.bigInt(0n, 10n ** 17n); // three years
const passing = fc.bigInt(0n, 900n * 10n ** 9n);

test('milliseconds follow the system’s clock, rounded down', () =>
  fc.assert(
    fc.property(start, passing, (from, passed) => {
      const { clock, set } = clockAt(from);
      const before = clock.now();
      set(from + passed);
      assert.ok(Math.abs(clock.now() - before - Number(passed) / 1e6) <= 1);
    }),
  ));

test('microseconds stay correct across the restart of their counter every 1000 seconds', () =>
  fc.assert(
    fc.property(start, passing, (from, passed) => {
      const { clock, set } = clockAt(from);
      const before = clock.micros();
      assert.ok(before >= 0 && before < 2 ** 30);
      set(from + passed);
      assert.ok(Math.abs(clock.since(before) - Number(passed) / 1e3) <= 1);
    }),
  ));

test.run();
