/** Finds interfaces whose subnets overlap the subnet of a TAP in the same namespace. */
import { family, isLinkLocal, isLoopback, prefixAddress, shareAddresses, subnetText } from '../schema/index.js';
import { type Device } from './device.js';

/** A TAP's subnet and an interface of the same namespace that has some of its addresses too. */
export interface Overlap {
  /** Subnet of the TAP: `10.0.0.0/24`. */
  subnet: string;
  device: string;
  /** Subnet of the other interface. */
  other: string;
}

/**
 * Returns the overlaps of a TAP with other interfaces, one per interface and subnet. Each subnet is a route to its
 * interface, so the kernel sends packets for the shared addresses to one of the two only. An address without a subnet
 * (/32, /128) is no such route; link-local IPv6 addresses belong to one interface each.
 * @param tap Name and addresses of the TAP, with the prefix lengths.
 * @param devices The interfaces of its namespace.
 */
export function overlapsOf(tap: { name: string; addresses: readonly string[] }, devices: readonly Device[]): Overlap[] {
  const rest = devices.filter(({ name }) => name !== tap.name);
  return [...new Set(tap.addresses.filter(isRoute).map(subnetText))].flatMap((subnet) =>
    rest.flatMap(({ name: device, addresses }) => {
      const others = addresses.filter((one) => isRoute(one) && shareAddresses(one, subnet)).map(subnetText);
      return [...new Set(others)].map((other) => ({ subnet, device, other }));
    }),
  );
}

/** Whether an interface with this address has a route to a subnet of other hosts. */
function isRoute(prefix: string): boolean {
  const address = prefixAddress(prefix);
  const length = Number(prefix.slice(prefix.indexOf('/') + 1));
  const v6 = family(address) === 6;
  return length < (v6 ? 128 : 32) && !isLoopback(address) && !(v6 && isLinkLocal(address));
}
