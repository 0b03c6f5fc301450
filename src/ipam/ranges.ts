import { parsePrefix, prefixesOverlap, type Prefix } from './prefix.js';

/** A range that contains no host addresses. */
export interface SpecialRange {
  readonly prefix: string;
  /** One of its addresses, as a noun phrase. */
  readonly what: string;
  /** An adjective of its addresses; empty if a larger range includes it. */
  readonly kind: string;
}

/**
 * Ranges that contain no host addresses. They do not include link-local ranges: such an address works within a segment.
 * The first range that contains an address describes it.
 */
export const SPECIAL_RANGES: readonly SpecialRange[] = [
  { prefix: '0.0.0.0/32', what: 'the unspecified address', kind: '' },
  {
    prefix: '0.0.0.0/8',
    what: 'an address of 0.0.0.0/8, which no host can have (RFC 1122, section 3.2.1.3)',
    kind: 'unusable',
  },
  { prefix: '127.0.0.0/8', what: 'a loopback address, which never leaves its host', kind: 'loopback' },
  { prefix: '224.0.0.0/4', what: 'a multicast address', kind: 'multicast' },
  { prefix: '255.255.255.255/32', what: 'the broadcast address', kind: '' },
  { prefix: '240.0.0.0/4', what: 'an address of the reserved range 240.0.0.0/4', kind: 'reserved' },
  { prefix: '::/128', what: 'the unspecified address', kind: 'unspecified' },
  { prefix: '::1/128', what: 'the loopback address, which never leaves its host', kind: 'loopback' },
  { prefix: '::ffff:0:0/96', what: 'an IPv4-mapped address; write it as IPv4', kind: 'IPv4-mapped' },
  { prefix: 'ff00::/8', what: 'a multicast address', kind: 'multicast' },
];

const KINDS = /* @__PURE__ */ SPECIAL_RANGES.filter(({ kind }) => kind !== '').map(({ prefix, kind }) => ({
  prefix: parsePrefix(prefix, 'subnet'),
  kind,
}));

/** What kind of addresses a prefix has that no host can have, as an adjective; `undefined` if it has none. */
export function specialKind(prefix: Prefix): string | undefined {
  return KINDS.find((range) => prefixesOverlap(range.prefix, prefix))?.kind;
}
