/** Size and contents of a bundle that imports one room. Bundles the sources, so that no build is needed. */
import { build, type Metafile } from 'esbuild';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { gzipSync } from 'node:zlib';
import { existingRooms, roomOf, ROOMS } from '../scripts/layers.mjs';

interface Bundle {
  size: number;
  zipped: number;
  text: string;
  rooms: string[];
  /** Modules outside `src`: packages and Node's modules. */
  foreign: string[];
}

async function bundle(contents: string): Promise<Bundle> {
  const result = await build({
    stdin: { contents, resolveDir: process.cwd(), loader: 'ts' },
    alias: Object.fromEntries(
      existingRooms().map((room) => [`weftnet/${room}`, join(process.cwd(), `src/${room}/index.ts`)]),
    ),
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'node20',
    platform: 'node',
    packages: 'bundle',
    external: ['koffi'],
    metafile: true,
    write: false,
    logLevel: 'silent',
  });
  const [output] = result.outputFiles;
  const inputs = Object.keys(result.metafile.inputs).filter((name) => name !== '<stdin>');
  return {
    size: output!.contents.length,
    zipped: gzipSync(output!.contents, { level: 9 }).length,
    text: output!.text,
    rooms: [...new Set(inputs.filter(ours).map(roomOf))].sort(),
    foreign: [...inputs.filter((name) => !ours(name)), ...outside(result.metafile)],
  };
}
const ours = (name: string): boolean => name.startsWith('src/');
const outside = (meta: Metafile): string[] =>
  Object.values(meta.outputs).flatMap((output) =>
    output.imports.filter((one) => one.external === true).map((one) => one.path),
  );

/** The rooms that a bundle of a room may contain: those that it may import, transitively. */
function reach(room: string): string[] {
  const seen = new Set<string>();
  const walk = (name: string): void => {
    if (seen.has(name)) return;
    seen.add(name);
    ROOMS[name]!.rooms.forEach(walk);
  };
  walk(room);
  return [...seen].sort();
}

test('decode of weftnet/vxlan is less than 1000 bytes', async () => {
  const one = await bundle(`export { decode } from 'weftnet/vxlan';`);
  console.log(`# { decode } of weftnet/vxlan: ${one.size} bytes minified, ${one.zipped} gzipped`);
  assert.ok(one.size < 1000, `${one.size} bytes`);
  assert.equal(one.rooms, ['vxlan', 'wire']);
  assert.equal(one.foreign, []);
});

test('decode alone is less than 1700 bytes for every codec, before constants are inlined', async () => {
  // The package's own limit, 1500 bytes, is tested on the built files: see package.test.ts.
  for (const room of existingRooms().filter((name) => ROOMS[name]!.layer === 1 && !['packet', 'pcap'].includes(name))) {
    const one = await bundle(`export { decode } from 'weftnet/${room}';`);
    // ICMPv6 has nine kinds of messages, with addresses and options.
    assert.ok(one.size < (room === 'icmpv6' ? 2400 : 1700), `${room}: ${one.size} bytes`);
  }
});

test('a bundle of one address function contains no unused table', async () => {
  for (const [name, most] of [
    ['formatMac', 250],
    ['formatIpv4', 250],
    ['parseMac', 350],
    ['parseIpv6', 900],
  ] as const) {
    const one = await bundle(`export { ${name} } from 'weftnet/address';`);
    assert.ok(one.size <= most, `${name}: ${one.size} bytes`);
  }
});

/** Packages, and those that they depend on. */
function withDependencies(packages: readonly string[]): string[] {
  const all = new Set(packages);
  for (const name of all) {
    const manifest = JSON.parse(readFileSync(`node_modules/${name}/package.json`, 'utf8')) as { dependencies?: object };
    for (const other of Object.keys(manifest.dependencies ?? {})) all.add(other); // a Set visits added items
  }
  return [...all];
}

for (const room of existingRooms().filter((name) => name !== 'cli')) {
  test(`a bundle of weftnet/${room} contains only rooms that it may import`, async () => {
    const one = await bundle(`export * from 'weftnet/${room}';`);
    console.log(`# weftnet/${room}: ${one.size} bytes minified, ${one.zipped} gzipped`);
    for (const other of one.rooms) assert.ok(reach(room).includes(other), `${room} brings ${other} along`);
    const { layer } = ROOMS[room]!;
    const packages = withDependencies(ROOMS[room]!.packages);
    const allowed = (name: string): boolean =>
      layer >= 3 &&
      (name.startsWith('node:') || packages.some((known) => name === known || name.includes(`node_modules/${known}/`)));
    assert.equal(
      one.foreign.filter((name) => !allowed(name)),
      [],
    );
    if (layer <= 2) assert.not.match(one.text, /ipaddr|typebox|koffi/i);
  });
}

test('what makes certificates is in a chunk that weftnet/host and the program load when they need it', async () => {
  for (const entry of ['src/host/index.ts', 'src/cli/main.ts']) {
    const { metafile } = await build({
      entryPoints: [entry],
      bundle: true,
      minify: true,
      splitting: true,
      outdir: 'dist',
      format: 'esm',
      target: 'node20',
      platform: 'node',
      external: ['koffi'],
      metafile: true,
      write: false,
      logLevel: 'silent',
    });
    const certificates = Object.entries(metafile.outputs).filter(([, { inputs }]) =>
      Object.keys(inputs).some((name) => /node_modules\/(@peculiar|reflect-metadata|tsyringe)\//.test(name)),
    );
    const first = Object.keys(metafile.outputs).find((name) => metafile.outputs[name]!.entryPoint === entry)!;
    // A Set visits added items.
    const loaded = new Set([first]);
    for (const name of loaded)
      for (const { path, kind } of metafile.outputs[name]?.imports ?? [])
        if (kind === 'import-statement') loaded.add(path);
    assert.ok(certificates.length > 0, `${entry} has no such chunk`);
    for (const [name, { bytes }] of certificates) {
      console.log(`# ${entry}: ${name} makes certificates: ${bytes} bytes minified`);
      assert.not.ok(loaded.has(name), `${entry} loads ${name} at its start`);
    }
  }
});

test('the check of a bundle’s contents finds packages and Node modules', async () => {
  const one = await bundle(`import ipaddr from 'ipaddr.js'; import fs from 'node:fs'; export { ipaddr, fs };`);
  assert.ok(one.foreign.some((name) => name.includes('node_modules/ipaddr.js/')));
  assert.ok(one.foreign.includes('node:fs'));
});

test.run();
