import { DROPS as ROUTER_DROPS, type RouterDrop } from '../router/index.js';

/** The bridge's and the tunnel's reasons. Dashboards rely on the names and their order: only append. */
const OWN_DROPS = [
  ['datagram-truncated', 'a datagram too short for a VXLAN header'],
  ['vxlan-flag', 'a VXLAN header without flag I (RFC 7348, section 5)'],
  ['unknown-vni', 'a VNI without a segment on this VTEP'],
  ['unknown-peer', 'a datagram whose sender is not a peer of the segment (--no-peers-only accepts every sender)'],
  ['frame-truncated', 'a frame too short for its Ethernet header or VLAN tag'],
  ['source-group', 'a frame whose source is a multicast or broadcast address, or all zeros'],
  ['vlan-unexpected', 'a VLAN-tagged frame in a segment that does not carry tags (RFC 7348, section 6.1)'],
  ['vlan-unmapped', 'a trunk frame whose VLAN has no VNI'],
  ['reserved-group', 'a frame to 01:80:c2:00:00:0x, which bridges do not forward (IEEE 802.1Q, 8.6.3)'],
  ['same-port', 'a frame whose destination is behind the port that it came from'],
  ['split-horizon', 'a frame from a tunnel whose destination is behind another tunnel'],
  ['unknown-destination', 'a unicast frame for an unknown address, with flooding off'],
  ['no-receiver', 'a frame to flood in a segment with no other port and no peer'],
  ['too-big', 'a packet larger than the MTU of the segment or the path'],
  ['ecn', 'a packet marked as congested whose sender does not support ECN (RFC 6040, section 4.2)'],
  ['no-neighbor', 'a packet to the VTEP’s MAC address, for an IP address that no known endpoint has'],
  ['arp-unknown', 'an ARP request or neighbor solicitation for an unknown address, with flooding off'],
  ['own-address', 'a datagram that claims to come from this VTEP itself'],
  ['source-own', 'a frame whose source is the MAC address that the proxy answers with, or that of the gateway'],
  ['arp-sender', 'an ARP packet or neighbor discovery message whose sender hardware address is all zeros'],
  ['vlan-native', 'a VLAN-tagged frame for the untagged side of a trunk, where the tag would be read as the trunk’s'],
  ['source-bound', 'a frame whose source address is bound to another place, from a sender that may not use it'],
  [
    'arp-claim',
    'an ARP packet or neighbor discovery message that claims an endpoint’s IP address with another MAC address',
  ],
  ['flood-limit', 'a super-frame to flood that would become too many datagrams'],
  ['esp-clear', 'a datagram in clear text for an encrypted segment'],
  ['esp-vni', 'a VNI that the association of the packet is not for (RFC 4301, section 5.2)'],
  ['esp-no-association', 'a frame to a remote with which no keys are agreed yet'],
  ['esp-truncated', 'an ESP packet too short, or of a length that is no multiple of 4'],
  ['esp-unknown-spi', 'an ESP packet with an SPI that no association has'],
  ['esp-source', 'an ESP packet from another address or port than the one that its association is with'],
  ['esp-replay', 'an ESP packet that arrived before, or is too old to know (RFC 4303, section 3.4.3)'],
  ['esp-authentication', 'an ESP packet that was modified, or sealed with another key (RFC 4303, section 3.4.4)'],
  ['esp-payload', 'an ESP packet that has something else in it than a VXLAN datagram'],
] as const;

/** Index of the router's reasons among those of a VTEP, in the order that they have in src/router. */
export const FIRST_ROUTER_DROP = OWN_DROPS.length;

/** Why something was dropped. */
export type DropReason = (typeof OWN_DROPS)[number][0] | `router-${RouterDrop}`;

/** Every reason for which a VTEP drops a frame or a datagram, with its meaning. */
export const DROPS: readonly (readonly [DropReason, string])[] = [
  ...OWN_DROPS,
  ...ROUTER_DROPS.map(([name, meaning]) => [`router-${name}`, meaning] as const),
];

export const DROP = Object.fromEntries(DROPS.map(([name], index) => [name, index])) as Record<DropReason, number>;
