import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { IdMap } from '../src/vtep/id-map.js';

const test = suite('map of ids');

const step = fc.oneof(
  fc.record({ do: fc.constant('set' as const), id: fc.nat(40), value: fc.nat(9) }),
  fc.record({ do: fc.constant('delete' as const), id: fc.nat(40) }),
);

test('it holds what a Map holds, whatever is set and deleted', () => {
  fc.assert(
    // The factor puts ids far apart, or next to each other; 2^24 - 1 is the largest VNI.
    fc.property(
      fc.array(step, { maxLength: 200 }),
      fc.constantFrom(1, 4096, 419_430),
      fc.nat(50),
      (steps, factor, room) => {
        const expected = new Map<number, { value: number }>();
        const map = new IdMap<{ value: number }>(room);
        for (const one of steps) {
          const id = one.id * factor;
          if (one.do === 'delete') assert.is(map.delete(id), expected.delete(id));
          else {
            const value = { value: one.value };
            map.set(id, value);
            expected.set(id, value);
          }
          for (let other = 0; other <= 41; other++) assert.is(map.get(other * factor), expected.get(other * factor));
        }
        assert.equal(new Set(map.values()), new Set(expected.values()));
      },
    ),
  );
});

test('ten thousand ids, all found, and none beside them', () => {
  const map = new IdMap<{ id: number }>();
  for (let id = 0; id < 20_000; id += 2) map.set(id, { id });
  for (let id = 0; id < 20_000; id++) assert.is(map.get(id)?.id, id % 2 === 0 ? id : undefined);
  for (let id = 0; id < 20_000; id += 4) assert.ok(map.delete(id));
  for (let id = 0; id < 20_000; id++) assert.is(map.get(id)?.id, id % 4 === 2 ? id : undefined);
});

test.run();
