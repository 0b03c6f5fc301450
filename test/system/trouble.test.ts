/**
 * Failures: outputs that cannot be written, signals, losses on the underlay. Forwarding continues, and the log reports
 * them.
 */
import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import {
  createUnderlay,
  must,
  ping,
  REPOSITORY,
  run,
  VTEP,
  waitFor,
  type Running,
  type Underlay,
} from '../support/lab.js';
import { suiteWith } from '../support/needs.js';

const trouble = suiteWith('trouble', ['root', 'tun', 'ip', 'ping']);

const directory = mkdtempSync(join(tmpdir(), 'weft-trouble-'));
const control = (which: 1 | 2): string => join(directory, `control${which}`);
let underlay: Underlay;
const container = {} as Record<1 | 2, string>;

trouble.before(async () => {
  underlay = await createUnderlay({ prefix: 'tr' });
  for (const which of [1, 2] as const) container[which] = await underlay.lab.namespace(`c${which}`);
});

trouble.after.each(() => underlay?.lab.killAll());

trouble.after(async () => {
  await underlay?.lab.teardown();
  rmSync(directory, { recursive: true, force: true });
});

function args(which: 1 | 2, ...more: string[]): string[] {
  const [here, there] = which === 1 ? [underlay.node1, underlay.node2] : [underlay.node2, underlay.node1];
  return [
    ...['up', '--vni', '7', '--local', here.address, '--peer', there.address, '--control', control(which)],
    ...['--tap', 'eth0', '--netns', container[which], '--address', `10.0.0.${which}/24`, ...more],
  ];
}

function start(which: 1 | 2, ...more: string[]): Promise<Running> {
  const { ns } = which === 1 ? underlay.node1 : underlay.node2;
  return underlay.lab.startVtep({ ns, args: args(which, ...more) });
}

const reaches = async (): Promise<boolean> => (await ping(container[1], '10.0.0.2', { count: 1, wait: 0.5 })) === 1;

async function show(view: string, ...more: string[]): Promise<string> {
  const { code, stdout, stderr } = await underlay.lab.runVtep({
    args: ['show', view, '--control', control(1), ...more],
  });
  assert.is(code, 0, stderr);
  return stdout;
}

/** Every line of the log has a time and a level. */
function requireLog(text: string): void {
  for (const line of text
    .trimEnd()
    .split('\n')
    .filter((one) => one !== ''))
    assert.match(line, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (error|warning|info|debug): ./);
}

/** A VTEP in the namespace of node 1, started by a shell that redirects its output. */
function shell(redirect: string, which: 1 | 2, ...more: string[]) {
  const command = ['ip', 'netns', 'exec', underlay.node1.ns, ...VTEP, ...args(which, ...more)];
  const child = spawn('bash', ['-c', `"$@" ${redirect}`, 'bash', ...command], {
    cwd: REPOSITORY,
    stdio: ['ignore', 'ignore', 'ignore'],
    detached: true,
  });
  const ended = new Promise<number | null>((resolve) => child.on('exit', (code) => resolve(code)));
  return { ended, end: () => process.kill(-child.pid!, 'SIGKILL') };
}

for (const engine of ['linux', 'dgram']) {
  trouble(`${engine}: the VTEP's address is removed and comes back`, async () => {
    const one = await start(1, '--engine', engine, '--log-level', 'debug');
    await start(2, '--engine', engine);
    await waitFor('a first ping', reaches);
    const { ns } = underlay.node1;
    await must(['ip', '-n', ns, 'addr', 'del', '172.31.1.5/24', 'dev', 'eth0']);
    await waitFor('the log to say so', async () => {
      assert.is(await reaches(), false);
      return /error: 172\.31\.1\.5, the address of this VTEP, is gone from this host/.test(one.stderr);
    });
    await waitFor('the drops to be counted', async () =>
      /^no-(local-address|route) +[1-9]/m.test(await show('counters')),
    );
    assert.match(
      await show('counters', '--prometheus'),
      /^weft_dropped_total\{vni="none",reason="no-(local-address|route)"\} [1-9]/m,
    );
    const [remote] = JSON.parse(await show('remotes', '--json')) as { undelivered: number; reason: string }[];
    assert.ok(remote!.undelivered > 0, JSON.stringify(remote));
    assert.match(remote!.reason, /^E/);

    await must(['ip', '-n', ns, 'addr', 'add', '172.31.1.5/24', 'dev', 'eth0']);
    await must(['ip', '-n', ns, 'route', 'replace', 'default', 'via', '172.31.1.1']);
    await waitFor('a ping after the address is back', reaches);
    await waitFor('the log to say that', () => /info: 172\.31\.1\.5, .*, is back after \d+ s$/m.test(one.stderr));
    requireLog(one.stderr);
  });

  trouble(`${engine}: the device is set down and up, and the log reports it as JSON`, async () => {
    const one = await start(1, '--engine', engine, '--json');
    await start(2, '--engine', engine);
    await waitFor('a first ping', reaches);
    const { ns } = underlay.node1;
    await must(['ip', '-n', ns, 'link', 'set', 'eth0', 'down']);
    interface Line {
      time: string;
      level: string;
      event: string;
      fault?: string;
    }
    const lines = (): Line[] =>
      one.stderr
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Line);
    await waitFor('the log to say so', async () => {
      assert.is(await reaches(), false);
      return lines().some(({ event, fault }) => event === 'local-address-lost' && fault === 'down');
    });
    assert.not.match(await show('counters'), /nothing was dropped/);
    await must(['ip', '-n', ns, 'link', 'set', 'eth0', 'up']);
    await must(['ip', '-n', ns, 'route', 'replace', 'default', 'via', '172.31.1.1']);
    await waitFor('a ping after it is up', reaches);
    await waitFor('the log to say that', () => lines().some(({ event }) => event === 'local-address-back'));
    for (const { time, level } of lines()) assert.match(`${time} ${level}`, /^\S+\.\d{3}Z (error|warning|info)$/);
  });

  trouble(`${engine}: the route to a peer is removed and comes back`, async () => {
    const one = await start(1, '--engine', engine);
    await start(2, '--engine', engine);
    await waitFor('a first ping', reaches);
    const { ns } = underlay.node1;
    await must(['ip', '-n', ns, 'route', 'del', 'default']);
    await waitFor('the log to say so', async () => {
      await reaches();
      return /warning: VTEP 192\.168\.1\.25 is unreachable: this host has no route to it \(ENETUNREACH\)/.test(
        one.stderr,
      );
    });
    assert.match(await show('counters'), /^no-route +[1-9]/m);
    assert.match(await show('remotes'), /^192\.168\.1\.25 .* [1-9]\d* +ENETUNREACH/m);
    const frame = `ffffffffffff0200000000c188b5${'00'.repeat(46)}`;
    const explained = await underlay.lab.runVtep({
      args: ['explain', '--control', control(1), '--port', 'eth0', '--frame', frame],
    });
    assert.match(explained.stdout, /no route to 192\.168\.1\.25/, explained.stderr);
    await must(['ip', '-n', ns, 'route', 'add', 'default', 'via', '172.31.1.1']);
    await waitFor('a ping after the route is back', reaches);
    await waitFor('the log to say that', () =>
      /info: VTEP 192\.168\.1\.25 (is reachable|has a route) again/.test(one.stderr),
    );
    requireLog(one.stderr);
  });

  trouble(`${engine}: frames that the kernel drops at a TAP are counted, from the start of the process`, async () => {
    const one = await start(1, '--engine', engine, '--keep-taps');
    await start(2, '--engine', engine);
    await waitFor('a first ping', reaches);
    const counted = async (): Promise<number> => {
      const text = await show('counters', '--prometheus');
      return Number(/^weft_dropped_total\{vni="none",reason="tap-queue"\} (\d+)$/m.exec(text)![1]);
    };
    const kernel = async (): Promise<number> => {
      const [link] = JSON.parse(await must(['ip', '-n', container[1], '-s', '-j', 'link', 'show', 'eth0']));
      return link.stats64.tx.dropped as number;
    };
    const send = (count: number): Promise<unknown> =>
      run(['ip', 'netns', 'exec', container[1], 'ping', '-q', '-c', String(count), '-l', String(count), '10.0.0.2']);
    assert.is(await counted(), 0);
    one.signal('SIGSTOP');
    await send(3000);
    const dropped = await kernel();
    one.signal('SIGCONT');
    assert.ok(dropped > 1000, `${dropped} frames dropped`);
    await waitFor('the count', async () => (await counted()) >= dropped);
    assert.is(await counted(), await kernel());
    assert.match(await show('counters'), /^tap-queue +[1-9]\d{3,} /m);
    // The kernel drops frames without a process, too. The next process does not count them.
    await one.stop('SIGKILL');
    await send(10);
    assert.ok((await kernel()) > dropped, 'no process reads');
    const next = await start(1, '--engine', engine, '--keep-taps');
    await waitFor('a ping', reaches);
    assert.is(await counted(), 0);
    await next.stop(); // removes the TAP
  });

  trouble(`${engine}: outputs that cannot be written do not stop it`, async () => {
    await start(2, '--engine', engine);
    for (const redirect of ['>/dev/full 2>/dev/full', '2>&1 | head -1', '>&- 2>&-', '2>&1 | sleep 1000']) {
      const one = shell(redirect, 1, '--engine', engine, '--json');
      try {
        await waitFor(`a ping with ${redirect}`, reaches);
        const { ns } = underlay.node1;
        // Causes two log entries.
        await must(['ip', '-n', ns, 'link', 'set', 'eth0', 'down']);
        await new Promise((resolve) => setTimeout(resolve, 2500));
        await must(['ip', '-n', ns, 'link', 'set', 'eth0', 'up']);
        await must(['ip', '-n', ns, 'route', 'replace', 'default', 'via', '172.31.1.1']);
        await waitFor(`a ping again with ${redirect}`, reaches);
        assert.is((await run([...VTEP, 'show', 'peers', '--control', control(1)])).code, 0);
      } finally {
        one.end();
        await one.ended;
      }
      await waitFor(
        'the TAP to go',
        async () => (await run(['ip', '-n', container[1], 'link', 'show', 'eth0'])).code !== 0,
      );
    }
  });
}

trouble('a full file system does not stop it, and the log continues when there is space', async () => {
  const mount = join(directory, 'small');
  await must(['mkdir', '-p', mount]);
  await must(['mount', '-t', 'tmpfs', '-o', 'size=16k', 'tmpfs', mount]);
  try {
    const log = join(mount, 'log');
    const filler = join(mount, 'filler');
    writeFileSync(filler, Buffer.alloc(12 << 10));
    writeFileSync(log, 'x'.repeat(4096)); // fills its single page
    const one = shell(`>/dev/null 2>>${log}`, 1);
    try {
      const ready = async (): Promise<boolean> =>
        (await run([...VTEP, 'show', 'peers', '--control', control(1)])).code === 0;
      await waitFor('the VTEP', ready);
      const pid = (await must(['ip', 'netns', 'pids', underlay.node1.ns])).trim().split('\n')[0]!;
      process.kill(Number(pid), 'SIGHUP');
      process.kill(Number(pid), 'SIGUSR2');
      await new Promise((resolve) => setTimeout(resolve, 500));
      assert.is(await ready(), true);
      rmSync(filler);
      process.kill(Number(pid), 'SIGHUP');
      await waitFor('the log', () => /SIGHUP is ignored/.test(readFileSync(log, 'utf8')));
      assert.match(
        readFileSync(log, 'utf8'),
        /warning: \d+ log lines were lost: they could not be written \(ENOSPC\)\n/,
      );
    } finally {
      one.end();
      await one.ended;
    }
  } finally {
    await must(['umount', '-l', mount]);
  }
});

trouble(
  'SIGHUP reads the file again: peers and endpoints change, a broken file does not, a restart is named',
  async () => {
    const file = join(directory, 'vtep.json');
    const config = (more: object, top: object = {}): void =>
      writeFileSync(
        file,
        JSON.stringify({
          local: underlay.node1.address,
          control: control(1),
          ...top,
          segments: [{ vni: 7, ...more }],
          taps: [{ name: 'eth0', netns: container[1], address: '10.0.0.1/24', vni: 7 }],
        }),
      );
    config({ mtu: 1400 });
    const one = await underlay.lab.startVtep({ ns: underlay.node1.ns, args: ['up', '--config', file] });
    await start(2);
    assert.is(await reaches(), false);
    const endpoint = { ip: '10.0.0.2', mac: '02:42:0a:00:00:22', vtep: underlay.node2.address };
    config({ mtu: 1300, peers: [underlay.node2.address], endpoints: [endpoint] });
    one.signal('SIGHUP');
    await waitFor('the reload', () =>
      /info: the configuration was read again: 1 peer added, 1 endpoint added$/m.test(one.stderr),
    );
    assert.match(one.stderr, /warning: .*restart: segments\[7\]\.mtu$/m);
    assert.match(await show('neighbors'), /10\.0\.0\.2 +02:42:0a:00:00:22/);
    config({ mtu: 1400, peers: [underlay.node2.address] });
    one.signal('SIGHUP');
    await waitFor('a ping', reaches);

    for (const [text, message] of [
      ['{ "local": ', /vtep\.json:1:/],
      ['{ "local": "nonsense" }', /local/],
    ] as const) {
      const before = one.stderr.length;
      writeFileSync(file, text);
      one.signal('SIGHUP');
      await waitFor('a complaint', () => /error: the configuration stays as it was: /.test(one.stderr.slice(before)));
      assert.match(one.stderr.slice(before), message);
      assert.is(await ping(container[1], '10.0.0.2', { count: 1 }), 1);
    }
    requireLog(one.stderr);
    const { code } = await one.stop();
    assert.is(code, 0);
  },
);

trouble('an interface of the container that has addresses of the TAP’s subnet is reported', async () => {
  await must(['ip', '-n', container[1], 'link', 'add', 'lan0', 'type', 'veth', 'peer', 'name', 'lan1']);
  try {
    for (const address of ['10.0.0.200/26', '10.0.0.201/26', '192.0.2.1/24'])
      await must(['ip', '-n', container[1], 'addr', 'add', address, 'dev', 'lan0']);
    const [one, two] = [await start(1), await start(2)];
    assert.match(
      one.stderr,
      /^\S+ warning: TAP "eth0" in namespace \S+ has subnet 10\.0\.0\.0\/24, and interface "lan0" in the same namespace has 10\.0\.0\.192\/26: [^\n]*\n$/,
    );
    assert.is(two.stderr, '');
  } finally {
    await underlay.lab.killAll();
    await must(['ip', '-n', container[1], 'link', 'del', 'lan0']);
  }
});

trouble('unused signals do not end it', async () => {
  const one = await start(1);
  for (const signal of ['SIGHUP', 'SIGUSR1', 'SIGUSR2', 'SIGPIPE'] as const) one.signal(signal);
  await waitFor(
    'the log',
    () => /SIGUSR2 is ignored/.test(one.stderr) && /SIGHUP is ignored: there is no --config FILE/.test(one.stderr),
  );
  assert.ok(one.running);
  assert.is((await one.stop()).code, 0);
});

trouble('reports a duplicate address, a MAC address that loops, and a MAC flood', async () => {
  const one = await start(1);
  await start(2, '--mac', '02:42:0a:00:00:99');
  const ns = container[2];
  await waitFor('a first ping', reaches);
  await must(['ip', '-n', ns, 'addr', 'add', '10.0.0.1/24', 'dev', 'eth0']);
  await run(['ip', 'netns', 'exec', ns, 'ping', '-c2', '-W1', '-I', '10.0.0.1', '10.0.0.77']);
  await waitFor('the duplicate', () => /warning: network 7: duplicate address 10\.0\.0\.1: /.test(one.stderr));
  requireLog(one.stderr);
});

trouble('other commands exit with a one-line error if their output cannot be written', async () => {
  const full = openSync('/dev/full', 'w');
  try {
    for (const more of [['--help'], ['read', join(REPOSITORY, 'test/captures/arp.pcap')], ['gossip', 'keygen']]) {
      const child = spawn(VTEP[0]!, [...VTEP.slice(1), ...more], { cwd: REPOSITORY, stdio: ['ignore', full, 'pipe'] });
      let stderr = '';
      child.stderr!.on('data', (data: Buffer) => (stderr += data));
      const code = await new Promise((resolve) => child.on('close', resolve));
      assert.is(code, 1);
      assert.match(stderr, /^vtep( \w+)?: standard output cannot be written: no space left on device\n$/);
    }
    const closed = await run(['bash', '-c', '"$@" | true; echo "${PIPESTATUS[0]}"', 'bash', ...VTEP, 'up', '--help']);
    assert.equal([closed.stdout, closed.stderr], ['0\n', '']);
  } finally {
    closeSync(full);
  }
});

trouble.run();
