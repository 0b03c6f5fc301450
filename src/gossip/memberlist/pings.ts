import type { Member } from './member.js';
import type { Ping } from './message.js';

/**
 * Creates the pings of this member. Their numbers are random: an answer with the right number proves that its sender
 * has the ping, so that a member cannot be forged by guesses.
 */
export class Pings {
  readonly #self: Member;
  readonly #random: () => number;

  /** @param random Returns a number from 0 up to but not including 1. */
  constructor(self: Member, random: () => number) {
    this.#self = self;
    this.#random = random;
  }

  /** @param node The name of the member to ping. */
  create(node: string): Ping {
    const seqNo = Math.floor(this.#random() * 0x1_0000_0000);
    const { name, address, port } = this.#self;
    return { type: 'ping', node, seqNo, sourceAddr: address, sourcePort: port, sourceNode: name };
  }
}
