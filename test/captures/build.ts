/**
 * Builds the captures of this folder that no kernel sent, with weft's own encoders and writers:
 *
 *     node --import tsx test/captures/build.ts
 */
import { writeFileSync } from 'node:fs';
import { build, type LayerToBuild } from '../../src/packet/index.js';
import {
  LINKTYPE_IPV4,
  LINKTYPE_LOOP,
  LINKTYPE_NULL,
  LINKTYPE_RAW,
  PcapngWriter,
  PcapWriter,
  type PcapWriterOptions,
} from '../../src/pcap/index.js';

const START = 1_700_000_000_123_456_789n;
const A = '02:00:00:00:01:01';
const B = '02:00:00:00:01:02';
const text = (characters: string): Uint8Array => Uint8Array.from(Buffer.from(characters));

const ethernet: LayerToBuild = { protocol: 'ethernet', destination: B, source: A };
const ipv4: LayerToBuild = { protocol: 'ipv4', source: '10.9.0.1', destination: '10.9.0.2', identification: 7 };
const ipv6: LayerToBuild = { protocol: 'ipv6', source: 'fd00::1', destination: 'fd00::2', flowLabel: 0x12345 };
const udp: LayerToBuild = { protocol: 'udp', sourcePort: 40000, destinationPort: 40001 };
const tunnel: LayerToBuild = { protocol: 'udp', sourcePort: 49152, destinationPort: 4789 };
const tcp: LayerToBuild = {
  protocol: 'tcp',
  sourcePort: 1,
  destinationPort: 65535,
  sequence: 0xffff_ffff,
  acknowledgment: 1,
  flags: 0x1ff,
  window: 64240,
};
const vxlan: LayerToBuild = { protocol: 'vxlan', vni: 4097 };
const payload: LayerToBuild = { protocol: 'payload', bytes: text('weft') };
const echo: LayerToBuild[] = [{ protocol: 'icmp', type: 8, code: 0, identifier: 1, sequence: 2 }, payload];
const request: LayerToBuild = {
  protocol: 'arp',
  operation: 1,
  senderMac: A,
  senderIp: '10.9.0.1',
  targetMac: '00:00:00:00:00:00',
  targetIp: '10.9.0.2',
};

function save(name: string, options: PcapWriterOptions, packets: readonly (readonly LayerToBuild[])[]): void {
  const writer = new PcapWriter(options);
  const records = packets.map((layers, i) =>
    writer.packet({ timestamp: START + BigInt(i) * 1_000_000n, data: build(layers) }),
  );
  writeFileSync(new URL(name, import.meta.url), Buffer.concat([writer.header(), ...records]));
}

save('vlan.pcap', {}, [
  [ethernet, { protocol: 'vlan', id: 100, priority: 5 }, request],
  [ethernet, { protocol: 'vlan', id: 100, dropEligible: true }, ipv4, ...echo],
  [ethernet, { protocol: 'vlan', id: 4095 }, payload], // IEEE 802.3 behind a tag
  [ethernet, { protocol: 'vlan', id: 0, priority: 7 }, ipv6, udp, payload],
]);

const stacked = (...types: number[]): LayerToBuild[] => [
  { ...ethernet, etherType: types[0]! },
  ...types.map<LayerToBuild>((_, i) => ({
    protocol: 'vlan',
    id: 20 + i,
    priority: i,
    ...(types[i + 1] !== undefined && { etherType: types[i + 1]! }),
  })),
];
save('qinq.pcap', {}, [
  [...stacked(0x88a8, 0x8100), request],
  [...stacked(0x9100, 0x8100), ipv4, ...echo],
  [...stacked(0x8100, 0x8100, 0x8100), ipv4, udp, payload],
  [...stacked(0x88a8), ipv4, udp, payload],
]);

save('big-endian.pcap', { bigEndian: true, resolution: 'microseconds' }, [
  [ethernet, request],
  [ethernet, ipv4, ...echo],
]);

save('vxlan.pcap', {}, [
  [ethernet, ipv4, tunnel, vxlan, ethernet, request],
  [ethernet, ipv6, tunnel, vxlan, ethernet, { protocol: 'vlan', id: 9 }, ipv6, udp, payload],
  [ethernet, ipv4, tunnel, vxlan, ethernet, ipv4, tunnel, { protocol: 'vxlan', vni: 1 }, ethernet, ipv4, ...echo],
  [ethernet, ipv4, tunnel, { protocol: 'vxlan', vni: 5, flags: 0x88, reserved1: 0x481234 }, ethernet, ipv4, ...echo],
  [ethernet, ipv4, tunnel, { protocol: 'vxlan', vni: 6, flags: 0 }, ethernet, ipv4, ...echo], // without flag I
  [ethernet, ipv4, { ...tunnel, sourcePort: 4789, destinationPort: 50000 }, vxlan, ethernet, ipv4, ...echo],
]);

// The destination port identifies VXLAN (RFC 7348, section 5), the source port does not.
const query = Buffer.from('a1b201000001000000000000076578616d706c6503636f6d0000010001', 'hex');
const dns: LayerToBuild = { protocol: 'payload', bytes: Uint8Array.from(query) };
const noise: LayerToBuild = { protocol: 'payload', bytes: Uint8Array.from({ length: 40 }, (_, i) => i * 37 + 0x50) };
const ports = (sourcePort: number, destinationPort: number): LayerToBuild[] => [
  ethernet,
  ipv4,
  { protocol: 'udp', sourcePort, destinationPort },
];
save('ports.pcap', {}, [
  ...[4789, 4790, 8472].flatMap((port) => [
    [...ports(port, 53), dns],
    [...ports(port, 50000), vxlan, ethernet, ipv4, ...echo],
    [...ports(50000, port), noise], // flag I is not set
    [...ports(50000, port), { protocol: 'payload', bytes: Uint8Array.of(8, 0, 0, 0) } as LayerToBuild],
    [...ports(port, port), vxlan, ethernet, ipv4, ...echo],
  ]),
  [...ports(53, 8472), dns],
]);

// First fragments: lengths in the upper headers are those of the whole packet.
const piece = (bytes: Uint8Array, length: number, protocolNumber: number): LayerToBuild[] => [
  ethernet,
  { ...ipv4, moreFragments: true, protocolNumber },
  { protocol: 'payload', bytes: bytes.subarray(0, length) },
];
const piece6 = (bytes: Uint8Array, length: number, next: number): LayerToBuild[] => [
  ethernet,
  { ...ipv6, nextHeader: 44, extensions: Uint8Array.of(next, 0, 0, 1, 0, 0, 0, 1) },
  { protocol: 'payload', bytes: bytes.subarray(0, length) },
];
const long: LayerToBuild = { protocol: 'payload', bytes: new Uint8Array(100).fill(0x61) };
const datagram = build([ipv4, udp, long]).subarray(20);
const tcpSegment = build([ipv4, tcp, long]).subarray(20);
const ping = build([ipv4, ...echo, long]).subarray(20);
const inTunnel = build([ipv4, tunnel, vxlan, ethernet, ipv4, udp, long]).subarray(20);
const inTunnel6 = build([ipv4, tunnel, vxlan, ethernet, ipv6, udp, long]).subarray(20);
save('first-fragments.pcap', {}, [
  ...[16, 24, 64].map((length) => piece(datagram, length, 17)),
  ...[24, 64].map((length) => piece(tcpSegment, length, 6)),
  ...[8, 64].map((length) => piece(ping, length, 1)),
  ...[64, 72, 96, 128].map((length) => piece(inTunnel, length, 17)),
  ...[80, 128].map((length) => piece(inTunnel6, length, 17)),
  ...[16, 64].map((length) => piece6(datagram, length, 17)),
  ...[24, 64].map((length) => piece6(tcpSegment, length, 6)),
  piece6(inTunnel, 96, 17),
  // These cut a header.
  piece(tcpSegment, 8, 6),
  piece(inTunnel, 40, 17),
  piece6(tcpSegment, 16, 6),
]);

const gpe = (next: number): LayerToBuild[] => [
  ethernet,
  ipv4,
  { ...tunnel, destinationPort: 4790 },
  { protocol: 'vxlan', vni: 7, flags: 0x0c, reserved1: next },
];
save('vxlan-gpe.pcap', {}, [
  [...gpe(1), ipv4, ...echo],
  [...gpe(2), ipv6, udp, payload],
  [...gpe(3), ethernet, request],
  [...gpe(4), payload], // NSH
]);

const behind = (...octets: number[]): Uint8Array => Uint8Array.of(...octets);
save('ipv6.pcap', {}, [
  [ethernet, ipv6, udp, payload],
  [ethernet, { ...ipv6, dscp: 46, ecn: 1, hopLimit: 1 }, tcp, payload],
  // Hop-by-hop options, then destination options.
  [ethernet, { ...ipv6, nextHeader: 0, extensions: behind(60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0) }, udp, payload],
  // A fragment that is the whole packet, and one behind the first.
  [ethernet, { ...ipv6, nextHeader: 44, extensions: behind(17, 0, 0, 0, 0, 0, 0, 1) }, udp, payload],
  [ethernet, { ...ipv6, nextHeader: 44, extensions: behind(17, 0, 0, 8, 0, 0, 0, 2) }, payload],
  [ethernet, { ...ipv6, nextHeader: 59 }, payload],
]);

save('tunnels.pcap', {}, [
  [ethernet, ipv4, ipv4, udp, payload],
  [ethernet, ipv4, ipv6, udp, payload],
  [ethernet, ipv6, ipv4, ...echo],
  [ethernet, ipv6, ipv6, ipv4, udp, payload],
]);

const zeros = (count: number): Uint8Array => new Uint8Array(count);
save('trailers.pcap', {}, [
  [ethernet, request, { protocol: 'trailer', behind: 1, bytes: zeros(18) }],
  [ethernet, ipv4, ...echo, { protocol: 'trailer', behind: 1, bytes: Uint8Array.from({ length: 9 }, (_, i) => i) }],
  [ethernet, payload, { protocol: 'trailer', behind: 0, bytes: zeros(42) }], // IEEE 802.3
  [ethernet, ipv4, { ...udp, length: 12 }, payload, { protocol: 'trailer', behind: 2, bytes: zeros(5) }],
]);

save('arp.pcap', {}, [
  [ethernet, { ...request, senderIp: '0.0.0.0' }], // a probe
  [ethernet, { ...request, targetIp: '10.9.0.1' }], // an announcement
  [ethernet, { ...request, operation: 2, targetMac: B }],
  [{ ...ethernet, etherType: 0x8035 }, { ...request, operation: 3 }],
  [ethernet, { ...request, operation: 65535, hardwareType: 6 }],
  [
    { ...ethernet },
    {
      protocol: 'arp',
      hardwareType: 32,
      operation: 1,
      senderHardware: zeros(20),
      senderProtocol: zeros(4),
      targetHardware: zeros(20),
      targetProtocol: zeros(4),
    },
  ],
]);

const quoted = build([ipv4, udp, { protocol: 'payload', bytes: zeros(4) }]);
const about: LayerToBuild = { protocol: 'payload', bytes: quoted };
save('icmp.pcap', {}, [
  ...[0, 1, 2, 3, 5, 9, 13].map<LayerToBuild[]>((code) => [ethernet, ipv4, { protocol: 'icmp', type: 3, code }, about]),
  [ethernet, ipv4, { protocol: 'icmp', type: 3, code: 4, nextHopMtu: 1450 }, about],
  [ethernet, ipv4, { protocol: 'icmp', type: 4, code: 0 }, about],
  [ethernet, ipv4, { protocol: 'icmp', type: 5, code: 1, gateway: '10.9.0.254' }, about],
  [ethernet, ipv4, { protocol: 'icmp', type: 11, code: 0 }, about],
  [ethernet, ipv4, { protocol: 'icmp', type: 12, code: 0, pointer: 9 }, about],
  [ethernet, ipv4, { protocol: 'icmp', type: 13, code: 0, identifier: 3, sequence: 4, originate: 3_600_000 }],
  [ethernet, ipv4, { protocol: 'icmp', type: 14, code: 0, identifier: 3, sequence: 4, originate: 1, receive: 2, transmit: 3 }],
  [ethernet, ipv4, { protocol: 'icmp', type: 17, code: 0, identifier: 5, sequence: 6 }],
  [ethernet, ipv4, { protocol: 'icmp', type: 18, code: 0, identifier: 5, sequence: 6, mask: '255.255.255.0' }],
  [ethernet, ipv4, { protocol: 'icmp', type: 0, code: 0, identifier: 65535, sequence: 65535, checksum: 1 }, payload],
  [ethernet, ipv4, { protocol: 'icmp', type: 40, code: 5, rest: 0x1234 }, payload],
]);

save('damaged.pcap', {}, [
  [ethernet, { ...ipv4, totalLength: 0, dontFragment: true }, udp, payload], // as before a card cuts it
  [ethernet, { ...ipv4, totalLength: 19, protocolNumber: 17 }, udp, payload],
  [ethernet, { ...ipv4, totalLength: 1500 }, udp, payload],
  [ethernet, ipv4, { ...udp, length: 7 }, payload],
  [ethernet, ipv4, { ...udp, length: 500 }, payload],
  [ethernet, ipv4, { ...udp, length: 0 }, payload],
  [ethernet, { ...ipv4, protocolNumber: 6 }, { protocol: 'payload', bytes: zeros(20) }], // data offset 0
  [ethernet, { ...ipv4, protocolNumber: 17 }, { protocol: 'payload', bytes: zeros(7) }],
  [ethernet, { ...ipv6, payloadLength: 900 }, udp, payload],
  [ethernet, { ...ipv6, payloadLength: 0 }, udp, payload],
  [{ ...ethernet, etherType: 0x0800 }, ipv6, udp, payload],
  [{ ...ethernet, etherType: 0x86dd }, ipv4, udp, payload],
  [{ ...ethernet, etherType: 0x0800 }, { protocol: 'payload', bytes: zeros(30) }],
  [{ ...ethernet, etherType: 0 }, payload],
  [{ ...ethernet, etherType: 1501 }, payload],
  [{ ...ethernet, length: 1500 }, payload],
  [ethernet, ipv4, tunnel, { protocol: 'payload', bytes: zeros(7) }],
]);

save('raw.pcap', { linkType: LINKTYPE_RAW }, [
  [ipv4, ...echo],
  [ipv6, udp, payload],
]);
save('raw-ipv4.pcap', { linkType: LINKTYPE_IPV4 }, [[ipv4, udp, payload]]);
const family = (...octets: number[]): LayerToBuild => ({ protocol: 'payload', bytes: behind(...octets) });
save('null.pcap', { linkType: LINKTYPE_NULL }, [
  [family(2, 0, 0, 0), ipv4, ...echo],
  [family(0, 0, 0, 2), ipv4, ...echo],
  [family(30, 0, 0, 0), ipv6, udp, payload],
]);
save('loop.pcap', { linkType: LINKTYPE_LOOP }, [
  [family(0, 0, 0, 2), ipv4, ...echo],
  [family(0, 0, 0, 24), ipv6, udp, payload],
]);

// Two sections of different byte orders, the first with two interfaces of different link types.
const first = new PcapngWriter({ application: 'weft', comment: 'two sections' });
const second = new PcapngWriter({ bigEndian: true });
const onWire = build([ethernet, ipv4, ...echo]);
writeFileSync(
  new URL('sections.pcapng', import.meta.url),
  Buffer.concat([
    first.header(),
    first.addInterface({ name: 'eth0', description: 'the underlay' }),
    first.addInterface({ name: 'tun0', linkType: LINKTYPE_RAW, snapLength: 24 }),
    first.packet({ timestamp: START, data: onWire, direction: 'outbound', comment: 'einfach ⟲' }),
    first.packet({ timestamp: START + 1n, data: build([ipv4, ...echo]), interface: 1, direction: 'inbound' }),
    second.header(),
    second.addInterface({ name: 'eth1' }),
    second.packet({ timestamp: START + 2n, data: onWire.subarray(0, 40), length: onWire.length }),
  ]),
);
