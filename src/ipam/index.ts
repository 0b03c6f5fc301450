/**
 * The management of addresses: pools, subnets, gateways, addresses of endpoints, VNIs. It decides what is given next and
 * refuses what cannot be given; a store remembers what was given, and its transactions make sure that nothing is given
 * twice. Whatever is refused throws an {@link IpamError}.
 */
export { NetworkAddresses } from './addresses.js';
export { IpamError, type IpamCode, type IpamField } from './error.js';
export { macOf, requestMac } from './mac.js';
export { choosePool, DEFAULT_POOLS, IPV6_MASK, LONGEST_MASK, planPools, uniqueLocalPool, type Pools } from './pools.js';
export {
  addressToText,
  comparePrefixes,
  parseAddress,
  parsePrefix,
  prefixesOverlap,
  prefixHas,
  prefixIncludes,
  prefixToText,
  type Address,
  type Family,
  type Prefix,
} from './prefix.js';
export { PrefixSet, type UsedPrefix } from './prefix-set.js';
export { SPECIAL_RANGES, type SpecialRange } from './ranges.js';
export { planSubnet, planSubnets, sortIntoSubnets, type SubnetPlan, type SubnetRequest } from './subnet.js';
export { FIRST_VNI, LAST_VNI, Vnis } from './vnis.js';
