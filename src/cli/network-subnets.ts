/** The flags of `vtep network add` that describe the subnets of a network. */
import { family, shareAddresses, type NetworkSubnet } from '../schema/index.js';
import { given, numberOf } from './change.js';
import { UsageError, type Flag, type Parsed } from './flags.js';

export const SUBNETS: readonly Flag[] = [
  { name: 'subnet', value: 'PREFIX', many: true, text: 'a subnet of the network: 10.1.1.0/24, fd00:1::/64' },
  { name: 'vni', value: 'N', many: true, text: 'the VNI of a subnet, one for each --subnet, in their order' },
  {
    name: 'gateway',
    value: 'IP',
    many: true,
    text: 'the address of the router in a subnet (default: the first address of the subnet)',
  },
  {
    name: 'gossip',
    negatable: true,
    text: 'announce and learn the endpoints of the network by gossip (default: an agent does)',
  },
];

/**
 * The subnets that the flags describe; `undefined` if they describe none. The VTEP checks their values.
 * @throws UsageError if the flags do not fit together.
 */
export function subnetsOf(flags: Parsed): NetworkSubnet[] | undefined {
  const prefixes = flags.values('subnet');
  const vnis = flags.values('vni');
  const gateways = flags.values('gateway');
  const [lonely] = ['vni', 'gateway', 'gossip'].filter((name) => flags.given.has(name));
  if (prefixes.length === 0) {
    if (lonely !== undefined)
      throw new UsageError(
        `missing: --subnet PREFIX, which ${flags.typed(lonely)} goes with; a network without subnets is its VNI`,
      );
    return undefined;
  }
  if (vnis.length !== prefixes.length)
    throw new UsageError(
      `--vni: expected one for each --subnet, ${prefixes.length} of them, got ${vnis.length === 0 ? 'none' : vnis.join(', ')}`,
    );
  const found = bySubnet(prefixes, gateways, {
    flag: '--gateway',
    what: 'an address',
    addressOf: (gateway) => gateway,
    once: 'gateway',
  });
  return prefixes.map((prefix, i) => ({
    prefix,
    vni: numberOf(vnis[i])!,
    ...given({ gateway: found.get(prefix)?.[0] }),
  }));
}

/** How `bySubnet` reads the values of a flag. */
interface Belonging {
  readonly flag: string;
  /** What the flag expects: `an address`. */
  readonly what: string;
  /** The address in a value, by which its subnet is found. */
  readonly addressOf: (value: string) => string;
  /** What a subnet has one of; absent: any number. */
  readonly once?: string;
}

/**
 * Sorts values of a flag by the subnet that contains each of them.
 * @throws UsageError for one that is in none, or for a second one where a subnet has one.
 */
export function bySubnet(
  prefixes: readonly string[],
  values: readonly string[],
  { flag, what, addressOf, once }: Belonging,
): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const value of values) {
    const prefix = prefixes.find((one) => isIn(addressOf(value), one));
    if (prefix === undefined)
      throw new UsageError(`${flag}: expected ${what} of ${prefixes.join(' or ')}, got "${value}"`);
    const before = found.get(prefix) ?? [];
    if (once !== undefined && before.length > 0)
      throw new UsageError(`${flag}: ${prefix} has ${before[0]} already, got ${value}; a subnet has one ${once}`);
    found.set(prefix, [...before, value]);
  }
  return found;
}

/** Whether a subnet contains an address; false if one of them is none. */
export function isIn(address: string, prefix: string): boolean {
  const [network = '', length = ''] = prefix.split('/');
  const kind = family(network);
  if (kind === 0 || family(address) !== kind || !/^\d{1,3}$/.test(length)) return false;
  return Number(length) <= (kind === 4 ? 32 : 128) && shareAddresses(address, prefix);
}
