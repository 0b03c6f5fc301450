/**
 * A cluster of this implementation and serf's (Debian's package `serf`, memberlist in Go), on addresses of 127.0.0.0/8:
 * each detects that the other joins, fails, returns and leaves, encrypted or not. `SERF` is the program if not in PATH.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { Keyring, type Delegate, type Member } from '../../src/gossip/memberlist/index.js';
import { GossipHost, type GossipOptions } from '../../src/host/index.js';
import { fromHex } from '../support/hex.js';
import { suiteWith } from '../support/needs.js';

const SERF = process.env['SERF'] ?? 'serf';
const test = suiteWith('memberlist against serf', [SERF]);
/** serf requires a delegate protocol version in its range; this one is. */
const VSN = Uint8Array.of(1, 5, 2, 2, 5, 4);
const SERF_ADDRESS = '127.0.7.2';
const OURS = '127.0.7.3';
const PORT = 7946;
const RPC = `${SERF_ADDRESS}:7373`;

interface Agent {
  process: ChildProcess;
  log: string;
}

async function agent(...options: string[]): Promise<Agent> {
  const process = spawn(
    SERF,
    ['agent', '-node=go', `-bind=${SERF_ADDRESS}:${PORT}`, `-rpc-addr=${RPC}`, '-log-level=debug', ...options],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  const one: Agent = { process, log: '' };
  for (const stream of [process.stdout, process.stderr])
    stream.on('data', (data: Buffer) => (one.log += data.toString()));
  await until('serf listens', () => spawnSync(SERF, ['members', `-rpc-addr=${RPC}`]).status === 0);
  return one;
}

async function until(what: string, holds: () => boolean, seconds = 15): Promise<void> {
  const end = Date.now() + seconds * 1000;
  while (!holds()) {
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
    await sleep(200);
  }
}

async function stop({ process }: Agent, signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
  if (process.exitCode !== null || process.signalCode !== null) return;
  const over = new Promise((done) => process.once('exit', done));
  process.kill(signal);
  await over;
}

/** serf's status of a member: `alive`, `left`, `failed`. */
function seen(name: string): string | undefined {
  const { stdout } = spawnSync(SERF, ['members', `-rpc-addr=${RPC}`, '-format=json'], { encoding: 'utf8' });
  const { members } = JSON.parse(stdout || '{"members":[]}') as { members: { name: string; status: string }[] };
  return members.find((member) => member.name === name)?.status;
}

const ours = (more: Partial<GossipOptions> = {}, delegate: Delegate = {}): Promise<GossipHost> =>
  GossipHost.open({ name: 'ts', address: OURS, port: PORT, vsn: VSN, ...more }, delegate);
/** serf's own leave message for the member ts; without it, serf considers a member that leaves as failed. */
const LEAVING = fromHex('0082a54c54696d6564a44e6f6465a27473');
const go = (host: GossipHost): Member['state'] | undefined => host.machine.member('go')?.state;
const key = Buffer.alloc(32, 7);

for (const [what, seconds, args, options] of [
  ['plain', 6, [], {}],
  ['without compression', 3, ['-disable-compression'], { compressed: false }],
  [
    'with AES-256',
    3,
    [`-encrypt=${key.toString('base64')}`],
    { security: { keyring: new Keyring([new Uint8Array(16), new Uint8Array(key)].reverse()) } },
  ],
] as const)
  test(`${what}: joins serf, stays a member, and leaves`, async () => {
    const serf = await agent(...args, '-tag', 'role=test');
    let intent: Uint8Array | null = null;
    const host = await ours(options, {
      broadcasts: (overhead, limit) => (intent !== null && limit > overhead + intent.length ? [intent] : []),
    });
    try {
      assert.equal(await host.join([{ address: SERF_ADDRESS, port: PORT }]), { reached: 1, failures: [] });
      await until('serf sees ts', () => seen('ts') === 'alive');
      assert.is(go(host), 'alive');
      assert.match(Buffer.from(host.machine.member('go')!.meta).toString('latin1'), /role.*test/);
      await sleep(seconds * 1000); // probes in both directions
      assert.is(seen('ts'), 'alive');
      assert.is(go(host), 'alive');
      assert.is(host.machine.counters()['probes-failed'], 0);
      assert.ok(host.machine.counters().probes >= seconds - 1);
      assert.is(host.machine.counters().malformed, 0);
      assert.not.match(serf.log, /Suspect ts|\[ERR\]|\[WARN\] memberlist/);
      intent = LEAVING;
      await until('serf heard that ts is going', () => seen('ts') === 'leaving');
      await host.leave();
      await until('serf sees that ts left', () => seen('ts') === 'left', 2);
    } catch (error) {
      console.error(serf.log);
      throw error;
    } finally {
      host.close();
      await stop(serf);
    }
  });

test('serf joins us, and leaves', async () => {
  const host = await ours();
  const serf = await agent(`-join=${OURS}:${PORT}`);
  try {
    await until('serf is a member', () => go(host) === 'alive' && seen('ts') === 'alive');
    await stop(serf, 'SIGINT');
    await until('serf has left', () => go(host) === 'left');
  } catch (error) {
    console.error(serf.log);
    throw error;
  } finally {
    host.close();
    await stop(serf);
  }
});

test('each detects the failure of the other; one that only paused refutes', async () => {
  const host = await ours();
  const serf = await agent();
  try {
    await host.join([{ address: SERF_ADDRESS, port: PORT }]);
    await until('serf sees ts', () => seen('ts') === 'alive');
    serf.process.kill('SIGSTOP');
    await until('go is suspected', () => go(host) === 'suspect');
    serf.process.kill('SIGCONT');
    await until('go refutes', () => go(host) === 'alive');
    assert.ok(host.machine.member('go')!.incarnation > 1);
    host.close();
    await until('serf sees ts fail', () => seen('ts') === 'failed');
    const again = await ours();
    await again.join([{ address: SERF_ADDRESS, port: PORT }]);
    await until('ts is back', () => seen('ts') === 'alive');
    await stop(serf);
    await until('go is dead', () => go(again) === 'dead');
    again.close();
  } catch (error) {
    console.error(serf.log);
    throw error;
  } finally {
    host.close();
    await stop(serf);
  }
});

test.run();
