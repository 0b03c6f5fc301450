/** What the agent writes as DNS messages, as tshark reads it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { NameService, type NamedNetwork } from '../../src/host/names/name-service.js';
import { answerTo, question, recordOf, TYPES } from '../support/dns.js';
import { must } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';

const test = suiteWith('DNS messages and tshark', ['tshark']);

/** Packets of IPv4 from UDP port 53 (RFC 791, RFC 768), in a capture of raw IP packets. */
function capture(messages: readonly Uint8Array[]): Uint8Array {
  const file = [Buffer.alloc(24)];
  file[0]!.writeUInt32LE(0xa1b2c3d4, 0);
  file[0]!.writeUInt16LE(2, 4);
  file[0]!.writeUInt16LE(4, 6);
  file[0]!.writeUInt32LE(65_535, 16);
  file[0]!.writeUInt32LE(228, 20); // LINKTYPE_IPV4
  for (const message of messages) {
    const packet = Buffer.alloc(28 + message.length);
    packet.set([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 3]);
    packet.writeUInt16BE(packet.length, 2);
    packet.writeUInt16BE(53, 20);
    packet.writeUInt16BE(40_000, 22);
    packet.writeUInt16BE(8 + message.length, 24);
    packet.set(message, 28);
    const head = Buffer.alloc(16);
    head.writeUInt32LE(packet.length, 8);
    head.writeUInt32LE(packet.length, 12);
    file.push(head, packet);
  }
  return Buffer.concat(file);
}

const FIELDS = [
  'id',
  'flags',
  'count.answers',
  'qry.name',
  'a',
  'aaaa',
  'ptr.domain_name',
  'resp.ttl',
  'resp.ext_rcode',
];

/** The fields of each message, separated by `|`. */
async function read(messages: readonly Uint8Array[]): Promise<string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'weft-dns-'));
  try {
    const file = join(folder, 'dns.pcap');
    writeFileSync(file, capture(messages));
    const fields = [...FIELDS.map((name) => `dns.${name}`), '_ws.malformed', '_ws.expert.message'];
    const shown = fields.flatMap((name) => ['-e', name]);
    return (await must(['tshark', '-r', file, '-T', 'fields', '-E', 'separator=|', ...shown])).trimEnd().split('\n');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('answers', async () => {
  const names: Record<string, string[]> = { test: ['10.0.0.3', '10.0.0.4', 'fd00:1::3'] };
  const network: NamedNetwork = {
    ...{ name: 'uber-net', prefixes: ['10.0.0.0/24', 'fd00:1::/64'], internal: false },
    addressesOf: (name) => names[name] ?? [],
    namesOf: () => ['test.1', 'other_name'],
  };
  const records = Array.from({ length: 40 }, (_, i) => recordOf(TYPES.A, [192, 0, 2, i]));
  const forwarder = { ask: async ({ bytes }: { bytes: Uint8Array }) => answerTo(bytes, records) };
  const service = new NameService({ forwarder, random: () => 1 });
  const asked: Uint8Array[] = [
    question('test', TYPES.A),
    question('Test.Uber-Net', TYPES.AAAA, { edns: 1232 }),
    question('3.0.0.10.in-addr.arpa', TYPES.PTR),
    question('test', TYPES.MX, { id: 7, flags: 0 }),
    question('gone', TYPES.A),
    question('test', TYPES.A, { flags: 0x2900 }),
    question('test', TYPES.A, { class: 3 }),
    question('test', TYPES.A, { edns: 1232, version: 1 }),
    question('example.org', TYPES.A, { edns: 400 }),
    question('test', TYPES.ANY),
  ];
  const answers: Uint8Array[] = [];
  for (const bytes of asked) answers.push((await service.answer(bytes, [network], 'c', 1402))!);
  const lines = await read(answers);
  const more = Array.from({ length: 29 }, (_, i) => `192.0.2.${i}`).join(',');
  assert.equal(lines, [
    '0x1234|0x8580|2|test|10.0.0.4,10.0.0.3|||5,5|||',
    '0x1234|0x8580|1|Test.Uber-Net||fd00:1::3||5|0x00||',
    '0x1234|0x8580|2|3.0.0.10.in-addr.arpa|||test.1.uber-net,other_name.uber-net|5,5|||',
    '0x0007|0x8480|0|test|||||||',
    '0x1234|0x8583|0|gone|||||||',
    '0x1234|0xa984|||||||||', // of an update, tshark counts other things
    '0x1234|0x8185|0|test|||||||',
    '0x1234|0x8180|0|test|||||0x01||',
    `0x1234|0x8180|29|example.org|${more}|||${Array.from({ length: 29 }, () => 300).join(',')}|0x00||`,
    '0x1234|0x8580|1|test||||5|||',
  ]);
});

test.run();
