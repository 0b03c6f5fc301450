/** The benchmark of scale at a small size: its frames arrive, its endpoints are there, and its clock runs. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { manyNetworks, oneNetwork, SMALL, Stopwatch } from '../bench/calls.js';
import { ARRIVALS, networks, PATHS, PORT_KINDS, ports, TOGETHER } from '../bench/networks.js';

test('each frame between two of many ports is delivered once', () => {
  for (const kind of PORT_KINDS) {
    const { run, sink } = ports(kind, 20);
    // The first frame is flooded to the 19 others, and the second one goes to the last port.
    assert.equal([sink.frames, sink.datagrams], [20, 0]);
    for (let i = 0; i < 100; i++) run();
    assert.equal([sink.frames, sink.datagrams], [120, 0], kind);
  }
});

test('each frame of a random network leaves once, by a tunnel or by a port', () => {
  const { run, sink } = networks(50, 10);
  for (const path of PATHS)
    for (const arrival of ARRIVALS) {
      const [frames, datagrams] = [sink.frames, sink.datagrams];
      for (let i = 0; i < 100; i++) run[path][arrival]();
      const sent = arrival === 'one' ? 100 : 100 * TOGETHER;
      const expected = path === 'tunnel to port' ? [sent, 0] : [0, sent];
      assert.equal([sink.frames - frames, sink.datagrams - datagrams], expected, `${path}, ${arrival}`);
    }
});

test('the calls are made on as many endpoints as the benchmark says', async () => {
  const watch = new Stopwatch();
  assert.is(manyNetworks(SMALL, watch), SMALL.networks * SMALL.endpoints);
  assert.is(oneNetwork(SMALL, watch), SMALL.networks * SMALL.endpoints);
  const calls = new Map((await watch.results()).map((one) => [one.name, one]));
  assert.is(calls.get('addPort')!.calls, SMALL.ports - 4);
  assert.is(calls.get('removeSegment')!.calls, SMALL.networks / 10);
  assert.is(calls.get('one network: receiveFrame, new station')!.calls, SMALL.networks * SMALL.endpoints);
  for (const { name, longest, mean } of calls.values()) assert.ok(longest > 0 && mean > 0, name);
});

test('a stopwatch measures what a call takes', async () => {
  // Allocates nothing: a call in which the garbage collector ran would not be measured.
  const spin = (rounds: number): number => {
    let hash = 1;
    for (let i = 0; i < rounds * 1_000_000; i++) hash = (Math.imul(hash, 31) + i) | 0;
    return hash;
  };
  for (let i = 0; i < 10; i++) spin(1); // compiled before it is measured
  const watch = new Stopwatch();
  for (const rounds of [1, 30, 2]) watch.time('spin', () => spin(rounds));
  const [spun] = await watch.results();
  const { calls, longest, mean } = spun!;
  assert.is(calls, 3);
  const others = calls * mean - longest;
  assert.ok(others > 0 && longest > 4 * others, `${longest} and ${others}`); // 10 times as long
});

test.run();
