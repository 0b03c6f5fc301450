/** What the threads that move frames report to the control thread, which agrees on keys. */

export type KeyingEvent =
  /** The machine lacks an association to send frames of a group to a remote. */
  | { readonly type: 'wanted'; readonly group: string; readonly address: string }
  /** A message about keys: what follows the non-ESP marker (RFC 3948, section 2.2). */
  | { readonly type: 'message'; readonly address: string; readonly bytes: Uint8Array }
  /** A packet with an SPI that no association has. */
  | { readonly type: 'unknown-spi'; readonly address: string; readonly spi: number }
  /** The first authentic packet of an association has arrived. */
  | { readonly type: 'used'; readonly spi: number };

/** Most messages about keys in a second, and most octets of one. Others are lost: their senders repeat them. */
const MESSAGES = 2000;
const LONGEST = 512;
/** Most addresses in a second whose packets have an unknown SPI. One event for each is enough. */
const UNKNOWN = 64;

/** The events of a thread, until it passes them on. Strangers cause some of them, which are therefore limited. */
export class KeyingQueue {
  #events: KeyingEvent[] = [];
  #messages = 0;
  readonly #unknown = new Set<string>();

  get isEmpty(): boolean {
    return this.#events.length === 0;
  }

  take(): KeyingEvent[] {
    const events = this.#events;
    this.#events = [];
    return events;
  }

  /** Call it about once a second. */
  age(): void {
    this.#messages = 0;
    this.#unknown.clear();
  }

  wanted(group: string, address: string): void {
    this.#events.push({ type: 'wanted', group, address }); // the machine limits these
  }

  used(spi: number): void {
    this.#events.push({ type: 'used', spi }); // one for each association
  }

  message(address: string, bytes: Uint8Array, offset: number, end: number): void {
    if (this.#messages++ < MESSAGES && end - offset <= LONGEST)
      this.#events.push({ type: 'message', address, bytes: bytes.slice(offset, end) });
  }

  unknownSpi(address: string, spi: number): void {
    if (this.#unknown.size >= UNKNOWN || this.#unknown.has(address)) return;
    this.#unknown.add(address);
    this.#events.push({ type: 'unknown-spi', address, spi });
  }
}
