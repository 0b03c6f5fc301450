/** Which placements hold, against a naive reference, and against a host state that knows the same attachments. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { Placements, type Placement } from '../src/gossip/networkdb/placements.js';
import { SEGMENT_DEFAULTS } from '../src/model/index.js';
import { HostState } from '../src/state/index.js';
import { naiveEffect } from './support/naive-rule.js';

const few = <T>(...values: T[]): fc.Arbitrary<T> => fc.constantFrom(...values);

const placement: fc.Arbitrary<Placement> = fc
  .record({
    key: few('k1', 'k2', 'k3', 'k4', 'k5', 'k6', 'k7', 'k8', 'k9'),
    owner: few('a', 'b', 'c'),
    ip: few('10.0.0.1', '10.0.0.2', 'fd00::1'),
    mac: few('02:00:00:00:00:01', '02:00:00:00:00:02', '02:00:00:00:00:03'),
    vtep: few('192.0.2.1', '192.0.2.2', '192.0.2.3'),
    parameters: few('', '', 'p1', 'p1', 'p2'),
    since: few(0, 1, 2, 3, 4),
  })
  .map((fields) => ({ ...fields, attached: fields.since }));

const changes = fc.array(fc.tuple(few('put', 'put', 'put', 'remove', 'settle'), placement), {
  maxLength: 40,
  size: 'max',
});

/** The records that count: those with the parameters of the node that attached first, or none. */
function counted(records: readonly Placement[]): Placement[] {
  const claims = records.filter(({ parameters }) => parameters !== '');
  const order = ({ attached, owner, parameters }: Placement): string => `${attached} ${owner} ${parameters}`;
  const [first] = claims.sort((a, b) => (order(a) < order(b) ? -1 : 1));
  return records.filter(({ parameters }) => parameters === '' || parameters === first?.parameters);
}

test('what holds is a function of the records alone: the rule, in whatever order they arrive', () => {
  fc.assert(
    fc.property(changes, (steps) => {
      const placements = new Placements();
      const records = new Map<string, Placement>();
      const held = new Map<string, Placement>();
      const settle = (): void => {
        for (const { before, after } of placements.settle()) {
          const key = (before ?? after)!.key;
          assert.is(held.get(key) ?? null, before, 'what held before');
          if (after === null) held.delete(key);
          else held.set(key, after);
        }
        const wanted = naiveEffect(counted([...records.values()]));
        const keys = (all: Iterable<Placement>): string =>
          [...all]
            .map(({ key }) => key)
            .sort()
            .join(' ');
        assert.is(keys(held.values()), keys(wanted));
        for (const key of records.keys()) assert.is(placements.holds(key), held.has(key), key);
        assert.is(placements.refused.size, records.size - held.size);
        for (const refused of placements.refused) assert.ok(placements.rival(refused) !== null, refused.key);
        for (const one of held.values()) assert.is(placements.rival(one), null, one.key);
      };
      for (const [step, one] of steps) {
        if (step === 'put') {
          placements.put(one);
          records.set(one.key, one);
        } else if (step === 'remove') {
          placements.remove(one.key);
          records.delete(one.key);
        } else settle();
      }
      settle();
    }),
    { numRuns: 1000 },
  );
});

test('a host state that knows the same attachments has the same in effect', () => {
  fc.assert(
    fc.property(fc.array(placement, { maxLength: 12 }), few('192.0.2.1', '192.0.2.2', '192.0.2.9'), (all, local) => {
      const placements = new Placements();
      const state = new HostState(local);
      state.want('test', { kind: 'segment', segment: { vni: 7, mtu: 1450, ...SEGMENT_DEFAULTS } });
      const records = new Map(all.map((one) => [one.key, { ...one, parameters: '' }]));
      for (const one of records.values()) {
        placements.put(one);
        const { key, ip, mac, vtep, since } = one;
        const endpoint = vtep === local ? { ip, mac } : { ip, mac, vtep };
        state.want(key, { kind: 'endpoint', vni: 7, endpoint }, since);
      }
      placements.settle();
      while (state.isDue) if (state.take().length > 0) state.applied();
      const places = [...records.values()]
        .filter(({ key }) => placements.holds(key))
        .map(({ ip, mac, vtep }) => `${ip} ${mac} ${vtep}`);
      const inEffect = [...state.list('endpoint', 7)].flatMap(({ entry, outcome }) => {
        if (entry.kind !== 'endpoint' || outcome !== 'in-effect') return [];
        const { ip, mac, vtep = local } = entry.endpoint;
        return `${ip} ${mac} ${vtep}`;
      });
      assert.equal([...new Set(places)].sort(), inEffect.sort());
    }),
    { numRuns: 1000 },
  );
});

test.run();
