/** What thousands of peers and endpoints cost: changes take constant time, and one frame becomes a bounded number of datagrams. */
import { setImmediate as turn } from 'node:timers/promises';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ipv4ToText, macToText } from '../../src/address/index.js';
import { Intent, type Apply } from '../../src/host/intent.js';
import { LOCAL, Neighbors } from '../../src/neighbor/index.js';
import { plan, SchemaError, type Plan } from '../../src/schema/index.js';
import { Frame, MAX_PEERS, MAX_REPLICAS, Vtep, type VtepSink } from '../../src/vtep/index.js';
import { arpRequest, BROADCAST, C1, udpFrame } from '../support/frames.js';
import { processorTime, requireLinear } from '../support/processor-time.js';
import { host } from '../support/vtep-host.js';

const VNI = 4097;
const address = (i: number): string => ipv4ToText(0xac10_0000 + i);

test('32,000 peers in 8 networks are added and removed in constant time each', () => {
  requireLinear(32_000, (count) =>
    processorTime(() => {
      const vtep = new Vtep();
      for (let vni = 1; vni <= 8; vni++) {
        vtep.addSegment({ vni });
        for (let i = 0; i < count / 8; i++) vtep.addPeer(vni, address(i));
      }
      for (let vni = 1; vni <= 8; vni++)
        for (let i = 0; i < count / 8; i++) assert.ok(vtep.removePeer(vni, address(i)));
    }),
  );
});

test('a network has 4096 peers at most, and one more is refused with the reason', () => {
  const { vtep, frame, sent } = host();
  vtep.addPort({ name: 'a', vni: VNI });
  for (let i = 0; i < MAX_PEERS; i++) vtep.addPeer(VNI, address(i));
  vtep.addPeer(VNI, address(7)); // which is a peer already
  for (let i = MAX_PEERS; i < 32_000; i++)
    assert.throws(
      () => vtep.addPeer(VNI, address(i)),
      (error: unknown) =>
        error instanceof RangeError &&
        error.message ===
          'vni 4097 already has 4096 peers, the most that a network may have; remove one, or split the network',
    );
  assert.is([...vtep.remotes()].length, MAX_PEERS, 'a refused one leaves nothing behind');
  frame(0, udpFrame(C1, { ip: '10.0.0.255', mac: BROADCAST }));
  assert.is(sent.length, MAX_PEERS);
  vtep.removePeer(VNI, address(0));
  vtep.addPeer(VNI, address(MAX_PEERS));
});

test('a configuration with more peers is refused, with the place', () => {
  const config = (count: number): object => ({
    local: '192.0.2.1',
    segments: [{ vni: VNI, peers: Array.from({ length: count }, (_, i) => address(i)) }],
    taps: [{ name: 'tap0', vni: VNI }],
  });
  assert.is(plan(config(MAX_PEERS)).segments[0]!.peers.length, MAX_PEERS);
  assert.throws(
    () => plan(config(MAX_PEERS + 1)),
    (error: unknown) =>
      error instanceof SchemaError &&
      /^segments\[0\]\.peers: expected a list of 4096 addresses at most/.test(error.message),
  );
});

test('a super-frame to flood becomes 8192 datagrams at most; the local ports receive it all the same', () => {
  const vtep = new Vtep();
  vtep.addSegment({ vni: VNI });
  vtep.addPort({ name: 'a', vni: VNI });
  vtep.addPort({ name: 'b', vni: VNI });
  for (let i = 0; i < 200; i++) vtep.addPeer(VNI, address(i));
  let [delivered, transmitted] = [0, 0];
  const sink: VtepSink = { deliver: () => void delivered++, transmit: () => void transmitted++ };
  const bytes = new Uint8Array(16 + 62);
  bytes.set(udpFrame(C1, { ip: '10.0.0.255', mac: BROADCAST }), 16);
  const flood = (packets: number): void =>
    vtep.receiveFrame(0, new Frame().setMany(bytes, 16, bytes.length, packets, packets * 62, 62), 0, sink);
  flood(Math.floor(MAX_REPLICAS / 200));
  assert.equal([delivered, transmitted], [1, 200]);
  flood(Math.floor(MAX_REPLICAS / 200) + 1);
  assert.equal([delivered, transmitted, vtep.counters().drops['flood-limit']], [2, 200, 41]);
});

test('32,000 bindings of one IP address, of which each replaces the one before, and of one MAC address take constant time each', () => {
  requireLinear(32_000, (count) =>
    processorTime(() => {
      const neighbors = new Neighbors();
      for (let i = 0; i < count; i++) {
        neighbors.add({ ip: 1, mac: 2 + i * 2, location: LOCAL });
        neighbors.add({ ip: 2 + i, mac: 2, location: LOCAL });
      }
      assert.is([...neighbors.entries()].length, count + 1);
      for (let i = 0; i < count; i++) {
        assert.is(neighbors.remove({ ip: 1, mac: 2 + i * 2, location: LOCAL }), i === count - 1);
        assert.ok(neighbors.remove({ ip: 2 + i, mac: 2, location: LOCAL }));
      }
      assert.is(neighbors.size, 0);
    }),
  );
});

test('no addition to, and no removal from, a table of 200,000 bindings waits for the others', () => {
  const COUNT = 200_000;
  // The least of several runs for each call: other processes, and the collection of garbage, delay different ones.
  const least = new Float64Array(2 * COUNT).fill(Infinity);
  for (let run = 0; run < 4; run++) {
    const neighbors = new Neighbors(7);
    const call = (i: number, work: () => void): void => {
      const start = performance.now();
      work();
      least[i] = Math.min(least[i]!, performance.now() - start);
    };
    for (let i = 0; i < COUNT; i++) call(i, () => neighbors.add({ ip: i, mac: 2 * i, location: LOCAL }));
    for (let i = 0; i < COUNT; i++) call(COUNT + i, () => neighbors.remove({ ip: i, mac: 2 * i, location: LOCAL }));
    assert.is(neighbors.size, 0);
  }
  const longest = least.reduce((a, b) => Math.max(a, b));
  // 25 ms if the table moved all entries at once.
  assert.ok(longest < 1, `${longest} ms`);
});

test('1024 questions and announcements for 4096 peers leave in portions', () => {
  const { vtep, frame, sent, tick } = host();
  const port = vtep.addPort({ name: 'a', vni: VNI });
  for (let i = 0; i < 16; i++) frame(port, arpRequest(C1, ipv4ToText(0x0a00_0100 + i)));
  for (let i = 0; i < MAX_PEERS; i++) vtep.addPeer(VNI, address(i));
  for (let i = 0; i < 1024; i++)
    vtep.announce(VNI, { ip: ipv4ToText(0x0a00_1000 + i), mac: macToText(0x0200_0000_0000 + i) });
  for (let i = 0; i < 3; i++) {
    tick();
    // 1024 questions, and one announcement to all; 590,000 before.
    assert.ok(sent.length > 0 && sent.length <= 1024 + MAX_PEERS, `${sent.length} datagrams`);
  }
});

test('a peer that the gossip announces and that has no room gets the place of one that leaves', async () => {
  const peers = new Set<string>();
  const dataPlane: Apply = async (changes) =>
    changes.flatMap((change, index) => {
      if (change.do === 'remove-peer') peers.delete(change.address);
      else if (change.do === 'add-peer' && peers.size >= 2) return [{ index, reason: 'full' }];
      else if (change.do === 'add-peer') peers.add(change.address);
      return [];
    });
  const refused: string[] = [];
  const running = { local: '192.0.2.1', segments: [{ vni: VNI, peers: [], endpoints: [] }] } as unknown as Plan;
  const intent = new Intent(running, dataPlane);
  const sink = intent.gossip((reason) => void refused.push(reason));
  for (const one of ['a', 'b', 'c', 'd']) sink.addPeer(VNI, one);
  await turn();
  assert.equal(
    [[...peers], refused],
    [
      ['a', 'b'],
      ['full', 'full'],
    ],
  );
  sink.removePeer(VNI, 'c');
  sink.removePeer(VNI, 'a');
  await turn();
  assert.equal([...peers].sort(), ['b', 'd']);
});

test.run();
