/** Bulk syncs with Docker nodes, which lose a pending acknowledgement if a request arrives in the meantime. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as db from '../src/gossip/networkdb/index.js';
import { Alarm, Clock, Random } from '../src/sim/index.js';
import { DockerNode } from './support/docker-node.js';

const NETWORKS = ['net-aaaaaaaaaaaaaaaaaaaaa', 'net-bbbbbbbbbbbbbbbbbbbbb'];
const SEEDS = 300;
const bytes = (value: string): Uint8Array => new Uint8Array(Buffer.from(value));

/** An agent and a Docker node, with latency between them. */
class Pair {
  readonly clock = new Clock();
  readonly random: Random;
  readonly agent: db.NetworkDb;
  readonly docker: DockerNode;
  readonly #alarm: Alarm;

  constructor(seed: number) {
    this.random = new Random(seed);
    this.#alarm = new Alarm(this.clock, () => this.act((now) => this.agent.tick(now)));
    const toDocker = (message: Uint8Array, within: number): void => {
      const copy = message.slice();
      this.clock.after(within * this.random.float(), () => this.docker.receive(copy));
    };
    this.agent = new db.NetworkDb(
      { name: 'agent', random: () => this.random.float() },
      {
        sendPacket: (_, message) => toDocker(message, 5),
        sendReliable: (_, message) => toDocker(message, 20),
        contact: () => undefined,
      },
    );
    this.docker = new DockerNode(
      'docker',
      this.clock,
      (_, message) => this.clock.after(20 * this.random.float(), () => this.receive(message)),
      // With the next gossip, or earlier on an acknowledgement.
      (message) => this.clock.after(250 * this.random.float(), () => this.receive(message)),
    );
    this.agent.start(0);
    this.#rearm();
  }

  receive(message: Uint8Array): void {
    this.act((now) => this.agent.receive(message, now));
  }

  act(what: (now: number) => void): void {
    what(this.clock.now);
    this.#rearm();
  }

  /** Docker's join of memberlist: each side learns of the other at its own time. */
  meet(): void {
    this.docker.nodes.add('agent');
    for (const { network } of this.agent.networks()) this.docker.attached(network, 'agent');
    const peer = { name: 'docker', address: '192.0.2.2', port: 7946 };
    this.clock.after(30 * this.random.float(), () => this.act((now) => this.agent.nodeJoined(peer, now)));
  }

  /** Advances the time, and lets promise callbacks run. */
  async pass(milliseconds: number): Promise<void> {
    const end = this.clock.now + milliseconds;
    while (this.clock.now < end) {
      this.clock.run(Math.min(end, this.clock.now + 5));
      await Promise.resolve();
      await Promise.resolve();
    }
  }

  #rearm(): void {
    this.#alarm.set(this.agent.next);
  }
}

test('after the network event of a joining node, the agent waits for its bulk sync request', () => {
  const sent: db.BulkSyncMessage[] = [];
  const agent = new db.NetworkDb(
    { name: 'a', random: () => 0.5 },
    {
      sendPacket: () => undefined,
      sendReliable: (_, message) => void sent.push(db.bulkSyncMessage.decode(db.gossipMessage.decode(message).data)),
      contact: () => undefined,
    },
  );
  const [network] = NETWORKS as [string];
  agent.start(0);
  agent.joinNetwork(network, 0);
  agent.createEntry(network, 'table', 'mine', bytes('1'), 0);
  agent.tick(0);
  agent.nodeJoined({ name: 'b', address: '192.0.2.2', port: 7946 }, 1000);
  agent.receive(db.wrap(db.NETWORK_EVENT, db.networkEvent, { type: db.JOIN, time: 5, node: 'b', network }), 1000);
  assert.equal(agent.networks(), [{ network, inSync: false }]);
  for (let now = 1000; now < 1900; now += 100) agent.tick(now);
  assert.is(sent.length, 0, 'it is not asked at once');
  const payload = db.compound([]);
  const question = { time: 9, unsolicited: true, node: 'b', networks: [network], payload };
  agent.receive(db.wrap(db.BULK_SYNC, db.bulkSyncMessage, question), 1900);
  assert.equal(
    sent.map(({ unsolicited, networks }) => [unsolicited, networks]),
    [[false, [network]]],
    'answered, and nothing else',
  );
  assert.equal(agent.networks(), [{ network, inSync: true }]);
  for (let now = 1900; now < 5000; now += 100) agent.tick(now);
  assert.is(sent.length, 1, 'it has the tables of the other one, and does not ask');
});

test('a node that joins without a request gets one from the agent a little later', () => {
  const bench = new Pair(1);
  const [network] = NETWORKS as [string];
  bench.act((now) => bench.agent.joinNetwork(network, now));
  bench.clock.run(1000);
  bench.act((now) => bench.agent.nodeJoined({ name: 'docker', address: '192.0.2.2', port: 7946 }, now));
  bench.docker.nodes.add('agent');
  bench.receive(db.wrap(db.NETWORK_EVENT, db.networkEvent, { type: db.JOIN, time: 5, node: 'docker', network }));
  bench.clock.run(1900);
  assert.is(bench.agent.networks()[0]!.inSync, false);
  bench.clock.run(2600);
  assert.is(bench.agent.networks()[0]!.inSync, true);
});

for (const first of ['agent', 'docker'])
  test(`${SEEDS} seeds: the ${first} starts first: Docker joins networks without delay`, async () => {
    const slow: string[] = [];
    for (let seed = 1; seed <= SEEDS; seed++) {
      const pair = new Pair(seed);
      const { agent, docker, random } = pair;
      const joinAgent = (): void =>
        pair.act((now) => {
          for (const network of NETWORKS) {
            agent.joinNetwork(network, now);
            agent.createEntry(network, 'table', `of agent in ${network}`, bytes('1'), now);
          }
        });
      const took: number[] = [];
      const joinDocker = async (): Promise<void> => {
        for (const network of NETWORKS) took.push(await docker.joinNetwork(network));
      };
      if (first === 'agent') joinAgent();
      else void joinDocker();
      await pair.pass(1000 * random.float());
      pair.meet();
      await pair.pass(40 * random.float());
      if (first === 'agent') void joinDocker();
      else joinAgent();
      await pair.pass(60_000);
      if (took.length < 2 || took.some((time) => time > 1000))
        slow.push(`seed ${seed}: ${took.map(Math.round).join(', ')} ms`);
      assert.ok(
        agent.networks().every(({ inSync }) => inSync),
        `seed ${seed}: in sync`,
      );
      assert.ok(docker.received.length >= 2, `seed ${seed}: the agent's entries`);
    }
    assert.equal(slow, []);
  });

test.run();
