/** The types of the schemas, written out, so that the published declarations name no package. */

/** A JSON Schema (of draft 7's vocabulary), as an object of its own. */
export type JsonSchema = Readonly<Record<string, unknown>>;

/** What answers ARP requests for the endpoints of a segment. */
export type Proxy = 'endpoint' | 'vtep' | 'off';
/** What moves the frames. */
export type EngineName = 'auto' | 'dgram' | 'linux';

/** Where one container is: its IP and MAC address and the VTEP it is behind. */
export interface Endpoint {
  /** IPv4 address. */
  ip: string;
  mac: string;
  /** Address of the VTEP that the endpoint is behind; absent, or `local` itself: on this host. */
  vtep?: string;
}

/** One overlay network: a broadcast domain with its VNI. */
export interface Segment {
  /** 0 to 2^24 - 1. */
  vni: number;
  /** Largest inner IP packet in bytes; absent: worked out from the underlay. */
  mtu?: number;
  /** Default `endpoint`: requests for known endpoints are answered with the endpoint's own MAC address. */
  proxy?: Proxy;
  /** Whether MAC addresses are learned from the underlay. Default true. */
  learn?: boolean;
  /** Whether frames of unknown destination go to every peer. Default true. */
  flood?: boolean;
  /** Whether VLAN-tagged frames are carried with their tags rather than dropped (RFC 7348, section 6.1). Default false. */
  tagged?: boolean;
  /** Seconds after which a learned address that was not seen again is gone; 0 for never. Default 300. */
  ageing?: number;
  /** Learned addresses at most. Default 65,536. */
  capacity?: number;
  /** The MAC address that proxy `vtep` answers with; default: made of the VNI. */
  mac?: string;
  /** VTEPs that get a copy of what is flooded (head-end replication). */
  peers?: string[];
  endpoints?: Endpoint[];
}

/** A TAP and the segment or segments behind it. */
export interface Tap {
  /** Device name; may be left out with `fd`. */
  name?: string;
  /** A TAP that somebody else has opened and configured: its file descriptor in this process. */
  fd?: number;
  /** The namespace that the device is moved to: a name, or a path such as `/proc/PID/ns/net`. */
  netns?: string;
  /** `10.0.0.3/24`. */
  address?: string;
  /** Default: derived from the network and the address, the same on every host (`deriveMac`). */
  mac?: string;
  /** Default: the MTU of the segment, the smallest one on a trunk. */
  mtu?: number;
  /** The one segment of an access port. */
  vni?: number;
  /** A trunk: VLAN id to VNI. */
  vlans?: Record<string, number>;
  /** VNI of the untagged frames of a trunk. */
  native?: number;
}

/** An overlay network as the gossip's tables know it. */
export interface GossipNetwork {
  /** Its id in the tables: the same at every agent. Docker's have 25 characters. */
  id: string;
  vni: number;
  /** `10.0.0.0/24`: endpoints are told of with the length of its prefix. */
  subnet: string;
}

/** How a VTEP takes part in the gossip by which VTEPs learn of each other's endpoints. */
export interface Gossip {
  /** The member's name, unlike any other's. Default: the advertised address. */
  name?: string;
  /** Where to listen, UDP and TCP: `172.31.1.5`, `0.0.0.0:7946`, `[::]:7946`. Default: `local`, port 7946. */
  bind?: string;
  /** Where others reach it, as `bind`. Default: `bind`, or `local` where that is every address. */
  advertise?: string;
  /** The address of this VTEP that others send datagrams to, where a translator is between. Default: `local`. */
  tunnel?: string;
  /** Members to join: names or addresses, with or without a port. */
  join?: string[];
  /** Each a key of 16, 24 or 32 bytes in base64, or a file of such. The first one encrypts; absent: nothing is encrypted. */
  keys?: string[];
  networks?: GossipNetwork[];
}

/** The configuration of `vtep up` and `vtep agent`, as it is written. */
export interface Config {
  /** The address of this VTEP on the underlay. */
  local: string;
  /** UDP port, here and at the peers. Default 4789. */
  port?: number;
  /** UDP source ports that flows are spread over, for the underlay's ECMP; 0 to send from `port`. Default 8. */
  sourcePorts?: number;
  engine?: EngineName;
  /** Threads that move frames, each with a queue of every TAP; more than one take engine `linux`. Default 1. */
  workers?: number;
  /**
   * Microseconds for which a thread that has moved few packets looks for the next ones before it sleeps: less delay, for a
   * processor that is busy while packets come. More than 0 takes engine `linux`. Default 0.
   */
  busyPoll?: number;
  /** Whether datagrams are sent with a UDP checksum; without one they take engine `linux`. Default true. */
  udpChecksum?: boolean;
  /** Whether datagrams without one are taken over IPv6 too (RFC 6935), as over IPv4 they always are; takes engine `linux`. Default false. */
  zeroChecksum?: boolean;
  /**
   * Whether a segment accepts datagrams only from its peers and the VTEPs of its endpoints, those that the gossip names
   * included, rather than from every sender, as in RFC 7348. Default true.
   */
  peersOnly?: boolean;
  /** Whether TAPs stay in their namespaces when the process ends without being stopped. Default: with `vtep agent` only. */
  keepTaps?: boolean;
  /** Path of the control socket; absent: none. */
  control?: string;
  /** With `vtep agent` only. */
  gossip?: Gossip;
  /** One or more; none is needed where there are networks of the gossip, each of which is a segment. */
  segments: Segment[];
  /** One or more; none is needed with gossip. */
  taps: Tap[];
}

/** A request to a running VTEP over its control socket. Listings are of all segments, or of one. */
export type Request =
  | { command: 'fdb'; vni?: number }
  | { command: 'neighbors'; vni?: number }
  | { command: 'peers'; vni?: number }
  | { command: 'remotes' }
  | { command: 'counters' }
  | {
      command: 'explain';
      /** The frame (hexadecimal) enters by this TAP … */
      port?: string;
      frame?: string;
      /** … or the datagram (a UDP payload, hexadecimal) comes from this address. */
      from?: string;
      datagram?: string;
    }
  | {
      command: 'capture';
      /** Ends after so many packets, or after so much time. */
      count: number;
      seconds: number;
      /** Bytes of each packet at most. Default: all. */
      snap?: number;
    }
  | { command: 'add-peer'; vni: number; address: string }
  | { command: 'remove-peer'; vni: number; address: string }
  | ({ command: 'add-endpoint'; vni: number } & Endpoint)
  | ({ command: 'remove-endpoint'; vni: number } & Endpoint)
  /** Of an agent: the gossip's members, and its networks. */
  | { command: 'members' }
  | { command: 'networks' }
  /** Of an agent: the keys that the gossip is encrypted with, by their fingerprints. */
  | { command: 'keys' }
  | { command: 'install-key'; key: string }
  /** A key of the ring, in base64 or by its fingerprint. */
  | { command: 'use-key'; key: string }
  | { command: 'remove-key'; key: string }
  | { command: 'stop' };
/** What the gossip answers. */
export type GossipRequest = Extract<
  Request,
  { command: 'members' | 'networks' | 'keys' | 'install-key' | 'use-key' | 'remove-key' }
>;
/** What a listing asks for. */
export type ListRequest = Extract<Request, { command: 'fdb' | 'neighbors' | 'peers' | 'remotes' }>;
export type CaptureRequest = Extract<Request, { command: 'capture' }>;
export type Command = Request['command'];

/** One line of a reply; src/host/control.ts has the protocol. */
export type Reply =
  | {
      ok: true;
      result: unknown;
      /** `result` is a part of a list, and another line follows. */
      more?: true;
      /** Of a capture: packets so far that passed but are not in the list. */
      dropped?: number;
    }
  | { ok: false; error: string };
