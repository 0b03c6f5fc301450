/**
 * The 16-bit number after the addresses of a frame, and in a VLAN tag: up to 1500 it is the length of the payload (IEEE
 * 802.3, 3.2.6), from 1536 its type. 0 and the numbers between are undefined: weft treats them as unknown types, as
 * Wireshark does.
 */
import { uint } from '../wire/index.js';

/** The highest length. */
export const MAX_LENGTH = 1500;

export const TYPE_IPV4 = 0x0800;
export const TYPE_ARP = 0x0806;
/** A VLAN tag follows (IEEE 802.1Q, C-TAG). */
export const TYPE_VLAN = 0x8100;
export const TYPE_IPV6 = 0x86dd;
/** A service VLAN tag follows (IEEE 802.1ad, S-TAG). */
export const TYPE_SERVICE_VLAN = 0x88a8;
/** A VLAN tag follows, as switches stacked them before IEEE 802.1ad. */
export const TYPE_OLD_VLAN = 0x9100;
export const TYPE_LLDP = 0x88cc;
export const TYPE_MPLS = 0x8847;

/** Whether the number is a length, not a type. */
export function isLength(typeOrLength: number): boolean {
  return typeOrLength > 0 && typeOrLength <= MAX_LENGTH;
}

/** Whether a VLAN tag follows this type. */
export function isVlanType(etherType: number): boolean {
  return etherType === TYPE_VLAN || etherType === TYPE_SERVICE_VLAN || etherType === TYPE_OLD_VLAN;
}

/** The number to write for a value: its type, its length, or the length of its payload. */
export function typeOrLength(
  protocol: string,
  value: { etherType?: number; length?: number; payload: Uint8Array },
): number {
  const { etherType, length } = value;
  if (etherType === undefined) {
    if (length === 0) throw new RangeError(`${protocol}.length must be from 1 to ${MAX_LENGTH}, not 0: that is a type`);
    return uint(`${protocol}.length`, length ?? value.payload.length, MAX_LENGTH);
  }
  if (length !== undefined) throw new RangeError(`${protocol} must have an etherType or a length, not both`);
  if (isLength(etherType))
    throw new RangeError(`${protocol}.etherType must be 0 or above ${MAX_LENGTH}, not ${etherType}: that is a length`);
  return uint(`${protocol}.etherType`, etherType, 0xffff);
}
