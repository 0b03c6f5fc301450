/** Where a node remembers the endpoints in namespaces of others. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { AttachedPlaces } from '../src/host/cluster/attached-places.js';

const directory = mkdtempSync(join(tmpdir(), 'weft-places-'));
process.on('exit', () => rmSync(directory, { recursive: true }));
let count = 0;
const file = (): string => join(directory, String(count++));
const warnings: string[] = [];
const open = (path: string): AttachedPlaces => new AttachedPlaces(path, (warning) => warnings.push(warning));
const place = { netns: 'box', device: 'eth0' };

test('an endpoint stays while assignments arrive that are older than it, and goes when one no longer has it', () => {
  const places = open(file());
  places.begin('a', place);
  assert.equal(places.stale(new Set()), [], 'an older assignment');
  assert.equal(places.stale(new Set(['a'])), []);
  assert.equal(places.stale(new Set()), [['a', place]]);
  places.forget('a');
  assert.equal(places.stale(new Set()), []);
});

test('a refused endpoint is forgotten, and one that was assigned is not until its device is removed', () => {
  const path = file();
  const places = open(path);
  places.begin('refused', place);
  places.begin('assigned', place);
  places.stale(new Set(['assigned']));
  places.abandon('refused');
  places.abandon('assigned');
  assert.equal([...places.all.keys()], ['assigned']);
  assert.equal([...open(path).all], [['assigned', place]]);
});

test('the next process removes what no assignment has', () => {
  const path = file();
  open(path).begin('a', place);
  const next = open(path);
  assert.equal(next.stale(new Set()), [['a', place]]);
});

/** What is wrong with a file, and the ids that it has nevertheless. */
function damaged(text: string): { ids: string[]; warnings: string[]; copy: string } {
  const path = file();
  writeFileSync(path, text);
  warnings.length = 0;
  const ids = idsOf(open(path));
  return {
    ids,
    warnings: warnings.map((line) => line.replaceAll(path, 'FILE')),
    copy: readFileSync(`${path}.damaged`, 'utf8'),
  };
}

const idsOf = (places: AttachedPlaces): string[] => [...places.all.keys()];

test('a damaged record is left out with what to do, and the others count', () => {
  for (const [bad, expected] of [
    [
      { device: 'eth0' },
      /record "bad": netns: expected .*, got nothing; endpoint bad has no device until you detach it \("vtep detach bad"\)/,
    ],
    [
      { netns: 'box', device: 'a device with a long name' },
      /record "bad": device: expected .*, got "a device with a long name"/,
    ],
    [['box', 'eth0'], /record "bad": expected an object, got \["box","eth0"\]/],
  ] as const) {
    const text = JSON.stringify({ good: place, bad });
    const found = damaged(text);
    assert.equal(found.ids, ['good']);
    assert.is(found.copy, text);
    assert.is(found.warnings.length, 1);
    assert.match(found.warnings[0]!, expected);
  }
  const { ids, warnings: one } = damaged('{');
  assert.equal(ids, []);
  assert.match(one.join(), /^FILE is damaged, and FILE\.damaged has a copy: it is not JSON .*"vtep detach NAME"/);
});

test.run();
