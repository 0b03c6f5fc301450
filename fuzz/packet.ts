/** Whole packets: the first octet chooses the link type, the rest is the packet. */
import { dissect, MAX_LAYERS, type Dissection } from '../src/packet/index.js';
import {
  LINKTYPE_ETHERNET,
  LINKTYPE_LINUX_SLL,
  LINKTYPE_LINUX_SLL2,
  LINKTYPE_NULL,
  LINKTYPE_RAW,
} from '../src/pcap/index.js';
import { ensure, equal } from '../test/support/contract.js';

const LINK_TYPES = [LINKTYPE_ETHERNET, LINKTYPE_RAW, LINKTYPE_LINUX_SLL, LINKTYPE_LINUX_SLL2, LINKTYPE_NULL, 0xffff];

export function fuzz(data: Uint8Array): void {
  if (data.length === 0) return;
  const linkType = LINK_TYPES[data[0]! % LINK_TYPES.length]!;
  const seen = (fill: number): Dissection => {
    const framed = new Uint8Array(data.length + 80).fill(fill);
    framed.set(data);
    return dissect(framed.subarray(1, data.length), { linkType });
  };
  const { layers, stopped } = seen(0x00);
  equal(seen(0xff), { layers, stopped }, 'what is read between ones, compared with between zeros');

  // The layers lie side by side, from the first octet to the last.
  let at = 0;
  for (const { protocol, offset, size } of layers) {
    ensure(offset === at && size >= 0, `${protocol} lies at ${offset}, and ${at} octets are accounted for`);
    at += size;
  }
  ensure(at === data.length - 1, `${at} octets of ${data.length - 1} are accounted for`);
  ensure(layers.length <= 2 * MAX_LAYERS + 1, `${layers.length} layers`);
  if (stopped !== null)
    ensure(
      stopped.offset >= 0 && stopped.offset < data.length && stopped.detail !== '',
      `stopped at ${stopped.offset} of ${data.length - 1}`,
    );
}
