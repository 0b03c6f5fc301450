/** What several workers answer, as one. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { addCounts, gatherCounters, gatherFdb, gatherRemotes } from '../src/host/linux/gather.js';
import { Vtep } from '../src/vtep/index.js';

test('counts are added up, by segment and by reason', () => {
  assert.equal(
    addCounts([Float64Array.of(1, 2), Float64Array.of(10, 20), Float64Array.of(100, 0)]),
    Float64Array.of(111, 22),
  );
  const machine = (datagrams: number): Vtep => {
    const vtep = new Vtep();
    for (const vni of [1, 2]) vtep.addSegment({ vni });
    const sink = { deliver: () => undefined, transmit: () => undefined };
    // VXLAN headers of VNI 2, without a frame behind them.
    for (let i = 0; i < datagrams; i++)
      vtep.receiveDatagram('192.0.2.1', Uint8Array.of(8, 0, 0, 0, 0, 0, 2, 0), 0, 8, 0, 0, sink);
    return vtep;
  };
  const sum = gatherCounters([machine(1), machine(2), machine(4)].map((vtep) => vtep.counters()));
  assert.equal(sum, machine(7).counters());
  assert.equal([sum.drops['frame-truncated'], sum.segments[1]!.drops['frame-truncated']], [7, 7]);
});

test('an address is listed once, as seen last', () => {
  const entry = (mac: string, age: number, vtep: string, fixed = false) => ({
    vni: 1,
    mac,
    static: fixed,
    age,
    port: null,
    vtep,
  });
  assert.equal(
    gatherFdb([
      [entry('a', 100, 'x'), entry('b', 0, 'x', true)],
      [entry('b', 0, 'y'), entry('a', 50, 'y'), { ...entry('a', 900, 'z'), vni: 2 }],
    ]),
    [entry('a', 50, 'y'), entry('b', 0, 'x', true), { ...entry('a', 900, 'z'), vni: 2 }],
  );
});

test('of a remote the narrowest way is told, and all reports', () => {
  const remote = (mtu: number | null, undelivered: number, reason = '') => ({
    address: '192.0.2.1',
    port: 4789,
    mtu,
    undelivered,
    reason,
  });
  assert.equal(gatherRemotes([[remote(null, 1, 'ECONNREFUSED')], [remote(1350, 0)], [remote(1400, 2)]]), [
    remote(1350, 3, 'ECONNREFUSED'),
  ]);
  assert.equal(gatherRemotes([[remote(null, 0)], [remote(null, 0)]]), [remote(null, 0)]);
});

test.run();
