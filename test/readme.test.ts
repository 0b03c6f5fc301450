/** README.md and docs/: their programs, command lines, links and the generated reference. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { commandReference } from '../scripts/commands.js';
import { COMMANDS } from '../src/cli/commands.js';
import { parseFlags } from '../src/cli/flags.js';
import { flagsOf } from '../src/cli/manual.js';
import { documents, programs, run, vtepCommands } from './support/readme.js';

test('README.md has programs', () => {
  assert.is(programs().filter(({ title }) => title.endsWith('README.md')).length, 2);
});

for (const { title, text, expected } of programs())
  test(`${title} prints the documented lines`, () => {
    const directory = mkdtempSync(join('test', 'readme-'));
    try {
      const file = join(directory, 'program.ts');
      writeFileSync(
        file,
        text.replace(/'weftnet(\/[\w/]+)?'/g, (_, room = '') => `'../../src${room as string}/index.js'`),
      );
      assert.ok(expected.length > 0, 'the program documents its output');
      assert.equal(run(file, process.cwd()), expected);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

test('the README has the commands to start and to test', () => {
  const text = readFileSync('README.md', 'utf8');
  for (const command of ['npm ci && npm start', 'npm ci && npm test'])
    assert.ok(text.includes(`\n    ${command}\n`), command);
});

test('every command line has a command and flags that exist', async () => {
  const commands = vtepCommands();
  assert.ok(commands.length > 15, `${commands.length} command lines`);
  for (const { file, words } of commands) {
    const [name = '', ...args] = words;
    if (name === '--help') continue;
    assert.ok(name in COMMANDS, `${file}: vtep ${words.join(' ')}`);
    const { manual } = await COMMANDS[name]!.load();
    assert.not.throws(() => parseFlags(args, flagsOf(manual)), `${file}: vtep ${words.join(' ')}`);
  }
});

test('every link leads to a file that is in the package', () => {
  const packed = (JSON.parse(readFileSync('package.json', 'utf8')) as { files: string[] }).files;
  for (const file of [...documents(), 'CONTRIBUTING.md', 'CHANGELOG.md'])
    for (const [, link] of readFileSync(file, 'utf8').matchAll(/\]\((?!https?:|#)([^)#]+)/g)) {
      const path = join(dirname(file), link!);
      assert.ok(existsSync(path), `${file} links to ${link}`);
      assert.ok(
        packed.some((entry) => path === entry || path.startsWith(`${entry}/`)),
        `${file} links to ${link}, which is not in the package`,
      );
    }
});

test('docs/commands.md matches the output of --help', async () => {
  assert.is(readFileSync('docs/commands.md', 'utf8'), await commandReference(), 'update it: npm run docs');
});

test.run();
