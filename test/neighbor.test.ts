import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  formatIpv6,
  formatMac,
  ipToText,
  macToText,
  parseIp,
  parseIpv4,
  parseIpv6,
  parseMac,
} from '../src/address/index.js';
import * as arp from '../src/arp/index.js';
import * as neighbor from '../src/neighbor/index.js';
import { hash128 } from '../src/wire/index.js';
import { DISCOVERY } from './support/discovery-frames.js';
import { C1, C2 } from './support/frames.js';
import { fromHex } from './support/hex.js';

const { LOCAL, Neighbors } = neighbor;

function binding(ip: string, mac: string, location: number): neighbor.Binding {
  return { ip: parseIp(ip), mac: parseMac(mac), location };
}

test('lookups by IP and by MAC return the newest binding, and the previous one after its removal', () => {
  const table = new Neighbors();
  const [first, second] = [binding(C2.ip, C2.mac, 1), binding(C2.ip, C2.mac, 3)];
  table.add(first);
  table.add(second);
  assert.is(table.byIp(first.ip)?.location, 3);
  assert.is(table.byMac(first.mac)?.location, 3);
  table.add(first); // added again: now it is the newest
  assert.is(table.size, 2);
  assert.is(table.byIp(first.ip)?.location, 1);
  assert.equal(
    [...table.entries()],
    [
      { ip: C2.ip, mac: C2.mac, location: 1, hidden: false },
      { ip: C2.ip, mac: C2.mac, location: 3, hidden: true },
    ],
  );
  assert.ok(table.remove(first));
  assert.not(table.remove(first));
  assert.is(table.byIp(first.ip)?.location, 3);
  assert.ok(table.remove(binding(C2.ip, C2.mac, 3)));
  assert.equal([table.size, table.byIp(first.ip), table.byMac(first.mac)], [0, undefined, undefined]);
});

test('one MAC address may have several IP addresses', () => {
  const table = new Neighbors();
  table.add(binding('10.0.0.4', C2.mac, 1));
  table.add(binding('10.0.0.5', C2.mac, 1));
  table.remove(binding('10.0.0.4', C2.mac, 1));
  assert.is(table.byMac(parseMac(C2.mac))?.ip, parseIpv4('10.0.0.5'));
});

/** IPv6 addresses whose hashes are the same: two of each. */
function colliding(): string[] {
  const byHash = new Map<number, string>();
  const found: string[] = [];
  const octets = parseIpv6('fd00::');
  for (let i = 0, state = 1; i < 1 << 17; i++) {
    for (let at = 8; at < 16; at++) octets[at] = (state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0) >>> 24;
    const hash = hash128(0, octets, 0);
    const other = byHash.get(hash);
    if (other !== undefined) found.push(other, formatIpv6(octets));
    byHash.set(hash, formatIpv6(octets));
  }
  return found;
}

test('a table of IPv4 and IPv6 addresses is the list of its bindings, also where hashes are the same', () => {
  const equal = colliding();
  assert.ok(equal.length >= 4, `${equal.length} addresses`);
  const ips = ['10.0.0.4', '255.0.0.1', 'fd00::4', '::a00:4', '::ffff:10.0.0.4', '4::', ...equal.slice(0, 4)];
  const change = fc.record({
    add: fc.boolean(),
    ip: fc.constantFrom(...ips),
    mac: fc.constantFrom('02:00:00:00:00:01', '02:00:00:00:00:02'),
    location: fc.integer({ min: -1, max: 1 }),
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
      const table = new Neighbors();
      let list: { ip: string; mac: string; location: number }[] = []; // the newest first
      for (const { add, ...one } of changes) {
        const rest = list.filter(
          ({ ip, mac, location }) => ip !== one.ip || mac !== one.mac || location !== one.location,
        );
        if (add) table.add(binding(one.ip, one.mac, one.location));
        else assert.is(table.remove(binding(one.ip, one.mac, one.location)), rest.length < list.length);
        list = add ? [one, ...rest] : rest;
        assert.is(table.size, list.length);
        for (const text of ips) {
          const ip = parseIp(text);
          const framed = typeof ip === 'number' ? null : Uint8Array.of(1, 2, 3, ...ip, 4);
          const found = framed === null ? table.byIpv4(ip as number) : table.byIpv6(framed, 3);
          assert.is(found, table.byIp(ip));
          const shown = found && { ip: ipToText(found.ip), mac: macToText(found.mac), location: found.location };
          assert.equal(
            shown,
            list.find((other) => other.ip === text),
            text,
          );
        }
        for (const text of ['02:00:00:00:00:01', '02:00:00:00:00:02'])
          assert.is(table.byMac(parseMac(text))?.location, list.find(({ mac }) => mac === text)?.location);
      }
      const byIp = (ip: string): object[] =>
        list.filter((one) => one.ip === ip).map((one, i) => ({ ...one, hidden: i > 0 }));
      const sorted = (entries: object[]): string[] => entries.map((one) => JSON.stringify(one)).sort();
      assert.equal(sorted([...table.entries()]), sorted(ips.flatMap(byIp)));
    }),
    { numRuns: 300 },
  );
});

// RFC 826 for requests; RFC 5227, sections 2.1.1 and 2.3, for probes and announcements.
const ZERO = '00:00:00:00:00:00';
const cases: [string, number, Partial<arp.EthernetArp>][] = [
  ['a request for a remote endpoint', neighbor.ANSWER, { targetIp: C2.ip }],
  ['a request for an unknown address', neighbor.UNKNOWN, { targetIp: '10.0.0.99' }],
  ['a request for an endpoint of this host', neighbor.ON_THIS_HOST, { targetIp: '10.0.0.7' }],
  ['a reply', neighbor.NOT_A_REQUEST, { operation: arp.REPLY, targetIp: C2.ip }],
  ['RARP', neighbor.NOT_A_REQUEST, { operation: 3, targetIp: C2.ip }],
  ['an announcement', neighbor.OWN_ADDRESS, { targetIp: C1.ip }],
  ['a probe for the address of another endpoint', neighbor.ANSWER, { senderIp: '0.0.0.0', targetIp: C2.ip }],
  ['a probe for an unused address', neighbor.UNKNOWN, { senderIp: '0.0.0.0', targetIp: '10.0.0.99' }],
  [
    'a probe for the sender’s own address',
    neighbor.OWN_ADDRESS,
    { senderIp: '0.0.0.0', senderMac: C2.mac, targetIp: C2.ip },
  ],
];
for (const [what, verdict, fields] of cases) {
  test(`judges ${what}`, () => {
    const table = new Neighbors();
    table.add(binding(C2.ip, C2.mac, 1));
    table.add(binding('10.0.0.7', '02:42:0a:00:00:07', LOCAL));
    const bytes = arp.encode({
      operation: arp.REQUEST,
      senderMac: C1.mac,
      senderIp: C1.ip,
      targetMac: ZERO,
      targetIp: C2.ip,
      ...fields,
    });
    assert.is(neighbor.judge(table, bytes, 0, bytes.length), verdict);
    assert.is(neighbor.judge(table, bytes, 0, bytes.length - 1), neighbor.NOT_A_REQUEST, 'cut short');
  });
}

test('detects a claim to the address of another endpoint', () => {
  const table = new Neighbors();
  table.add(binding(C2.ip, C2.mac, 1));
  const claim = (senderIp: string, senderMac: string): boolean => {
    const bytes = arp.encode({ operation: arp.REPLY, senderMac, senderIp, targetMac: ZERO, targetIp: C1.ip });
    return neighbor.contradicts(table, bytes, 0, bytes.length);
  };
  assert.ok(claim(C2.ip, C1.mac));
  assert.not(claim(C2.ip, C2.mac));
  assert.not(claim(C1.ip, C1.mac));
  assert.not(claim('0.0.0.0', C1.mac));
});

// RFC 4861, section 7.2.8, and RFC 4862, section 5.4, with the frames of scapy: MAC, IPv6 header and message in one.
const { answered, claims, ...others } = DISCOVERY;
const discovery: [string, string, number, boolean][] = [
  ['a solicitation for a remote endpoint', answered['solicitation']![0], neighbor.ANSWER, false],
  ['a probe for the address of another endpoint', answered['probe']![0], neighbor.ANSWER, false],
  ['a solicitation for an unknown address', others.unknown, neighbor.UNKNOWN, false],
  ['a solicitation for an endpoint of this host', others.local, neighbor.ON_THIS_HOST, false],
  ['a probe for the sender’s own address', others['own probe'], neighbor.OWN_ADDRESS, false],
  ['an advertisement', others.announcement, neighbor.NOT_A_REQUEST, false],
  ['a claim to the address of another endpoint', claims['advertisement']!, neighbor.NOT_A_REQUEST, true],
  ['a claim by a solicitation', claims['solicitation']!, neighbor.ANSWER, true],
];
for (const [what, frame, verdict, isClaim] of discovery) {
  test(`judges neighbor discovery: ${what}`, () => {
    const table = new Neighbors(7);
    table.add(binding('fd00::3', C1.mac, 1));
    table.add(binding('fd00::4', C2.mac, 1));
    table.add(binding('fd00::9', '02:42:0a:00:00:19', LOCAL));
    const bytes = fromHex(frame);
    const at = neighbor.findDiscovery(bytes, 14, bytes.length);
    assert.is(at, 54);
    const source = parseMac(formatMac(bytes, 6));
    assert.is(neighbor.judgeDiscovery(table, bytes, 14, at, source), verdict);
    assert.is(neighbor.contradictsDiscovery(table, bytes, 14, at, source), isClaim);
    assert.is(neighbor.findDiscovery(bytes, 14, bytes.length - 1), -1, 'cut short');
  });
}

test.run();
