import { IpamError } from './error.js';
import {
  comparePrefixes,
  parsePrefix,
  prefixesOverlap,
  prefixIncludes,
  prefixToText,
  type Family,
  type Prefix,
} from './prefix.js';
import { type PrefixSet } from './prefix-set.js';
import { specialKind } from './ranges.js';

/** Networks out of which subnets are cut. */
export interface Pools {
  /** In the order in which they are used. */
  readonly pools: readonly string[];
  /** Bits of the prefix of an IPv4 subnet. */
  readonly maskLength: number;
}

/** As of Docker's swarm. */
export const DEFAULT_POOLS: Pools = { pools: ['10.0.0.0/8'], maskLength: 24 };

/** The longest prefix of a subnet out of a pool, as of Docker's swarm: five endpoints and a gateway. */
export const LONGEST_MASK = 29;
/** Every subnet out of an IPv6 pool has this prefix length, because hosts form addresses of 64 bits (RFC 4291). */
export const IPV6_MASK = 64;

/**
 * Checks pools, and returns them in canonical text.
 * @throws IpamError `invalid` or `conflict`.
 */
export function planPools(request: {
  readonly pools?: readonly string[] | undefined;
  readonly maskLength?: number | undefined;
}): Pools {
  const { pools = DEFAULT_POOLS.pools, maskLength = DEFAULT_POOLS.maskLength } = request;
  if (!Number.isInteger(maskLength) || maskLength < 1 || maskLength > LONGEST_MASK)
    throw new IpamError(
      'invalid',
      'maskLength',
      `the mask length is ${maskLength}; it must be a whole number from 1 to ${LONGEST_MASK}`,
    );
  if (pools.length === 0)
    throw new IpamError('invalid', 'pools', 'there is no pool; give one, for example 10.0.0.0/8, or leave them out');
  const prefixes = pools.map((text) => checkedPool(text, maskLength));
  const sorted = [...prefixes].sort(comparePrefixes);
  sorted.slice(1).forEach((pool, i) => {
    if (prefixesOverlap(sorted[i]!, pool))
      throw new IpamError(
        'conflict',
        'pools',
        `the pools ${prefixToText(sorted[i]!)} and ${prefixToText(pool)} overlap; leave one of them out`,
      );
  });
  return { pools: prefixes.map(prefixToText), maskLength };
}

function checkedPool(text: string, maskLength: number): Prefix {
  const pool = parsePrefix(text, 'pools');
  requireUsable(pool, 'pools');
  const length = pool.family === 4 ? maskLength : IPV6_MASK;
  if (pool.length > length)
    throw new IpamError(
      'invalid',
      'pools',
      `the pool ${prefixToText(pool)} is smaller than a subnet, which is a /${length}; ` +
        (pool.family === 6
          ? `give one of /${length} or less`
          : `give a larger pool, or a mask length from ${pool.length} to ${LONGEST_MASK}`),
    );
  return pool;
}

/** Refuses the whole address space, and prefixes with addresses that no host can have. */
export function requireUsable(prefix: Prefix, field: 'pools' | 'subnet'): void {
  const text = prefixToText(prefix);
  if (prefix.length === 0)
    throw new IpamError('invalid', field, `${text} is the whole address space; choose a network such as 10.0.0.0/8`);
  const kind = specialKind(prefix);
  if (kind !== undefined)
    throw new IpamError(
      'invalid',
      field,
      `${text} holds ${kind} addresses, which no host can have; choose a network such as ${prefix.family === 4 ? '10.1.1.0/24' : 'fd00:1::/64'}`,
    );
}

/**
 * The lowest free subnet of the first pool that has one.
 * @param used The subnets of all networks, and the routes of hosts. It takes the same time however many there are.
 * @throws IpamError `exhausted`, or `invalid` if no pool is of this family.
 */
export function choosePool(pools: Pools, used: PrefixSet, family: Family = 4): string {
  const all = pools.pools.map((text) => parsePrefix(text, 'pools')).filter((pool) => pool.family === family);
  const length = family === 4 ? pools.maskLength : IPV6_MASK;
  for (const pool of all) {
    const free = used.lowestFree(pool, length);
    if (free !== undefined) return prefixToText(free);
  }
  if (all.length === 0)
    throw new IpamError('invalid', 'subnet', `the cluster has no IPv${family} pool; give the network a subnet`);
  // What includes a pool is the reason that people look for last: a route that covers all of it.
  const covering = all.flatMap((pool) =>
    used
      .overlaps(pool, 1)
      .filter(({ prefix }) => prefixIncludes(parsePrefix(prefix, 'subnet'), pool))
      .map(({ prefix, owner }) => `; ${prefix} of ${owner} covers all of ${prefixToText(pool)}`),
  );
  throw new IpamError(
    'exhausted',
    'subnet',
    `no /${length} is free in ${all.map(prefixToText).join(', ')}${covering.join('')}; remove a network, or give a subnet outside of the pools`,
  );
}

/**
 * A pool of unique local IPv6 addresses (RFC 4193).
 * @param globalId 40 random bits.
 */
export function uniqueLocalPool(globalId: number): string {
  return prefixToText({ family: 6, first: (0xfdn << 120n) | (BigInt(globalId) << 80n), length: 48 });
}
