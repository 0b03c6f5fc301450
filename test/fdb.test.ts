import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { macToText, parseMac, setMac } from '../src/address/index.js';
import * as fdb from '../src/fdb/index.js';

const { Fdb, FdbMemory, NONE, TICK } = fdb;

function at(mac: number): Uint8Array {
  const bytes = new Uint8Array(6);
  setMac(bytes, 0, mac);
  return bytes;
}

test('learns, refreshes, moves and forgets', () => {
  const table = new Fdb({ ageing: 10 * TICK });
  const mac = fdb.macBytes('02:42:0a:00:00:03');
  assert.is(table.lookup(mac, 0, 0), NONE);
  assert.is(table.learn(mac, 0, 7, 0), fdb.LEARNED);
  assert.is(table.lookup(mac, 0, 0), 7);
  assert.is(table.learn(mac, 0, 7, 5 * TICK), fdb.REFRESHED);
  assert.is(table.lookup(mac, 0, 15 * TICK), 7);
  assert.is(table.lookup(mac, 0, 16 * TICK), NONE, 'aged out before any sweep');
  assert.is(table.learn(mac, 0, 7, 15 * TICK), fdb.REFRESHED);
  assert.is(table.learn(mac, 0, 8, 15 * TICK), fdb.MOVED);
  assert.is(table.lookup(mac, 0, 15 * TICK), 8);
  assert.is(table.size, 1);
  table.sweep(26 * TICK);
  assert.is(table.size, 0);
});

test('entries age with a clock that counts from 1970, and across the wrap of the ticks', () => {
  for (const start of [1.8e12, 2 ** 31 * TICK - 3 * TICK, 2 ** 32 * TICK - 3 * TICK]) {
    const table = new Fdb({ ageing: 10 * TICK });
    table.learn(at(1), 0, 1, start);
    assert.is(table.lookup(at(1), 0, start + 10 * TICK), 1);
    assert.is(table.lookup(at(1), 0, start + 12 * TICK), NONE);
  }
});

test('with ageing 0 entries never expire', () => {
  const table = new Fdb({ ageing: 0 });
  table.learn(at(1), 0, 1, 0);
  table.sweep(1e9);
  assert.is(table.lookup(at(1), 0, 1e9), 1);
});

test('static entries beat learned ones, do not age and are not moved', () => {
  const table = new Fdb({ ageing: TICK });
  const mac = at(0x0242_0a00_0004);
  table.learn(mac, 0, 3, 0);
  table.setStatic(0x0242_0a00_0004, 9);
  assert.is(table.behind(3), 0);
  assert.is(table.learn(mac, 0, 3, 0), fdb.CONTRADICTED);
  assert.is(table.learn(mac, 0, 9, 0), fdb.CONFIRMED);
  table.sweep(1e9);
  assert.is(table.lookup(mac, 0, 1e9), 9);
  assert.ok(table.isStatic(mac, 0));
  assert.equal([...table.entries(0)], [{ mac: '02:42:0a:00:00:04', destination: 9, static: true, age: 0 }]);
  assert.ok(table.remove(0x0242_0a00_0004));
  assert.not(table.remove(0x0242_0a00_0004));
  assert.is(table.lookup(mac, 0, 0), NONE);
});

test('a flood of source addresses uses only its own share, and displaces no static entry', () => {
  const table = new Fdb({ capacity: 1000, perDestination: 600 });
  for (let i = 0; i < 2000; i++) table.setStatic(0x0200_0000_0000 + i, 1);
  let refused = 0;
  for (let i = 0; i < 50_000; i++) if (table.learn(at(0x0400_0000_0000 + i), 0, 2, 0) === fdb.QUOTA) refused++;
  assert.is(table.behind(2), 600);
  assert.is(refused, 49_400);
  for (let i = 0; i < 400; i++) assert.is(table.learn(at(0x0600_0000_0000 + i), 0, 3, 0), fdb.LEARNED);
  assert.is(table.learn(at(0x0600_0000_ffff), 0, 3, 0), fdb.FULL);
  for (let i = 0; i < 2000; i++) assert.is(table.lookup(at(0x0200_0000_0000 + i), 0, 0), 1);
  table.flush(2);
  assert.is(table.behind(2), 0);
  assert.is(table.lookup(at(0x0600_0000_0001), 0, 0), 3);
  assert.is(table.learn(at(0x0600_0000_ffff), 0, 3, 0), fdb.LEARNED);
});

test('learns only unicast addresses, also from another table', () => {
  const table = new Fdb();
  for (const text of ['00:00:00:00:00:00', 'ff:ff:ff:ff:ff:ff', '01:00:00:00:00:00', '33:33:00:00:00:01']) {
    const mac = fdb.macBytes(text);
    assert.is(table.learn(mac, 0, 1, 0), fdb.INVALID, text);
    table.adopt(parseMac(text), 1, 0, 0);
    assert.is(table.lookup(mac, 0, 0), NONE);
  }
  assert.is(table.size, 0);
  assert.is(table.learn(fdb.macBytes('00:00:00:00:00:01'), 0, 1, 0), fdb.LEARNED);
  assert.is(table.learn(fdb.macBytes('00:01:00:00:00:00'), 0, 1, 0), fdb.LEARNED);
});

test('rejects invalid bounds', () => {
  assert.throws(() => new Fdb({ capacity: -1 }), /fdb\.capacity/);
  assert.throws(() => new Fdb({ ageing: -1 }), /fdb\.ageing/);
  assert.throws(() => new Fdb().setStatic(1, 1.5), /fdb\.destination/);
});

/**
 * The model: a Map, with ages in whole ticks. Few addresses and destinations, so that collisions, moves and evictions
 * are frequent.
 */
class Model {
  readonly entries = new Map<number, { destination: number; static: boolean; seen: number }>();
  constructor(
    readonly capacity: number,
    readonly quota: number,
    readonly age: number,
  ) {}
  learned(destination?: number): number {
    return [...this.entries.values()].filter(
      (entry) => !entry.static && (destination === undefined || entry.destination === destination),
    ).length;
  }
  aged(entry: { seen: number; static: boolean }, tick: number): boolean {
    return !entry.static && tick - entry.seen > this.age;
  }
}

test('behaves like a Map for any sequence of operations', () => {
  const mac = fc.oneof(
    fc.nat(40),
    fc.nat(40).map((low) => 0x7600_0000_0000 + low),
    fc.constantFrom(0, 0xffff_ffff_ffff, 0x8000_0000),
  );
  const destination = fc.nat(4);
  const operation = fc.oneof(
    { weight: 6, arbitrary: fc.tuple(fc.constant('learn' as const), mac, destination) },
    { weight: 4, arbitrary: fc.tuple(fc.constant('lookup' as const), mac, destination) },
    { weight: 3, arbitrary: fc.tuple(fc.constant('refresh' as const), mac, destination) },
    { weight: 1, arbitrary: fc.tuple(fc.constant('static' as const), mac, destination) },
    { weight: 1, arbitrary: fc.tuple(fc.constant('remove' as const), mac, destination) },
    { weight: 1, arbitrary: fc.tuple(fc.constant('flush' as const), mac, destination) },
    { weight: 1, arbitrary: fc.tuple(fc.constant('sweep' as const), mac, destination) },
    { weight: 2, arbitrary: fc.tuple(fc.constant('wait' as const), fc.nat(8), destination) },
  );
  fc.assert(
    fc.property(
      fc.array(operation, { maxLength: 400, size: 'max' }),
      fc.integer({ min: 1, max: 60 }),
      fc.integer(),
      (steps, capacity, seed) => {
        const quota = Math.ceil(capacity / 2);
        const table = new Fdb({ capacity, perDestination: quota, ageing: 10 * TICK, seed });
        const model = new Model(capacity, quota, 10);
        let tick = 0;
        for (const [kind, key, to] of steps) {
          const known = model.entries.get(key);
          const now = tick * TICK;
          if (kind === 'wait') tick += key;
          else if (kind === 'lookup') {
            const expected = known === undefined || model.aged(known, tick) ? NONE : known.destination;
            assert.is(table.lookup(at(key), 0, now), expected);
            assert.is(table.peek(key), known?.destination ?? NONE);
          } else if (kind === 'refresh') {
            const same = known?.destination === to;
            assert.is(table.refresh(at(key), 0, to, now), same);
            if (same) known.seen = tick;
          } else if (kind === 'static') {
            table.setStatic(key, to);
            model.entries.set(key, { destination: to, static: true, seen: 0 });
          } else if (kind === 'remove') {
            assert.is(table.remove(key), model.entries.delete(key));
          } else if (kind === 'flush') {
            table.flush(to);
            for (const [one, entry] of model.entries)
              if (!entry.static && entry.destination === to) model.entries.delete(one);
          } else if (kind === 'sweep') {
            table.sweep(now);
            for (const [one, entry] of model.entries) if (model.aged(entry, tick)) model.entries.delete(one);
          } else {
            const outcome = table.learn(at(key), 0, to, now);
            if (key === 0 || key === 0xffff_ffff_ffff) assert.is(outcome, fdb.INVALID);
            else if (known?.static) assert.is(outcome, known.destination === to ? fdb.CONFIRMED : fdb.CONTRADICTED);
            else if (known?.destination === to) {
              assert.is(outcome, fdb.REFRESHED);
              known.seen = tick;
            } else if (known === undefined && model.learned() >= capacity) assert.is(outcome, fdb.FULL);
            else if (model.learned(to) >= quota) assert.is(outcome, fdb.QUOTA);
            else {
              assert.is(outcome, known === undefined || model.aged(known, tick) ? fdb.LEARNED : fdb.MOVED);
              model.entries.set(key, { destination: to, static: false, seen: tick });
            }
          }
          assert.is(table.size, model.entries.size);
        }
        const live = [...model.entries].filter(([, entry]) => !model.aged(entry, tick));
        assert.equal(
          [...table.entries(tick * TICK)].sort((a, b) => (a.mac < b.mac ? -1 : 1)),
          live
            .map(([key, entry]) => ({
              mac: macToText(key),
              destination: entry.destination,
              static: entry.static,
              age: entry.static ? 0 : (tick - entry.seen) * TICK,
            }))
            .sort((a, b) => (a.mac < b.mac ? -1 : 1)),
        );
        for (let to = 0; to <= 4; to++) assert.is(table.behind(to), model.learned(to));
      },
    ),
    { numRuns: 400 },
  );
});

/** One of the tables that share memory, and its model. */
interface Pair {
  table: fdb.Fdb;
  model: Model;
}

test('tables that share memory behave like Maps, also while they are swept in parts and replaced', () => {
  const CAPACITY = 40;
  const QUOTA = 20;
  const kinds = [
    ...['learn', 'learn', 'learn', 'learn', 'learn', 'lookup', 'lookup', 'refresh', 'adopt', 'static', 'remove'],
    ...['flush', 'flush', 'flush all', 'part', 'part', 'part', 'sweep', 'wait', 'close', 'list'],
  ] as const;
  const step = fc.tuple(fc.constantFrom(...kinds), fc.nat(2), fc.integer({ min: 1, max: 50 }), fc.nat(3));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 600, size: 'max' }), fc.integer(), (steps, seed) => {
      const memory = new FdbMemory();
      let tick = 0;
      const make = (i: number): Pair => ({
        table: new Fdb({ capacity: CAPACITY, perDestination: QUOTA, ageing: 10 * TICK, seed: seed + i, memory }),
        model: new Model(CAPACITY, QUOTA, 10),
      });
      const pairs = [make(0), make(1), make(2)];
      const list = ({ table, model }: Pair): void =>
        assert.equal(
          [...table.entries(tick * TICK)].map(({ mac, destination }) => `${mac} ${destination}`).sort(),
          [...model.entries]
            .filter(([, entry]) => !model.aged(entry, tick))
            .map(([key, { destination }]) => `${macToText(key)} ${destination}`)
            .sort(),
        );
      for (const [kind, which, key, to] of steps) {
        const { table, model } = pairs[which]!;
        const { entries } = model;
        const known = entries.get(key);
        const now = tick * TICK;
        const canLearn = (): boolean =>
          (known !== undefined || model.learned() < CAPACITY) && model.learned(to) < QUOTA;
        if (kind === 'wait') tick += to + 1;
        else if (kind === 'lookup') {
          const expected = known === undefined || model.aged(known, tick) ? NONE : known.destination;
          assert.is(table.lookup(at(key), 0, now), expected);
          assert.is(table.locate(key, now), expected);
          assert.is(table.entry(key, now)?.destination ?? NONE, expected);
        } else if (kind === 'refresh') {
          assert.is(table.refresh(at(key), 0, to, now), known?.destination === to);
          if (known?.destination === to) known.seen = tick;
        } else if (kind === 'learn') {
          const outcome = table.learn(at(key), 0, to, now);
          if (known?.static) assert.is(outcome, known.destination === to ? fdb.CONFIRMED : fdb.CONTRADICTED);
          else if (known?.destination === to) {
            assert.is(outcome, fdb.REFRESHED);
            known.seen = tick;
          } else if (canLearn()) {
            assert.is(outcome, known === undefined || model.aged(known, tick) ? fdb.LEARNED : fdb.MOVED);
            entries.set(key, { destination: to, static: false, seen: tick });
          } else assert.ok(outcome === fdb.FULL || outcome === fdb.QUOTA);
        } else if (kind === 'adopt') {
          table.adopt(key, to, 2 * TICK, now);
          const isNewer = known === undefined || (!known.static && tick - 2 >= known.seen);
          if (isNewer && known?.destination === to) known.seen = tick - 2;
          else if (isNewer && canLearn()) entries.set(key, { destination: to, static: false, seen: tick - 2 });
        } else if (kind === 'static') {
          table.setStatic(key, to);
          entries.set(key, { destination: to, static: true, seen: 0 });
        } else if (kind === 'remove') assert.is(table.remove(key), entries.delete(key));
        else if (kind === 'flush' || kind === 'flush all') {
          table.flush(...(kind === 'flush' ? [to] : []));
          for (const [one, entry] of entries)
            if (!entry.static && (kind === 'flush all' || entry.destination === to)) entries.delete(one);
        } else if (kind === 'sweep') {
          table.sweep(now);
          for (const [one, entry] of entries) if (model.aged(entry, tick)) entries.delete(one);
        } else if (kind === 'part') {
          table.sweepSome(now, 1 + to * 8);
          // Only expired entries may be gone; which of them are depends on the hash.
          for (const [one, entry] of entries)
            if (model.aged(entry, tick) && table.peek(one) === NONE) entries.delete(one);
        } else if (kind === 'list') list(pairs[which]!);
        else {
          table.close();
          pairs[which] = make(which);
        }
        const one = pairs[which]!;
        assert.is(one.table.size, one.model.entries.size);
        for (let to = 0; to <= 3; to++) {
          assert.is(one.table.behind(to), one.model.learned(to));
          assert.is(
            memory.behind(to),
            pairs.reduce((sum, { model }) => sum + model.learned(to), 0),
          );
        }
      }
      pairs.forEach(list);
      for (const { table, model } of pairs) {
        while (table.sweepSome(tick * TICK, 8) > 0);
        assert.is(table.size, [...model.entries.values()].filter((entry) => !model.aged(entry, tick)).length);
      }
    }),
    { numRuns: 400 },
  );
});

test('a table of thousands behaves like a Map while its entries move to more or fewer slots', () => {
  // Each step is done for a range of addresses, so that tables grow from 16 slots to 16,384, and become small again.
  const kinds = [
    ...['learn', 'learn', 'learn', 'learn', 'learn', 'refresh', 'static', 'remove', 'remove', 'flush', 'flush all'],
    ...['part', 'part', 'part', 'sweep', 'wait', 'wait long', 'open', 'read', 'close', 'churn'],
  ] as const;
  const range = fc.tuple(fc.nat(8000), fc.oneof(fc.nat(10), fc.nat(300), fc.nat(3000)));
  const step = fc.tuple(fc.constantFrom(...kinds), range, fc.nat(3));
  const AGE = 10;
  fc.assert(
    fc.property(fc.array(step, { minLength: 10, maxLength: 60, size: 'max' }), fc.integer(), (steps, seed) => {
      const memory = new FdbMemory();
      const make = (): Pair => ({
        table: new Fdb({ capacity: 1 << 16, perDestination: 1 << 16, ageing: AGE * TICK, seed, memory }),
        model: new Model(1 << 16, 1 << 16, AGE),
      });
      let { table, model } = make();
      let tick = 0;
      /** A listing in progress, what it has listed, and the addresses that exist since it began. */
      let listing: { entries: Iterator<fdb.FdbEntry>; listed: Map<string, number>; throughout: Set<number> } | null =
        null;
      const gone = (mac: number): void => void listing?.throughout.delete(mac);
      const expire = (): void => {
        for (const [one, entry] of model.entries) if (model.aged(entry, tick)) gone(one);
      };
      const take = (count: number): void => {
        for (let i = 0; i < count && listing !== null; i++) {
          const { done, value } = listing.entries.next();
          if (done !== true) {
            listing.listed.set(value.mac, (listing.listed.get(value.mac) ?? 0) + 1);
            continue;
          }
          for (const times of listing.listed.values()) assert.is(times, 1);
          for (const mac of listing.throughout) assert.is(listing.listed.get(macToText(mac)), 1, macToText(mac));
          listing = null;
        }
      };
      for (const [kind, [from, length], to] of steps) {
        const { entries } = model;
        const now = tick * TICK;
        const each = (change: (mac: number, known: ReturnType<typeof entries.get>) => void): void => {
          for (let mac = from + 1; mac <= from + length; mac++) change(mac, entries.get(mac));
        };
        if (kind === 'wait' || kind === 'wait long') {
          tick += kind === 'wait' ? 1 + to : AGE;
          expire();
        } else if (kind === 'learn')
          each((mac, known) => {
            const outcome = table.learn(at(mac), 0, to, now);
            if (known?.static) assert.is(outcome, known.destination === to ? fdb.CONFIRMED : fdb.CONTRADICTED);
            else {
              const isNew = known === undefined || (known.destination !== to && model.aged(known, tick));
              assert.is(outcome, isNew ? fdb.LEARNED : known.destination === to ? fdb.REFRESHED : fdb.MOVED);
              entries.set(mac, { destination: to, static: false, seen: tick });
            }
          });
        else if (kind === 'refresh')
          each((mac, known) => {
            assert.is(table.refresh(at(mac), 0, to, now), known?.destination === to);
            if (known?.destination === to) known.seen = tick;
          });
        else if (kind === 'static')
          each((mac) => {
            table.setStatic(mac, to);
            entries.set(mac, { destination: to, static: true, seen: 0 });
          });
        else if (kind === 'remove')
          each((mac) => {
            assert.is(table.remove(mac), entries.delete(mac));
            gone(mac);
          });
        else if (kind === 'churn')
          // One address after another, each of which is learned and flushed: more often than an entry can count.
          for (let i = 0; i < 6000 * to; i++) {
            if (entries.get(9000)?.static) break;
            table.learn(at(9000), 0, 9, now);
            table.flush(9);
            entries.delete(9000);
            gone(9000);
          }
        else if (kind === 'flush' || kind === 'flush all') {
          table.flush(...(kind === 'flush' ? [to] : []));
          for (const [one, entry] of entries)
            if (!entry.static && (kind === 'flush all' || entry.destination === to)) {
              entries.delete(one);
              gone(one);
            }
        } else if (kind === 'sweep') {
          table.sweep(now);
          for (const [one, entry] of entries) if (model.aged(entry, tick)) entries.delete(one);
        } else if (kind === 'part') {
          const work = table.sweepSome(now, 1 + length);
          assert.ok(work <= length + 20 || work <= 1024 * 10, `${work}`);
          for (const [one, entry] of entries)
            if (model.aged(entry, tick) && table.peek(one) === NONE) entries.delete(one);
        } else if (kind === 'open') {
          const throughout = new Set([...entries].filter(([, one]) => !model.aged(one, tick)).map(([mac]) => mac));
          listing = { entries: table.entries(now), listed: new Map(), throughout };
        } else if (kind === 'read') take(1 + length);
        else {
          table.close();
          ({ table, model } = make());
          listing = null;
        }
        assert.is(table.size, model.entries.size);
        for (let i = 0; i <= 3; i++) assert.is(memory.behind(i), model.learned(i));
        for (const mac of [from, from + length, 9000]) {
          const known = model.entries.get(mac);
          assert.is(table.peek(mac), known?.destination ?? NONE);
          assert.is(
            table.locate(mac, tick * TICK),
            known === undefined || model.aged(known, tick) ? NONE : known.destination,
          );
        }
      }
      take(Number.POSITIVE_INFINITY);
      assert.equal(
        [...table.entries(tick * TICK)].map(({ mac, destination, age }) => `${mac} ${destination} ${age}`).sort(),
        [...model.entries]
          .filter(([, entry]) => !model.aged(entry, tick))
          .map(([mac, one]) => `${macToText(mac)} ${one.destination} ${one.static ? 0 : (tick - one.seen) * TICK}`)
          .sort(),
      );
      for (const [mac, { destination }] of model.entries) assert.is(table.peek(mac), destination);
    }),
    { numRuns: 150 },
  );
});

test('an addition to a full table moves some entries, and later calls the others', () => {
  const table = new Fdb({ capacity: 1 << 20, perDestination: 1 << 20 });
  let mac = 1;
  // The table doubles from 65,536 slots.
  while (table.size < 49_000) table.learn(at(mac++), 0, 1, 0);
  while (table.sweepSome(0, 1000) > 0);
  let added = 0;
  while (table.sweepSome(0, 1) === 0) {
    table.learn(at(mac++), 0, 1, 0);
    if (++added > 20_000) break;
  }
  let [parts, work] = [0, 0];
  for (let one = 1; one > 0; parts++) {
    one = table.sweepSome(0, 1000);
    assert.ok(one <= 1000 + 20, `${one}`);
    work += one;
  }
  assert.ok(added < 20_000 && parts > 300 && work > 49_000 * 5, `${added} added, ${parts} parts, ${work} slots`);
  for (let i = 1; i < mac; i++) assert.is(table.peek(i), 1);
});

test('it publishes its slots whenever they have all entries, and only then', () => {
  let slots: fdb.Slots | null = null as fdb.Slots | null;
  const table = new Fdb({ seed: 5, publish: (now) => (slots = now) });
  /** As the fast path of a VTEP looks an address up. */
  const find = (mac: number): number => {
    const { words, base, count } = slots!;
    const at = fdb.slotOf(words, base, count - 1, 5, mac, 0);
    return words[at + fdb.SLOT_HIGH] === 0 ? fdb.NONE : words[at + fdb.SLOT_DESTINATION]!;
  };
  let moving = 0;
  for (let mac = 1; mac <= 10_000; mac++) {
    table.learn(at(mac), 0, mac % 5, 0);
    if (slots === null) moving++;
    else for (let one = mac; one > 0; one -= 997) assert.is(find(one), one % 5);
  }
  assert.ok(moving > 100 && moving < 2000, `${moving} of 10,000 additions ended while entries moved`);
  table.flush(3);
  assert.is(slots, null);
  table.sweep(0);
  assert.is(find(3), fdb.NONE);
  assert.is(find(4), 4);
  table.close();
  assert.is(slots, null);
});

test('a flush removes at once what was learned before it, however often', () => {
  const table = new Fdb({ ageing: 10_000 });
  table.learn(at(1), 0, 1, 0);
  table.setStatic(2, 7);
  // More than the 14 bits of an entry can count.
  for (let i = 0; i < 40_000; i++) {
    const mac = at(0x0200_0000_0000 + (i % 3));
    assert.is(table.learn(mac, 0, 7, i), fdb.LEARNED);
    assert.is(table.lookup(mac, 0, i), 7);
    table.flush(7);
    assert.equal([table.lookup(mac, 0, i), table.refresh(mac, 0, 7, i), table.behind(7)], [NONE, false, 0]);
    assert.ok(table.refresh(at(1), 0, 1, i));
    assert.is(table.lookup(at(2), 0, i), 7);
    if (i % 1000 === 0) table.sweep(i);
  }
  assert.is([...table.entries(40_000)].length, 2);
});

test('a sweep in parts removes what has expired within one round, and each part is bounded', () => {
  const table = new Fdb({ capacity: 50_000, perDestination: 50_000, ageing: 100 * TICK });
  let random = 7;
  const seen = new Map<number, number>();
  for (let i = 1; i <= 20_000; i++) {
    random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0;
    seen.set(i, random % 90);
    table.adopt(i, 1, (100 - seen.get(i)!) * TICK, 100 * TICK);
  }
  // 20,000 entries are in 32,768 slots, and each removal counts for 16 slots.
  for (let tick = 100; tick < 200; tick += 10) {
    const expired = table.size - [...table.entries(tick * TICK)].length;
    const most = Math.ceil((32_768 + expired * 17) / 1000) + 1;
    let parts = 0;
    for (let work = 1; work > 0; parts++) {
      work = table.sweepSome(tick * TICK, 1000);
      assert.ok(work < 1000 + 17 || table.size < 20_000 / 8, `${work}`);
    }
    assert.ok(parts <= 1 + 2 * most, `${parts} parts, ${most} expected`);
    const live = [...seen].filter(([, when]) => tick - when <= 100);
    assert.is(table.size, live.length);
    for (const [mac] of live) assert.is(table.peek(mac), 1);
  }
});

test('no address escapes a sweep in parts: one that moves to an earlier slot, or is adopted there', () => {
  for (let seed = 0; seed < 60; seed++)
    for (let part = 1; part < 64; part += 3) {
      const table = new Fdb({ ageing: 100 * TICK, seed });
      for (let i = 1; i <= 40; i++) table.learn(at(i), 0, 1, 100 * TICK);
      table.adopt(99, 1, 100 * TICK, 100 * TICK); // expires first, and starts a round
      const old = (): void => table.adopt(50, 1, 97 * TICK, 101 * TICK);
      if (seed % 2 === 0) old();
      table.sweepSome(101 * TICK, part);
      if (seed % 2 === 1) old();
      for (let i = 1; i <= 30; i++) table.remove(i);
      table.sweepSome(101 * TICK, 1000);
      while (table.sweepSome(106 * TICK, 1000) > 0);
      assert.is(table.size, 10, `seed ${seed}, part ${part}`);
    }
});

test('removing displaced entries in any order loses no other entry', () => {
  const table = new Fdb();
  const model = new Map<number, number>();
  let random = 1;
  for (let i = 0; i < 40_000; i++) {
    random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0;
    const mac = (random >>> 8) % 4000;
    if (i % 2 === 0 || i < 4000) {
      table.setStatic(mac, i);
      model.set(mac, i);
    } else assert.is(table.remove(mac), model.delete(mac));
    if (i % 1000 === 0) for (const [key, to] of model) assert.is(table.lookup(at(key), 0, 0), to);
  }
  assert.is(table.size, model.size);
});

test('a listing contains each entry that exists throughout exactly once, even if the table changes meanwhile', () => {
  for (let seed = 0; seed < 300; seed++) {
    const table = new Fdb({ seed, capacity: 1 << 16 });
    // 252 entries fill half of the slots: there are runs, and some of them wrap around the end of the table.
    const count = 252; // divisible by 3
    for (let i = 0; i < count; i++)
      if (i % 2 === 0) table.setStatic(0x0200_0000_0000 + i, 1);
      else table.learn(at(0x0200_0000_0000 + i), 0, 1, 0);
    const times = new Map<string, number>();
    let step = 0;
    let next = count;
    for (const { mac } of table.entries(0)) {
      times.set(mac, (times.get(mac) ?? 0) + 1);
      // Removes every third entry, adds new ones (in every other table so many that it grows), and replaces others.
      table.remove(0x0200_0000_0000 + ((step * 3) % count));
      for (let i = 0; i < 1 + (seed % 2) * 2; i++) table.setStatic(0x0200_0000_0000 + next++, 2);
      if (step % 5 === 0) table.setStatic(0x0200_0000_0000 + ((step + 1) % count), 3);
      step++;
    }
    for (let i = 0; i < count; i++) {
      const mac = macToText(0x0200_0000_0000 + i);
      if (i % 3 !== 0) assert.is(times.get(mac), 1, `${mac} with seed ${seed}`);
    }
  }
});

test('grows to many entries and shrinks again', () => {
  const table = new Fdb({ capacity: 100_000, perDestination: 100_000, ageing: TICK });
  for (let i = 0; i < 100_000; i++) table.learn(at((i + 1) * 0x1_0001), 0, i % 3, 0);
  assert.is(table.size, 100_000);
  for (let i = 0; i < 100_000; i += 97) assert.is(table.lookup(at((i + 1) * 0x1_0001), 0, 0), i % 3);
  table.sweep(10 * TICK);
  assert.is(table.size, 0);
  assert.is(table.learn(at(5), 0, 1, 11 * TICK), fdb.LEARNED);
});

test('adopts entries of another table unless its own are better', () => {
  const table = new Fdb({ ageing: 10_000, capacity: 3, perDestination: 2 });
  const mac = (n: number): number => 0x0242_0a00_0000 + n;
  const at = (n: number) => fdb.macBytes(macToText(mac(n)));
  const now = 100_000;
  table.adopt(mac(1), 5, 4000, now);
  assert.is(table.lookup(at(1), 0, now), 5);
  assert.is(table.lookup(at(1), 0, now + 5000), 5);
  assert.is(table.lookup(at(1), 0, now + 6500), NONE, 'its age came along');
  // An older sighting elsewhere changes nothing, a newer one moves the entry.
  table.adopt(mac(1), 7, 5000, now);
  assert.is(table.lookup(at(1), 0, now), 5);
  table.adopt(mac(1), 7, 1000, now);
  assert.equal([table.lookup(at(1), 0, now), table.behind(5), table.behind(7)], [7, 0, 1]);
  // An older sighting does not change its age.
  table.adopt(mac(1), 7, 9000, now);
  assert.is(table.lookup(at(1), 0, now + 8000), 7);
  // Static entries win, and the bounds hold.
  table.setStatic(mac(2), 9);
  table.adopt(mac(2), 7, 0, now);
  assert.is(table.lookup(at(2), 0, now), 9);
  table.adopt(mac(3), 7, 0, now);
  table.adopt(mac(4), 7, 0, now);
  assert.equal([table.lookup(at(4), 0, now), table.behind(7)], [NONE, 2]);
  table.adopt(mac(5), 8, 0, now);
  table.adopt(mac(6), 6, 0, now);
  assert.equal([table.lookup(at(5), 0, now), table.lookup(at(6), 0, now)], [8, NONE]);
  // Learned here later, it has the destination seen here.
  assert.is(table.learn(at(5), 0, 6, now + 100), fdb.MOVED);
});

test.run();
