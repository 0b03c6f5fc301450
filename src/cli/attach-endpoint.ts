/** `vtep attach NETWORK`: makes a namespace an endpoint of a network of the cluster. */
import { given } from './change.js';
import { endpointText } from './endpoints.js';
import { UsageError, type Flag, type Parsed } from './flags.js';
import { placesOf, SOCKET, tellNode } from './node-call.js';

/** What an endpoint may ask for; also the flags of `vtep run`. */
export const ENDPOINT_NAMES: readonly Flag[] = [
  {
    name: 'ip',
    value: 'IP',
    many: true,
    text: 'address of the endpoint, at most one of each family (default: chosen)',
  },
  { name: 'name', value: 'NAME', text: 'name of the endpoint (default: chosen)' },
  { name: 'alias', value: 'NAME', many: true, text: 'a further name, which other endpoints may have too' },
];

export const OF_CLUSTER: readonly Flag[] = [
  ...ENDPOINT_NAMES,
  { name: 'device', value: 'DEVICE', text: 'name of the device in the namespace (default eth0)' },
  SOCKET,
];

export const ENDPOINT_PLACES: Readonly<Record<string, string>> = {
  addresses: '--ip',
  mac: '--mac',
  name: '--name',
  aliases: '--alias',
};

/** The fields of an endpoint that flags give. */
export function wantedEndpoint(flags: Parsed): {
  addresses?: string[];
  mac?: string;
  name?: string;
  aliases?: string[];
} {
  const list = (name: string): string[] | undefined =>
    flags.given.has(name) ? flags.values(name).flatMap((text) => text.split(',')) : undefined;
  return given({
    addresses: list('ip'),
    mac: flags.value('mac'),
    name: flags.value('name'),
    aliases: list('alias'),
  });
}

export async function attachEndpoint(flags: Parsed, netns: string | undefined): Promise<number> {
  const [network, ...more] = flags.rest;
  if (network === undefined)
    throw new UsageError('missing: NETWORK, the network of the cluster; or TAP with --control PATH');
  if (more.length > 0) throw new UsageError(`expected one NETWORK, got "${flags.rest.join(' ')}"`);
  if (netns === undefined)
    throw new UsageError(
      'missing: --netns NS or --pid PID, what to attach; or --control PATH --vni N for a TAP of a VTEP',
    );
  const request = {
    ...{ command: 'attach-endpoint' as const, network, netns },
    ...given({ device: flags.value('device') }),
    ...wantedEndpoint(flags),
  };
  const place = placesOf({
    ...{ network: 'NETWORK', netns: flags.given.has('pid') ? '--pid' : '--netns', device: '--device' },
    ...ENDPOINT_PLACES,
  });
  return tellNode(flags, request, place, (endpoint) => `attached ${endpointText(endpoint)}`);
}
