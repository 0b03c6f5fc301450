/** Replays the fuzz corpus with a few thousand reproducible mutations, and tests the fuzzer itself. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { existingRooms, ROOMS } from '../scripts/layers.mjs';
import { hex } from './support/hex.js';
import { few } from './support/seeds.js';

const CORPUS = 'fuzz/corpus';
const targets = readdirSync('fuzz')
  .filter((name) => name.endsWith('.ts'))
  .map((name) => basename(name, '.ts'))
  .sort();

/** Random numbers below 2^32 from a seed: mulberry32. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}

/** Octets that have a meaning in some header. */
const INTERESTING = [
  0x00, 0x01, 0x04, 0x05, 0x06, 0x08, 0x0f, 0x10, 0x11, 0x14, 0x3f, 0x40, 0x45, 0x60, 0x7f, 0x80, 0xff,
];

/** A seed that is cut, stretched, mixed with another, or has some octets changed. */
function mutate(seeds: readonly Uint8Array[], next: () => number): Uint8Array {
  let bytes = seeds[next() % seeds.length]!.slice();
  for (let turns = 1 + (next() % 4); turns > 0; turns--) {
    const at = next() % (bytes.length + 1);
    switch (next() % 6) {
      case 0:
        bytes = bytes.slice(0, at);
        break;
      case 1:
        bytes = Uint8Array.of(...bytes.subarray(0, at), ...bytes.subarray(at + 1 + (next() % 4)));
        break;
      case 2: {
        const other = seeds[next() % seeds.length]!;
        bytes = Uint8Array.of(...bytes.subarray(0, at), ...other.subarray(next() % (other.length + 1)));
        break;
      }
      case 3:
        if (at < bytes.length) bytes[at] = INTERESTING[next() % INTERESTING.length]!;
        break;
      case 4:
        if (at < bytes.length) bytes[at]! ^= 1 << (next() % 8);
        break;
      default:
        if (at < bytes.length) bytes[at] = next();
    }
  }
  return bytes.subarray(0, 4096);
}

test('every codec and offload, router, vtep, keying and memberlist have a fuzz target', () => {
  const wanted = existingRooms()
    .filter(
      (room) => ROOMS[room]!.layer === 1 || ['offload', 'router', 'vtep', 'keying', 'gossip/memberlist'].includes(room),
    )
    .map((room) => room.replace('gossip/', ''));
  assert.equal(
    wanted.filter((room) => !targets.includes(room)),
    [],
  );
});

for (const target of targets) {
  const folder = join(CORPUS, target);
  const files = existsSync(folder) ? readdirSync(folder).sort() : [];

  test(`${target}: every file of the corpus has a line that gives its reason`, () => {
    const lines = readFileSync(`${folder}.txt`, 'utf8').trimEnd().split('\n');
    for (const line of lines) assert.match(line, /^[\w.-]+: \S/);
    assert.equal(lines.map((line) => line.split(':')[0]!).sort(), files);
  });

  test(`${target}: the corpus and mutations of it break no promise`, async () => {
    const { fuzz } = (await import(`../fuzz/${target}.ts`)) as { fuzz(data: Uint8Array): void };
    const run = (bytes: Uint8Array, name: string): void => {
      try {
        fuzz(bytes);
      } catch (error) {
        throw new Error(`${name}: ${hex(bytes)}`, { cause: error });
      }
    };
    const seeds = files.map((file) => new Uint8Array(readFileSync(join(folder, file))));
    seeds.forEach((seed, i) => run(seed, files[i]!));
    const next = random(0x77656674);
    const rounds = ['control-request', 'vtep', 'memberlist', 'gossip-besieged'].includes(target) ? 500 : 3000;
    for (let round = 0; round < few(rounds); round++) run(mutate(seeds, next), `mutation ${round}`);
  });
}

function script(cwd: string, ...args: string[]): { status: number | null; output: string } {
  const path = resolve('scripts/fuzz.mjs');
  const { status, stdout, stderr } = spawnSync(process.execPath, [path, ...args], { cwd, encoding: 'utf8' });
  return { status, output: stdout + stderr };
}

test('the fuzzer lists its targets, also for an unknown one', () => {
  assert.equal(script('.', '--list'), { status: 0, output: `${targets.join('\n')}\n` });
  const { status, output } = script('.', 'vxlam');
  assert.is(status, 2);
  assert.match(output, /^no target vxlam: all, arp, /);
  assert.is(script('.', 'vxlan', '--seconds', 'ten').status, 2);
  assert.is(script('.').status, 2);
});

test('the fuzzer stops in time, finds a planted error and an endless loop, keeps and replays the inputs', () => {
  const folder = mkdtempSync(join(tmpdir(), 'weft-fuzz-'));
  try {
    mkdirSync(join(folder, 'fuzz/corpus/planted'), { recursive: true });
    writeFileSync(join(folder, 'fuzz/corpus/planted/seed'), 'ab');
    const source = (body: string): string => `export function fuzz(data) { ${body} }\n`;
    writeFileSync(join(folder, 'fuzz/sound.ts'), source('if (data[0] === 1) return;'));
    const sound = script(folder, 'sound', '--seconds', '1');
    assert.is(sound.status, 0, sound.output);
    assert.match(sound.output, /^sound: jsfuzz, 1 s, 0 seeds\nsound: [\d,]+ runs in \d s, .*: nothing found\n$/);

    // Coverage guides the fuzzer through one condition at a time.
    writeFileSync(
      join(folder, 'fuzz/planted.ts'),
      source('if (data[0] === 0x61) if (data[2] === 0xff) if (data[3] === 0x00) throw new Error("planted");'),
    );
    const found = script(folder, 'planted', '--seconds', '60');
    assert.is(found.status, 1, found.output);
    assert.match(found.output, /Error: planted/);
    const command = /npm run fuzz -- planted (fuzz\/corpus\/planted\/crash-[0-9a-f]{16})\n/.exec(found.output);
    assert.ok(command, found.output);
    const again = script(folder, 'planted', command[1]!);
    assert.is(again.status, 1);
    assert.match(again.output, /^FAIL fuzz\/corpus\/planted\/crash-[0-9a-f]{16}: \d+ bytes: 61..ff00/);
    assert.is(script(folder, 'planted', 'fuzz/corpus/planted/seed').status, 0);

    writeFileSync(join(folder, 'fuzz/endless.ts'), source('while (data[0] === 1);'));
    const endless = script(folder, 'endless', '--seconds', '60', '--patience', '2');
    assert.is(endless.status, 1, endless.output);
    assert.match(endless.output, /did not return within 2 s/);
    const [crash] = readdirSync(join(folder, 'fuzz/corpus/endless'));
    assert.is(readFileSync(join(folder, 'fuzz/corpus/endless', crash!))[0], 1);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test.run();
