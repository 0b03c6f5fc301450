/** The types of the schemas, written by hand, so that the published declarations depend on no package. */
import { type Location, type NewSegment } from '../model/index.js';
import { type NodeRequest } from './node-types.js';
import { type NoticeType } from './notice-types.js';

/** A JSON Schema (vocabulary of draft 7), as an object. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** The engine that moves the frames. */
export type EngineName = 'auto' | 'dgram' | 'linux';

/** One broadcast domain with its VNI. Its MTU is derived from the underlay unless given. */
export interface Segment extends Omit<NewSegment, 'group'> {
  /**
   * File with the keys of the segment, which then crosses the underlay encrypted (docs/encryption.md). Absent: in clear text,
   * unless its network has a key file.
   */
  readonly keyFile?: string;
  /** VTEPs that receive a copy of each flooded frame (head-end replication). */
  readonly peers?: readonly string[];
  /** An endpoint whose VTEP is absent, or `local` itself, is on this host. */
  readonly endpoints?: readonly Location[];
}

/** A TAP and its segment or segments. */
export interface Tap {
  /** Device name; optional with `fd`. */
  name?: string;
  /** File descriptor, in this process, of a TAP that another program opened and configured. */
  fd?: number;
  /** The namespace to move the device to: a name, or a path such as `/proc/PID/ns/net`. */
  netns?: string;
  /** IP address with prefix length, `10.0.0.3/24`, or a list of several, such as one of each family. */
  address?: string | readonly string[];
  /** Default: derived from the network and the address; the same on every host (`deriveMac`). */
  mac?: string;
  /** Default: the MTU of the segment; on a trunk, the smallest one. */
  mtu?: number;
  /** The one segment of an access port. */
  vni?: number;
  /** The segments of a trunk: VLAN ID to VNI. */
  vlans?: Record<string, number>;
  /** VNI of a trunk's untagged frames. */
  native?: number;
}

/** A subnet of a network with a router. */
export interface NetworkSubnet {
  /** `10.0.0.0/24` or `fd00::/64`. */
  prefix: string;
  /** The router's address in the subnet, the same on every host. Default: the first address of the subnet. */
  gateway?: string;
  /** The VNI of its segment. An IPv4 and an IPv6 subnet of one network may share one. */
  vni: number;
}

/** A network of one or more subnets, and the router between them, which every host has. */
export interface Network {
  /** The same on every host. */
  name: string;
  /** The MAC address of all its gateways, the same on every host. Default: derived from the name. */
  mac?: string;
  /** File with the keys of all its segments, which then cross the underlay encrypted. Absent: in clear text. */
  readonly keyFile?: string;
  subnets: NetworkSubnet[];
}

/** An overlay network in the gossip's tables: either one subnet without a router, or `subnets`. */
export interface GossipNetwork {
  /** Its ID in the tables, the same on every agent. Docker's IDs have 25 characters. */
  id: string;
  vni?: number;
  /** `10.0.0.0/24` or `fd00::/64`: endpoints with an IPv4 address are announced with this prefix length. */
  subnet?: string;
  /** With `subnets`: the MAC address of all its gateways, the same on every host. Default: derived from the ID. */
  mac?: string;
  /** File with the keys of all its segments, as for `Network`. */
  keyFile?: string;
  /** Subnets, and the router between them. */
  subnets?: NetworkSubnet[];
}

/** What the segments of a network that is added to a running VTEP have in common. */
export type SegmentSettings = Omit<Segment, 'vni' | 'mac' | 'endpoints'>;

/**
 * A network that is added to a running VTEP. Each VNI that has no segment yet gets one with these settings.
 *
 * A network of the gossip with one subnet has a router only if a gateway or `mac` is given; every other network has one.
 */
export interface NewNetwork extends Network, SegmentSettings {
  /** Whether it is a network of the gossip, which announces its endpoints. Default: true for an agent. */
  gossip?: boolean;
}

/** Configuration of the gossip by which VTEPs exchange their endpoints. */
export interface Gossip {
  /** The member's name, unique in the cluster. Default: the advertised address. */
  name?: string;
  /** Address to listen on, UDP and TCP: `172.31.1.5`, `0.0.0.0:7946`, `[::]:7946`. Default: `local`, port 7946. */
  bind?: string;
  /**
   * Address where other members reach this one, in the form of `bind`. Default: `bind`, or `local` if that is a
   * wildcard address.
   */
  advertise?: string;
  /** Address of this VTEP for datagrams from other hosts, if a NAT translates it. Default: `local`. */
  tunnel?: string;
  /** Members to join: names or addresses, with or without a port. */
  join?: string[];
  /**
   * Each a file of keys, `-` for standard input, or a key of 16, 24 or 32 bytes in base64. The first key encrypts. Absent:
   * no encryption.
   */
  keys?: string[];
  networks?: GossipNetwork[];
}

/** The configuration of `vtep up` and `vtep agent`, as users write it. */
export interface Config {
  /** The address of this VTEP on the underlay. */
  local: string;
  /** UDP port, here and at the peers. Default 4789. */
  port?: number;
  /** UDP port of encrypted segments, here and at the peers. Default 4500. */
  espPort?: number;
  /** Number of UDP source ports to spread flows over, for ECMP in the underlay; 0 to send from `port`. Default 8. */
  sourcePorts?: number;
  engine?: EngineName;
  /** Threads that move frames, each with a queue of every TAP; more than one requires engine `linux`. Default 1. */
  workers?: number;
  /**
   * Microseconds that a thread busy-polls after it has moved few packets. This reduces the delay, and keeps a processor
   * busy while packets arrive. More than 0 requires engine `linux`. Default 0.
   */
  busyPoll?: number;
  /** Whether datagrams are sent with a UDP checksum; false requires engine `linux`. Default true. */
  udpChecksum?: boolean;
  /**
   * Whether datagrams without a checksum are accepted over IPv6 too (RFC 6935), as they always are over IPv4; true
   * requires engine `linux`. Default false.
   */
  zeroChecksum?: boolean;
  /**
   * Whether a segment accepts datagrams only from its peers and from the VTEPs of its endpoints, including those
   * announced by gossip. If false, it accepts them from every sender, as in RFC 7348. Default true.
   */
  peersOnly?: boolean;
  /**
   * Whether TAPs stay in their namespaces when the process ends without a stop. Default: true for `vtep agent` only.
   */
  keepTaps?: boolean;
  /** Path of the control socket. Absent: no control socket. */
  control?: string;
  /** For `vtep agent` only. */
  gossip?: Gossip;
  /** Networks with a router. */
  networks?: Network[];
  /**
   * At least one, unless there are networks, gossip, or a control socket over which segments are added later. The VNI of each
   * subnet of a network is a segment, too.
   */
  segments: Segment[];
  /** At least one, unless there is gossip, or a control socket over which TAPs are attached later. */
  taps: Tap[];
}

/** A request to a running VTEP over its control socket. Listings cover all segments, or one. */
export type Request =
  | { command: 'fdb'; vni?: number }
  | { command: 'neighbors'; vni?: number }
  | { command: 'peers'; vni?: number }
  | { command: 'remotes' }
  /** The keys of the associations of encrypted segments, with which a capture can be decrypted. */
  | { command: 'association-keys' }
  | { command: 'counters' }
  | {
      command: 'explain';
      /** The frame (hexadecimal) arrives on this TAP … */
      port?: string;
      frame?: string;
      /** … or the datagram (a UDP payload, hexadecimal) arrives from this address. */
      from?: string;
      datagram?: string;
      /** … or the ESP packet (a UDP payload in the port of ESP, hexadecimal) does. */
      esp?: string;
    }
  | {
      command: 'capture';
      /** The capture ends after `count` packets or `seconds`. */
      count: number;
      seconds: number;
      /** Most bytes captured of each packet. Default: all. */
      snap?: number;
      /** Whether to capture the datagrams in ESP packets, decrypted, instead of these packets. Default: no. */
      decrypt?: boolean;
    }
  /** Events from now on: all, those of one type, or those of one segment. */
  | { command: 'events'; type?: NoticeType; vni?: number }
  | { command: 'add-peer'; vni: number; address: string }
  | { command: 'remove-peer'; vni: number; address: string }
  | ({ command: 'add-endpoint'; vni: number } & Location)
  | ({ command: 'remove-endpoint'; vni: number } & Location)
  /** A file descriptor cannot be sent: the VTEP creates the device. */
  | ({ command: 'attach'; name: string } & Omit<Tap, 'name' | 'fd'>)
  /** The name and the namespace as they were given when the TAP was attached. */
  | { command: 'detach'; name: string; netns?: string }
  | { command: 'taps' }
  | ({ command: 'add-segment' } & Segment)
  | { command: 'remove-segment'; vni: number }
  | { command: 'segments' }
  | ({ command: 'add-network' } & NewNetwork)
  | { command: 'remove-network'; name: string }
  /** Reads the configuration again. */
  | { command: 'reload' }
  | { command: 'networks' }
  /** For an agent: the gossip's members. */
  | { command: 'members' }
  /** For an agent: the gossip's encryption keys, by fingerprint. */
  | { command: 'keys' }
  | { command: 'install-key'; key: string }
  /** A key of the ring, in base64 or by its fingerprint. */
  | { command: 'use-key'; key: string }
  | { command: 'remove-key'; key: string }
  | { command: 'stop' };
/** Requests that the gossip answers. */
export type GossipRequest = Extract<
  Request,
  { command: 'members' | 'keys' | 'install-key' | 'use-key' | 'remove-key' }
>;
/**
 * Requests that change the TAPs, the segments or the networks of a running VTEP, list them, or read the configuration
 * again.
 */
export type PartRequest = Extract<
  Request,
  {
    command:
      | 'attach'
      | 'detach'
      | 'taps'
      | 'add-segment'
      | 'remove-segment'
      | 'segments'
      | 'add-network'
      | 'remove-network'
      | 'reload';
  }
>;
/** Requests for listings. */
export type ListRequest = Extract<Request, { command: 'fdb' | 'neighbors' | 'peers' | 'remotes' }>;
export type EventsRequest = Extract<Request, { command: 'events' }>;
export type CaptureRequest = Extract<Request, { command: 'capture' }>;
/** A request over the control socket: one to the VTEP, one to its node, or one that the socket itself answers. */
export type ControlRequest =
  | Request
  | NodeRequest
  /** The version of the program. */
  | { command: 'version' }
  /** The OpenAPI description of all commands. */
  | { command: 'openapi' };
export type Command = ControlRequest['command'];
