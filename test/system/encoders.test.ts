/** tshark reads the output of weft's encoders: equal fields, nothing malformed, no bad checksums. */
import fc from 'fast-check';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import * as icmpv6 from '../../src/icmpv6/index.js';
import { build, dissect, type LayerToBuild } from '../../src/packet/index.js';
import { PcapngWriter, PcapWriter } from '../../src/pcap/index.js';
import { suiteWith } from '../support/needs.js';
import { frames } from '../support/packets.js';
import { differences, field, isKnown, isMalformed, tshark, type TsharkLayer } from '../support/tshark.js';

/** Checksums verified. */
const ARGS = ['ip', 'udp', 'tcp'].flatMap((name) => ['-o', `${name}.check_checksum:TRUE`]);

const directory = mkdtempSync(join(tmpdir(), 'weft-encoders-'));

/** Writes packets, lets tshark read them, and returns the errors of each. */
async function findings(packets: readonly Uint8Array[]): Promise<string[]> {
  const file = join(directory, 'packets.pcap');
  const writer = new PcapWriter();
  const records = packets.map((data, i) => writer.packet({ timestamp: BigInt(i), data }));
  writeFileSync(file, Buffer.concat([writer.header(), ...records]));
  const theirs = await tshark(file, ARGS);
  assert.is(theirs.length, packets.length);
  return packets.flatMap((data, i) => {
    const dissection = dissect(data);
    const found = [...differences(dissection, theirs[i]!), ...complaints(theirs[i]!)];
    if (dissection.stopped !== null) found.push(`stopped: ${dissection.stopped.detail}`);
    return found.map((finding) => `packet ${i}, ${Buffer.from(data).toString('hex')}: ${finding}`);
  });
}

const BAD = '0';

/** tshark's errors in the layers that weft wrote. Ignores the payload, where a random port may select a dissector. */
function complaints(layers: readonly TsharkLayer[]): string[] {
  const strange = layers.findIndex(({ name }, i) => i > 0 && !isKnown(name) && !name.startsWith('_ws.'));
  const written = strange < 0 ? layers : layers.slice(0, strange);
  return written.flatMap((layer) => {
    const found = ['ip', 'udp', 'tcp', 'icmp', 'icmpv6']
      .filter((name) => field(layer, `${name}.checksum.status`) === BAD)
      .map((name) => `bad checksum in ${name}`);
    if (layer.name.startsWith('_ws.') || isMalformed(layer)) found.push(`malformed: ${layer.name}`);
    return found;
  });
}

const encoders = suiteWith('encoders', ['tshark']);
encoders.after(() => rmSync(directory, { recursive: true }));

const ethernet: LayerToBuild = { protocol: 'ethernet', destination: '02:00:00:00:01:02', source: '02:00:00:00:01:01' };
const ipv4: LayerToBuild = { protocol: 'ipv4', source: '172.31.1.5', destination: '192.168.1.25' };
const ipv6: LayerToBuild = { protocol: 'ipv6', source: 'fd00::1', destination: 'fd00::2' };
const payload: LayerToBuild = { protocol: 'payload', bytes: Uint8Array.of(1, 2, 3) };
const udp: LayerToBuild = { protocol: 'udp', sourcePort: 50000, destinationPort: 50001 };
const about: LayerToBuild = { protocol: 'payload', bytes: build([ipv4, udp, payload]) };
const about6: LayerToBuild = { protocol: 'payload', bytes: build([ipv6, udp, payload]) };
const address = (type: 1 | 2): icmpv6.Option => icmpv6.encodeOption({ type, address: '02:00:00:00:01:01' });
/** A message of neighbor discovery of each type. */
const discovery = [
  { type: 133, options: [address(1)] },
  {
    ...{ type: 134, hopLimit: 64, managed: true, lifetime: 1800, reachableTime: 30_000, retransmitTimer: 1000 },
    options: [
      address(1),
      icmpv6.encodeOption({ type: 5, mtu: 1450 }),
      icmpv6.encodeOption({
        ...{ type: 3, prefixLength: 64, onLink: true, autonomous: false },
        ...{ validLifetime: 86_400, preferredLifetime: 14_400, prefix: 'fd00:7::' },
      }),
    ],
  },
  { type: 135, target: 'fd00::2', options: [address(1)] },
  { type: 136, target: 'fd00::2', router: true, override: true, options: [address(2)] },
  {
    ...{ type: 137, target: 'fe80::7', destination: 'fd00::9' },
    options: [address(2), icmpv6.encodeOption({ type: 4, packet: build([ipv6, udp]) })],
  },
];
const synchronize: LayerToBuild = {
  protocol: 'tcp',
  sourcePort: 50000,
  destinationPort: 50001,
  sequence: 0xffff_ffff,
  flags: 0x02,
  window: 64240,
  options: [
    { kind: 2, data: Uint8Array.of(5, 0xb4) },
    { kind: 4, data: new Uint8Array(0) },
    { kind: 8, data: Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 0) },
    { kind: 1, data: new Uint8Array(0) },
    { kind: 3, data: Uint8Array.of(7) },
  ],
};
const byHand: LayerToBuild[][] = [
  ...[1, 2].map<LayerToBuild[]>((operation) => [
    ethernet,
    {
      ...{ protocol: 'arp', operation, senderMac: '02:00:00:00:01:01', senderIp: '10.0.0.3' },
      ...{ targetMac: '02:00:00:00:01:02', targetIp: '10.0.0.4' },
    },
  ]),
  [ethernet, ipv4, udp, payload],
  [ethernet, { ...ipv4, options: [{ kind: 7, data: Uint8Array.of(4, 0, 0, 0, 0) }] }, udp, payload],
  [ethernet, ipv6, udp, payload],
  [ethernet, ipv4, synchronize],
  [ethernet, ipv6, synchronize, payload],
  [ethernet, { protocol: 'vlan', id: 100, priority: 3 }, ipv4, synchronize, payload],
  [{ ...ethernet, etherType: 0x88a8 }, { protocol: 'vlan', id: 7 }, { protocol: 'vlan', id: 8 }, ipv4, udp, payload],
  [ethernet, payload],
  ...[0, 8].map<LayerToBuild[]>((type) => [
    ethernet,
    ipv4,
    { protocol: 'icmp', type, code: 0, identifier: 65535, sequence: 1 },
    payload,
  ]),
  ...[0, 1, 2, 3, 4, 13].map<LayerToBuild[]>((code) => [ethernet, ipv4, { protocol: 'icmp', type: 3, code }, about]),
  [ethernet, ipv4, { protocol: 'icmp', type: 3, code: 4, nextHopMtu: 1450 }, about],
  [ethernet, ipv4, { protocol: 'icmp', type: 5, code: 1, gateway: '172.31.1.254' }, about],
  [ethernet, ipv4, { protocol: 'icmp', type: 11, code: 0 }, about],
  [ethernet, ipv4, { protocol: 'icmp', type: 12, code: 0, pointer: 8 }, about],
  [
    ethernet,
    ipv4,
    { protocol: 'icmp', type: 13, code: 0, identifier: 1, sequence: 2, originate: 3, receive: 4, transmit: 5 },
  ],
  [ethernet, ipv4, { protocol: 'icmp', type: 17, code: 0, mask: '255.255.255.0' }],
  ...discovery.map<LayerToBuild[]>((message) => [
    ethernet,
    { ...ipv6, source: 'fe80::1', hopLimit: 255 },
    { protocol: 'icmpv6', code: 0, ...message },
  ]),
  ...[128, 129].map<LayerToBuild[]>((type) => [
    ethernet,
    ipv6,
    { protocol: 'icmpv6', type, code: 0, identifier: 65535, sequence: 1 },
    payload,
  ]),
  ...[0, 1, 2, 3, 4].map<LayerToBuild[]>((code) => [ethernet, ipv6, { protocol: 'icmpv6', type: 1, code }, about6]),
  [ethernet, ipv6, { protocol: 'icmpv6', type: 2, code: 0, mtu: 1400 }, about6],
  [ethernet, ipv6, { protocol: 'icmpv6', type: 3, code: 0 }, about6],
  [ethernet, ipv6, { protocol: 'icmpv6', type: 4, code: 1, pointer: 6 }, about6],
  ...[ipv4, ipv6].map<LayerToBuild[]>((ip) => [
    ethernet,
    ip,
    { protocol: 'udp', sourcePort: 49152, destinationPort: 4789 },
    { protocol: 'vxlan', vni: 0xff_ffff },
    ethernet,
    ip,
    synchronize,
  ]),
];

encoders('a packet of each kind', async () => {
  assert.equal(await findings(byHand.map(build)), []);
});

encoders('random packets: tags, nested tunnels, options', async () => {
  const drawn = fc.sample(frames, { numRuns: 1500, seed: 1 }).map(build);
  assert.ok(
    new Set(
      drawn.map((data) =>
        dissect(data)
          .layers.map(({ protocol }) => protocol)
          .join(),
      ),
    ).size > 50,
  );
  assert.equal(await findings(drawn), []);
});

encoders('a pcapng file: interfaces, comments, directions, times', async () => {
  const file = join(directory, 'packets.pcapng');
  const writer = new PcapngWriter({ application: 'weft', comment: 'section' });
  const data = build(byHand[0]!);
  writeFileSync(
    file,
    Buffer.concat([
      writer.header(),
      writer.addInterface({ name: 'eth0' }),
      writer.addInterface({ name: 'tap0', description: 'a TAP' }),
      writer.packet({ timestamp: 1_700_000_000_123_456_789n, data, direction: 'inbound', comment: 'größer' }),
      writer.packet({ timestamp: 1n, data, interface: 1, direction: 'outbound', length: 2000 }),
    ]),
  );
  const show = (await tshark(file)).map((layers) =>
    layers.flatMap((layer) =>
      ['frame.interface_name', 'frame.time_epoch', 'frame.comment', 'frame.len', 'frame.packet_flags_direction']
        .map((name) => field(layer, name))
        .filter((value) => value !== undefined),
    ),
  );
  assert.equal(show, [
    ['größer', 'eth0', '1700000000.123456789', '42', '0x00000001'],
    ['tap0', '0.000000001', '2000', '0x00000002'],
  ]);
});

encoders.run();
