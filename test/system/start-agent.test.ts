/** A client starts the daemon of a node if none runs. */
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ensureAgent, query } from '../../src/host/index.js';
import { REPOSITORY, waitFor } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { TSX } from '../support/readme.js';

const test = suiteWith('the start of a daemon', ['root']);
const program = [process.execPath, '--import', TSX, join(REPOSITORY, 'src/cli/main.ts')];
const NO_SYSTEMD = {
  booted: '/nonexistent',
  network: '/proc/self/ns/net',
  patience: 60_000,
  installed: { state: '', socket: '' },
};
let folder = '';
let path = '';

test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-start-'));
  path = process.env['PATH']!;
});
test.after.each(async () => {
  process.env['PATH'] = path;
  await stop();
  rmSync(folder, { recursive: true, force: true });
});

const socket = (): string => join(folder, 'run/agent.sock');
async function stop(): Promise<void> {
  await query(socket(), { command: 'stop' }).catch(() => undefined);
  await waitFor('the daemon to end', () => !existsSync(socket()));
}

test('it is started once, in a session of its own, and its log is in the state directory', async () => {
  const options = { state: join(folder, 'state'), socket: socket(), program };
  const log = join(folder, 'state/agent.log');
  assert.equal(await ensureAgent(options, NO_SYSTEMD), { started: true, log });
  assert.is((await query(socket(), { command: 'node' })).state, 'none');
  assert.equal(await ensureAgent(options, NO_SYSTEMD), { started: false });
  await waitFor('the log', () => /^ready$/m.test(readFileSync(log, 'utf8')));
  const pid = Number(/pid (\d+)/.exec(readFileSync(log, 'utf8'))![1]);
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const [, , group, session] = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .map(Number);
  assert.equal([group, session], [pid, pid]);
});

test('a log that has grown is kept beside the next one', async () => {
  const state = join(folder, 'state');
  mkdirSync(state, { mode: 0o700 });
  writeFileSync(join(state, 'agent.log'), 'x'.repeat(2 << 20));
  await ensureAgent({ state, socket: socket(), program }, NO_SYSTEMD);
  assert.is(readFileSync(join(state, 'agent.log.1'), 'utf8').length, 2 << 20);
  assert.ok(readFileSync(join(state, 'agent.log'), 'utf8').length < 1 << 20);
});

test('if it ends before it answers, the error has the last lines of its log, and no older ones', async () => {
  const state = join(folder, 'state');
  mkdirSync(state);
  chmodSync(state, 0o755);
  writeFileSync(join(state, 'agent.log'), 'an older line\n');
  const error = await ensureAgent({ state, socket: socket(), program }, NO_SYSTEMD).then(
    () => undefined,
    (reason: Error) => reason,
  );
  assert.match(error!.message, /exit status 1.*agent\.log/);
  assert.match(error!.message, `chmod 700 ${state}`);
  assert.not.match(error!.message, /an older line/);
  const flags = ['--engine', 'fast'];
  const wrong = await ensureAgent({ state, socket: socket(), program, flags }, NO_SYSTEMD).catch(
    (reason: Error) => reason,
  );
  assert.match((wrong as Error).message, /--engine: expected one of/);
  const missing = { state, socket: socket(), program: ['/nonexistent/vtep'] };
  const gone = await ensureAgent(missing, NO_SYSTEMD).catch((reason: Error) => reason);
  assert.match((gone as Error).message, /cannot be started/);
});

test('where systemd runs, it is a unit whose commands outlive it', async () => {
  const state = join(folder, 'state');
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  // A stand-in for systemd, which notes what it was asked for.
  const script = `#!/bin/sh
while [ "$1" != -- ]; do echo "$1" >>${folder}/asked; shift; done
shift
setsid "$@" >${folder}/output 2>&1 &
`;
  writeFileSync(join(bin, 'systemd-run'), script, { mode: 0o755 });
  writeFileSync(join(bin, 'systemctl'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
  process.env['PATH'] = `${bin}:${path}`;
  const options = { state, socket: socket(), program };
  assert.equal(await ensureAgent(options, { ...NO_SYSTEMD, booted: folder }), { started: true });
  const asked = readFileSync(join(folder, 'asked'), 'utf8').split('\n');
  assert.ok(
    asked.some((word) => /^--unit=weft-agent-[0-9a-f]{8}$/.test(word)),
    asked.join(),
  );
  for (const property of ['KillMode=process', 'Type=notify']) assert.ok(asked.includes(`--property=${property}`));

  await stop();
  // Of the same node, an administrator has installed a unit.
  rmSync(join(folder, 'asked'));
  const start = `#!/bin/sh
echo "$*" >>${folder}/asked
[ "$1" = start ] || exit 0
setsid ${[...program, 'agent', '--state', state, '--socket', socket()].join(' ')} >${folder}/output 2>&1 &
`;
  writeFileSync(join(bin, 'systemctl'), start, { mode: 0o755 });
  const place = { ...NO_SYSTEMD, booted: folder, installed: { state, socket: socket() } };
  assert.equal(await ensureAgent(options, place), { started: true });
  assert.match(readFileSync(join(folder, 'asked'), 'utf8'), /^start weft-agent\.service$/m);
  await stop();
  writeFileSync(join(bin, 'systemctl'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });

  writeFileSync(join(bin, 'systemd-run'), '#!/bin/sh\necho "no such unit type" >&2\nexit 1\n', { mode: 0o755 });
  writeFileSync(join(bin, 'journalctl'), '#!/bin/sh\necho "a line of the journal"\n', { mode: 0o755 });
  const error = await ensureAgent(options, { ...NO_SYSTEMD, booted: folder }).catch((reason: Error) => reason);
  assert.match((error as Error).message, /no such unit type.*\n.*a line of the journal/s);
});

test.run();
