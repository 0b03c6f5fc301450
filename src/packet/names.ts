/** Names of protocol numbers, as printed by tcpdump, or from IANA's registries. */

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

/**
 * IANA's registry of assigned internet protocol numbers, its keywords in lower case, with the names that tcpdump and
 * tshark print where these differ: `ipip`, `icmpv6`, `ospf`. Numbers 61, 63, 68, 99 and 114 stand for any protocol of a
 * kind, and 144 to 147 are assigned since 2023.
 */
const PROTOCOLS: readonly string[] = (
  'hopopt icmp igmp ggp ipip st tcp cbt egp igp ' +
  'bbn-rcc-mon nvp-ii pup argus emcon xnet chaos udp mux dcn-meas ' +
  'hmp prm xns-idp trunk-1 trunk-2 leaf-1 leaf-2 rdp irtp iso-tp4 ' +
  'netblt mfe-nsp merit-inp dccp 3pc idpr xtp ddp idpr-cmtp tp++ ' +
  'il ipv6 sdrp ipv6-route ipv6-frag idrp rsvp gre dsr bna ' +
  'esp ah i-nlsp swipe narp mobile tlsp skip icmpv6 ipv6-nonxt ' +
  'ipv6-opts . cftp . sat-expak kryptolan rvd ippc . sat-mon ' +
  'visa ipcv cpnx cphb wsn pvp br-sat-mon sun-nd wb-mon wb-expak ' +
  'iso-ip vmtp secure-vmtp vines iptm nsfnet-igp dgp tcf eigrp ospf ' +
  'sprite-rpc larp mtp ax.25 ipip micp scc-sp etherip encap . ' +
  'gmtp ifmp pnni pim aris scps qnx a/n ipcomp snp ' +
  'compaq-peer ipx-in-ip vrrp pgm . l2tp ddx iatp stp srp ' +
  'uti smp sm ptp isis fire crtp crudp sscopmce iplt ' +
  'sps pipe sctp fc rsvp-e2e-ignore mobility-header udplite mpls-in-ip manet hip ' +
  'shim6 wesp rohc ethernet aggfrag nsh homa bit-emu'
).split(' ');

/** Names that tcpdump writes in capitals. */
const AS_TCPDUMP: Readonly<Record<number, string>> = {
  50: 'ESP',
  51: 'AH',
  58: 'ICMP6',
  59: 'no next header',
  89: 'OSPF',
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

/** The name of an IP protocol as tcpdump prints it, or `ip-proto-253`. */
export function protocolName(protocol: number): string {
  return AS_TCPDUMP[protocol] ?? ipProtocolName(protocol) ?? `ip-proto-${protocol}`;
}

/** The name of an IP protocol in lower case (IANA, assigned internet protocol numbers), or `undefined`. */
export function ipProtocolName(protocol: number): string | undefined {
  const name = PROTOCOLS[protocol];
  return name === '.' ? undefined : name;
}

/** The name of an EtherType's protocol, in lower case, or `undefined`. */
export function etherTypeKeyword(etherType: number): string | undefined {
  return ETHER_TYPES[etherType]?.toLowerCase();
}

/** The name of an ICMPv6 message by its type. */
export function icmpv6Name(type: number): string {
  return ICMPV6_TYPES[type] ?? `type-#${type}`;
}
