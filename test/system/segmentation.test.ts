/**
 * Compares the segmenter with Linux and tshark: the kernel receives the same super-frame from a TAP with offloads and
 * forwards it to one without, so that it must segment it.
 */
import { closeSync, mkdtempSync, readSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import * as ethernet from '../../src/ethernet/index.js';
import { IFF_VNET_HDR, ip, openTap } from '../../src/host/index.js';
import * as ipv4 from '../../src/ipv4/index.js';
import * as ipv6 from '../../src/ipv6/index.js';
import { PcapWriter } from '../../src/pcap/index.js';
import * as tcp from '../../src/tcp/index.js';
import * as udp from '../../src/udp/index.js';
import * as virtio from '../../src/virtio/index.js';
import { fold } from '../../src/wire/index.js';
import { hex } from '../support/hex.js';
import { suiteWith } from '../support/needs.js';
import { coalesceAll, segmentAll } from '../support/offload.js';
import { field, tshark } from '../support/tshark.js';

interface Case {
  name: string;
  type: number;
  frame: Uint8Array;
  /** Offsets of the TCP or UDP header and of the payload. */
  start: number;
  header: number;
}

const V4 = { source: '10.0.0.3', destination: '10.0.0.4' };
const V6 = { source: 'fd00::3', destination: 'fd00::4' };
const SIZE = 1000;
const STAMPS = [
  { kind: 1, data: new Uint8Array(0) },
  { kind: 1, data: new Uint8Array(0) },
  { kind: tcp.OPTION_TIMESTAMPS, data: Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 2) },
];

function superFrame(name: string, type: number, flags: number, vlan = false, more: Partial<ipv4.Ipv4> = {}): Case {
  const six = type === virtio.GSO_TCPV6 || name.includes('IPv6');
  const payload = Uint8Array.from({ length: 4321 }, (_, i) => Math.imul(i, 2_654_435_761) >>> 24);
  const isUdp = type === virtio.GSO_UDP_L4;
  const upper = isUdp
    ? udp.encode({ sourcePort: 40_000, destinationPort: 5000, payload })
    : tcp.encode({
        sourcePort: 40_000,
        destinationPort: 5000,
        sequence: 0xffff_fc00,
        acknowledgment: 5,
        flags,
        window: 500,
        options: STAMPS,
        checksum: 0,
        payload,
      });
  const protocol = isUdp ? udp.PROTOCOL : tcp.PROTOCOL;
  let bytes = six
    ? ipv6.encode({ ...V6, nextHeader: protocol, flowLabel: 5, ecn: 2, payload: upper })
    : ipv4.encode({ ...V4, protocol, identification: 0xfffe, ecn: 2, payload: upper, ...more });
  const inner = bytes.length - upper.length;
  const sum = (six ? ipv6 : ipv4).pseudoHeaderSum(bytes, 0, protocol, upper.length);
  (isUdp ? udp : tcp).setChecksum(bytes, inner, fold(sum));
  let etherType: number = six ? ethernet.TYPE_IPV6 : ethernet.TYPE_IPV4;
  if (vlan) {
    bytes = ethernet.vlan.encode({ id: 100, etherType, payload: bytes });
    etherType = ethernet.TYPE_VLAN;
  }
  const frame = ethernet.encode({
    destination: '02:42:0a:00:00:04',
    source: '02:42:0a:00:00:03',
    etherType,
    payload: bytes,
  });
  return { name, type, frame, start: frame.length - upper.length, header: frame.length - payload.length };
}

const { FLAG_ACK, FLAG_CWR, FLAG_FIN, FLAG_PSH } = tcp;
const ECN = virtio.GSO_TCPV4 | virtio.GSO_ECN;
const CASES = [
  superFrame('TCP over IPv4', virtio.GSO_TCPV4, FLAG_ACK),
  superFrame('TCP over IPv4 with DF', virtio.GSO_TCPV4, FLAG_ACK, false, { dontFragment: true }),
  superFrame('TCP over IPv4 with options', virtio.GSO_TCPV4, FLAG_ACK, false, {
    options: [{ kind: 148, data: Uint8Array.of(0, 0) }],
  }),
  superFrame('PSH and FIN', virtio.GSO_TCPV4, FLAG_ACK | FLAG_PSH | FLAG_FIN),
  superFrame('CWR', ECN, FLAG_ACK | FLAG_CWR | FLAG_PSH),
  superFrame('TCP over IPv6', virtio.GSO_TCPV6, FLAG_ACK | FLAG_PSH),
  superFrame('TCP in a VLAN', virtio.GSO_TCPV4, FLAG_ACK | FLAG_PSH, true),
];
const DATAGRAMS = [
  superFrame('UDP over IPv4', virtio.GSO_UDP_L4, 0),
  superFrame('UDP over IPv6', virtio.GSO_UDP_L4, 0),
];

function ours({ frame, type }: Case): Uint8Array[] {
  const frames = segmentAll(frame, type, SIZE);
  if (typeof frames === 'number') throw new Error(`refused: ${frames}`);
  return frames;
}

const kernel = suiteWith('segmentation by the kernel', ['root', 'tun', 'ip']);
for (const one of [...CASES, ...DATAGRAMS])
  kernel(`${one.name}: the same segments as Linux`, async () => {
    const netns = `weft-seg-${process.pid}`;
    await ip(['netns', 'add', netns]);
    const taps = [await openTap('weftseg%d', IFF_VNET_HDR), await openTap('weftseg%d')] as const;
    try {
      await ip(['link', 'add', 'br0', 'type', 'bridge', 'mcast_snooping', '0'], netns);
      for (const { name } of taps) {
        await ip(['link', 'set', name, 'netns', netns]);
        await ip(['link', 'set', name, 'master', 'br0', 'addrgenmode', 'none', 'up'], netns);
      }
      await ip(['link', 'set', 'br0', 'addrgenmode', 'none', 'up'], netns);
      const header = new Uint8Array(virtio.HEADER_LENGTH);
      const field = (one.type & ~virtio.GSO_ECN) === virtio.GSO_UDP_L4 ? 6 : 16;
      virtio.writeHeader(header, 0, one.type, one.header, SIZE, one.start, field);
      writeSync(taps[0].fd, Buffer.concat([header, one.frame]));
      const expected = ours(one).map(hex);
      const seen: string[] = [];
      const buffer = Buffer.alloc(70_000);
      for (let turns = 0; turns < 200 && seen.length < expected.length; turns++) {
        try {
          const length = readSync(taps[1].fd, buffer);
          // Ignores the bridge's own frames.
          if (hex(buffer.subarray(6, 12)) === '02420a000003') seen.push(hex(buffer.subarray(0, length)));
        } catch (error) {
          if ((error as { code?: string }).code !== 'EAGAIN') throw error;
          await sleep(10);
        }
      }
      assert.equal(seen, expected);
    } finally {
      for (const { fd } of taps) closeSync(fd);
      await ip(['netns', 'del', netns]);
    }
  });
kernel.run();

const dissected = suiteWith('segmentation, to tshark', ['tshark']);
dissected('every segment has correct checksums, and TCP sequence numbers are contiguous', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'weft-segments-'));
  try {
    const all = [...CASES, ...DATAGRAMS];
    const frames = all.flatMap(ours);
    const file = join(directory, 'segments.pcap');
    const writer = new PcapWriter();
    const records = frames.map((data, i) => writer.packet({ timestamp: BigInt(i), data }));
    writeFileSync(file, Buffer.concat([writer.header(), ...records]));
    const packets = await tshark(
      file,
      ['ip', 'udp', 'tcp'].flatMap((name) => ['-o', `${name}.check_checksum:TRUE`]),
    );
    assert.is(packets.length, all.length * 5);
    const GOOD = '1';
    for (const [i, layers] of packets.entries()) {
      const { name } = all[Math.floor(i / 5)]!;
      const find = (key: string): string | undefined => {
        for (const layer of layers) {
          const value = field(layer, key);
          if (value !== undefined) return value;
        }
        return undefined;
      };
      const isUdp = name.startsWith('UDP');
      if (!name.includes('IPv6')) {
        assert.is(find('ip.checksum.status'), GOOD, name);
        assert.is(Number(find('ip.id')), (0xfffe + (i % 5)) & 0xffff, name);
      }
      assert.is(find(isUdp ? 'udp.checksum.status' : 'tcp.checksum.status'), GOOD, name);
      if (!isUdp) assert.is(Number(find('tcp.seq_raw')), (0xffff_fc00 + (i % 5) * SIZE) % 2 ** 32, name);
      const length = i % 5 === 4 ? 321 : SIZE;
      assert.is(Number(find(isUdp ? 'udp.length' : 'tcp.len')), isUdp ? length + 8 : length, name);
    }
    for (const one of all) assert.is(coalesceAll(ours(one), { udp: true }).out.length, 1, one.name);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
dissected.run();
