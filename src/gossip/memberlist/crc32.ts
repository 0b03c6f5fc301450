/** CRC-32 of IEEE 802.3, as in Ethernet, gzip and PNG. */
const TABLE = Int32Array.from({ length: 256 }, (_, octet) => {
  let crc = octet;
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb8_8320 | 0 : 0);
  return crc;
});

/** The checksum of `bytes[offset, end)`, unsigned. */
export function crc32(bytes: Uint8Array, offset = 0, end = bytes.length): number {
  let crc = -1;
  for (let i = offset; i < end; i++) crc = (crc >>> 8) ^ TABLE[(crc ^ bytes[i]!) & 0xff]!;
  return ~crc >>> 0;
}
