/** Questions that are passed on to other name servers, which are slow, wrong, hostile or gone. */
import { createSocket } from 'node:dgram';
import { writeFileSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Forwarder, type ForwarderLimits } from '../src/host/names/forwarder.js';
import { readQuery, type Query } from '../src/host/names/message.js';
import { HostResolvConf } from '../src/host/names/resolv-conf.js';
import { answerTo, question, readMessage, recordOf, TYPES } from './support/dns.js';
import { waitFor } from './support/lab.js';
import { NameServer, type Answering } from './support/name-server.js';

const ADDRESS = recordOf(TYPES.A, [192, 0, 2, 80]);
const good: Answering = ({ bytes }) => answerTo(bytes, [ADDRESS]);
const silent: Answering = () => undefined;

const servers: NameServer[] = [];
const forwarders: Forwarder[] = [];
test.after.each(() => {
  for (const server of servers.splice(0)) server.close();
  for (const forwarder of forwarders.splice(0)) forwarder.close();
});

/** Servers at 127.0.0.1 and following, all with one port. `undefined`: nobody is there. */
async function start(
  ...answering: (Answering | undefined)[]
): Promise<{ list: NameServer[]; addresses: string[]; port: number }> {
  const addresses = answering.map((_, i) => `127.0.0.${i + 1}`);
  const started: NameServer[] = [];
  let port = 0;
  for (const [i, one] of answering.entries()) {
    if (one === undefined) continue;
    const server = await NameServer.start(addresses[i]!, port, one);
    ({ port } = server);
    started.push(server);
  }
  servers.push(...started);
  return { list: started, addresses, port };
}

function forwarder(addresses: readonly string[], port: number, limits: Partial<ForwarderLimits> = {}): Forwarder {
  const made = new Forwarder({ servers: async () => addresses, port, limits: { perTry: 300, total: 1500, ...limits } });
  forwarders.push(made);
  return made;
}

const query = (name = 'example.org'): Query => readQuery(question(name, TYPES.A, { edns: 1232 })) as Query;
const addressOf = (answer: Uint8Array | undefined): string | undefined =>
  answer === undefined ? undefined : readMessage(answer).answers[0]?.data;

test('a question gets the answer of the first server, from a port and with an id of its own', async () => {
  const { list, addresses, port } = await start(good, good);
  const one = forwarder(addresses, port);
  for (let i = 0; i < 20; i++) assert.is(addressOf(await one.ask(query(), 'c')), '192.0.2.80');
  const [first, second] = list;
  assert.equal([first!.asked.length, second!.asked.length], [20, 0]);
  assert.ok(new Set(first!.asked.map(({ from }) => from.port)).size > 15);
  assert.ok(new Set(first!.asked.map(({ bytes }) => bytes[0]! * 256 + bytes[1]!)).size > 15);
  const { name, type } = readMessage(first!.asked[0]!.bytes).question[0]!;
  assert.equal([name, type, readMessage(first!.asked[0]!.bytes).additional.length], ['example.org', TYPES.A, 1]);
  assert.equal(one.counts, { waiting: 0, asked: 20, answered: 20, failed: 0, refused: 0 });
});

test('a server that is silent, not there, or fails is followed by the next one, which is then asked first', async () => {
  for (const bad of [silent, undefined, (({ bytes }) => answerTo(bytes, [], { rcode: 2 })) as Answering]) {
    const { list, addresses, port } = await start(good, bad);
    const order = [addresses[1]!, addresses[0]!];
    const one = forwarder(order, port);
    assert.is(addressOf(await one.ask(query(), 'c')), '192.0.2.80');
    const count = (): number => list.find(({ address }) => address === order[0])?.asked.length ?? 0;
    const before = count();
    assert.is(addressOf(await one.ask(query(), 'c')), '192.0.2.80');
    if (bad === silent) assert.is(count(), before, 'the silent server is not asked again at once');
    for (const server of servers.splice(0)) server.close();
  }
});

test('a name that does not exist is an answer; a failure of all servers comes back as it is', async () => {
  const { list, addresses, port } = await start(({ bytes }) => answerTo(bytes, [], { rcode: 3 }), good);
  assert.is(readMessage((await forwarder(addresses, port).ask(query(), 'c'))!).rcode, 3);
  assert.is(list[1]!.asked.length, 0);
  list[0]!.answering = list[1]!.answering = ({ bytes }) => answerTo(bytes, [], { rcode: 5 });
  assert.is(readMessage((await forwarder(addresses, port).ask(query(), 'c'))!).rcode, 5);
});

test('answers to another question are ignored: by id, name, type, or from another address', async () => {
  const { list, addresses, port } = await start(({ bytes }) => {
    const wrong = recordOf(TYPES.A, [203, 0, 113, 1]);
    const id = answerTo(bytes, [wrong]);
    id[1]! ^= 1;
    const type = answerTo(bytes, [wrong]);
    type[12 + 13 + 1]! ^= 0x20; // of the question: 1 becomes 33
    return [
      id,
      type,
      answerTo(question('example.com', TYPES.A, { id: bytes[0]! * 256 + bytes[1]! }), [wrong]),
      bytes,
      new Uint8Array(3),
    ];
  });
  const one = forwarder(addresses, port);
  const asking = one.ask(query(), 'c');
  await waitFor('the question', () => list[0]!.asked.length > 0);
  const { bytes, from } = list[0]!.asked[0]!;
  const stranger = createSocket('udp4');
  await new Promise<void>((resolve) => stranger.bind(0, '127.0.0.9', resolve));
  stranger.send(answerTo(bytes, [recordOf(TYPES.A, [203, 0, 113, 2])]), from.port, from.address);
  await sleep(50);
  stranger.close();
  list[0]!.answering = good;
  assert.is(addressOf(await asking), '192.0.2.80', 'that of the second try');
});

test('a server may change the letters of the name, as the client wrote them in a way of its own', async () => {
  const { addresses, port } = await start(({ bytes }) => {
    const answer = answerTo(bytes, [ADDRESS]);
    for (let i = 13; i < 20; i++) answer[i]! |= 0x20;
    return answer;
  });
  assert.is(addressOf(await forwarder(addresses, port).ask(query('eXAMPle.org'), 'c')), '192.0.2.80');
});

test('an answer that is truncated is asked for again by TCP; if that fails, it is the answer', async () => {
  const records = Array.from({ length: 100 }, (_, i) => recordOf(TYPES.A, [192, 0, 2, i]));
  const { list, addresses, port } = await start(({ bytes, tcp }) =>
    tcp ? answerTo(bytes, records) : answerTo(bytes, [], { tc: true }),
  );
  const answer = readMessage((await forwarder(addresses, port).ask(query(), 'c'))!);
  assert.equal([answer.answers.length, answer.truncated], [100, false]);
  list[0]!.answering = ({ bytes, tcp }) => (tcp ? undefined : answerTo(bytes, [], { tc: true }));
  assert.is(readMessage((await forwarder(addresses, port).ask(query(), 'c'))!).truncated, true);
});

test('without a server that answers, a question ends in time; without any server, at once', async () => {
  const { list, addresses, port } = await start(silent, silent);
  const one = forwarder(addresses, port, { perTry: 100, total: 450 });
  assert.is(await one.ask(query(), 'c'), undefined);
  // 100 ms for each try: both twice, and the rest of the time.
  assert.ok(list[0]!.asked.length >= 2 && list[1]!.asked.length >= 2 && list[0]!.asked.length <= 3);
  assert.is(await forwarder([], port).ask(query(), 'c'), undefined);
  // Nobody listens: an ICMP error, and no waiting until the end.
  const gone = forwarder(['127.0.0.7', '127.0.0.8'], port, { perTry: 60_000, total: 60_000 });
  assert.is(await gone.ask(query(), 'c'), undefined);
});

test('questions that wait are bounded, in all and of one client; those beyond fail at once, and all end', async () => {
  const { list, addresses, port } = await start(silent);
  const one = forwarder(addresses, port, { waiting: 10, waitingOfOne: 4, perTry: 200, total: 200 });
  const flood = Array.from({ length: 1000 }, () => one.ask(query(), 'flood'));
  const other = Array.from({ length: 20 }, (_, i) => one.ask(query(), `client ${i % 10}`));
  assert.equal([one.counts.waiting, one.counts.refused], [10, 1010]);
  const answers = await Promise.all([...flood, ...other]);
  assert.ok(answers.every((answer) => answer === undefined));
  assert.is(list[0]!.asked.length, 10);
  assert.is(one.counts.waiting, 0);
  list[0]!.answering = good;
  assert.is(addressOf(await one.ask(query(), 'flood')), '192.0.2.80');
});

test('a forwarder that is closed ends what waits, and takes nothing more', async () => {
  const { addresses, port } = await start(silent);
  const one = forwarder(addresses, port, { perTry: 60_000, total: 60_000 });
  const asking = one.ask(query(), 'c');
  await sleep(20);
  one.close();
  assert.is(await asking, undefined);
  assert.is(await one.ask(query(), 'c'), undefined);
});

test('resolv.conf is read again when it has changed, also if another file takes its place', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-resolv-'));
  try {
    const path = join(folder, 'resolv.conf');
    const host = new HostResolvConf(path);
    assert.equal(await host.read(), { servers: [], search: [] });
    writeFileSync(path, 'nameserver 192.0.2.1\nsearch one.example\n');
    const first = async (): Promise<string | undefined> => (await host.read()).servers[0];
    await waitFor('the file to be read', async () => (await first()) === '192.0.2.1');
    writeFileSync(`${path}.new`, 'nameserver 192.0.2.2\nsearch one.example\n');
    renameSync(`${path}.new`, path);
    await waitFor('the new file to be read', async () => (await first()) === '192.0.2.2');
    rmSync(path);
    await waitFor('the file to be missing', async () => (await first()) === undefined);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
