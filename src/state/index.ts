/**
 * The host state: one place that knows what should exist on this host, and who wants it.
 *
 * A *source* is a configuration, the API, the gossip, and so on. Each wants entries: segments, routers, peers,
 * endpoints, members. The state holds the union. An entry is gone when the last source has withdrawn it. The state compares the
 * union with what the data plane has and returns the differences as batches of changes. Starting is the same operation
 * as changing: from a data plane without anything to what is wanted.
 *
 * ## The rule for conflicts
 *
 * An *endpoint* is an IP address with a MAC address. A *place* is the VTEP that it is behind. Sources want places, each
 * since some time. What holds depends on the set of these wants alone, not on the order in which the state heard of
 * them, so hosts that know the same wants agree.
 *
 * 1. An endpoint is at the place of its newest want: it moved there. If that want is withdrawn, it is again where it
 *    was.
 * 2. An endpoint is as old as its oldest want.
 * 3. An address belongs to the oldest endpoint that has it: an IP address to this endpoint alone, a MAC address to all
 *    endpoints that are at the same place as the oldest one, because a station may have several IP addresses. When the
 *    host of an endpoint fails, its source withdraws the endpoint, and the next one holds the address.
 * 4. An endpoint is in effect if both its addresses belong to it.
 *
 * Among equal times, the endpoint with the lower MAC address and then the lower IP address (as texts) counts as older;
 * the place with the lower underlay address (as a text) counts as newer.
 *
 * A want without a time (0) is older than all others. The records of Docker are such: Docker never withdraws an endpoint
 * because of another host, and its IPAM owns the addresses of a swarm's network, so any other order would give its hosts a
 * different view. An endpoint that a host with times attaches too has moved there; Docker's hosts follow when the older
 * record is withdrawn.
 *
 * Two sources may define a segment or a router differently. The older want holds, because the data plane would lose what
 * it has learned with every new definition.
 *
 * A router takes effect when the data plane has the segments of all its subnets.
 */
export { HostState, type Entry, type Wanted } from './host-state.js';
export { Heap } from './heap.js';
export { type Rival } from './endpoint-table.js';
export { holderOf, isNewer, isOlder, isSameEndpoint, type Addresses, type Attached } from './rule.js';
export { type Outcome } from './work.js';
