/**
 * Every entry of the package that does no I/O, as a namespace: `import { vxlan } from 'weftnet'` is
 * `import * as vxlan from 'weftnet/vxlan'`. `weftnet/host` (Node only) and `weftnet/schema` (which contains a schema library)
 * are imported by their own names, so that this entry loads in browsers and stays small.
 *
 * @module
 */
export * as wire from './wire/index.js';
export * as address from './address/index.js';
export * as ethernet from './ethernet/index.js';
export * as arp from './arp/index.js';
export * as ipv4 from './ipv4/index.js';
export * as ipv6 from './ipv6/index.js';
export * as icmp from './icmp/index.js';
export * as icmpv6 from './icmpv6/index.js';
export * as udp from './udp/index.js';
export * as tcp from './tcp/index.js';
export * as vxlan from './vxlan/index.js';
export * as esp from './esp/index.js';
export * as virtio from './virtio/index.js';
export * as pcap from './pcap/index.js';
export * as packet from './packet/index.js';
export * as model from './model/index.js';
export * as state from './state/index.js';
export * as fdb from './fdb/index.js';
export * as neighbor from './neighbor/index.js';
export * as router from './router/index.js';
export * as offload from './offload/index.js';
export * as vtep from './vtep/index.js';
export * as keying from './keying/index.js';
export * as ipam from './ipam/index.js';
export * as cluster from './cluster/index.js';
export * as memberlist from './gossip/memberlist/index.js';
export * as networkdb from './gossip/networkdb/index.js';
export * as sim from './sim/index.js';
