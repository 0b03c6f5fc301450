/**
 * `npm run bench -- memory`: resident memory of an agent for each endpoint that it hears of. The agent is a process of
 * its own, as users start it, without a TAP: `vtep agent` of the sources, with the flags of the installed program. A
 * second agent, without a data plane, announces its endpoints over loopback. Nothing forces a garbage collection.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ask, type NetworkListing } from '../src/host/index.js';
import { type AgentOptions } from '../test/support/gossip-agent.js';
import { VTEP, waitFor } from '../test/support/lab.js';
import { idOf, macOf } from '../test/support/many-networks.js';

/** Networks, and endpoints of the second agent in each. */
const NETWORKS = 400;
const ENDPOINTS = 125;
/** Milliseconds after the agent has heard of all, in which it does nothing else. */
const SETTLED = 5000;
const PATIENCE = 600_000;
/** Bytes for each endpoint. */
const TARGET = 2000;
const ENGINES = ['dgram', 'linux'] as const;
/** The agents' addresses and ports on loopback. */
const [HERE, THERE] = ['127.77.3.1', '127.77.3.2'];
const GOSSIP = 7963;
const VXLAN = 7964;
/** See there. */
const ANNOUNCER = 'test/support/gossip-agent.ts';

export interface HeardMemory {
  engine: string;
  /** Bytes for each endpoint. */
  resident: number;
}

export async function memory(quick: boolean): Promise<HeardMemory[]> {
  const found: HeardMemory[] = [];
  const networks = quick ? NETWORKS / 10 : NETWORKS;
  for (const engine of ENGINES) found.push({ engine, resident: await heard(engine, networks) });
  return found;
}

async function heard(engine: string, networks: number): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), 'weft-memory-'));
  const control = join(directory, 'control');
  const started: ChildProcess[] = [];
  try {
    const config = join(directory, 'config.json');
    writeFileSync(config, JSON.stringify(configOf(engine, networks)));
    const [node, ...program] = VTEP;
    const agent = spawn(
      node!,
      ['--max-semi-space-size=2', ...program, 'agent', '--config', config, '--control', control],
      { stdio: ['ignore', 'ignore', 'inherit'] },
    );
    started.push(agent);
    const all = async (): Promise<NetworkListing[]> =>
      (await ask(control, { command: 'networks' })) as NetworkListing[];
    const count = async (of: 'attached' | 'remote'): Promise<number> =>
      (await all()).reduce((sum, one) => sum + Number(one[of]), 0);
    await waitFor(
      'the agent',
      () =>
        count('attached').then(
          (own) => own === networks,
          () => false,
        ),
      PATIENCE,
    );
    await sleep(SETTLED);
    const before = residentOf(agent.pid!);
    const options: AgentOptions = {
      address: THERE,
      port: GOSSIP,
      join: HERE,
      networks,
      endpoints: ENDPOINTS,
      others: 1,
    };
    started.push(
      spawn(process.execPath, ['--import', 'tsx', ANNOUNCER, JSON.stringify(options)], {
        stdio: ['pipe', 'ignore', 'inherit'],
      }),
    );
    await waitFor(
      'the endpoints',
      async () => {
        await sleep(1000); // the listing itself uses memory
        return (await count('remote')) === networks * ENDPOINTS;
      },
      PATIENCE,
    );
    await sleep(SETTLED);
    return (residentOf(agent.pid!) - before) / (networks * ENDPOINTS);
  } finally {
    for (const child of started) child.kill('SIGKILL');
    rmSync(directory, { recursive: true });
  }
}

/** A configuration with one endpoint of the host in each network. */
function configOf(engine: string, networks: number): object {
  const numbers = Array.from({ length: networks }, (_, i) => i);
  const subnet = (i: number): string => `10.${i >> 8}.${i & 255}`;
  return {
    local: HERE,
    port: VXLAN,
    engine,
    segments: numbers.map((i) => ({
      vni: 1000 + i,
      endpoints: [{ ip: `${subnet(i)}.254`, mac: macOf(1, i, 254), vtep: HERE }],
    })),
    gossip: {
      bind: `${HERE}:${GOSSIP}`,
      networks: numbers.map((i) => ({ id: idOf(i), vni: 1000 + i, subnet: `${subnet(i)}.0/24` })),
    },
  };
}

function residentOf(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;
}

export function printMemory(all: readonly HeardMemory[]): void {
  console.log(`Resident memory of an agent for each endpoint that it hears of, bytes; target: ${TARGET}`);
  for (const { engine, resident } of all)
    console.log(`  ${engine.padEnd(6)} ${resident.toFixed(0).padStart(6)}${resident > TARGET ? '  missed' : ''}`);
  console.log('');
}
