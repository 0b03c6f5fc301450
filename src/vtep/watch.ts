/**
 * Watches what a VTEP learns for MAC floods, loops and duplicate IP addresses. It sees only new and moved addresses,
 * and ARP and ND claims, not every packet. Its memory is bounded.
 */
import { macToText } from '../address/index.js';

/** Where a frame came from. Both are `null` if that is not known any more, or if too many remotes are. */
export interface FindingPlace {
  /** The number of the local port. */
  port: number | null;
  /** The underlay address of the remote. */
  vtep: string | null;
}

/** A problem found since the last call. */
export type Finding =
  /** Addresses were learned faster than hosts join, or were refused because a table or a share of it is full. */
  | { kind: 'mac-flood'; vni: number; learned: number; refused: number; place: FindingPlace }
  /** One MAC address moved `moves` times in a second between two places: a loop, or two hosts with one address. */
  | { kind: 'mac-moves'; vni: number; mac: string; moves: number; places: [FindingPlace, FindingPlace] }
  /** Two MAC addresses claim one IP address. `known`: the control plane names the first one. */
  | { kind: 'duplicate-address'; vni: number; ip: string; macs: [string, string]; place: FindingPlace; known: boolean };

/** Addresses learned in a second that count as a flood. */
const FLOOD = 1000;
/** Moves of one address in a second that count as a loop: a host that moves does so once. */
const MOVES = 5;
/** Milliseconds within which an IP address must change from one MAC address to another and back to count as a duplicate. */
const BACK_AND_FORTH = 60_000;
/** Number of MAC addresses whose moves are counted, and of IP addresses whose claims are remembered: powers of two. */
const MOVERS = 64;
const CLAIMS = 512;
/** Maximum number of duplicates reported at a time. */
const DUPLICATES = 16;

/** What the watches of one machine share, so that only those with a problem are asked for it. */
export class Watches {
  /** The number of the current period: from one call of `Vtep.findings` to the next. */
  period = 0;
  /** Those that may have found something in it. */
  readonly noticed: Watch[] = [];
}

/** Watches one segment. */
export class Watch {
  readonly #vni: number;
  readonly #all: Watches;
  /** The period that the counts are of. */
  #period = 0;
  /** Whether `Watches.noticed` has this. */
  #isNoticed = false;
  #learned = 0;
  #refused = 0;
  #place = 0;
  // The moves of this second, in slots by a hash of the address. The first address in a slot keeps it until the second
  // is over.
  #movers: Float64Array | null = null;
  #moves!: Int32Array;
  #from!: Int32Array;
  #to!: Int32Array;
  #moved = false;
  // Claims, in slots by a hash of the key: the current claimant, the one before, and when it changed.
  #keys: Uint32Array | null = null;
  #macs!: Float64Array;
  #before!: Float64Array;
  #changed!: Float64Array;
  readonly #duplicates: { ip: string; first: number; second: number; place: number; known: boolean }[] = [];

  constructor(vni: number, all = new Watches()) {
    this.#vni = vni;
    this.#all = all;
  }

  /** A new address was learned behind `place`. */
  learned(place: number): void {
    this.#begin();
    this.#place = place;
    if (++this.#learned > FLOOD) this.#note();
  }

  /** An address was not learned: the table, or the share of `place`, is full. */
  refused(place: number): void {
    this.#begin();
    this.#refused++;
    this.#place = place;
    this.#note();
  }

  /** An address of 48 bits moved. */
  moved(mac: number, from: number, to: number): void {
    this.#begin();
    this.#movers ??= this.#countMoves();
    const slot = (mac ^ (mac >>> 8)) & (MOVERS - 1);
    if (this.#moves[slot] === 0) this.#movers[slot] = mac;
    else if (this.#movers[slot] !== mac) return;
    this.#moved = true;
    this.#from[slot] = from;
    this.#to[slot] = to;
    if (++this.#moves[slot]! >= MOVES) this.#note();
  }

  /**
   * ARP or ND claims that an address unknown to the control plane is at `mac`.
   * @param key The IPv4 address, or 32 bits made of the IPv6 address, unsigned; 0 claims nothing (RFC 5227).
   * @returns the other MAC address that claims it, if there is one; otherwise 0.
   */
  claims(key: number, mac: number, now: number): number {
    if (key === 0) return 0;
    this.#keys ??= this.#remember();
    const slot = (key ^ (key >>> 9) ^ (key >>> 18)) & (CLAIMS - 1);
    if (this.#keys[slot] !== key) {
      this.#keys[slot] = key;
      this.#macs[slot] = mac;
      this.#before[slot] = 0;
      return 0;
    }
    const last = this.#macs[slot]!;
    if (last === mac) return 0;
    // One change is a host that was replaced; a change back is two hosts.
    const back = this.#before[slot] === mac && now - this.#changed[slot]! <= BACK_AND_FORTH;
    this.#before[slot] = last;
    this.#macs[slot] = mac;
    this.#changed[slot] = now;
    return back ? last : 0;
  }

  /** Two MAC addresses claim the same IP address. */
  duplicate(ip: string, first: number, second: number, place: number, known: boolean): void {
    const duplicates = this.#duplicates;
    if (duplicates.length >= DUPLICATES || duplicates.some((one) => one.ip === ip)) return;
    duplicates.push({ ip, first, second, place, known });
    this.#note();
  }

  /** Forgets all problems: the segment is removed. */
  close(): void {
    this.findings(() => ({ port: null, vtep: null }), 1);
    this.#isNoticed = true; // it adds itself no more
  }

  /**
   * Returns the problems of this period, and forgets them.
   * @param placeOf Returns a place.
   * @param seconds How long the period was, at least 1.
   */
  findings(placeOf: (place: number) => FindingPlace, seconds: number): Finding[] {
    const vni = this.#vni;
    const found: Finding[] = [];
    this.#isNoticed = false;
    if (this.#refused > 0 || this.#learned > FLOOD * seconds)
      found.push({
        kind: 'mac-flood',
        vni,
        learned: this.#learned,
        refused: this.#refused,
        place: placeOf(this.#place),
      });
    if (this.#moved)
      for (let slot = 0; slot < MOVERS; slot++)
        if (this.#moves[slot]! >= MOVES * seconds)
          found.push({
            kind: 'mac-moves',
            vni,
            mac: macToText(this.#movers![slot]!),
            moves: this.#moves[slot]!,
            places: [placeOf(this.#from[slot]!), placeOf(this.#to[slot]!)],
          });
    this.#forget();
    for (const { ip, first, second, place, known } of this.#duplicates.splice(0))
      found.push({
        kind: 'duplicate-address',
        vni,
        ip,
        macs: [macToText(first), macToText(second)],
        place: placeOf(place),
        known,
      });
    return found;
  }

  /** Forgets what was counted before this period. */
  #begin(): void {
    if (this.#period === this.#all.period) return;
    this.#period = this.#all.period;
    this.#forget();
  }

  #forget(): void {
    this.#learned = 0;
    this.#refused = 0;
    if (this.#moved) this.#moves.fill(0);
    this.#moved = false;
  }

  #note(): void {
    if (this.#isNoticed) return;
    this.#isNoticed = true;
    this.#all.noticed.push(this);
  }

  #countMoves(): Float64Array {
    this.#moves = new Int32Array(MOVERS);
    this.#from = new Int32Array(MOVERS);
    this.#to = new Int32Array(MOVERS);
    return new Float64Array(MOVERS);
  }

  #remember(): Uint32Array {
    this.#macs = new Float64Array(CLAIMS);
    this.#before = new Float64Array(CLAIMS);
    this.#changed = new Float64Array(CLAIMS);
    return new Uint32Array(CLAIMS);
  }
}
