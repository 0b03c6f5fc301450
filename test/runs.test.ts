/** What a node remembers of the sandboxes that requests have made. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { processIdentity, type ProcessIdentity } from '../src/host/index.js';
import { Runs } from '../src/host/cluster/runs.js';

const directory = mkdtempSync(join(tmpdir(), 'weft-runs-'));
process.on('exit', () => rmSync(directory, { recursive: true }));
let count = 0;
const file = (): string => join(directory, String(count++));
const orphans = (runs: Runs): string[] => runs.orphans().map(([id]) => id);

/** The identity of a process that has ended. */
async function ended(): Promise<ProcessIdentity> {
  const child = spawn('sleep', ['infinity'], { stdio: 'ignore' });
  await once(child, 'spawn');
  const identity = processIdentity(child.pid!)!;
  child.kill('SIGKILL');
  await once(child, 'close');
  return identity;
}

test('what this process makes is no orphan, and what an earlier one has not completed is', () => {
  const path = file();
  const runs = new Runs(path);
  runs.begin('half', { network: 'net' });
  runs.begin('whole', { network: 'net' });
  runs.complete('whole');
  assert.equal(orphans(runs), []);
  assert.ok(runs.isMaking('half') && !runs.isMaking('whole'));
  const next = new Runs(path);
  assert.equal(next.orphans(), [['half', { network: 'net', making: true }]]);
  next.retain(new Set());
  assert.equal(orphans(next), ['half'], 'nobody has removed it yet');
  next.forget('half');
  assert.equal(orphans(new Runs(path)), []);
});

test('what belongs to a process is an orphan when that has ended, and so it is for the next process', async () => {
  const path = file();
  const runs = new Runs(path);
  const owners = { mine: processIdentity(process.pid)!, theirs: await ended() };
  for (const [id, owner] of Object.entries(owners)) {
    runs.begin(id, { network: 'net', owner });
    assert.equal(orphans(runs), [], 'it is being made');
    if (id === 'mine') runs.complete(id);
  }
  runs.complete('theirs');
  assert.equal(orphans(runs), ['theirs']);
  assert.equal(orphans(new Runs(path)), ['theirs']);
  // Another process may have the number of one that has ended.
  const later = new Runs(file());
  later.begin('a', { network: 'net', owner: { ...owners.mine, start: owners.mine.start - 1 } });
  later.complete('a');
  assert.equal(orphans(later), ['a']);
  runs.retain(new Set(['mine']));
  assert.equal(orphans(new Runs(path)), []);
});

test('what this process gives up is an orphan', () => {
  const runs = new Runs(file());
  runs.begin('a', { network: 'net' });
  runs.abandon('a');
  assert.equal(orphans(runs), ['a']);
});

test('a damaged file is refused with what to do', () => {
  const path = file();
  writeFileSync(path, '{');
  assert.throws(() => new Runs(path), /is damaged.*remove it/);
});

test.run();
