import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';

/** The README's programs: its blocks of TypeScript. What a line prints stands behind it in a comment. */
const blocks = [...readFileSync('README.md', 'utf8').matchAll(/^```ts\n(.*?)^```$/gms)].map((match) => match[1]!);

test('the README has programs', () => {
  assert.is(blocks.length, 4);
});

for (const [i, block] of blocks.entries())
  test(`program ${i + 1} of the README prints what the README says`, () => {
    const directory = mkdtempSync(join('test', 'readme-'));
    try {
      const file = join(directory, 'program.ts');
      writeFileSync(file, block.replace(/'weftnet\/(\w+)'/g, `'../../src/$1/index.js'`));
      const { stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', file], { encoding: 'utf8' });
      const expected = [...block.matchAll(/console\.log\(.*\/\/ (.*)$/gm)].map((match) => match[1]);
      assert.ok(expected.length > 0);
      assert.equal(stdout.trimEnd().split('\n'), expected, stderr);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

test('the README shows the two commands', () => {
  const text = readFileSync('README.md', 'utf8');
  for (const command of ['npm ci && npm start', 'npm ci && npm test'])
    assert.ok(text.includes(`\n    ${command}\n`), command);
});

test.run();
