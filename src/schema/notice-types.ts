/**
 * The events of a running VTEP (`GET /v1/events`): what it tells its clients when something changes. Clients rely on the
 * types and their fields: only append.
 */

/** A TAP, as it was named when it was attached. */
interface NoticeTap {
  tap: string;
  netns: string | null;
}
interface NoticeNetwork {
  /** The name or the id. */
  network: string;
  vnis: number[];
}
interface NoticePeer {
  vni: number;
  address: string;
  /** Who wants it now. */
  sources: string[];
}
interface NoticeEndpoint {
  vni: number;
  ip: string;
  mac: string;
  /** Null for this host. */
  vtep: string | null;
  /** Who wants it now. */
  sources: string[];
}

/** What is in effect instead of an endpoint: the endpoint at another place, or another one with its IP or MAC address. */
export interface NoticeRival {
  kind: 'place' | 'ip' | 'mac';
  ip: string;
  mac: string;
  /** `null` for this host. */
  vtep: string | null;
}
interface NoticeMember {
  name: string;
  address: string;
  port: number;
}
/** Where a frame came from: a TAP, or another VTEP. All are null if that is not known any more. */
export interface NoticePlace {
  tap: string | null;
  netns: string | null;
  vtep: string | null;
}
interface NoticeParty {
  node: string;
  vtep?: string;
  since: number;
}
interface NoticeConflict {
  network: string;
  kind: 'place' | 'ip' | 'mac' | 'parameters';
  value: string;
  holds: string;
  holder: NoticeParty;
  refused: NoticeParty;
}

/** What a reload of the configuration did. */
export interface Reloaded {
  /** VNIs. Those that were kept are not in the configuration any more, but the API wants something in them. */
  segments: { added: number[]; removed: number[]; kept: number[] };
  /** Names or ids, of networks of the gossip, too. */
  networks: { added: string[]; removed: string[]; kept: string[] };
  /** A TAP that was replaced has other settings. */
  taps: { attached: ReloadedTap[]; detached: ReloadedTap[]; replaced: ReloadedTap[] };
  /** Numbers of entries, besides those of segments that were added or removed. */
  peers: { added: number; removed: number };
  endpoints: { added: number; removed: number };
  /** Why entries of the configuration could not be added, one text for each. */
  refused: string[];
  /** Fields of the configuration that differ, and stay as they were until a restart: `port`, `segments[4097].mtu`. */
  restart: string[];
}
export interface ReloadedTap {
  name: string;
  netns: string | null;
}

/** The fields of each type of event, besides those that all have. */
export interface NoticeFields {
  'segment-added': { vni: number; sources: string[] };
  /** Its peers and endpoints have gone with it. */
  'segment-removed': { vni: number };
  'network-added': NoticeNetwork & {
    /** Whether it is a network of the gossip. */
    gossip: boolean;
    /** The MAC address of its gateways, and the gateways; null without a router. */
    mac: string | null;
    subnets: { prefix: string; gateway: string | null; vni: number }[];
    /** Who wants it now. */
    sources: string[];
  };
  'network-removed': NoticeNetwork;
  'tap-attached': NoticeTap & { device: string; vnis: number[] };
  'tap-detached': NoticeTap & { vnis: number[] };
  'tap-lost': NoticeTap & { vnis: number[]; reason: string };
  'peer-added': NoticePeer;
  'peer-removed': NoticePeer;
  'endpoint-added': NoticeEndpoint;
  'endpoint-removed': NoticeEndpoint;
  /** It is wanted, but not in effect: `by` is in effect instead, because of its place, its IP or its MAC address. */
  'endpoint-held': NoticeEndpoint & { by: NoticeRival };
  'member-joined': NoticeMember;
  'member-left': NoticeMember;
  'member-failed': NoticeMember;
  /** It had failed. */
  'member-back': NoticeMember;
  conflict: NoticeConflict;
  'conflict-over': NoticeConflict;
  /** `code` is that of the system: `ENETUNREACH`. `lost` counts datagrams. */
  'peer-unreachable': { address: string; code: string; lost: number };
  'peer-reachable': { address: string; seconds: number; lost: number };
  /** `mtu` is that of inner IP packets. */
  'path-narrowed': { address: string; mtu: number };
  'local-address-lost': { address: string; fault: 'gone' | 'down' };
  'local-address-back': { address: string; seconds: number };
  /** The second one of `macs` claims the address, too, and is at `place`. */
  'duplicate-address': { vni: number; ip: string; macs: string[]; place: NoticePlace };
  /** Addresses that were learned in about a second, and those that were not for lack of room; the last one at `place`. */
  'mac-flood': { vni: number; learned: number; refused: number; place: NoticePlace };
  /** `moves` in about a second; the last one from the first place to the second. */
  loop: { vni: number; mac: string; moves: number; places: NoticePlace[] };
  /** The configuration was read again. */
  reloaded: Reloaded;
  /** The last one. `failed`: because of a failure, and not of a signal or a request. */
  stopping: { failed: boolean };
}

export type NoticeType = keyof NoticeFields;

/** What all events have. */
export interface NoticeHead {
  /** RFC 3339, in UTC. */
  time: string;
  /** Of an event that is a line of the log: its level, and the line. */
  level?: 'error' | 'warning' | 'info' | 'debug';
  message?: string;
  /** Of such an event: how many of its kind, about the same, were neither told nor logged since the last one. */
  suppressed?: number;
}

/** An event of a running VTEP. */
export type Notice = { [T in NoticeType]: NoticeHead & { type: T } & NoticeFields[T] }[NoticeType];
