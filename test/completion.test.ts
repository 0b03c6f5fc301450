/** Completions and manual pages: generated from the flag tables, and checked by the shells and formatters. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { COMMANDS, manuals } from '../src/cli/commands.js';
import { bashScript, fishScript, zshScript } from '../src/cli/completion.js';
import { flagsOf, helpText } from '../src/cli/manual.js';
import { manPages } from '../src/cli/man.js';
import { suiteWith } from './support/needs.js';

const directory = mkdtempSync(join(tmpdir(), 'weft-completion-'));
process.on('exit', () => rmSync(directory, { recursive: true }));
const list = await manuals();

function script(name: string, text: string): string {
  const path = join(directory, name);
  writeFileSync(path, text);
  return path;
}

function run(command: string, ...args: string[]): string {
  const { status, stdout, stderr } = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C.UTF-8' },
  });
  assert.is(status, 0, stderr);
  assert.is(stderr, '');
  return stdout;
}

test('every command has a manual of its own name, with examples and exit codes', () => {
  assert.equal(
    list.map(({ name }) => name),
    Object.keys(COMMANDS),
  );
  for (const one of list) {
    const help = helpText(one);
    for (const { name } of flagsOf(one)) assert.match(help, new RegExp(`--(\\[no-\\])?${name}\\b`));
    assert.match(help, /^examples:$/m);
    assert.match(help, /^Exit code: 0 /m);
    const letters = flagsOf(one).flatMap(({ letter }) => letter ?? []);
    assert.is(new Set(letters).size, letters.length, `${one.name} uses a letter twice`);
  }
});

/** Command lines to complete, each with some words that must be offered and some that must not. */
const CASES: [line: string[], offered: string[], not: string[]][] = [
  [[''], ['up', 'agent', 'read', 'completion', 'help'], ['--vni']],
  [['ca'], ['capture'], ['up']],
  [['up', '--pr'], ['--proxy'], ['--peer']],
  [['up', '--no-l'], ['--no-learn'], ['--learn']],
  [['up', '--proxy', ''], ['endpoint', 'vtep', 'off'], ['--vni']],
  [['up', '--engine', 'd'], ['dgram'], ['linux']],
  [['show', ''], ['fdb', 'counters'], ['--json']],
  [['show', 'fdb', '--j'], ['--json'], []],
  [['gossip', 'key'], ['keygen', 'keys'], ['watch']],
  [['att'], ['attach'], ['detach']],
  [['attach', 'eth0', '--v'], ['--vni', '--vlan'], ['--netns']],
  [['attach', 'prod-net', '--ne'], ['--netns'], ['--vni']],
  [['network', ''], ['ls', 'add', 'rm', 'create', 'inspect'], ['--json']],
  [['network', 'inspect', 'x', '--format', ''], ['docker', 'json'], ['--json']],
  [['token', ''], ['worker', 'manager'], ['--rotate']],
  [['node', ''], ['ls', 'inspect', 'rm'], ['create']],
  [['service', ''], ['create', 'ls', 'ps', 'inspect', 'scale', 'logs', 'rm'], []],
  [['service', 'create', '--n'], ['--name', '--network'], ['--json']],
  [['run', '--network', 'x', '--d'], ['--detach'], ['--name']],
  [['join', '--token-file', join(directory, 'some')], [join(directory, 'something.json')], []],
  [['network', 'add', '9', '--proxy', ''], ['vtep', 'off'], ['--mtu']],
  [['peer', ''], ['add', 'rm'], ['ls']],
  [['endpoint', 'add', 'x', '--v'], ['--vni'], ['--control']],
  [['up', '--vni', ''], [], ['fdb', '--vni']],
  [['up', '--config', join(directory, 'some')], [join(directory, 'something.json')], []],
  [['read', join(directory, 'some')], [join(directory, 'something.json')], []],
];
writeFileSync(join(directory, 'something.json'), '{}');

function check(complete: (line: string[]) => string[]): void {
  for (const [line, offered, not] of CASES) {
    const found = complete(line);
    for (const word of offered) assert.ok(found.includes(word), `"vtep ${line.join(' ')}": ${word} is not in ${found}`);
    for (const word of not) assert.not(found.includes(word), `"vtep ${line.join(' ')}" offers ${word}`);
  }
}

const bash = suiteWith('completions for bash', ['bash']);
bash('are a script that bash accepts, and complete', () => {
  const path = script('vtep.bash', bashScript(list));
  run('bash', '-n', path);
  check((line) => {
    const words = ['vtep', ...line].map((word) => `'${word}'`).join(' ');
    const ask = `source ${path}; COMP_WORDS=(${words}); COMP_CWORD=${line.length}; _vtep; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return run('bash', '--norc', '-c', ask).trim().split('\n');
  });
});

bash('complete after an equals sign, where readline splits words', () => {
  const path = script('vtep.bash', bashScript(list));
  const ask = (words: string, at: number): string =>
    run(
      'bash',
      '--norc',
      '-c',
      `source ${path}; COMP_WORDS=(${words}); COMP_CWORD=${at}; _vtep; echo "\${COMPREPLY[@]}"`,
    ).trim();
  assert.is(ask('vtep up --proxy =', 3), 'endpoint vtep off');
  assert.is(ask('vtep up --proxy = v', 4), 'vtep');
});

const fish = suiteWith('completions for fish', ['fish']);
fish('are a script that fish accepts, and complete', () => {
  const path = script('vtep.fish', fishScript(list));
  run('fish', '--no-execute', path);
  check((line) =>
    run('fish', '--no-config', '-c', `source ${path}; complete -C 'vtep ${line.join(' ')}'`)
      .split('\n')
      .map((row) => row.split('\t')[0]!),
  );
});

const zsh = suiteWith('completions for zsh', ['zsh']);
zsh('are a script that zsh accepts and registers, whose argument specifications it can read', () => {
  const path = script('_vtep', zshScript(list));
  run('zsh', '-n', path);
  const setUp = `autoload -Uz compinit; compinit -D -u -d ${join(directory, 'dump')}; source ${path}`;
  assert.is(run('zsh', '-f', '-c', `${setUp}; print $_comps[vtep]`).trim(), '_vtep');
});

const pages = await manPages('1.2.3', '2026-01-31');
test('package.json names every manual page', () => {
  const { man } = JSON.parse(readFileSync('package.json', 'utf8')) as { man: string[] };
  assert.equal([...man].sort(), [...pages.keys()].map((name) => `./dist/man/${name}`).sort());
});

test('a manual page has every flag of its command', () => {
  for (const one of list) {
    const text = pages
      .get(`vtep-${one.name}.1`)!
      .replace(/\\f[BIR]/g, '')
      .replace(/\\-/g, '-');
    for (const { name, negatable, letter } of flagsOf(one)) {
      assert.match(text, `${letter === undefined ? '' : `-${letter}, `}--${negatable ? '[no-]' : ''}${name}`);
    }
  }
});

const lint = suiteWith('manual pages', ['mandoc', 'groff']);
lint('have nothing that mandoc or groff warns about', () => {
  for (const [name, text] of pages) {
    const path = script(name, text);
    assert.is(run('mandoc', '-T', 'lint', '-W', 'warning', path), '');
    run('groff', '-man', '-ww', '-z', '-Tutf8', path);
    const shown = run('mandoc', '-T', 'ascii', path).replace(/.\u0008/g, '');
    assert.match(shown, /^NAME\n/m);
    assert.not.match(shown, /\\f[BIR]/);
  }
});

test.run();
bash.run();
fish.run();
zsh.run();
lint.run();
