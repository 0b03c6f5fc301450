/** Keys of the gossip: what other users of the host can learn of them, and which files the program trusts. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { withoutKeys } from '../../src/cli/hide-keys.js';
import { findKey, readKeys } from '../../src/host/gossip-keys.js';
import { query } from '../../src/host/index.js';
import { keyTrouble } from '../../src/host/joining.js';
import { Keyring } from '../../src/gossip/memberlist/index.js';
import { parseRequest } from '../../src/schema/index.js';
import { REPOSITORY, VTEP, waitFor, type Outcome } from '../support/lab.js';

const KEY = Buffer.alloc(32, 0xa7).toString('base64');
const directory = mkdtempSync(join(tmpdir(), 'weft-keys-'));
const running: { child: ChildProcess; ended: Promise<unknown> }[] = [];
test.after.each(async () => {
  for (const { child, ended } of running.splice(0)) {
    child.kill('SIGTERM');
    await ended;
  }
});
test.after(() => rmSync(directory, { recursive: true }));

/** Runs `vtep`, with text on standard input. */
function start(
  args: readonly string[],
  input = '',
  through: readonly string[] = [],
): { child: ChildProcess } & Outcome {
  const command = [...through, ...VTEP, ...args];
  const child = spawn(command[0]!, command.slice(1), { stdio: 'pipe' });
  const outcome = { child, code: null, signal: null, stdout: '', stderr: '' } as { child: ChildProcess } & Outcome;
  child.stdout.on('data', (data: Buffer) => (outcome.stdout += data.toString()));
  child.stderr.on('data', (data: Buffer) => (outcome.stderr += data.toString()));
  child.stdin.on('error', () => undefined).end(input);
  running.push({ child, ended: new Promise((resolve) => child.on('close', (code) => resolve((outcome.code = code)))) });
  return outcome;
}

async function vtep(args: readonly string[], input = '', through: readonly string[] = []): Promise<Outcome> {
  const outcome = start(args, input, through);
  await running.at(-1)!.ended;
  return outcome;
}

let port = 47_900;
const agentArgs = (...more: string[]): string[] => {
  const [udp, gossip] = [port++, port++];
  const place = ['--local', '127.0.0.1', '--port', `${udp}`, '--bind', `127.0.0.1:${gossip}`, '--engine', 'dgram'];
  return ['agent', ...place, '--network', 'a:1:10.0.0.0/24', ...more];
};

function keyFile(name: string, mode: number): string {
  const path = join(directory, name);
  writeFileSync(path, `${KEY}\n`);
  chmodSync(path, mode);
  return path;
}

for (const [name, flags, through] of [
  ['--key KEY', ['--key', KEY], []],
  ['--key=KEY, started by sh as the installed program is', [`--key=${KEY}`], ['sh', '-c', 'exec "$0" "$@"']],
] as const)
  test(`${name}: the key is not in the command line of the running agent, and there is a warning`, async () => {
    const agent = start(agentArgs(...flags), '', through);
    await waitFor('the agent', () => agent.stdout.includes('ready'));
    const proc = `/proc/${agent.child.pid}`;
    const shown = readFileSync(`${proc}/cmdline`, 'utf8');
    assert.not.ok(shown.includes(KEY), shown);
    assert.match(shown, / agent --local 127\.0\.0\.1 .*--key[ =]\*\*\*\0*$/);
    assert.match(readFileSync(`${proc}/comm`, 'utf8'), /^(node|MainThread)\n$/);
    assert.match(agent.stdout, /: encrypted/);
    assert.match(agent.stderr, /warning: --key: a key on the command line is visible to other users/);
    assert.not.ok((agent.stderr + agent.stdout).includes(KEY));
  });

test('what is hidden: keys, but no other argument', () => {
  const hidden = (...args: string[]): string => withoutKeys(args).join(' ');
  const file = keyFile('named', 0o600);
  assert.is(hidden('agent', '--key', KEY, KEY, '--name', 'b'), 'agent --key *** *** --name b');
  const token = 'WEFT-1-4yk9jqx0-3xv0a';
  assert.is(hidden('join', '--token', token, 'host1:2377'), 'join --token *** host1:2377');
  assert.is(hidden('join', `--token=${token}`, 'host1'), 'join --token=*** host1');
  assert.is(hidden('join', '--token', '-', token), 'join --token - ***', 'also where a person forgot the flag');
  assert.is(
    hidden('agent', '--key', file, '--key', '-', '--join', 'host.example.org'),
    `agent --key ${file} --key - --join host.example.org`,
  );
  assert.is(hidden('up', '--key-file', KEY, `--key-file=${KEY}`), 'up --key-file *** --key-file=***');
  assert.is(hidden('up', '--key-file', '/no/prod.keys', 'x'), 'up --key-file /no/prod.keys x');
  assert.is(hidden('gossip', 'install', '--control', '/x', KEY), 'gossip install --control /x ***');
  assert.is(hidden('gossip', 'use', '0a1b2c3d', '--control', '/run'), 'gossip use 0a1b2c3d --control /run');
  assert.is(hidden('gossip', 'remove', `${KEY}x`), 'gossip remove ***', 'also a key with a typing error');
  assert.is(hidden('show', 'members', '--control', '/run/vtep.sock'), 'show members --control /run/vtep.sock');
});

test('a key on standard input, without a warning; a file on it that others can read, with one', async () => {
  const args = agentArgs('--key', '-');
  const agent = start(args, `# ours\n${KEY}\n`);
  await waitFor('the agent', () => agent.stdout.includes('ready'));
  assert.match(agent.stdout, /: encrypted/);
  assert.not.match(agent.stderr, /key/);
  const [, , place] = [0, 0, args[args.indexOf('--bind') + 1]!];
  const asked = await vtep(['gossip', 'members', '--join', place, '--key', '-'], KEY);
  assert.is(asked.code, 0, asked.stderr);
  assert.is(asked.stderr, '');
  const open = keyFile('open', 0o644);
  const redirected = await vtep(['gossip', 'members', '--join', place, '--key', '-'], '', [
    'sh',
    '-c',
    `exec "$0" "$@" <${open}`,
  ]);
  assert.is(redirected.code, 0, redirected.stderr);
  assert.match(
    redirected.stderr,
    /other users can read the key file on standard input \(mode 644\); run: chmod 600 FILE/,
  );
  const nothing = await vtep(['gossip', 'members', '--join', place, '--key', '-'], '\n');
  assert.is(nothing.code, 2);
  assert.match(nothing.stderr, /^vtep gossip: --key: standard input contains no key/);
  const both = await vtep(
    agentArgs('--key', '-', '--config', '-').filter((word) => word !== '--network'),
    '{}',
  );
  assert.is(both.code, 2);
  assert.match(both.stderr, /--key - does not go with --config -|is not expected here/);
});

test('a key file that others can read causes a warning; one that they can change is refused', async () => {
  for (const mode of [0o600, 0o400]) {
    const warnings: string[] = [];
    readKeys([keyFile('k', mode)], (warning) => warnings.push(warning));
    assert.equal(warnings, []);
  }
  for (const mode of [0o666, 0o660, 0o622, 0o606, 0o602]) {
    const file = keyFile('k', mode);
    const ended = await vtep(agentArgs('--key', file));
    assert.is(ended.code, 2);
    const text = `--key: other users can change the key file ${file} (mode ${mode.toString(8)}); check its content, then run: chmod 600 ${file}`;
    assert.ok(ended.stderr.includes(`vtep agent: ${text}\n`), ended.stderr);
  }
  const file = keyFile('k', 0o644);
  const ended = await vtep(['gossip', 'members', '--join', '127.0.0.1:1', '--key', file]);
  assert.match(ended.stderr, /warning: other users can read the key file .* \(mode 644\); run: chmod 600/);
});

test('a configuration file with keys is treated as a key file', async () => {
  const [udp, gossip] = [port++, port++];
  const config = (mode: number, keys: unknown): string => {
    const path = join(directory, `config-${mode.toString(8)}`);
    const networks = [{ id: 'a', vni: 1, subnet: '10.0.0.0/24' }];
    const own = { local: '127.0.0.1', port: udp, gossip: { bind: `127.0.0.1:${gossip}`, keys, networks } };
    writeFileSync(path, JSON.stringify(own));
    chmodSync(path, mode);
    return path;
  };
  const dry = (path: string): Promise<Outcome> => vtep(['agent', '--config', path, '--dry-run']);
  const open = config(0o644, [KEY]);
  assert.match((await dry(open)).stderr, new RegExp(`other users can read the configuration file with keys ${open} `));
  assert.not.match((await dry(config(0o600, [KEY]))).stderr, /other users/);
  assert.not.match((await dry(config(0o644, [keyFile('k', 0o600)]))).stderr, /other users/);
  const refused = await dry(config(0o646, [KEY]));
  assert.is(refused.code, 2);
  assert.match(refused.stderr, /^vtep agent: --config: other users can change the configuration file with keys /);
  const wrong = await dry(config(0o600, KEY));
  assert.is(wrong.code, 2);
  assert.match(wrong.stderr, /gossip\.keys: expected a list of keys and files of keys$/m);
  assert.not.ok(wrong.stderr.includes(KEY.slice(0, 10)), wrong.stderr);
});

test('a dry run prints the files of keys, and no key, with a typing error or without', async () => {
  const file = keyFile('k', 0o600);
  const own = { local: '127.0.0.1', gossip: { networks: [{ id: 'a', vni: 1, subnet: '10.0.0.0/24' }] } };
  const path = join(directory, 'inline');
  const both = async (keys: readonly string[]): Promise<Outcome[]> => {
    writeFileSync(path, JSON.stringify({ ...own, gossip: { ...own.gossip, keys } }), { mode: 0o600 });
    return [
      await vtep([...agentArgs('--dry-run'), ...keys.map((key) => `--key=${key}`)]),
      await vtep(['agent', '--config', path, '--dry-run']),
    ];
  };
  const shows = (text: string): boolean => text.includes(KEY.slice(2, 12));
  for (const { code, stdout, stderr } of await both([file, KEY])) {
    assert.is(code, 0, stderr);
    assert.equal((JSON.parse(stdout) as { gossip: { keys: string[] } }).gossip.keys, [file, '***']);
    assert.not.ok(shows(stdout + stderr), stdout + stderr);
  }
  // A dry run reads the keys, so it refuses a mistyped one; a wrong end of the base64 text changes nothing.
  for (const wrong of [KEY.slice(1), `${KEY}x`, `${KEY}=`, KEY.slice(0, -1), `"${KEY}"`, KEY.replace('p', ' ')])
    for (const { code, stdout, stderr } of await both([wrong])) {
      assert.ok(code === 2 || code === 0, stderr);
      assert.not.ok(shows(stdout + stderr), stdout + stderr);
    }
});

test('a key in the wrong place of the command line or of a file is not shown', async () => {
  const short = Buffer.alloc(24, 0xa7).toString('base64') + 'Q0';
  const path = join(directory, 'misplaced');
  const own = { local: '127.0.0.1', gossip: { join: [KEY], [KEY]: 1, networks: [] } };
  writeFileSync(path, JSON.stringify(own), { mode: 0o600 });
  const places = [
    [KEY],
    ['help', 'up', KEY],
    ['agent', KEY],
    ['agent', short],
    ['agent', `${KEY}x`],
    ['gossip', KEY],
    ['gossip', 'install', KEY, KEY],
    ['gossip', 'install', KEY, 'mistyped key of mine', '--control', '/run/x'],
    ['gossip', 'keys', KEY],
    ['show', KEY],
    ['show', 'fdb', `--json=${KEY}`],
    ['show', 'fdb', '--timeout', KEY],
    ['capture', '--control', directory, KEY],
    agentArgs('--name', KEY, '--name', KEY),
    agentArgs('--join', `a,${KEY}`),
    ['agent', '--network', KEY],
    ['agent', '--config', path],
  ];
  await Promise.all(
    places.map(async (args) => {
      const { code, stdout, stderr } = await vtep(args);
      assert.is(code, 2, args.join(' ') + stderr);
      assert.not.match(stdout + stderr, new RegExp(`${KEY.slice(2, 12)}|mistyped`), args.join(' '));
    }),
  );
  // What is not a key is shown, to find the error.
  const long = 'a-name-of-a-network-that-is-too-long-to-be-true';
  assert.match((await vtep(['agent', long])).stderr, new RegExp(`"${long}" is not expected here`));
  assert.match((await vtep([...agentArgs(), '--key', '/nowhere/vtep.key'])).stderr, /\/nowhere\/vtep\.key/);
});

test('the control socket repeats no key of a request', () => {
  for (const command of ['install-key', 'use-key', 'remove-key'])
    for (const key of [[KEY], { key: KEY }, `${KEY}${KEY}`, [[KEY]]])
      try {
        parseRequest({ command, key });
        assert.unreachable();
      } catch (error) {
        assert.is((error as Error).message, 'key: expected a key in base64, or its fingerprint');
      }
});

test('a key in place of a key file of a network is not shown', async () => {
  const place = ['--local', '127.0.0.1', '--vni', '1', '--tap', 'x', '--dry-run'];
  for (const key of [KEY, `${KEY}x`, KEY.slice(1)]) {
    const ended = await vtep(['up', ...place, `--key-file=${key}`]);
    assert.is(ended.code, 2);
    assert.match(ended.stderr, /^vtep up: --key-file: /m);
    assert.not.ok((ended.stdout + ended.stderr).includes(KEY.slice(2, 12)), ended.stderr);
  }
});

test('the keys of an encrypted network of "vtep up": a start, a rotation by hand, and one more segment', async () => {
  const [file, socket, config] = ['n.keys', 'v.sock', 'v.json'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  assert.is((await vtep(['network', 'keygen', '-o', file])).code, 0);
  chmodSync(file, 0o644);
  const networks = [{ name: 'prod', keyFile: file, subnets: [{ prefix: '10.1.1.0/24', vni: 5001 }] }];
  const own = { local: '127.0.0.1', port: port++, espPort: port++, control: socket, engine: 'dgram' };
  writeFileSync(config, JSON.stringify({ ...own, networks, segments: [{ vni: 9 }] }), { mode: 0o600 });
  const up = start(['up', '--config', config]);
  await waitFor('the VTEP', () => up.stdout.includes('ready'));
  assert.match(up.stderr, /other users can read the key file .*n\.keys \(mode 644\); run: chmod 600/);
  const control = ['--control', socket];
  const numbers = async (): Promise<unknown> => {
    const all = await query(socket, { command: 'segments' });
    return all.map(({ vni, encrypted, keyNumber }) => [vni, encrypted, keyNumber]).sort();
  };
  const clear = [9, false, null];
  assert.equal(await numbers(), [[5001, true, 1], clear]);
  const rotated = await vtep(['network', 'keygen', '-o', file, '--rotate']);
  assert.is(rotated.stdout, `the newest key of ${file} is number 2\n`, rotated.stderr);
  await query(socket, { command: 'reload' });
  assert.equal(await numbers(), [[5001, true, 2], clear]);
  assert.match(up.stderr, /the newest key of prod is number 2, from /);
  // The path of a client is relative to its own directory.
  const added = await vtep(['network', 'add', '42', '--key-file', relative(process.cwd(), file), ...control]);
  assert.is(added.code, 0, added.stderr);
  assert.equal(await numbers(), [[42, true, 2], [5001, true, 2], clear]);
  assert.match((await vtep(['network', 'ls', ...control])).stdout, /^ *42 .* 2 *$/m);
  const nowhere = await vtep(['network', 'add', '43', '--key-file', '/no/such', ...control]);
  assert.match(nowhere.stderr, /^vtep network: --key-file: there is no file \/no\/such\n/);
  // A wrong file changes nothing.
  const text = readFileSync(file, 'utf8');
  writeFileSync(file, text.replace('2 ', ''));
  const refused = await query(socket, { command: 'reload' }).catch((error: Error) => error);
  assert.match((refused as Error).message, /v\.json: networks\[0\]\.keyFile: .*n\.keys:2: expected NUMBER KEY/);
  assert.equal(await numbers(), [[42, true, 2], [5001, true, 2], clear]);
  await query(socket, { command: 'remove-segment', vni: 42 });
  const secrets = [...text.matchAll(/^\d+ (\S{40})/gm)].map(([, secret]) => secret!);
  assert.is(secrets.length, 2);
  for (const secret of secrets) assert.not.ok((up.stdout + up.stderr + (refused as Error).message).includes(secret));
});

test('keygen -o: mode 0600 with any umask, no link is followed, and a file open for others keeps the old content', async () => {
  const keygen = (...args: string[]): Promise<Outcome> =>
    vtep(['gossip', 'keygen', ...args], '', ['sh', '-c', 'umask 0; exec "$0" "$@"']);
  const file = join(directory, 'new');
  assert.is((await keygen('-o', file)).code, 0);
  assert.is(statSync(file).mode & 0o777, 0o600);
  const [first] = readKeys([file], assert.unreachable);
  assert.is((await keygen('-o', file)).code, 1);
  assert.equal(readKeys([file], assert.unreachable), [first]);
  const target = join(directory, 'target');
  const link = join(directory, 'link');
  symlinkSync(target, link);
  assert.is((await keygen('-o', link)).code, 1);
  assert.not.ok(existsSync(target));
  chmodSync(file, 0o666);
  const old = statSync(file).ino;
  assert.is((await keygen('-o', file, '--force')).code, 0);
  assert.is(statSync(file).mode & 0o777, 0o600);
  assert.is.not(statSync(file).ino, old);
  const shell = ['sh', '-c', `umask 022; exec "$0" "$@" >${join(directory, 'redirected')}`];
  const redirected = await vtep(['gossip', 'keygen'], '', shell);
  assert.is(redirected.code, 0);
  assert.match(
    redirected.stderr,
    /warning: other users can read the file on standard output \(mode 644\); run "chmod 600"/,
  );
});

test('what the program writes belongs to its user alone: a capture, and the control socket', async () => {
  const capture = join(directory, 'arp.pcapng');
  const source = join(REPOSITORY, 'test/captures/arp.pcap');
  assert.is((await vtep(['read', source, '--write', capture])).code, 0);
  assert.is(statSync(capture).mode & 0o777, 0o600);
  const control = join(directory, 'agent.sock');
  const agent = start(agentArgs('--control', control), '', ['sh', '-c', 'umask 0; exec "$0" "$@"']);
  await waitFor('the agent', () => agent.stdout.includes('ready'));
  assert.is(statSync(control).mode & 0o777, 0o600);
});

const fifo = (name: string): string => {
  const path = join(directory, name);
  execFileSync('mkfifo', ['-m', '600', path]);
  return path;
};

/** The error of a key that is refused. */
function refusal(text: string): string {
  try {
    readKeys([text], () => undefined);
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error(`taken: ${text}`);
}

test('a FIFO that nobody writes to ends after 10 s, for keys as for a configuration; one with a writer is read', async () => {
  const [empty, full, written] = [fifo('empty'), fifo('full'), fifo('written')];
  const nothing = 'nothing has been written to it yet';
  const began = performance.now();
  // Both ends are open: a key file that is read twice has one key.
  const writer = spawn('sh', ['-c', `sleep 1; printf '%s\\n' ${KEY} >${written}`]);
  const [key, config, known] = await Promise.all([
    vtep(['gossip', 'members', '--join', '127.0.0.1:1', '--key', empty]),
    vtep(['agent', '--config', full, '--dry-run']),
    (async () => {
      const agent = start(agentArgs('--key', written));
      await waitFor('the agent', () => agent.stdout.includes('ready'));
      return agent.stdout;
    })(),
  ]);
  assert.ok(performance.now() - began < 10_000 + 50_000);
  assert.match(known, /: encrypted/);
  assert.ok(writer.exitCode === 0);
  assert.is(key.code, 2);
  assert.ok(
    key.stderr.startsWith(`vtep gossip: --key: the key file ${empty} cannot be read: ${nothing}\n`),
    key.stderr,
  );
  assert.ok(config.stderr.startsWith(`vtep agent: --config: ${full} cannot be read: ${nothing}\n`), config.stderr);
});

test('keygen -o writes regular files alone, and at once; without a standard output it fails', async () => {
  const target = keyFile('other', 0o600);
  const link = join(directory, 'link-to-other');
  symlinkSync(target, link);
  for (const [path, kind] of [
    [fifo('keygen'), 'not a regular file'],
    [directory, 'a directory'],
    [link, 'a symbolic link'],
    ['/dev/null', 'not a regular file'],
  ] as const)
    for (const force of [[], ['--force']]) {
      const ended = await vtep(['gossip', 'keygen', '-o', path, ...force]);
      assert.is(ended.code, 1);
      assert.is(ended.stderr, `vtep gossip: ${path} is ${kind}; choose another file\n`);
    }
  assert.is(readFileSync(target, 'utf8'), `${KEY}\n`);
  for (const redirection of ['>&-', '>/dev/null']) {
    const closed = await vtep(['gossip', 'keygen'], '', ['sh', '-c', `exec "$0" "$@" ${redirection}`]);
    assert.is(closed.code, 1, redirection);
    assert.match(closed.stderr, /^vtep gossip: standard output is closed, or \/dev\/null/);
  }
});

test('what exists at the path of a key is a file, and errors are words', () => {
  const before = process.cwd();
  process.chdir(directory);
  try {
    mkdirSync('own');
    keyFile('regular', 0o600);
    assert.is(refusal('own'), 'own is a directory, not a key file');
    assert.is(refusal('./regular/x'), 'the key file ./regular/x cannot be read: a part of its path is not a directory');
    assert.is(refusal('nosuch.key'), 'there is no file nosuch.key');
    assert.is(refusal('nosuch'), 'the key (6 characters) is not base64, and there is no file of that name');
    assert.match(refusal(`./${'x'.repeat(300)}`), / cannot be read: its name is too long$/);
    assert.not.ok(refusal(`${KEY}!`).includes(KEY));
  } finally {
    process.chdir(before);
  }
});

test('a file of another user, and one that every user can replace, is refused as a key file', async () => {
  const open = join(directory, 'open-directory');
  mkdirSync(join(open, 'below'), { recursive: true });
  const inside = keyFile('open-directory/below/key', 0o600);
  const outside = keyFile('outside', 0o600);
  const link = join(open, 'link');
  symlinkSync(outside, link);
  chmodSync(open, 0o777);
  for (const path of [inside, link])
    assert.is(
      refusal(path),
      `every user may replace the key file ${path}; check its content, then run: chmod o-w ${open}`,
    );
  chmodSync(open, 0o1777);
  for (const path of [inside, link]) readKeys([path], assert.unreachable);
  if (process.getuid!() !== 0) return;
  lchownSync(link, 12345, 12345);
  assert.match(
    refusal(link),
    /^another user, with id 12345, can change the key file .*; check its content, then run: chown -h 0 /,
  );
  chownSync(outside, 12345, 12345);
  assert.match(refusal(outside), /^another user, with id 12345, can change the key file /);
  process.env['SUDO_UID'] = '12345';
  readKeys([outside], assert.unreachable);
  delete process.env['SUDO_UID'];
});

test('a configuration without keys that others can change causes a warning', async () => {
  const path = join(directory, 'plain.json');
  writeFileSync(path, JSON.stringify({ local: '127.0.0.1', segments: [{ vni: 1 }], taps: [{ name: 't', vni: 1 }] }));
  const dry = async (): Promise<string> => (await vtep(['up', '--config', path, '--dry-run'])).stderr;
  chmodSync(path, 0o644);
  assert.not.match(await dry(), /can change/);
  chmodSync(path, 0o666);
  const text = `warning: other users can change the configuration file ${path} (mode 666); check its content, then run: chmod go-w ${path}`;
  assert.ok((await dry()).includes(text), await dry());
  if (process.getuid!() !== 0) return;
  chmodSync(path, 0o644);
  chownSync(path, 12345, 12345);
  assert.match(await dry(), /warning: another user, with id 12345, can change the configuration file /);
});

test('--dry-run checks the key files as a start does', async () => {
  const empty = join(directory, 'no-keys');
  writeFileSync(empty, '');
  chmodSync(empty, 0o600);
  for (const [file, text] of [
    [join(directory, 'missing'), /^vtep agent: --key: there is no file /],
    [keyFile('open-to-all', 0o666), /^vtep agent: --key: other users can change the key file /],
    [empty, /^vtep agent: --key: .* contains no key/],
  ] as const) {
    const ended = await vtep(agentArgs('--key', file, '--dry-run'));
    assert.is(ended.code, 2);
    assert.match(ended.stderr, text);
  }
  assert.is((await vtep(agentArgs('--key', keyFile('good', 0o600), '--dry-run'))).code, 0);
});

test('no text about what cannot be read asks for the key, or states what a stranger can pretend', () => {
  const plain = 'it is not encrypted; if it is one of your agents, start it with the key of this cluster';
  assert.is(keyTrouble('the stream is not encrypted'), plain);
  assert.is(keyTrouble('encryption version 12 is not supported'), plain);
  assert.is(keyTrouble('encryption version 71 is not supported'), 'it may not be gossip at all');
  assert.match(
    keyTrouble('no key of the ring opens it')!,
    /differ from ours, or it may not be gossip .*"vtep gossip install"/,
  );
  assert.is(keyTrouble('something else'), null);
});

test('a key that is not in the ring: only "use" says to install it', () => {
  const ring = new Keyring([new Uint8Array(32)]);
  assert.throws(() => findKey(ring, KEY), /^key [0-9a-f]{8} is not in the ring, which has [0-9a-f]{8}$/);
});

test('an agent without a key says so in one line, and one with a key does not', async () => {
  const said = /warning: the gossip has no key: everybody who reaches 127\.0\.0\.1:\d+ can join; see --key$/gm;
  for (const [flags, count] of [
    [[], 1],
    [['--key', keyFile('ours', 0o600)], 0],
  ] as const) {
    const agent = start(agentArgs(...flags));
    await waitFor('the agent', () => agent.stdout.includes('ready'));
    assert.is([...agent.stderr.matchAll(said)].length, count, agent.stderr);
  }
});

test('what is no control socket is called so', async () => {
  for (const path of ['/etc/passwd', directory]) {
    const ended = await vtep(['show', 'counters', '--control', path]);
    assert.is(ended.stderr, `vtep show: ${path} is not a socket\n`);
  }
});

test.run();
