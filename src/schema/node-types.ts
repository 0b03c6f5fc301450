/**
 * The types of requests to a node of a cluster, and of their results, written by hand, so that the published declarations
 * depend on no package.
 */
import {
  type KeyFacts,
  type KeyLength,
  type NetworkRecord,
  type NodeState,
  type Role,
  type TaskRecord,
} from '../cluster/index.js';

/** A subnet of a network that is to be created. */
export interface WantedSubnet {
  /** `10.1.1.0/24` */
  readonly subnet: string;
  /** Default: the first address of the subnet. */
  readonly gateway?: string;
  /** The part of the subnet that addresses are chosen from. Default: all of it. */
  readonly range?: string;
  /** Addresses that no endpoint gets: address by name. */
  readonly auxiliary?: Readonly<Record<string, string>>;
  readonly vni?: number;
}

/** What an endpoint may ask for. */
export interface WantedEndpoint {
  readonly network: string;
  /** At most one of each family. Default: chosen. */
  readonly addresses?: readonly string[];
  readonly mac?: string;
  /** Further names, which other endpoints of the network may have too. */
  readonly aliases?: readonly string[];
}

/** A process, told apart from a later one with the same id. */
export interface ProcessOwner {
  readonly pid: number;
  /** When it started, in ticks since the boot: field 22 of proc(5) `/proc/PID/stat`. */
  readonly start: number;
}

/** A request to a node of a cluster. A node, a network, a service or an endpoint is named by its name, its id, or the beginning of its id. */
export type NodeRequest =
  /** What this node is. */
  | { command: 'node' }
  /** Creates a cluster with this node as its manager. */
  | {
      command: 'init';
      /** The address at which other nodes reach this one. Default: the only one that this host has besides loopback. */
      address?: string;
      /** The address of the VTEP. Default: `address`. */
      dataPath?: string;
      /** The UDP port of VXLAN on every node. Default: 4789. */
      dataPathPort?: number;
      /** The UDP port of encrypted networks on every node. Default: 4500. */
      espPort?: number;
      /** The name of the node. Default: that of the host. */
      name?: string;
      /** The pools out of which networks without a subnet get theirs. Default: 10.0.0.0/8. */
      pools?: readonly string[];
      /** The prefix length of a subnet from the pools. Default: 24. */
      maskLength?: number;
    }
  | {
      command: 'join';
      token: string;
      /** Managers, each as `address` or `address:port`. */
      managers: readonly string[];
      /** Default: the source address towards the first manager. */
      address?: string;
      dataPath?: string;
      name?: string;
    }
  /** Ends everything that runs here, and forgets the cluster. `force`: also without an answer of a manager, or as the last one. */
  | { command: 'leave'; force?: boolean }
  | { command: 'token'; role: Role }
  | { command: 'rotate-token'; role: Role }
  | { command: 'rotate-gossip-keys'; force?: boolean }
  | { command: 'nodes' }
  | { command: 'remove-node'; node: string; force?: boolean }
  /** The networks that this node knows: a manager all, a worker those in which it has endpoints. */
  | { command: 'cluster-networks' }
  | { command: 'cluster-network'; network: string }
  | {
      command: 'create-network';
      name: string;
      /** Default: one subnet from the pools. */
      subnets?: readonly WantedSubnet[];
      ipv6?: boolean;
      internal?: boolean;
      mtu?: number;
      /** Bits of its keys: it is encrypted between hosts. Default: it is not. */
      encrypted?: KeyLength;
      labels?: Readonly<Record<string, string>>;
      /** Whether its subnets may overlap those of other networks. */
      overlapping?: boolean;
    }
  | { command: 'delete-network'; network: string }
  /** Makes a new key for an encrypted network. */
  | { command: 'rotate-network-key'; network: string }
  | { command: 'endpoints'; network?: string }
  /** Attaches a namespace that exists already. The answer comes when its device is there. */
  | ({
      command: 'attach-endpoint';
      /** A name, or a path such as `/proc/PID/ns/net`. */
      netns: string;
      /** The name of the device in the namespace. Default: `eth0`. */
      device?: string;
      /** Default: one that follows from the namespace. */
      name?: string;
    } & WantedEndpoint)
  /** Removes an endpoint: detaches its namespace, or ends its sandbox with the command in it. */
  | { command: 'detach-endpoint'; endpoint: string; network?: string }
  /**
   * Makes a sandbox with an endpoint. The answer comes when it is there. With a command, the node starts it in the background.
   * Without one, the client runs something in the namespace.
   */
  | ({
      command: 'run';
      /** Default: one that is chosen. */
      name?: string;
      run?: readonly string[];
      environment?: Readonly<Record<string, string>>;
      /** The directory that the command starts in. Default: `/`. */
      cwd?: string;
      /** The process that uses the sandbox: the node removes the sandbox when this process has ended. */
      owner?: ProcessOwner;
    } & WantedEndpoint)
  /** A sandbox on this node, by the name or the id of its endpoint. */
  | { command: 'sandbox'; name: string }
  | { command: 'services' }
  | { command: 'service'; service: string }
  | {
      command: 'create-service';
      name: string;
      run: readonly string[];
      environment?: Readonly<Record<string, string>>;
      networks: readonly string[];
      /** Default: 1. */
      replicas?: number;
      labels?: Readonly<Record<string, string>>;
    }
  | { command: 'scale-service'; service: string; replicas: number }
  | { command: 'remove-service'; service: string }
  /** The output of the command of an endpoint on this node, of a task, or of all tasks of a service, on any node. */
  | {
      command: 'logs';
      name: string;
      /** Most lines of each command that were written before. Default: all that are kept. */
      tail?: number;
      /** Whether to go on with what is written from now on. */
      follow?: boolean;
    };

/** What a node is. */
export interface NodeStatus {
  /** `none`: in no cluster. */
  readonly state: 'none' | 'member';
  readonly node: string | null;
  readonly name: string | null;
  readonly cluster: string | null;
  readonly role: Role | null;
  readonly address: string | null;
  /** Whether it has a connection to a manager. */
  readonly connected: boolean;
  /** The revision of the assignment that it carries out. */
  readonly revision: number | null;
}

/** A token, with which nodes join as `role`. */
export interface JoinToken {
  readonly role: Role;
  readonly token: string;
  /** Where to join: `address:port` of each manager. */
  readonly managers: readonly string[];
}

export interface NodeEntry {
  readonly id: string;
  readonly name: string;
  readonly role: Role;
  readonly address: string;
  readonly dataPath: string;
  readonly state: NodeState;
  /** Milliseconds since 1970. */
  readonly since: number;
  readonly joined: number;
  readonly self: boolean;
  readonly endpoints: number;
}

export type ClusterNetworkEntry = NetworkRecord & {
  /** How many endpoints it has in the cluster. */
  readonly endpoints: number;
  /** The newest key of an encrypted network. */
  readonly key?: KeyFacts;
};

export interface EndpointEntry {
  readonly id: string;
  readonly name: string;
  /** The name of its network, and its id. */
  readonly network: string;
  readonly networkId: string;
  readonly addresses: readonly string[];
  readonly mac: string;
  /** The name of its node, and its id. */
  readonly node: string;
  readonly nodeId: string;
  readonly kind: 'run' | 'attach' | 'task';
  readonly service: string | null;
  readonly aliases: readonly string[];
  readonly created: number;
  /**
   * On this node: whether its device is there, and what became of its command. `starting`: not yet. `ready`: the device is there,
   * and no command belongs to it. `null`: the endpoint is on another node.
   */
  readonly state: 'starting' | 'ready' | 'running' | 'exited' | 'failed' | null;
  /** Of `exited`: the exit status. */
  readonly code: number | null;
  readonly reason: string | null;
  /** Of an endpoint on this node: its namespace. */
  readonly netns: string | null;
}

/** A key in use, and since when (RFC 3339). */
export interface KeyInUse {
  readonly key: number;
  readonly since: string;
}

/** A node with endpoints in a network. */
export interface NetworkPeer {
  readonly node: string;
  readonly name: string;
  readonly address: string;
  /** How frames between it and this node are encrypted; absent if they are not, or if there were none. */
  readonly encryption?: {
    readonly group: string;
    readonly out: KeyInUse | null;
    readonly in: KeyInUse | null;
    readonly unanswered: string | null;
  };
}

export interface NetworkDetails extends NetworkRecord {
  /** The newest key of an encrypted network. */
  readonly key?: KeyFacts;
  readonly endpoints: readonly EndpointEntry[];
  /** The nodes with endpoints in it. */
  readonly peers: readonly NetworkPeer[];
}

export interface ServiceEntry {
  readonly id: string;
  readonly name: string;
  readonly replicas: number;
  readonly running: number;
  /** Names. */
  readonly networks: readonly string[];
  readonly run: readonly string[];
}

export type TaskEntry = TaskRecord & {
  /** `test.1` */
  readonly name: string;
  /** The name of its node; `null`: it has none. */
  readonly nodeName: string | null;
  readonly addresses: readonly string[];
};

export interface ServiceDetails extends ServiceEntry {
  readonly tasks: readonly TaskEntry[];
}

/** Lines that a command has written. */
export interface OutputEvent {
  readonly event: 'output';
  /** `test.1` */
  readonly name: string;
  /** The name of its node. */
  readonly node: string;
  /** One line without its end; or `null`, with `reason`: output is missing, such as that of a node that does not answer. */
  readonly line: string | null;
  readonly reason?: string;
}

/** The result of each command; of a list, all entries; of a stream, its events. */
export interface NodeResults {
  node: NodeStatus;
  init: JoinToken & { readonly node: string; readonly cluster: string };
  join: NodeStatus;
  leave: object;
  token: JoinToken;
  'rotate-token': JoinToken;
  'rotate-gossip-keys': { readonly tag: number };
  nodes: NodeEntry[];
  'remove-node': { readonly id: string; readonly name: string };
  'cluster-networks': ClusterNetworkEntry[];
  'cluster-network': NetworkDetails;
  'create-network': NetworkRecord;
  'rotate-network-key': KeyFacts & { readonly id: string; readonly name: string };
  'delete-network': { readonly id: string; readonly name: string };
  endpoints: EndpointEntry[];
  'attach-endpoint': EndpointEntry;
  'detach-endpoint': { readonly id: string; readonly name: string; readonly network: string };
  run: EndpointEntry;
  sandbox: EndpointEntry;
  services: ServiceEntry[];
  service: ServiceDetails;
  'create-service': ServiceEntry;
  'scale-service': ServiceEntry;
  'remove-service': { readonly id: string; readonly name: string };
  logs: OutputEvent[];
}
