/**
 * The cost of control socket clients for a VTEP under load: captures of TCP traffic, clients that do not read, long
 * listings, and a stop of the VTEP.
 */
import { readFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { ask } from '../../src/host/index.js';
import { CaptureReader } from '../../src/pcap/index.js';
import { exec, must, ping, REPOSITORY, run, VTEP, waitFor, type Running } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { OVERHEAD, Pair, VNI, type Kind } from '../support/pair.js';
import { get, mute } from '../support/unix-http.js';

const control = suiteWith('control socket under load', ['root', 'tun', 'ip', 'ping', 'tshark']);

const PROGRAM = fileURLToPath(new URL('../support/load.mjs', import.meta.url));
const MTU = 1500 - OVERHEAD;
/** Most milliseconds that listings add to a round trip, and attempts on a machine that does something else. */
const DELAY = 8;
const ATTEMPTS = 4;
const directory = mkdtempSync(join(tmpdir(), 'weft-ctl-'));

let pair: Pair;

control.before(async () => {
  pair = await Pair.create('wct');
});

control.after.each(() => pair.down());

control.after(async () => {
  await pair?.teardown();
  rmSync(directory, { recursive: true, force: true });
});

async function up(kind: Kind): Promise<Running> {
  await pair.cable(1500);
  return (await pair.up(kind, kind, MTU))[0].vtep!;
}

/** Starts transfers from one container to the other, until `stop`. */
async function load(): Promise<{ stop(): Promise<number> }> {
  const server = pair.lab.spawn([process.execPath, PROGRAM, 'serve'], { ns: pair.container(2) });
  await waitFor('the server', () => server.stdout.startsWith('ready\n') || !server.running);
  let on = true;
  let transfers = 0;
  const loop = (async () => {
    while (on) {
      const command = [process.execPath, PROGRAM, 'transfer', pair.address(2), String(20e6), String(0)];
      const mine = JSON.parse(await exec(pair.container(1), command)) as { port: number; sent: string };
      const theirs = await waitFor('the report', () =>
        server.stdout.split('\n').find((line) => line.includes(`"port":${mine.port},`)),
      );
      assert.is((JSON.parse(theirs) as { received: string }).received, mine.sent);
      transfers++;
    }
  })();
  loop.catch(() => undefined); // `stop` reports errors
  await waitFor('a first transfer', () => transfers > 0);
  return {
    stop: async () => {
      on = false;
      await loop;
      await server.stop();
      return transfers;
    },
  };
}

const vtep = (...args: string[]): Running => pair.lab.spawn([...VTEP, ...args]);

/** Most resident memory so far, in MiB. */
function peak(pid: number): number {
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1024;
}

function packetsIn(file: string): number {
  const reader = new CaptureReader();
  const packets = reader.push(new Uint8Array(readFileSync(file)));
  assert.is(reader.finish(), null);
  return packets.length;
}

for (const kind of ['linux', 'dgram'] as const) {
  control(`${kind}: 10,000 packets captured under TCP load, beside clients that do not read`, async () => {
    const { pid } = await up(kind);
    const before = peak(pid);
    const traffic = await load();
    const target = '/v1/capture?count=1000000&seconds=600';
    const mutes = await Promise.all(
      [target, `${target}&snap=60`].map((captures) => mute(pair.control(1), get(captures))),
    );
    const since = performance.now();
    const file = join(directory, `${kind}.pcapng`);
    const flags = ['--count', '10000', '--seconds', '300', '--timeout', '60'];
    const captured = await vtep('capture', '--control', pair.control(1), ...flags, '--write', file).ended;
    assert.is(captured.code, 0, captured.stderr);
    assert.match(captured.stderr, `10000 packets written to ${file}\n`);
    assert.is(packetsIn(file), 10_000);
    // tshark reads the file to its end, too.
    const { code, stderr } = await run([
      'tshark',
      '-r',
      file,
      '-Y',
      'frame.number == 10000',
      '-T',
      'fields',
      '-e',
      'frame.number',
    ]);
    assert.is(code, 0, stderr);
    for (const socket of mutes) {
      // The VTEP has closed the connection: writing fails.
      await waitFor('the VTEP to disconnect the client', () => {
        socket.write('\n');
        return socket.destroyed;
      });
    }
    assert.ok(performance.now() - since > 5000, 'a client has some time to read');
    assert.is(await ping(pair.container(1), pair.address(2), { count: 3 }), 3);
    assert.ok((await traffic.stop()) > 0);
    const growth = peak(pid) - before;
    assert.ok(growth < 150, `${before.toFixed()} MiB before, ${growth.toFixed()} more at the most`);
  });

  control(`${kind}: repeated listings of 32,000 entries do not delay frames`, async () => {
    await pair.cable(1500);
    await pair.start(2, kind, MTU);
    const path = pair.control(1);
    const config = join(directory, 'config.json');
    const [local, remote] = [pair.underlay(1), pair.underlay(2)];
    const endpoints = Array.from({ length: 32_000 }, (_, i) => {
      const [high, low] = [(i >> 8) + 1, i & 255];
      const mac = `02:42:0a:01:${high.toString(16).padStart(2, '0')}:${low.toString(16).padStart(2, '0')}`;
      return { ip: `10.1.${high}.${low}`, mac, vtep: remote };
    });
    const taps = [
      { name: 'eth0', netns: pair.container(1), address: `${pair.address(1)}/8`, mac: '02:42:0a:00:00:01', vni: VNI },
    ];
    writeFileSync(
      config,
      JSON.stringify({
        local,
        engine: kind,
        control: path,
        segments: [{ vni: VNI, mtu: MTU, peers: [remote], endpoints }],
        taps,
      }),
    );
    const { pid } = await pair.lab.startVtep({ ns: pair.node(1), args: ['up', '--config', config] });
    await waitFor('the overlay', async () => (await ping(pair.container(1), pair.address(2), { count: 1 })) === 1);
    const fdb = (await ask(path, { command: 'fdb' }, { timeout: 60_000 })) as { mac: string }[];
    assert.ok(new Set(fdb.map(({ mac }) => mac)).size >= 32_000);
    const before = peak(pid);

    const roundTrips = async (): Promise<number> => {
      const flags = ['-c', '60', '-i', '0.05', '-q', '-n'];
      const text = await exec(pair.container(1), ['ping', ...flags, pair.address(2)]);
      return Number(/= [\d.]+\/([\d.]+)\//.exec(text)![1]);
    };
    let [alone, polled, text] = [0, Infinity, ''];
    for (let attempt = 0; attempt < ATTEMPTS && polled >= alone + DELAY; attempt++) {
      alone = await roundTrips();
      let polling = true;
      let polls = 0;
      const clients = Array.from({ length: 3 }, async () => {
        while (polling) {
          await ask(path, { command: 'fdb' }, { timeout: 60_000 });
          polls++;
        }
      });
      const stuck = await mute(path, get('/v1/neighbors'));
      polled = await roundTrips();
      polling = false;
      await Promise.all(clients);
      stuck.destroy();
      text = `a round trip takes ${alone} ms, ${polled} ms beside ${polls} listings`;
      console.log(`# ${kind}: ${text}, peak memory ${before.toFixed()} MiB and ${peak(pid).toFixed()} MiB`);
    }
    assert.ok(polled < alone + DELAY, text);
    assert.ok(peak(pid) - before < 80, `${before} MiB before, ${peak(pid)} at the most`);
    await must(['kill', String(pid)]);
  });
}

control('when the VTEP stops, every client reports it in time', async () => {
  const side = await up('linux');
  const path = ['--control', pair.control(1)];
  const began = vtep('capture', ...path, '--seconds', '60', '--count', '1000', '--json', '--timeout', '2');
  await waitFor('the capture to begin', async () => {
    await ping(pair.container(1), pair.address(2), { count: 1 });
    return began.stdout !== '';
  });
  side.signal('SIGSTOP');
  try {
    const frame = 'ffffffffffff02420a0000010806';
    const clients = [
      vtep('show', 'fdb', ...path, '--timeout', '1'),
      vtep('explain', ...path, '--port', 'eth0', '--frame', frame, '--timeout', '1'),
      vtep('capture', ...path, '--timeout', '1'),
    ];
    for (const client of clients) {
      const { code, stderr } = await client.ended;
      assert.is(code, 1, stderr);
      assert.match(
        stderr,
        /^vtep \w+: the VTEP at \S+ did not answer within 1 s; check whether its process is stopped/,
      );
    }
    const { code, stdout, stderr } = await began.ended;
    assert.is(code, 1);
    assert.match(stderr, /did not answer within 2 s/);
    assert.ok(stdout.split('\n').length > 2, 'the packets so far are kept');
  } finally {
    side.signal('SIGCONT');
  }
});

control('an interrupted capture keeps its file, and a capture ends when its reader does', async () => {
  await up('linux');
  const path = ['--control', pair.control(1)];
  const pings = pair.lab.spawn(['ip', 'netns', 'exec', pair.container(1), 'ping', '-i', '0.1', pair.address(2)]);
  const file = join(directory, 'interrupted.pcapng');
  const interrupted = vtep('capture', ...path, '--seconds', '600', '--count', '100000', '--write', file);
  await waitFor('packets in the file', () => {
    try {
      return readFileSync(file).length > 2000;
    } catch {
      return false;
    }
  });
  interrupted.signal('SIGINT');
  const { code, stderr } = await interrupted.ended;
  assert.is(code, 0, stderr);
  const written = Number(/^(\d+) packets written to /.exec(stderr)![1]);
  assert.is(packetsIn(file), written);
  assert.is((await must(['tshark', '-r', file])).split('\n').length - 1, written);

  const shell = (command: string) =>
    run(['sh', '-c', `cd ${REPOSITORY} && { ${VTEP.join(' ')} capture ${path.join(' ')} ${command}; }`]);
  const piped = await shell(`--count 12 --write - | tshark -r - 2>/dev/null`);
  assert.is(piped.stdout.split('\n').length - 1, 12, piped.stderr);
  const head = await shell(`--seconds 60 --count 100000 | head -n 2`);
  assert.is(head.stdout.split('\n').length - 1, 2);
  assert.is(head.stderr, '');
  const snapped = await shell(`--count 6 --snap 60 --write - | tshark -r - -T fields -e frame.len -e frame.cap_len`);
  for (const line of snapped.stdout.trim().split('\n')) {
    const [length, captured] = line.split('\t').map(Number);
    assert.ok(length! >= captured! && captured! <= 60 + 28, line);
  }
  // A file that cannot be written is an error before the capture starts.
  for (const [target, reason] of [
    ['/nonexistent/file', 'no such file or directory'],
    ['/dev/full', 'no space left on device'],
  ] as const) {
    const failed = await shell(`--write ${target}`);
    assert.equal([failed.code, failed.stderr], [1, `vtep capture: ${target} cannot be written: ${reason}\n`]);
  }
  await pings.stop();
});

control.run();
