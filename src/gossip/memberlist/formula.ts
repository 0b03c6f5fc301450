/** The formulas of memberlist's protocol. `n` is the number of known members, dead ones and this one included. */

/** How many times to send a broadcast. */
export function retransmitLimit(mult: number, n: number): number {
  return mult * Math.ceil(Math.log10(n + 1));
}

/** Minimum and maximum duration of a suspicion, in milliseconds. */
export function suspicionTimes(
  mult: number,
  maxMult: number,
  n: number,
  probeInterval: number,
): { min: number; max: number } {
  // Rounded down to thousandths, as peers do.
  const scale = Math.trunc(Math.max(1, Math.log10(Math.max(1, n))) * 1000) / 1000;
  const min = mult * scale * probeInterval;
  return { min, max: maxMult * min };
}

/** The number of other accusers that reduces a suspicion's duration to its minimum; 0 if there are too few members. */
export function expectedConfirmations(mult: number, n: number): number {
  const k = mult - 2;
  return n - 2 < k ? 0 : Math.max(0, k);
}

/** Duration of a suspicion in milliseconds, from its beginning, with `confirmed` of `expected` other accusers. */
export function suspicionTimeout(confirmed: number, expected: number, min: number, max: number): number {
  if (expected < 1) return min;
  const part = Math.log(confirmed + 1) / Math.log(expected + 1);
  return Math.max(min, Math.floor(max - part * (max - min)));
}

/** Factor for the interval between exchanges of the whole state; more than 1 in clusters of more than 32 members. */
export function pushPullScale(n: number): number {
  return n <= 32 ? 1 : Math.ceil(Math.log2(n) - Math.log2(32)) + 1;
}
