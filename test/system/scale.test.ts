/** Agents with hundreds of networks: how soon they know each other's endpoints, what they say meanwhile, and what is lost. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { suiteWith } from '../support/needs.js';
import { type AgentOptions, type AgentReport } from '../support/gossip-agent.js';

const scale = suiteWith('agents with many networks', []);

const PROGRAM = fileURLToPath(new URL('../support/gossip-agent.ts', import.meta.url));
const PORT = 7951;
const KEY = Buffer.alloc(32, 7).toString('base64');
/**
 * Milliseconds until everything is known, and for which an agent may hold its event loop. On a fast machine these are 1 to
 * 2 s and 12 to 20 ms (docs/figures.md), on a slow one up to twice as long. A table merged in one turn takes 400 ms.
 */
const KNOWN = 6000;
const STALL = 60;
/** The flag that the first lines of the installed program pass to Node: see `scripts/build.mjs`. */
const FLAG = '--max-semi-space-size=2';
/** Milliseconds to run once everything is known, and after which everything should be known. */
const LINGER = 4000;
const PATIENCE = 30_000;
/** Attempts on a machine that does something else at the same time. */
const ATTEMPTS = 6;

const running = new Set<ChildProcess>();

scale.after.each(() => {
  for (const child of running) child.kill('SIGKILL');
  running.clear();
});

interface Agent {
  readonly ready: Promise<string>;
  readonly known: Promise<string>;
  /** Ends the agent. */
  report(): Promise<AgentReport>;
}

function start(options: Omit<AgentOptions, 'port' | 'key'>): Agent {
  const all: AgentOptions = { ...options, port: PORT, key: KEY };
  const child = spawn(process.execPath, [FLAG, '--import', 'tsx', PROGRAM, JSON.stringify(all)], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: { ...process.env, NODE_V8_COVERAGE: undefined }, // which has a cost of its own
  });
  running.add(child);
  const lines = createInterface({ input: child.stdout });
  const ended = new Promise<never>((_, reject) =>
    child.on('exit', () => reject(new Error(`agent ${options.address} ended without a report`))),
  );
  ended.catch(() => undefined);
  const line = (matches: (text: string) => boolean): Promise<string> =>
    Promise.race([new Promise<string>((resolve) => lines.on('line', (text) => matches(text) && resolve(text))), ended]);
  const ready = line((text) => text === 'ready');
  const known = line((text) => text === 'known');
  const report = line((text) => text.startsWith('{'));
  for (const one of [ready, known, report]) one.catch(() => undefined);
  return {
    ready,
    known,
    report: async () => {
      child.stdin.end();
      return JSON.parse(await report) as AgentReport;
    },
  };
}

interface Result {
  /** Milliseconds from the start of the second agent until both know everything. */
  known: number;
  stall: number;
  reports: [AgentReport, AgentReport];
}

async function meet(networks: number, first: number, second: number): Promise<Result> {
  const one = start({ address: '127.77.0.1', networks, endpoints: first, others: second });
  await one.ready;
  const two = start({ address: '127.77.0.2', join: '127.77.0.1', networks, endpoints: second, others: first });
  const late = sleep(PATIENCE, undefined, { ref: false });
  await Promise.race([Promise.all([one.known, two.known]), late]);
  await sleep(LINGER);
  const reports = await Promise.all([one.report(), two.report()]);
  const known = Math.max(...reports.map((report) => (report.known ?? Infinity) - reports[1].started));
  return { known, stall: Math.max(...reports.map(({ stall }) => stall)), reports };
}

for (const [networks, endpoints] of [
  [300, 10],
  [100, 100],
] as const)
  for (const [order, first, second] of [
    ['the one that joins has all of them', 1, endpoints],
    ['the one that is there has all of them', endpoints, 1],
    ['each has half of them', endpoints / 2, endpoints / 2],
  ] as const)
    scale(`${networks} networks with ${endpoints} endpoints each; ${order}`, async () => {
      const results: Result[] = [];
      const isGood = ({ known, stall }: Result): boolean => known < KNOWN && stall < STALL;
      while (results.length < ATTEMPTS && !results.some(isGood)) {
        const result = await meet(networks, first, second);
        results.push(result);
        assert.is(result.reports[1].early, 0, 'no network says "in sync" before it has what the other one announced');
        for (const { lostLater, warnings } of result.reports) {
          assert.is(lostLater, 0);
          assert.equal(warnings, []);
        }
      }
      const text = results
        .map(({ known, stall }) => `known after ${known} ms, stall ${stall.toFixed(1)} ms`)
        .join('; ');
      console.log(`# ${networks} networks, ${order}: ${text}`);
      assert.ok(results.some(isGood), text);
    });

scale.run();
