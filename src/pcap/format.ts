/**
 * Shared by the reader and the writers: magic numbers, block and option codes, offsets, and little and big endian access.
 *
 * pcap (draft-ietf-opsawg-pcap): a file header, then packet records, all in the writer's byte order.
 *
 *      0                   1                   2                   3
 *      0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *   0 |                          Magic Number                         |
 *   4 |          Major Version        |         Minor Version         |
 *   8 |                           Reserved1                           |
 *  12 |                           Reserved2                           |
 *  16 |                            SnapLen                            |
 *  20 | FCS |f|0 0 0 0 0 0 0 0 0 0 0 0|         LinkType              |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *   0 |                      Timestamp (Seconds)                      |
 *   4 |            Timestamp (Microseconds or nanoseconds)            |
 *   8 |                    Captured Packet Length                     |
 *  12 |                    Original Packet Length                     |
 *  16 /                          Packet Data                          /
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *
 * pcapng (draft-ietf-opsawg-pcapng): blocks, in the byte order of the section that a Section Header Block opens.
 *
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 *   0 |                          Block Type                           |
 *   4 |                      Block Total Length                       |
 *   8 /                          Block Body                           /
 *     |                      Block Total Length                       |
 *     +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
 */

/** pcap: the file header. */
export const FILE = { magic: 0, major: 4, minor: 6, snapLength: 16, linkType: 20, length: 24 } as const;
/** pcap: the header of a packet record. */
export const RECORD = { seconds: 0, fraction: 4, captured: 8, original: 12, length: 16 } as const;
/** Length of a record's header in the variant that Alexey Kuznetzov's libpcap wrote: 8 octets follow the usual ones. */
export const MODIFIED_RECORD_LENGTH = 24;

/** pcap magic numbers, read in the writer's byte order. */
export const MAGIC_MICROSECONDS = 0xa1b2c3d4;
export const MAGIC_NANOSECONDS = 0xa1b23c4d;
export const MAGIC_MODIFIED = 0xa1b2cd34;

/** pcapng: the start of every block. Its total length is repeated at the end, in four octets. */
export const BLOCK = { type: 0, totalLength: 4, body: 8, trailer: 4 } as const;
/** Section Header Block (section 4.1). Its type reads the same in both byte orders. */
export const SECTION = { type: 0x0a0d0d0a, magic: 8, major: 12, minor: 14, length: 16, options: 24 } as const;
/** Interface Description Block (section 4.2). */
export const INTERFACE = { type: 1, linkType: 8, snapLength: 12, options: 16 } as const;
/** Packet Block (appendix A), which Enhanced Packet Blocks replace. */
export const PACKET = { type: 2, id: 8, high: 12, low: 16, captured: 20, original: 24, data: 28 } as const;
/** Simple Packet Block (section 4.4). */
export const SIMPLE = { type: 3, original: 8, data: 12 } as const;
/** Enhanced Packet Block (section 4.3). */
export const ENHANCED = { type: 6, id: 8, high: 12, low: 16, captured: 20, original: 24, data: 28 } as const;
/** The byte-order magic of a section. */
export const SECTION_MAGIC = 0x1a2b3c4d;

/** Option codes (sections 3.5, 4.1, 4.2, 4.3). */
export const OPTION = {
  end: 0,
  comment: 1,
  application: 4,
  interfaceName: 2,
  interfaceDescription: 3,
  resolution: 9,
  fcsLength: 13,
  offset: 14,
  flags: 2,
} as const;

/** Maximum number of captured bytes of a packet, as in tcpdump and Wireshark: 256 KiB. */
export const MAX_CAPTURED = 262_144;

/** Reads 16 bits in the given byte order. */
export function get16(bytes: Uint8Array, offset: number, little: boolean): number {
  const first = bytes[offset]!;
  const second = bytes[offset + 1]!;
  return little ? first | (second << 8) : (first << 8) | second;
}

/** Reads 32 bits, unsigned, in the given byte order. */
export function get32(bytes: Uint8Array, offset: number, little: boolean): number {
  const first = get16(bytes, offset, little);
  const second = get16(bytes, offset + 2, little);
  return (little ? first | (second << 16) : (first << 16) | second) >>> 0;
}

/** Writes 16 bits in the given byte order. */
export function set16(bytes: Uint8Array, offset: number, value: number, little: boolean): void {
  bytes[offset] = little ? value : value >>> 8;
  bytes[offset + 1] = little ? value >>> 8 : value;
}

/** Writes 32 bits in the given byte order. */
export function set32(bytes: Uint8Array, offset: number, value: number, little: boolean): void {
  set16(bytes, offset, little ? value : value >>> 16, little);
  set16(bytes, offset + 2, little ? value >>> 16 : value, little);
}

/** Rounds up to a multiple of four, pcapng's padding. */
export function pad4(length: number): number {
  return (length + 3) & ~3;
}
