/**
 * Pseudo-random numbers from a seed: xoshiro128** 1.1 (Blackman and Vigna, "Scrambled linear pseudorandom number
 * generators", 2018), period 2^128 - 1. Nothing here is fit for secrets.
 */
export class Random {
  #a: number;
  #b: number;
  #c: number;
  #d: number;

  /**
   * @param seed An integer, of which the lowest 53 bits count, or the four words of the generator's state.
   * @throws RangeError for a seed that is not an integer, or a state of all zeros, which the generator never leaves.
   */
  constructor(seed: number | readonly [number, number, number, number]) {
    if (typeof seed === 'number' && !Number.isSafeInteger(seed))
      throw new RangeError(`seed must be an integer, not ${seed}`);
    const [a, b, c, d] = typeof seed === 'number' ? spread(seed) : seed;
    if ((a | b | c | d) === 0) throw new RangeError('the state of a random source must not be all zeros');
    this.#a = a | 0;
    this.#b = b | 0;
    this.#c = c | 0;
    this.#d = d | 0;
  }

  /** The next 32 bits, unsigned. */
  next(): number {
    const b = this.#b;
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0;
    const c = this.#c ^ this.#a;
    const d = this.#d ^ b;
    this.#b = b ^ c;
    this.#a ^= d;
    this.#c = c ^ (b << 9);
    this.#d = rotate(d, 11);
    return result;
  }

  /** A number from 0 up to but not including 1, in steps of 2^-32. */
  float(): number {
    return this.next() / 0x1_0000_0000;
  }

  /**
   * A uniformly distributed integer from 0 to `count - 1`.
   * @param count 1 to 2^32.
   */
  integer(count: number): number {
    // The numbers above the last whole multiple of `count` would favour the low results.
    const limit = 0x1_0000_0000 - (0x1_0000_0000 % count);
    let number = this.next();
    while (number >= limit) number = this.next();
    return number % count;
  }

  /** Returns true with the given probability. Neither 0 or less nor 1 or more consumes a random number. */
  chance(probability: number): boolean {
    return probability > 0 && (probability >= 1 || this.float() < probability);
  }

  /** One of the items, of which there is at least one. */
  pick<T>(items: readonly T[]): T {
    return items[this.integer(items.length)]!;
  }

  /** Shuffles the items in place (Fisher-Yates) and returns them. */
  shuffle<T>(items: T[]): T[] {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.integer(i + 1);
      const item = items[i]!;
      items[i] = items[j]!;
      items[j] = item;
    }
    return items;
  }

  /** An independent generator, seeded from this one, so that the numbers that one part draws do not affect the others. */
  fork(): Random {
    return new Random([this.next(), this.next(), this.next(), this.next()]);
  }
}

function rotate(word: number, by: number): number {
  return (word << by) | (word >>> (32 - by));
}

/** Four words from a seed, by the finalizer of MurmurHash3 over steps of the golden ratio, as SplitMix does. */
function spread(seed: number): [number, number, number, number] {
  const low = seed | 0;
  const high = Math.floor(seed / 0x1_0000_0000) | 0;
  const word = (step: number): number => mix(mix(low + Math.imul(step, 0x9e37_79b9)) ^ (high + step));
  return [word(1), word(2), word(3), word(4)];
}

function mix(word: number): number {
  let mixed = Math.imul(word ^ (word >>> 16), 0x85eb_ca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35);
  return mixed ^ (mixed >>> 16);
}
