/** What managers store, as JSON. Times are milliseconds since 1970; addresses and prefixes are canonical text. */
import { type Pools } from '../ipam/index.js';
import { type Endpoint, type GroupKey, type Network, type Subnet } from '../model/index.js';

/** A manager decides and stores; a worker runs endpoints. Every manager is a worker too. */
export type Role = 'manager' | 'worker';

export interface ClusterRecord {
  readonly id: string;
  readonly created: number;
  /** The pools out of which networks without a subnet get theirs. */
  readonly pools: Pools;
  /** The UDP port of VXLAN, the same on every node. */
  readonly dataPathPort: number;
  /** The UDP port of encrypted networks, the same on every node; absent: 4500. */
  readonly espPort?: number;
}

/** The certification authority of the cluster, in PEM. Only managers have the key. */
export interface CaRecord {
  readonly certificate: string;
  readonly key: string;
}

/** A key of the gossip. A later key has a greater tag. */
export interface GossipKey {
  /** 16 octets in base64. */
  readonly key: string;
  readonly tag: number;
  readonly created: number;
}

/** Bits of a key, for AES-128-GCM or AES-256-GCM. */
export type KeyLength = 128 | 256;

/** A key of an encrypted network. */
export interface NetworkKey extends GroupKey {
  readonly created: number;
}

/**
 * `alive`: it answers. `failed`: it does not, and may return with everything that it runs. `left`: it has ended its
 * endpoints and does not return under this id.
 */
export type NodeState = 'alive' | 'failed' | 'left';

export interface NodeRecord {
  readonly id: string;
  /** The name of the host. Several nodes may have the same. */
  readonly name: string;
  readonly role: Role;
  /** The address at which other nodes reach it: the gossip, and a manager's API. */
  readonly address: string;
  /** The port of a manager's API. */
  readonly port: number;
  /** The underlay address of its VTEP; absent: `address`. */
  readonly dataPath?: string;
  /** The fingerprints of its certificates that are valid, newest first: two while it renews one. */
  readonly fingerprints: readonly string[];
  readonly joined: number;
  readonly state: NodeState;
  /** When it came into this state. */
  readonly since: number;
  /** The tag of the newest gossip key that it has said to have. */
  readonly keyTag: number;
}

/** A subnet of a network: what its hosts need to know, and what its addresses are allocated from. */
export interface SubnetRecord extends Subnet {
  readonly gateway: string;
  /** The part of the subnet that automatic addresses are from; absent: all of it. */
  readonly range?: string;
  /** Addresses that are not given to endpoints: address by name. */
  readonly auxiliary: Readonly<Record<string, string>>;
}

export interface NetworkRecord extends Network {
  readonly subnets: readonly SubnetRecord[];
  /** Whether endpoints have IPv6 addresses too. */
  readonly ipv6: boolean;
  /** Whether its endpoints reach nothing outside of it. */
  readonly internal: boolean;
  /** The largest IP packet; absent: what the underlay of each host has room for. */
  readonly mtu?: number;
  /** Bits of its keys, if it is encrypted between hosts; absent: it is not. */
  readonly encrypted?: KeyLength;
  readonly labels: Readonly<Record<string, string>>;
  readonly created: number;
}

/** The task of a service that an endpoint belongs to. */
export interface TaskReference {
  readonly service: string;
  readonly slot: number;
  /** The id of the task. */
  readonly task: string;
}

/** An endpoint, with the node that it is on. `vtep` is not stored: it follows from the node. */
export interface EndpointRecord extends Omit<Endpoint, 'vtep'> {
  readonly node: string;
  /** What it is for: a command in a sandbox of its own, something that was there before, or the task of a service. */
  readonly kind: 'run' | 'attach' | 'task';
  readonly of?: TaskReference;
  /** Further names, which other endpoints of the network may have too. */
  readonly aliases: readonly string[];
  readonly created: number;
}

/** The value of an address: its endpoint, or since when nobody has it. */
export type AddressRecord =
  | { readonly endpoint: string; /** Whether it was chosen and not requested. */ readonly automatic: boolean }
  | {
      readonly released: number;
      /** The node that had it. While this node has failed, nobody knows whether it still uses the address. */
      readonly node: string;
    };

/** The value of a VNI: its network, or since when it has none. */
export type VniRecord = { readonly network: string; readonly automatic: boolean } | { readonly released: number };

export interface ServiceRecord {
  readonly id: string;
  readonly name: string;
  /** The program and its arguments. */
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  /** Ids. Every task has an endpoint in each. */
  readonly networks: readonly string[];
  readonly replicas: number;
  readonly labels: Readonly<Record<string, string>>;
  readonly created: number;
}

/**
 * `pending`: it has no node, for `reason`. `assigned`: its node is to start it. `running`. `exited`: its command has ended
 * with `code`. `failed`: it could not be started, or was lost, for `reason`.
 */
export type TaskState = 'pending' | 'assigned' | 'running' | 'exited' | 'failed';

/** How an earlier attempt of a task ended. */
export interface Ending {
  readonly at: number;
  readonly node: string;
  readonly state: 'exited' | 'failed';
  readonly code?: number;
  readonly reason?: string;
  /** Its last lines of output. */
  readonly output?: readonly string[];
}

export interface TaskRecord {
  /** A task that moves to another node gets another id. */
  readonly id: string;
  readonly service: string;
  /** From 1. Its endpoints are called `<service>.<slot>`. */
  readonly slot: number;
  /** Empty: none. */
  readonly node: string;
  /** One in each network of the service. */
  readonly endpoints: readonly { readonly network: string; readonly id: string }[];
  /** Counts the starts of this task on this node, from 1. */
  readonly attempt: number;
  readonly state: TaskState;
  readonly since: number;
  /** Why it is pending. */
  readonly reason?: string;
  /** How often in a row it ended before it had run for some time. */
  readonly failures: number;
  /** When it is started again. */
  readonly retry?: number;
  /** The last endings, newest first. */
  readonly endings: readonly Ending[];
}
