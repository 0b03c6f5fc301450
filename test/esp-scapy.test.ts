/** ESP in UDP beside two other implementations: scapy opens what weft seals, and seals what weft opens; tshark decrypts it. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { Inbound, Outbound, PacketList, FRONT, PORT, type Aead, type KeyParameters } from '../src/esp/index.js';
import { AEADS, loadAead } from '../src/host/esp/load.js';
import { build } from '../src/packet/index.js';
import { LINKTYPE_RAW, PcapWriter } from '../src/pcap/index.js';
import { fromHex, hex } from './support/hex.js';
import { suiteWith } from './support/needs.js';
import { field, isMalformed, tshark } from './support/tshark.js';

const SCRIPT = fileURLToPath(new URL('support/esp-scapy.py', import.meta.url));
const [LOCAL, REMOTE] = ['172.31.1.1', '172.31.1.2'];
const UDP = 17;
const HALF = 2 ** 32;
const ROOM = 4096;

/** Octets that look random, the same in each run. */
function octets(length: number, seed: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => Math.imul(i + 1, 0x9e37_79b1 + seed) >>> 13);
}

/** A UDP header, a VXLAN header and an ARP frame, with octets behind it so that the padding has each length. */
function payload(vni: number, target: string, behind: number): Uint8Array {
  return build([
    { protocol: 'ipv4', source: LOCAL, destination: REMOTE, ttl: 64 },
    { protocol: 'udp', sourcePort: 50_000, destinationPort: 4789 },
    { protocol: 'vxlan', vni },
    { protocol: 'ethernet', source: '02:42:0a:00:00:01', destination: 'ff:ff:ff:ff:ff:ff' },
    {
      protocol: 'arp',
      operation: 1,
      senderMac: '02:42:0a:00:00:01',
      senderIp: '10.0.0.1',
      targetMac: '00:00:00:00:00:00',
      targetIp: target,
    },
    { protocol: 'trailer', bytes: new Uint8Array(behind), behind: 3 },
  ]).subarray(20);
}

/** An ESP packet in UDP and IPv4. */
function inUdp(esp: Uint8Array): Uint8Array {
  return build([
    { protocol: 'ipv4', source: LOCAL, destination: REMOTE, ttl: 64 },
    { protocol: 'udp', sourcePort: PORT, destinationPort: PORT, checksum: 0 },
    { protocol: 'payload', bytes: esp },
  ]);
}

interface Case {
  aead: Aead;
  buffer: Uint8Array;
  parameters: KeyParameters;
  spi: number;
  /** The sequence number of the last packet before. */
  last: number;
}

/** All implementations, both lengths of keys, without extended sequence numbers, and with them: new, around 2^32, and far beyond. */
async function cases(): Promise<Case[]> {
  const all: Case[] = [];
  for (const name of AEADS)
    for (const length of [16, 32])
      for (const last of [null, 0, HALF - 2, 7 * HALF + 0x8000_0000]) {
        const buffer = new Uint8Array(ROOM);
        const seed = all.length;
        const parameters = {
          key: octets(length, seed),
          salt: octets(4, seed + 1000),
          icv: 16,
          extended: last !== null,
        } as const;
        const aead = await loadAead(buffer, undefined, name);
        all.push({ aead, buffer, parameters, spi: 0xc000_0000 + seed, last: last ?? 0 });
      }
  return all;
}

interface Sealed {
  packet: Uint8Array;
  inner: Uint8Array;
  vni: number;
  target: string;
  sequence: number;
}

/** Four packets, in one list. */
function sealWith({ aead, buffer, parameters, spi, last }: Case): Sealed[] {
  const outbound = new Outbound(spi, parameters.icv, aead.key(parameters), last);
  const list = new PacketList(4);
  const placed = [0, 1, 2, 3].map((i) => {
    const [vni, target] = [4096 + i, `10.0.0.${i + 2}`];
    const inner = payload(vni, target, i);
    const start = i * 256 + i; // also at odd places
    buffer.set(inner, start + FRONT);
    const end = outbound.add(buffer, start, start + FRONT + inner.length, UDP, list);
    return { start, end, inner, vni, target, sequence: last + 1 + i };
  });
  outbound.seal(list);
  outbound.free();
  return placed.map(({ start, end, ...rest }) => ({ ...rest, packet: inUdp(buffer.slice(start, end)) }));
}

interface Job {
  key: string;
  salt: string;
  spi: number;
  esn: number | null;
}
interface Opened {
  refused?: boolean;
  packet: string;
  layers: string[];
  vni: number;
  target: string;
}
interface ByScapy {
  packet: string;
  payload: string;
}

function scapy(jobs: { open: object[]; seal: object[] }): { open: Opened[]; seal: ByScapy[] } {
  // Debian's Python, which has the package.
  const { status, stdout, stderr } = spawnSync('/usr/bin/python3', [SCRIPT], {
    input: JSON.stringify(jobs),
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  if (status !== 0) throw new Error(`esp-scapy.py: ${stderr}`);
  return JSON.parse(stdout) as { open: Opened[]; seal: ByScapy[] };
}

function jobOf({ parameters, spi }: Case, sequence: number): Job {
  const { key, salt, extended } = parameters;
  return { key: hex(key), salt: hex(salt), spi, esn: extended ? Math.floor(sequence / HALF) : null };
}

const test = suiteWith('ESP beside scapy', ['scapy']);

test('scapy opens what every implementation seals, and refuses it after a change, or with another high half', async () => {
  const sealed = (await cases()).flatMap((one) => sealWith(one).map((packet) => ({ one, ...packet })));
  const jobs = sealed.map(({ one, packet, sequence }) => ({ ...jobOf(one, sequence), packet: hex(packet) }));
  const changed = sealed[1]!.packet.slice();
  changed[60]! ^= 1;
  const extended = sealed.findIndex(({ one }) => one.last > HALF);
  const others = [
    { ...jobs[1]!, packet: hex(changed) },
    { ...jobs[extended]!, esn: jobs[extended]!.esn! + 1 },
  ];
  const { open } = scapy({ open: [...jobs, ...others], seal: [] });
  assert.is(open.length, AEADS.length * 2 * 4 * 4 + 2);
  for (const [i, { inner, vni, target }] of sealed.entries()) {
    const { packet, ...rest } = open[i]!;
    const layers = ['IP', 'UDP', 'VXLAN', 'Ether', 'ARP', ...(i % 4 === 0 ? [] : ['Padding'])];
    assert.equal(rest, { layers, vni, target }, `packet ${i} of ${sealed[i]!.one.aead.name}`);
    assert.is(packet.slice(40), hex(inner));
  }
  for (const answer of open.slice(sealed.length)) assert.equal(answer, { refused: true });
});

test('every implementation opens what scapy seals', async () => {
  const all = await cases();
  const jobs = all.flatMap((one) =>
    [0, 1, 2, 3].map((i) => {
      const sequence = one.last + 1 + i;
      // scapy takes an IV of its own in the second half: a receiver does not depend on how the sender makes it.
      const iv = i < 2 ? sequence.toString(16).padStart(16, '0') : hex(octets(8, sequence % 1000));
      const fields = { sequence: sequence % HALF, iv, vni: 70 + i, text: hex(octets(40 + i, i)) };
      return { one, number: sequence, job: { ...jobOf(one, sequence), ...fields } };
    }),
  );
  const { seal } = scapy({ open: [], seal: jobs.map(({ job }) => job) });
  assert.is(seal.length, jobs.length);
  for (const [i, { one, number }] of jobs.entries()) {
    const { aead, buffer, parameters, spi } = one;
    const inbound = new Inbound(spi, parameters.icv, aead.key(parameters), parameters.extended);
    inbound.window.top = number - 1;
    const { packet, payload: plain } = seal[i]!;
    const esp = fromHex(packet).subarray(28);
    buffer.set(esp, 5);
    const list = new PacketList(1);
    assert.is(inbound.add(buffer, 5, 5 + esp.length, list), 0);
    const answers: unknown[] = [];
    inbound.open(buffer, list, {
      opened: (_, start, end, next) => void answers.push([hex(buffer.subarray(start, end)), next]),
      refused: (_, why) => void answers.push(why),
    });
    inbound.free();
    assert.equal(answers, [[plain, UDP]], `packet ${i} for ${aead.name}`);
  }
});

test.run();

const wireshark = suiteWith('ESP beside tshark', ['tshark']);

wireshark('tshark decrypts what every implementation seals, down to ARP, without an error', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'weft-esp-'));
  try {
    const all = await cases();
    const sealed = all.flatMap((one) => sealWith(one).map((packet) => ({ one, ...packet })));
    const file = join(directory, 'sealed.pcap');
    const writer = new PcapWriter({ linkType: LINKTYPE_RAW });
    const records = sealed.map(({ packet }, i) => writer.packet({ timestamp: BigInt(i), data: packet }));
    writeFileSync(file, Buffer.concat([writer.header(), ...records]));
    const associations = all.map(({ parameters: { key, salt }, spi }) => {
      const columns = ['IPv4', LOCAL, REMOTE, `0x${spi.toString(16)}`, 'AES-GCM with 16 octet ICV [RFC4106]'];
      return [...columns, `0x${hex(key)}${hex(salt)}`, 'NULL', ''].map((column) => `"${column}"`).join(',');
    });
    const options = ['esp.enable_encryption_decode:TRUE', 'esp.enable_authentication_check:TRUE'];
    const tables = associations.map((one) => `uat:esp_sa:${one}`);
    const packets = await tshark(
      file,
      [...options, ...tables].flatMap((option) => ['-o', option]),
    );
    assert.is(packets.length, sealed.length);
    for (const [i, layers] of packets.entries()) {
      const { one, vni, target } = sealed[i]!;
      const text = `packet ${i} of ${one.aead.name}`;
      const names = layers.map(({ name }) => name);
      assert.equal(names, ['frame', 'raw', 'ip', 'udp', 'udpencap', 'esp', 'udp', 'vxlan', 'eth', 'arp'], text);
      const of = (name: string, key: string): string | undefined =>
        field(
          layers.find((one) => one.name === name)!,
          key,
        );
      assert.not.ok(layers.some(isMalformed), text);
      assert.is(of('vxlan', 'vxlan.vni'), String(vni), text);
      assert.is(of('arp', 'arp.dst.proto_ipv4'), target, text);
      // tshark 4.0 checks the ICV as if sequence numbers had 32 bits. scapy checks the others.
      if (!one.parameters.extended) assert.is(of('esp', 'esp.icv_good'), '1', text);
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});

wireshark.run();
