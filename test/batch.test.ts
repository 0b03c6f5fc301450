/** Batches of changes: what a machine rejects, order, and slices. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Batch, packChanges, Pauses, unpackChanges } from '../src/host/batch.js';
import { Machine } from '../src/host/machine.js';
import { SEGMENT_DEFAULTS, type Change, type Segment } from '../src/model/index.js';
import { Frame, MAX_PEERS } from '../src/vtep/index.js';

const LOCAL = '172.31.1.5';
const segment = (vni: number, more: Partial<Segment> = {}): Segment => ({
  vni,
  mtu: 1450,
  ...SEGMENT_DEFAULTS,
  ...more,
});
const add = (vni: number): Change => ({ do: 'add-segment', segment: segment(vni) });
const endpoint = (i: number, vtep?: string): { ip: string; mac: string; vtep?: string } => ({
  ip: `10.0.${i >> 8}.${i & 255}`,
  mac: `02:00:00:00:${(i >> 8).toString(16).padStart(2, '0')}:${(i & 255).toString(16).padStart(2, '0')}`,
  ...(vtep === undefined ? {} : { vtep }),
});

function machine(): Machine {
  return new Machine({ local: LOCAL, port: 4789, peersOnly: true });
}

function all(one: Machine, changes: readonly Change[]): Batch {
  const batch = new Batch(changes);
  assert.ok(batch.work(one, () => false));
  return batch;
}

test('a batch makes what it can, and says what it does not make and why', () => {
  const one = machine();
  const { rejected, unchanged } = all(one, [
    add(5),
    { do: 'add-peer', vni: 6, address: '192.0.2.1' },
    { do: 'add-peer', vni: 5, address: LOCAL },
    { do: 'add-peer', vni: 5, address: 'fd00::1' },
    { do: 'add-peer', vni: 5, address: '192.0.2.1' },
    { do: 'add-segment', segment: segment(5, { mtu: 1400 }) },
    { do: 'add-endpoint', vni: 5, endpoint: { ip: '10.0.0.1', mac: '01:00:5e:00:00:01' } },
    { do: 'add-endpoint', vni: 5, endpoint: endpoint(1, '192.0.2.1') },
    { do: 'add-segment', segment: segment(2 ** 24) },
    { do: 'add-member', address: '192.0.2.7' },
  ]);
  assert.equal(
    rejected.map(({ index }) => index),
    [1, 2, 3, 5, 6, 8],
  );
  assert.equal(unchanged, []);
  const reasons = rejected.map(({ reason }) => reason);
  assert.match(reasons[0]!, /no segment with vni 6/);
  assert.match(reasons[1]!, /the address of this VTEP itself/);
  assert.match(reasons[2]!, /IP version/);
  assert.match(reasons[3]!, /mtu 1450, not 1400/);
  assert.match(reasons[4]!, /group address/);
  assert.match(reasons[5]!, /vni/);
  assert.equal(one.vtep.vnis(), [5]);
  assert.equal(one.vtep.peers(5), [{ address: '192.0.2.1', port: 4789 }]);
  assert.is(one.vtep.neighbors(5).length, 1);
});

test('changes that are in effect already change nothing, and are not rejected', () => {
  const one = machine();
  const everything: Change[] = [
    add(5),
    { do: 'add-peer', vni: 5, address: '192.0.2.1' },
    { do: 'add-endpoint', vni: 5, endpoint: endpoint(1, '192.0.2.1') },
  ];
  all(one, everything);
  const again = all(one, everything);
  assert.equal([again.rejected, again.unchanged], [[], [0]]);
  assert.is(one.vtep.neighbors(5).length, 1);
  const gone = all(one, [
    { do: 'remove-endpoint', vni: 5, endpoint: endpoint(2) },
    { do: 'remove-endpoint', vni: 9, endpoint: endpoint(2) },
    { do: 'remove-peer', vni: 5, address: '192.0.2.9' },
    { do: 'remove-peer', vni: 9, address: '192.0.2.9' },
    { do: 'remove-segment', vni: 9 },
    { do: 'remove-peer', vni: 5, address: '192.0.2.1' },
    { do: 'remove-segment', vni: 5 },
  ]);
  assert.equal([gone.rejected, gone.unchanged], [[], [0, 1, 2, 3, 4]]);
  one.vtep.tick(0, { deliver: () => undefined, transmit: () => undefined });
  assert.equal([one.vtep.vnis(), [...one.vtep.remotes()]], [[], []], 'nothing refers to the VTEP any more');
});

test('a segment stays while a port uses it', () => {
  const one = machine();
  all(one, [add(5), add(6), add(7)]);
  const trunk = one.attach({ name: 'trunk', segments: { vlans: { 10: 5 }, native: 6 } });
  const remove: Change[] = [5, 6, 7].map((vni) => ({ do: 'remove-segment', vni }));
  assert.equal(
    all(one, remove).rejected.map(({ index, reason }) => [index, /port trunk/.test(reason)]),
    [
      [0, true],
      [1, true],
    ],
  );
  one.detach(trunk);
  assert.equal(all(one, remove).rejected, []);
  assert.throws(() => one.attach({ name: 'late', segments: { vni: 5 } }), /vni 5 has no segment/);
});

test('a full flood list rejects the peers beyond it, and the rest of the batch is made', () => {
  const one = machine();
  const peer = (i: number): Change => ({ do: 'add-peer', vni: 5, address: `10.1.${i >> 8}.${i & 255}` });
  const peers = Array.from({ length: MAX_PEERS + 2 }, (_, i) => peer(i + 1));
  const { rejected } = all(one, [add(5), ...peers, add(6)]);
  assert.equal(
    rejected.map(({ index }) => index),
    [MAX_PEERS + 1, MAX_PEERS + 2],
  );
  assert.equal(one.vtep.vnis(), [5, 6]);
});

test('the totals keep the counts of a removed segment', () => {
  const one = machine();
  all(one, [add(5), add(6)]);
  // A VXLAN header of VNI 5 without a frame behind it.
  const datagram = Uint8Array.of(8, 0, 0, 0, 0, 0, 5, 0);
  const sink = { deliver: () => undefined, transmit: () => undefined };
  for (let i = 0; i < 3; i++) one.vtep.receiveDatagram('192.0.2.1', new Frame(datagram, 0, 8), 0, 0, sink);
  const total = (): number =>
    one
      .counts()
      .values.subarray(0, one.counts().values.length / (1 + one.counts().vnis.length))
      .reduce((a, b) => a + b);
  const before = total();
  assert.ok(before >= 3);
  all(one, [
    { do: 'remove-segment', vni: 5 },
    { do: 'remove-segment', vni: 6 },
  ]);
  assert.is(total(), before);
  all(one, [add(5)]);
  assert.is(total(), before);
});

test('a batch as text is the same batch', () => {
  const changes: Change[] = [
    add(5),
    { do: 'add-peer', vni: 5, address: '192.0.2.1' },
    { do: 'add-endpoint', vni: 5, endpoint: endpoint(1, '192.0.2.1') },
    { do: 'remove-member', address: '192.0.2.1' },
  ];
  assert.equal([...unpackChanges(packChanges(changes))], changes);
  assert.equal([...unpackChanges('')], []);
});

test('a batch takes effect in slices, in order', () => {
  const one = machine();
  const changes = [
    add(5),
    ...Array.from({ length: 1000 }, (_, i): Change => ({ do: 'add-endpoint', vni: 5, endpoint: endpoint(i) })),
  ];
  const batch = new Batch(unpackChanges(packChanges(changes)));
  let slices = 0;
  let before = 0;
  while (!batch.work(one, () => true)) {
    slices++;
    const now = one.vtep.neighbors(5).length;
    assert.ok(now > before && now - before <= 8, `${now - before} in a slice`);
    before = now;
  }
  assert.ok(slices > 100);
  assert.is(one.vtep.neighbors(5).length, 1000);
});

test('a batch pauses between its slices only while frames flow', () => {
  const pauses = new Pauses();
  assert.is(pauses.after(0, 1000), 0, 'no frame yet');
  assert.ok(pauses.after(5, 1001) > 0);
  assert.ok(pauses.after(5, 1050) > 0, 'a ping every 10 ms is a flow');
  assert.is(pauses.after(5, 1200), 0);
});

test('the first slices of 65,536 endpoints take about half a millisecond each', () => {
  const one = machine();
  all(one, [add(5)]);
  const changes = Array.from({ length: 65_536 }, (_, i): Change => ({
    do: 'add-endpoint',
    vni: 5,
    endpoint: endpoint(i, '192.0.2.1'),
  }));
  const times: number[] = [];
  for (let at = 0; at < changes.length; at += 4096) {
    const batch = new Batch(unpackChanges(packChanges(changes.slice(at, at + 4096))));
    for (let done = false; !done;) {
      const start = performance.now();
      done = batch.work(one, () => performance.now() - start >= 0.5);
      times.push(performance.now() - start);
    }
  }
  times.sort((a, b) => a - b);
  const at = (part: number): string => times[Math.floor(times.length * part)]!.toFixed(2);
  console.log(
    `# ${times.length} slices: ${at(0.5)} ms, ${at(0.95)} ms at 95 %, ${times.at(-1)!.toFixed(2)} ms at most`,
  );
  assert.ok(Number(at(0.5)) < 1.5, at(0.5));
});

test.run();
