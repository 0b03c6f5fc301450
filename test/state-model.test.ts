/** The host state against a naive model that computes everything from the set of wants. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Change } from '../src/model/index.js';
import { HostState, type Entry, type Wanted } from '../src/state/index.js';
import { Vtep } from '../src/vtep/index.js';
import {
  A,
  B,
  C,
  Model,
  Plane,
  Run,
  applyTo,
  drain,
  endpoint,
  keyOf,
  peer,
  router,
  segment,
  textOf,
  type Step,
} from './support/state.js';

const SEED = 4097;
const SOURCES = ['api', 'configuration', 'gossip'];
const IPS = ['10.0.0.1', '10.0.0.2', '10.0.0.3'];
const MACS = ['02:00:00:00:00:01', '02:00:00:00:00:02', '02:00:00:00:00:03'];
const VNIS = [7, 8];

const entries: fc.Arbitrary<Entry> = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.tuple(fc.constantFrom(...VNIS), fc.constantFrom(1400, 1450)).map(([vni, mtu]) => segment(vni, mtu)),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(fc.constantFrom(A, B, C), fc.constantFrom(...VNIS)).map(([address, vni]) => peer(address, vni)),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.subarray(VNIS, { minLength: 1 }), fc.constantFrom(undefined, '02:00:00:00:00:fd'))
      .map(([vnis, mac]) => router('net', vnis, mac)),
  },
  { weight: 1, arbitrary: fc.constantFrom(A, B).map((address): Entry => ({ kind: 'member', address })) },
  {
    weight: 8,
    arbitrary: fc
      .tuple(
        fc.constantFrom(...IPS),
        fc.constantFrom(...MACS),
        fc.constantFrom(undefined, A, B),
        fc.constantFrom(...VNIS),
      )
      .map(([ip, mac, vtep, vni]) => endpoint(ip, mac, vtep, vni)),
  },
);
const sources = fc.constantFrom(...SOURCES);
const wants: fc.Arbitrary<Step> = fc
  .tuple(sources, entries, fc.nat(4))
  .map(([source, entry, since]) => ({ do: 'want', source, entry, since }));
const changes: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: wants },
  {
    weight: 8,
    arbitrary: fc.tuple(sources, entries).map(([source, entry]): Step => ({ do: 'withdraw', source, entry })),
  },
  { weight: 1, arbitrary: sources.map((source): Step => ({ do: 'withdraw-all', source })) },
);
const steps: fc.Arbitrary<Step> = fc.oneof(
  { weight: 21, arbitrary: changes },
  { weight: 4, arbitrary: fc.integer({ min: 2, max: 5 }).map((limit): Step => ({ do: 'take', limit })) },
  { weight: 3, arbitrary: fc.constant<Step>({ do: 'apply' }) },
  { weight: 1, arbitrary: fc.constant<Step>({ do: 'drain' }) },
);
/** The segments exist, so that most endpoints matter. */
const START: Step[] = VNIS.map((vni) => ({ do: 'want', source: 'start', entry: segment(vni), since: 2 }));
const runs = fc.array(steps, { maxLength: 60, size: 'max' }).map((list) => [...START, ...list]);

test('after any changes, the data plane has what the naive model computes from the set of wants', () => {
  fc.assert(
    fc.property(runs, (list) => {
      const run = new Run();
      for (const step of list) {
        run.do(step);
        if (step.do !== 'drain') continue;
        assert.equal(run.plane.list(), run.model.result());
      }
      run.drain();
      const expected = run.model.result();
      assert.equal(run.plane.list(), expected);
      assert.equal(
        run.replacing.list().sort(),
        expected.filter((line) => line.startsWith('endpoint')),
      );
      const inEffect = new Set(expected.map((line) => line.replace(/^(segment \d+|router \w+) .*/, '$1')));
      const listed: Wanted[] = [];
      for (const kind of ['segment', 'router', 'peer', 'endpoint', 'member'] as const)
        listed.push(...run.state.list(kind));
      for (const { entry, sources: who, outcome } of listed) {
        assert.equal(who, run.model.sourcesOf(entry));
        assert.is(outcome === 'in-effect', inEffect.has(keyOf(entry)), keyOf(entry));
      }
      const wanted = new Set([...run.model.wants.values()].map(({ entry }) => keyOf(entry)));
      assert.equal(listed.map(({ entry }) => keyOf(entry)).sort(), [...wanted].sort());
    }),
    { numRuns: 3000, seed: SEED },
  );
});

test('the order of the wants does not matter', () => {
  fc.assert(
    fc.property(
      fc.uniqueArray(wants, {
        maxLength: 25,
        selector: (step) => ('entry' in step ? `${step.source} ${keyOf(step.entry)}` : ''),
      }),
      fc.infiniteStream(fc.nat()),
      (list, numbers) => {
        const [a, b] = [new Run(), new Run()];
        for (const step of [...START, ...list]) a.do(step);
        const shuffled = list.map((step) => ({ step, by: numbers.next().value as number })).sort((x, y) => x.by - y.by);
        for (const { step } of shuffled) (b.do(step), b.do({ do: 'take', limit: 4 }));
        for (const step of START) b.do(step);
        a.drain();
        b.drain();
        assert.equal(b.plane.list(), a.plane.list());
      },
    ),
    { numRuns: 500, seed: SEED },
  );
});

test('changes that are taken back before a batch cancel out', () => {
  fc.assert(
    fc.property(runs, fc.array(changes, { maxLength: 20 }), (list, extra) => {
      const run = new Run();
      for (const step of list) run.do(step);
      run.drain();
      const before = [...run.model.wants.values()];
      for (const step of extra) run.do(step);
      for (const { source, entry } of [...run.model.wants.values()]) run.do({ do: 'withdraw', source, entry });
      for (const { source, entry, since } of before) run.do({ do: 'want', source, entry, since });
      assert.equal(drain(run.state, run.plane), []);
    }),
    { numRuns: 1000, seed: SEED },
  );
});

test('an IP address that is somewhere before and after changes is at one of the two places all the time', () => {
  fc.assert(
    fc.property(runs, fc.array(changes, { maxLength: 12 }), fc.integer({ min: 2, max: 5 }), (list, extra, limit) => {
      const run = new Run();
      const isSegment = (step: Step): boolean => 'entry' in step && step.entry.kind === 'segment';
      for (const step of list) run.do(step);
      for (const step of START) run.do({ ...step, source: 'always', since: -1 } as Step);
      run.drain();
      const before = new Map(
        VNIS.map((vni) => [vni, new Map(run.model.locations(vni).map((one) => [one.ip, textOf(one)]))]),
      );
      for (const step of extra) if (!isSegment(step)) run.do(step);
      run.each = () => {
        for (const vni of VNIS)
          for (const location of run.model.locations(vni)) {
            const was = before.get(vni)!.get(location.ip);
            const is = run.plane.byIp(vni).get(location.ip);
            if (was !== undefined) assert.ok(is !== undefined && [was, textOf(location)].includes(textOf(is)), was);
          }
      };
      run.drain(limit);
    }),
    { numRuns: 1500, seed: SEED },
  );
});

test('what the data plane refuses stays wanted, and takes the first free place', () => {
  // A flood list of two, a table of two endpoints, and a segment that is too large.
  const refuses = (change: Change, plane: Plane): string | null => {
    if (change.do === 'add-peer' && plane.segments.get(change.vni)!.peers.size >= 2) return 'full';
    if (change.do === 'add-endpoint') {
      const { locations } = plane.segments.get(change.vni)!;
      const isKnown = locations.some((one) => textOf(one) === textOf(change.endpoint));
      return locations.length < 2 || isKnown ? null : 'full';
    }
    if (change.do !== 'add-segment' || change.segment.mtu <= 1400) return null;
    plane.refused.add(change.segment.vni);
    return 'too large';
  };
  fc.assert(
    fc.property(fc.array(steps, { maxLength: 60, size: 'max' }), (list) => {
      const run = new Run(refuses);
      for (const vni of VNIS) run.do({ do: 'want', source: 'start', entry: segment(vni, 1400), since: 2 });
      for (const step of list) run.do(step);
      run.drain();
      const isHere = (vni: number): boolean => run.plane.segments.has(vni);
      const fits = (line: string): boolean =>
        line.startsWith('segment')
          ? line.endsWith(' 1400')
          : line.startsWith('router')
            ? line.split(' ')[3]!.split(',').map(Number).every(isHere)
            : line.startsWith('member') || isHere(Number(line.split(' ')[1]));
      const result = run.model.result().filter(fits);
      const has = run.plane.list();
      assert.ok(has.every((line) => result.includes(line)));
      for (const name of [
        'segment',
        'router',
        'member',
        ...VNIS.flatMap((vni) => [`peer ${vni}`, `endpoint ${vni}`]),
      ]) {
        const most = name.startsWith('peer') || name.startsWith('endpoint') ? 2 : Infinity;
        const [all, some] = [result, has].map((lines) => lines.filter((line) => line.startsWith(name)).length);
        assert.is(some, Math.min(all!, most), name);
      }
      for (const kind of ['peer', 'endpoint'] as const)
        for (const { entry, ...outcome } of run.state.list(kind)) {
          const isHolding = result.includes(keyOf(entry));
          const expected = has.includes(keyOf(entry)) ? 'in-effect' : isHolding ? 'refused' : 'held';
          assert.is(outcome.outcome, 'vni' in entry && !isHere(entry.vni) ? 'no-segment' : expected);
          if (outcome.outcome === 'refused') assert.is(outcome.reason, 'full');
        }
    }),
    { numRuns: 2000, seed: SEED },
  );
});

test('a Vtep has one location for each address after every batch, and forwards there', () => {
  fc.assert(
    fc.property(runs, (list) => {
      const [state, model, vtep] = [new HostState(), new Model(), new Vtep({ local: '192.168.1.9' })];
      const settle = (): void => {
        for (let calls = 0; state.isDue && calls < 10_000; calls++) {
          const batch = state.take(4);
          if (batch.length > 0) assert.equal(state.applied(applyTo(vtep, batch)), []);
        }
      };
      for (const step of list) {
        if (step.do === 'want')
          (state.want(step.source, step.entry, step.since), model.want(step.source, step.entry, step.since));
        else if (step.do === 'withdraw')
          (state.withdraw(step.source, step.entry), model.withdraw(step.source, step.entry));
        else if (step.do === 'withdraw-all') (state.withdrawAll(step.source), model.withdrawAll(step.source));
        else settle();
      }
      settle();
      for (const vni of vtep.vnis()) {
        const locations = model.locations(vni);
        assert.equal(
          vtep
            .neighbors(vni)
            .map(({ ip, mac, vtep: at }) => `${ip} ${mac} ${at ?? 'here'}`)
            .sort(),
          locations.map(textOf).sort(),
        );
        const remote = new Map(locations.flatMap(({ mac, vtep: at }) => (at === undefined ? [] : [[mac, at]])));
        assert.equal(new Map(vtep.fdb(vni, 0).map(({ mac, vtep: at }) => [mac, at])), remote);
      }
    }),
    { numRuns: 500, seed: SEED },
  );
});

test.run();
