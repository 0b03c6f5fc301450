/**
 * Questions are the ARP requests and neighbor solicitations of local hosts that the proxy did not answer. A host repeats
 * an unanswered question after a second (RFC 4861, section 10: RETRANS_TIMER; Linux does the same for ARP), and sends
 * nothing to that neighbor until then. A VTEP that has just started does not know all peers and endpoints. It therefore
 * keeps the questions of the last second: it sends them to each peer that is added, and announces each endpoint that is
 * added and that a host asked for.
 */
import type { Ip } from '../address/index.js';
import * as arp from '../arp/index.js';
import * as ethernet from '../ethernet/index.js';
import * as icmpv6 from '../icmpv6/index.js';
import { findDiscovery, isSolicitation } from '../neighbor/index.js';
import { areEqual128 } from '../wire/index.js';
import { ownFrame, type Frame } from './frame.js';

/** Milliseconds for which a question is kept. */
const LIFETIME = 1000;
/** Number of questions kept; a new one replaces the oldest. */
const QUESTIONS = 16;
/** Longest frame kept, in bytes: a neighbor solicitation with its options has 86. */
const MAX_LENGTH = 128;

/** The recent questions of one segment. Its memory is fixed; after the first question, keeping one does not allocate. */
export class Questions {
  readonly #slot: number;
  readonly #headroom: number;
  readonly #asking: Questions[];
  /** Whether `#asking` has this. */
  #isAsking = false;
  #frames: Uint8Array | null = null;
  #lengths!: Uint8Array;
  /** The destinations behind which the hosts are. */
  #places!: Int32Array;
  #times!: Float64Array;
  /** The IPv4 addresses asked for; 0 for an IPv6 address. */
  #targets!: Uint32Array;
  /** The offsets in `#frames` of the IPv6 addresses asked for; 0 for an IPv4 address. */
  #targets6!: Uint32Array;
  /** The number of each question, counted from the first one. */
  #numbers!: Float64Array;
  #kept = 0;

  /**
   * @param headroom Bytes to keep free in front of each frame.
   * @param asking A list to which this adds itself with the first question, and again after `expire` left none.
   */
  constructor(headroom: number, asking: Questions[] = []) {
    this.#headroom = headroom;
    this.#asking = asking;
    this.#slot = headroom + MAX_LENGTH;
  }

  /** Number of questions kept so far. */
  get kept(): number {
    return this.#kept;
  }

  /** Keeps an untagged frame to a group address from a local port, if it is a question. */
  keep(frame: Frame, now: number): void {
    const { bytes, start: offset, end, type, payload } = frame;
    const length = end - offset;
    if (length > MAX_LENGTH) return;
    let target = 0;
    let solicitation = 0;
    if (type === ethernet.TYPE_ARP) {
      if (arp.check(bytes, payload, end) < 0 || !arp.isEthernetIpv4(bytes, payload)) return;
      if (arp.getOperation(bytes, payload) !== arp.REQUEST) return;
      target = arp.getTargetIp(bytes, payload);
    } else {
      if (type !== ethernet.TYPE_IPV6) return;
      solicitation = findDiscovery(bytes, payload, end);
      if (solicitation < 0 || !isSolicitation(bytes, solicitation)) return;
    }
    this.#frames ??= this.#allocate();
    if (!this.#isAsking) {
      this.#isAsking = true;
      this.#asking.push(this);
    }
    const i = this.#kept % QUESTIONS;
    const at = i * this.#slot + this.#headroom;
    for (let k = 0; k < length; k++) this.#frames[at + k] = bytes[offset + k]!;
    this.#lengths[i] = length;
    this.#places[i] = frame.from;
    this.#times[i] = now;
    this.#targets[i] = target;
    this.#targets6[i] = solicitation === 0 ? 0 : at + solicitation + icmpv6.TARGET_OFFSET - offset;
    this.#numbers[i] = this.#kept++;
  }

  /**
   * Whether a host asked for an address; up to the last `expire`. A host at `mac` itself does not count: it probes whether
   * the address is free, and would take an answer for a duplicate.
   */
  asked(ip: Ip, mac: number): boolean {
    if (this.#frames === null) return false;
    for (let i = 0; i < QUESTIONS; i++) {
      if (this.#lengths[i] === 0 || !this.#isFor(i, ip)) continue;
      if (ethernet.getSource(this.#frames, i * this.#slot + this.#headroom) !== mac) return true;
    }
    return false;
  }

  #isFor(i: number, ip: Ip): boolean {
    const at = this.#targets6[i]!;
    return typeof ip === 'number'
      ? at === 0 && this.#targets[i] === ip
      : at !== 0 && areEqual128(this.#frames!, at, ip, 0);
  }

  /**
   * Calls `emit` for each question of the last second.
   * @param until How many questions had been kept when the last one of interest was.
   */
  each(now: number, until: number, emit: (question: Frame) => void): void {
    if (this.#frames === null) return;
    for (let i = 0; i < QUESTIONS; i++) {
      const length = this.#lengths[i]!;
      if (length === 0 || this.#numbers[i]! >= until || now - this.#times[i]! >= LIFETIME) continue;
      const at = i * this.#slot + this.#headroom;
      const question = ownFrame(this.#frames, at, at + length);
      question.from = this.#places[i]!;
      emit(question);
    }
  }

  /** Forgets the questions that are older than a second. Returns whether there are others. */
  expire(now: number): boolean {
    this.#isAsking = false;
    if (this.#frames === null) return false;
    for (let i = 0; i < QUESTIONS; i++)
      if (now - this.#times[i]! >= LIFETIME) this.#lengths[i] = 0;
      else if (this.#lengths[i] !== 0) this.#isAsking = true;
    return this.#isAsking;
  }

  #allocate(): Uint8Array {
    this.#lengths = new Uint8Array(QUESTIONS);
    this.#places = new Int32Array(QUESTIONS);
    this.#times = new Float64Array(QUESTIONS);
    this.#targets = new Uint32Array(QUESTIONS);
    this.#targets6 = new Uint32Array(QUESTIONS);
    this.#numbers = new Float64Array(QUESTIONS);
    return new Uint8Array(QUESTIONS * this.#slot);
  }
}
