/** Where a node remembers the endpoints in namespaces of others. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { AttachedPlaces } from '../src/host/cluster/attached-places.js';

const directory = mkdtempSync(join(tmpdir(), 'weft-places-'));
process.on('exit', () => rmSync(directory, { recursive: true }));
let count = 0;
const file = (): string => join(directory, String(count++));
const place = { netns: 'box', device: 'eth0' };

test('an endpoint stays while assignments arrive that are older than it, and goes when one no longer has it', () => {
  const places = new AttachedPlaces(file());
  places.begin('a', place);
  assert.equal(places.stale(new Set()), [], 'an older assignment');
  assert.equal(places.stale(new Set(['a'])), []);
  assert.equal(places.stale(new Set()), [['a', place]]);
  places.forget('a');
  assert.equal(places.stale(new Set()), []);
});

test('a refused endpoint is forgotten, and one that was assigned is not until its device is removed', () => {
  const path = file();
  const places = new AttachedPlaces(path);
  places.begin('refused', place);
  places.begin('assigned', place);
  places.stale(new Set(['assigned']));
  places.abandon('refused');
  places.abandon('assigned');
  assert.equal([...places.all.keys()], ['assigned']);
  assert.equal([...new AttachedPlaces(path).all], [['assigned', place]]);
});

test('the next process removes what no assignment has', () => {
  const path = file();
  new AttachedPlaces(path).begin('a', place);
  const next = new AttachedPlaces(path);
  assert.equal(next.stale(new Set()), [['a', place]]);
});

test('a damaged file is refused with what to do', () => {
  const path = file();
  writeFileSync(path, '{');
  assert.throws(() => new AttachedPlaces(path), /is damaged.*remove it/);
});

test.run();
