/** The addresses of a TAP: one, or a list of several. */
import { prefixAddress } from './addresses.js';
import { type Tap } from './types.js';

/** The addresses of a TAP, with their prefix lengths. */
export function addressesOf({ address = [] }: Pick<Tap, 'address'>): readonly string[] {
  return typeof address === 'string' ? [address] : address;
}

/** An address of a TAP. */
export interface PlacedAddress {
  /** With its prefix length. */
  address: string;
  /** Without it, in canonical text. */
  ip: string;
  path: string;
}

/** The addresses of a TAP with their paths. @param at The path of the TAP. */
export function placedAddresses(tap: Pick<Tap, 'address'>, at: string): PlacedAddress[] {
  const index = (i: number): string => (typeof tap.address === 'string' ? '' : `[${i}]`);
  return addressesOf(tap).map((address, i) => ({
    address,
    ip: prefixAddress(address),
    path: `${at === '' ? '' : `${at}.`}address${index(i)}`,
  }));
}
