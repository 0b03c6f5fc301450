/** `vtep detach`: removes a TAP that an earlier VTEP kept. */
import { detachTap, HostError } from '../host/index.js';
import { valueProblem } from '../schema/index.js';
import { parseFlags, requireValues, UsageError, type Flag } from './flags.js';
import { type Manual } from './manual.js';
import { print } from './streams.js';

const FLAGS: readonly Flag[] = [
  { name: 'netns', value: 'NS', text: 'namespace of the TAP: a name, or a path (/proc/PID/ns/net)' },
  { name: 'json', text: 'print what was removed as JSON' },
];

export const manual: Manual = {
  name: 'detach',
  summary: 'remove a TAP that a VTEP kept when it ended (--keep-taps)',
  usage: ['detach NAME [--netns NS] [--json]'],
  description: `A VTEP that was killed leaves its TAPs to the next one. This command removes such a TAP, with its addresses and routes.
It does not remove a device that a process uses, or that vtep did not create.`,
  flags: [{ flags: FLAGS }],
  examples: `vtep detach eth0 --netns c1
vtep detach eth0 --netns /proc/4242/ns/net`,
  exit: { 0: 'removed', 1: 'there is no such TAP, or it cannot be removed', 2: 'wrong flags' },
};

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, FLAGS);
  const [name, ...more] = flags.rest;
  if (name === undefined) throw new UsageError('missing: NAME, the TAP to remove');
  if (more.length > 0) throw new UsageError(`expected one NAME, got "${flags.rest.join(' ')}"`);
  const problem = valueProblem('device', name);
  if (problem !== undefined) throw new UsageError(`NAME: ${problem}`);
  requireValues(flags, 'netns', 'netns');
  const netns = flags.value('netns');
  const removed = await detachTap(name, netns).catch((error: unknown) => {
    throw error instanceof HostError && error.path === 'netns'
      ? new HostError(`--netns: ${error.message}`, { cause: error })
      : error;
  });
  const { mac, addresses } = removed;
  const place = netns === undefined ? '' : ` from namespace ${netns}`;
  print(
    flags.on('json') === true
      ? JSON.stringify(removed)
      : `removed TAP ${name}${place} (${[mac, ...addresses].join(', ')})`,
  );
  return 0;
}
