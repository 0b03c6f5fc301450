/** What a node remembers of the sandboxes that requests have made. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
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
const warnings: string[] = [];
const open = (path: string): Runs => new Runs(path, (warning) => warnings.push(warning));
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
  const runs = open(path);
  runs.begin('half', { network: 'net' });
  runs.begin('whole', { network: 'net' });
  runs.complete('whole');
  assert.equal(orphans(runs), []);
  assert.ok(runs.isMaking('half') && !runs.isMaking('whole'));
  const next = open(path);
  assert.equal(next.orphans(), [['half', { network: 'net', making: true }]]);
  next.retain(new Set());
  assert.equal(orphans(next), ['half'], 'nobody has removed it yet');
  next.forget('half');
  assert.equal(orphans(open(path)), []);
});

test('what belongs to a process is an orphan when that has ended, and so it is for the next process', async () => {
  const path = file();
  const runs = open(path);
  const owners = { mine: processIdentity(process.pid)!, theirs: await ended() };
  for (const [id, owner] of Object.entries(owners)) {
    runs.begin(id, { network: 'net', owner });
    assert.equal(orphans(runs), [], 'it is being made');
    if (id === 'mine') runs.complete(id);
  }
  runs.complete('theirs');
  assert.equal(orphans(runs), ['theirs']);
  assert.equal(orphans(open(path)), ['theirs']);
  // Another process may have the number of one that has ended.
  const later = open(file());
  later.begin('a', { network: 'net', owner: { ...owners.mine, start: owners.mine.start - 1 } });
  later.complete('a');
  assert.equal(orphans(later), ['a']);
  runs.retain(new Set(['mine']));
  assert.equal(orphans(open(path)), []);
});

test('what this process gives up is an orphan', () => {
  const runs = open(file());
  runs.begin('a', { network: 'net' });
  runs.abandon('a');
  assert.equal(orphans(runs), ['a']);
});

/** What is wrong with a file, and the ids that it has nevertheless. */
function damaged(text: string): { ids: string[]; warnings: string[]; copy: string } {
  const path = file();
  writeFileSync(path, text);
  warnings.length = 0;
  const ids = idsOf(open(path));
  return {
    ids,
    warnings: warnings.map((line) => line.replaceAll(path, 'FILE')),
    copy: readFileSync(`${path}.damaged`, 'utf8'),
  };
}

const idsOf = (runs: Runs): string[] => orphans(runs);

test('a damaged record is left out with what to do, and the others count', () => {
  const good = { network: 'net', making: true };
  const owner = { pid: 1, start: 2, boot: 'b' };
  for (const [bad, expected] of [
    [{ making: true }, 'network: expected an id, got nothing'],
    [{ network: '' }, 'network: expected an id, got ""'],
    [{ network: 'net', making: 'yes' }, 'making: expected true or false, got "yes"'],
    [{ network: 'net', owner: 7 }, 'owner: expected an object, got 7'],
    [{ network: 'net', owner: { ...owner, pid: '1' } }, 'owner.pid: expected the number of a process, got "1"'],
    [
      { network: 'net', owner: { ...owner, start: -1 } },
      'owner.start: expected when the process started, in ticks after the boot, got -1',
    ],
    [null, 'expected an object, got null'],
  ] as const) {
    const text = JSON.stringify({ good, bad, also: good });
    const found = damaged(text);
    assert.equal(found.ids, ['good', 'also'], expected);
    assert.is(found.copy, text);
    assert.equal(found.warnings, [
      `FILE is damaged, and FILE.damaged has a copy: record "bad": ${expected}; the sandbox of endpoint bad stays after its command; "vtep detach bad" removes it`,
    ]);
  }
});

test('a damaged file is one without records, with what to do', () => {
  for (const [text, expected] of [
    ['{', /^FILE is damaged, and FILE\.damaged has a copy: it is not JSON \(.*\); .*"vtep detach NAME" removes one$/],
    ['[]', /: it is not an object with a record for each endpoint; /],
    ['', /: it is not JSON/],
  ] as const) {
    const found = damaged(text);
    assert.equal(found.ids, []);
    assert.is(found.warnings.length, 1);
    assert.match(found.warnings[0]!, expected);
  }
});

test.run();
