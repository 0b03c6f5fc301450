/**
 * Finds out which packets the path to one remote carries, by probes (RFC 8899, Datagram Packetization Layer PMTUD). It is a
 * machine without I/O: `step` says which sizes to probe, and the other methods what became of the probes.
 *
 * It differs from the RFC where VXLAN does. A path counts as wide until the contrary is known, because most VTEPs answer no
 * probe. A probe that may be lost has smaller companions: only if those arrive is its size the reason, otherwise the remote
 * is unreachable, or does not answer probes, and no MTU follows from it.
 */
import { UNLIMITED } from './path-limits.js';

/** Probes of one size that must be lost before the path counts as too narrow for it (RFC 8899: MAX_PROBES). */
export const MAX_PROBES = 3;
/** Milliseconds to wait for an answer (RFC 8899: PROBE_TIMER, at least one second). */
export const PROBE_TIMER = 1000;
/**
 * Milliseconds between two confirmations of the size in use: while large datagrams go to the remote, and otherwise. A sender of
 * TCP doubles its wait with each loss, so a path that is found narrow after 7 seconds costs it 13, and one after 5 costs 6.
 */
export const CONFIRMATION_TIMER = 2000;
export const QUIET_TIMER = 60_000;
/** Milliseconds after which a larger size is tried again: at first, and at most (RFC 8899: PMTU_RAISE_TIMER). */
export const FIRST_RAISE = 10_000;
export const RAISE_TIMER = 600_000;
/** Milliseconds until a remote that answers no probes gets others: at first, and at most. */
export const FIRST_SILENCE = 10_000;
export const SILENCE = 600_000;
/** Milliseconds without an answer after which a remote counts as one that answers no probes. */
const FORGET = 60_000;
/** Milliseconds between two rounds of probes to a remote that has stopped to answer. */
const RETRY = 5000;
/** The search ends when the limits are this close, in bytes. */
const STEP = 4;
/** The smallest packet that every path carries: RFC 8200 for IPv6; for IPv4 as every host must receive (RFC 1122). */
export const SMALLEST = { 4: 576, 6: 1280 } as const;
/** MTUs of usual links and tunnels, which a search tries first. */
const USUAL = [
  1280, 1300, 1340, 1360, 1380, 1400, 1412, 1420, 1432, 1440, 1450, 1454, 1460, 1464, 1472, 1476, 1480, 1488, 1492,
  1500, 1600, 2000, 4352, 8166, 8500, 8900, 9000, 9001, 9100, 9216,
];

/**
 * `base`: nothing is known. `search`: larger sizes are tried. `complete`: the size in use is confirmed from time to time.
 * `error`: a remote that has answered does so no more. `disabled`: the remote answers no probes.
 */
export type SearchPhase = 'base' | 'search' | 'complete' | 'error' | 'disabled';

export class PathSearch {
  phase: SearchPhase = 'base';
  /** The largest packet that the path carries, or `UNLIMITED` if it carries all that are needed, or none is known. */
  limit = UNLIMITED;
  /** When the remote last confirmed the size in use; `-Infinity` for never. */
  confirmed = -Infinity;
  /** The smallest size to probe, and the one that leaves room for the smallest MTU of inner IPv6. */
  readonly #least: number;
  readonly #base: number;
  /** The largest size that is known to arrive, and the smallest that is known not to. */
  #low = 0;
  #high = UNLIMITED;
  /** A size that a router has named. */
  #hint = 0;
  #max = 0;
  /** When `step` has something to do. */
  #due = -Infinity;
  /** The size that the open round is about; 0 if no round is open. */
  #target = 0;
  /** The target of the last round. */
  #probed = 0;
  #hasCompanions = false;
  /** The largest size of the open round that has arrived. */
  #best = 0;
  /** Lost probes of the same size, and rounds in a row without an answer. */
  #misses = 0;
  #quiet = 0;
  #isKnown = false;
  #answered = -Infinity;
  #raise = FIRST_RAISE;
  #raiseAt = Infinity;
  #silence = FIRST_SILENCE;

  /** @param overhead See `Remote.overhead`. */
  constructor(v6: boolean, overhead: number) {
    this.#least = SMALLEST[v6 ? 6 : 4];
    this.#base = SMALLEST[6] + overhead;
  }

  /** Whether the remote has answered a probe lately. */
  get isKnown(): boolean {
    return this.#isKnown;
  }

  /** Whether answers are awaited. */
  get isOpen(): boolean {
    return this.#target > 0;
  }

  /**
   * Ends the round of probes whose time is over, and returns the sizes to probe now; none if there is nothing to do.
   * @param max The largest packet that is needed and that this host can send.
   * @param active Whether datagrams go to the remote.
   * @param large Whether large ones do.
   */
  step(now: number, max: number, active: boolean, large: boolean): readonly number[] {
    if (max <= this.#least) return NONE;
    if (now < this.#due) return NONE;
    this.#max = max;
    if (this.#target > 0) this.#judge(now);
    if (now < this.#due || !active) return NONE;
    if (this.phase === 'complete' && !large && now < this.#raiseAt && now < this.confirmed + QUIET_TIMER) {
      this.#due = now + CONFIRMATION_TIMER;
      return NONE;
    }
    return this.#open(now);
  }

  /** The remote has received a probe of a size. */
  answered(size: number, now: number): void {
    this.#isKnown = true;
    this.#answered = now;
    this.#quiet = 0;
    this.#silence = FIRST_SILENCE;
    if (size > this.#best && size <= this.#target) this.#best = size;
    if (size >= this.#high) this.#high = UNLIMITED; // what was believed of the path is no longer true
    if (size > this.#low) this.#low = size;
    if (this.limit < UNLIMITED && this.#low > this.limit) this.#use(this.#low);
    if (this.phase === 'disabled' || this.phase === 'error') this.phase = 'base';
    if (this.#target === 0 || size < this.#target) return;
    this.#target = 0;
    this.#misses = 0;
    this.confirmed = now;
    if (size >= this.#max) this.#complete(now, true);
    else if (this.phase === 'search') this.#continue(now);
    else this.#complete(now, false);
  }

  /** This host cannot send a probe of a size: its device is too narrow, which the look-up of the route finds out. */
  blocked(size: number): void {
    if (size === this.#target) this.#target = 0;
  }

  /**
   * A router has refused a probe of a size, and quoted it.
   * @param mtu What the refusal says that the path carries; 0 for nothing.
   */
  refused(size: number, mtu: number, now: number): void {
    if (size !== this.#target || size <= this.#least) return;
    this.#hint = mtu >= this.#least && mtu < size ? mtu : 0;
    if (size <= this.limit) {
      this.#low = this.#least;
      const guess = this.#base < size ? this.#base : this.#least;
      this.#use(this.#hint > 0 ? this.#hint : guess);
    }
    this.#fail(this.#hint > 0 ? this.#hint + 1 : size, now);
  }

  /** The remote has sent a probe, so it answers them as well. */
  heard(now: number): void {
    if (this.phase !== 'disabled') return;
    this.phase = 'base';
    this.#quiet = 0;
    this.#due = now;
  }

  /** Something says that the path has changed: confirms the size in use as soon as possible. */
  doubt(now: number): void {
    if (this.phase === 'complete') this.#due = Math.min(this.#due, now);
  }

  /** Ends a round whose target has not arrived. */
  #judge(now: number): void {
    const target = this.#target;
    this.#target = 0;
    if (this.#best > 0) {
      this.#quiet = 0;
      if (++this.#misses >= MAX_PROBES) {
        if (target <= this.limit) {
          this.#low = this.#best;
          this.#use(this.#best);
        }
        this.#fail(target, now);
      }
      return;
    }
    if (!this.#hasCompanions) this.#misses++;
    else if (++this.#quiet >= MAX_PROBES) this.#silent(now);
  }

  /** Nothing of several rounds was answered: the sizes are not the reason. */
  #silent(now: number): void {
    this.#misses = 0;
    if (this.#isKnown && now - this.#answered < FORGET) {
      this.phase = 'error';
      this.#due = now + RETRY;
      return;
    }
    this.#isKnown = false;
    this.phase = 'disabled';
    this.limit = UNLIMITED;
    this.#low = 0;
    this.#high = UNLIMITED;
    this.#quiet = 0;
    this.#due = now + this.#silence;
    this.#silence = Math.min(this.#silence * 2, SILENCE);
  }

  /** The path does not carry packets of `size` bytes. */
  #fail(size: number, now: number): void {
    this.#target = 0;
    this.#misses = 0;
    this.#high = size;
    this.#continue(now);
  }

  /** Searches on between the limits, or ends the search. */
  #continue(now: number): void {
    this.phase = 'search';
    this.#due = now;
    if (this.#low >= this.#max) this.#complete(now, true);
    else if (this.#high - this.#low <= STEP && this.#high <= this.#max) this.#complete(now, false);
  }

  /** @param whole Whether the path carries all that is needed. */
  #complete(now: number, whole: boolean): void {
    const before = this.phase;
    this.phase = 'complete';
    this.#due = now + CONFIRMATION_TIMER;
    if (whole) {
      this.limit = UNLIMITED;
      this.#high = UNLIMITED;
      this.#raise = FIRST_RAISE;
      this.#raiseAt = Infinity;
    } else if (before === 'search') {
      this.#raiseAt = now + this.#raise;
      this.#raise = Math.min(this.#raise * 2, RAISE_TIMER);
    }
  }

  /** Uses packets of `size` bytes at most. */
  #use(size: number): void {
    this.limit = size >= this.#max ? UNLIMITED : size;
  }

  #open(now: number): readonly number[] {
    const target = this.#choose(now);
    if (target !== this.#probed) this.#misses = 0;
    this.#target = this.#probed = target;
    this.#best = 0;
    this.#due = now + PROBE_TIMER;
    this.#hasCompanions = this.phase !== 'complete' || this.#misses > 0;
    if (!this.#hasCompanions || target === this.#least) return [target];
    return this.#base > this.#least && this.#base < target ? [this.#least, this.#base, target] : [this.#least, target];
  }

  #choose(now: number): number {
    if (this.phase === 'complete' && this.limit < UNLIMITED && now >= this.#raiseAt) {
      this.phase = 'search';
      this.#misses = 0;
      this.#low = this.limit;
      this.#high = UNLIMITED;
    }
    if (this.phase !== 'search') return Math.min(this.limit, this.#max);
    const [low, high] = [this.#low, this.#high];
    if (high > this.#max) return this.#max;
    if (this.#hint > low && this.#hint < high) return this.#hint;
    return between(low, high, this.#base);
  }
}

const NONE: readonly number[] = [];

/** The size to probe between two others. */
function between(low: number, high: number, base: number): number {
  if (low < base && base < high) return base;
  const middle = (low + high) >> 1;
  let best = middle;
  let distance = Infinity;
  for (const size of USUAL) {
    const from = Math.abs(size - middle);
    if (size > low && size < high && from < distance) [best, distance] = [size, from];
  }
  return best;
}
