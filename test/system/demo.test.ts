import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ENGINE, FIRST, run, VTEP } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';

const anywhere = suiteWith('demo on the loopback', []);
const test = suiteWith('demo on real devices', ['root', 'tun', 'ip', 'ping', 'tshark']);

function demo(args: readonly string[], env: Record<string, string> = {}) {
  const [program, ...rest] = VTEP;
  const engine = args.includes('--engine') ? [] : ['--engine', ENGINE];
  return spawnSync(program!, [...rest, 'demo', ...engine, ...args], {
    encoding: 'utf8',
    timeout: 120_000,
    env: { ...process.env, ...env },
  });
}

/** Namespaces, devices and state files that a demo makes. */
function traces(): string[] {
  const names = readdirSync('/var/run/netns').filter((name) => /^weft\d+-/.test(name));
  const links = execFileSync('ip', ['-br', 'link'], { encoding: 'utf8' }).match(/^weft\S*/gm) ?? [];
  return [...names, ...links, ...(existsSync('/run/weft-demo') ? readdirSync('/run/weft-demo') : [])];
}

anywhere('runs with all hosts in one process', () => {
  const { status, stdout, stderr } = demo(['--loopback', '--count', '3']);
  assert.is(status, 0, stderr);
  assert.match(stdout, 'ARP, Request who-has 10.0.0.4 tell 10.0.0.3');
  assert.match(stdout, 'ARP, Reply 10.0.0.4 is-at 02:42:0a:00:00:04');
  assert.match(
    stdout,
    /172\.31\.1\.5\.\d+ > 192\.168\.1\.25\.4789: VXLAN, flags \[I\] \(0x08\), vni 4097 \/ IP 10\.0\.0\.3/,
  );
  assert.match(stdout, '3 packets transmitted, 3 received');
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

test('removes what a killed demo has left, with or without start times in its state file', () => {
  const gone = 4_194_303; // the largest number that Linux gives a process
  const name = `weft${gone}-c1`;
  execFileSync('ip', ['netns', 'add', name]);
  mkdirSync(`/run/weft-demo/${gone}`, { recursive: true });
  const made = { namespaces: [name], processes: [{ pid: gone }, { pid: gone, started: '1' }] };
  writeFileSync(`/run/weft-demo/${gone}/made.json`, JSON.stringify(made));
  const { status, stdout, stderr } = demo(['--down']);
  assert.equal([status, stderr], [0, '']);
  assert.match(stdout, 'Removed: ');
  assert.not(traces().some((trace) => trace.includes(String(gone))));
});

test('builds the network, pings through it and leaves nothing behind', () => {
  const before = traces();
  const { status, stdout, stderr } = demo(['--count', '3']);
  assert.is(status, 0, stdout + stderr);
  const order = [
    /eth0 +in +ARP, Request who-has 10\.0\.0\.4 tell 10\.0\.0\.3/,
    /eth0 +out +ARP, Reply 10\.0\.0\.4 is-at 02:42:0a:00:00:04/,
    /underlay out +IP 172\.31\.1\.5\.\d+ > 192\.168\.1\.25\.4789: VXLAN/,
    /02:42:0a:00:00:04 +VTEP 192\.168\.1\.25 +static/,
    /vxlan, 8 bytes at 28/,
    /3 packets transmitted, 3 received/,
    /arp-answered +1/,
    /Everything has been removed/,
  ];
  let at = 0;
  for (const pattern of order) {
    const found = stdout.slice(at).search(pattern);
    assert.ok(found >= 0, `${pattern} after\n${stdout.slice(0, at)}\nin\n${stdout.slice(at)}`);
    at += found;
  }
  assert.equal(traces(), before);
});

if (FIRST)
  test('without a ping, containers on real devices exchange UDP through the overlay', () => {
    const before = traces();
    const directory = mkdtempSync(join(tmpdir(), 'weft-path-'));
    try {
      for (const name of ['ip', 'sh', 'node'])
        symlinkSync(
          name === 'node' ? process.execPath : execFileSync('which', [name], { encoding: 'utf8' }).trim(),
          join(directory, name),
        );
      const { status, stdout, stderr } = demo(['--count', '3'], { PATH: directory });
      assert.is(status, 0, stdout + stderr);
      for (const pattern of [
        /eth0 +in +ARP, Request who-has 10\.0\.0\.4 tell 10\.0\.0\.3/,
        /eth0 +in +IP 10\.0\.0\.3\.\d+ > 10\.0\.0\.4\.7: UDP/,
        /underlay out +IP 172\.31\.1\.5\.\d+ > 192\.168\.1\.25\.4789: VXLAN/,
        /64 bytes from 10\.0\.0\.4: udp_seq=3 time=/,
        /3 packets transmitted, 3 received/,
        /Everything has been removed/,
      ])
        assert.match(stdout, pattern);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
    assert.equal(traces(), before);
  });

if (FIRST)
  test('keeps the network up on request, for use and later removal', async () => {
    const before = traces();
    const directory = mkdtempSync(join(tmpdir(), 'weft-test-'));
    try {
      const { status, stdout, stderr } = demo(['--keep', '--count', '1']);
      assert.is(status, 0, stdout + stderr);
      const container = /ip netns exec (\S+-c1) ping/.exec(stdout)![1]!;
      const control = /vtep capture --control (\S+)/.exec(stdout)![1]!;
      const file = join(directory, 'overlay.pcapng');
      const captured = run([
        ...VTEP,
        'capture',
        '--control',
        control,
        '--count',
        '8',
        '--seconds',
        '30',
        '--write',
        file,
      ]);
      const pinged = await run(['ip', 'netns', 'exec', container, 'ping', '-c', '40', '-i', '0.2', '10.0.0.4']);
      assert.is(pinged.code, 0, pinged.stdout);
      assert.is((await captured).code, 0, (await captured).stderr);
      // A frame at the TAP is followed by the datagram with it inside; tshark reads both, and finds nothing wrong.
      const fields = ['frame.interface_name', 'udp.dstport', 'vxlan.vni', 'icmp.type', '_ws.expert.severity'];
      const args = [
        '-r',
        file,
        '-o',
        'udp.check_checksum:TRUE',
        '-T',
        'fields',
        ...fields.flatMap((name) => ['-e', name]),
      ];
      const rows = execFileSync('tshark', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
        .replace(/\n$/, '')
        .split('\n')
        .map((row) => row.split('\t'));
      assert.is(rows.length, 8);
      assert.ok(
        rows.some(
          ([place, port, vni, type]) => place === 'underlay' && port === '4789' && vni === '4097' && type === '8',
        ),
      );
      assert.ok(rows.some(([place, , vni, type]) => place === 'eth0' && vni === '' && type === '0'));
      assert.ok(
        rows.every(([, , , , severity]) => severity === '' || Number(severity) < 8_388_608),
        JSON.stringify(rows),
      );
      const json = await run([...VTEP, 'capture', '--control', control, '--seconds', '1', '--json']);
      assert.equal([json.code, json.stdout], [1, ''], 'nothing passes');
    } finally {
      rmSync(directory, { recursive: true, force: true });
      assert.match(demo(['--down']).stdout, 'Removed: ');
    }
    assert.equal(traces(), before);
  });

if (FIRST) anywhere.run();
test.run();
