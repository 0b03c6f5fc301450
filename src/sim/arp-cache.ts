import { Agenda, type Timer } from './agenda.js';

export interface ArpCacheOptions {
  /** Milliseconds for which an answer is valid. Default 30,000. */
  reachable?: number;
  /** Milliseconds between two requests. Default 1000, the least that RFC 1122, section 2.3.2.1 allows. */
  retry?: number;
  /** Requests until an address counts as silent. Default 3. */
  tries?: number;
  /** Limit of packets that wait for one answer; the oldest is dropped. Default 16. */
  queue?: number;
  /** Limit of neighbors; the one known longest is removed. Default 1024. */
  capacity?: number;
}

/** What a cache needs from its station. */
export interface ArpCacheHost<Address> {
  now(): number;
  /** Requests an address: by broadcast, or from the station at `mac` if that is not {@link UNKNOWN_MAC}. */
  request(ip: Address, mac: number): void;
  /** Sends a frame; the host writes its destination address first. */
  transmit(frame: Uint8Array, mac: number): void;
}

/** The MAC address of a neighbor that has not answered yet. */
export const UNKNOWN_MAC = -1;

interface Waiting {
  frame: Uint8Array;
  failed: (() => void) | null;
}

interface Entry<Address> {
  readonly ip: Address;
  mac: number;
  /** When its MAC address was last confirmed. */
  confirmed: number;
  /** Unanswered requests since then. */
  tries: number;
  /** Set while a request is outstanding. */
  timer: Timer | null;
  waiting: Waiting[];
}

/**
 * A station's ARP cache (RFC 826, RFC 1122, section 2.3.2): requests are repeated while packets wait, and an old entry is
 * verified by unicast requests before a broadcast. The neighbor cache of IPv6 (RFC 4861, section 7) does the same, with
 * addresses in text and multicast in place of broadcast.
 */
export class ArpCache<Address = number> {
  readonly #reachable: number;
  readonly #retry: number;
  readonly #tries: number;
  readonly #queue: number;
  readonly #capacity: number;
  readonly #agenda: Agenda;
  readonly #host: ArpCacheHost<Address>;
  readonly #entries = new Map<Address, Entry<Address>>();

  constructor(options: ArpCacheOptions, agenda: Agenda, host: ArpCacheHost<Address>) {
    this.#reachable = options.reachable ?? 30_000;
    this.#retry = options.retry ?? 1000;
    this.#tries = options.tries ?? 3;
    this.#queue = options.queue ?? 16;
    this.#capacity = options.capacity ?? 1024;
    this.#agenda = agenda;
    this.#host = host;
  }

  /** The MAC address of a neighbor, whatever its age, or {@link UNKNOWN_MAC}. */
  lookup(ip: Address): number {
    return this.#entries.get(ip)?.mac ?? UNKNOWN_MAC;
  }

  /**
   * Sends a frame to a neighbor, now or once it has answered.
   * @param failed Called if it does not answer.
   */
  send(ip: Address, frame: Uint8Array, failed: (() => void) | null): void {
    const entry = this.#entries.get(ip) ?? this.#add(ip);
    if (entry.mac !== UNKNOWN_MAC) {
      this.#host.transmit(frame, entry.mac);
      if (entry.timer === null && this.#host.now() - entry.confirmed > this.#reachable) this.#ask(entry);
      return;
    }
    if (entry.waiting.length === this.#queue) entry.waiting.shift()!.failed?.();
    entry.waiting.push({ frame, failed });
    if (entry.timer === null) this.#ask(entry);
  }

  /**
   * Learns the sender of a packet.
   * @param create Whether to add an unknown neighbor: if the packet was for this station (RFC 826).
   */
  learn(ip: Address, mac: number, create: boolean): void {
    const entry = this.#entries.get(ip) ?? (create ? this.#add(ip) : null);
    if (entry === null) return;
    entry.mac = mac;
    entry.confirmed = this.#host.now();
    entry.tries = 0;
    if (entry.timer !== null) this.#agenda.cancel(entry.timer);
    entry.timer = null;
    const { waiting } = entry;
    entry.waiting = [];
    for (const { frame } of waiting) this.#host.transmit(frame, mac);
  }

  /** Forgets all neighbors and drops the packets that wait for them. */
  clear(): void {
    for (const entry of [...this.#entries.values()]) this.#drop(entry);
  }

  #add(ip: Address): Entry<Address> {
    if (this.#entries.size >= this.#capacity) this.#drop(this.#entries.values().next().value!);
    const entry: Entry<Address> = { ip, mac: UNKNOWN_MAC, confirmed: 0, tries: 0, timer: null, waiting: [] };
    this.#entries.set(ip, entry);
    return entry;
  }

  #ask(entry: Entry<Address>): void {
    entry.tries++;
    entry.timer = this.#agenda.add(this.#host.now() + this.#retry, () => {
      if (entry.tries < this.#tries) this.#ask(entry);
      else this.#drop(entry);
    });
    this.#host.request(entry.ip, entry.mac);
  }

  #drop(entry: Entry<Address>): void {
    this.#entries.delete(entry.ip);
    if (entry.timer !== null) this.#agenda.cancel(entry.timer);
    for (const { failed } of entry.waiting) failed?.();
  }
}
