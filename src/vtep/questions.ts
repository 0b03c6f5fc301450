/**
 * Questions are the ARP requests and neighbor solicitations of local hosts that the proxy did not answer. A host repeats
 * an unanswered question after a second (RFC 4861, section 10: RETRANS_TIMER; Linux does the same for ARP), and sends
 * nothing to that neighbor until then. A VTEP that has just started does not know all peers and endpoints. It therefore
 * keeps the questions of the last second: it sends them to each peer that is added, and announces each endpoint that is
 * added and that a host asked for.
 */
import * as arp from '../arp/index.js';
import * as ethernet from '../ethernet/index.js';
import { isNeighborSolicitation } from './watch.js';

/** Milliseconds for which a question is kept. */
const LIFETIME = 1000;
/** Number of questions kept; a new one replaces the oldest. */
const QUESTIONS = 16;
/** Longest frame kept, in bytes: a neighbor solicitation with its options has 86. */
const MAX_LENGTH = 128;

/** The recent questions of one segment. Its memory is fixed, and keeping a question does not allocate. */
export class Questions {
  readonly #slot: number;
  readonly #headroom: number;
  #frames: Uint8Array | null = null;
  readonly #lengths = new Uint8Array(QUESTIONS);
  readonly #ports = new Int32Array(QUESTIONS);
  readonly #times = new Float64Array(QUESTIONS);
  /** The IPv4 addresses asked for; 0 for an IPv6 address. */
  readonly #targets = new Uint32Array(QUESTIONS);
  /** The number of each question, counted from the first one. */
  readonly #numbers = new Float64Array(QUESTIONS);
  #kept = 0;

  /** @param headroom Bytes to keep free in front of each frame. */
  constructor(headroom: number) {
    this.#headroom = headroom;
    this.#slot = headroom + MAX_LENGTH;
  }

  /** Number of questions kept so far. */
  get kept(): number {
    return this.#kept;
  }

  /** Keeps an untagged frame to a group address, if it is a question. */
  keep(port: number, bytes: Uint8Array, offset: number, end: number, now: number): void {
    const length = end - offset;
    if (length > MAX_LENGTH) return;
    const payload = offset + ethernet.HEADER_LENGTH;
    const type = ethernet.getEtherType(bytes, offset);
    let target = 0;
    if (type === ethernet.TYPE_ARP) {
      if (arp.check(bytes, payload, end) < 0 || !arp.isEthernetIpv4(bytes, payload)) return;
      if (arp.getOperation(bytes, payload) !== arp.REQUEST) return;
      target = arp.getTargetIp(bytes, payload);
    } else if (type !== ethernet.TYPE_IPV6 || !isNeighborSolicitation(bytes, payload, end)) return;
    this.#frames ??= new Uint8Array(QUESTIONS * this.#slot);
    const i = this.#kept % QUESTIONS;
    const at = i * this.#slot + this.#headroom;
    for (let k = 0; k < length; k++) this.#frames[at + k] = bytes[offset + k]!;
    this.#lengths[i] = length;
    this.#ports[i] = port;
    this.#times[i] = now;
    this.#targets[i] = target;
    this.#numbers[i] = this.#kept++;
  }

  /** Whether a host asked for an IPv4 address; up to the last `expire`. */
  asked(ip: number): boolean {
    for (let i = 0; i < QUESTIONS; i++) if (this.#lengths[i] !== 0 && this.#targets[i] === ip) return true;
    return false;
  }

  /**
   * Calls `emit` for each question of the last second.
   * @param until How many questions had been kept when the last one of interest was.
   */
  each(now: number, until: number, emit: (port: number, bytes: Uint8Array, offset: number, end: number) => void): void {
    for (let i = 0; i < QUESTIONS; i++) {
      const length = this.#lengths[i]!;
      if (length === 0 || this.#numbers[i]! >= until || now - this.#times[i]! >= LIFETIME) continue;
      const at = i * this.#slot + this.#headroom;
      emit(this.#ports[i]!, this.#frames!, at, at + length);
    }
  }

  /** Forgets the questions that are older than a second. */
  expire(now: number): void {
    for (let i = 0; i < QUESTIONS; i++) if (now - this.#times[i]! >= LIFETIME) this.#lengths[i] = 0;
  }
}
