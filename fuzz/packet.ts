/** Whole packets: the first octet chooses the link type, the rest is the packet. */
import * as arp from '../src/arp/index.js';
import * as ethernet from '../src/ethernet/index.js';
import * as icmp from '../src/icmp/index.js';
import * as icmpv6 from '../src/icmpv6/index.js';
import * as ipv4 from '../src/ipv4/index.js';
import * as ipv6 from '../src/ipv6/index.js';
import {
  build,
  dissect,
  hexdump,
  MAX_LAYERS,
  problemText,
  summarize,
  tree,
  type Dissection,
} from '../src/packet/index.js';
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
  icmpv6: icmpv6.check,
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
  equal(seen(0xff), { layers, stopped }, 'the layers with ones around the packet, compared with zeros');

  // The layers are contiguous and cover the packet.
  let at = 0;
  for (const { protocol, offset, size } of layers) {
    ensure(offset === at && size >= 0, `${protocol} starts at ${offset}, but the layer before it ends at ${at}`);
    at += size;
  }
  ensure(at === data.length - 1, `the layers cover ${at} octets of ${data.length - 1}`);
  ensure(layers.length <= 2 * MAX_LAYERS + 1, `${layers.length} layers`);

  // Unless dissect stopped, every codec accepts its layer and agrees on its length.
  const packet = data.subarray(1);
  let partial = false;
  for (const layer of stopped === null ? layers : []) {
    const { protocol, offset, size } = layer;
    // The lengths inside a first fragment are those of the whole packet.
    if (partial) break;
    partial = layer.protocol === 'ipv4' ? layer.moreFragments : layer.protocol === 'ipv6' && 'extensions' in layer;
    const length = CHECKS[protocol]?.(packet, offset, packet.length) ?? size;
    // The size includes extension headers, and the options of neighbor discovery.
    const fits = /^i(p|cmp)v6$/.test(protocol) ? length >= 0 && length <= size : length === size;
    ensure(fits, `${protocol} at ${offset} has ${size} octets, but its codec says ${length}`);
  }
  if (stopped === null && layers.every(({ protocol }) => !/^(null|loop|sll2?)$/.test(protocol)))
    equal(build(layers), packet, 'build(layers), compared with the packet');
  if (stopped !== null)
    ensure(
      stopped.offset >= 0 && stopped.offset < data.length && problemText(stopped) !== '',
      `stopped at ${stopped.offset} of ${data.length - 1}`,
    );

  // A packet must not get control characters into the terminal.
  ensure(!UNPRINTABLE.test(summarize(layers)), 'the summary has control characters');
  for (const text of [tree(layers), hexdump(packet)])
    ensure(!UNPRINTABLE.test(text.replaceAll('\n', ' ')), 'the tree or the hex dump has control characters');
}
