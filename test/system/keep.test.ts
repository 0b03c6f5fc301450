/** Persistent TAPs: what a container keeps when its VTEP is killed, and how the next VTEP uses it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { devices, exec, Lab, must, ping, waitFor, type Outcome, type Running } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { bundledProgram, type Program } from '../support/program.js';

const keep = suiteWith('TAPs that are kept', ['root', 'tun', 'ip', 'ping']);

type Which = 1 | 2;
type EngineName = 'dgram' | 'linux';
const ENGINES = ['linux', 'dgram'] as const;

const PULSE = fileURLToPath(new URL('../support/pulse.mjs', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'weft-keep-'));
/** Most milliseconds without traffic for a container, and attempts on a loaded machine. */
const SILENCE = 1000;
const ATTEMPTS = 4;

let lab: Lab;
let program: Program;
const node = {} as Record<Which, string>;
const container = {} as Record<Which, string>;

keep.before(async () => {
  program = await bundledProgram();
  lab = new Lab('kp');
  for (const which of [1, 2] as const) {
    node[which] = await lab.namespace(`node${which}`);
    container[which] = await lab.namespace(`c${which}`);
  }
  const end = (which: Which) => ({ ns: node[which], device: 'eth0', addresses: [`172.31.1.${which}/24`] });
  await lab.join(end(1), end(2));
});

keep.after.each(async () => {
  await lab?.killAll();
  for (const which of [1, 2] as const)
    if ((await devices(container[which])).includes('eth0')) await detach('eth0', '--netns', container[which]);
});

keep.after(async () => {
  await lab?.teardown();
  program?.remove();
  rmSync(directory, { recursive: true, force: true });
});

/** The command line of one host's VTEP. */
const FLAGS: Record<'up' | 'agent', (which: Which) => string[]> = {
  up: (which) => ['up', '--vni', '4097', '--peer', `172.31.1.${3 - which}`, '--keep-taps'],
  agent: (which) => ['agent', '--network', 'net1:4097:10.0.0.0/24', '--join', `172.31.1.${3 - which}`],
};

function args(kind: 'up' | 'agent', which: Which, engine: EngineName, address = `10.0.0.${which}/24`): string[] {
  return [
    ...FLAGS[kind](which),
    ...['--local', `172.31.1.${which}`, '--engine', engine, '--control', join(directory, `control${which}`)],
    ...['--tap', 'eth0', '--netns', container[which], '--address', address],
  ];
}

function start(which: Which, all: readonly string[]): Promise<Running> {
  return lab.startVtep({ ns: node[which], args: all, command: program.command });
}

function run(which: Which, all: readonly string[]): Promise<Outcome> {
  return lab.runVtep({ ns: node[which], args: all, command: program.command });
}

function detach(...words: string[]): Promise<Outcome> {
  return lab.runVtep({ args: ['detach', ...words], command: program.command });
}

async function reached(): Promise<boolean> {
  return (await ping(container[1], '10.0.0.2', { count: 1 })) === 1;
}

interface Device {
  ifindex: number;
  mtu: number;
  address: string;
  flags: string[];
  addr_info: { local: string; prefixlen: number; family: string }[];
}

async function deviceOf(which: Which): Promise<Device> {
  const [device] = JSON.parse(
    await must(['ip', '-n', container[which], '-j', 'addr', 'show', 'dev', 'eth0']),
  ) as Device[];
  return device!;
}

async function addressesOf(which: Which): Promise<string[]> {
  const { addr_info: list } = await deviceOf(which);
  return list.filter(({ family }) => family === 'inet').map(({ local, prefixlen }) => `${local}/${prefixlen}`);
}

async function routesOf(which: Which): Promise<string[]> {
  const text = await must(['ip', '-n', container[which], 'route', 'show', 'dev', 'eth0']);
  return text
    .split('\n')
    .map((line) => line.replace('linkdown', '').trim())
    .filter((line) => line !== '')
    .sort();
}

for (const kind of ['up', 'agent'] as const)
  for (const engine of ENGINES)
    keep(`${engine}, ${kind}: a TCP connection and a route added by hand survive kill -9 and a restart`, async () => {
      let one = await start(1, args(kind, 1, engine));
      await start(2, args(kind, 2, engine));
      const server = lab.spawn([process.execPath, PULSE, 'serve'], { ns: container[2] });
      await waitFor('the server', () => server.stdout.startsWith('ready'));
      await waitFor('a ping to come back', reached);
      await must(['ip', '-n', container[1], 'route', 'add', '192.0.2.0/24', 'via', '10.0.0.2', 'metric', '7']);
      const before = [await deviceOf(1), await routesOf(1)] as const;
      const pulse = lab.spawn([process.execPath, PULSE, 'beat', '10.0.0.2'], { ns: container[1] });
      const reports = (): { beats: number; silence: number; error?: string }[] =>
        pulse.stdout
          .split('\n')
          .filter((line) => line.endsWith('}'))
          .map((line) => JSON.parse(line));
      const beats = (): number => reports().at(-1)?.beats ?? 0;
      await waitFor('the connection to beat', () => beats() > 50);

      const silences: number[] = [];
      const starts: number[] = [];
      for (let attempt = 0; attempt < ATTEMPTS && !silences.some((time) => time < SILENCE); attempt++) {
        const seen = reports().length;
        await one.stop('SIGKILL');
        const began = performance.now();
        one = await start(1, args(kind, 1, engine));
        starts.push(Math.round(performance.now() - began));
        const at = beats();
        await waitFor('the connection to beat again', () => beats() > at + 50);
        assert.equal(
          reports().filter(({ error }) => error !== undefined),
          [],
        );
        silences.push(
          Math.max(
            ...reports()
              .slice(seen)
              .map(({ silence }) => silence),
          ),
        );
      }
      console.log(`# ${engine}, ${kind}: silence ${silences.join(', ')} ms; ready after ${starts.join(', ')} ms`);
      // On a loaded machine a start takes long, and TCP may wait for twice that time.
      if (!silences.some((time) => time < SILENCE))
        for (const i of silences.keys())
          assert.ok(
            starts[i]! > SILENCE / 2,
            `silence of ${silences.join(', ')} ms, ready after ${starts.join(', ')} ms`,
          );
      for (const [i, time] of silences.entries())
        assert.ok(time < 3 * starts[i]! + SILENCE, `silence of ${silences.join(', ')} ms`);
      const [device, routes] = before;
      assert.equal([(await deviceOf(1)).ifindex, (await deviceOf(1)).address], [device.ifindex, device.address]);
      assert.equal(await routesOf(1), routes);
      assert.ok(routes.some((route) => route.startsWith('192.0.2.0/24')));
      assert.is((await one.stop()).code, 0);
      assert.equal(await devices(container[1]), ['lo'], 'a regular stop removes the TAP');
    });

for (const engine of ENGINES)
  keep(`${engine}: a container keeps its neighbors while no process reads its TAP`, async () => {
    const one = await start(1, args('up', 1, engine));
    await start(2, args('up', 2, engine));
    await waitFor('a ping to come back', reached);
    await one.stop('SIGKILL');
    // The kernel reports a lost carrier within a second. The last announcement of the other VTEP comes after two.
    await new Promise((resolve) => setTimeout(resolve, 2500));
    assert.match(await must(['ip', '-n', container[1], 'neigh', 'show', '10.0.0.2']), /lladdr 42:01:0a:00:00:02/);
    // A kernel without that setting, or a container that met a new neighbor, asks one retransmission time after its last request.
    await must(['ip', '-n', container[1], 'neigh', 'flush', 'dev', 'eth0']);
    // The other container does not ask, which would tell this one its address.
    const known = ['10.0.0.1', 'lladdr', '42:01:0a:00:00:01', 'dev', 'eth0', 'nud', 'permanent'];
    await must(['ip', '-n', container[2], 'neigh', 'replace', ...known]);
    const retransmission = '/proc/sys/net/ipv4/neigh/eth0/retrans_time_ms';
    await must(['ip', 'netns', 'exec', container[1], 'sh', '-c', `echo 20000 >${retransmission}`]);
    const state = (): Promise<string> => must(['ip', '-n', container[1], 'neigh', 'show', '10.0.0.2']);
    lab.spawn(['ping', '-n', '-i', '0.05', '10.0.0.2'], { ns: container[1] });
    await waitFor('a request', async () => (await state()).includes('INCOMPLETE'));
    await start(1, args('up', 1, engine));
    const began = performance.now();
    await waitFor('the address', async () => (await state()).includes('lladdr'));
    const took = performance.now() - began;
    assert.ok(took < 5000, `the container waited ${Math.round(took)} ms after the start`);
  });

keep('the engine, the number of workers and the settings may change from run to run', async () => {
  await start(2, args('up', 2, 'linux'));
  const { ifindex } = await start(1, args('up', 1, 'linux')).then(() => deviceOf(1));
  for (const [engine, more] of [
    ['dgram', []],
    ['linux', ['--workers', '2']],
    ['dgram', ['--mtu', '1300', '--mac', '02:42:0a:00:00:01']],
    ['linux', []],
  ] as const) {
    await lab.killVteps();
    await must(['ip', '-n', container[1], 'link', 'set', 'dev', 'eth0', 'down']);
    await start(2, args('up', 2, 'linux'));
    const one = await start(1, [...args('up', 1, engine), ...more]);
    await waitFor('a ping to come back', reached);
    // More than one packet's payload: the kernel passes it to the VTEP as one super-frame.
    const bulk =
      'const {connect}=require("net");const s=connect(5202,"10.0.0.2");s.end(Buffer.alloc(1e6));s.on("close",()=>process.exit())';
    const sink = lab.spawn(
      [
        process.execPath,
        '-e',
        'let n=0;require("net").createServer((s)=>s.on("data",(d)=>n+=d.length).on("end",()=>{console.log("got "+n);s.end()})).listen(5202,()=>console.log("ready"))',
      ],
      { ns: container[2] },
    );
    await waitFor('the server', () => sink.stdout.startsWith('ready'));
    await exec(container[1], [process.execPath, '-e', bulk]);
    await waitFor('a megabyte', () => sink.stdout.includes('got 1000000'));
    await sink.stop();
    const device = await deviceOf(1);
    assert.is(device.ifindex, ifindex, one.stdout);
    assert.is(device.mtu, more.includes('--mtu' as never) ? 1300 : 1450);
    assert.is(device.address, more.includes('--mac' as never) ? '02:42:0a:00:00:01' : '42:01:0a:00:00:01');
    assert.ok(device.flags.includes('UP'));
  }
});

keep('a new address replaces the previous one of the VTEP; addresses that the owner added stay', async () => {
  const one = await start(1, args('up', 1, 'linux'));
  const inside = (...words: string[]): Promise<string> => must(['ip', '-n', container[1], ...words]);
  await inside('addr', 'add', '10.9.0.1/24', 'dev', 'eth0');
  await inside('route', 'add', 'default', 'via', '10.0.0.254');
  await inside('route', 'add', '198.51.100.0/24', 'via', '10.0.0.253', 'metric', '5', 'src', '10.0.0.1');
  await inside('route', 'add', '203.0.113.0/24', 'via', '10.9.0.2', 'table', '77');
  await one.stop('SIGKILL');
  const again = await start(1, args('up', 1, 'linux', '10.0.0.7/24'));
  assert.equal((await addressesOf(1)).sort(), ['10.0.0.7/24', '10.9.0.1/24']);
  assert.equal(await routesOf(1), [
    '10.0.0.0/24 proto kernel scope link src 10.0.0.7',
    '10.9.0.0/24 proto kernel scope link src 10.9.0.1',
    '198.51.100.0/24 via 10.0.0.253 metric 5',
    'default via 10.0.0.254',
  ]);
  assert.match(await inside('route', 'show', 'table', '77'), /203\.0\.113\.0\/24 via 10\.9\.0\.2/);
  await again.stop('SIGKILL');
  // A configured address that was removed is added again.
  await inside('addr', 'del', '10.0.0.7/24', 'dev', 'eth0');
  await start(1, args('up', 1, 'linux', '10.0.0.7/24'));
  assert.ok((await addressesOf(1)).includes('10.0.0.7/24'));
});

keep('a TAP in use is rejected, and the error names the process', async () => {
  const one = await start(1, args('up', 1, 'linux'));
  const again = await run(1, [...args('up', 1, 'linux'), '--port', '5000']);
  assert.is(again.code, 1);
  assert.match(
    again.stderr,
    new RegExp(`^vtep up: (--tap: )?TAP "eth0" in namespace ${container[1]} is in use by .*\\b${one.pid}\\b`),
  );
  const detached = await detach('eth0', '--netns', container[1]);
  assert.is(detached.code, 1);
  assert.match(
    detached.stderr,
    new RegExp(
      `^vtep detach: TAP "eth0" in .* is in use by .*\\b${one.pid}\\b.*; detach it over the control socket of its VTEP, or stop`,
    ),
  );
  assert.ok(one.running);
  await one.stop('SIGKILL');

  const without = await run(
    1,
    args('up', 1, 'linux').filter((arg) => arg !== '--keep-taps'),
  );
  assert.is(without.code, 1);
  assert.match(
    without.stderr,
    new RegExp(
      `TAP "eth0" in namespace \\S+ was kept .*; continue with it \\(--keep-taps\\), or remove it \\("vtep detach eth0 --netns ${container[1]}"\\)`,
    ),
  );
  assert.equal(await devices(container[1]), ['lo', 'eth0']);
});

keep('detach prints what it removed, and ignores devices that are not ours', async () => {
  const one = await start(1, args('up', 1, 'linux'));
  await one.stop('SIGKILL');
  const file = `/proc/${lab.spawn(['sleep', '60'], { ns: container[1] }).pid}/ns/net`;
  await waitFor('the namespace', async () => (await exec(container[1], ['readlink', file])) !== '');
  const removed = await detach('eth0', '--netns', file);
  assert.equal([removed.code, removed.stderr], [0, '']);
  assert.match(
    removed.stdout,
    /^removed TAP eth0 from namespace \/proc\/\d+\/ns\/net \(42:01:0a:00:00:01, 10\.0\.0\.1\/24/,
  );
  assert.equal(await devices(container[1]), ['lo']);

  const nothing = await detach('eth0', '--netns', container[1]);
  assert.equal([nothing.code, nothing.stdout], [1, '']);
  assert.match(nothing.stderr, /^vtep detach: there is no device "eth0" in namespace \S+; no TAP of vtep is there$/m);
  const inside = (...words: string[]): Promise<string> => must(['ip', '-n', container[1], ...words]);
  await inside('tuntap', 'add', 'dev', 'theirs', 'mode', 'tap');
  await inside('link', 'add', 'bridge0', 'type', 'bridge');
  for (const [name, kept, message] of [
    [
      'theirs',
      /vtep did not make the TAP "theirs" in namespace \S+; "ip link del" removes it/,
      /a TAP "theirs" in namespace \S+ exists already, and vtep did not make it/,
    ],
    [
      'bridge0',
      /the device "bridge0" in namespace \S+ is a bridge and not a TAP$/m,
      /a device "bridge0" in namespace \S+ exists already, and is a bridge and not a TAP/,
    ],
    [
      'lo',
      /the device "lo" in namespace \S+ is not a TAP$/m,
      /a device "lo" in namespace \S+ exists already, and is not a TAP/,
    ],
  ] as const) {
    const { code, stderr } = await detach(name, '--netns', container[1]);
    assert.is(code, 1);
    assert.match(stderr, kept);
    const up = await run(
      1,
      args('up', 1, 'linux').map((arg) => (arg === 'eth0' ? name : arg)),
    );
    assert.is(up.code, 1);
    assert.match(up.stderr, message);
  }
  await inside('link', 'del', 'theirs');
  await inside('link', 'del', 'bridge0');
  const nowhere = await detach('eth0', '--netns', '/etc/passwd');
  assert.is(nowhere.code, 1);
  assert.match(nowhere.stderr, /^vtep detach: --netns: \/etc\/passwd is not a network namespace/m);
  assert.is((await detach()).code, 2);
  assert.is((await detach('a/b')).code, 2);
});

keep('a kept TAP does not prevent the removal of its namespace', async () => {
  for (const engine of ENGINES) {
    const gone = await lab.namespace(`gone-${engine}`);
    const all = args('up', 1, engine).map((arg) => (arg === container[1] ? gone : arg));
    const one = await start(1, all);
    // This device exists as long as the namespace; its other end is in a namespace that stays.
    await must(['ip', '-n', gone, 'link', 'add', 'v0', 'type', 'veth', 'peer', 'name', 'v1', 'netns', container[1]]);
    await one.stop('SIGKILL');
    const again = await start(1, all);
    await lab.removeNamespace(gone);
    const { code, stderr } = await again.ended;
    assert.is(code, 1);
    assert.match(stderr, /TAP eth0 is lost: the device has been removed$/m);
    await waitFor('the namespace to go', async () => !(await devices(container[1])).includes('v1'));
  }
});

keep('a failed start removes TAPs that it created, and does not change a kept one', async () => {
  const taken = lab.spawn(
    [
      process.execPath,
      '-e',
      "require('node:dgram').createSocket('udp4').bind(4789, '172.31.1.1', () => console.log('ready'))",
    ],
    { ns: node[1] },
  );
  await waitFor('the port to be taken', () => taken.stdout.includes('ready'));
  assert.is((await run(1, args('up', 1, 'dgram'))).code, 1);
  assert.equal(await devices(container[1]), ['lo']);
  await taken.stop('SIGKILL');
  const one = await start(1, args('up', 1, 'dgram'));
  const { ifindex } = await deviceOf(1);
  await one.stop('SIGKILL');
  const again = lab.spawn(
    [
      process.execPath,
      '-e',
      "require('node:dgram').createSocket('udp4').bind(4789, '172.31.1.1', () => console.log('ready'))",
    ],
    { ns: node[1] },
  );
  await waitFor('the port to be taken', () => again.stdout.includes('ready'));
  assert.is((await run(1, args('up', 1, 'linux'))).code, 1);
  assert.is((await deviceOf(1)).ifindex, ifindex);
});

keep.run();
