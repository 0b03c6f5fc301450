/** A host on which a VTEP has no more file descriptors: nothing is lost for good, and the error says what is missing. */
import { spawnSync } from 'node:child_process';
import * as assert from 'uvu/assert';
import { FEW_FILES, type Call } from '../support/few-files.js';
import { suiteWith } from '../support/needs.js';

const files = suiteWith('few file descriptors', ['ip']);

files('a program that cannot be started leaves no file open, and is not taken for a missing route', () => {
  const free = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 40];
  const node = [process.execPath, '--import', 'tsx', FEW_FILES, ...free.map(String)].join(' ');
  const { stdout, stderr } = spawnSync('sh', ['-c', `ulimit -n 96 && exec ${node}`], { encoding: 'utf8' });
  const calls = stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Call);
  assert.is(calls.length, free.length, stderr);
  assert.equal(
    calls.filter(({ left }) => left !== 0),
    [],
  );
  assert.is(calls.at(-1)!.error, null);
  const failed = calls.flatMap(({ error }) => error ?? []);
  assert.ok(failed.length >= 8, stdout);
  for (const error of failed)
    assert.is(
      error,
      'the route from 127.0.0.1 to 127.0.0.2 cannot be looked up: this process has too many open files (EMFILE)',
    );
});

files.run();
