/**
 * The headers that capture files have instead of a link layer's own (LINKTYPE_NULL, _LOOP, _LINUX_SLL, _LINUX_SLL2 of
 * the registry of link types).
 *
 *     SLL    0 packet type (2)   2 ARPHRD type (2)   4 address length (2)   6 address (8)   14 protocol (2)
 *     SLL2   0 protocol (2)   2 reserved (2)   4 interface index (4)   8 ARPHRD type (2)   10 packet type (1)
 *            11 address length (1)   12 address (8)
 *
 * weft reads them but does not write them, because no frame on a wire has them.
 */
import { HEX } from '../address/index.js';
import { getU16, getU32 } from '../wire/index.js';
import type { CookedLayer, LoopbackLayer } from './layers.js';

const SLL = { packetType: 0, hardwareType: 2, addressLength: 4, address: 6, protocol: 14 } as const;
const SLL2 = {
  protocol: 0,
  interfaceIndex: 4,
  hardwareType: 8,
  packetType: 10,
  addressLength: 11,
  address: 12,
} as const;
/** Octets reserved for an address in both versions. */
const ADDRESS_ROOM = 8;

export const LOOPBACK_LENGTH = 4;
export const SLL_LENGTH = 16;
export const SLL2_LENGTH = 20;

/** Reads the loopback header at `offset`, which must be complete. */
export function readLoopback(bytes: Uint8Array, offset: number, protocol: 'null' | 'loop'): LoopbackLayer {
  const value = getU32(bytes, offset);
  // No address family is above 65,535, so a nonzero high half means the other byte order.
  const swapped = protocol === 'null' && value > 0xffff;
  const family = swapped ? bytes[offset]! | (bytes[offset + 1]! << 8) : value;
  return { protocol, offset, size: LOOPBACK_LENGTH, family };
}

/** Reads the cooked header at `offset`, which must be complete. */
export function readCooked(bytes: Uint8Array, offset: number, protocol: 'sll' | 'sll2'): CookedLayer {
  if (protocol === 'sll')
    return {
      protocol,
      offset,
      size: SLL_LENGTH,
      packetType: getU16(bytes, offset + SLL.packetType),
      hardwareType: getU16(bytes, offset + SLL.hardwareType),
      address: addressText(bytes, offset + SLL.address, getU16(bytes, offset + SLL.addressLength)),
      etherType: getU16(bytes, offset + SLL.protocol),
    };
  return {
    protocol,
    offset,
    size: SLL2_LENGTH,
    packetType: bytes[offset + SLL2.packetType]!,
    hardwareType: getU16(bytes, offset + SLL2.hardwareType),
    interfaceIndex: getU32(bytes, offset + SLL2.interfaceIndex),
    address: addressText(bytes, offset + SLL2.address, bytes[offset + SLL2.addressLength]!),
    etherType: getU16(bytes, offset + SLL2.protocol),
  };
}

function addressText(bytes: Uint8Array, offset: number, length: number): string {
  const octets: string[] = [];
  for (let i = 0; i < Math.min(length, ADDRESS_ROOM); i++) octets.push(HEX[bytes[offset + i]!]!);
  return octets.join(':');
}
