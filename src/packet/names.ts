/** Names of numbers, as tcpdump prints them. */

const ETHER_TYPES: Readonly<Record<number, string>> = {
  0x0800: 'IPv4',
  0x0806: 'ARP',
  0x8035: 'Reverse ARP',
  0x8100: '802.1Q',
  0x86dd: 'IPv6',
  0x8808: 'MPCP',
  0x8809: 'Slow Protocols',
  0x8847: 'MPLS unicast',
  0x8848: 'MPLS multicast',
  0x8863: 'PPPoE D',
  0x8864: 'PPPoE S',
  0x888e: 'EAPOL',
  0x88a8: '802.1Q-QinQ',
  0x88cc: 'LLDP',
  0x88e5: '802.1AE MACsec',
  0x894f: 'NSH',
  0x9000: 'Loopback',
  0x9100: '802.1Q-9100',
};

const PROTOCOLS: Readonly<Record<number, string>> = {
  1: 'icmp',
  2: 'igmp',
  4: 'ipip',
  6: 'tcp',
  17: 'udp',
  33: 'dccp',
  41: 'ipv6',
  46: 'rsvp',
  47: 'gre',
  50: 'ESP',
  51: 'AH',
  58: 'ICMP6',
  59: 'no next header',
  88: 'eigrp',
  89: 'OSPF',
  103: 'pim',
  112: 'vrrp',
  132: 'sctp',
  143: 'ethernet',
};

const ICMPV6_TYPES: Readonly<Record<number, string>> = {
  1: 'destination unreachable',
  2: 'packet too big',
  3: 'time exceeded',
  4: 'parameter problem',
  128: 'echo request',
  129: 'echo reply',
  130: 'multicast listener query',
  131: 'multicast listener report',
  132: 'multicast listener done',
  133: 'router solicitation',
  134: 'router advertisement',
  135: 'neighbor solicitation',
  136: 'neighbor advertisement',
  137: 'redirect',
  143: 'multicast listener report v2',
};

/** `IPv4 (0x0800)`. */
export function etherTypeName(etherType: number): string {
  return `${ETHER_TYPES[etherType] ?? 'Unknown'} (0x${etherType.toString(16).padStart(4, '0')})`;
}

/** The name of an IP protocol's number, or `ip-proto-253`. */
export function protocolName(protocol: number): string {
  return PROTOCOLS[protocol] ?? `ip-proto-${protocol}`;
}

/** The name of an ICMPv6 message by its type. */
export function icmpv6Name(type: number): string {
  return ICMPV6_TYPES[type] ?? `type-#${type}`;
}
