/** Commands in sandboxes: that they outlive their agent, what the next one knows of them, and what becomes of signals. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import {
  CommandError,
  processIdentity,
  isRunning,
  Sandboxes,
  type Sandbox,
  type Workload,
  type WorkloadPlan,
} from '../../src/host/index.js';
import { Lab, REPOSITORY, run, waitFor, type Outcome, type Running } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { bundle, type Program } from '../support/program.js';
import type { Request } from '../support/sandbox-node.js';

const workload = suiteWith('workloads', ['root', 'ip', 'setsid', 'script']);

const NAME = `wl${process.pid}-a`;
const NETNS = `weft-${NAME}`;
/** Milliseconds between SIGTERM and SIGKILL. */
const GRACE = 300;

let directory: string;
let node: Program;
let lab: Lab;
let sandbox: Sandbox;

workload.before(async () => {
  directory = realpathSync(mkdtempSync(join(tmpdir(), 'weft-workload-')));
  lab = new Lab('wlx');
  node = await bundle(join(REPOSITORY, 'test/support/sandbox-node.ts'));
});

workload.before.each(async () => {
  sandbox = await open().ensure({
    name: NAME,
    addresses: ['10.77.0.2/24'],
    resolver: { servers: ['10.77.0.1'] },
    hosts: [{ address: '10.77.0.2', names: ['test.1'] }],
  });
});

workload.after.each(async () => {
  await lab.killAll();
  await open().retain([], 0);
});

workload.after(async () => {
  await lab?.teardown();
  node?.remove();
  rmSync(directory, { recursive: true, force: true });
});

function open(): Sandboxes {
  return new Sandboxes({ directory });
}

/** The sandbox as a new agent finds it. */
async function found(): Promise<Sandbox> {
  return (await open().find(NAME))!;
}

async function foundWorkload(id = 'main'): Promise<Workload> {
  return (await (await found()).workloads()).find((one) => one.id === id)!;
}

function words(request: Omit<Request, 'directory'>): string[] {
  return [...node.command, JSON.stringify({ directory, ...request })];
}

/** Starts a command in an agent of its own, which then is killed. */
async function startAndDie(plan: WorkloadPlan, killAt?: number): Promise<Outcome> {
  const start = { sandbox: NAME, workload: plan };
  const outcome = await run(words({ start, dies: true, ...(killAt === undefined ? {} : { killAt }) }));
  assert.is(outcome.signal, 'SIGKILL', outcome.stderr);
  return outcome;
}

/** Runs a command in the foreground of a process of its own. */
function foreground(command: string[], environment?: Record<string, string>): Running {
  return lab.spawn(words({ run: { netns: NETNS, command, ...(environment === undefined ? {} : { environment }) } }));
}

const sh = (script: string, ...more: string[]): string[] => ['sh', '-c', script, 'sh', ...more];

async function outputOf(one: Workload): Promise<string> {
  return (await one.output()).toString();
}

function fileOf(name: string): string {
  return join(directory, NAME, 'workloads/main', name);
}

workload('a command has its arguments, environment, directory, names and namespace', async () => {
  const odd = ['two words', "it's", '"quoted"', '', '$HOME `id` \\', '*', 'line\nfeed', '-n', 'é'];
  const one = await sandbox.start({
    id: 'main',
    command: sh(
      'printf "<%s>" "$@"; echo; env; pwd; cat /etc/resolv.conf /etc/hosts; readlink /proc/self/ns/net',
      ...odd,
    ),
    environment: { WORDS: 'a  b\'"$', PATH: '/usr/bin:/bin' },
    cwd: '/tmp',
  });
  const { code, signal, reason } = await one.wait();
  assert.equal({ code, signal, reason }, { code: 0, signal: null, reason: 'exit status 0' });
  const output = await outputOf(one);
  assert.ok(output.startsWith(odd.map((word) => `<${word}>`).join('') + '\n'), output);
  assert.match(output, /^WORDS=a {2}b'"\$$/m);
  assert.match(output, /^PATH=\/usr\/bin:\/bin$/m);
  assert.not.match(output, /^HOME=|^weft_/m, 'nothing of the agent or the shim');
  assert.match(output, /^\/tmp$/m);
  assert.match(output, /^nameserver 10\.77\.0\.1$/m);
  assert.match(output, /^10\.77\.0\.2 test\.1$/m);
  assert.match(output, new RegExp(`^net:\\[${statSync(`/run/netns/${NETNS}`).ino}\\]$`, 'm'));
  assert.equal(
    await one.command(),
    sh('printf "<%s>" "$@"; echo; env; pwd; cat /etc/resolv.conf /etc/hosts; readlink /proc/self/ns/net', ...odd),
  );
});

workload('a command survives kill -9 of its agent; the next one finds it, and its exit status', async () => {
  const script = `echo begin; until [ -e ${directory}/go ]; do sleep 0.05; done; echo end; exit 3`;
  await startAndDie({ id: 'main', command: sh(script) });
  const next = await foundWorkload();
  assert.is(next.state.state, 'running');
  await waitFor('output', async () => (await outputOf(next)) === 'begin\n');
  const ended = next.wait();
  writeFileSync(`${directory}/go`, '');
  assert.equal(await ended, { code: 3, signal: null, reason: 'exit status 3' });
  assert.is(await outputOf(next), 'begin\nend\n');
  rmSync(`${directory}/go`);
  // Also one that comes after the end.
  assert.equal((await foundWorkload()).state, { state: 'ended', code: 3, signal: null, reason: 'exit status 3' });
  await next.remove();
  assert.not.ok(existsSync(fileOf('')));
  assert.equal(await (await found()).workloads(), []);
});

const STARTING = ['workload directory', 'workload record', 'shim', 'command'];

STARTING.forEach((step, i) =>
  workload(
    `killed after "${step}" of the start, the next agent knows whether the command runs, and ends it`,
    async () => {
      const { stdout } = await startAndDie({ id: 'main', command: ['sleep', '300'] }, i + 1);
      assert.equal(stdout.trim().split('\n'), STARTING.slice(0, i + 1));
      const next = await foundWorkload();
      if (i < 2) {
        assert.equal(next.state, {
          state: 'ended',
          code: null,
          signal: null,
          reason: 'the agent ended before it had started the command',
        });
      } else {
        // After "shim" the shim may not have begun before it was found; then it begins no more.
        const { code } = await next.stop(GRACE);
        assert.ok(code === 143 || (code === null && i === 2), String(code));
      }
      await next.remove();
      assert.not.ok(existsSync(fileOf('')));
    },
  ),
);

workload('a shim that comes after the next agent has taken over starts nothing', async () => {
  await startAndDie({ id: 'main', command: ['touch', `${directory}/started`] }, 2);
  const next = await foundWorkload();
  const late = await run([
    'sh',
    fileOf('shim.sh'),
    'run',
    fileOf('.'),
    NETNS,
    '8',
    process.env['PATH']!,
    'touch',
    `${directory}/started`,
  ]);
  assert.is(late.code, 1);
  assert.is(next.state.state, 'ended');
  assert.not.ok(existsSync(`${directory}/started`));
});

workload('stop ends the whole session: what ignores SIGTERM is killed after the time that it has', async () => {
  const tree = `trap '' TERM; sh -c 'trap "" TERM; while :; do sleep 0.1; done' & echo $!; while :; do sleep 0.1; done`;
  await startAndDie({ id: 'main', command: sh(tree) });
  const next = await foundWorkload();
  const child = Number(await waitFor('the child', async () => (await outputOf(next)).trim()));
  const identity = processIdentity(child)!;
  assert.ok(isRunning(identity));
  assert.equal(await next.stop(GRACE), { code: 137, signal: 'SIGKILL', reason: 'ended by SIGKILL (exit status 137)' });
  assert.not.ok(isRunning(identity));
});

workload('SIGTERM, SIGINT and SIGQUIT reach a command; what it leaves behind ends with it', async () => {
  for (const name of ['TERM', 'INT', 'QUIT'] as const) {
    const script = `trap "exit 9" ${name}; sleep 300 & echo $!; wait`;
    const one = await sandbox.start({ id: name, command: sh(script) });
    const left = Number(await waitFor('the child', async () => (await outputOf(one)).trim()));
    const identity = processIdentity(left)!;
    assert.ok(one.signal(`SIG${name}`));
    assert.is((await one.wait()).code, 9);
    assert.not.ok(isRunning(identity), name);
    assert.not.ok(one.signal(`SIG${name}`));
  }
  // Not ignored, as shells do for what they start in the background.
  const one = await sandbox.start({ id: 'main', command: ['sleep', '300'] });
  one.signal('SIGINT');
  assert.equal(await one.wait(), { code: 130, signal: 'SIGINT', reason: 'ended by SIGINT (exit status 130)' });
});

workload('a process that has got the number of a command, or that of its shim, is not taken for it', async () => {
  const one = await sandbox.start({ id: 'main', command: ['sleep', '300'] });
  const pids = ['command', 'claim'].map((name) => Number(readFileSync(fileOf(name), 'utf8').split(' ')[0]));
  // In this order the shim cannot write an exit status.
  for (const pid of pids.reverse()) process.kill(pid, 'SIGKILL');
  await one.wait();
  const innocent = spawn('sleep', ['300'], { detached: true, stdio: 'ignore' });
  const { pid, start, boot } = processIdentity(innocent.pid!)!;
  try {
    for (const other of [`${pid} ${start - 1} ${boot}\n`, `${pid} ${start} 00000000-0000-4000-8000-000000000000\n`]) {
      writeFileSync(fileOf('command'), other);
      writeFileSync(fileOf('claim'), other);
      const next = await foundWorkload();
      const { state, code, reason } = next.state as { state: string; code?: number | null; reason?: string };
      assert.equal([state, code], ['ended', null]);
      assert.match(reason!, /exit status is unknown/);
      assert.not.ok(next.signal('SIGKILL'));
      await next.stop(0);
    }
    await (await foundWorkload()).remove();
    assert.ok(isRunning({ pid, start, boot }));
  } finally {
    innocent.kill('SIGKILL');
  }
});

workload('a command whose shim was killed runs on, and can be ended', async () => {
  const one = await sandbox.start({ id: 'main', command: ['sleep', '300'] });
  process.kill(Number(readFileSync(fileOf('claim'), 'utf8').split(' ')[0]), 'SIGKILL');
  const next = await foundWorkload();
  assert.is(next.state.state, 'running');
  assert.is((await next.stop(GRACE)).code, null);
  await one.remove();
});

workload('the end of the output is kept, whole, within its bound', async () => {
  const bound = 64 << 10;
  const count = 60_000;
  const one = await sandbox.start({
    id: 'main',
    command: sh(`seq ${count}; seq ${count} >&2; printf 'last, without a line feed'`),
    outputBytes: bound,
  });
  await one.wait();
  const lines = Array.from({ length: count }, (_, i) => `${i + 1}\n`).join('');
  const all = `${lines}${lines}last, without a line feed`;
  const kept = await outputOf(one);
  assert.ok(all.endsWith(kept), kept.slice(-200));
  assert.ok(kept.length >= bound / 2 && kept.length <= bound, String(kept.length));
  assert.is((await one.output(9)).toString(), 'line feed');
  const size = ['output', 'output.1'].map((name) => statSync(fileOf(name)).size);
  assert.ok(size[0]! + size[1]! <= bound, size.join());
});

workload('output is there when it is written, also without a line feed, and zeros are kept', async () => {
  const one = await sandbox.start({ id: 'main', command: sh(`printf 'a\\000b'; sleep 300`) });
  await waitFor('output', async () => (await outputOf(one)) === 'a\0b');
  await one.stop(GRACE);
});

workload('a full disk loses output, and does not stop the command', async () => {
  const one = await sandbox.start({
    id: 'main',
    command: sh(`until [ -e ${directory}/full ]; do sleep 0.05; done; seq 40000; exit 5`),
    outputBytes: 4096,
  });
  // The same error as that of a full disk.
  await run(['ln', '-sf', '/dev/full', fileOf('output')]);
  writeFileSync(`${directory}/full`, '');
  assert.is((await one.wait()).code, 5);
  rmSync(`${directory}/full`);
});

workload('commands that cannot be started: 127 and 126, with the reason, and nothing is left', async () => {
  const plain = join(directory, 'plain');
  writeFileSync(plain, '#!/bin/sh\n', { mode: 0o644 });
  const lost = join(directory, 'lost');
  writeFileSync(lost, '#!/no/such/interpreter\n', { mode: 0o755 });
  const cases: [command: string[], code: number, message: RegExp][] = [
    [['no-such-program'], 127, /there is no program "no-such-program" in PATH \(.*\); install it, or give its path/],
    [['/no/such'], 127, /there is no program \/no\/such; install it/],
    [[plain], 126, /"\S+plain" cannot be executed: \S+ has no permission for it; run: chmod \+x/],
    [['/tmp'], 126, /\/tmp is a directory/],
    [[], 127, /there is no command to run/],
  ];
  for (const [command, code, message] of cases) {
    try {
      await sandbox.start({ id: 'main', command });
      assert.unreachable(command.join(' '));
    } catch (error) {
      assert.instance(error, CommandError);
      assert.is((error as CommandError).exitCode, code);
      assert.match((error as CommandError).message, message);
    }
    assert.not.ok(existsSync(fileOf('')));
    if (command.length === 0) continue;
    const outcome = await foreground(command).ended;
    assert.is(outcome.code, code);
    assert.match(outcome.stderr, message);
  }
  // Only the kernel finds this out.
  const one = await sandbox.start({ id: 'main', command: [lost] });
  const ended = await one.wait();
  assert.is(ended.code, 127);
  assert.match(ended.reason, /an interpreter of it is missing/);
  assert.is((await foreground([lost]).ended).code, 127);
});

workload('run: streams, arguments, environment and exit status', async () => {
  const odd = ["it's", 'two  words', '', '$x'];
  const outcome = await foreground(sh('printf "<%s>" "$@"; echo "$WORD" >&2; cat /etc/hosts; exit 42', ...odd), {
    PATH: '/usr/bin:/bin',
    WORD: 'a b',
  }).ended;
  assert.is(outcome.code, 42);
  assert.match(outcome.stdout, /^<it's><two {2}words><><\$x>/);
  assert.match(outcome.stdout, /test\.1/);
  assert.is(outcome.stderr, 'a b\n');
  assert.is((await foreground(sh('kill -KILL $$')).ended).code, 137);
  const nowhere = await lab.spawn(words({ run: { netns: 'weft-no-such', command: ['true'] } })).ended;
  assert.is(nowhere.code, 1);
  assert.match(nowhere.stderr, /network namespace "weft-no-such" does not exist/);
});

workload('run passes signals on, and exits as the command does', async () => {
  for (const [name, number] of [
    ['TERM', 15],
    ['INT', 2],
    ['HUP', 1],
    ['QUIT', 3],
    ['USR1', 10],
    ['USR2', 12],
  ] as const) {
    const caught = foreground(sh(`trap 'echo got; exit 7' ${name}; echo ready; while :; do sleep 0.05; done`));
    await waitFor('the command', () => caught.stdout.includes('ready'));
    caught.signal(`SIG${name}`);
    const outcome = await caught.ended;
    assert.is(outcome.code, 7, name);
    assert.is(outcome.stdout, 'ready\ngot\n', name);
    if (name === 'QUIT') continue; // it would write a core file
    const plain = foreground(sh('echo ready; exec sleep 300'));
    await waitFor('the command', () => plain.stdout.includes('ready'));
    plain.signal(`SIG${name}`);
    assert.is((await plain.ended).code, 128 + number, name);
  }
});

/** Counts the signals that it gets, and exits with 6 some time after the first. */
const COUNTER = `
  process.on('SIGINT', () => {
    console.log('caught');
    setTimeout(() => process.exit(6), 500);
  });
  setInterval(() => undefined, 1000);
  console.log([process.stdin.isTTY, process.stdout.columns, 'ready'].join(' '));`;

workload('run has the terminal: the command sees it, and Ctrl-C once', async () => {
  const line = words({ run: { netns: NETNS, command: [process.execPath, '-e', COUNTER] } });
  const quoted = line.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
  const terminal = spawn('script', ['-qec', `stty cols 91 rows 17; exec ${quoted}`, '/dev/null'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let output = '';
  terminal.stdout.on('data', (data: Buffer) => (output += data.toString()));
  const ended = new Promise<number | null>((resolve) => terminal.on('close', resolve));
  await waitFor('the command', () => output.includes('ready'));
  assert.match(output, /true 91 ready/);
  terminal.stdin.write('\x03');
  assert.is(await ended, 6, output);
  assert.is(output.split('caught').length - 1, 1, output);
});

workload.run();
