/** Which nodes a manager takes for alive, from the gossip and the store. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { NodeStates } from '../src/host/cluster/node-states.js';
import { type NodeRecord, type NodeState } from '../src/cluster/index.js';

const node = (id: string, state: NodeState): NodeRecord => ({
  ...{ id, state, name: id, role: 'worker', address: '172.31.0.1', port: 2377 },
  ...{ fingerprints: [], joined: 0, since: 0, keyTag: 1 },
});

test('a node that the gossip has as dead has failed; one that it has as alive is alive', () => {
  const states = new NodeStates();
  const nodes = [node('m', 'failed'), node('a', 'alive'), node('b', 'failed'), node('c', 'alive'), node('d', 'left')];
  const members = new Map([
    ['a', false],
    ['b', true],
    ['c', true],
    ['d', true],
    ['stranger', true],
  ]);
  assert.equal(states.compare(nodes, members, 'm', 0), [
    { node: 'm', state: 'alive' },
    { node: 'a', state: 'failed' },
    { node: 'b', state: 'alive' },
  ]);
});

test('a node that died while no manager ran counts as failed after some time, and not before it could join', () => {
  const states = new NodeStates();
  const nodes = [node('m', 'alive'), node('a', 'alive'), node('b', 'alive')];
  const compare = (now: number, ...alive: string[]): unknown =>
    states.compare(nodes, new Map(alive.map((id) => [id, true])), 'm', now);
  assert.equal(compare(1000), []);
  assert.equal(compare(9000, 'b'), []);
  assert.equal(compare(15_999, 'b'), []);
  assert.equal(compare(16_000, 'b'), [{ node: 'a', state: 'failed' }]);
  assert.equal(compare(17_000, 'a', 'b'), []);
  // It is missing again: it has the same time once more.
  assert.equal(compare(20_000, 'b'), []);
  assert.equal(compare(34_999, 'b'), []);
  assert.equal(compare(35_000, 'b'), [{ node: 'a', state: 'failed' }]);
});

test('a missing node that has failed already, or has left, is no news', () => {
  const states = new NodeStates();
  const nodes = [node('a', 'failed'), node('b', 'left')];
  for (const now of [0, 60_000]) assert.equal(states.compare(nodes, new Map(), 'm', now), []);
});

test.run();
