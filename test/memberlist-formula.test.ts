/** The protocol's formulas, with values from its description and from other implementations. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  expectedConfirmations,
  LAN,
  LOCAL,
  pushPullScale,
  retransmitLimit,
  suspicionTimeout,
  suspicionTimes,
  WAN,
} from '../src/gossip/memberlist/index.js';

test('a broadcast is sent 4 times among up to 9, 8 among up to 99, 12 among up to 999', () => {
  for (const [n, times] of [
    [1, 4],
    [3, 4],
    [9, 4],
    [10, 8],
    [99, 8],
    [100, 12],
    [999, 12],
    [1000, 16],
  ] as const)
    assert.is(retransmitLimit(LAN.retransmitMult, n), times, `${n}`);
  assert.is(retransmitLimit(LAN.retransmitMult, 0), 0);
});

test('a suspicion among three takes 4 s; of a hundred, 8 s to 48 s', () => {
  const of = (n: number, timing = LAN): { min: number; max: number } =>
    suspicionTimes(timing.suspicionMult, timing.suspicionMaxTimeoutMult, n, timing.probeInterval);
  assert.equal(of(0), { min: 4000, max: 24_000 });
  assert.equal(of(3), { min: 4000, max: 24_000 });
  assert.equal(of(10), { min: 4000, max: 24_000 });
  assert.equal(of(20), { min: 5204, max: 31_224 }); // log10(20) is 1.30103, and 1.301 counts
  assert.equal(of(100), { min: 8000, max: 48_000 });
  assert.equal(of(10, WAN), { min: 30_000, max: 180_000 });
  assert.equal(of(10, LOCAL), { min: 3000, max: 18_000 });
});

test('confirmations are expected only if there are enough members', () => {
  assert.is(expectedConfirmations(4, 3), 0);
  assert.is(expectedConfirmations(4, 4), 2);
  assert.is(expectedConfirmations(6, 5), 0);
  assert.is(expectedConfirmations(6, 6), 4);
  assert.is(expectedConfirmations(1, 9), 0);
  assert.is(expectedConfirmations(2, 9), 0);
});

test('each confirmation shortens a suspicion, the first one most', () => {
  assert.is(suspicionTimeout(0, 0, 4000, 24_000), 4000);
  assert.is(suspicionTimeout(0, 2, 4000, 24_000), 24_000);
  assert.is(suspicionTimeout(1, 2, 4000, 24_000), 11_381); // ln 2 / ln 3 is 0.63093
  assert.is(suspicionTimeout(2, 2, 4000, 24_000), 4000);
  assert.is(suspicionTimeout(3, 2, 4000, 24_000), 4000);
  // k = 3, 2 s to 30 s: 30, 16 (ln 2 / ln 4 is a half), 7.8 and 2.
  assert.equal(
    [0, 1, 2, 3].map((c) => suspicionTimeout(c, 3, 2000, 30_000)),
    [30_000, 16_000, 7810, 2000],
  );
});

test('the whole state is exchanged less often among more than 32', () => {
  for (const [n, scale] of [
    [1, 1],
    [32, 1],
    [33, 2],
    [64, 2],
    [65, 3],
    [128, 3],
    [129, 4],
  ] as const)
    assert.is(pushPullScale(n), scale, `${n}`);
});

test.run();
