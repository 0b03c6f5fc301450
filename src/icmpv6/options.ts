/**
 * The options of neighbor discovery, RFC 4861, section 4.6. Each begins with a type octet and the length of the whole
 * option in units of eight octets.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |     Type      |    Length     |              Data             |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 * The data of source and target link-layer address is the address. That of the others:
 *
 *                                     | Prefix length |L|A| Reserved1 |  prefix information
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                        Valid lifetime                         |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                      Preferred lifetime                       |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                           Reserved2                           |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |                          Prefix (16)                          |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 *                                     |           Reserved            |  redirected header, MTU
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |      Reserved of a redirected header, or the MTU              |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *     |            The redirected packet, as much as fits             |
 */
import {
  formatIpv6,
  formatMac,
  getMac,
  IPV6_LENGTH,
  MAC_LENGTH,
  parseIpv6,
  parseMac,
  setMac,
} from '../address/index.js';
import { getU16, getU32, setU16, setU32, uint } from '../wire/index.js';

// Offsets from an option's start.
const TYPE = 0;
const LENGTH = 1;
const DATA = 2;
// Offsets from the start of an option's data.
const PREFIX_LENGTH = 0;
const PREFIX_FLAGS = 1;
const VALID_LIFETIME = 2;
const PREFERRED_LIFETIME = 6;
const RESERVED2 = 10;
const PREFIX = 14;
const MTU_RESERVED = 0;
const MTU = 2;
const REDIRECTED = 6;

// Bits of the octet at PREFIX_FLAGS.
const ON_LINK = 0x80;
const AUTONOMOUS = 0x40;
const RESERVED1 = 0x3f;

/** Bytes in a unit of the length. */
const UNIT = 8;
const PREFIX_DATA = PREFIX + IPV6_LENGTH;

export const OPTION_SOURCE_LINK_LAYER_ADDRESS = 1;
export const OPTION_TARGET_LINK_LAYER_ADDRESS = 2;
export const OPTION_PREFIX_INFORMATION = 3;
export const OPTION_REDIRECTED_HEADER = 4;
export const OPTION_MTU = 5;

/** Length in bytes of a link-layer address option with an Ethernet address. */
export const LINK_LAYER_ADDRESS_LENGTH = DATA + MAC_LENGTH;

/** One option, byte for byte. {@link decodeOption} reads its fields. */
export interface Option {
  type: number;
  /** The data after type and length. */
  data: Uint8Array;
  /** Set if the length octet is missing, 0, or beyond the message: `data` is then everything after the type. */
  malformed?: true;
}

/** The fields of an option; which it has follows from its type. */
export type OptionFields =
  | { type: typeof OPTION_SOURCE_LINK_LAYER_ADDRESS | typeof OPTION_TARGET_LINK_LAYER_ADDRESS; address: string }
  | {
      type: typeof OPTION_PREFIX_INFORMATION;
      /** Leading bits of `prefix` that are valid, 0 to 128. */
      prefixLength: number;
      /** L: the prefix can be used to tell which addresses are on the link. */
      onLink: boolean;
      /** A: the prefix can be used to configure addresses (RFC 4862). */
      autonomous: boolean;
      /** Six bits, to be 0; RFC 6275 uses the first. 0 when absent. */
      reserved1?: number;
      /** Seconds; 0xffffffff for ever. */
      validLifetime: number;
      preferredLifetime: number;
      /** 32 bits, to be 0. 0 when absent. */
      reserved2?: number;
      prefix: string;
    }
  | {
      type: typeof OPTION_REDIRECTED_HEADER;
      /** 48 bits, to be 0. 0 when absent. */
      reserved?: number;
      /** The start of the redirected packet, with padding up to a unit of eight octets. */
      packet: Uint8Array;
    }
  | {
      type: typeof OPTION_MTU;
      /** 16 bits, to be 0. 0 when absent. */
      reserved?: number;
      /** Bytes. */
      mtu: number;
    };

/**
 * The fields of an option, or `null` for an option of another type, with another length than its type has, or that is
 * malformed. Link-layer addresses are read where they have the six octets of Ethernet.
 */
export function decodeOption({ type, data, malformed }: Option): OptionFields | null {
  if (malformed) return null;
  switch (type) {
    case OPTION_SOURCE_LINK_LAYER_ADDRESS:
    case OPTION_TARGET_LINK_LAYER_ADDRESS:
      return data.length === MAC_LENGTH ? { type, address: formatMac(data) } : null;
    case OPTION_PREFIX_INFORMATION: {
      if (data.length !== PREFIX_DATA) return null;
      const flags = data[PREFIX_FLAGS]!;
      return {
        type,
        prefixLength: data[PREFIX_LENGTH]!,
        onLink: (flags & ON_LINK) !== 0,
        autonomous: (flags & AUTONOMOUS) !== 0,
        reserved1: flags & RESERVED1,
        validLifetime: getU32(data, VALID_LIFETIME),
        preferredLifetime: getU32(data, PREFERRED_LIFETIME),
        reserved2: getU32(data, RESERVED2),
        prefix: formatIpv6(data, PREFIX),
      };
    }
    case OPTION_REDIRECTED_HEADER:
      return {
        type,
        reserved: getU16(data, MTU_RESERVED) * 0x1_0000_0000 + getU32(data, MTU),
        packet: data.subarray(REDIRECTED),
      };
    case OPTION_MTU:
      if (data.length !== MTU + 4) return null;
      return { type, reserved: getU16(data, MTU_RESERVED), mtu: getU32(data, MTU) };
    default:
      return null;
  }
}

/**
 * The option with these fields.
 * @throws RangeError where a field does not fit.
 */
export function encodeOption(fields: OptionFields): Option {
  switch (fields.type) {
    case OPTION_SOURCE_LINK_LAYER_ADDRESS:
    case OPTION_TARGET_LINK_LAYER_ADDRESS: {
      const data = new Uint8Array(MAC_LENGTH);
      setMac(data, 0, parseMac(fields.address));
      return { type: fields.type, data };
    }
    case OPTION_PREFIX_INFORMATION: {
      const data = new Uint8Array(PREFIX_DATA);
      data[PREFIX_LENGTH] = uint('icmpv6 prefixLength', fields.prefixLength, 0xff);
      data[PREFIX_FLAGS] =
        (fields.onLink ? ON_LINK : 0) |
        (fields.autonomous ? AUTONOMOUS : 0) |
        uint('icmpv6 reserved1', fields.reserved1 ?? 0, RESERVED1);
      setU32(data, VALID_LIFETIME, uint('icmpv6 validLifetime', fields.validLifetime, 0xffff_ffff));
      setU32(data, PREFERRED_LIFETIME, uint('icmpv6 preferredLifetime', fields.preferredLifetime, 0xffff_ffff));
      setU32(data, RESERVED2, uint('icmpv6 reserved2', fields.reserved2 ?? 0, 0xffff_ffff));
      data.set(parseIpv6(fields.prefix), PREFIX);
      return { type: fields.type, data };
    }
    case OPTION_REDIRECTED_HEADER: {
      const reserved = uint('icmpv6 reserved', fields.reserved ?? 0, 2 ** 48 - 1);
      const data = new Uint8Array(paddedLength(REDIRECTED + fields.packet.length) - DATA);
      setU16(data, MTU_RESERVED, Math.floor(reserved / 0x1_0000_0000));
      setU32(data, MTU, reserved);
      data.set(fields.packet, REDIRECTED);
      return { type: fields.type, data };
    }
    case OPTION_MTU: {
      const data = new Uint8Array(MTU + 4);
      setU16(data, MTU_RESERVED, uint('icmpv6 reserved', fields.reserved ?? 0, 0xffff));
      setU32(data, MTU, uint('icmpv6 mtu', fields.mtu, 0xffff_ffff));
      return { type: fields.type, data };
    }
  }
}

/**
 * The offset of the first option of a type in `bytes[offset, end)`, or -1. Neither throws nor allocates; stops before an
 * option that is malformed.
 */
export function findOption(bytes: Uint8Array, offset: number, end: number, type: number): number {
  for (let at = offset; end - at >= UNIT;) {
    const length = bytes[at + LENGTH]! * UNIT;
    if (length === 0 || length > end - at) return -1;
    if (bytes[at + TYPE] === type) return at;
    at += length;
  }
  return -1;
}

/**
 * The Ethernet address in the first link-layer address option of a type in `bytes[offset, end)`, 48 bits; -1 if there is
 * none, or if it has another length. Neither throws nor allocates.
 */
export function getLinkLayerAddress(bytes: Uint8Array, offset: number, end: number, type: number): number {
  const at = findOption(bytes, offset, end, type);
  return at < 0 || bytes[at + LENGTH]! * UNIT !== LINK_LAYER_ADDRESS_LENGTH ? -1 : getMac(bytes, at + DATA);
}

/** Writes a link-layer address option with an Ethernet address, 48 bits, and returns its end. */
export function writeLinkLayerAddress(bytes: Uint8Array, offset: number, type: number, mac: number): number {
  bytes[offset + TYPE] = type;
  bytes[offset + LENGTH] = LINK_LAYER_ADDRESS_LENGTH / UNIT;
  setMac(bytes, offset + DATA, mac);
  return offset + LINK_LAYER_ADDRESS_LENGTH;
}

/** Whether no option in `bytes[offset, end)` is malformed. A receiver discards the message otherwise (RFC 4861, 4.6). */
export function checkOptions(bytes: Uint8Array, offset: number, end: number): boolean {
  let at = offset;
  while (end - at >= UNIT) {
    const length = bytes[at + LENGTH]! * UNIT;
    if (length === 0 || length > end - at) return false;
    at += length;
  }
  return at === end;
}

/** Reads all options in `bytes[offset, end)`. Malformed options are preserved. */
export function readOptions(bytes: Uint8Array, offset: number, end: number): Option[] {
  const options: Option[] = [];
  for (let at = offset; at < end;) {
    const left = end - at;
    const length = left > LENGTH ? bytes[at + LENGTH]! * UNIT : 0;
    const type = bytes[at + TYPE]!;
    if (length === 0 || length > left) {
      options.push({ type, data: bytes.subarray(at + 1, end), malformed: true });
      break;
    }
    options.push({ type, data: bytes.subarray(at + DATA, at + length) });
    at += length;
  }
  return options;
}

/** Bytes of an option with this much data, in whole units. */
function paddedLength(data: number): number {
  return (DATA + data + UNIT - 1) & -UNIT;
}

/** Length of the options in bytes, each padded to whole units of eight octets. */
export function optionsLength(options: readonly Option[]): number {
  let length = 0;
  for (const { data, malformed } of options) length += malformed ? 1 + data.length : paddedLength(data.length);
  return length;
}

/**
 * Writes the options, each padded with zeros to whole units of eight octets; returns the end. The caller has checked that
 * they fit.
 * @throws RangeError if a type or a length does not fit its octet.
 */
export function writeOptions(options: readonly Option[], bytes: Uint8Array, offset: number): number {
  let at = offset;
  for (const { type, data, malformed } of options) {
    bytes[at + TYPE] = uint('icmpv6.options type', type, 0xff);
    if (malformed) {
      bytes.set(data, at + 1);
      at += 1 + data.length;
      continue;
    }
    const end = at + paddedLength(data.length);
    bytes[at + LENGTH] = uint('icmpv6.options length', (end - at) / UNIT, 0xff);
    bytes.set(data, at + DATA);
    bytes.fill(0, at + DATA + data.length, end);
    at = end;
  }
  return at;
}
