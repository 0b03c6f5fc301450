/** Answers to the questions of endpoints. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { TTL } from '../src/host/names/message.js';
import { NameService, type NamedNetwork } from '../src/host/names/name-service.js';
import { parseResolvConf } from '../src/host/names/resolv-conf.js';
import {
  answerTo,
  question,
  readMessage,
  recordOf,
  TYPES,
  type DnsMessage,
  type QuestionOptions,
} from './support/dns.js';
import { hex } from './support/hex.js';

const ROOM = 1402;
const [NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED] = [0, 1, 2, 3, 4, 5];

/** A network out of lists of addresses by name. */
function network(name: string, names: Record<string, string[]>, more: Partial<NamedNetwork> = {}): NamedNetwork {
  return {
    name,
    prefixes: ['10.0.0.0/24', 'fd00:1::/64'],
    internal: false,
    addressesOf: (asked) => names[asked.toLowerCase()] ?? [],
    namesOf: (ip) => Object.keys(names).filter((one) => /^(test\.\d|p\d)$/.test(one) && names[one]!.includes(ip)),
    ...more,
  };
}

const UBER = network('uber-net', {
  'test.1': ['10.0.0.3', 'fd00:1::3'],
  'test.2': ['10.0.0.4'],
  test: ['10.0.0.3', '10.0.0.4', 'fd00:1::3'],
  web: ['10.0.0.4'],
  six: ['fd00:1::6'],
});

/** What is passed on, and what comes back. */
function service(
  back?: (query: Uint8Array) => Uint8Array | undefined,
  random = 0,
): { service: NameService; passed: string[] } {
  const passed: string[] = [];
  const forwarder = {
    ask: async ({ bytes, name }: { bytes: Uint8Array; name: string }) => {
      passed.push(name);
      return back?.(bytes);
    },
  };
  return { service: new NameService({ forwarder, random: (below) => random % below }), passed };
}

async function ask(
  name: string,
  type: number,
  options: QuestionOptions = {},
  networks: NamedNetwork[] = [UBER],
  one = service().service,
): Promise<DnsMessage> {
  return readMessage((await one.answer(question(name, type, options), networks, 'client', ROOM))!);
}
const dataOf = ({ answers }: DnsMessage): string[] => answers.map(({ data }) => data);

test('the answer to a question for an address, octet by octet (RFC 1035, section 4)', async () => {
  const { service: one } = service();
  const bytes = await one.answer(question('test.2', TYPES.A), [UBER], 'client', ROOM);
  // id; QR AA RD RA; one question, one answer; the question; pointer, A, IN, TTL 5, 4 octets
  const expected =
    '1234' +
    '8580' +
    '0001000100000000' +
    '0474657374013200' +
    '00010001' +
    'c00c' +
    '00010001' +
    '00000005' +
    '0004' +
    '0a000004';
  assert.is(hex(bytes!), expected);
  assert.is(TTL, 5);
});

test('names of endpoints, services and aliases, with and without the network, in any case', async () => {
  assert.equal(dataOf(await ask('test.1', TYPES.A)), ['10.0.0.3']);
  assert.equal(dataOf(await ask('test.1', TYPES.AAAA)), ['fd00:0001:0000:0000:0000:0000:0000:0003']);
  assert.equal(dataOf(await ask('test', TYPES.A)), ['10.0.0.3', '10.0.0.4']);
  assert.equal(dataOf(await ask('web', TYPES.A)), ['10.0.0.4']);
  assert.equal(dataOf(await ask('test.2.uber-net', TYPES.A)), ['10.0.0.4']);
  const answer = await ask('TeST.2.uBER-net', TYPES.A);
  assert.equal(dataOf(answer), ['10.0.0.4']);
  assert.is(answer.question[0]!.name, 'TeST.2.uBER-net', 'the letters of the question');
  assert.is(answer.answers[0]!.name, 'TeST.2.uBER-net');
});

test('a name without an address of the type that is asked for has no answers, and is not passed on', async () => {
  const { service: one, passed } = service();
  for (const [name, type] of [
    ['test.2', TYPES.AAAA],
    ['six', TYPES.A],
    ['test.1', TYPES.MX],
    ['3.0.0.10.in-addr.arpa', TYPES.A],
  ] as const) {
    const { rcode, answers } = await ask(name, type, {}, [UBER], one);
    assert.equal([rcode, answers], [NOERROR, []], name);
  }
  assert.equal(passed, []);
});

test('names of addresses, IPv4 and IPv6; an address of the network without a name does not exist', async () => {
  const six = [...'3000000000000000'].concat([...'0000000010000df']).join('.') + '.ip6.arpa';
  assert.equal(dataOf(await ask('3.0.0.10.in-addr.arpa', TYPES.PTR)), ['test.1.uber-net']);
  assert.is((await ask('9.0.0.10.in-addr.arpa', TYPES.PTR)).rcode, NXDOMAIN);
  // fd00:1::3, the digits from the last to the first (RFC 3596, section 2.5)
  const digits = 'fd000001000000000000000000000003'.split('').reverse().join('.');
  assert.equal(dataOf(await ask(`${digits}.ip6.arpa`, TYPES.PTR)), ['test.1.uber-net']);
  const { service: one, passed } = service();
  await ask('8.8.8.8.in-addr.arpa', TYPES.PTR, {}, [UBER], one);
  await ask(six, TYPES.PTR, {}, [UBER], one); // one digit is missing
  await ask('300.0.0.10.in-addr.arpa', TYPES.PTR, {}, [UBER], one);
  assert.equal(passed, ['8.8.8.8.in-addr.arpa', six, '300.0.0.10.in-addr.arpa']);
});

test('a question of type ANY has one HINFO as its answer (RFC 8482)', async () => {
  for (const name of ['test', '3.0.0.10.in-addr.arpa'])
    assert.equal(
      (await ask(name, TYPES.ANY)).answers.map(({ type, data }) => [type, data]),
      [[TYPES.HINFO, '075246433834383200']],
    );
});

test('the addresses of a service rotate, each begins as often', async () => {
  const all = Array.from({ length: 5 }, (_, i) => `10.0.0.${i + 1}`);
  const many = network('n', { test: all });
  for (let random = 0; random < 5; random++) {
    const answer = await ask('test', TYPES.A, {}, [many], service(undefined, random).service);
    assert.equal(dataOf(answer), [...all.slice(random), ...all.slice(0, random)]);
  }
  const first = new Map<string, number>();
  const real = new NameService({ forwarder: { ask: async () => undefined } });
  for (let i = 0; i < 1000; i++) {
    const [one] = dataOf(await ask('test', TYPES.A, {}, [many], real));
    first.set(one!, (first.get(one!) ?? 0) + 1);
  }
  // 200 each; five standard deviations are 63.
  for (const ip of all) assert.ok(Math.abs(first.get(ip)! - 200) < 64, `${ip}: ${first.get(ip)}`);
});

test('single labels and names with a number at the end are never passed on; all others are', async () => {
  const { service: one, passed } = service();
  for (const name of ['nothing', 'test.3', 'localhost', 'a.b.7'])
    assert.is((await ask(name, TYPES.A, {}, [UBER], one)).rcode, NXDOMAIN, name);
  assert.equal(passed, []);
  for (const name of ['example.org', 'test.uber', ''])
    assert.is((await ask(name, TYPES.A, {}, [UBER], one)).rcode, SERVFAIL);
  assert.equal(passed, ['example.org', 'test.uber', '']);
  // A dot within a label is no dot between labels.
  const bytes = question('testx1', TYPES.A);
  bytes[17] = 0x2e;
  assert.is(readMessage((await one.answer(bytes, [UBER], 'client', ROOM))!).rcode, NXDOMAIN);
});

test('a client in several networks sees the names of all, first those of the network that it asks', async () => {
  const other = network('other', { 'test.1': ['10.9.0.3'], db: ['10.9.0.5'] }, { prefixes: ['10.9.0.0/24'] });
  const data = async (name: string, networks: NamedNetwork[]): Promise<string[]> =>
    dataOf(await ask(name, TYPES.A, {}, networks));
  assert.equal(await data('test.1', [UBER, other]), ['10.0.0.3']);
  assert.equal(await data('test.1', [other, UBER]), ['10.9.0.3']);
  assert.equal(await data('db', [UBER, other]), ['10.9.0.5']);
  assert.equal(await data('test.1.other', [UBER, other]), ['10.9.0.3']);
  assert.is((await ask('db', TYPES.A)).rcode, NXDOMAIN, 'not one that is in the first network only');
  const answer = await ask('5.0.9.10.in-addr.arpa', TYPES.PTR, {}, [UBER, { ...other, namesOf: () => ['p5'] }]);
  assert.equal(dataOf(answer), ['p5.other']);
});

test('nothing is passed on for endpoints of internal networks only', async () => {
  const inside = { ...UBER, internal: true };
  const { service: one, passed } = service();
  assert.is((await ask('example.org', TYPES.A, {}, [inside], one)).rcode, REFUSED);
  assert.is((await ask('test.2', TYPES.A, {}, [inside], one)).rcode, NOERROR);
  assert.equal(passed, []);
  await ask('example.org', TYPES.A, {}, [inside, UBER], one);
  assert.equal(passed, ['example.org']);
});

test('questions that are none get the answer that RFC 1035 and RFC 6891 name', async () => {
  const code = async (options: QuestionOptions, type: number = TYPES.A): Promise<number> =>
    (await ask('test.1', type, options)).rcode;
  assert.is(await code({ flags: 0x2900 }), NOTIMP); // UPDATE
  assert.is(await code({ class: 3 }), REFUSED);
  assert.is(await code({}, 252), REFUSED); // AXFR
  const { service: one } = service();
  const answer = async (bytes: Uint8Array): Promise<DnsMessage | undefined> => {
    const out = await one.answer(bytes, [UBER], 'client', ROOM);
    return out === undefined ? undefined : readMessage(out);
  };
  const changed = (at: number, value: number, bytes = question('test.1', TYPES.A, { edns: 1232 })): Uint8Array => {
    const copy = bytes.slice();
    copy[at] = value;
    return copy;
  };
  assert.is((await answer(changed(5, 0)))!.rcode, FORMERR, 'no question');
  assert.is((await answer(changed(5, 2)))!.rcode, FORMERR, 'two questions');
  assert.is((await answer(changed(7, 1)))!.rcode, FORMERR, 'an answer');
  assert.is((await answer(changed(11, 2)))!.rcode, FORMERR, 'a record that is missing');
  assert.is((await answer(changed(12, 0xc0)))!.rcode, FORMERR, 'a name that begins with a pointer');
  assert.is((await answer(changed(12, 64)))!.rcode, FORMERR, 'a label of 64 octets');
  assert.is((await answer(question('test.1', TYPES.A).subarray(0, 20)))!.rcode, FORMERR, 'the end is missing');
  const long = Array.from({ length: 5 }, () => 'x'.repeat(63)).join('.');
  assert.is((await answer(question(long, TYPES.A)))!.rcode, FORMERR, 'a name of more than 255 octets');
  const twice = Uint8Array.from([
    ...question('test.1', TYPES.A, { edns: 1232 }),
    ...question('', 1, { edns: 1232 }).subarray(17),
  ]);
  assert.is((await answer(changed(11, 2, twice)))!.rcode, FORMERR, 'two OPT records');
  assert.is(await answer(changed(2, 0x81)), undefined, 'a response gets none');
  assert.is(await answer(new Uint8Array(11)), undefined);
  assert.is(await answer(new Uint8Array(5000)), undefined);
  // BADVERS is 16: four bits in the header, the rest in the TTL of OPT.
  const bad = (await answer(question('test.1', TYPES.A, { edns: 1232, version: 1 })))!;
  assert.equal([bad.rcode, bad.additional[0]!.type, bad.additional[0]!.ttl >>> 24], [0, TYPES.OPT, 1]);
  // The operation code and RD come back.
  assert.is((await answer(question('test.1', TYPES.A, { flags: 0x2000 })))!.flags & 0x7900, 0x2000);
});

test('an answer has OPT if the question has, and as many records as fit the size of the client and the network', async () => {
  const many = network('n', { test: Array.from({ length: 200 }, (_, i) => `10.0.0.${i + 1}`) });
  const counts: number[] = [];
  for (const [options, room] of [
    [{}, ROOM],
    [{ edns: 100 }, ROOM],
    [{ edns: 1232 }, ROOM],
    [{ edns: 65_535 }, ROOM],
    [{ edns: 65_535 }, 600],
  ] as const) {
    const bytes = (await service().service.answer(question('test', TYPES.A, options), [many], 'client', room))!;
    const { answers, additional, truncated } = readMessage(bytes);
    const limit = Math.min(room, Math.max(512, 'edns' in options ? options.edns : 0));
    assert.ok(bytes.length <= limit && bytes.length + 16 > limit, `${bytes.length} of ${limit}`);
    assert.is(truncated, false);
    assert.is(additional.length, 'edns' in options ? 1 : 0);
    counts.push(answers.length);
  }
  assert.equal(counts, [30, 29, 74, 85, 35]);
  // Without room for any record: TC.
  const none = (await service().service.answer(question('test', TYPES.A), [many], 'client', 30))!;
  assert.equal([readMessage(none).answers, readMessage(none).truncated], [[], true]);
  assert.is((await ask('test', TYPES.A, { edns: 1232, dnssec: true }, [many])).additional[0]!.ttl, 0x8000);
});

test('a response of another server gets the id and the letters of the question, and is cut to what fits', async () => {
  const records = Array.from({ length: 40 }, (_, i) => recordOf(TYPES.A, [192, 0, 2, i]));
  const cname = recordOf(TYPES.CNAME, [1, 97, 0xc0, 12]);
  const back = async (
    response: (query: Uint8Array) => Uint8Array,
    options: QuestionOptions = {},
    name = 'wWw.example.org',
  ): Promise<DnsMessage> => {
    const lower = (query: Uint8Array): Uint8Array => {
      const copy = response(query);
      copy.set([0xff, 0xff]);
      copy[13] = 0x77;
      copy[14] = 0x77;
      copy[15] = 0x77;
      return copy;
    };
    return ask(name, TYPES.A, options, [UBER], service(lower).service);
  };
  const all = await back((query) => answerTo(query, records), { edns: 4096 });
  assert.equal(
    [all.id, all.question[0]!.name, all.answers.length, all.truncated],
    [0x1234, 'wWw.example.org', 40, false],
  );
  assert.is(all.answers[0]!.ttl, 300);
  const some = await back((query) => answerTo(query, records));
  assert.equal([some.answers.length, some.truncated, some.additional.length], [29, false, 0]);
  // As much as fits, and it is of use.
  const alias = await back((query) => answerTo(query, [cname, ...records], { tc: true }));
  assert.equal([alias.answers.length, alias.answers[0]!.type, alias.truncated], [29, TYPES.CNAME, false]);
  // It is of no use: no address is left.
  const text = recordOf(
    TYPES.TXT,
    Array.from({ length: 480 }, () => 65),
  );
  const useless = await back((query) => answerTo(query, [cname, text, ...records]));
  assert.equal([useless.answers.length, useless.truncated], [1, true]);
  const empty = await back((query) => answerTo(query, [], { tc: true }));
  assert.equal([empty.answers.length, empty.truncated], [0, true]);
  const gone = await back((query) => answerTo(query, [], { rcode: NXDOMAIN }));
  assert.equal([gone.rcode, gone.truncated], [NXDOMAIN, false]);
});

test('any bytes get a message, or nothing', async () => {
  const damaged = fc
    .tuple(fc.constantFrom('test', 'test.1', 'a.b.c', ''), fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 3 }))
    .map(([name, flips]) => {
      const bytes = question(name, TYPES.A, { edns: 1232 });
      for (const [at, octet] of flips) bytes[at % bytes.length] = octet;
      return bytes;
    });
  await fc.assert(
    fc.asyncProperty(fc.oneof(damaged, fc.uint8Array({ maxLength: 80 })), async (bytes) => {
      const out = await service((query) => query).service.answer(bytes, [UBER], 'client', ROOM);
      if (out !== undefined && (out[2]! & 0x80) !== 0) assert.equal([...out.subarray(0, 2)], [...bytes.subarray(0, 2)]);
    }),
    { numRuns: 2000 },
  );
});

test('resolv.conf(5): servers and search domains, the last line of which holds', () => {
  const text = `# a comment
nameserver 192.0.2.1
 nameserver\t2001:db8::1
nameserver fe80::1%eth0 # the router
nameserver 192.0.2.4
nameserver nonsense
domain old.example
search one.example two.example
options ndots:2
`;
  assert.equal(parseResolvConf(text), {
    servers: ['192.0.2.1', '2001:db8::1', 'fe80::1%eth0'],
    search: ['one.example', 'two.example'],
  });
  assert.equal(parseResolvConf('search a\u001b b#c .\n'), { servers: [], search: ['.'] });
  assert.equal(parseResolvConf(''), { servers: [], search: [] });
});

test.run();
