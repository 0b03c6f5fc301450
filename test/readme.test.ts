import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { programs, run } from './support/readme.js';

test('README.md has programs', () => {
  assert.ok(programs().filter(({ title }) => title.endsWith('README.md')).length >= 3);
});

for (const { title, text, expected } of programs())
  test(`${title} prints what it says`, () => {
    const directory = mkdtempSync(join('test', 'readme-'));
    try {
      const file = join(directory, 'program.ts');
      writeFileSync(
        file,
        text.replace(/'weftnet(\/[\w/]+)?'/g, (_, room = '') => `'../../src${room as string}/index.js'`),
      );
      assert.ok(expected.length > 0, 'a program says what it prints');
      assert.equal(run(file, process.cwd()), expected);
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
