/** A gossip member on real sockets of the loopback interface, without a key, under attack. */
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { deflate } from '../../src/gossip/memberlist/index.js';
import { GossipHost } from '../../src/host/gossip.js';
import { alive, node, packed, ping, state } from '../support/hostile-gossip.js';
import { waitFor } from '../support/lab.js';
import { measureTurns } from '../support/processor-time.js';

const ADDRESS = '127.0.0.1';

test('a lone member answers one ping per datagram, lists no announced member, and dials no stranger', async () => {
  const host = await GossipHost.open({ name: 'me', address: ADDRESS, port: 0 });
  const { port } = host.machine.self;
  const attacker = createSocket('udp4');
  let octets = 0;
  let received = 0;
  attacker.on('message', ({ length }) => void (received += length));
  await new Promise<void>((done) => attacker.bind(0, ADDRESS, done));
  const send = async (bytes: Uint8Array): Promise<void> => {
    octets += bytes.length;
    await new Promise((done) => attacker.send(bytes, port, ADDRESS, done));
  };
  try {
    for (let i = 0; i < 16_000; i += 500)
      await send(packed(Array.from({ length: 500 }, (_, j) => alive(`ghost ${i + j}`, '127.99.1.1', { port: 9 }))));
    for (let i = 0; i < 20; i++) await send(packed(Array.from({ length: 1018 }, () => ping({ sourceNode: 'x' }))));
    await sleep(2500);
    assert.equal(
      host.machine.members().map(({ name }) => name),
      ['me'],
    );
    assert.ok(received > 0 && received <= 3 * octets, `${received} octets for ${octets}`);
    assert.ok(received <= 20 * 200, `${received} octets for twenty datagrams`);
    assert.is(host.machine.sizes().streams, 0);
  } finally {
    attacker.close();
    host.close();
  }
});

test('a stranger’s state of 16,000 members keeps the event loop for a fraction of a second at most', async () => {
  const host = await GossipHost.open({ name: 'me', address: ADDRESS, port: 0 });
  try {
    const bytes = deflate(
      state(Array.from({ length: 16_000 }, (_, i) => node(`ghost-${i}`, `127.99.${i >> 8}.${i & 255}`))),
    );
    await sleep(100);
    const measured = measureTurns();
    const socket = connect(host.machine.self.port, ADDRESS);
    socket.on('error', () => undefined);
    socket.end(bytes);
    await waitFor('the members', () => host.machine.sizes().members > 1000);
    await sleep(2000);
    const { longest } = measured();
    assert.ok(host.machine.sizes().members <= 1025, `${host.machine.sizes().members} members`);
    assert.ok(longest < 400, `${longest} ms`);
    socket.destroy();
  } finally {
    host.close();
  }
});

test.run();
