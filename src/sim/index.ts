/**
 * A simulated network: a virtual clock, seeded random numbers, an underlay that delays, loses, duplicates and reorders
 * datagrams, and hosts whose containers have a small IP stack.
 */
export { type StationState } from './address-claim.js';
export { Agenda, type Timer } from './agenda.js';
export { type ArpCacheOptions } from './arp-cache.js';
export { connect, type Cable } from './cable.js';
export { Alarm, Clock } from './clock.js';
export { Link, type Fate, type LinkCounters, type LinkOptions } from './link.js';
export type { Datagram } from './datagram.js';
export { Network, Node, type DatagramReceiver } from './network.js';
export {
  Overlay,
  planHosts,
  TWO_HOSTS,
  type GatewayPlan,
  type HostPlan,
  type OverlayHost,
  type OverlayOptions,
  type StationPlan,
} from './overlay.js';
export { type PacketError, type PingOptions, type PingResult } from './ping.js';
export { Random } from './random.js';
export { SimHost, type HostPort, type SimHostOptions, type SimService } from './sim-host.js';
export { Station } from './station.js';
export {
  type StationCounters,
  type StationDatagram,
  type StationOptions,
  type StationPort,
  type UdpReceiver,
} from './station-types.js';
export { Streams, type StreamAcceptor, type StreamEnd, type StreamEvents } from './stream.js';
export { type DatagramEvent, type FrameEvent, type Trace, type TraceEvent } from './trace.js';
