/** Service files: units for systemd, readiness notification, and the Containerfile. */
import { spawn, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { COMMANDS } from '../src/cli/commands.js';
import { flagsOf } from '../src/cli/manual.js';
import { ServiceManager } from '../src/host/index.js';
import { waitFor } from './support/lab.js';
import { suiteWith } from './support/needs.js';

const directory = mkdtempSync(join(tmpdir(), 'weft-service-'));
process.on('exit', () => rmSync(directory, { recursive: true }));
const UNITS = readdirSync('contrib/systemd').map((name) => join('contrib/systemd', name));

test('without a service manager, nothing is sent', async () => {
  assert.is(await ServiceManager.find({}), undefined);
  assert.is(await ServiceManager.find({ NOTIFY_SOCKET: '' }), undefined);
  assert.is(await ServiceManager.find({ NOTIFY_SOCKET: 'relative' }), undefined);
});

test('watchdog messages are due after half of the manager’s timeout, if they are for this process', async () => {
  const find = (env: NodeJS.ProcessEnv): Promise<number | undefined> =>
    ServiceManager.find({ NOTIFY_SOCKET: '/nonexistent', ...env }).then((manager) => manager?.watchdog);
  assert.is(await find({}), 0);
  assert.is(await find({ WATCHDOG_USEC: '30000000' }), 15_000);
  assert.is(await find({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: String(process.pid) }), 15_000);
  assert.is(await find({ WATCHDOG_USEC: '30000000', WATCHDOG_PID: '1' }), 0);
});

test('a manager that is gone causes no error', async () => {
  const manager = await ServiceManager.find({ NOTIFY_SOCKET: join(directory, 'nobody') });
  manager!.ready('well');
  manager!.stopping();
});

const RECEIVER = `import socket, sys
path = sys.argv[1]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind('\\0' + path[1:] if path.startswith('@') else path)
print('bound', flush=True)
while True: print(repr(s.recv(4096).decode()), flush=True)`;

const socket = suiteWith('notification', ['python3']);
for (const path of [join(directory, 'notify'), `@weft-notify-${process.pid}`])
  socket(`sends each state as a datagram to ${path.startsWith('@') ? 'an abstract socket' : 'a path'}`, async () => {
    const receiver = spawn('python3', ['-c', RECEIVER, path], { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    receiver.stdout.on('data', (data: Buffer) => (text += data.toString()));
    try {
      await waitFor('the socket', () => text.startsWith('bound'));
      const manager = await ServiceManager.find({ NOTIFY_SOCKET: path });
      manager!.ready('one\n  line');
      manager!.reloading();
      manager!.alive();
      manager!.stopping();
      await waitFor('the last datagram', () => text.includes('STOPPING'));
      const [, ...datagrams] = text.trim().split('\n');
      assert.is(datagrams[0], `'READY=1\\nSTATUS=one line'`);
      assert.match(datagrams[1]!, /^'RELOADING=1\\nMONOTONIC_USEC=\d+'$/);
      assert.equal(datagrams.slice(2), [`'WATCHDOG=1'`, `'STOPPING=1'`]);
    } finally {
      receiver.kill('SIGKILL');
    }
  });

test('without koffi the program systemd-notify sends them, in order', async () => {
  const log = join(directory, 'log');
  const program = join(directory, 'systemd-notify');
  writeFileSync(program, `#!/bin/sh\necho "$NOTIFY_SOCKET $*" >> ${log}\n`);
  chmodSync(program, 0o755);
  const env = { ...process.env, NOTIFY_SOCKET: '/x', PATH: `${directory}:${process.env['PATH']}` };
  const manager = await ServiceManager.find(env, false);
  manager!.ready('well');
  manager!.stopping();
  await waitFor('both calls', () => existsSync(log) && readFileSync(log, 'utf8').includes('STOPPING'));
  assert.is(readFileSync(log, 'utf8'), '/x READY=1 STATUS=well\n/x STOPPING=1\n');
});

const ANALYZE = suiteWith('units', ['systemd-analyze']);
ANALYZE('are accepted by systemd', () => {
  const { status, stderr } = spawnSync('systemd-analyze', ['verify', '--man=no', ...UNITS], { encoding: 'utf8' });
  assert.is(stderr, '');
  assert.is(status, 0);
});

test('units start a command that exists, with flags that it has', async () => {
  assert.is(UNITS.length, 3);
  for (const unit of UNITS) {
    const text = readFileSync(unit, 'utf8');
    const [, command = '', flags = ''] = /^ExecStart=\/usr\/bin\/env vtep (\w+)(.*)$/m.exec(text)!;
    const { manual } = await COMMANDS[command]!.load();
    const known = flagsOf(manual).map(({ name }) => `--${name}`);
    for (const flag of flags.match(/--[a-z-]+/g) ?? []) assert.ok(known.includes(flag), `${unit}: ${flag}`);
    const reload = unit.includes('@') ? ['ExecReload=/bin/kill -HUP $MAINPID'] : ['KillMode=process'];
    for (const line of ['Type=notify', 'NotifyAccess=all', ...reload])
      assert.ok(text.includes(`\n${line}\n`), `${unit}: ${line}`);
  }
});

test('the Containerfile copies what exists, and runs scripts of the package', () => {
  const text = readFileSync('Containerfile', 'utf8').replace(/\\\n/g, ' ');
  const { scripts, bin } = JSON.parse(readFileSync('package.json', 'utf8')) as {
    scripts: Record<string, string>;
    bin: Record<string, string>;
  };
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  for (const line of lines) assert.match(line, /^(FROM|WORKDIR|COPY|RUN|STOPSIGNAL|ENTRYPOINT|CMD) /);
  for (const [, from, words] of text.matchAll(/^COPY (--from=build )?(.*)$/gm)) {
    const sources = words!.split(/ +/).slice(0, -1);
    assert.ok(sources.length > 0);
    if (from === undefined) for (const source of sources) assert.ok(existsSync(source), source);
    else for (const source of sources) assert.match(source, /^\/src\/(package\.json|dist|node_modules)$/);
  }
  for (const [, script] of text.matchAll(/npm run (\S+)/g)) assert.ok(script! in scripts, script);
  assert.match(text, `/opt/vtep/${bin['vtep']!.replace(/^\.\//, '')} /usr/local/bin/vtep`);
  for (const line of lines.filter((one) => /^(ENTRYPOINT|CMD) /.test(one)))
    assert.instance(JSON.parse(line.replace(/^\w+ /, '')), Array);
});

test.run();
socket.run();
ANALYZE.run();
