/** The commands of a cluster, as JSON objects, with their answers. */
import {
  choice,
  flag,
  id,
  integer,
  invalid,
  list,
  name,
  object,
  optional,
  pem,
  reference,
  text,
  texts,
  type Check,
  type Shape,
} from './check.js';
import { address, cut, environment, fingerprint, keyLength, labels, routePrefix, unique, words } from './fields.js';
import { LIMITS } from './limits.js';
import {
  type EndpointRecord,
  type KeyLength,
  type NetworkRecord,
  type NodeRecord,
  type Role,
  type ServiceRecord,
} from './records.js';

/** What a node says of itself when it joins. */
export interface NewNode {
  /** Chosen by who signs the certificate, which names it. */
  readonly id: string;
  readonly name: string;
  readonly address: string;
  readonly port?: number | undefined;
  readonly dataPath?: string | undefined;
  /** The fingerprint of its certificate: SHA-256 as hexadecimal digits. */
  readonly fingerprint: string;
}

/** The first command of a cluster: makes its first manager, its tokens and its gossip keys. */
export interface InitCluster {
  readonly do: 'init-cluster';
  /** The id of the cluster, which the certificate of its CA has; absent: a new one. */
  readonly id?: string | undefined;
  readonly node: NewNode;
  readonly ca: { readonly certificate: string; readonly key: string };
  readonly pools?: readonly string[] | undefined;
  readonly maskLength?: number | undefined;
  readonly dataPathPort?: number | undefined;
  readonly espPort?: number | undefined;
}

/** A node joins with the role whose token has this secret. */
export interface Join {
  readonly do: 'join';
  readonly node: NewNode;
  readonly secret: string;
}

/** A node leaves: its certificates are revoked, its endpoints end. */
export interface Leave {
  readonly do: 'leave';
  /** Also if it is the last manager. */
  readonly force?: boolean | undefined;
}

/** Removes a node that has left or failed; `force`: any node. */
export interface RemoveNode {
  readonly do: 'remove-node';
  readonly node: string;
  readonly force?: boolean | undefined;
}

/** What a manager has found out about a node. */
export interface SetNodeState {
  readonly do: 'set-node-state';
  readonly node: string;
  readonly state: 'alive' | 'failed';
}

/** Promotes or demotes a node. Its next certificate has the new role. */
export interface SetNodeRole {
  readonly do: 'set-node-role';
  readonly node: string;
  readonly role: Role;
}

/** A node has a new certificate. The one before stays valid until it has another one. */
export interface RenewCertificate {
  readonly do: 'renew-certificate';
  readonly node: string;
  readonly fingerprint: string;
}

export interface RotateToken {
  readonly do: 'rotate-token';
  readonly role: Role;
}

/** Makes a new gossip key. Refused while a living node does not have the newest one; `force`: despite that. */
export interface RotateGossipKeys {
  readonly do: 'rotate-gossip-keys';
  readonly force?: boolean | undefined;
}

/** A node says which gossip key is the newest that it has. */
export interface ReportKeys {
  readonly do: 'report-keys';
  readonly tag: number;
}

export interface NewSubnet {
  readonly subnet: string;
  readonly gateway?: string | undefined;
  readonly range?: string | undefined;
  /** Address by name. */
  readonly auxiliary?: Readonly<Record<string, string>> | undefined;
  readonly vni?: number | undefined;
}

export interface CreateNetwork {
  readonly do: 'create-network';
  readonly name: string;
  /** IPv4, and with `ipv6` IPv6: the first of each family share a VNI, and so on. Without any, a subnet from the pools. */
  readonly subnets?: readonly NewSubnet[] | undefined;
  readonly ipv6?: boolean | undefined;
  readonly internal?: boolean | undefined;
  readonly mtu?: number | undefined;
  /** Bits of its keys: it is encrypted between hosts. Absent: it is not. */
  readonly encrypted?: KeyLength | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** Whether its subnets may overlap those of other networks. */
  readonly overlapping?: boolean | undefined;
  /** Routes of the node that sends the command, which the subnets must not overlap. */
  readonly routes?: readonly HostRoute[] | undefined;
}

/** A route of a host, other than a default route. */
export interface HostRoute {
  readonly prefix: string;
  readonly device: string;
}

export interface RemoveNetwork {
  readonly do: 'remove-network';
  readonly network: string;
}

/** Makes a new key for an encrypted network. Refused for some time after the last one. */
export interface RotateNetworkKey {
  readonly do: 'rotate-network-key';
  readonly network: string;
}

export interface CreateEndpoint {
  readonly do: 'create-endpoint';
  /** If a command is repeated with this id, it answers with the same endpoint. */
  readonly id?: string | undefined;
  readonly name: string;
  readonly network: string;
  /** Absent: the node that sends the command. */
  readonly node?: string | undefined;
  readonly kind: 'run' | 'attach';
  /** At most one of each family. */
  readonly addresses?: readonly string[] | undefined;
  readonly mac?: string | undefined;
  readonly aliases?: readonly string[] | undefined;
  /** Routes of the node that sends the command: its first endpoint in a network is refused if a subnet overlaps one. */
  readonly routes?: readonly HostRoute[] | undefined;
}

export interface RemoveEndpoint {
  readonly do: 'remove-endpoint';
  readonly network: string;
  readonly endpoint: string;
}

export interface CreateService {
  readonly do: 'create-service';
  readonly name: string;
  readonly command: readonly string[];
  readonly environment?: Readonly<Record<string, string>> | undefined;
  readonly networks: readonly string[];
  readonly replicas?: number | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
}

export interface ScaleService {
  readonly do: 'scale-service';
  readonly service: string;
  readonly replicas: number;
}

export interface RemoveService {
  readonly do: 'remove-service';
  readonly service: string;
}

/** What a node says of one of its tasks. A report about an attempt that is over changes nothing. */
export interface ReportTask {
  readonly do: 'report-task';
  readonly service: string;
  readonly slot: number;
  /** The id of the task. */
  readonly task: string;
  readonly attempt: number;
  readonly state: 'running' | 'exited' | 'failed';
  /** Of `exited`. */
  readonly code?: number | undefined;
  /** Of `failed`. */
  readonly reason?: string | undefined;
  /** The last lines of its output. */
  readonly output?: readonly string[] | undefined;
}

/** Every command, with its answer. */
export interface Commands {
  'init-cluster': [InitCluster, { readonly cluster: string; readonly tokens: Readonly<Record<Role, string>> }];
  join: [Join, NodeRecord];
  leave: [Leave, NodeRecord];
  'remove-node': [RemoveNode, NodeRecord];
  'set-node-state': [SetNodeState, NodeRecord];
  'set-node-role': [SetNodeRole, NodeRecord];
  'renew-certificate': [RenewCertificate, NodeRecord];
  'rotate-token': [RotateToken, { readonly secret: string }];
  'rotate-gossip-keys': [RotateGossipKeys, { readonly tag: number }];
  'report-keys': [ReportKeys, { readonly tag: number }];
  'create-network': [CreateNetwork, NetworkRecord];
  'remove-network': [RemoveNetwork, NetworkRecord];
  'rotate-network-key': [
    RotateNetworkKey,
    { readonly id: string; readonly name: string; readonly number: number; readonly created: number },
  ];
  'create-endpoint': [CreateEndpoint, EndpointRecord];
  'remove-endpoint': [RemoveEndpoint, EndpointRecord];
  'create-service': [CreateService, ServiceRecord];
  'scale-service': [ScaleService, ServiceRecord];
  'remove-service': [RemoveService, ServiceRecord];
  /** `stale`: the report was about an attempt that is over, or repeated one. */
  'report-task': [ReportTask, { readonly stale: boolean }];
}
export type Kind = keyof Commands;
export type Command = { [K in Kind]: Commands[K][0] }[Kind];
export type Answer<K extends Kind = Kind> = Commands[K][1];

const nameOf = name(LIMITS.name);
const ref = reference(LIMITS.name);
const nodeRef = reference(LIMITS.nodeName);
const role = choice<Role>('manager', 'worker');
const port = integer(1, 65_535);
const prefix = text(50);
const newNode = object<NewNode>({
  id,
  name: name(LIMITS.nodeName),
  address,
  port: optional(port),
  dataPath: optional(address),
  fingerprint,
});
const routes = optional(list(object<HostRoute>({ prefix: routePrefix, device: text(15) }), LIMITS.routes));
const newSubnet = object<NewSubnet>({
  subnet: prefix,
  gateway: optional(address),
  range: optional(prefix),
  auxiliary: optional(
    texts(/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/, { count: LIMITS.auxiliary, name: LIMITS.name, value: address }),
  ),
  vni: optional(integer(0, 0xff_ffff)),
});

const SHAPES: { readonly [K in Kind]: Shape<Omit<Commands[K][0], 'do'>> } = {
  'init-cluster': {
    id: optional(id),
    node: newNode,
    ca: object({ certificate: pem(LIMITS.pem), key: pem(LIMITS.pem) }),
    pools: optional(list(prefix, LIMITS.subnets, 1)),
    maskLength: optional(integer(1, 128)),
    dataPathPort: optional(integer(1024, 49_151)),
    espPort: optional(integer(1024, 49_151)),
  },
  join: { node: newNode, secret: text(LIMITS.name) },
  leave: { force: optional(flag) },
  'remove-node': { node: nodeRef, force: optional(flag) },
  'set-node-state': { node: nodeRef, state: choice('alive', 'failed') },
  'set-node-role': { node: nodeRef, role },
  'renew-certificate': { node: id, fingerprint },
  'rotate-token': { role },
  'rotate-gossip-keys': { force: optional(flag) },
  'report-keys': { tag: integer(1, Number.MAX_SAFE_INTEGER) },
  'create-network': {
    name: nameOf,
    subnets: optional(list(newSubnet, LIMITS.subnets)),
    ipv6: optional(flag),
    internal: optional(flag),
    mtu: optional(integer(576, 65_535)),
    encrypted: optional(keyLength),
    labels: optional(labels),
    overlapping: optional(flag),
    routes,
  },
  'remove-network': { network: ref },
  'rotate-network-key': { network: ref },
  'create-endpoint': {
    id: optional(id),
    name: nameOf,
    network: ref,
    node: optional(nodeRef),
    kind: choice('run', 'attach'),
    addresses: optional(list(address, 2)),
    mac: optional(text(17)),
    aliases: optional(unique(list(nameOf, LIMITS.aliases))),
    routes,
  },
  'remove-endpoint': { network: ref, endpoint: ref },
  'create-service': {
    name: name(LIMITS.serviceName),
    command: words,
    environment: optional(environment),
    networks: unique(list(ref, LIMITS.serviceNetworks, 1)),
    replicas: optional(integer(0, LIMITS.replicas)),
    labels: optional(labels),
  },
  'scale-service': { service: ref, replicas: integer(0, LIMITS.replicas) },
  'remove-service': { service: ref },
  'report-task': {
    service: id,
    slot: integer(1, LIMITS.replicas),
    task: id,
    attempt: integer(1, Number.MAX_SAFE_INTEGER),
    state: choice('running', 'exited', 'failed'),
    code: optional(integer(0, 255)),
    reason: optional(cut(LIMITS.reason)),
    output: optional(list(cut(LIMITS.outputLine), LIMITS.outputLines)),
  },
};

const CHECKS = new Map<string, Check<Command>>();
for (const [kind, shape] of Object.entries(SHAPES))
  CHECKS.set(kind, object({ do: choice(kind), ...shape } as unknown as Shape<Command>));

/** Returns a command whose fields have the right types, with canonical addresses. @throws Refused */
export function readCommand(value: unknown): Command {
  if (typeof value !== 'object' || value === null) throw invalid('command', 'an object', value);
  const kind = (value as { do?: unknown }).do;
  const check = typeof kind === 'string' ? CHECKS.get(kind) : undefined;
  if (check === undefined) throw invalid('do', `one of ${[...CHECKS.keys()].join(', ')}`, kind);
  return check(value, '');
}
