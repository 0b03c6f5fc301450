/**
 * A wire between two hosts that drops, duplicates and reorders frames: a TAP in each host's namespace, and this process
 * between them. It does not change frames, so that it carries any traffic, also that of a kernel's vxlan device.
 */
import { openTap, TapChannel } from '../../src/host/index.js';
import { Random } from '../../src/sim/index.js';
import { must, type End } from './lab.js';

/** Length of a TAP's queue in frames; more are dropped. */
const QUEUE = 10_000;
/** A delayed frame leaves after this many others in its direction, or milliseconds. */
const BEHIND = 3;
const LATEST = 5;
const TYPE_ARP = 0x0806;

/** Rates in frames per hundred. */
export interface Faults {
  lost: number;
  doubled: number;
  reordered: number;
}

/** Counters of frames. */
export interface Relayed extends Faults {
  frames: number;
}

export class Relay {
  readonly relayed: Relayed = { frames: 0, lost: 0, doubled: 0, reordered: 0 };
  readonly #faults: Faults;
  readonly #random: Random;
  readonly #ends: TapChannel[] = [];

  private constructor(faults: Faults, seed: number) {
    this.#faults = faults;
    this.#random = new Random(seed);
  }

  /** Creates the device of each end, up and with its addresses. Never drops ARP, whose loss would cost seconds. */
  static async create(ends: readonly [End, End], mtu: number, faults: Faults, seed: number): Promise<Relay> {
    const relay = new Relay(faults, seed);
    for (const [i, { ns, device, addresses }] of ends.entries()) {
      const { fd, name } = await openTap('weft%d');
      const way = new Way((frame) => void relay.#ends[1 - i]?.write(frame, 0, frame.length));
      relay.#ends.push(
        new TapChannel(fd, 0, {
          frame: (bytes, offset, end) => relay.#pass(way, bytes.subarray(offset, end)),
          lost: () => undefined,
        }),
      );
      await must(['ip', 'link', 'set', 'dev', name, 'netns', ns, 'name', device]);
      for (const address of addresses) await must(['ip', '-n', ns, 'addr', 'add', address, 'dev', device]);
      const size = ['mtu', String(mtu), 'txqueuelen', String(QUEUE)];
      await must(['ip', '-n', ns, 'link', 'set', 'dev', device, ...size, 'up']);
    }
    return relay;
  }

  /** Removes both devices. */
  async close(): Promise<void> {
    for (const end of this.#ends) await end.close();
  }

  #pass(way: Way, frame: Uint8Array): void {
    const { lost, doubled, reordered } = this.#faults;
    const { relayed } = this;
    if (((frame[12]! << 8) | frame[13]!) === TYPE_ARP) return way.put(frame);
    relayed.frames++;
    const chance = this.#random.float() * 100;
    if (chance < lost) relayed.lost++;
    else if (chance < lost + doubled) {
      relayed.doubled++;
      way.put(frame);
      way.put(frame);
    } else if (chance < lost + doubled + reordered) {
      relayed.reordered++;
      way.hold(frame.slice());
    } else way.put(frame);
  }
}

/** One direction. */
class Way {
  readonly #to: (frame: Uint8Array) => void;
  readonly #held: { frame: Uint8Array; behind: number }[] = [];

  constructor(to: (frame: Uint8Array) => void) {
    this.#to = to;
  }

  put(frame: Uint8Array): void {
    this.#to(frame);
    for (const one of this.#held) one.behind--;
    this.#release(({ behind }) => behind <= 0);
  }

  /** Delays a frame until others have overtaken it, or for a limited time. */
  hold(frame: Uint8Array): void {
    const one = { frame, behind: BEHIND };
    this.#held.push(one);
    setTimeout(() => this.#release((other) => other === one), LATEST);
  }

  #release(due: (one: { frame: Uint8Array; behind: number }) => boolean): void {
    for (let i = 0; i < this.#held.length;) {
      if (due(this.#held[i]!)) this.#to(this.#held.splice(i, 1)[0]!.frame);
      else i++;
    }
  }
}
