/** Losses, unreachable remotes and the local address in the log and the counters. */
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { AddressWatch, type Fault } from '../src/host/address-watch.js';
import { dropsIn } from '../src/host/kernel-drops.js';
import { Logger, LOSSES, lossesOf, textLine, type EngineCounters } from '../src/host/index.js';
import { Health } from '../src/host/health.js';
import { Reachability } from '../src/host/reachability.js';
import { Troubles, type EngineReport } from '../src/host/troubles.js';
import { makeRemote, type Remote } from '../src/vtep/index.js';

const health = suite('health');

const remoteAt = (address: string): Remote => makeRemote(1, address, 4789);

function logged() {
  const lines: string[] = [];
  const log = new Logger((record) => void lines.push(textLine(record).replace(/^\S+ /, '')), { level: 'debug' });
  return { log, lines };
}

health('every error of an engine is a loss with a reason, and none is counted twice', () => {
  const engine: EngineCounters = {
    framesRead: 0,
    framesWritten: 0,
    datagramsReceived: 0,
    datagramsSent: 0,
    sendQueue: 0,
    sendErrors: {
      ENETUNREACH: 1,
      EHOSTUNREACH: 2,
      EINVAL: 4,
      EPERM: 8,
      EMSGSIZE: 16,
      EAGAIN: 32,
      QUEUE: 64,
      EFAULT: 128,
    },
    receiveErrors: { OVERFLOW: 256, ECONNREFUSED: 512, ENOMEM: 1024 },
    writeErrors: { EIO: 2048, EBADFD: 4096, EFAULT: 8192 },
    tapDrops: 16_384,
  };
  const losses = lossesOf(engine);
  assert.equal(Object.entries(losses), [
    ['no-route', 3],
    ['no-local-address', 4],
    ['send-refused', 8],
    ['send-too-big', 16],
    ['send-queue', 96],
    ['send-failed', 128],
    ['undelivered', 512],
    ['receive-buffer', 256],
    ['receive-failed', 1024],
    ['tap-down', 2048],
    ['tap-gone', 4096],
    ['tap-failed', 8192],
    ['tap-queue', 16_384],
  ]);
  assert.is(
    Object.values(losses).reduce((a, b) => a + b),
    2 ** 15 - 1,
  );
  assert.equal(
    Object.keys(losses),
    LOSSES.map(([name]) => name),
  );
});

health('an engine reports a remote once per second while it fails, and once when it receives from it again', () => {
  const troubles = new Troubles(() => false);
  const remote = remoteAt('192.0.2.2');
  const reports: EngineReport[] = [];
  const tick = (now: number, heard = false): EngineReport[] => {
    reports.length = 0;
    troubles.tick(
      now,
      () => heard,
      (report) => void reports.push(report),
    );
    return [...reports];
  };
  for (let i = 0; i < 3; i++) troubles.failed(remote, 'ENETUNREACH', 2, 100);
  assert.equal([remote.undelivered, remote.reason, troubles.any], [6, 'ENETUNREACH', true]);
  assert.equal(tick(1000), [{ type: 'failed', address: '192.0.2.2', code: 'ENETUNREACH', count: 6, known: false }]);
  assert.equal(tick(2000), []);
  assert.equal(tick(3000, true), [{ type: 'received', address: '192.0.2.2' }]);
  assert.is(troubles.any, false);
  troubles.failed(remote, 'EAGAIN', 1, 4000);
  assert.equal([remote.undelivered, troubles.any], [7, false], 'a full queue says nothing about the remote');
});

health('the first datagram from a remote means that it has started: earlier failures are not reported', () => {
  const troubles = new Troubles(() => false);
  const reports: EngineReport[] = [];
  const remote = remoteAt('192.0.2.2');
  troubles.failed(remote, 'ECONNREFUSED', 3, 100);
  troubles.tick(
    1000,
    () => true,
    (report) => void reports.push(report),
  );
  assert.equal(reports, [{ type: 'received', address: '192.0.2.2' }]);
});

health('a remote is unreachable after two seconds of failures, and reachable after a datagram from it', () => {
  const { log, lines } = logged();
  const reachability = new Reachability(log);
  reachability.failed('192.0.2.2', 'ECONNREFUSED', 3, true, 0);
  reachability.failed('192.0.2.2', 'ECONNREFUSED', 3, true, 1000);
  assert.equal(lines, []);
  reachability.failed('192.0.2.2', 'ECONNREFUSED', 4, true, 2000);
  reachability.failed('192.0.2.2', 'ECONNREFUSED', 4, true, 3000);
  assert.equal(lines, [
    'warning: VTEP 192.0.2.2 is unreachable: no VTEP listens there (ECONNREFUSED); 10 datagrams to it were lost',
  ]);
  reachability.back('192.0.2.2', 9000);
  reachability.back('192.0.2.2', 9000);
  assert.equal(lines.slice(1), [
    'info: VTEP 192.0.2.2 is reachable again; it was unreachable for 9 s, and 14 datagrams to it were lost',
  ]);
  // A restart of the remote is not reported.
  reachability.failed('192.0.2.2', 'ECONNREFUSED', 3, true, 10_000);
  reachability.back('192.0.2.2', 10_500);
  assert.is(lines.length, 2);
});

health('a remote without any datagram so far has 30 s to start, unless this host itself fails', () => {
  const { log, lines } = logged();
  const reachability = new Reachability(log);
  for (let now = 0; now < 30_000; now += 1000) {
    reachability.failed('192.0.2.2', 'ECONNREFUSED', 1, false, now);
    if (now === 5000) assert.equal(lines, []);
  }
  assert.equal(lines, []);
  reachability.failed('192.0.2.2', 'ECONNREFUSED', 1, false, 30_000);
  assert.is(lines.length, 1);
  for (const now of [40_000, 42_000]) reachability.failed('192.0.2.3', 'ENETUNREACH', 1, false, now);
  assert.match(lines[1], /^warning: VTEP 192\.0\.2\.3 is unreachable: this host has no route to it/);
});

health('a remote without failures for a minute is reachable again', () => {
  const { log, lines } = logged();
  const reachability = new Reachability(log);
  for (const now of [0, 3000]) reachability.failed('192.0.2.2', 'ENETUNREACH', 1, true, now);
  assert.equal(reachability.withoutRoute(), ['192.0.2.2']);
  reachability.tick(50_000);
  assert.is(lines.length, 1);
  reachability.tick(63_001);
  assert.match(lines[1], /^info: VTEP 192\.0\.2\.2 is not failing any more/);
  assert.equal(reachability.withoutRoute(), []);
});

health('a remote has a route again only if it had none: a host may be missing behind one', () => {
  const { log, lines } = logged();
  const reachability = new Reachability(log);
  for (let now = 0; now <= 30_000; now += 1000) {
    reachability.failed('192.0.2.2', 'EHOSTUNREACH', 1, true, now);
    reachability.route('192.0.2.2', true, now);
  }
  assert.equal(lines, [
    'warning: VTEP 192.0.2.2 is unreachable: no host answers there, or a router has no route to it (EHOSTUNREACH); 3 datagrams to it were lost',
  ]);
  reachability.route('192.0.2.2', false, 31_000);
  assert.is(lines.length, 1);
  reachability.route('192.0.2.2', true, 32_000);
  reachability.route('192.0.2.2', true, 33_000);
  assert.equal(lines.slice(1), [
    'info: VTEP 192.0.2.2 has a route again; it was unreachable for 32 s, and 31 datagrams to it were lost',
  ]);
});

health('while the host itself is cut off, the log does not report each remote', () => {
  const { log, lines } = logged();
  const reachability = new Reachability(log);
  reachability.muted = true;
  for (let i = 0; i < 100; i++)
    for (const now of [0, 5000]) reachability.failed(`192.0.2.${i}`, 'EINVAL', 1, true, now);
  reachability.muted = false;
  assert.equal(lines, []);
});

health('the log reports when the local address disappears, when the reason changes, and when it is back', async () => {
  const { log, lines } = logged();
  const faults: Fault[] = [];
  let fault: Fault = '';
  const watch = new AddressWatch(
    '192.0.2.1',
    log,
    (one) => void faults.push(one),
    () => Promise.resolve(fault),
  );
  for (fault of ['', 'gone', 'gone', 'down', '', ''] as const) await watch.check();
  watch.close();
  assert.equal(faults, ['gone', 'down', '']);
  assert.match(lines[0], /^error: 192\.0\.2\.1, the address of this VTEP, is gone from this host/);
  assert.match(lines[1], /^error: the device that has 192\.0\.2\.1, .* is down/);
  assert.match(lines[2], /^info: 192\.0\.2\.1, the address of this VTEP, is back after \d+ s$/);
});

health('many failures at once check the local address once', async () => {
  let checks = 0;
  const watch = new AddressWatch('192.0.2.1', logged().log, undefined, () => Promise.resolve((checks++, '' as const)));
  for (let i = 0; i < 100; i++) await watch.recheck();
  watch.close();
  assert.is(checks, 1);
});

health('the kernel’s own count of a socket’s drops is found by address and port', () => {
  // The format of Linux 6.1.
  const head =
    '   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n';
  const four =
    '  812: 05011FAC:12B5 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 31337 2 0000000000000000 42\n' +
    '  813: 0100007F:12B5 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 31338 2 0000000000000000 7\n';
  assert.is(dropsIn(head + four, '172.31.1.5', 4789), 42);
  assert.is(dropsIn(head + four, '127.0.0.1', 4789), 7);
  assert.is(dropsIn(head + four, '127.0.0.1', 4790), 0);
  const six =
    ' 2044: 000001FD000000000000000005000000:12B5 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1 2 0000000000000000 9\n';
  assert.is(dropsIn(head + six, 'fd01::5', 4789), 9);
});

health('a finding names the TAP and its namespace, or the VTEP, and not what has gone', () => {
  const { log, lines } = logged();
  const records: Record<string, unknown>[] = [];
  const one = new Health(
    '192.0.2.1',
    log.tee(({ fields }) => records.push({ ...fields })),
    (port) => [{ name: 'eth0', netns: 'c1' }, { name: 'tap0' }][port],
  );
  const places = [0, 1, 2, '192.0.2.2', null].map((at) => ({
    port: typeof at === 'number' ? at : null,
    vtep: typeof at === 'string' ? at : null,
  }));
  const finding = { kind: 'mac-flood' as const, learned: 1001, refused: 0 };
  for (const [vni, place] of places.entries()) one.report({ type: 'noticed', finding: { ...finding, vni, place } });
  one.close();
  assert.equal(
    lines.map((line) => line.replace(/.*the last came from /, '')),
    ['TAP "eth0" in namespace c1', 'TAP "tap0"', 'an unknown place', 'VTEP 192.0.2.2', 'an unknown place'],
  );
  const nothing = { tap: null, netns: null, vtep: null };
  assert.equal(
    records.map(({ place }) => place),
    [
      { ...nothing, tap: 'eth0', netns: 'c1' },
      { ...nothing, tap: 'tap0' },
      nothing,
      { ...nothing, vtep: '192.0.2.2' },
      nothing,
    ],
  );
});

health('where the program "ip" is missing, explain does not claim that there is no route', async () => {
  const one = new Health('192.0.2.1', logged().log, () => undefined);
  const { PATH } = process.env;
  process.env['PATH'] = '/nonexistent';
  try {
    const { steps } = await one.explain({ steps: [], delivered: [], transmitted: ['192.0.2.2'], dropped: null });
    assert.equal(steps, []);
  } finally {
    process.env['PATH'] = PATH;
    one.close();
  }
});

health.run();
