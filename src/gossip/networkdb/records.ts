/** The records of Docker's tables, whose keys are endpoint ids, and what this library adds to them. */
import { message, type Extensible, type MessageCodec } from './protobuf.js';

/** The table of {@link PeerRecord}: the VTEP of each endpoint. */
export const OVERLAY_PEER_TABLE = 'overlay_peer_table';
/** The table of {@link EndpointRecord}: names and services, for DNS and load balancing. */
export const ENDPOINT_TABLE = 'endpoint_table';

/**
 * The VTEP of each endpoint with an IPv6 address. Values are as in {@link OVERLAY_PEER_TABLE}, whose readers in Docker
 * expect IPv4 addresses. Docker relays this table without reading it.
 */
export const PEER_TABLE6 = 'weft_peer_table';

/**
 * Endpoints that their hosts have withdrawn, or not announced, because an older attachment holds one of their
 * addresses, or the network's VNI or subnet. Values are as in {@link OVERLAY_PEER_TABLE}. Docker relays this table
 * without reading it.
 */
export const WAITING_TABLE = 'weft_waiting_table';

/**
 * The names of each endpoint with an IPv6 address. Values are as in {@link ENDPOINT_TABLE}, whose addresses Docker answers
 * as IPv4. Docker relays this table without reading it.
 */
export const ENDPOINT_TABLE6 = 'weft_endpoint_table';

/** Protocols of {@link PortConfig}. */
export const PROTOCOL_TCP = 0;
export const PROTOCOL_UDP = 1;
export const PROTOCOL_SCTP = 2;

/** An endpoint of an overlay network, and its VTEP. */
export interface PeerRecord extends Extensible {
  /** Address with the prefix length of the subnet, `10.0.0.2/24`; an IPv6 address has length 128. */
  endpointIp: string;
  /** `02:42:0a:00:00:02`. */
  endpointMac: string;
  /** Underlay address of the VTEP, without a port. */
  tunnelIp: string;
}

/**
 * The fields that this library adds to a {@link PeerRecord}, in the record's `unknown`. Docker skips them. With them,
 * hosts agree which of two attachments is older, and detect a network with two VNIs or subnets.
 */
export interface PeerExtension extends Extensible {
  /** When the endpoint was attached, in milliseconds since 1970. 0: the record has no extension. */
  since: number;
  /** When its host attached to the network, in milliseconds since 1970. */
  attached: number;
  vni: number;
  /**
   * The network's subnet, in the record of an IPv6 endpoint: the IPv4 subnet with its VNI, or the IPv6 subnet if there is
   * none. Otherwise empty, because `endpointIp` says it.
   */
  subnet: string;
}

/** A published port of a service. */
export interface PortConfig extends Extensible {
  name: string;
  protocol: number;
  targetPort: number;
  publishedPort: number;
}

/** The names of an endpoint, and its service. */
export interface EndpointRecord extends Extensible {
  name: string;
  serviceName: string;
  serviceId: string;
  /** The service's address; `<nil>` for none, as Docker writes it. */
  virtualIp: string;
  /** Without a prefix length. */
  endpointIp: string;
  ingressPorts: PortConfig[];
  aliases: string[];
  taskAliases: string[];
  serviceDisabled: boolean;
}

/** Maximum number of names, and of ports, of one endpoint. */
const MAX_LIST = 4096;

export const peerRecord: MessageCodec<PeerRecord> = message('peerRecord', [
  { number: 1, name: 'endpointIp', kind: 'text' },
  { number: 2, name: 'endpointMac', kind: 'text' },
  { number: 3, name: 'tunnelIp', kind: 'text' },
]);

/** Field numbers that a later Docker is unlikely to use, and below 16, so that a tag takes one octet. */
export const peerExtension: MessageCodec<PeerExtension> = message('peerExtension', [
  { number: 12, name: 'since', kind: 'uint64' },
  { number: 13, name: 'attached', kind: 'uint64' },
  { number: 14, name: 'vni', kind: 'uint32' },
  { number: 15, name: 'subnet', kind: 'text' },
]);

export const portConfig: MessageCodec<PortConfig> = message('portConfig', [
  { number: 1, name: 'name', kind: 'text' },
  { number: 2, name: 'protocol', kind: 'int32' },
  { number: 3, name: 'targetPort', kind: 'uint32' },
  { number: 4, name: 'publishedPort', kind: 'uint32' },
]);

export const endpointRecord: MessageCodec<EndpointRecord> = message('endpointRecord', [
  { number: 1, name: 'name', kind: 'text' },
  { number: 2, name: 'serviceName', kind: 'text' },
  { number: 3, name: 'serviceId', kind: 'text' },
  { number: 4, name: 'virtualIp', kind: 'text' },
  { number: 5, name: 'endpointIp', kind: 'text' },
  { number: 6, name: 'ingressPorts', kind: portConfig as MessageCodec<object>, list: MAX_LIST },
  { number: 7, name: 'aliases', kind: 'text', list: MAX_LIST },
  { number: 8, name: 'taskAliases', kind: 'text', list: MAX_LIST },
  { number: 9, name: 'serviceDisabled', kind: 'bool' },
]);
