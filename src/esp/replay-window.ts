/** The anti-replay window of RFC 4303, section 3.4.3, as the ring of RFC 6479: moving it clears words and shifts nothing. */

const WORD = 32;
const WORDS = 64;
/** Sequence numbers below the highest one that may still arrive. The word of the highest one is never wholly inside. */
export const WINDOW = (WORDS - 1) * WORD;

const HALF = 2 ** 32;
/** `extend`: no sequence number of the association has these low bits. */
export const IMPOSSIBLE = -1;

/** Sequence numbers are exact up to 2^53. An association ends long before. */
export class ReplayWindow {
  /** The highest sequence number so far; 0 before the first packet. */
  top = 0;
  readonly #seen = new Int32Array(WORDS);

  /**
   * The sequence number that has the low 32 bits `low` and is nearest to the window (RFC 4303, appendix A2.2), or
   * `IMPOSSIBLE`.
   */
  extend(low: number): number {
    const { top } = this;
    const bottom = top - WINDOW + 1;
    const number = top - (top % HALF) + low;
    if (number < bottom) return number + HALF;
    // The window reaches into the numbers before the last wrap.
    if (number - HALF >= bottom) return number - HALF >= 0 ? number - HALF : IMPOSSIBLE;
    return number;
  }

  /** Whether a packet with this sequence number may be new. It reads the window and changes nothing. */
  isNew(number: number): boolean {
    if (number > this.top) return true;
    if (number <= 0 || number <= this.top - WINDOW) return false;
    return (this.#seen[indexOf(number)]! & bitOf(number)) === 0;
  }

  /** Notes an authentic packet. @returns false if it was noted before, or is too old. */
  note(number: number): boolean {
    if (!this.isNew(number)) return false;
    if (number > this.top) {
      const from = Math.floor(this.top / WORD);
      const steps = Math.floor(number / WORD) - from;
      if (steps >= WORDS) this.#seen.fill(0);
      else for (let step = 1; step <= steps; step++) this.#seen[(from + step) % WORDS] = 0;
      this.top = number;
    }
    this.#seen[indexOf(number)]! |= bitOf(number);
    return true;
  }
}

function indexOf(number: number): number {
  return Math.floor(number / WORD) % WORDS;
}

function bitOf(number: number): number {
  return 1 << (number % WORD);
}
