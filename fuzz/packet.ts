/** Whole packets: the first octet chooses the link type, the rest is the packet. */
import * as arp from '../src/arp/index.js';
import * as ethernet from '../src/ethernet/index.js';
import * as icmp from '../src/icmp/index.js';
import * as ipv4 from '../src/ipv4/index.js';
import * as ipv6 from '../src/ipv6/index.js';
import { build, dissect, hexdump, MAX_LAYERS, summarize, tree, type Dissection } from '../src/packet/index.js';
import {
  LINKTYPE_ETHERNET,
  LINKTYPE_LINUX_SLL,
  LINKTYPE_LINUX_SLL2,
  LINKTYPE_NULL,
  LINKTYPE_RAW,
} from '../src/pcap/index.js';
import * as tcp from '../src/tcp/index.js';
import * as udp from '../src/udp/index.js';
import * as vxlan from '../src/vxlan/index.js';
import { ensure, equal } from '../test/support/contract.js';

const LINK_TYPES = [LINKTYPE_ETHERNET, LINKTYPE_RAW, LINKTYPE_LINUX_SLL, LINKTYPE_LINUX_SLL2, LINKTYPE_NULL, 0xffff];

const UNPRINTABLE = /[\x00-\x1f\x7f-\x9f]/;

type Check = (bytes: Uint8Array, offset: number, end: number) => number;
const CHECKS: Record<string, Check> = {
  arp: arp.check,
  ethernet: ethernet.check,
  icmp: icmp.check,
  ipv4: ipv4.check,
  ipv6: ipv6.check,
  tcp: tcp.check,
  udp: udp.check,
  vlan: ethernet.vlan.check,
  vxlan: vxlan.check,
};

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

  // Where nothing stopped it, every codec accepts its layer, and says the same of its length.
  const packet = data.subarray(1);
  for (const { protocol, offset, size } of stopped === null ? layers : []) {
    const length = CHECKS[protocol]?.(packet, offset, packet.length) ?? size;
    const fits = protocol === 'ipv6' ? length >= 0 && length <= size : length === size;
    ensure(fits, `${protocol} at ${offset} has ${size} octets, and its codec says ${length}`);
  }
  if (stopped === null && layers.every(({ protocol }) => !/^(null|loop|sll2?)$/.test(protocol)))
    equal(build(layers), packet, 'what build makes of the layers, compared with the packet');
  if (stopped !== null)
    ensure(
      stopped.offset >= 0 && stopped.offset < data.length && stopped.detail !== '',
      `stopped at ${stopped.offset} of ${data.length - 1}`,
    );

  // A packet is not to write into the terminal what it likes.
  ensure(!UNPRINTABLE.test(summarize(layers)), 'the summary is not a line of text');
  for (const text of [tree(layers), hexdump(packet)])
    ensure(!UNPRINTABLE.test(text.replaceAll('\n', ' ')), 'what is shown is not plain text');
}
