/**
 * The embedded store loses no confirmed transaction and leaves none half done, wherever its process ends: on a disk in memory
 * that loses what was not synced, at every call; and as a real process that kills itself at every call.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from 'esbuild';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Item } from '../src/cluster/index.js';
import { FileStore } from '../src/host/store/file-store.js';
import { Random } from '../src/sim/index.js';
import { CrashDisk } from './support/crash-disk.js';
import { randomTransaction, StoreModel } from './support/store-model.js';

/** Small, so that a few transactions lead to a snapshot. */
const COMPACT_AT = 500;

/** What a naive store has as of each revision, and which one is confirmed. */
class Past {
  readonly model = new StoreModel();
  readonly states: Item[][] = [[]];
  confirmed = 0;

  /** Opens the store of a disk, and compares what it has with what it must have. */
  async open(disk: CrashDisk): Promise<FileStore> {
    const lock = async () => async () => {};
    const store = await FileStore.open({ directory: '/store', compactAt: COMPACT_AT }, { files: disk, lock });
    const { revision, items } = await store.list('');
    assert.ok(revision >= this.confirmed, `revision ${this.confirmed} was confirmed, and ${revision} is there`);
    assert.ok(revision < this.states.length, `revision ${revision} was never written`);
    assert.equal(items, this.states[revision]);
    // Later ones have never been.
    this.states.length = revision + 1;
    this.confirmed = revision; // somebody may have listed it
    this.model.revision = revision;
    this.model.items = new Map(items.map((item) => [item.key, item]));
    return store;
  }

  /** Commits transactions, some of them at once. Ends early if the store fails. */
  async work(store: FileStore, rounds: number, below: (end: number) => number): Promise<void> {
    for (let round = 0; round < rounds && store.failure === undefined; round++) {
      if (below(6) === 0) await store.lease(1000).catch(() => {});
      const answers = Array.from({ length: 1 + below(4) }, () => {
        const transaction = randomTransaction(below, this.model.items);
        const expected = this.model.commit(transaction);
        if (this.model.revision === this.states.length) this.states.push(this.model.list(''));
        return store.commit(transaction).then((answer) => {
          assert.equal(answer, 'conflict' in expected ? expected : { revision: expected.revision });
          // An answer that nothing was changed is one about the past as well.
          if ('revision' in answer) this.confirmed = Math.max(this.confirmed, answer.revision);
        });
      });
      for (const result of await Promise.allSettled(answers))
        if (result.status === 'rejected' && store.failure === undefined) throw result.reason;
    }
  }
}

/** Runs until the power of the disk fails. @returns whether it did. */
async function untilStopped(disk: CrashDisk, run: () => Promise<void>): Promise<boolean> {
  return Promise.race([disk.stopped.then(() => true), run().then(() => false)]);
}

test('a loss of power at any call loses nothing that was confirmed, also one during the recovery', async () => {
  let [crashes, recoveries] = [0, 0];
  for (let seed = 1; seed <= 12; seed++)
    for (let crashAt = 1; ; crashAt++) {
      const random = new Random(seed * 1000 + crashAt);
      const below = (end: number): number => random.integer(end);
      const past = new Past();
      let disk = new CrashDisk();
      disk.crashAt = crashAt;
      const run = async () => past.work(await past.open(disk), 15, below);
      if (!(await untilStopped(disk, run))) break;
      crashes += 1;
      for (let again = 0; again < 3; again++) {
        disk = disk.afterCrash(below);
        disk.crashAt = 1 + below(10);
        if (await untilStopped(disk, async () => past.work(await past.open(disk), 2, below))) recoveries += 1;
      }
      disk = disk.afterCrash(below);
      await past.work(await past.open(disk), 2, below);
    }
  assert.ok(crashes > 500 && recoveries > 500, `${crashes} crashes, ${recoveries} in recoveries`);
});

test('nothing is confirmed on the strength of a sync after one that failed', async () => {
  let failures = 0;
  for (let seed = 1; seed <= 8; seed++)
    for (let failAt = 1; ; failAt++) {
      const random = new Random(seed * 1000 + failAt);
      const below = (end: number): number => random.integer(end);
      const past = new Past();
      let disk = new CrashDisk();
      disk.failures.set(failAt, { code: 'EIO', isPartial: below(2) === 0 });
      let store: FileStore;
      try {
        store = await past.open(disk);
      } catch (error) {
        assert.match((error as Error).message, /\/store.*EIO/);
        disk = disk.afterKill();
        store = await past.open(disk);
      }
      await past.work(store, 12, below);
      if (disk.calls < failAt && store.failure === undefined && disk.failures.size > 0) break;
      failures += 1;
      // The agent starts again; the memory still has what the disk may not have. Then the power fails.
      const next = disk.afterKill();
      await past.work(await past.open(next), 1 + below(3), below);
      await past.open(next.afterCrash(below));
    }
  assert.ok(failures > 300, String(failures));
});

// ---- kill -9 of a process ----

const ROOT = mkdtempSync(join(tmpdir(), 'weft-crash-'));
test.after(() => rmSync(ROOT, { recursive: true }));

/** Runs the process that kills itself at a call. @returns the revisions that it confirmed, and whether it was killed. */
function runChild(program: string, directory: string, killAt: number): Promise<{ confirmed: number; killed: boolean }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, directory, String(killAt)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.on('data', (data: Buffer) => (text += data.toString()));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code !== 0 && signal !== 'SIGKILL') return reject(new Error(`the process ended with ${code ?? signal}`));
      resolve({ confirmed: Number(text.trim().split('\n').at(-1)), killed: signal === 'SIGKILL' });
    });
  });
}

test('kill -9 at every call loses nothing that was confirmed, and leaves nothing half done', async () => {
  const program = join(ROOT, 'child.mjs');
  await build({
    entryPoints: ['test/support/store-child.ts'],
    outfile: program,
    bundle: true,
    platform: 'node',
    format: 'esm',
    external: ['koffi'],
    logLevel: 'error',
  });
  const states = childStates();
  let kills = 0;
  for (let killAt = 1; ; killAt++) {
    const directory = join(ROOT, String(killAt));
    const { confirmed, killed } = await runChild(program, directory, killAt);
    const store = await FileStore.open({ directory });
    const { revision, items } = await store.list('');
    await store.close();
    assert.ok(revision >= confirmed, `revision ${confirmed} was confirmed, and ${revision} is there`);
    assert.equal(items, states[revision]);
    rmSync(directory, { recursive: true });
    if (!killed) {
      assert.is(revision, states.length - 1);
      break;
    }
    kills += 1;
  }
  assert.ok(kills > 30, String(kills));
});

/** What the process has as of each revision. */
function childStates(): Item[][] {
  const model = new StoreModel();
  const states = [model.list('')];
  const random = new Random(7);
  while (states.length <= 10) {
    model.commit(randomTransaction((end) => random.integer(end), model.items));
    if (model.revision === states.length) states.push(model.list(''));
  }
  return states;
}

test.run();
