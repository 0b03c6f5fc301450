/** The embedded store: what every store does, and its files, lock and errors. */
import { spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { HostError } from '../src/host/error.js';
import { FileStore, type FileStoreOptions } from '../src/host/store/file-store.js';
import { encodeFrame, readFrames } from '../src/host/store/frames.js';
import { lockDirectory } from '../src/host/store/lock.js';
import { CrashDisk } from './support/crash-disk.js';
import { TestClock } from './support/store-clock.js';
import { storeSuite } from './support/store-suite.js';

const ROOT = mkdtempSync(join(tmpdir(), 'weft-store-'));
let count = 0;
const fresh = (): string => join(ROOT, `d${count++}`);

storeSuite('FileStore', async () => {
  const directory = fresh();
  const clock = new TestClock();
  const store = await FileStore.open({ directory, clock, compactAt: 5000 });
  return {
    store,
    pass: async (seconds) => {
      clock.pass(seconds);
      await store.commit({ conditions: [], writes: [] }); // after what the clock caused
    },
    end: async () => {
      await store.close();
      assert.equal(
        readdirSync(directory).filter((name) => !['journal', 'snapshot'].includes(name)),
        [],
      );
      rmSync(directory, { recursive: true });
    },
  };
});

test.after(() => rmSync(ROOT, { recursive: true }));

async function trouble(operation: Promise<unknown>, ...words: string[]): Promise<void> {
  const error = await operation.then(
    () => assert.unreachable('no error'),
    (error: unknown) => error,
  );
  assert.instance(error, HostError);
  for (const word of words) assert.ok((error as Error).message.includes(word), `${(error as Error).message}: ${word}`);
}

const put = (store: FileStore, key: string, value = '1') =>
  store.commit({ conditions: [], writes: [{ put: key, value }] });
const valuesOf = async (store: FileStore) => (await store.list('')).items.map(({ key, value }) => `${key}=${value}`);

/** A store on a disk in memory. */
function onDisk(files: CrashDisk, options: Partial<FileStoreOptions> = {}): Promise<FileStore> {
  return FileStore.open({ directory: '/store', ...options }, { files, lock: async () => async () => {} });
}

test('what was committed is there after the store is opened again, with its revisions and leases', async () => {
  const directory = fresh();
  const clock = new TestClock();
  let store = await FileStore.open({ directory, clock });
  await put(store, 'a');
  const lease = await store.lease(30);
  await store.commit({
    conditions: [],
    writes: [
      { put: 'b', value: '2', lease: lease.id },
      { put: 'c', value: '3' },
    ],
  });
  await store.commit({ conditions: [], writes: [{ delete: 'a' }] });
  const before = await store.list('');
  await store.close();
  for (let again = 0; again < 3; again++) {
    store = await FileStore.open({ directory, clock });
    assert.equal(await store.list(''), before);
    clock.pass(20); // a lease begins again: who has it could not renew it meanwhile
    assert.equal(await store.list(''), before);
    await store.close();
    assert.is(clock.timers, 0);
  }
  store = await FileStore.open({ directory, clock });
  clock.pass(31);
  assert.equal(await put(store, 'd'), { revision: 5 });
  assert.equal(await valuesOf(store), ['c=3', 'd=1']);
  await store.close();
  assert.is(statSync(directory).mode & 0o777, 0o700);
  for (const name of ['journal', 'snapshot']) assert.is(statSync(join(directory, name)).mode & 0o777, 0o600);
});

test('the journal is replaced by a snapshot when it is large, and nothing changes by that', async () => {
  const directory = fresh();
  const store = await FileStore.open({ directory, compactAt: 2000 });
  for (let i = 0; i < 200; i++) {
    await put(store, `k${i % 10}`, String(i));
    assert.ok(statSync(join(directory, 'journal')).size < 2200);
  }
  const before = await store.list('');
  await store.close();
  const again = await FileStore.open({ directory });
  assert.equal(await again.list(''), before);
  assert.is(before.revision, 200);
  await again.close();
});

test('a write that was interrupted is cut off with a notice, wherever it ends', async () => {
  const disk = new CrashDisk();
  const store = await onDisk(disk);
  await put(store, 'a');
  await put(store, 'b');
  const whole = disk.get('journal')!;
  await put(store, 'c');
  const longer = disk.get('journal')!;
  for (let length = whole.length; length < longer.length; length++)
    for (const tail of [
      longer.subarray(whole.length, length),
      Buffer.alloc(length - whole.length),
      Buffer.concat([Buffer.alloc(length - whole.length), longer.subarray(length)]),
    ]) {
      const torn = new CrashDisk();
      torn.set('journal', Buffer.concat([whole, tail]));
      const notices: string[] = [];
      const found = await onDisk(torn, { notice: (text) => notices.push(text) });
      const isWhole = tail.equals(longer.subarray(whole.length));
      assert.equal(await valuesOf(found), isWhole ? ['a=1', 'b=1', 'c=1'] : ['a=1', 'b=1']);
      assert.is(notices.length, tail.length === 0 || isWhole ? 0 : 1);
      if (notices.length > 0)
        assert.match(
          notices[0]!,
          `/store/journal: the last write was interrupted before it was complete: its ${tail.length} octets`,
        );
      await put(found, 'd');
      assert.equal((await found.list('d')).items[0]!.modified, isWhole ? 4 : 3);
    }
});

test('damage before the end of the journal is an error with the place and what to do, and changes nothing', async () => {
  const disk = new CrashDisk();
  const store = await onDisk(disk);
  for (const key of ['a', 'b', 'c']) await put(store, key);
  const whole = disk.get('journal')!;
  const frames = readFrames(whole).values;
  assert.is(frames.length, 3);
  for (let at = 0; at < frames[2]!.offset; at++) {
    const damaged = Buffer.from(whole);
    damaged[at]! ^= 0x10;
    const bad = new CrashDisk();
    bad.set('journal', damaged);
    const offset = at < frames[1]!.offset ? 0 : frames[1]!.offset;
    const version = at === offset + 3;
    await trouble(
      onDisk(bad),
      '/store/journal',
      ...(version ? ['version 17'] : [`octet ${offset}`, `truncate -s ${offset} /store/journal`, 'from a backup']),
    );
    assert.ok(bad.get('journal')!.equals(damaged));
  }
  // A frame that is missing as a whole.
  const gap = new CrashDisk();
  gap.set('journal', Buffer.concat([whole.subarray(0, frames[1]!.offset), whole.subarray(frames[2]!.offset)]));
  await trouble(onDisk(gap), 'write 3 follows write 1', `octet ${frames[1]!.offset}`);
  const late = new CrashDisk();
  late.set('journal', whole.subarray(frames[1]!.offset));
  await trouble(onDisk(late), 'write 2 follows write 0');
});

test('a damaged snapshot is an error with the place and what to do', async () => {
  const disk = new CrashDisk();
  const store = await onDisk(disk, { compactAt: 1 });
  await put(store, 'a');
  await put(store, 'b'); // after the first snapshot
  const whole = disk.get('snapshot')!;
  for (let at = 0; at < whole.length; at++) {
    const damaged = Buffer.from(whole);
    damaged[at]! ^= 0x10;
    for (const content of [damaged, whole.subarray(0, at)]) {
      const bad = new CrashDisk();
      bad.set('snapshot', content);
      bad.set('journal', Buffer.alloc(0));
      const error = await onDisk(bad).then(
        () => undefined,
        (error: unknown) => error as Error,
      );
      assert.instance(error, HostError, `octet ${at}`);
      assert.match(error!.message, /\/store\/snapshot (is damaged at octet \d+; restore|has version 17)/);
    }
  }
});

test('after an error of the disk nothing is confirmed until the store is opened again', async () => {
  for (const [code, words] of [
    ['ENOSPC', 'no space is left on the device'],
    ['EIO', 'EIO of the test'],
  ] as const)
    for (const call of [1, 2])
      // the write, and the sync
      for (const isPartial of [false, true]) {
        const disk = new CrashDisk();
        const notices: string[] = [];
        const store = await onDisk(disk, { notice: (text) => notices.push(text) });
        const lease = await store.lease(10);
        await put(store, 'a');
        disk.failures.set(disk.calls + call, { code, isPartial });
        const together = [put(store, 'b'), put(store, 'c')];
        for (const one of together) await trouble(one, '/store', words, 'restart');
        await trouble(put(store, 'd'), words);
        await trouble(store.lease(5), words);
        await trouble(lease.renew(), words);
        assert.is(store.failure?.message, notices.at(-1));
        assert.equal(await store.list(''), { revision: 1, items: [{ key: 'a', value: '1', created: 1, modified: 1 }] });
        await store.close();

        const again = await onDisk(disk.afterKill());
        const found = await valuesOf(again);
        assert.ok(['a=1', 'a=1 b=1 c=1'].includes(found.join(' ')), 'both or none');
        await put(again, 'e');
        assert.ok((await valuesOf(again)).includes('e=1'));
      }
});

test('a store that cannot be compacted for lack of space goes on, and says so', async () => {
  const disk = new CrashDisk();
  const notices: string[] = [];
  const store = await onDisk(disk, { compactAt: 300, notice: (text) => notices.push(text) });
  disk.full.add('snapshot.new');
  for (let i = 0; i < 100; i++) await put(store, `k${i % 3}`, String(i));
  assert.ok(
    notices.length > 1 && notices.length < 8,
    `${notices.length} notices: the next attempt comes when it is twice as long`,
  );
  assert.match(notices[0]!, 'cannot be compacted yet: no space is left on the device');
  assert.is(disk.get('snapshot'), undefined);
  assert.is(disk.get('snapshot.new'), undefined);
  disk.full.clear();
  for (let i = 100; i < 200; i++) await put(store, `k${i % 3}`, String(i));
  assert.ok(disk.get('snapshot'));
  const again = await onDisk(disk.afterKill());
  assert.equal(await valuesOf(again), ['k0=198', 'k1=199', 'k2=197']);
});

test('a watcher that needs older changes than are kept is told that they are lost', async () => {
  const store = await onDisk(new CrashDisk(), { history: 10 });
  for (let i = 1; i <= 30; i++) await put(store, `k${i}`);
  const seen = (revision: number) =>
    new Promise<string>((resolve) => {
      const revisions: number[] = [];
      store.watch('', revision, {
        changed: (at) => revisions.push(at) && at === 30 && resolve(revisions.join()),
        lost: () => resolve('lost'),
      });
    });
  assert.is(await seen(0), 'lost');
  assert.is(await seen(19), 'lost');
  assert.is(await seen(27), '28,29,30');
  assert.is(await seen(31), 'lost', 'of a revision that the store does not have');
});

test('the changes since the last snapshot are kept for watchers when the store is opened again', async () => {
  const disk = new CrashDisk();
  const store = await onDisk(disk);
  for (const key of ['a', 'b', 'c']) await put(store, key);
  const again = await onDisk(disk.afterKill());
  const revisions: number[] = [];
  again.watch('', 1, { changed: (revision) => revisions.push(revision), lost: () => assert.unreachable() });
  await put(again, 'd');
  assert.equal(revisions, [2, 3, 4]);
});

test('transactions that wait are written together, in the order of the calls', async () => {
  const disk = new CrashDisk();
  const store = await onDisk(disk);
  const before = disk.calls;
  const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => put(store, `k${i}`)));
  assert.equal(
    answers.map((answer) => 'revision' in answer && answer.revision),
    Array.from({ length: 100 }, (_, i) => i + 1),
  );
  assert.is(disk.calls - before, 2, 'one write and one sync');
});

test('a transaction that is too large is refused', async () => {
  const store = await onDisk(new CrashDisk());
  const error = await put(store, 'a', 'x'.repeat(2 ** 20)).catch((error: unknown) => error);
  assert.instance(error, RangeError);
  assert.match((error as Error).message, '1048576 at most');
  assert.equal(await put(store, 'a', 'x'.repeat(2 ** 20 - 1)), { revision: 1 });
});

test('close waits for what is under way', async () => {
  const disk = new CrashDisk();
  const store = await onDisk(disk);
  const answers = [put(store, 'a'), put(store, 'b')];
  await Promise.all([store.close(), store.close()]);
  assert.equal(await Promise.all(answers), [{ revision: 1 }, { revision: 2 }]);
  await trouble(put(store, 'c'), 'closed');
});

test('frames are found again behind any damage, and random bytes are none', () => {
  const [a, b] = [encodeFrame({ a: 'ÿWS\u0001' }), encodeFrame([1])];
  for (const damage of [
    Buffer.alloc(0),
    Buffer.alloc(50),
    a.subarray(0, a.length - 1),
    Buffer.from('ff575301ff575301', 'hex'),
  ]) {
    const file = Buffer.concat([a, damage, b]);
    const { values, end, damage: found } = readFrames(file);
    assert.equal(
      values.map(({ value }) => value),
      damage.length === 0 ? [{ a: 'ÿWS\u0001' }, [1]] : [{ a: 'ÿWS\u0001' }],
    );
    assert.is(end, damage.length === 0 ? file.length : a.length);
    assert.is(found?.isFollowed, damage.length === 0 ? undefined : true);
  }
});

// ---- the lock ----

test('one process at a time uses a directory, and its end ends the lock', async () => {
  const directory = fresh();
  const holder = spawn(process.execPath, ['--import', 'tsx', '-e', HOLD, directory], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await new Promise((resolve) => holder.stdout.once('data', resolve));
  await trouble(FileStore.open({ directory }), `another process, ${holder.pid},`, directory, 'stop it');
  holder.kill('SIGSTOP');
  await trouble(FileStore.open({ directory }), 'another process uses', directory);
  const ended = new Promise((resolve) => holder.once('exit', resolve));
  holder.kill('SIGKILL');
  await ended;
  assert.is(readdirSync(directory).filter((name) => name.startsWith('lock.')).length, 1);
  const store = await FileStore.open({ directory });
  await put(store, 'a');
  await trouble(FileStore.open({ directory }), `another process, ${process.pid},`);
  await store.close();
  assert.equal(readdirSync(directory).sort(), ['journal']);
});
const HOLD = `
  import { lockDirectory } from './src/host/store/lock.ts';
  lockDirectory(process.argv[1]).then(() => { process.stdout.write('locked'); setInterval(() => {}, 1000); });
`;

test('of many that open a directory at the same time, at most one has it', async () => {
  for (let round = 0; round < 20; round++) {
    const directory = fresh();
    const tries = await Promise.allSettled(Array.from({ length: 6 }, () => lockDirectory(directory)));
    const got = tries.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    assert.ok(got.length <= 1, `${got.length} have it`);
    for (const unlock of got) await unlock();
    const unlock = await lockDirectory(directory);
    await unlock();
    assert.equal(readdirSync(directory), []);
  }
});

test('a directory with a long path can be locked', async () => {
  const directory = join(fresh(), 'x'.repeat(100), 'y'.repeat(100));
  const unlock = await lockDirectory(directory);
  await trouble(lockDirectory(directory), 'another process');
  await unlock();
  assert.equal(readdirSync(directory), []);
});

test('a directory that others have access to is refused', async () => {
  const directory = fresh();
  await (await FileStore.open({ directory })).close();
  chmodSync(directory, 0o755);
  await trouble(FileStore.open({ directory }), 'mode 755', `chmod 700 ${directory}`);
  const file = fresh();
  writeFileSync(file, '');
  await trouble(FileStore.open({ directory: file }), file);
  assert.ok(existsSync(join(directory, 'journal')) && readFileSync(join(directory, 'journal')).length === 0);
});

test.run();
