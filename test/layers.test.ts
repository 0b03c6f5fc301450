import ts from 'typescript';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  existingRooms,
  exportsOf,
  findings,
  importCycles,
  importsOf,
  readSources,
  roomOf,
  ROOMS,
} from '../scripts/layers.mjs';

const manifest = JSON.parse(readFileSync('package.json', 'utf8')) as Record<string, unknown>;

test('imports follow the layers, and no room imports more than it may', () => {
  assert.equal(findings(readSources()), []);
});

test('no files import each other', () => {
  for (const root of ['src', 'bench', 'test', 'fuzz']) assert.equal(importCycles(readSources(root)), [], root);
});

test('an import cycle is found, also one of types; a lazy import makes none', () => {
  const source = (name: string, text: string) => ({ path: `src/sim/${name}.ts`, text });
  const files = [
    source('a', `import { b } from './b.js';`),
    source('b', `import type { C } from './c.js';`),
    source('c', `export * from './a.js';`),
    source('d', `import { a } from './a.js'; const e = await import('./e.js');`),
    source('e', `import { d } from './d.js';`),
    source('f', `import { a } from './missing.js';`),
  ];
  assert.equal(importCycles(files), [['src/sim/a.ts', 'src/sim/b.ts', 'src/sim/c.ts']]);
});

test('package.json exports every room but the program, and nothing else', () => {
  const wanted = exportsOf(existingRooms());
  const exported = Object.keys(manifest['exports'] as object).join('\n');
  assert.is(exported, Object.keys(wanted).join('\n'), 'update package.json: node scripts/layers.mjs --write');
  assert.equal(manifest['exports'], wanted);
});

test('the package has no dependencies, only an optional peer', () => {
  assert.equal(manifest['dependencies'] ?? {}, {});
  assert.equal(manifest['optionalDependencies'] ?? {}, {});
  assert.equal(Object.keys(manifest['peerDependencies'] as object), ['koffi']);
  assert.equal(manifest['peerDependenciesMeta'], { koffi: { optional: true } });
});

test('the table of rooms itself follows the layers, without cycles', () => {
  const names = Object.keys(ROOMS);
  for (const [name, room] of Object.entries(ROOMS))
    for (const other of room.rooms) {
      assert.ok(ROOMS[other]!.layer <= room.layer, `${name} to ${other}`);
      assert.ok(other !== name);
      // Within a layer a room comes after those that it imports, except for schema, which host imports.
      if (!(name === 'host' && other === 'schema')) assert.ok(names.indexOf(other) < names.indexOf(name), other);
    }
});

// Sources that violate a rule.
const index = (room: string) => ({ path: `src/${room}/index.ts`, text: '' });
const ground = [
  'wire',
  'address',
  'ethernet',
  'ipv4',
  'udp',
  'fdb',
  'gossip/memberlist',
  'gossip/networkdb',
  'host',
].map(index);
const inspect = (path: string, text: string): string[] => findings([...ground, { path, text }]);

const REJECTED: [path: string, text: string, expected: RegExp][] = [
  ['src/wire/x.ts', `import '../address/index.js';`, /wire may not import other rooms/],
  ['src/wire/x.ts', `\n\nimport { readFileSync } from 'node:fs';`, /^src\/wire\/x\.ts:3: imports node:fs: .*layer 0/],
  ['src/arp/x.ts', `import { encode } from '../ethernet/index.js';`, /arp may import only wire, address$/],
  ['src/arp/x.ts', `export * from '../ethernet/index.js';`, /arp may import/],
  ['src/arp/x.ts', `export type { Frame } from '../ethernet/index.js';`, /arp may import/],
  ['src/arp/x.ts', `let f: import('../ethernet/index.js').Frame;`, /arp may import/],
  ['src/arp/x.ts', `const f = await import('../ethernet/index.js');`, /arp may import/],
  [
    'src/udp/x.ts',
    `import { Fdb } from '../fdb/index.js';`,
    /no room may import a higher layer: udp is layer 1, fdb layer 2/,
  ],
  ['src/fdb/x.ts', `import { open } from '../host/index.js';`, /no room may import a higher layer/],
  ['src/fdb/x.ts', `import { performance } from 'node:perf_hooks';`, /only layers 3 and 4 may import node:\*/],
  ['src/udp/x.ts', `import ipaddr from 'ipaddr.js';`, /only host, schema, cli may import it/],
  ['src/sim/x.ts', `import { Type } from '@sinclair/typebox';`, /only host, schema, cli may import it/],
  ['src/cli/x.ts', `const koffi = await import('koffi');`, /only host may import it/],
  ['src/host/x.ts', `import koffi from 'koffi';`, /load it with await import\(\)/],
  ['src/host/x.ts', `const koffi = require('koffi');`, /load it with await import\(\)/],
  ['src/host/cluster/x.ts', `import '@peculiar/x509';`, /import src\/host\/cluster\/x509\.ts instead/],
  ['src/host/x.ts', `import 'reflect-metadata';`, /import src\/host\/cluster\/x509\.ts instead/],
  ['src/host/x.ts', `import { X509Certificate } from './cluster/x509.js';`, /load it with await import\(\)/],
  ['src/cli/x.ts', `import '@peculiar/x509';`, /only host may import it/],
  ['src/host/x.ts', `import fs from 'fs';`, /write the prefix node: for a module of Node/],
  ['src/host/x.ts', `import chalk from 'chalk';`, /no package is allowed here/],
  ['src/host/x.ts', `const m = await import(name);`, /write the name of the module as a string literal/],
  ['src/udp/x.ts', `import { sum } from '../wire';`, /end it in \.js/],
  ['src/udp/x.ts', `import { sum } from '../wire/checksum.js';`, /import the room's index\.ts: \.\.\/wire\/index\.js/],
  ['src/udp/x.ts', `import { sum } from '../../test/support/hex.js';`, /outside src/],
  ['src/packet/x.ts', `import { decode } from '../tcp/index.js';`, /no such file/],
  ['src/gossip/memberlist/x.ts', `import '../networkdb/index.js';`, /gossip\/memberlist may import/],
  [
    'src/gossip/networkdb/x.ts',
    `import '../memberlist/x.js';`,
    /import the room's index\.ts: \.\.\/memberlist\/index\.js/,
  ],
  ['src/gossip/x.ts', ``, /gossip is not a room/],
  ['src/cli/x.ts', `process.stdout.write(name);`, /^src\/cli\/x\.ts:1: uses process\.stdout: print with/],
  ['src/host/x.ts', `const { write } = process.stderr;`, /uses process\.stderr/],
  ['src/fdb/x.ts', `console.log(name);`, /uses console\.log/],
  ['src/misc/x.ts', ``, /misc is not a room/],
  ['src/udp/x.ts', `import { x } from '../misc/index.js';`, /misc is not a room/],
];
for (const [path, text, expected] of REJECTED)
  test(`rejected in ${path}: ${text.trim()}`, () => {
    const found = inspect(path, text);
    assert.is(found.length, 1, found.join('\n'));
    assert.match(found[0]!, expected);
  });

const ACCEPTED: [path: string, text: string][] = [
  ['src/arp/x.ts', `import { getU16 } from '../wire/index.js';\nimport { z } from './y.js';`],
  ['src/packet/x.ts', `import * as udp from '../udp/index.js';`],
  ['src/fdb/x.ts', `import { macToNumber } from '../address/index.js';`],
  ['src/gossip/networkdb/x.ts', `import '../memberlist/index.js';\nimport '../../wire/index.js';`],
  ['src/host/x.ts', `import { createSocket } from 'node:dgram';\nconst koffi = await import('koffi');`],
  ['src/host/x.ts', `import type { KoffiFunction } from 'koffi';`],
  ['src/host/cluster/x509.ts', `import 'reflect-metadata';\nimport '@peculiar/x509';`],
  ['src/host/x.ts', `const x509 = await import('./cluster/x509.js');\ntype All = typeof import('./cluster/x509.js');`],
  ['src/schema/x.ts', `import { Value } from '@sinclair/typebox/value';`],
  ['src/cli/x.ts', `const program = "console.log('ready')"; process.stdin;`],
  ['src/arp/x.ts', `// import '../host/index.js'\nconst text = "import '../host/index.js'";`],
];
for (const [path, text] of ACCEPTED)
  test(`accepted in ${path}: ${text.replace('\n', ' ')}`, () => assert.equal(inspect(path, text), []));

test('importsOf finds every syntax of import', () => {
  const text = `import a from './a.js'; import type b from './b.js'; export { c } from './c.js'; await import('./d.js');
    import e = require('./e.js'); let f: import('./f.js').F; import './g.js'; export * as h from './h.js';`;
  assert.equal(
    importsOf({ path: 'src/x/x.ts', text })
      .map((one) => `${one.specifier}${one.lazy ? ' lazy' : ''}${one.typeOnly ? ' type' : ''}`)
      .join(', '),
    './a.js, ./b.js type, ./c.js, ./d.js lazy, ./e.js, ./f.js type, ./g.js, ./h.js',
  );
});

// Layers 0 to 2 use no clock, no randomness and no Node: the compiler rejects their names, except for those that
// ECMAScript has, which a test below looks for.
const config = ts.getParsedCommandLineOfConfigFile('tsconfig.pure.json', {}, {
  ...ts.sys,
  onUnRecoverableConfigFileDiagnostic: (diagnostic) => {
    throw new Error(String(diagnostic.messageText));
  },
} as ts.ParseConfigFileHost)!;

const libraries = new Map<string, ts.SourceFile | undefined>(); // cached: reading them takes most of the time

function diagnostics(text: string): string {
  const file = join(process.cwd(), 'src/wire/impure.ts');
  const host = ts.createCompilerHost(config.options);
  const { getSourceFile, fileExists } = host;
  host.fileExists = (name) => name === file || fileExists(name);
  host.getSourceFile = (name, ...rest) => {
    if (name === file) return ts.createSourceFile(name, text, ts.ScriptTarget.ES2022);
    if (!libraries.has(name)) libraries.set(name, getSourceFile(name, ...rest));
    return libraries.get(name);
  };
  const program = ts.createProgram([file], config.options, host);
  return ts
    .getPreEmitDiagnostics(program)
    .map((diagnostic) => ts.flattenDiagnosticMessageText(diagnostic.messageText, '\n'))
    .join('\n');
}

test('tsconfig.pure.json covers layers 0 to 2 and nothing above', () => {
  const rooms = new Set(config.fileNames.map((name) => roomOf(`src/${name.split('/src/')[1]!}`)));
  const wanted = new Set(readSources().map((source) => roomOf(source.path)));
  assert.equal([...rooms].sort(), [...wanted].filter((room) => (ROOMS[room]?.layer ?? 0) <= 2).sort());
});

test('the compiler accepts plain ECMAScript', () => {
  assert.is(diagnostics('export const bytes = new Uint8Array(4);'), '');
});

for (const text of [
  'console.log(1)',
  'setTimeout(() => undefined, 1)',
  'performance.now()',
  'Buffer.alloc(1)',
  'process.pid',
  'new TextDecoder()',
  'crypto.getRandomValues(new Uint8Array(1))',
])
  test(`the compiler rejects ${text} in layers 0 to 2`, () => {
    assert.match(
      diagnostics(`export const x = ${text};`),
      /Cannot find name '(console|setTimeout|performance|Buffer|process|TextDecoder|crypto)'/,
    );
  });

test('the compiler rejects node:fs in layers 0 to 2', () => {
  assert.match(
    diagnostics(`import { readFileSync } from 'node:fs';\nexport { readFileSync };`),
    /Cannot find module 'node:fs'/,
  );
});

/** Uses of the clock, randomness and global objects of ECMAScript, as `file:line: text`. */
function impurities(path: string, text: string): string[] {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true);
  const found: string[] = [];
  const visit = (node: ts.Node): void => {
    const line = file.getLineAndCharacterOfPosition(node.getStart(file)).line + 1;
    const written = node.getText(file).replace(/\s+/g, '');
    if (ts.isPropertyAccessExpression(node) && /^(Date\.now|Math\.random)$/.test(written))
      found.push(`${path}:${line}: ${written}`);
    if (ts.isIdentifier(node) && node.text === 'Date' && !ts.isPropertyAccessExpression(node.parent)) {
      // `new Date(ms)` depends only on its argument; without one, and as a call, it reads the clock.
      const made = ts.isNewExpression(node.parent) && (node.parent.arguments?.length ?? 0) > 0;
      if (!made) found.push(`${path}:${line}: Date`);
    }
    if (ts.isIdentifier(node) && node.text === 'globalThis') found.push(`${path}:${line}: globalThis`);
    ts.forEachChild(node, visit);
  };
  visit(file);
  return found;
}

test('layers 0 to 2 use no Date.now, Math.random or globalThis', () => {
  const pure = readSources().filter((source) => (ROOMS[roomOf(source.path)]?.layer ?? 0) <= 2);
  assert.ok(pure.length > 0);
  assert.equal(
    pure.flatMap((source) => impurities(source.path, source.text)),
    [],
  );
});

test('impurities finds Date.now, Math.random and globalThis', () => {
  for (const text of [
    'Date.now()',
    'Math\n  .random()',
    'new Date()',
    'Date()',
    'globalThis.setTimeout(f)',
    'const { random } = Math; const d = Date;',
  ])
    assert.ok(impurities('src/fdb/x.ts', text).length > 0, text);
  assert.equal(impurities('src/fdb/x.ts', '// Date.now()\nnew Date(5).toISOString(); Math.floor(1);'), []);
});

test.run();
