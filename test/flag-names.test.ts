/** The library, the API and the schemas speak of fields; the program prints flags in their place. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import ts from 'typescript';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { manual as agent } from '../src/cli/agent.js';
import { withFlags } from '../src/cli/flag-names.js';
import { flagsOf } from '../src/cli/manual.js';
import { manual as up } from '../src/cli/up.js';
import { COMMANDS, ERRORS, openApi } from '../src/schema/index.js';

/** The texts of the literals in a folder, each with its file. */
function texts(folder: string): string[] {
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
  return files.flatMap((name) => {
    const file = join(folder, name);
    const found: string[] = [];
    const visit = (node: ts.Node): void => {
      if (ts.isStringLiteralLike(node) || ts.isTemplateHead(node) || ts.isTemplateMiddleOrTemplateTail(node))
        found.push(`${file}: ${node.text}`);
      ts.forEachChild(node, visit);
    };
    visit(ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest));
    return found;
  });
}

const all = ['src/host', 'src/schema'].flatMap(texts);
const FLAGS = [...flagsOf(up), ...flagsOf(agent)].map(({ name }) => name);

test('no message of the library, of the API or of a schema names a flag', () => {
  assert.ok(all.length > 1000);
  // Flags of curl and nsenter, and the words of the programs that start the daemon of a node.
  const others = /curl --(unix-socket|json)|(: |nsenter )--(net|mount)=$|\/start-agent\.ts: --/;
  assert.equal(
    all.filter((text) => /(^|[^\w-])--[a-z]/.test(text) && !others.test(text)),
    [],
  );
  assert.not.match(JSON.stringify([COMMANDS, ERRORS, openApi('1')]), /--[a-z]/);
});

test('for each field that a message names, there is a flag', () => {
  const named = all.flatMap((text) => text.match(/`[a-zA-Z.]+(: \w+)?`/g) ?? []);
  assert.ok(named.length > 15, String(named.length));
  for (const field of named) {
    const [, flag] = /^--(?:no-)?([a-z-]+)(?: \w+)?$/.exec(withFlags(field)) ?? [];
    assert.ok(FLAGS.includes(flag!), `${field} becomes ${withFlags(field)}`);
  }
});

test('a message with the flags', () => {
  for (const [message, expected] of [
    ['pass an open TAP as `fd`', 'pass an open TAP as --tap-fd'],
    ['accept every sender with `peersOnly: false`', 'accept every sender with --no-peers-only'],
    ['or use `engine: dgram`', 'or use --engine dgram'],
    ['some hosts of `gossip.join` do not answer', 'some hosts of --join do not answer'],
    [
      'TAP "eth0" in namespace c1 has one queue; use one worker, or remove it first',
      /or remove it \("vtep detach eth0 --netns c1"\)$/,
    ],
    [
      'TAP "t" was kept when an earlier vtep ended; continue with it (`keepTaps`), or remove it first',
      /\(--keep-taps\), or remove it \("vtep detach t"\)$/,
    ],
    ['a name with `backquotes` and `rm: all`', 'a name with `backquotes` and `rm: all`'],
  ] as const)
    if (typeof expected === 'string') assert.is(withFlags(message), expected);
    else assert.match(withFlags(message), expected);
});

test.run();
