/** The packed tarball, installed in an empty project: no sources and no development dependencies. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { SourceMap, type SourceMapping } from 'node:module';
import { join } from 'node:path';
import { build } from 'esbuild';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { build as viteBuild } from 'vite';
import { existingRooms, mainRooms, ROOMS } from '../scripts/layers.mjs';
import { programs, run } from './support/readme.js';
import { COPY, installedProject, must, packedFolder } from './support/tarball.js';

const test = suite('package');
const ROOMS_SOLD = existingRooms().filter((room) => room !== 'cli');
const ENTRIES = ['weftnet', ...ROOMS_SOLD.map((room) => `weftnet/${room}`)];
/** Entries that load without Node. */
const PURE = ['weftnet', ...mainRooms(ROOMS_SOLD).map((room) => `weftnet/${room}`)];
/** The codecs: each has `decode`. */
const CODECS = ROOMS_SOLD.filter((room) => ROOMS[room]!.layer === 1 && room !== 'packet' && room !== 'pcap');

let project = '';
const installed = (...parts: string[]): string => join(project, 'node_modules', 'weftnet', ...parts);

test.before(() => {
  project = installedProject();
});

test.after(() => {
  rmSync(project, { recursive: true, force: true });
});

test('packing leaves the manifest of the repository unchanged', () => {
  const copy = join(packedFolder(), COPY);
  assert.is(readFileSync(join(copy, 'package.json'), 'utf8'), readFileSync('package.json', 'utf8'));
  assert.not.ok(existsSync(join(copy, 'package.json.original')));
});

test('the package has no scripts and no dependencies, and its manifest names only existing files', () => {
  const manifest = JSON.parse(readFileSync(installed('package.json'), 'utf8')) as Record<string, unknown>;
  for (const field of ['scripts', 'devDependencies', 'dependencies', 'repository', 'homepage', 'bugs'])
    assert.not.ok(field in manifest, field);
  assert.is(manifest['name'], 'weftnet');
});

test('every entry loads in Node, and the main entry has every entry without I/O as a namespace', () => {
  const program = `
    const main = await import('weftnet');
    const found = {};
    for (const entry of ${JSON.stringify(ENTRIES)}) found[entry] = Object.keys(await import(entry)).length;
    console.log(JSON.stringify({ found, main: Object.keys(main), same: main.vxlan.decode === (await import('weftnet/vxlan')).decode }));`;
  const { found, main, same } = JSON.parse(must(process.execPath, ['--input-type=module', '-e', program], project)) as {
    found: Record<string, number>;
    main: string[];
    same: boolean;
  };
  for (const [entry, names] of Object.entries(found)) assert.ok(names > 0, entry);
  assert.equal(
    main,
    mainRooms(ROOMS_SOLD)
      .map((room) => room.split('/').at(-1)!)
      .sort(),
  );
  assert.ok(same);
});

for (const [module, resolution] of [
  ['node16', 'node16'],
  ['esnext', 'bundler'],
] as const)
  test(`every entry has types that ${resolution} resolution finds`, () => {
    const used = ENTRIES.map((entry, i) => `import * as e${i} from '${entry}'; void e${i};`);
    const typed = `import { vxlan } from 'weftnet'; const vni: number = vxlan.decode(new Uint8Array(8)).vni; void vni;`;
    writeFileSync(join(project, 'types.ts'), [...used, typed].join('\n'));
    mkdirSync(join(project, 'types'), { recursive: true });
    const types = join(project, 'types', 'node');
    if (!existsSync(types)) symlinkSync(join(process.cwd(), 'node_modules', '@types', 'node'), types);
    const options = `--noEmit --strict --target es2022 --module ${module} --moduleResolution ${resolution} --typeRoots types`;
    must(
      process.execPath,
      [join(process.cwd(), 'node_modules/typescript/bin/tsc'), ...options.split(' '), 'types.ts'],
      project,
    );
    writeFileSync(join(project, 'wrong.ts'), `import { vni } from 'weftnet/vxlan'; void vni;`);
    const wrong = spawnSync(
      process.execPath,
      [join(process.cwd(), 'node_modules/typescript/bin/tsc'), ...options.split(' '), 'wrong.ts'],
      { cwd: project, encoding: 'utf8' },
    );
    assert.match(wrong.stdout, /TS2305/, 'an import of a missing name is an error');
  });

/** Bundles a program that imports the installed package with esbuild, for browsers unless Node is named. */
async function bundled(contents: string, platform: 'browser' | 'node' = 'browser'): Promise<string> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: project },
    bundle: true,
    minify: true,
    format: 'esm',
    platform,
    external: ['koffi'],
    write: false,
    logLevel: 'silent',
  });
  return outputFiles[0]!.text;
}

test('every entry bundles with esbuild; those without I/O for a browser', async () => {
  for (const entry of ENTRIES) {
    const text = await bundled(`export * from '${entry}';`, PURE.includes(entry) ? 'browser' : 'node');
    assert.ok(text.length > 100, entry);
  }
});

test('decode alone is less than 1500 bytes for every codec', async () => {
  for (const codec of CODECS) {
    const { length } = await bundled(`export { decode } from 'weftnet/${codec}';`);
    console.log(`# { decode } of weftnet/${codec}: ${length} bytes minified`);
    // ICMPv6 has nine kinds of messages, with addresses and options.
    assert.ok(length < (codec === 'icmpv6' ? 2200 : 1500), `${codec}: ${length} bytes`);
  }
});

test('one function of schema brings no schema library', async () => {
  for (const [name, most] of Object.entries({
    canonicalMac: 1500,
    closest: 1500,
    isDeviceName: 1500,
    canonicalIp: 15_000,
  })) {
    const { length } = await bundled(`export { ${name} } from 'weftnet/schema';`, 'node');
    assert.ok(length < most, `${name}: ${length} bytes`);
  }
});

/** Bundles a program with Vite, and returns its JavaScript. */
async function vite(contents: string): Promise<string> {
  const entry = join(project, 'vite-entry.js');
  writeFileSync(entry, contents);
  const result = await viteBuild({
    root: project,
    configFile: false,
    logLevel: 'silent',
    build: { write: false, minify: true, lib: { entry, formats: ['es'] } },
  });
  const [output] = (Array.isArray(result) ? result : [result]) as { output: { code?: string }[] }[];
  return output!.output.map(({ code = '' }) => code).join('\n');
}

test('Vite bundles the entries without I/O, and includes only the used parts of the main entry', async () => {
  for (const entry of PURE) assert.ok((await vite(`export * from '${entry}';`)).length > 100, entry);
  const alone = await vite(`import { decode } from 'weftnet/vxlan'; console.log(decode(new Uint8Array(8)));`);
  const main = await vite(`import { vxlan } from 'weftnet'; console.log(vxlan.decode(new Uint8Array(8)));`);
  assert.ok(main.length < 1500 && main.length < alone.length + 100, `${main.length} and ${alone.length} bytes`);
});

test('esbuild drops the namespaces of the main entry that a program does not use', async () => {
  const main = await bundled(`import { vxlan } from 'weftnet'; console.log(vxlan.decode(new Uint8Array(8)));`);
  const room = await bundled(`import * as vxlan from 'weftnet/vxlan'; console.log(vxlan);`);
  assert.ok(main.length <= room.length + 100, `${main.length} and ${room.length} bytes`);
});

for (const { title, text, expected } of programs())
  test(`${title} prints the documented lines with the package`, () => {
    const file = join(project, 'program.ts');
    writeFileSync(file, text);
    assert.equal(run(file, project), expected);
  });

test('a stack trace names the source', () => {
  const program = `
    import { encode } from 'weftnet/vxlan';
    try { encode({ vni: -1, payload: new Uint8Array(0) }); } catch (error) { console.log(error.stack); }`;
  const stack = must(process.execPath, ['--enable-source-maps', '--input-type=module', '-e', program], project);
  assert.match(stack, /src\/vxlan\/index\.ts:\d+/);
});

test('the program runs', () => {
  assert.match(must(join(project, 'node_modules', '.bin', 'vtep'), ['--help'], project), /vtep/);
});

test('the program runs in the process that was started, with its arguments and a small young generation', async () => {
  const folder = join(project, 'a folder');
  mkdirSync(folder);
  symlinkSync(join(project, 'node_modules', '.bin', 'vtep'), join(folder, 'vtep'));
  const child = spawn('./a folder/vtep', ['read', '-', '--filter', '', '$0 `id` "*"'], { cwd: project });
  const ended = new Promise((resolve) => child.on('close', resolve));
  const words = (): string[] => readFileSync(`/proc/${child.pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
  const deadline = Date.now() + 60_000;
  while (!/node$/.test(words()[0] ?? '') && Date.now() < deadline) await new Promise((done) => setTimeout(done, 5));
  assert.equal(words(), [
    'node',
    '--max-semi-space-size=2',
    './a folder/vtep',
    'read',
    '-',
    '--filter',
    '',
    '$0 `id` "*"',
  ]);
  child.kill();
  await ended;

  const failed = spawnSync(join(folder, 'vtep'), ['read', 'no such file'], { encoding: 'utf8' });
  assert.is(failed.status, 1);
  assert.match(failed.stderr, /^vtep read: no such file: /);
  // Node ignores the second line.
  assert.match(must(process.execPath, [join(folder, 'vtep'), '--version'], project), /^vtep \d/);
});

test('the source map of the program counts the line that starts Node', () => {
  const code = readFileSync(installed('dist', 'cli', 'main.js'), 'utf8').split('\n');
  const map = new SourceMap(JSON.parse(readFileSync(installed('dist', 'cli', 'main.js.map'), 'utf8')));
  const line = code.findIndex((text) => text.includes('await program('));
  const { originalSource, originalLine } = map.findEntry(line, code[line]!.indexOf('await program(')) as SourceMapping;
  assert.match(originalSource, /src\/cli\/main\.ts$/);
  assert.match(readFileSync('src/cli/main.ts', 'utf8').split('\n')[originalLine]!, /await program\(/);
});

test.run();
