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
  const found = new Map<string, string>();
  for (const gateway of gateways) {
    const prefix = prefixes.find((one) => isIn(gateway, one));
    if (prefix === undefined)
      throw new UsageError(`--gateway: expected an address of ${prefixes.join(' or ')}, got "${gateway}"`);
    const before = found.get(prefix);
    if (before !== undefined)
      throw new UsageError(`--gateway: ${prefix} has ${before} already, got ${gateway}; a subnet has one gateway`);
    found.set(prefix, gateway);
  }
  return prefixes.map((prefix, i) => ({ prefix, vni: numberOf(vnis[i])!, ...given({ gateway: found.get(prefix) }) }));
}

/** Whether a subnet contains an address; false if one of them is none. */
function isIn(address: string, prefix: string): boolean {
  const [network = '', length = ''] = prefix.split('/');
  const kind = family(network);
  if (kind === 0 || family(address) !== kind || !/^\d{1,3}$/.test(length)) return false;
  return Number(length) <= (kind === 4 ? 32 : 128) && shareAddresses(address, prefix);
}
