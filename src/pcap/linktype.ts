/** Link types: LINKTYPE_ values of IANA's registry (draft-ietf-opsawg-pcaplinktype). */

/** BSD loopback: the address family in four octets, in the byte order of the capturing machine. */
export const LINKTYPE_NULL = 0;
/** Ethernet. */
export const LINKTYPE_ETHERNET = 1;
/** IPv4 or IPv6 by the version nibble; also written as 12 and 14, the DLT_ values of some systems. */
export const LINKTYPE_RAW = 101;
/** OpenBSD loopback: as {@link LINKTYPE_NULL} in network byte order. */
export const LINKTYPE_LOOP = 108;
/** Linux "cooked" capture, version 1: 16 octets. */
export const LINKTYPE_LINUX_SLL = 113;
/** IPv4 alone. */
export const LINKTYPE_IPV4 = 228;
/** IPv6 alone. */
export const LINKTYPE_IPV6 = 229;
/** Linux "cooked" capture, version 2: 20 octets. */
export const LINKTYPE_LINUX_SLL2 = 276;
