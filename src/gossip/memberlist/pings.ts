import type { Member } from './member.js';
import type { Ping } from './message.js';

/** Creates the pings of this member: those of its probes, and those on behalf of others. No two have one number. */
export class Pings {
  readonly #self: Member;
  #seqNo = 0;

  constructor(self: Member) {
    this.#self = self;
  }

  /** @param node The name of the member to ping. */
  create(node: string): Ping {
    this.#seqNo = (this.#seqNo + 1) % 0x1_0000_0000;
    const { name, address, port } = this.#self;
    return { type: 'ping', node, seqNo: this.#seqNo, sourceAddr: address, sourcePort: port, sourceNode: name };
  }
}
