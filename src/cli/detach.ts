/** `vtep detach`: removes a TAP from a running VTEP, or one that an earlier VTEP kept. */
import { detachTap, HostError } from '../host/index.js';
import { valueProblem } from '../schema/index.js';
import { change, inNamespace } from './change.js';
import { CONTROL } from './control-flags.js';
import { parseFlags, requireValues, UsageError, type Flag } from './flags.js';
import { type Manual } from './manual.js';
import { print } from './streams.js';

const FLAGS: readonly Flag[] = [
  { name: 'netns', value: 'NS', text: 'namespace of the TAP: a name, or a path (/proc/PID/ns/net)' },
  { ...CONTROL, text: 'control socket of the running VTEP that has the TAP' },
  { name: 'json', text: 'print what was removed as JSON' },
];

export const manual: Manual = {
  name: 'detach',
  summary: 'remove a TAP from a running VTEP, or one that a VTEP kept when it ended (--keep-taps)',
  usage: ['detach NAME --control PATH [--netns NS] [--json]', 'detach NAME [--netns NS] [--json]'],
  description: `With --control, the running VTEP detaches the TAP and removes its device, also the last one; --netns is the same as when
the TAP was attached.

A VTEP that was killed leaves its TAPs to the next one. Without --control, this command removes such a TAP, with its
addresses and routes. It does not remove a device that a process uses, or that vtep did not create.`,
  flags: [{ flags: FLAGS }],
  examples: `vtep detach eth0 --netns c1 --control /run/vtep.sock
vtep detach eth0 --netns c1
vtep detach eth0 --netns /proc/4242/ns/net`,
  exit: { 0: 'removed', 1: 'there is no such TAP, it cannot be removed, or no VTEP answered', 2: 'wrong flags' },
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
  if (flags.given.has('control')) {
    const request = { command: 'detach' as const, name, ...(netns === undefined ? {} : { netns }) };
    const place = (path: string): string => (path === 'name' ? 'NAME' : `--${path}`);
    return change(flags, request, place, ({ addresses, mac }) => {
      const facts = [mac, ...addresses].filter((fact) => fact !== null).join(', ');
      return `detached TAP ${name}${inNamespace('from', netns)}${facts === '' ? '' : ` (${facts})`}`;
    });
  }
  const removed = await detachTap(name, netns).catch((error: unknown) => {
    throw error instanceof HostError && error.path === 'netns'
      ? new HostError(`--netns: ${error.message}`, { cause: error })
      : error;
  });
  const { mac, addresses } = removed;
  print(
    flags.on('json') === true
      ? JSON.stringify(removed)
      : `removed TAP ${name}${inNamespace('from', netns)} (${[mac, ...addresses].join(', ')})`,
  );
  return 0;
}
