import type { Agenda } from './agenda.js';
import type { Random } from './random.js';

// RFC 5227, section 1.1, in milliseconds.
const PROBE_WAIT = 1000;
const PROBE_NUM = 3;
const PROBE_MIN = 1000;
const PROBE_MAX = 2000;
const ANNOUNCE_WAIT = 2000;
const ANNOUNCE_NUM = 2;
const ANNOUNCE_INTERVAL = 2000;
const DEFEND_INTERVAL = 10_000;

/** `conflict`: another station has its address, and it is silent until it is started again. */
export type StationState = 'down' | 'probing' | 'up' | 'conflict';

/** What a claim needs from its station. */
export interface AddressClaimHost {
  now(): number;
  /** Broadcasts an ARP request for the station's own address: without a sender address, or from that address. */
  probe(): void;
  announce(): void;
}

export interface AddressClaimOptions {
  /** Whether to probe for the address before it is used. */
  probe: boolean;
  /** Whether to announce the address when its use begins. */
  announce: boolean;
  /** For the times of probes. */
  random: Random;
}

/** How a station gets its address and defends it (RFC 5227). Its timers are in the station's agenda. */
export class AddressClaim {
  readonly #options: AddressClaimOptions;
  readonly #agenda: Agenda;
  readonly #host: AddressClaimHost;
  #state: StationState = 'down';
  #lastConflict = -Infinity;

  constructor(options: AddressClaimOptions, agenda: Agenda, host: AddressClaimHost) {
    this.#options = options;
    this.#agenda = agenda;
    this.#host = host;
  }

  get state(): StationState {
    return this.#state;
  }

  /** Begins to probe for the address, or to use it. */
  start(): void {
    const { probe, random } = this.#options;
    if (!probe) return this.#use();
    this.#state = 'probing';
    this.#agenda.add(this.#host.now() + random.float() * PROBE_WAIT, () => this.#sendProbe(1));
  }

  /** Gives the address up. The station clears the agenda. */
  stop(state: 'down' | 'conflict'): void {
    this.#state = state;
    this.#lastConflict = -Infinity;
  }

  /** Announces the address, if it is in use (section 2.3). */
  announce(): void {
    if (this.#state === 'up') this.#sendAnnouncement(1);
  }

  /**
   * Another station claims the address: sections 2.1.1 and 2.4 (b).
   * @returns false if the station must give it up.
   */
  defend(): boolean {
    const now = this.#host.now();
    if (this.#state !== 'up' || now - this.#lastConflict < DEFEND_INTERVAL) return false;
    this.#lastConflict = now;
    this.#sendAnnouncement(ANNOUNCE_NUM);
    return true;
  }

  #use(): void {
    this.#state = 'up';
    if (this.#options.announce) this.#sendAnnouncement(1);
  }

  /** Section 2.1.1. */
  #sendProbe(number: number): void {
    this.#host.probe();
    const last = number === PROBE_NUM;
    const wait = last ? ANNOUNCE_WAIT : PROBE_MIN + this.#options.random.float() * (PROBE_MAX - PROBE_MIN);
    this.#agenda.add(this.#host.now() + wait, () => (last ? this.#use() : this.#sendProbe(number + 1)));
  }

  /** Section 2.3. */
  #sendAnnouncement(number: number): void {
    this.#host.announce();
    if (number < ANNOUNCE_NUM)
      this.#agenda.add(this.#host.now() + ANNOUNCE_INTERVAL, () => this.#sendAnnouncement(number + 1));
  }
}
