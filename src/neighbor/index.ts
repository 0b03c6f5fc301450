/**
 * The endpoints of one segment as announced by the control plane: IPv4 or IPv6 address, MAC address and location. Also
 * the ARP proxy and the proxy of neighbor discovery that answer from them (RFC 826, RFC 5227; RFC 4861, RFC 4862; RFC 9161
 * for what a proxy may answer).
 *
 * A location is an integer whose meaning is the caller's, such as a destination of an `Fdb`, or `LOCAL`.
 */
export { contradicts, hasNoSender, judge } from './arp.js';
export {
  claimedMac,
  claimedOffset,
  contradictsDiscovery,
  findDiscovery,
  isAdvertisement,
  isProbe,
  isSolicitation,
  judgeDiscovery,
} from './discovery.js';
export { LOCAL, Neighbors, type Binding, type NeighborEntry } from './table.js';
export { ANSWER, NOT_A_REQUEST, ON_THIS_HOST, OWN_ADDRESS, UNKNOWN } from './verdict.js';
