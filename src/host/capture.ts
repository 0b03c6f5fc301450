/**
 * Copies of what an engine moves, for those who ask: frames at the TAPs and datagrams on the underlay, each with its time
 * and its direction. Costs the data path one comparison while nobody asks.
 */
import { performance } from 'node:perf_hooks';
import { type Plan } from '../schema/index.js';

/** One packet as it passed. */
export interface Captured {
  /** Nanoseconds since 1970 UTC, as decimal digits. */
  time: string;
  /** A TAP's name, or `underlay`. */
  place: string;
  /** As the VTEP sees it: `in` by the TAP or from the underlay. */
  direction: 'in' | 'out';
  /** The frame, or the datagram from its VXLAN header on, as hexadecimal digits. */
  data: string;
  /** On the underlay: where the datagram came from and went to. */
  source?: UdpEnd;
  destination?: UdpEnd;
}

export interface UdpEnd {
  address: string;
  port: number;
}

/** Where datagrams pass. No device has a name with a blank or a colon, but one may be called `underlay`. */
export const UNDERLAY = 'underlay';

interface Open {
  left: number;
  readonly packets: Captured[];
  done(): void;
}

/** Makes a record of each packet, on the thread that moves it. */
export class Recorder {
  readonly #names: readonly string[];
  readonly #record: (packet: Captured) => void;
  /** Records still wanted. */
  #left = 0;
  /** Whether anybody asks; the data path looks here first. */
  active = false;

  constructor(plan: Plan, record: (packet: Captured) => void) {
    this.#names = plan.taps.map(({ name }) => name);
    this.#record = record;
  }

  /** Asks for so many packets from now on; 0 for none. */
  set limit(packets: number) {
    this.#left = packets;
    this.active = packets > 0;
  }

  frame(port: number, direction: 'in' | 'out', bytes: Uint8Array, offset: number, end: number): void {
    this.#add({ ...stamp(bytes, offset, end), place: this.#names[port]!, direction });
  }

  datagram(
    direction: 'in' | 'out',
    source: UdpEnd,
    destination: UdpEnd,
    bytes: Uint8Array,
    offset: number,
    end: number,
  ): void {
    this.#add({
      ...stamp(bytes, offset, end),
      place: UNDERLAY,
      direction,
      source,
      destination: { address: destination.address, port: destination.port },
    });
  }

  #add(packet: Captured): void {
    if (--this.#left <= 0) this.active = false;
    this.#record(packet);
  }
}

/** The collections that are open, on the thread that those who ask talk to. */
export class Captures {
  readonly #open = new Set<Open>();
  readonly #want: (packets: number) => void;

  /** @param want Is told how many packets are wanted from now on. */
  constructor(want: (packets: number) => void) {
    this.#want = want;
  }

  /** Collects packets from now on; answers when there are `count` of them, or after `seconds`, or when the engine stops. */
  collect(count: number, seconds: number): Promise<Captured[]> {
    return new Promise((resolve) => {
      const open: Open = {
        left: count,
        packets: [],
        done: () => {
          clearTimeout(timer);
          this.#open.delete(open);
          if (this.#open.size === 0) this.#want(0);
          resolve(open.packets);
        },
      };
      const timer = setTimeout(() => open.done(), seconds * 1000);
      this.#open.add(open);
      this.#want(Math.max(...[...this.#open].map(({ left }) => left)));
    });
  }

  /** A packet has passed. */
  add(packet: Captured): void {
    for (const open of [...this.#open]) {
      open.packets.push(packet);
      if (--open.left === 0) open.done();
    }
  }

  /** Ends every collection with what it has. */
  stop(): void {
    for (const open of [...this.#open]) open.done();
  }
}

const NANOSECONDS_PER_MILLISECOND = 1e6;

function stamp(bytes: Uint8Array, offset: number, end: number): Pick<Captured, 'time' | 'data'> {
  const now = performance.timeOrigin + performance.now();
  const whole = Math.floor(now);
  const rest = Math.round((now - whole) * NANOSECONDS_PER_MILLISECOND);
  return {
    time: String(BigInt(whole) * BigInt(NANOSECONDS_PER_MILLISECOND) + BigInt(rest)),
    data: Buffer.from(bytes.buffer, bytes.byteOffset + offset, end - offset).toString('hex'),
  };
}
