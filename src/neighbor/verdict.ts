/** What a proxy does with a question, an ARP request or a neighbor solicitation. */

/** Answer for the target. */
export const ANSWER = 0;
/** Not a complete Ethernet/IPv4 ARP request, nor a neighbor solicitation; forward it like any frame. */
export const NOT_A_REQUEST = 1;
/**
 * An announcement, or a question for the sender's own address (RFC 5227, section 2.1.1; RFC 4862, section 5.4); forward it
 * to all.
 */
export const OWN_ADDRESS = 2;
/** The control plane has no endpoint with the target address. */
export const UNKNOWN = 3;
/** The target is on this host and answers itself. */
export const ON_THIS_HOST = 4;
