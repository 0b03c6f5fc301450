/** The output of a command is read while its shim replaces the files; each part is read once. */
import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { OutputReader } from '../src/host/sandbox/output-reader.js';

const directory = mkdtempSync(join(tmpdir(), 'weft-output-'));
process.on('exit', () => rmSync(directory, { recursive: true }));
const [newer, older] = [join(directory, 'output'), join(directory, 'output.1')];
const rotate = (): void => renameSync(newer, older);

test.before.each(() => [newer, older].forEach((path) => rmSync(path, { force: true })));

/** A reader, and its next part as text. */
function reader(): () => Promise<string> {
  const own = new OutputReader(directory);
  return async () => (await own.next()).toString();
}

test('what is kept comes first, then what is written, once', async () => {
  const next = reader();
  assert.is(await next(), '');
  writeFileSync(newer, 'one\n');
  assert.is(await next(), 'one\n');
  assert.is(await next(), '');
  appendFileSync(newer, 'two\n');
  rotate();
  assert.is(await next(), 'two\n', 'there is no newer part yet');
  writeFileSync(newer, 'three\n');
  assert.is(await next(), 'three\n');
  appendFileSync(newer, 'four\n');
  rotate();
  writeFileSync(newer, 'five\n');
  assert.is(await next(), 'four\nfive\n');
  assert.is(await reader()(), 'three\nfour\nfive\n', 'another reader begins with all that is kept');
});

test('a reader that was too slow goes on with what is kept', async () => {
  const next = reader();
  writeFileSync(newer, 'one\n');
  assert.is(await next(), 'one\n');
  for (const text of ['two\n', 'three\n', 'four\n']) {
    rotate();
    writeFileSync(newer, text);
  }
  assert.is(await next(), 'three\nfour\n');
});

test('it says when something may have been dropped, and only then', async () => {
  const own = new OutputReader(directory);
  const missed: boolean[] = [];
  const look = async (): Promise<void> => {
    await own.next();
    missed.push(own.missed);
  };
  await look();
  writeFileSync(newer, 'one\n');
  await look();
  rotate();
  writeFileSync(newer, 'two\n');
  await look();
  for (const text of ['three\n', 'four\n']) {
    rotate();
    writeFileSync(newer, text);
  }
  await look();
  await look();
  assert.equal(missed, [false, false, false, true, false]);
});

test.run();
