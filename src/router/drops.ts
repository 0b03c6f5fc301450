/** Every reason for which a router drops a packet, with its meaning. Dashboards rely on names and order: only append. */
export const DROPS = [
  ['malformed', 'a frame or an IP header that is truncated or contradicts itself'],
  ['checksum', 'an IPv4 header with a wrong checksum'],
  ['not-ip', 'a frame to the gateway that carries neither IP nor ARP'],
  ['from-tunnel', 'a packet to the gateway out of a tunnel: every host routes the packets of its own ports'],
  ['gateway-remote', 'a question for a gateway out of a tunnel: the host of its sender answers it'],
  [
    'gateway-claim',
    'an ARP packet or a neighbor advertisement of another station that claims the address of a gateway',
  ],
  ['source-own', 'a frame whose source is the MAC address of the gateway, from a port'],
  ['martian', 'a packet whose source is no single host, or is a gateway (RFC 1812, section 5.3.7)'],
  ['not-routable', 'a packet to a multicast, broadcast, link-local, loopback or reserved address'],
  ['source-route', 'a packet with a source route (RFC 7126, section 4.3)'],
  ['options', 'a packet with malformed IPv4 options'],
  ['no-route', 'a packet to an address that no route covers'],
  ['scope', 'an IPv6 packet from a link-local address to another subnet (RFC 4291, section 2.5.6)'],
  ['ttl', 'a packet whose TTL or hop limit is used up'],
  ['too-big', 'a packet larger than the MTU of the segment that it is routed to'],
  ['no-neighbor', 'a packet to an address that does not answer ARP or neighbor solicitations'],
  ['held-limit', 'a packet that waited for an answer to ARP when too many others did'],
  ['held-super-frame', 'a super-frame to an address that has not answered ARP yet'],
  ['gateway-fragment', 'a fragment to a gateway, which does not reassemble'],
  ['gateway-closed', 'a packet to a gateway, but for no service that a gateway has'],
  ['gateway-datagram', 'a datagram to a service at a gateway with a wrong length or checksum, or from port 0'],
  ['gateway-source', 'a datagram to a service at a gateway from an address that is in no subnet of its segment'],
  ['gateway-busy', 'a datagram to a service at a gateway, from a TAP that sends too many or when too many wait'],
  ['gateway-answer', 'an answer of a service at a gateway that is larger than the MTU of the segment'],
  ['gateway-late', 'an answer of a service at a gateway that came after the time limit'],
] as const;

/** Why a packet was dropped. */
export type RouterDrop = (typeof DROPS)[number][0];

export const DROP = Object.fromEntries(DROPS.map(([name], index) => [name, index])) as Record<RouterDrop, number>;

/** What a router counts besides drops: packets, unless the name says otherwise. Only append. */
export const COUNTS = [
  /** Routed, each packet of a super-frame. */
  'routed',
  /** Fragments sent instead of packets that are too big. */
  'fragments',
  'arp-answered',
  'neighbor-answered',
  'echo-answered',
  /** ICMP and ICMPv6 errors, and TCP resets, sent. */
  'errors',
  /** Errors not sent, because the rate is limited. */
  'errors-limited',
  /** ARP requests and neighbor solicitations sent. */
  'asked',
  /** Addresses that answered for the first time, or with another MAC address. */
  'learned',
  /** Packets that waited for an answer. */
  'held',
  /** Datagrams to services at the gateways, and answers of these services. */
  'requests',
  'answers',
] as const;

/** The name of a counter. */
export type RouterCount = (typeof COUNTS)[number];

export const COUNT = Object.fromEntries(COUNTS.map((name, index) => [name, index])) as Record<RouterCount, number>;
