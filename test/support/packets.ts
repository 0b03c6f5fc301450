/** Arbitrary whole packets, as layers for `build`. */
import fc from 'fast-check';
import { formatIpv6, ipv4ToText, macToText } from '../../src/address/index.js';
import { encodeOption } from '../../src/icmpv6/index.js';
import type { LayerToBuild } from '../../src/packet/index.js';
import { optionLists } from './arbitrary.js';

const u8 = fc.nat(0xff);
const u16 = fc.nat(0xffff);
const u32 = fc.nat(0xffff_ffff);
const mac = fc.nat(2 ** 48 - 1).map(macToText);
const ip = u32.map(ipv4ToText);
const ip6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => formatIpv6(bytes));

type Layers = LayerToBuild[];

const payload: fc.Arbitrary<Layers> = fc
  .uint8Array({ maxLength: 40 })
  .map((bytes) => (bytes.length === 0 ? [] : [{ protocol: 'payload', bytes }]));

/** Ports whose payload `dissect` does not interpret. */
const port = u16.filter((value) => ![4789, 4790, 8472].includes(value));

const udp: fc.Arbitrary<Layers> = fc
  .tuple(port, port, payload)
  .map(([sourcePort, destinationPort, rest]) => [{ protocol: 'udp', sourcePort, destinationPort }, ...rest]);

/** Options of unassigned kinds, which tshark does not interpret. */
const options = optionLists.filter((list) =>
  list.every(({ kind, malformed }) => !malformed && (kind < 2 || (kind >= 80 && kind < 172))),
);

const tcp: fc.Arbitrary<Layers> = fc
  .tuple(
    fc.record({
      sourcePort: u16,
      destinationPort: u16,
      sequence: u32,
      acknowledgment: u32,
      reserved: fc.nat(7),
      flags: fc.nat(0x1ff),
      window: u16,
      urgentPointer: u16,
      options,
    }),
    payload,
  )
  .map(([fields, rest]) => [{ protocol: 'tcp', ...fields }, ...rest]);

const icmp: fc.Arbitrary<Layers> = fc
  .tuple(fc.constantFrom(0, 8), u16, u16, payload)
  .map(([type, identifier, sequence, rest]) => [{ protocol: 'icmp', type, code: 0, identifier, sequence }, ...rest]);

const icmpv6: fc.Arbitrary<Layers> = fc.oneof(
  fc
    .tuple(fc.constantFrom(128, 129), u16, u16, payload)
    .map(([type, identifier, sequence, rest]): Layers => [
      { protocol: 'icmpv6', type, code: 0, identifier, sequence },
      ...rest,
    ]),
  fc
    .record({ router: fc.boolean(), solicited: fc.boolean(), override: fc.boolean(), target: ip6, address: mac })
    .map(({ address, ...fields }): Layers => [
      { protocol: 'icmpv6', type: 136, code: 0, ...fields, options: [encodeOption({ type: 2, address })] },
    ]),
);

const arp: fc.Arbitrary<Layers> = fc
  .record({ operation: fc.integer({ min: 1, max: 2 }), senderMac: mac, senderIp: ip, targetMac: mac, targetIp: ip })
  .map((fields) => [{ protocol: 'arp', ...fields }]);

const ipv4 = (inner: fc.Arbitrary<Layers>): fc.Arbitrary<Layers> =>
  fc
    .tuple(
      fc.record({
        dscp: fc.nat(63),
        ecn: fc.nat(3),
        identification: u16,
        dontFragment: fc.boolean(),
        ttl: fc.integer({ min: 1, max: 255 }),
        source: ip,
        destination: ip,
      }),
      inner,
    )
    .map(([fields, rest]) => [{ protocol: 'ipv4', ...fields }, ...rest]);

const ipv6 = (inner: fc.Arbitrary<Layers>): fc.Arbitrary<Layers> =>
  fc
    .tuple(
      fc.record({
        dscp: fc.nat(63),
        ecn: fc.nat(3),
        flowLabel: fc.nat(0xfffff),
        hopLimit: u8,
        source: ip6,
        destination: ip6,
      }),
      inner,
    )
    .map(([fields, rest]) => [{ protocol: 'ipv6', ...fields }, ...rest]);

/** Frames with their payloads, also nested tunnels. `build` fills in omitted fields. */
export const frames: fc.Arbitrary<Layers> = fc.letrec<{ frame: Layers; above: Layers; ip: Layers }>((tie) => ({
  frame: fc
    .tuple(
      mac,
      mac,
      fc.array(fc.record({ id: fc.nat(4095), priority: fc.nat(7), dropEligible: fc.boolean() }), { maxLength: 2 }),
      tie('above'),
    )
    .map(([destination, source, tags, above]) => [
      { protocol: 'ethernet', destination, source },
      ...tags.map<LayerToBuild>((tag) => ({ protocol: 'vlan', ...tag })),
      ...above,
    ]),
  above: fc.oneof(arp, tie('ip')),
  ip: fc.oneof(
    { maxDepth: 2 },
    ipv4(icmp),
    ipv4(fc.oneof(udp, tcp)),
    ipv6(fc.oneof(udp, tcp, icmpv6)),
    ipv4(tie('ip')),
    ipv6(tie('ip')),
    fc
      .tuple(fc.boolean(), fc.integer({ min: 49152, max: 65535 }), fc.nat(0xff_ffff), tie('frame'))
      .chain(([six, sourcePort, vni, frame]) =>
        (six ? ipv6 : ipv4)(
          fc.constant<Layers>([
            { protocol: 'udp', sourcePort, destinationPort: 4789 },
            { protocol: 'vxlan', vni },
            ...frame,
          ]),
        ),
      ),
  ),
})).frame;
