/**
 * The gossip of an agent with many networks in a process of its own, and what it costs: an `OverlayGossip` whose data
 * plane takes everything and does nothing.
 *
 *     node --import tsx test/support/gossip-agent.ts JSON     see `AgentOptions`
 *
 * Prints the line `ready` when all its endpoints are announced, and `known` when it knows all endpoints of the others.
 * Runs until standard input ends, and then prints a line of JSON, an `AgentReport`.
 */
import { openSync, readFileSync, readSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { OverlayGossip } from '../../src/host/overlay-gossip.js';
import { Intent } from '../../src/host/intent.js';
import { Logger } from '../../src/host/log.js';
import { type Plan } from '../../src/schema/index.js';
import { idOf, macOf, octet } from './many-networks.js';

export interface AgentOptions {
  address: string;
  port: number;
  /** An address to join, at the same port. */
  join?: string;
  networks: number;
  /** Endpoints of this agent in each network, and of the others. */
  endpoints: number;
  others: number;
  /** In base64. */
  key?: string;
}

export interface AgentReport {
  /** When it started, and when it knew all endpoints of the others, in ms since 1970; `null` if it never did. */
  started: number;
  known: number | null;
  /** Networks that said that they are in sync, with endpoints of the others, before they had all of them. */
  early: number;
  /** The longest time for which the event loop was held, in milliseconds: of the processor, after the start. */
  stall: number;
  /** Datagrams that the receive buffer had no room for: while learning, and after that. */
  lost: number;
  lostLater: number;
  warnings: string[];
}

async function run(options: AgentOptions): Promise<AgentReport> {
  const { address, port, join, networks, endpoints, others, key } = options;
  const numbers = Array.from({ length: networks }, (_, i) => i);
  const host = Number(address.split('.')[3]);
  const segments = numbers.map((i) => ({
    vni: 1000 + i,
    peers: [],
    endpoints: Array.from({ length: endpoints }, (_, k) => ({
      ip: `10.${i >> 8}.${i & 255}.${(host % 2) * 125 + k}`,
      mac: macOf(host, i, k),
    })),
  }));
  const place = { host: address, port };
  const plan = {
    local: address,
    segments,
    gossip: {
      name: `agent-${address}`,
      bind: place,
      advertise: place,
      tunnel: address,
      join: join === undefined ? [] : [{ host: join, port }],
      keys: key === undefined ? [] : [key],
      networks: numbers.map((i) => ({ id: idOf(i), vni: 1000 + i, subnet: `10.${i >> 8}.${i & 255}.0/24` })),
    },
  } as unknown as Plan;
  const intent = new Intent(plan, () => Promise.resolve([]));
  const warnings: string[] = [];
  const started = performance.now();
  const gossip = await OverlayGossip.start(plan, intent, {
    log: new Logger(({ level, message }) => void (level === 'warning' && warnings.push(message))),
  });
  const ready = performance.now();
  let last = ready;
  let used = cpu();
  let stall = 0;
  const ticks = setInterval(() => {
    const now = performance.now();
    // On a busy machine a process waits for its turn too; only what it has done itself counts.
    const all = cpu();
    stall = Math.max(stall, Math.min(now - last, all - used));
    last = now;
    used = all;
  }, 1);
  const early = new Set<string>();
  let known: number | null = null;
  let announced = false;
  let ended = false;
  process.stdin.on('end', () => (ended = true)).resume();
  while (!ended && !(announced && known !== null)) {
    await pause(50);
    const listing = gossip.networks();
    for (const { network, inSync, remote, members } of listing)
      if (inSync && members.length > 1 && remote < others) early.add(network);
    if (!announced && listing.every(({ refused, attached }) => attached && refused === 0)) {
      announced = true;
      console.log('ready');
    }
    if (known === null && listing.every(({ remote }) => remote >= others)) {
      known = Date.now();
      console.log('known');
    }
  }
  const lost = lostBy(address, port);
  while (!ended) await pause(50);
  clearInterval(ticks);
  const lostLater = lostBy(address, port) - lost;
  gossip.close();
  return {
    started: Math.round(performance.timeOrigin + started),
    known,
    early: early.size,
    stall: stall - 1,
    lost,
    lostLater,
    warnings,
  };
}

const schedule = openSync(`/proc/self/task/${process.pid}/schedstat`, 'r');
const text = Buffer.alloc(64);

/** Milliseconds of the processor that the main thread has used: the others compile and collect garbage beside it. */
function cpu(): number {
  const length = readSync(schedule, text, 0, text.length, 0);
  return Number(text.toString('latin1', 0, length).split(' ')[0]) / 1e6;
}

/** The column of /proc/net/udp that counts drops. */
function lostBy(address: string, port: number): number {
  const word = address
    .split('.')
    .reverse()
    .map((one) => octet(Number(one)))
    .join('')
    .toUpperCase();
  const local = `${word}:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const line = readFileSync('/proc/self/net/udp', 'utf8')
    .split('\n')
    .find((one) => one.includes(local));
  return Number(line?.trim().split(/\s+/).at(-1) ?? NaN);
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

const [, program, json] = process.argv;
if (program === fileURLToPath(import.meta.url) && json !== undefined) {
  const report = await run(JSON.parse(json) as AgentOptions);
  console.log(JSON.stringify(report));
  process.exit(0);
}
