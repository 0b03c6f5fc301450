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

/** A binding as text. */
interface Item {
  ip: string;
  mac: string;
  location: number;
}

function textOf(found: neighbor.Binding | undefined): Item | undefined {
  return found && { ip: ipToText(found.ip), mac: macToText(found.mac), location: found.location };
}

test('a binding replaces the one of its IP address, which is gone then', () => {
  const table = new Neighbors();
  const [first, second] = [binding(C2.ip, C2.mac, 1), binding(C2.ip, C2.mac, 3)];
  table.add(first);
  table.add(second);
  assert.is(table.byIp(first.ip)?.location, 3);
  assert.is(table.byMac(first.mac)?.location, 3);
  assert.not(table.remove(first));
  assert.equal([...table.entries()], [{ ip: C2.ip, mac: C2.mac, location: 3 }]);
  assert.is(table.size, 1);
  table.add(binding(C2.ip, C1.mac, 3));
  assert.is(table.byMac(first.mac), undefined);
  assert.not(table.remove(second));
  assert.ok(table.remove(binding(C2.ip, C1.mac, 3)));
  assert.equal([table.size, table.byIp(first.ip), table.byMac(first.mac)], [0, undefined, undefined]);
});

test('one MAC address may have several IP addresses: it is where the newest one that is left says', () => {
  const table = new Neighbors();
  table.add(binding('10.0.0.4', C2.mac, 1));
  table.add(binding('10.0.0.5', C2.mac, 1));
  table.remove(binding('10.0.0.4', C2.mac, 1));
  assert.is(table.byMac(parseMac(C2.mac))?.ip, parseIpv4('10.0.0.5'));
  table.add(binding('10.0.0.4', C2.mac, 2));
  assert.is(table.byMac(parseMac(C2.mac))?.location, 2);
  table.add(binding('10.0.0.5', C2.mac, 1)); // added again
  assert.is(table.byMac(parseMac(C2.mac))?.location, 1);
  table.remove(binding('10.0.0.5', C2.mac, 1));
  assert.is(table.byMac(parseMac(C2.mac))?.location, 2);
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
    fc.property(fc.array(change, { maxLength: 40, size: 'max' }), (changes) => {
      const table = new Neighbors();
      let list: { ip: string; mac: string; location: number }[] = []; // the newest first
      for (const { add, ...one } of changes) {
        const rest = list.filter(
          ({ ip, mac, location }) => ip !== one.ip || (!add && (mac !== one.mac || location !== one.location)),
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
          assert.equal(
            textOf(found),
            list.find((other) => other.ip === text),
            text,
          );
        }
        for (const text of ['02:00:00:00:00:01', '02:00:00:00:00:02'])
          assert.is(table.byMac(parseMac(text))?.location, list.find(({ mac }) => mac === text)?.location);
      }
      const sorted = (entries: object[]): string[] => entries.map((one) => JSON.stringify(one)).sort();
      assert.equal(sorted([...table.entries()]), sorted(list));
    }),
    { numRuns: 300 },
  );
});

/** A table as the binding of each IP address, and the list of those of each MAC address, the newest first. */
class Model {
  readonly #lists = new Map<string, Item[]>();
  size = 0;

  of(address: string): readonly Item[] {
    return this.#lists.get(address) ?? [];
  }

  add(item: Item): void {
    for (const known of [...this.of(item.ip)]) this.remove(known);
    for (const address of [item.ip, item.mac]) this.#lists.set(address, [item, ...this.of(address)]);
    this.size++;
  }

  remove({ ip, mac, location }: Item): boolean {
    const isIt = (one: Item): boolean => one.ip === ip && one.mac === mac && one.location === location;
    const known = this.#lists.get(ip)?.some(isIt) === true;
    for (const address of [ip, mac]) {
      const rest = this.#lists.get(address)?.filter((one) => !isIt(one)) ?? [];
      if (rest.length > 0) this.#lists.set(address, rest);
      else this.#lists.delete(address);
    }
    if (known) this.size--;
    return known;
  }

  *entries(): Generator<neighbor.NeighborEntry> {
    for (const [address, items] of this.#lists) for (const item of items) if (item.ip === address) yield item;
  }
}

const nameOf = ({ ip, mac, location }: Item): string => `${ip} ${mac} ${location}`;

/** Of four IP addresses, one is IPv6, one is beyond 2^31; four of them have one MAC address, if `isShared`. */
function item(i: number, isShared: boolean, location: number): Item {
  const ip = i % 4 === 0 ? formatIpv6(Uint8Array.of(0xfd, ...Array<number>(13).fill(0), i >> 8, i & 255)) : '';
  const mac = macToText(0x0242_f000_0000 + (isShared ? i - (i % 4) : i));
  return { ip: ip === '' ? ipToText((i % 4 === 1 ? 0xc0a8_0000 : 0x0a00_0000) + i) : ip, mac, location };
}

test('a table of thousands is the lists of its bindings while it grows, and while it is listed', () => {
  // Each step is done for a range of addresses, so that a table grows from 16 slots to 16,384 or more, and is emptied again.
  const kinds = [
    'add',
    'add',
    'add',
    'remove',
    'remove newest',
    'remove next',
    'open',
    'read',
    'read',
    'clear',
  ] as const;
  const range = fc.tuple(fc.nat(5000), fc.oneof(fc.nat(10), fc.nat(300), fc.nat(3000)));
  const step = fc.tuple(fc.constantFrom(...kinds), range, fc.boolean(), fc.integer({ min: -1, max: 1 }));
  fc.assert(
    fc.property(fc.array(step, { minLength: 5, maxLength: 40, size: 'max' }), fc.integer(), (steps, seed) => {
      const table = new Neighbors(seed);
      const model = new Model();
      /** A listing in progress, what it has listed, and the bindings that exist since it began. */
      let listing: {
        entries: Iterator<neighbor.NeighborEntry>;
        listed: Map<string, number>;
        throughout: Set<string>;
      } | null = null;
      const read = (count: number): void => {
        for (let i = 0; i < count && listing !== null; i++) {
          const { done, value } = listing.entries.next();
          if (done !== true) {
            listing.listed.set(nameOf(value), (listing.listed.get(nameOf(value)) ?? 0) + 1);
            continue;
          }
          for (const name of listing.throughout) assert.is(listing.listed.get(name), 1, name);
          listing = null;
        }
      };
      const check = (one: Item): void => {
        const ip = parseIp(one.ip);
        assert.equal(textOf(typeof ip === 'number' ? table.byIpv4(ip) : table.byIpv6(ip, 0)), model.of(one.ip)[0]);
        assert.equal(textOf(table.byMac(parseMac(one.mac))), model.of(one.mac)[0]);
      };
      const remove = (one: Item): void => {
        assert.is(table.remove(binding(one.ip, one.mac, one.location)), model.remove(one));
        listing?.throughout.delete(nameOf(one));
      };
      for (const [kind, [from, length], isShared, location] of steps) {
        if (kind === 'open')
          listing = {
            entries: table.entries(),
            listed: new Map(),
            throughout: new Set([...model.entries()].map(nameOf)),
          };
        else if (kind === 'read') read(length);
        else if (kind === 'clear') for (const one of [...model.entries()]) remove(one);
        else
          for (let i = from; i <= from + length; i++) {
            const one = item(i, isShared, location);
            if (kind === 'remove') remove(one);
            else if (kind !== 'add') {
              const known = model.of(one.mac)[kind === 'remove newest' ? 0 : 1];
              if (known !== undefined) remove(known);
            } else {
              table.add(binding(one.ip, one.mac, one.location));
              for (const replaced of model.of(one.ip))
                if (nameOf(replaced) !== nameOf(one)) listing?.throughout.delete(nameOf(replaced));
              model.add(one);
            }
            // The one that has changed, and another one that may be on its way.
            if (i % 16 === 0) for (const other of [i, from + ((i * 7) % 3001)]) check(item(other, isShared, location));
          }
        assert.is(table.size, model.size);
      }
      read(Infinity);
      const sorted = (entries: Iterable<neighbor.NeighborEntry>): string[] => [...entries].map(nameOf).sort();
      assert.equal(sorted(table.entries()), sorted(model.entries()));
      for (const one of model.entries()) check(one);
    }),
    { numRuns: 30 },
  );
});

test('the address 0.0.0.0 is like any other while a table grows', () => {
  for (let seed = 0; seed < 512; seed++) {
    const table = new Neighbors(seed);
    // The entries of 768 bindings leave 2048 slots, a few with each further binding.
    for (let i = 1; i <= 840; i++) {
      if (i === 800) table.add({ ip: 0, mac: 4, location: 2 });
      table.add({ ip: i, mac: 0x0200_0000_0000 + i, location: 1 });
      assert.is(table.byIpv4(0)?.mac, i < 800 ? undefined : 4);
    }
  }
});

test('a binding that is added again while it is listed is listed once', () => {
  const table = new Neighbors();
  for (let i = 0; i < 9; i++) table.add({ ip: i, mac: 2 * i, location: i });
  const listed: number[] = [];
  for (const { location } of table.bindings()) {
    listed.push(location);
    table.add({ ip: 4, mac: 8, location: 4 });
    table.add({ ip: (location + 1) % 9, mac: 2 * ((location + 1) % 9), location: (location + 1) % 9 });
  }
  assert.equal(listed, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
});

test('bindings that come and go, also of one IP address, leave nothing behind', () => {
  const table = new Neighbors();
  for (let i = 0; i < 8; i++) table.add({ ip: i, mac: 2 * i, location: 1 });
  const before = table.octets;
  for (let i = 0; i < 100_000; i++) {
    const one = { ip: 9, mac: 100 + i, location: 1 };
    const other = { ip: 9, mac: 200_000 + i, location: 1 };
    table.add(one);
    table.add(other);
    table.remove(i % 2 === 0 ? one : other);
    table.remove(i % 2 === 0 ? other : one);
  }
  assert.ok(table.octets <= 2 * before, `${table.octets} octets instead of ${before}`);
});

test('a table of one to 200,000 bindings takes 40 to 110 octets for each, and an empty one nothing', () => {
  const table = new Neighbors(7);
  for (let i = 1; i <= 200_000; i++) {
    table.add({ ip: i, mac: 2 * i, location: 1 });
    if (i >= 4) assert.ok(table.octets >= 40 * i && table.octets <= 110 * i, `${table.octets} octets for ${i}`);
  }
  for (let i = 1; i <= 200_000; i++) table.remove({ ip: i, mac: 2 * i, location: 1 });
  assert.is(table.octets, 0);
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
