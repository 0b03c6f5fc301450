/** The VTEP: segments by VNI. Each is a bridge with ports, an FDB, neighbors and a flood list; tunnels connect them. */
export type { EspDrop, InboundAssociation, WantedAssociation } from './associations.js';
export { DROPS, type DropReason } from './drops.js';
export { type RefusedSender } from './refused-senders.js';
export { CE, combine, ECN_DROP, ECT0, ECT1, NOT_ECT } from './ecn.js';
export { Frame } from './frame.js';
export { flowPort } from './flow.js';
export {
  limitPath,
  MTU_SOURCES,
  narrowestOf,
  UNLIMITED,
  type MtuSource,
  type PathLimits,
  type RouteMtu,
} from './path-limits.js';
export { PathProbes, PROBES_PER_SECOND } from './path-probes.js';
export { PathSearch, type SearchPhase } from './path-search.js';
export { innerMtu, makeRemote, type Remote } from './remote.js';
export { COUNTS, type CountName } from './segment.js';
export { HEADROOM, ICV, OVER_IPV4, sealedRoom, tunnelTo, type Tunnel } from './tunnel.js';
export { NOT_OURS, UNKNOWN_LENGTH } from './quote.js';
export { MAX_PEERS, MAX_REPLICAS } from './flood-list.js';
export { fragmentationNeeded, packetTooBig } from './too-big.js';
export { Watch, type Finding, type FindingPlace } from './watch.js';
export { fillChecksum } from './checksum-fixup.js';
export type { Explanation, Step } from './explain.js';
export {
  namedCounters,
  type Counters,
  type Counts,
  type FdbListing,
  type NeighborListing,
  type RemoteListing,
} from './listings.js';
export type { PortOptions } from './port.js';
export { MAX_PREPARED, type Preparation } from './preparation.js';
export { MAX_REQUESTS, type GatewayServices } from './services.js';
export type { Answered, GatewayDatagram, Learned, ProbeAnswer, ProbePlace, VtepSink } from './sink.js';
export type { AnnouncedEndpoint } from './announcement.js';
export type { Random, VtepOptions } from './options.js';
export { Vtep } from './vtep.js';
