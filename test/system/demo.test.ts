/** `vtep demo`: the story on real devices and in one process, and its removal, wherever it was stopped. */
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ENGINE, FIRST, run, waitFor } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { bundledProgram, type Program } from '../support/program.js';

const anywhere = suiteWith('demo in one process', []);
const test = suiteWith('demo on real devices', ['root', 'tun', 'ip', 'ping', 'traceroute', 'nsenter', 'setsid']);

let program: Program;
const start = async (): Promise<void> => void (program ??= await bundledProgram());
anywhere.before(start);
test.before(start);
test.after(() => program.remove());

function demo(args: readonly string[], env: Record<string, string> = {}) {
  const [file, ...rest] = program.command;
  const options = { encoding: 'utf8' as const, timeout: 240_000, env: { ...process.env, ...env } };
  return spawnSync(file!, [...rest, 'demo', ...args], options);
}

/** Starts a demo. @returns it, and its output so far. */
function spawnDemo(args: readonly string[]): { child: ChildProcess; output(): string } {
  const [file, ...rest] = program.command;
  const child = spawn(file!, [...rest, 'demo', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (text += data.toString()));
  return { child, output: () => text };
}

const ended = (child: ChildProcess): Promise<number | null> =>
  new Promise((resolve) => child.on('close', (code) => resolve(code)));

/** The sandboxes of a demo, as its agents have recorded them. */
function sandboxesOf(pid: number): string[] {
  return ['host1', 'host2']
    .flatMap((host) => namesIn(`/run/weft-demo/${pid}/${host}/sandboxes`))
    .map((one) => `weft-${one}`);
}

function namesIn(path: string): string[] {
  return existsSync(path) ? readdirSync(path) : [];
}

/** What is there of a demo: namespaces, processes, files, and those of its sandboxes. */
function traces(pid: number, sandboxes: readonly string[] = []): string[] {
  const isOurs = (name: string): boolean => name.startsWith(`weft${pid}-`) || sandboxes.includes(name);
  const processes = namesIn('/proc').filter((name) => {
    try {
      return /^\d+$/.test(name) && readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(`/run/weft-demo/${pid}/`);
    } catch {
      return false; // it has ended
    }
  });
  return [
    ...namesIn('/run/netns').filter(isOurs),
    ...namesIn('/etc/netns').filter(isOurs),
    ...namesIn('/run/weft-demo').filter((name) => name === String(pid)),
    ...processes.map((one) => `process ${one}`),
  ];
}

/** Checks that patterns match, each behind the one before it. */
function inOrder(text: string, patterns: readonly RegExp[]): void {
  let at = 0;
  for (const pattern of patterns) {
    const found = pattern.exec(text.slice(at));
    assert.ok(found, `${pattern} after\n${text.slice(0, at)}\nin\n${text.slice(at)}`);
    at += found.index + found[0].length;
  }
}

const ADDRESS = String.raw`10\.0\.0\.\d+`;

/** What every step prints, with what differs with the engine and the system's programs. */
const steps = (agents: readonly RegExp[], echo: readonly RegExp[], path: readonly RegExp[]): RegExp[] => [
  /^weft: a cluster of two hosts/,
  /\n {3}host1 172\.31\.1\.5 --- router --- 192\.168\.1\.25 host2\n/,
  ...agents,
  / {3}host1\$ vtep init --advertise-addr 172\.31\.1\.5\n/,
  / {3}created cluster \w{25}; this host is its manager/,
  / {7}vtep join --token WEFT-1-\.\.\. 172\.31\.1\.5:2377\n/,
  / {3}host2\$ vtep join --token WEFT-1-\.\.\. 172\.31\.1\.5:2377\n/,
  / {3}joined cluster \w{25} as a worker: node host2 at 192\.168\.1\.25\n/,
  / {3}host1\$ vtep network create uber-net\n {3}created network uber-net \(\w+\): 10\.0\.0\.0\/24 \(gateway 10\.0\.0\.1, VNI 4096\)\n/,
  / {3}host1\$ vtep network ls\n {3}NETWORK ID .*\n {3}\w+ {2}uber-net {2}10\.0\.0\.0\/24 {2}10\.0\.0\.1 /,
  / {3}host2\$ vtep network ls\n {3}NETWORK ID .*\n\n==/,
  / {3}host1\$ vtep service create --name test --network uber-net --replicas 2 -- sleep infinity\n {3}created service test \(2 tasks\)\n/,
  new RegExp(
    String.raw` {3}host1\$ vtep service ps test\n.*\n {3}test\.1 +host[12] +${ADDRESS} +running .*\n {3}test\.2 +host[12] +${ADDRESS} +running `,
  ),
  / {3}host2\$ vtep network ls\n {3}NETWORK ID .*\n {3}\w+ {2}uber-net /,
  /\n== test\.1 reaches test\.2/,
  ...echo,
  /\n== One packet, layer by layer/,
  new RegExp(String.raw`test\.1 sent a frame of \d+ bytes: IP ${ADDRESS}(\.\d+)? > ${ADDRESS}`),
  /ipv4, 20 bytes at 0\n/,
  /source: (172\.31\.1\.5[,\s]+destination: 192\.168\.1\.25|192\.168\.1\.25[,\s]+destination: 172\.31\.1\.5)/,
  /udp, 8 bytes at 20\n.*destinationPort: 4789/,
  /vxlan, 8 bytes at 28\n.*vni: 4096/,
  /ethernet, 14 bytes at 36\n/,
  / {3}host1\$ vtep network create prod-net --subnet 10\.1\.1\.0\/24 --subnet 11\.1\.1\.0\/24\n/,
  / {3}host1\$ vtep run --network prod-net --ip 10\.1\.1\.10 --name p1 -d -- sleep infinity\n {3}p1\n/,
  / {3}host2\$ vtep attach prod-net --netns weft\d+-existing --ip 11\.1\.1\.20 --name web\n {3}attached web /,
  ...path,
  / {3}host1\$ vtep network inspect prod-net\n {3}network: +prod-net\n/,
  / {3}ENDPOINT .*\n(?=(.*\n)? {3}p1 +\w+ {2}10\.1\.1\.10 .* host1 )(?=(.*\n)? {3}web +\w+ {2}11\.1\.1\.20 .* host2 )/,
];
const PING = [
  new RegExp(
    String.raw` {3}host[12]\$ vtep exec test\.1 -- ping -c 3 -i 0\.2 test\.2\n {3}PING test\.2 \(${ADDRESS}\) `,
  ),
  / {3}3 packets transmitted, 3 received, 0% packet loss/,
];
const TRACEROUTE = [
  / {3}host1\$ vtep exec p1 -- traceroute .*11\.1\.1\.20\n.*\n +1 {2}10\.1\.1\.1 .*\n +2 {2}11\.1\.1\.20 /,
];
const REMOVAL = [
  / {3}host1\$ vtep service rm test\n {3}removed service test /,
  / {3}host1\$ vtep detach p1\n {3}detached p1 from network prod-net\n/,
  / {3}host2\$ vtep detach web\n {3}detached web from network prod-net\n/,
  / {3}host1\$ vtep network rm uber-net prod-net\n {3}removed network uber-net .*\n {3}removed network prod-net /,
  / {3}host2\$ vtep leave\n {3}left the cluster\n/,
  / {3}host1\$ vtep leave --force\n {3}left the cluster\n/,
  / {3}Left: 0 of 3 sandboxes, 0 devices in weft\d+-existing\.\n/,
  /\nEverything has been removed\.\n$/,
];

/** The output in "See it" of README.md. */
function readmeLines(): string[] {
  const [, block] = /^## See it$.*?^```\n(.*?)^```$/ms.exec(readFileSync('README.md', 'utf8'))!;
  return block!.trimEnd().split('\n');
}

/** Checks that a text has these lines, in this order, but for ids, addresses that were chosen, hosts and times. */
function assertLines(text: string, lines: readonly string[]): void {
  const masked = (line: string): string =>
    line
      .replace(/\b(?=\w*\d)[a-z\d]{12}\b/g, 'ID')
      .replace(/\bhost[12]\b/g, 'HOST')
      .replace(/\b10\.0\.0\.[2-9]\b/g, 'ADDRESS')
      .replace(/weft\d+/g, 'WEFT')
      .replace(/[\d.]+ ?(s|ms)\b/g, 'TIME')
      .replace(/-c 3|-c 5/g, '-c N')
      .replace(/^( {3})[35] packets transmitted, [35]/, '$1N packets transmitted, N')
      .replace(/ +/g, ' ');
  const found = text.split('\n').map(masked);
  let at = 0;
  for (const line of lines) {
    const next = found.indexOf(masked(line), at);
    assert.ok(next >= 0, `"${line}" of README.md is not printed:\n${found.slice(at).join('\n')}`);
    at = next + 1;
  }
}

/** A folder with these programs of the system alone. */
function programs(names: readonly string[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'weft-path-'));
  symlinkSync(process.execPath, join(folder, 'node'));
  for (const name of names) {
    const path = execFileSync('which', [name], { encoding: 'utf8' }).trim();
    symlinkSync(path, join(folder, name));
  }
  return folder;
}
const NEEDED = ['sh', 'ip', 'setsid', 'dd', 'ln', 'mkfifo', 'mv', 'nsenter', 'sleep'];

anywhere('tells the story with all hosts in one process', () => {
  const { status, stdout, stderr } = demo(['--loopback', '--count', '3']);
  assert.equal([status, stderr], [0, ''], stdout);
  inOrder(stdout, [
    /host1 172\.31\.1\.5 --- UDP on 127\.0\.0\.1 --- 192\.168\.1\.25 host2/,
    / host1 +manager +172\.31\.1\.5 +\d+ +\d+\n +host2 +worker +192\.168\.1\.25 +\d+ +\d+\n/,
    / uber-net +10\.0\.0\.0\/24 +10\.0\.0\.1 +4096\n +host2 takes part in: no network\n/,
    new RegExp(
      String.raw` test\.1 +${ADDRESS} +[\da-f:]{17} +host[12]\n +test\.2 +${ADDRESS} .*\n +host2 takes part in: uber-net\n`,
    ),
    /== test\.1 pings test\.2\n/,
    / 3 packets transmitted, 3 received\n/,
    new RegExp(String.raw`test\.1 sent a frame of 98 bytes: IP ${ADDRESS} > ${ADDRESS}: ICMP echo request`),
    /vxlan, 8 bytes at 28\n.*vni: 4096/,
    / prod-net +10\.1\.1\.0\/24 +10\.1\.1\.1 +\d+\n +prod-net +11\.1\.1\.0\/24 +11\.1\.1\.1 +\d+\n/,
    / p1 +10\.1\.1\.10 .* host1\n +web +11\.1\.1\.20 .* host2\n/,
    / 3 packets transmitted, 3 received\n/,
    / web received: IP 10\.1\.1\.10 > 11\.1\.1\.20: ICMP echo request, .*, TTL 63\n$/,
  ]);
  const nodes = [...stdout.matchAll(/^ +test\.[12] .* (host[12])$/gm)].map(([, node]) => node!);
  assert.equal(nodes.sort(), ['host1', 'host2']);
});

anywhere('rejects wrong flags', () => {
  for (const [args, message] of [
    [['--count', '0'], /--count: expected an integer from 1 to 1000, got 0/],
    [['--loopback', '--keep'], /--keep does not go with --loopback/],
    [['--kep'], /did you mean --keep/],
    [['--engine', 'fast'], /--engine: expected one of "auto", "dgram", "linux", got "fast"/],
  ] as const) {
    const { status, stderr } = demo(args);
    assert.is(status, 2);
    assert.match(stderr, message);
  }
});

test('tells the story with an engine, and leaves nothing behind', () => {
  const { status, stdout, stderr, pid } = demo(['--count', '3', '--engine', ENGINE]);
  assert.is(status, 0, stdout + stderr);
  const isChosen = ENGINE !== 'auto';
  const agents = isChosen
    ? ['host1', 'host2'].map((name) => new RegExp(`${name}\\$ vtep agent --engine ${ENGINE} &`))
    : [];
  inOrder(stdout, [...steps(agents, PING, TRACEROUTE), ...REMOVAL]);
  assert.is(/WEFT-1-\w/.exec(stdout), null, 'no token is shown');
  assertLines(stdout, readmeLines());
  assert.equal(traces(pid), []);
});

if (FIRST) {
  test('without ping and traceroute, the tasks exchange UDP, and the path is left out', () => {
    const folder = programs(NEEDED);
    try {
      const { status, stdout, stderr, pid } = demo(['--count', '3'], { PATH: folder });
      assert.is(status, 0, stdout + stderr);
      const agents = [/vtep init (.*\n)+? {3}started the agent; its log is \/run\/weft-demo\/\d+\/host1\/agent\.log\n/];
      const echo = [
        /: an echo over UDP, because there is no "ping" here\n/,
        / {3}64 bytes from 10\.0\.0\.\d+: udp_seq=3 time=/,
        / {3}3 packets transmitted, 3 received\n/,
      ];
      const [first, second, ...others] = steps([], echo, [/ {3}\(There is no "traceroute" here/]);
      inOrder(stdout, [first!, second!, ...agents]);
      inOrder(stdout, [first!, second!, ...others, ...REMOVAL]);
      assert.equal(traces(pid), []);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test('shows what fails, and removes everything', () => {
    const folder = programs(NEEDED);
    try {
      writeFileSync(join(folder, 'ping'), '#!/bin/sh\necho "ping: no luck" >&2\nexit 3\n', { mode: 0o755 });
      const { status, stdout, stderr, pid } = demo([], { PATH: folder });
      assert.is(status, 1, stdout + stderr);
      assert.match(stdout, '   ping: no luck\n');
      assert.match(stdout, /\nEverything has been removed\.\n$/);
      assert.match(stderr, /^vtep demo: "vtep exec" on host[12] has failed: exit status 3\n$/);
      assert.equal(traces(pid), []);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  test('a signal ends it, and everything is removed', async () => {
    const { child, output } = spawnDemo([]);
    await waitFor('a command', () => output().includes('host1$ vtep run'));
    const sandboxes = sandboxesOf(child.pid!);
    child.kill('SIGINT');
    assert.is(await ended(child), 130, output());
    assert.match(output(), /\nEverything has been removed\.\n$/);
    assert.equal(traces(child.pid!, sandboxes), []);
  });

  test('--down removes what a demo has left that was killed, at any step', async () => {
    for (const step of ['host2$ vtep join', 'host1$ vtep service ps', 'host2$ vtep leave']) {
      const { child, output } = spawnDemo([]);
      await waitFor(`the step ${step}`, () => output().includes(step));
      const sandboxes = sandboxesOf(child.pid!);
      child.kill('SIGKILL');
      await ended(child);
      assert.ok(traces(child.pid!, sandboxes).length > 0, output());
      const { status, stdout, stderr } = demo(['--down']);
      assert.equal([status, stderr], [0, ''], step);
      assert.match(stdout, `Removed: weft${child.pid}-host1`);
      assert.equal(traces(child.pid!, sandboxes), [], step);
    }
    assert.is(demo(['--down']).stdout, 'No demo is running.\n');
    assert.not.ok(existsSync('/run/weft-demo'));
  });

  test('--down leaves what no demo has made', () => {
    mkdirSync('/run/weft-demo/mine', { recursive: true, mode: 0o700 });
    try {
      const { status, stderr } = demo(['--down']);
      assert.is(status, 1);
      assert.is(stderr, 'vtep demo: /run/weft-demo/mine is not of a demo, whose directory is a number; remove it\n');
      assert.ok(existsSync('/run/weft-demo/mine'));
    } finally {
      rmSync('/run/weft-demo', { recursive: true });
    }
  });

  const kept = suiteWith('demo that is kept', ['root', 'tun', 'ip', 'ping', 'tshark', 'nsenter', 'setsid']);
  kept('works as it says, until --down', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'weft-test-'));
    const { status, stdout, stderr, pid } = demo(['--keep', '--count', '1']);
    const sandboxes = sandboxesOf(pid);
    try {
      assert.is(status, 0, stdout + stderr);
      assert.not.match(stdout, 'Everything has been removed');
      const socket = /export VTEP_SOCKET=(\S+)/.exec(stdout)![1]!;
      const vtep = (words: string) => run(['env', `VTEP_SOCKET=${socket}`, ...program.command, ...words.split(' ')]);
      const listed = await vtep('ps --all');
      assert.equal(
        [listed.code, [...listed.stdout.matchAll(/ {2}(test\.1|test\.2|p1|web) /g)].length],
        [0, 4],
        listed.stdout,
      );
      assert.match((await vtep('service scale test=4')).stdout, 'service test is to have 4 tasks');
      const file = join(directory, 'overlay.pcapng');
      const control = /vtep capture --control (\S+) --count 6/.exec(stdout)![1]!;
      const captured = vtep(`capture --control ${control} --count 8 --seconds 60 --write ${file}`);
      const pinged = await vtep(/npx vtep (exec p1 -- ping) 11/.exec(stdout)![1]! + ' -c 60 -i 0.2 11.1.1.20');
      assert.is(pinged.code, 0, pinged.stdout + pinged.stderr);
      assert.is((await captured).code, 0, (await captured).stderr);
      // A frame at the TAP is followed by the datagram with it inside; tshark reads both, and finds nothing wrong.
      const fields = ['frame.interface_name', 'udp.dstport', 'icmp.type', '_ws.expert.severity'];
      const args = ['-r', file, '-o', 'udp.check_checksum:TRUE', '-T', 'fields'];
      const rows = execFileSync('tshark', [...args, ...fields.flatMap((name) => ['-e', name])], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      })
        .replace(/\n$/, '')
        .split('\n')
        .map((row) => row.split('\t'));
      assert.is(rows.length, 8);
      assert.ok(rows.some(([place, port, type]) => place === 'underlay' && port === '4789' && type === '8'));
      assert.ok(
        rows.some(([place, , type]) => place === 'eth0' && type === '0'),
        JSON.stringify(rows),
      );
      assert.ok(
        rows.every(([, , , severity]) => severity === '' || Number(severity) < 8_388_608),
        JSON.stringify(rows),
      );
    } finally {
      rmSync(directory, { recursive: true, force: true });
      sandboxes.push(...sandboxesOf(pid));
      assert.match(demo(['--down']).stdout, `Removed: weft${pid}-host1, weft${pid}-host2`);
    }
    assert.equal(traces(pid, sandboxes), []);
  });

  anywhere.run();
  kept.before(start);
  kept.run();
}
test.run();
