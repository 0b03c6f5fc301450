/** Names: what a member announces, and what a container asks. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as db from '../../src/gossip/networkdb/index.js';
import { Forwarder } from '../../src/host/names/forwarder.js';
import { readQuery, type Query } from '../../src/host/names/message.js';
import { answerTo, question, recordOf, TYPES } from '../support/dns.js';
import { NameServer } from '../support/name-server.js';

const NET = 'net1';
/** The limits of docs/security.md. */
const RECORDS = 32_768;
const WAITING = 256;
const WAITING_OF_ONE = 32;

test('a member that announces 40,000 names: 32,768 records are kept, and none for the address of another host', () => {
  const silent = { sendPacket: () => undefined, sendReliable: () => undefined, contact: () => undefined };
  const machine = new db.NetworkDb({ name: 'a', random: () => 0.5 }, silent);
  machine.start(0);
  machine.nodeJoined({ name: 'b', address: '192.0.2.2', port: 7946 }, 0);
  machine.joinNetwork(NET, 0);
  machine.receive(db.wrap(db.NETWORK_EVENT, db.networkEvent, { type: db.JOIN, time: 5, node: 'b', network: NET }), 0);
  const names = new db.OverlayNames(
    { network: NET, isPlaced: (ip, owner) => `${ip} ${owner}` !== '10.0.0.9 b' },
    machine,
  );
  const announce = (i: number, record: Partial<db.EndpointRecord>): void => {
    const value = db.endpointRecord.encode(record);
    const event = {
      type: db.CREATE,
      time: 10 + i,
      node: 'b',
      network: NET,
      table: db.ENDPOINT_TABLE,
      key: `k${i}`,
      value,
    };
    machine.receive(db.wrap(db.TABLE_EVENT, db.tableEvent, { ...event, residual: 0 }), 0);
  };
  announce(0, { name: 'bank', endpointIp: '10.0.0.9' });
  assert.equal([names.addressesOf('bank'), names.namesOf('10.0.0.9')], [[], []]);
  for (let i = 1; i < 40_000; i++) announce(i, { name: `x${i}`, endpointIp: '10.0.0.3' });
  assert.is(names.size, RECORDS);
  assert.is(names.rejected, 40_000 - RECORDS);
});

test('a container that floods name servers that are silent: 32 questions wait, and others are answered', async () => {
  const server = await NameServer.start('127.0.0.1', 0, () => undefined);
  const forwarder = new Forwarder({ servers: async () => [server.address], port: server.port });
  try {
    const query = readQuery(question('example.org', TYPES.A)) as Query;
    const ask = (client: string): Promise<Uint8Array | undefined> => forwarder.ask(query, client);
    const flood = Array.from({ length: 10_000 }, () => ask('flood'));
    assert.equal([forwarder.counts.waiting, forwarder.counts.refused], [WAITING_OF_ONE, 10_000 - WAITING_OF_ONE]);
    server.answering = ({ bytes }) => answerTo(bytes, [recordOf(TYPES.A, [192, 0, 2, 1])]);
    assert.ok(await ask('other'));
    server.answering = () => undefined;
    const many = Array.from({ length: 20 * WAITING_OF_ONE }, (_, i) => ask(`client ${i % 20}`));
    assert.is(forwarder.counts.waiting, WAITING);
    forwarder.close();
    await Promise.all([...flood, ...many]);
    assert.is(forwarder.counts.waiting, 0);
  } finally {
    forwarder.close();
    server.close();
  }
});

test.run();
