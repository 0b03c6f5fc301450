/** The formulas of memberlist's protocol, as plain functions. `n` counts all members known, the dead and oneself too. */

/** How often a broadcast is sent before it is forgotten. */
export function retransmitLimit(mult: number, n: number): number {
  return mult * Math.ceil(Math.log10(n + 1));
}

/** The shortest and the longest time, in milliseconds, that a member is suspected before it is taken for dead. */
export function suspicionTimes(
  mult: number,
  maxMult: number,
  n: number,
  probeInterval: number,
): { min: number; max: number } {
  // Down to thousandths, as peers have it.
  const scale = Math.trunc(Math.max(1, Math.log10(Math.max(1, n))) * 1000) / 1000;
  const min = mult * scale * probeInterval;
  return { min, max: maxMult * min };
}

/** How many other accusers bring the time of a suspicion down to its minimum; 0 where there are too few members. */
export function expectedConfirmations(mult: number, n: number): number {
  const k = mult - 2;
  return n - 2 < k ? 0 : Math.max(0, k);
}

/** How long a suspicion lasts, in milliseconds from its beginning, once `confirmed` of `expected` others share it. */
export function suspicionTimeout(confirmed: number, expected: number, min: number, max: number): number {
  if (expected < 1) return min;
  const part = Math.log(confirmed + 1) / Math.log(expected + 1);
  return Math.max(min, Math.floor(max - part * (max - min)));
}

/** The factor that the interval between exchanges of the whole state grows by in clusters of more than 32. */
export function pushPullScale(n: number): number {
  return n <= 32 ? 1 : Math.ceil(Math.log2(n) - Math.log2(32)) + 1;
}
