/** Work on several items at a time. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { several, valuesOf } from '../src/host/several.js';

/** Steps that the test ends one by one. */
function steps() {
  const ends = new Map<number, { resolve(value: string): void; reject(error: Error): void }>();
  const begun: number[] = [];
  const work = (item: number): Promise<string> => {
    begun.push(item);
    return new Promise((resolve, reject) => ends.set(item, { resolve, reject }));
  };
  const pass = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  return { begun, ends, work, pass };
}

test('as many items at a time as wanted, in their order', async () => {
  const { begun, ends, work, pass } = steps();
  const all = several([10, 11, 12, 13, 14], 2, work);
  assert.equal(begun, [10, 11]);
  ends.get(11)!.resolve('b');
  await pass();
  assert.equal(begun, [10, 11, 12], 'the next one begins when any of them ends');
  for (const item of [12, 13, 14]) {
    ends.get(item)!.resolve(`item ${item}`);
    await pass();
  }
  assert.equal(begun, [10, 11, 12, 13, 14]);
  ends.get(10)!.resolve('a');
  assert.equal(valuesOf(await all), ['a', 'b', 'item 12', 'item 13', 'item 14'], 'in the order of the items');
});

test('an item that fails keeps no other from its turn, whether it fails at once or later', async () => {
  const done: number[] = [];
  const outcomes = await several([0, 1, 2, 3], 2, (item) => {
    if (item === 0) throw new Error('at once');
    if (item === 2) return Promise.reject(new Error('later'));
    done.push(item);
    return Promise.resolve(item);
  });
  assert.equal(done, [1, 3]);
  assert.equal(
    outcomes.map((one) => (one.status === 'fulfilled' ? one.value : (one.reason as Error).message)),
    ['at once', 1, 'later', 3],
  );
  assert.throws(() => valuesOf(outcomes), /^at once$/);
});

test('no items, fewer items than places, and a number of places that makes no sense', async () => {
  assert.equal(await several([], 4, () => Promise.reject(new Error('never'))), []);
  for (const most of [100, 1, 0, -1])
    assert.equal(valuesOf(await several(new Set(['a', 'b']), most, (item, index) => Promise.resolve(item + index))), [
      'a0',
      'b1',
    ]);
});

test.run();
