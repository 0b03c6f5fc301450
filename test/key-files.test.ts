/** Key files of encrypted segments: in a configuration, on disk, and in a running VTEP. */
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test } from 'uvu';
import * as assert from 'uvu/assert';
import {
  GroupKeyring,
  HostError,
  newGroupKeyText,
  readGroupKeys,
  rotateGroupKeyFile,
  writeGroupKeyFile,
} from '../src/host/index.js';
import { Logger, RequestError } from '../src/host/index.js';
import { OverlayKeys, readKeyFiles } from '../src/host/overlay-keys.js';
import { configOf, newNetwork, plan, planNetwork, planSegment, SchemaError } from '../src/schema/index.js';
import { complaints } from './support/complaints.js';

// ---- In a configuration ----

const subnets = [
  { prefix: '10.1.1.0/24', vni: 5001 },
  { prefix: '11.1.1.0/24', vni: 5002 },
];
const prod = { name: 'prod', keyFile: '/etc/prod.keys', subnets };
const base = { local: '172.31.1.5', control: '/run/v.sock', segments: [] as object[], taps: [] };

test('the segments of a network share its key group, and a segment alone has its own', () => {
  const made = plan({
    ...base,
    networks: [prod, { name: 'clear', subnets: [{ prefix: '10.9.0.0/24', vni: 9 }] }],
    segments: [{ vni: 42, keyFile: 'a.keys' }, { vni: 43 }, { vni: 5002, mtu: 1400 }],
  });
  assert.equal(made.segments.map(({ vni, group }) => [vni, group]).sort(), [
    [42, 'vni-42'],
    [43, undefined],
    [5001, 'prod'],
    [5002, 'prod'],
    [9, undefined],
  ]);
  assert.equal(made.keyFiles, [
    { group: 'prod', path: '/etc/prod.keys' },
    { group: 'vni-42', path: 'a.keys' },
  ]);
  assert.not.ok(made.segments.some((segment) => 'keyFile' in segment));
  assert.equal(plan(JSON.parse(JSON.stringify(configOf(made)))), made);
});

test('networks of the gossip have key files, with and without a router', () => {
  const networks = [
    { id: 'plain', vni: 1, subnet: '10.0.0.0/24', keyFile: 'p' },
    { id: 'routed', subnets, keyFile: 'r' },
  ];
  const made = plan({ ...base, gossip: { networks } });
  assert.equal(
    made.segments.map(({ vni, group }) => [vni, group]),
    [
      [1, 'plain'],
      [5001, 'routed'],
      [5002, 'routed'],
    ],
  );
  assert.not.match(JSON.stringify(made.gossip), /keyFile/);
});

test('a segment of a network with a key file has none of its own', () => {
  assert.equal(complaints({ ...base, networks: [prod], segments: [{ vni: 5001, keyFile: 'x' }] }), [
    'segments[0].keyFile: does not go with networks[0].keyFile: the segments of network prod share its keys; leave one of the two out',
  ]);
  // Beside a network without one, it may.
  const { keyFile: _keyFile, ...clear } = prod;
  assert.equal(complaints({ ...base, networks: [clear], segments: [{ vni: 5001, keyFile: 'x' }] }), []);
});

test('a network does not have the key group of a segment', () => {
  const network = { ...prod, name: 'vni-7' };
  assert.equal(complaints({ ...base, networks: [network], segments: [{ vni: 7, keyFile: 'x' }] }), [
    'segments[0].keyFile: has the key group of networks[0].keyFile, vni-7; rename that network',
  ]);
});

test('a port of its own for encrypted segments', () => {
  assert.is(plan({ ...base, espPort: 5000 }).espPort, 5000);
  assert.equal(complaints({ ...base, port: 5000, espPort: 5000 }), ['espPort: is port, too; choose another port']);
  assert.equal(complaints({ ...base, espPort: 4789 }), ['espPort: is port, too; choose another port']);
  assert.equal(complaints({ ...base, espPort: 0 }), [
    'espPort: expected a UDP port: an integer from 1 to 65535, got 0',
  ]);
  // A VTEP in clear text may have the default port of the others.
  assert.equal(complaints({ ...base, port: 4500, segments: [{ vni: 1 }] }), []);
  const needs = 'needs a port for encrypted segments, whose default, 4500, is port; choose another (espPort)';
  assert.equal(complaints({ ...base, port: 4500, segments: [{ vni: 1, keyFile: 'x' }] }), [
    `segments[0].keyFile: ${needs}`,
  ]);
  assert.throws(
    () => planSegment({ vni: 1, keyFile: '/x' }, plan({ ...base, port: 4500 })),
    (error: unknown) => error instanceof SchemaError && /^keyFile: needs a port/.test(error.message),
  );
});

test('no error shows what is given as a key file: it may be a key', () => {
  for (const value of [77_777, '', { secret: 77_777 }, '\0' + '77777'])
    assert.not.match(complaints({ ...base, segments: [{ vni: 1, keyFile: value }] }).join(), /77777/);
});

test('a network and a segment of a running VTEP have key groups, too', () => {
  const running = plan({ ...base, segments: [{ vni: 9 }] });
  assert.is(planSegment({ vni: 42, keyFile: '/k' }, running).group, 'vni-42');
  const { keyFile, ...value } = prod;
  const network = newNetwork({ ...value, keyFile }, running);
  assert.equal(
    planNetwork(network, { keyFile }, running).map(({ vni, group }) => [vni, group]),
    [
      [5001, 'prod'],
      [5002, 'prod'],
    ],
  );
  // A segment that is there stays as it is: in clear text.
  const taken = newNetwork({ name: 'n', subnets: [{ prefix: '10.0.0.0/24', vni: 9 }], keyFile }, running);
  assert.throws(() => planNetwork(taken, { keyFile }, running), /keyFile: is for segments that come with the network/);
});

// ---- On disk ----

const disk = suite('key files');
let folder: string;
let warnings: string[];
const warn = (message: string): void => void warnings.push(message);
disk.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-keys-'));
  warnings = [];
});
disk.after.each(() => rmSync(folder, { recursive: true }));

/** Keys of 16 and 32 octets: base64 of `aaaa…` and so on. */
const key = (letter: string, octets = 32): string => Buffer.from(letter.repeat(octets)).toString('base64');
const A = 'YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=';

function file(text: string, mode = 0o600): string {
  const path = join(folder, 'prod.keys');
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

function refusal(text: string): string {
  const path = file(text);
  try {
    readGroupKeys(path, warn);
  } catch (error) {
    assert.instance(error, HostError);
    const { message } = error as HostError;
    for (const letter of 'abcd') assert.not.ok(message.includes(key(letter).slice(0, 8)), message);
    return message.replace(path, 'FILE');
  }
  return '';
}

disk('reads keys, the newest first', () => {
  assert.is(key('a'), A);
  assert.equal(readGroupKeys(file(`# of prod\n\n 1   ${A}\r\n3\t${key('c')}\n`), warn), [
    { number: 3, key: key('c') },
    { number: 1, key: A },
  ]);
  assert.equal(readGroupKeys(file(`4294967295 ${key('b', 16)}`), warn), [{ number: 4294967295, key: key('b', 16) }]);
  assert.equal(warnings, []);
});

disk('says what is wrong, and in which line, without the key', () => {
  const form = 'expected NUMBER KEY: a number from 1 to 4294967295, and a key in base64';
  assert.is(refusal(`# x\n${A}\n`), `FILE:2: ${form}`);
  assert.is(refusal(`0 ${A}`), `FILE:1: ${form}`);
  assert.is(refusal(`4294967296 ${A}`), `FILE:1: ${form}`);
  assert.is(refusal(`1 ${A} more`), `FILE:1: ${form}`);
  assert.is(refusal(`-1 ${A}`), `FILE:1: ${form}`);
  assert.is(refusal(`1 ${A}\n1 ${key('b')}`), 'FILE:2: the number 1 is given twice (before in line 1)');
  assert.is(refusal(`1 ${A.slice(0, -3)}`), 'FILE:1: the key (41 characters) is not base64');
  assert.is(
    refusal(`1 ${key('a', 24)}`),
    'FILE:1: the key has 24 octets, not 16 or 32 ("vtep network keygen" makes one)',
  );
  assert.is(
    refusal(`2 ${A}\n1 ${key('b', 16)}`),
    'FILE:2: the key has 16 octets, and that in line 1 has not; all keys of a file have the same length',
  );
  assert.is(
    refusal([4, 3, 2, 1].map((number) => `${number} ${A}`).join('\n')),
    'FILE:4: a key file has at most 3 keys; remove the oldest one',
  );
  assert.is(refusal('# nothing\n'), 'FILE contains no key; "vtep network keygen -o FILE" makes a key file');
});

disk('refuses a file that others can change, and warns of one that they can read', () => {
  assert.equal(readGroupKeys(file(`1 ${A}`, 0o644), warn).length, 1);
  assert.match(warnings.join(), /other users can read the key file .* \(mode 644\); run: chmod 600/);
  assert.throws(() => readGroupKeys(file(`1 ${A}`, 0o622), warn), /other users can change the key file/);
  assert.throws(() => readGroupKeys(folder, warn), /is a directory, not a key file/);
  assert.throws(() => readGroupKeys(join(folder, 'none'), warn), /there is no file/);
  // Read again on a reload.
  assert.throws(() => readGroupKeys('/dev/null', warn), /is not a regular file/);
});

disk('does not show a key that is given in place of a file', () => {
  try {
    readGroupKeys(A, warn);
    assert.unreachable();
  } catch (error) {
    assert.not.ok((error as Error).message.includes(A.slice(0, 8)));
    assert.match((error as Error).message, /a key is given in place of a file/);
  }
});

disk('a new file has the key 1, and its owner alone can read it', () => {
  const path = join(folder, 'new.keys');
  writeGroupKeyFile(path, 128, false);
  assert.is(statSync(path).mode & 0o777, 0o600);
  const [made, ...more] = readGroupKeys(path, warn);
  assert.is(made!.number, 1);
  assert.is(Buffer.from(made!.key, 'base64').length, 16);
  assert.equal(more, []);
  assert.throws(() => writeGroupKeyFile(path, 128, false), /exists; overwrite it/);
  assert.not.equal(newGroupKeyText(256), newGroupKeyText(256));
});

disk('a rotation puts the next number in front, and keeps three keys and the comments', () => {
  const path = file(`# mine\n7 ${key('g')}\n# old\n5 ${key('e')}\n6 ${key('f')}\n`, 0o640);
  assert.is(rotateGroupKeyFile(path, warn), 8);
  const keys = readGroupKeys(path, warn);
  assert.equal(keys.slice(1), [
    { number: 7, key: key('g') },
    { number: 6, key: key('f') },
  ]);
  assert.is(keys[0]!.number, 8);
  assert.match(readFileSync(path, 'utf8'), /^# mine\n8 \S{44}\n7 \S+\n# old\n6 \S+\n$/);
  assert.is(statSync(path).mode & 0o777, 0o600);
  for (const number of [9, 10, 11]) assert.is(rotateGroupKeyFile(path, warn), number);
  assert.equal(
    readGroupKeys(path, warn).map(({ number }) => number),
    [11, 10, 9],
  );
});

disk('a rotation that fails leaves the file as it was', () => {
  const last = file(`4294967295 ${A}\n`);
  assert.throws(() => rotateGroupKeyFile(last, warn), /there is no number above 4294967295/);
  assert.is(readFileSync(last, 'utf8'), `4294967295 ${A}\n`);
  const wrong = file('7\n');
  assert.throws(() => rotateGroupKeyFile(wrong, warn), /:1: expected NUMBER KEY/);
  const link = join(folder, 'link');
  symlinkSync(file(`1 ${A}\n`), link);
  assert.throws(() => rotateGroupKeyFile(link, warn), /is a symbolic link/);
});

// ---- In a running VTEP ----

disk('a keyring tells of changes alone', () => {
  const ring = new GroupKeyring();
  const heard: string[] = [];
  const end = ring.onChange((group) => heard.push(`${group} ${ring.get(group).map(({ number }) => number)}`));
  const keys = [4, 3, 2, 1].map((number) => ({ number, key: key('a') }));
  assert.is(ring.set('a', keys.slice(1)), true);
  assert.is(ring.set('a', [...keys.slice(1)].reverse()), false);
  assert.is(ring.set('a', keys), true);
  assert.is(ring.set('a', [{ number: 4, key: key('b') }, ...keys.slice(1)]), true);
  ring.set('b', keys.slice(3));
  ring.remove('a');
  ring.remove('a');
  end();
  ring.remove('b');
  assert.equal(heard, ['a 3,2,1', 'a 4,3,2', 'a 4,3,2', 'b 1', 'a ']);
  assert.equal(ring.get('a'), []);
});

const quiet = new Logger(() => undefined);
const withFile = (path: string) => plan({ ...base, segments: [{ vni: 42, keyFile: path }] });

disk('a reload reads the key files again; if one is wrong, the keys stay', async () => {
  const path = file(`1 ${A}`);
  const running = withFile(path);
  const keys = new OverlayKeys(running, quiet);
  assert.equal(keys.ring.get('vni-42'), [{ number: 1, key: A }]);
  file(`2 ${key('b')}\n1 ${A}`);
  await keys.reloading(withFile(path), () => Promise.resolve());
  assert.equal(
    keys.ring.get('vni-42').map(({ number }) => number),
    [2, 1],
  );
  file('nonsense');
  let applied = false;
  const apply = async (): Promise<void> => void (applied = true);
  const refused = await keys.reloading(withFile(path), apply).catch((error: unknown) => error as HostError);
  assert.instance(refused, HostError);
  assert.is((refused as HostError).path, 'segments[0].keyFile');
  assert.is(applied, false);
  // Nor do they change with a configuration that is refused for another reason.
  file(`3 ${key('c')}`);
  await keys.reloading(withFile(path), () => Promise.reject(new Error('no'))).catch(() => undefined);
  assert.equal(
    keys.ring.get('vni-42').map(({ number }) => number),
    [2, 1],
  );
});

disk('segments that are added bring their keys, and take them along', async () => {
  const running = plan(base);
  const keys = new OverlayKeys(running, quiet);
  const path = file(`1 ${A}`);
  const segment = planSegment({ vni: 42, keyFile: path }, running);
  await keys.adding(segment.group, path, async () => void running.segments.push(segment));
  assert.equal(keys.ring.get('vni-42').length, 1);
  assert.equal(running.keyFiles, [{ group: 'vni-42', path }]);
  running.segments.pop();
  keys.prune();
  assert.equal([keys.ring.get('vni-42'), running.keyFiles], [[], []]);
  // One that fails leaves nothing.
  await keys.adding('vni-42', path, () => Promise.reject(new Error('no'))).catch(() => undefined);
  assert.equal([keys.ring.get('vni-42'), running.keyFiles], [[], []]);
  const relative = await keys.adding('vni-42', 'prod.keys', async () => 1).catch((error: unknown) => error);
  assert.instance(relative, RequestError);
  assert.is((relative as RequestError).path, 'keyFile');
});

disk('the error of a key file names its field', () => {
  const path = file('nonsense');
  assert.throws(
    () => readKeyFiles(plan({ ...base, networks: [{ ...prod, keyFile: path }] }), warn),
    (error: unknown) => error instanceof HostError && error.path === 'networks[0].keyFile',
  );
});

test.run();
disk.run();
