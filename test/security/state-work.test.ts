/** What other hosts can make the host state do: they choose the addresses, and how many endpoints share one. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { SEGMENT_DEFAULTS, type Change } from '../../src/model/index.js';
import { HostState, type Entry } from '../../src/state/index.js';
import { processorTime as took, requireLinear } from '../support/processor-time.js';
import { endpoint, segment, VNI } from '../support/state.js';

const COUNT = 16_000;

function started(): HostState {
  const state = new HostState();
  state.want('configuration', segment(VNI));
  drain(state);
  return state;
}

/** Takes all batches, as a data plane that accepts everything. @returns their changes, and the longest call. */
function drain(state: HostState, limit = 256): { changes: Change[]; longest: number } {
  const changes: Change[] = [];
  let longest = 0;
  while (state.isDue) {
    let batch: Change[] = [];
    const time = took(() => (batch = state.take(limit)));
    longest = Math.max(longest, time);
    changes.push(...batch);
    if (batch.length > 0) state.applied();
  }
  return { changes, longest };
}

function ip(i: number): string {
  return `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`;
}

function mac(i: number): string {
  return `02:00:00:${[i >> 16, i >> 8, i].map((byte) => (byte & 255).toString(16).padStart(2, '0')).join(':')}`;
}

const A = '192.168.1.1';
const B = '192.168.1.2';
/** What a hostile VTEP announces: thousands of endpoints that share an address, or thousands of places of one. */
const crowds: [what: string, entry: (i: number) => Entry][] = [
  ['one IP address', (i) => endpoint(ip(1), mac(i), A)],
  ['one MAC address', (i) => endpoint(ip(i), mac(1), A)],
  ['one MAC address at two places', (i) => endpoint(ip(i), mac(1), i % 2 === 0 ? A : B)],
  ['both addresses', (i) => endpoint(ip(1), mac(1), ip(i))],
];
for (const [what, entry] of crowds)
  test(`${COUNT} endpoints that share ${what} come, change and go in linear time`, () => {
    let longest = 0;
    requireLinear(COUNT, (count) => {
      const state = started();
      const all = Array.from({ length: count }, (_, i) => entry(i));
      const time = took(() => {
        for (const [i, one] of all.entries()) {
          state.want('gossip', one, count - i); // each one is older than all before it
          if (i % 100 === 0) longest = Math.max(longest, drain(state).longest);
        }
        for (const [i, one] of all.entries()) state.want('gossip', one, i);
        longest = Math.max(longest, drain(state).longest);
        for (const one of all) {
          state.withdraw('gossip', one); // always the oldest
          if (state.take(2).length > 0) state.applied();
        }
      });
      drain(state);
      assert.equal([...state.list('endpoint')], []);
      return time;
    });
    assert.ok(longest < 250, `a batch took ${longest} ms`);
  });

test('small batches of many changes take linear time', () => {
  requireLinear(2 * COUNT, (count) => {
    const state = started();
    return took(() => {
      for (let i = 0; i < count; i++) state.want('gossip', endpoint(ip(i), mac(i), A), i);
      assert.is(drain(state, 2).changes.length, count);
      state.withdrawAll('gossip');
      assert.is(drain(state, 2).changes.length, count);
    });
  });
});

test('nothing remains of what is not wanted', () => {
  const state = new HostState();
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 200_000; i++) {
    const entries: Entry[] = [
      { kind: 'segment', segment: { ...SEGMENT_DEFAULTS, vni: i, mtu: 1450 } },
      { kind: 'peer', vni: i, address: A },
      endpoint(ip(i), mac(i), A, i),
      { kind: 'member', address: ip(i) },
    ];
    const order = i % 2 === 0 ? entries : [...entries].reverse();
    for (const entry of entries) state.want('api', entry);
    if (i % 3 !== 0) drain(state);
    for (const entry of order) state.withdraw('api', entry);
    if (i % 3 !== 1) drain(state);
  }
  drain(state);
  for (const kind of ['segment', 'peer', 'endpoint', 'member'] as const) assert.equal([...state.list(kind)], []);
  const grown = process.memoryUsage().heapUsed - before;
  assert.ok(grown < 64 << 20, `${grown >> 20} MiB`);
});

test.run();
