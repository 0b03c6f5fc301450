import * as ethernet from '../ethernet/index.js';

const { vlan } = ethernet;

/**
 * Where the Ethernet header of the frame at `offset` would start if its VLAN tags were not there: the type that the frame
 * carries is at this header's place for it, and the payload behind. Not moved are the addresses.
 */
export function withoutTags(bytes: Uint8Array, offset: number, end: number): number {
  let start = offset;
  while (
    ethernet.isVlanType(ethernet.getEtherType(bytes, start)) &&
    end - start >= ethernet.HEADER_LENGTH + vlan.HEADER_LENGTH
  )
    start += vlan.HEADER_LENGTH;
  return start;
}
