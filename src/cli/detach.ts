/** `vtep detach`: removes an endpoint of this node, a TAP of a running VTEP, or one that an earlier VTEP kept. */
import { detachTap, HostError, ip } from '../host/index.js';
import { valueProblem } from '../schema/index.js';
import { change, given, inNamespace } from './change.js';
import { CONTROL } from './control-flags.js';
import { parseFlags, refuseBeside, requireValues, UsageError, type Flag, type Parsed } from './flags.js';
import { type Manual } from './manual.js';
import { placesOf, SOCKET, tellNode } from './node-call.js';
import { print } from './streams.js';

const FLAGS: readonly Flag[] = [
  { name: 'network', value: 'NETWORK', text: 'the network of the endpoint, if several have an endpoint of this name' },
  SOCKET,
  { name: 'netns', value: 'NS', text: 'namespace of the TAP: a name, or a path (/proc/PID/ns/net)' },
  { ...CONTROL, text: 'control socket of the running VTEP that has the TAP' },
  { name: 'json', text: 'print what was removed as JSON' },
];

export const manual: Manual = {
  name: 'detach',
  summary: 'remove an endpoint of this node, a TAP of a running VTEP, or one that a VTEP kept (--keep-taps)',
  usage: [
    'detach NAME [--network NETWORK] [flags]',
    'detach TAP --control PATH [--netns NS] [--json]',
    'detach TAP [--netns NS] [--json]',
  ],
  description: `Removes an endpoint of this node, by its name, its id, or the beginning of its id: takes back the device of "vtep attach", or
ends the command of "vtep run", and removes its sandbox. Its addresses are free again.

With --control, the running VTEP detaches the TAP and removes its device, also the last one; --netns is the same as when
the TAP was attached.

A VTEP that was killed leaves its TAPs to the next one. With --netns and without --control, or if a device of that name is
in the namespace of this command, and neither --network nor --socket is given, this command removes such a TAP, with its
addresses and routes. It does not remove a device that a process uses, or that vtep did not create.`,
  flags: [{ flags: FLAGS }],
  examples: `vtep detach web
vtep detach eth0 --netns c1 --control /run/vtep.sock
vtep detach eth0 --netns c1
vtep detach eth0 --netns /proc/4242/ns/net`,
  exit: {
    0: 'removed',
    1: 'there is no such endpoint or TAP, it cannot be removed, or no agent or VTEP answered',
    2: 'wrong flags',
  },
};

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, FLAGS);
  const [name, ...more] = flags.rest;
  if (name === undefined) throw new UsageError('missing: NAME, the endpoint or the TAP to remove');
  if (more.length > 0) throw new UsageError(`expected one NAME, got "${flags.rest.join(' ')}"`);
  refuseBeside(flags, 'control', ['network', 'socket'], ', which means one VTEP');
  refuseBeside(flags, 'netns', ['network', 'socket'], ', which means a TAP; name the endpoint');
  if (await isEndpoint(flags, name)) return detachEndpoint(flags, name);
  const problem = valueProblem('device', name);
  if (problem !== undefined) throw new UsageError(`TAP: ${problem}`);
  requireValues(flags, 'netns', 'netns');
  const netns = flags.value('netns');
  if (flags.given.has('control')) {
    const request = { command: 'detach' as const, name, ...(netns === undefined ? {} : { netns }) };
    const place = (path: string): string => (path === 'name' ? 'TAP' : `--${path}`);
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

/** Whether the command means an endpoint of the cluster, and not a TAP. */
async function isEndpoint(flags: Parsed, name: string): Promise<boolean> {
  if (flags.given.has('control') || flags.given.has('netns')) return false;
  if (flags.given.has('network') || flags.given.has('socket') || valueProblem('device', name) !== undefined)
    return true;
  return ip(['link', 'show', 'dev', name]).then(
    () => false,
    () => true,
  );
}

function detachEndpoint(flags: Parsed, endpoint: string): Promise<number> {
  const request = { command: 'detach-endpoint' as const, endpoint, ...given({ network: flags.value('network') }) };
  return tellNode(
    flags,
    request,
    placesOf({ endpoint: 'NAME', network: '--network' }),
    (removed) => `detached ${removed.name} from network ${removed.network}`,
  );
}
