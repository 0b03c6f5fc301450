/** The interface of data planes, with each engine: batches, their order, and what remains of a failure. No TAPs. */
import { spawnSync } from 'node:child_process';
import { constants, mkdtempSync, openSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { createEngine, HostError, settingsOf, type DataPlane } from '../../src/host/index.js';
import { Taps } from '../../src/host/taps.js';
import { SEGMENT_DEFAULTS, type Change, type Location } from '../../src/model/index.js';
import { plan } from '../../src/schema/index.js';
import { type NeighborListing } from '../../src/vtep/index.js';
import { suiteWith } from '../support/needs.js';

const planes = suiteWith('data planes', []);

const VNI = 4097;
let nextPort = 47_000 + (process.pid % 4000) * 3;
let running: DataPlane | undefined;

planes.after.each(async () => {
  await running?.stop();
  running = undefined;
});

async function start(name: 'dgram' | 'linux', workers: number, failed: string[] = []): Promise<DataPlane> {
  const engine = name;
  const config = { local: '127.0.0.1', port: nextPort++, engine, workers, segments: [{ vni: VNI }] };
  const plane = createEngine(name);
  const taps = [{ name: 'unused', vni: VNI }];
  await plane.start(settingsOf(plan({ ...config, taps })), {
    linkLost: () => undefined,
    failed: (reason) => void failed.push(reason),
  });
  running = plane;
  return plane;
}

async function neighbors(plane: DataPlane): Promise<NeighborListing[]> {
  const all: NeighborListing[] = [];
  for await (const { result } of plane.list({ command: 'neighbors', vni: VNI }))
    all.push(...(result as NeighborListing[]));
  return all;
}

const add = { do: 'add-segment', segment: { vni: VNI, mtu: 1450, ...SEGMENT_DEFAULTS } } as const;
const hex = (value: number): string => value.toString(16).padStart(2, '0');
const endpoint = (i: number): Location => ({
  ip: `10.${1 + (i >> 16)}.${(i >> 8) & 255}.${i & 255}`,
  mac: `02:00:00:${hex(i >> 16)}:${hex((i >> 8) & 255)}:${hex(i & 255)}`,
  vtep: '127.0.0.2',
});

for (const [name, workers] of [
  ['dgram', 1],
  ['linux', 1],
  ['linux', 3],
] as const) {
  const title = `${name}${workers > 1 ? ` with ${workers} workers` : ''}`;

  planes(`${title}: a large batch with changes that are rejected`, async () => {
    const failed: string[] = [];
    const plane = await start(name, workers, failed);
    const count = 10_000;
    const changes: Change[] = [
      add,
      ...Array.from({ length: count }, (_, i): Change => ({ do: 'add-endpoint', vni: VNI, endpoint: endpoint(i) })),
    ];
    const wrong = [7, 4096, 4097, 9000];
    changes[wrong[1]!] = { do: 'add-peer', vni: 9, address: '127.0.0.2' };
    changes[wrong[2]!] = { do: 'add-peer', vni: VNI, address: 'fd00::1' };
    changes[wrong[0]!] = { do: 'add-endpoint', vni: VNI, endpoint: { ...endpoint(0), mac: 'ff:ff:ff:ff:ff:ff' } };
    changes[wrong[3]!] = { do: 'add-segment', segment: { ...add.segment, mtu: 1400 } };
    changes.push({ do: 'remove-endpoint', vni: VNI, endpoint: endpoint(count + 5) });
    const { rejected, unchanged } = await plane.apply(changes);
    assert.equal(
      rejected.map(({ index }) => index),
      wrong,
    );
    assert.equal(unchanged, [count + 1]);
    assert.is((await neighbors(plane)).length, count - wrong.length);
    assert.is((await plane.machineCounters()).segments.length, 1);
    assert.equal(await plane.apply([]), { rejected: [], unchanged: [] });
    assert.equal(failed, [], 'all workers have made the same changes');
  });

  planes(`${title}: batches take effect in the order of the calls`, async () => {
    const failed: string[] = [];
    const plane = await start(name, workers, failed);
    const fill = Array.from({ length: 5000 }, (_, i): Change => ({
      do: 'add-endpoint',
      vni: VNI,
      endpoint: endpoint(i),
    }));
    const empty = fill.map((change) => ({ ...change, do: 'remove-endpoint' }) as Change);
    // Each batch fits only behind the one before.
    const outcomes = await Promise.all([
      plane.apply([add]),
      plane.apply(fill),
      plane.apply([{ do: 'remove-segment', vni: VNI }, add]),
      plane.apply(fill.slice(0, 4500)),
      plane.apply(empty.slice(0, 4400)),
    ]);
    for (const outcome of outcomes) assert.equal(outcome, { rejected: [], unchanged: [] });
    assert.is((await neighbors(plane)).length, 100);
    assert.equal(failed, []);
  });

  planes(`${title}: a link that cannot be attached has no effect, and after the end every call says so`, async () => {
    const plane = await start(name, workers);
    await plane.apply([add]);
    const link = { name: 'x', segments: { vni: VNI }, device: { fd: 1_000_000 }, path: 'taps[0]' };
    const refusal = await plane.attach([link]).catch((error: HostError) => error);
    assert.ok(refusal instanceof HostError);
    assert.is(refusal.path, 'taps[0].fd');
    assert.equal((await plane.apply([{ do: 'remove-segment', vni: VNI }])).rejected, [], 'no port uses the segment');
    await plane.detach([0, 5]);
    await plane.stop();
    const late = [
      plane.apply([add]),
      plane.attach([link]),
      plane.machineCounters(),
      plane.explain({ command: 'explain', port: 'x', frame: '00' }),
    ];
    for (const outcome of await Promise.allSettled(late)) {
      assert.is(outcome.status, 'rejected');
      assert.match((outcome as PromiseRejectedResult).reason.message, /the engine has ended/);
    }
    assert.is(plane.counters().framesRead, 0, 'the counters remain');
  });
}

/** Opens files in place of TAPs: FIFOs, and for one queue a file that epoll refuses. */
function placeTaps(fifo: string): { open: (bad?: number) => void; restore: () => void; files: () => number } {
  const own = Taps.prototype.open;
  let bad = -1;
  Taps.prototype.open = function (links) {
    const pipe = (): number => openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK);
    const queues = Array.from({ length: 3 }, (_, i) => (i === bad ? openSync('/dev/null', 'r+') : pipe()));
    const [device, writer] = [links[0]!.name, pipe()];
    return Promise.resolve([{ fd: queues[0]!, queues, writer, device, adopted: false, dropped: 0, overlaps: [] }]);
  };
  return {
    open: (queue = -1) => (bad = queue),
    restore: () => (Taps.prototype.open = own),
    files: () => readdirSync('/proc/self/fd').length,
  };
}

for (const bad of [0, 1, 2])
  planes(`linux with 3 workers: worker ${bad} cannot watch its queue of a TAP; no worker keeps the port`, async () => {
    const failed: string[] = [];
    const plane = await start('linux', 3, failed);
    const directory = mkdtempSync(join(tmpdir(), 'weft-plane-'));
    const fifo = join(directory, 'fifo');
    assert.is(spawnSync('mkfifo', [fifo]).status, 0);
    const taps = placeTaps(fifo);
    try {
      await plane.apply([add]);
      const link = { name: 'x', segments: { vni: VNI }, device: { fd: 5 }, path: '' };
      const before = taps.files();
      taps.open(bad);
      for (let attempt = 0; attempt < 3; attempt++)
        assert.is(
          await plane.attach([link]).then(
            () => 'it was attached',
            ({ message }: Error) => message,
          ),
          'TAP "x" cannot be polled: EPERM',
        );
      assert.is(taps.files(), before);
      assert.equal((await plane.apply([{ do: 'remove-segment', vni: VNI }])).rejected, [], 'no port uses the segment');
      await plane.apply([add]);
      taps.open();
      const [attached] = await plane.attach([link]);
      await plane.detach([attached!.port]);
      assert.equal((await plane.apply([{ do: 'remove-segment', vni: VNI }])).rejected, []);
      assert.is(taps.files(), before);
      assert.equal(failed, [], 'all workers number their ports alike');
    } finally {
      taps.restore();
      rmSync(directory, { recursive: true });
    }
  });

planes('a port in use leaves nothing behind', async () => {
  const first = await start('dgram', 1);
  nextPort--;
  for (const name of ['dgram', 'linux'] as const) {
    running = undefined;
    const error = await start(name, 1).catch((reason: Error) => reason);
    assert.match((error as Error).message, /already in use/);
    nextPort--;
  }
  await first.stop();
});

planes.run();
