/** The addresses of a network, against a naive model of sets. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { IpamError, NetworkAddresses, planSubnet, type SubnetRequest } from '../src/ipam/index.js';
import { processorTime } from './support/processor-time.js';

/** The words of a refusal, with its code. */
function refusal(operation: () => unknown): string {
  try {
    operation();
  } catch (error) {
    if (error instanceof IpamError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return 'no refusal';
}

/** A subnet, and its addresses, all below one number, as text. */
interface Case {
  request: SubnetRequest;
  text: (host: number) => string;
  size: number;
  /** The hosts that are given automatically: the first, and how many. */
  range: [first: number, count: number];
  reserved: number[];
}

const CASES: Case[] = [
  {
    request: { subnet: '10.9.8.16/28' },
    text: (host) => `10.9.8.${16 + host}`,
    size: 16,
    range: [0, 16],
    reserved: [0, 1, 15],
  },
  {
    request: {
      subnet: '10.9.8.0/25',
      gateway: '10.9.8.70',
      ipRange: '10.9.8.64/28',
      aux: { a: '10.9.8.66', b: '10.9.8.2' },
    },
    text: (host) => `10.9.8.${host}`,
    size: 128,
    range: [64, 16],
    reserved: [0, 127, 70, 66, 2],
  },
  {
    request: { subnet: '10.9.8.0/24', ipRange: '10.9.8.192/26' },
    text: (host) => `10.9.8.${host}`,
    size: 256,
    range: [192, 64],
    reserved: [0, 1, 255],
  },
  {
    request: { subnet: 'fd00::f0/124' },
    text: (host) => `fd00::f${host.toString(16)}`,
    size: 16,
    range: [0, 16],
    reserved: [0, 1],
  },
];

/** What the rules say, by trying one address after the other. */
class Model {
  readonly owners = new Map<number, string>();
  readonly holds = new Map<number, number>();
  last = -1;

  constructor(readonly of: Case) {}

  /** Those given automatically, in the order in which they are tried. */
  get order(): number[] {
    const [first, count] = this.of.range;
    const all = Array.from({ length: count }, (_, i) => first + i);
    return [...all.filter((host) => host > this.last), ...all.filter((host) => host <= this.last)];
  }

  /** All addresses that calls in a row give. */
  free(now: number): number[] {
    return this.order.filter(
      (host) =>
        !this.owners.has(host) && !this.of.reserved.includes(host) && !((this.holds.get(host) ?? -Infinity) > now),
    );
  }
}

type Step =
  | { do: 'give'; count: number }
  | { do: 'request'; host: number; again: boolean }
  | { do: 'release'; which: number; hold: number }
  | { do: 'forget'; which: number }
  | { do: 'wait'; time: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('give' as const), count: fc.integer({ min: 1, max: 20 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('request' as const), host: fc.nat(255), again: fc.boolean() }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant('release' as const), which: fc.nat(255), hold: fc.nat(100) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('forget' as const), which: fc.nat(255) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('wait' as const), time: fc.nat(60) }) },
);

for (const one of CASES)
  test(`${JSON.stringify(one.request)}: the addresses given are those of the model`, () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
        const addresses = new NetworkAddresses([planSubnet(one.request)]);
        const model = new Model(one);
        let now = 1000;
        let revision = 0;
        for (const each of steps) {
          revision += 1;
          if (each.do === 'wait') now += each.time;
          else if (each.do === 'give') {
            const expected = model.free(now).slice(0, each.count);
            const given: string[] = [];
            let after: string | undefined;
            let stopped = '';
            for (let i = 0; i < each.count && stopped === ''; i++)
              stopped = refusal(() => given.push((after = addresses.next(now, { after })))).replace('no refusal', '');
            assert.equal(given, expected.map(one.text));
            assert.is(stopped.startsWith('exhausted: '), expected.length < each.count);
            // Half of them are taken, like those of a plan that was given up.
            for (const host of expected.slice(0, Math.ceil(each.count / 2))) {
              revision += 1;
              addresses.take(one.text(host), `endpoint ${revision}`, revision);
              model.owners.set(host, `endpoint ${revision}`);
              model.holds.delete(host);
              model.last = host;
            }
          } else if (each.do === 'request') {
            const held = [...model.holds.keys()];
            const host = (each.again ? held[each.host % held.length] : undefined) ?? each.host % one.size;
            const text = one.text(host);
            const owner = model.owners.get(host);
            const answer = refusal(() => assert.is(addresses.request(text), text));
            if (one.reserved.includes(host)) assert.match(answer, /^invalid: /);
            else if (owner !== undefined)
              assert.ok(answer.startsWith(`in-use: ${text} is in use by ${owner};`), answer);
            else {
              assert.is(answer, 'no refusal');
              addresses.take(text, `endpoint ${revision}`);
              model.owners.set(host, `endpoint ${revision}`);
              model.holds.delete(host);
            }
          } else {
            const hosts = [...model.owners.keys(), ...model.holds.keys()];
            const host = hosts[each.which % hosts.length];
            if (host === undefined) continue;
            model.owners.delete(host);
            model.holds.delete(host);
            if (each.do === 'forget') addresses.forget(one.text(host));
            else {
              model.holds.set(host, now + each.hold);
              addresses.release(one.text(host), now + each.hold);
            }
          }
          assert.is(addresses.size, model.owners.size);
          for (let host = 0; host < one.size; host++)
            assert.is(addresses.ownerOf(one.text(host)), model.owners.get(host));
        }
      }),
      { numRuns: 300 },
    );
  });

test('the state does not depend on the order in which a store lists it', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(200), { minLength: 1, maxLength: 40 }),
      fc.infiniteStream(fc.nat()),
      (hosts, random) => {
        const facts = [...new Set(hosts)].map((host, i) => ({
          host: host + 2,
          revision: 1 + (i >> 1),
          held: i % 3 === 0,
        }));
        const shuffled = facts
          .map((fact) => ({ fact, key: random.next().value as number }))
          .sort((a, b) => a.key - b.key)
          .map(({ fact }) => fact);
        const [a, b] = [facts, shuffled].map((list) => {
          const addresses = new NetworkAddresses([planSubnet({ subnet: '10.0.0.0/24' })]);
          for (const { host, revision, held } of list)
            if (held) addresses.release(`10.0.0.${host}`, revision);
            else addresses.take(`10.0.0.${host}`, 'endpoint', revision);
          return Array.from({ length: 20 }, (_, now) => addresses.next(now));
        });
        assert.equal(a, b);
      },
    ),
  );
});

test('the addresses of a Docker walk-through', () => {
  const addresses = new NetworkAddresses([planSubnet({ subnet: '10.0.0.0/24' })]);
  assert.is(addresses.next(0), '10.0.0.2', 'the gateway has .1');
  addresses.take('10.0.0.2', 'endpoint test.1', 1);
  addresses.take('10.0.0.3', 'endpoint test.2', 2);
  addresses.release('10.0.0.3', 60_000);
  assert.is(addresses.next(1), '10.0.0.4', 'not the one that was just released');
  assert.is(addresses.next(100_000), '10.0.0.4', 'nor when its hold is over');
  assert.is(addresses.request('10.0.0.3'), '10.0.0.3', 'a person may ask for it at once');
  addresses.take('10.0.0.200', 'endpoint p1');
  assert.is(addresses.next(0), '10.0.0.4', 'a requested address does not move the round');
  assert.equal(
    ['10.0.0.0', '10.0.0.1', '10.0.0.2', '10.0.0.255', '10.0.1.5', '10.0.0.05', 'fd00::1'].map((text) =>
      refusal(() => addresses.request(text)),
    ),
    [
      'invalid: 10.0.0.0 is the network address of 10.0.0.0/24; choose another address',
      'invalid: 10.0.0.1 is the gateway of 10.0.0.0/24; choose another address',
      'in-use: 10.0.0.2 is in use by endpoint test.1; choose another address',
      'invalid: 10.0.0.255 is the broadcast address of 10.0.0.0/24; choose another address',
      'invalid: 10.0.1.5 is in no subnet of the network; choose an address in 10.0.0.0/24',
      'invalid: "10.0.0.05" is not an IPv4 address; write it as 10.0.0.4',
      'invalid: fd00::1 is in no subnet of the network; choose an address in 10.0.0.0/24',
    ],
  );
});

test('an auxiliary address is refused by its name', () => {
  const addresses = new NetworkAddresses([planSubnet({ subnet: '10.0.0.0/24', aux: { 'my-router': '10.0.0.5' } })]);
  assert.is(
    refusal(() => addresses.request('10.0.0.5')),
    'invalid: 10.0.0.5 is reserved as the auxiliary address my-router; choose another address',
  );
});

test('several subnets are filled one after the other, each family by itself', () => {
  const addresses = new NetworkAddresses(
    [{ subnet: '10.1.1.0/30' }, { subnet: 'fd00::/64' }, { subnet: '11.1.1.0/30' }].map(planSubnet),
  );
  assert.is(addresses.next(0), '10.1.1.2');
  assert.is(addresses.next(0, { after: '10.1.1.2' }), '11.1.1.2');
  assert.is(addresses.next(0, { family: 6 }), 'fd00::2');
  addresses.take('10.1.1.2', 'endpoint a', 1);
  assert.is(addresses.next(0), '11.1.1.2');
  addresses.release('10.1.1.2', 2500);
  addresses.take('11.1.1.2', 'endpoint b', 2);
  assert.is(
    refusal(() => addresses.next(0)),
    'exhausted: no address is free in 10.1.1.0/30 (0 in use and 1 released a short time ago), 11.1.1.0/30 (1 in use); ' +
      'wait 3 s for a released one, remove an endpoint, or create a network with a larger subnet',
  );
  assert.is(addresses.next(2500), '10.1.1.2', 'nothing else is left, and the hold is over');
  assert.is(addresses.subnetOf('11.1.1.2')?.subnet, '11.1.1.0/30');
  assert.is(addresses.subnetOf('12.1.1.2'), undefined);
  const six = new NetworkAddresses([planSubnet({ subnet: 'fd00::/64' })]);
  assert.is(six.next(0), 'fd00::2', 'the family of the first subnet');
  assert.is(
    refusal(() => six.next(0, { family: 4 })),
    'invalid: the network has no IPv4 subnet; create one that has',
  );
});

test('of a /64, any address can be requested, and the low ones are given', () => {
  const addresses = new NetworkAddresses([planSubnet({ subnet: 'fd00::/64', gateway: 'fd00::ffff:ffff:ffff:ffff' })]);
  assert.is(addresses.request('FD00::1:2:3:4'), 'fd00::1:2:3:4');
  addresses.take('fd00::1:2:3:4', 'endpoint a');
  assert.match(
    refusal(() => addresses.request('fd00::1:2:3:4')),
    'in use by endpoint a',
  );
  addresses.release('fd00::1:2:3:4', 10);
  assert.is(addresses.request('fd00::1:2:3:4'), 'fd00::1:2:3:4');
  assert.is(addresses.next(0), 'fd00::1');
  assert.match(
    refusal(() => addresses.request('fd00::')),
    'anycast',
  );
  assert.match(
    refusal(() => addresses.request('fd00::ffff:ffff:ffff:ffff')),
    'the gateway',
  );
  addresses.take('fd00::ffff:ffff', 'endpoint b', 1);
  assert.is(addresses.next(0), 'fd00::1', 'after the last one that is given comes the first');
});

test('in a full /8 an address takes no longer than in an empty one', () => {
  const COUNT = 20_000;
  const text = (host: number): string => `10.${host >>> 16}.${(host >>> 8) & 255}.${host & 255}`;
  const run = (addresses: NetworkAddresses): number =>
    processorTime(() => {
      for (let i = 0; i < COUNT; i++) {
        const address = addresses.next(0);
        addresses.take(address, 'endpoint', 2 + i);
        addresses.release(address, 0);
      }
    });
  const empty = new NetworkAddresses([planSubnet({ subnet: '10.0.0.0/8' })]);
  const full = new NetworkAddresses([planSubnet({ subnet: '10.0.0.0/8' })]);
  for (let host = 2; host < 1_000_002; host++) full.take(text(host), 'endpoint', 1);
  run(empty);
  const [without, within] = [run(empty), run(full)];
  // A scan of the million would take a hundred times as long.
  assert.ok(within < 10 * without + 50, `${COUNT} addresses: ${within} ms, and ${without} ms in an empty subnet`);

  // All of a /16 in use but a block: again and again the round comes past all others.
  const block = new NetworkAddresses([planSubnet({ subnet: '10.0.0.0/16' })]);
  for (let host = 2; host < 65_535; host++) if (host < 40_000 || host >= 41_000) block.take(text(host), 'endpoint', 1);
  assert.is(block.next(0), text(40_000));
  const around = run(block);
  assert.ok(around < 10 * without + 50, `${COUNT} addresses: ${around} ms around all others, ${without} ms without`);
});

test.run();
