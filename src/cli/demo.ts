/** `vtep demo`, also run by `npm start`: the story of a cluster of two hosts. */
import { accessSync, closeSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { HostError, ip, openTap } from '../host/index.js';
import { onDevices } from './demo-cluster.js';
import { removeDemos } from './demo-hosts.js';
import { loopback } from './demo-loopback.js';
import { integerOf, noRest, parseFlags, refuseBeside, requireValues, type Flag } from './flags.js';
import { type Manual } from './manual.js';
import { print, printError } from './streams.js';

const DEFAULT_COUNT = 5;
const FLAGS: readonly Flag[] = [
  { name: 'keep', text: 'leave the cluster running, and print what to try' },
  { name: 'down', text: 'remove what --keep left running, or a demo that was killed' },
  { name: 'loopback', text: 'run the hosts in this process, over UDP on the loopback interface; needs no root' },
  { name: 'count', value: 'N', text: 'pings to send (default 5)' },
  { name: 'engine', value: 'auto|dgram|linux', text: 'packet I/O engine of the agents on real devices (default auto)' },
];

export const manual: Manual = {
  name: 'demo',
  summary: 'show a cluster of two hosts: networks, services, a packet layer by layer',
  usage: ['demo [--keep] [--loopback] [--count N] [--engine NAME]', 'demo --down'],
  description: `As root on Linux, the demo creates network namespaces: two hosts on different subnets, and a router between them. It
makes a cluster of the hosts with the commands that a person would type there, each shown with its output: networks, a
service whose tasks ping each other, one packet layer by layer, and a namespace that joins a network. It then removes
everything, also after Ctrl-C or an error. Otherwise it tells the story with hosts in this process, as far as that goes
without devices. In a checkout: npm start -- --keep`,
  flags: [{ flags: FLAGS }],
  examples: `vtep demo
vtep demo --keep
vtep demo --down`,
  exit: { 0: 'every ping was answered', 1: 'a ping was not answered, or something failed', 2: 'wrong flags' },
};

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, FLAGS);
  noRest(flags);
  const count = integerOf(flags, 'count', { least: 1, most: 1000 }) ?? DEFAULT_COUNT;
  requireValues(flags, 'engine', 'engine');
  const engine = flags.value('engine') ?? 'auto';
  refuseBeside(flags, 'down', ['keep', 'loopback', 'count'], ', which only removes');
  refuseBeside(flags, 'loopback', ['keep'], ', whose hosts end with the process');
  if (flags.on('down')) return takeDown();
  if (flags.on('loopback')) return loopback(count);
  const missing = await unmetRequirements();
  if (missing.length === 0) {
    const [hasPing, hasTraceroute] = [hasProgram('ping'), hasProgram('traceroute')];
    return onDevices({ count, engine, keep: flags.on('keep') === true, hasPing, hasTraceroute });
  }
  print(`Real devices cannot be used: ${missing.join('; ')}.`);
  if (flags.on('keep')) {
    printError('vtep demo: --keep needs real devices');
    return 1;
  }
  print(['The hosts run in this process instead, over UDP on the loopback interface:', '']);
  return loopback(count);
}

/** Removes what earlier demos left running and returns the exit code. */
async function takeDown(): Promise<number> {
  const removed = await removeDemos();
  if (removed.length === 0) print('No demo is running.');
  for (const names of removed) print(`Removed: ${names.length === 0 ? 'files' : names.join(', ')}.`);
  return 0;
}

/** The requirements of the demo on real devices that this system does not meet, each with its remedy. */
async function unmetRequirements(): Promise<string[]> {
  if (process.platform !== 'linux') return [`this is ${process.platform} and not Linux`];
  if (process.getuid?.() !== 0) return ['this is not root (try sudo)'];
  const missing: string[] = [];
  if (!hasProgram('ip')) missing.push('there is no "ip" (apt-get install iproute2)');
  if (missing.length > 0) return missing;
  try {
    closeSync((await openTap('weft%d')).fd);
    const name = `weft${process.pid}-probe`;
    await ip(['netns', 'add', name]);
    await ip(['netns', 'del', name]);
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    missing.push(error.message);
  }
  return missing;
}

function hasProgram(name: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, name), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
