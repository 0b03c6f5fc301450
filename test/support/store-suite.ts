/** What every store does, whatever it is made of. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Committed, type Store, type StoreChange, type Watcher } from '../../src/cluster/index.js';
import { Random } from '../../src/sim/index.js';
import { randomTransaction, StoreModel } from './store-model.js';

/** An empty store. Its revision may be that of an earlier one. */
export interface OpenStore {
  readonly store: Store;
  /** Lets that many seconds of the leases' time pass. */
  pass(seconds: number): Promise<void>;
  /** Closes the store, and removes it. */
  end(): Promise<void>;
}

/** Rejects later than any store takes. */
const PATIENCE = 10_000;

/** A watcher that records, and waits for changes. */
class Recorder implements Watcher {
  readonly seen: { revision: number; changes: readonly StoreChange[] }[] = [];
  isLost = false;
  #wake = (): void => {};

  changed(revision: number, changes: readonly StoreChange[]): void {
    this.seen.push({ revision, changes });
    this.#wake();
  }

  lost(): void {
    this.isLost = true;
    this.#wake();
  }

  /** The keys and values of the first `count` revisions. */
  async first(count: number): Promise<[revision: number, ...changes: [string, string | null][]][]> {
    const limit = performance.now() + PATIENCE;
    while (this.seen.length < count && !this.isLost) {
      if (performance.now() > limit) throw new Error(`${this.seen.length} of ${count} changes`);
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        setTimeout(resolve, 20);
      });
    }
    return this.seen
      .slice(0, count)
      .map(({ revision, changes }) => [
        revision,
        ...changes.map(({ key, item }): [string, string | null] => [key, item?.value ?? null]),
      ]);
  }
}

async function rejection(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('no rejection');
}

const put = (key: string, value: string, lease?: string) => ({
  put: key,
  value,
  ...(lease === undefined ? {} : { lease }),
});

/** Registers the tests of a store. */
export function storeSuite(name: string, open: () => Promise<OpenStore>): void {
  const tests = suite(name);
  const test = (title: string, run: (store: Store, opened: OpenStore, base: number) => Promise<void>): void =>
    tests(title, async () => {
      const opened = await open();
      try {
        await run(opened.store, opened, (await opened.store.list('')).revision);
      } finally {
        await opened.end();
      }
    });

  test('a new store is empty, and lists what is put by prefix, in the order of the keys', async (store, _, base) => {
    assert.equal(await store.list(''), { revision: base, items: [] });
    const committed = await store.commit({
      conditions: [],
      writes: [put('b', '1'), put('a/2', '"x"'), put('a/10', '{}')],
    });
    assert.equal(committed, { revision: base + 1 });
    const item = (key: string, value: string) => ({ key, value, created: base + 1, modified: base + 1 });
    assert.equal(await store.list('a/'), { revision: base + 1, items: [item('a/10', '{}'), item('a/2', '"x"')] });
    assert.equal(
      (await store.list('')).items.map(({ key }) => key),
      ['a/10', 'a/2', 'b'],
    );
    assert.equal((await store.list('c')).items, []);
  });

  test('a change keeps the revision at which the key was created; a key that comes back is new', async (store, _, base) => {
    await store.commit({ conditions: [], writes: [put('k', '1')] });
    await store.commit({ conditions: [], writes: [put('k', '2')] });
    assert.equal((await store.list('k')).items, [{ key: 'k', value: '2', created: base + 1, modified: base + 2 }]);
    await store.commit({ conditions: [], writes: [{ delete: 'k' }] });
    assert.equal(await store.list('k'), { revision: base + 3, items: [] });
    await store.commit({ conditions: [], writes: [put('k', '3')] });
    assert.equal((await store.list('k')).items, [{ key: 'k', value: '3', created: base + 4, modified: base + 4 }]);
  });

  test('if a condition does not hold nothing is written, and the answer is its key', async (store, _, base) => {
    await store.commit({ conditions: [{ key: 'a', modified: 0 }], writes: [put('a', '1')] });
    for (const [conditions, conflict] of [
      [[{ key: 'a', modified: 0 }], 'a'],
      [
        [
          { key: 'a', modified: base + 1 },
          { key: 'b', modified: base + 1 },
        ],
        'b',
      ],
      [
        [
          { key: 'x', modified: 0 },
          { key: 'b', modified: 7 },
          { key: 'a', modified: 0 },
        ],
        'b',
      ],
    ] as const)
      assert.equal(await store.commit({ conditions, writes: [put('a', '2'), put('c', '3')] }), { conflict });
    assert.equal(
      (await store.list('')).items.map(({ key, value }) => [key, value]),
      [['a', '1']],
    );
    const both = [
      { key: 'a', modified: base + 1 },
      { key: 'b', modified: 0 },
    ];
    assert.equal(await store.commit({ conditions: both, writes: [put('b', '2')] }), { revision: base + 2 });
  });

  test('what changes nothing makes no revision', async (store, _, base) => {
    assert.equal(await store.commit({ conditions: [], writes: [] }), { revision: base });
    assert.equal(await store.commit({ conditions: [], writes: [{ delete: 'x' }] }), { revision: base });
    assert.equal(await store.commit({ conditions: [{ key: 'x', modified: 0 }], writes: [] }), { revision: base });
    assert.equal(await store.commit({ conditions: [{ key: 'x', modified: 1 }], writes: [] }), { conflict: 'x' });
    await store.commit({ conditions: [], writes: [put('x', '1')] });
    assert.equal(await store.commit({ conditions: [], writes: [{ delete: 'y' }, { delete: 'x' }] }), {
      revision: base + 2,
    });
  });

  test('a transaction that writes a key twice is refused', async (store) => {
    const message = await rejection(store.commit({ conditions: [], writes: [put('k', '1'), { delete: 'k' }] }));
    assert.match(message, 'k twice');
    assert.equal((await store.list('')).items, []);
  });

  test('keys and values are any text', async (store) => {
    const texts = ['ä€😀', 'line\nfeed\u0000\u001b[1m', '"quotes\\"', 'x'.repeat(100_000)];
    await store.commit({ conditions: [], writes: texts.map((text, i) => put(`k${i}`, JSON.stringify(text))) });
    await store.commit({ conditions: [], writes: [put('schlüssel/€', '1')] });
    assert.equal(
      (await store.list('k')).items.map(({ value }) => JSON.parse(value)),
      texts,
    );
    assert.equal(
      (await store.list('schlüssel/')).items.map(({ value }) => value),
      ['1'],
    );
  });

  test('of many claims of one key at once exactly one succeeds, and each success has a revision of its own', async (store, _, base) => {
    const claims = await Promise.all(
      Array.from({ length: 40 }, (_, i) =>
        store.commit({ conditions: [{ key: `k${i % 8}`, modified: 0 }], writes: [put(`k${i % 8}`, String(i))] }),
      ),
    );
    const won = claims.flatMap((claim, i) => ('revision' in claim ? [{ claim, i }] : []));
    assert.equal(won.map(({ i }) => i % 8).sort(), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert.equal(
      won.map(({ claim }) => claim.revision).sort((a, b) => a - b),
      [1, 2, 3, 4, 5, 6, 7, 8].map((n) => base + n),
    );
    for (const { claim, i } of won) {
      const [item] = (await store.list(`k${i % 8}`)).items;
      assert.equal([item!.value, item!.modified], [String(i), claim.revision]);
    }
    assert.equal(claims.filter((claim) => 'conflict' in claim).length, 32);
  });

  test('a watch reports the changes after a revision in order, one call for each revision', async (store, _, base) => {
    await store.commit({ conditions: [], writes: [put('a/1', '1')] });
    await store.commit({ conditions: [], writes: [put('a/2', '2'), put('b', '2'), put('a/3', '2')] });
    const [all, later, none] = [new Recorder(), new Recorder(), new Recorder()];
    store.watch('a/', base, all);
    store.watch('', base + 2, later);
    const stopped = store.watch('', base, none);
    stopped.stop();
    await store.commit({ conditions: [], writes: [put('c', '3')] });
    await store.commit({ conditions: [], writes: [{ delete: 'a/1' }, { delete: 'x' }, put('a/2', '4')] });
    assert.equal(await all.first(3), [
      [base + 1, ['a/1', '1']],
      [base + 2, ['a/2', '2'], ['a/3', '2']],
      [base + 4, ['a/1', null], ['a/2', '4']],
    ]);
    assert.equal(all.seen[2]!.changes[1]!.item, { key: 'a/2', value: '4', created: base + 2, modified: base + 4 });
    assert.equal(await later.first(2), [
      [base + 3, ['c', '3']],
      [base + 4, ['a/1', null], ['a/2', '4']],
    ]);
    assert.equal(none.seen, []);
  });

  test('a watcher may stop itself, and call the store', async (store, _, base) => {
    const seen: number[] = [];
    const done = new Promise<Committed>((resolve) => {
      const watching = store.watch('', base, {
        changed: (revision) => {
          seen.push(revision);
          if (revision < base + 2) return;
          watching.stop();
          resolve(store.commit({ conditions: [], writes: [put('from the watcher', '1')] }));
        },
        lost: () => {},
      });
    });
    for (const key of ['a', 'b', 'c']) await store.commit({ conditions: [], writes: [put(key, '1')] });
    assert.ok('revision' in (await done));
    assert.equal(seen, [base + 1, base + 2]);
  });

  test('a list and a watch from its revision on miss nothing and repeat nothing', async (store, _, base) => {
    const commits = Array.from({ length: 60 }, (_, i) =>
      store.commit({ conditions: [], writes: [i % 5 === 4 ? { delete: `k${i % 3}` } : put(`k${i % 7}`, String(i))] }),
    );
    await commits[0];
    const { revision, items } = await store.list('');
    const mirror = new Map(items.map((item) => [item.key, item]));
    let known = revision;
    store.watch('', revision, {
      changed: (at, changes) => {
        assert.is(at, known + 1);
        known = at;
        for (const { key, item } of changes) item === null ? mirror.delete(key) : mirror.set(key, item);
      },
      lost: () => assert.unreachable('lost'),
    });
    await Promise.all(commits);
    const last = await store.list('');
    const limit = performance.now() + PATIENCE;
    while (known < last.revision && performance.now() < limit) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.ok(last.revision > base);
    assert.equal(
      [...mirror.values()].sort((a, b) => (a.key < b.key ? -1 : 1)),
      last.items,
    );
  });

  test('keys of a lease are deleted when it is not renewed in time', async (store, { pass }, base) => {
    const lease = await store.lease(4);
    const watcher = new Recorder();
    store.watch('', base, watcher);
    await store.commit({ conditions: [], writes: [put('a', '1', lease.id), put('b', '1'), put('c', '1', lease.id)] });
    assert.is((await store.list('a')).items[0]!.lease, lease.id);
    await pass(3);
    assert.is(await lease.renew(), true);
    await pass(3);
    assert.is(await lease.renew(), true);
    assert.is((await store.list('')).items.length, 3);
    await pass(6);
    const seen = await watcher.first(2);
    assert.equal(seen[1]![0], base + 2);
    assert.equal(seen[1]!.slice(1).sort(), [
      ['a', null],
      ['c', null],
    ]);
    assert.equal(
      (await store.list('')).items.map(({ key }) => key),
      ['b'],
    );
    assert.is(await lease.renew(), false);
    assert.match(await rejection(store.commit({ conditions: [], writes: [put('d', '1', lease.id)] })), /lease/i);
    assert.equal((await store.list('d')).items, []);
  });

  test('a revoked lease deletes its keys at once, and only those that still have it', async (store) => {
    const [one, two] = [await store.lease(60), await store.lease(60)];
    assert.is.not(one.id, two.id);
    const write = (...writes: ReturnType<typeof put>[]) => store.commit({ conditions: [], writes });
    await write(put('a', '1', one.id), put('b', '1', one.id), put('c', '1', one.id), put('d', '1', two.id));
    await write(put('a', '2'), put('b', '2', two.id));
    await one.revoke();
    assert.equal(
      (await store.list('')).items.map(({ key }) => key),
      ['a', 'b', 'd'],
    );
    assert.is(await one.renew(), false);
    await two.revoke();
    assert.equal(
      (await store.list('')).items.map(({ key }) => key),
      ['a'],
    );
  });

  test('a lease of a key that was deleted does not delete the next one of that name', async (store) => {
    const lease = await store.lease(60);
    await store.commit({ conditions: [], writes: [put('a', '1', lease.id)] });
    await store.commit({ conditions: [], writes: [{ delete: 'a' }] });
    await store.commit({ conditions: [], writes: [put('a', '2')] });
    await lease.revoke();
    assert.is((await store.list('a')).items[0]?.value, '2');
  });

  test('a closed store refuses', async (store) => {
    await store.close();
    await rejection(store.commit({ conditions: [], writes: [put('a', '1')] }));
  });

  test('random transactions do what they do in a naive store', async (store, _, base) => {
    const random = new Random(1);
    const below = (end: number): number => random.integer(end);
    const model = new StoreModel(base);
    const watcher = new Recorder();
    store.watch('a', base, watcher);
    const expected: { revision: number; changes: StoreChange[] }[] = [];
    for (let count = 0; count < 150; count++) {
      const transaction = randomTransaction(below, model.items);
      const answer = await store.commit(transaction);
      const known = model.revision;
      const result = model.commit(transaction);
      if ('conflict' in result) assert.equal(answer, result);
      else {
        assert.equal(answer, { revision: result.revision });
        const changes = result.changes.filter(({ key }) => key.startsWith('a'));
        if (result.revision > known && changes.length > 0) expected.push({ revision: result.revision, changes });
      }
      assert.equal(await store.list(''), { revision: model.revision, items: model.list('') });
    }
    await watcher.first(expected.length);
    assert.equal(watcher.seen, expected);
  });

  tests.run();
}
