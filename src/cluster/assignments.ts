/** What a node has to do, computed from the state alone, so that a node that was away needs no history. */
import {
  type EndpointRecord,
  type GossipKey,
  type NetworkKey,
  type NetworkRecord,
  type NodeRecord,
  type Role,
  type TaskRecord,
} from './records.js';
import { type State } from './state.js';

/** A task as its node needs it. It runs the attempt that `attempt` counts if the state is `assigned` or `running`. */
export type AssignedTask = Pick<TaskRecord, 'id' | 'service' | 'slot' | 'endpoints' | 'attempt' | 'state'> & {
  /** `test.1` */
  readonly name: string;
  readonly serviceName: string;
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
};

/** Everything that a node has to do. All lists are sorted, so that assignments that differ in `revision` only are equal as JSON. */
export interface Assignment {
  /**
   * The revision of the store that it follows from. Managers may be behind each other: a node ignores an assignment that is older
   * than the one it has.
   */
  readonly revision: number;
  readonly node: string;
  readonly role: Role;
  readonly cluster: {
    readonly id: string;
    readonly dataPathPort: number;
    /** Absent: 4500. */
    readonly espPort?: number;
  };
  /** Where the managers are. */
  readonly managers: readonly { readonly id: string; readonly address: string; readonly port: number }[];
  /** Newest first. All decrypt, and the second, or else the only one, encrypts. */
  readonly gossipKeys: readonly GossipKey[];
  /** Those in which it has endpoints. */
  readonly networks: readonly NetworkRecord[];
  /** The keys of those that are encrypted, the newest first; absent: none is. Managers before the first of them send nothing here. */
  readonly networkKeys?: readonly { readonly network: string; readonly keys: readonly NetworkKey[] }[];
  readonly endpoints: readonly EndpointRecord[];
  readonly tasks: readonly AssignedTask[];
}

const byId = (a: { readonly id: string }, b: { readonly id: string }): number =>
  a.id < b.id ? -1 : a.id > b.id ? 1 : 0;

/** The assignment of a node; `undefined` if it is not, or no longer, part of the cluster. */
export function assignmentsOf(state: State, node: string): Assignment | undefined {
  const record = state.nodes.get(node);
  if (record === undefined || record.state === 'left' || state.cluster === undefined) return undefined;
  const { id, dataPathPort, espPort } = state.cluster;
  const networks = networksOf(state, node);
  const networkKeys = networks.flatMap(({ id: network, encrypted }) =>
    encrypted === undefined ? [] : [{ network, keys: state.networkKeys.get(network) ?? [] }],
  );
  return {
    revision: state.revision,
    node,
    role: record.role,
    cluster: { id, dataPathPort, ...(espPort === undefined ? {} : { espPort }) },
    managers: [...state.nodes.values()]
      .filter((other) => other.role === 'manager' && other.state !== 'left')
      .sort(byId)
      .map((manager) => ({ id: manager.id, address: manager.address, port: manager.port })),
    gossipKeys: state.gossipKeys,
    networks,
    ...(networkKeys.length === 0 ? {} : { networkKeys }),
    endpoints: [...state.endpointsOn(node).values()].sort(byId),
    tasks: [...state.tasksOn(node).values()].sort(byId).flatMap((task) => assigned(state, task)),
  };
}

/** The networks that a node takes part in: those in which it has an endpoint. */
export function networksOf(state: State, node: string): NetworkRecord[] {
  const ids = new Set<string>();
  for (const { network } of state.endpointsOn(node).values()) ids.add(network);
  return [...ids].flatMap((id) => state.networks.get(id) ?? []).sort(byId);
}

/** Nothing for a task whose service was removed: its node stops it. */
function assigned(state: State, task: TaskRecord): AssignedTask[] {
  const service = state.services.get(task.service);
  if (service === undefined) return [];
  const { id, slot, endpoints, attempt, state: now } = task;
  const { name: serviceName, command, environment } = service;
  const name = `${serviceName}.${slot}`;
  return [{ id, service: task.service, slot, endpoints, attempt, state: now, name, serviceName, command, environment }];
}

/** What may be read of the newest key of a network. */
export interface KeyFacts {
  readonly number: number;
  readonly created: number;
}

/** What a node may read. */
export interface View {
  readonly nodes: readonly Omit<NodeRecord, 'fingerprints'>[];
  readonly networks: readonly NetworkRecord[];
  /** Which key is the newest one of each encrypted network; absent: none is encrypted. */
  readonly networkKeys?: readonly (KeyFacts & { readonly network: string })[];
  /** All endpoints in these networks. */
  readonly endpoints: readonly EndpointRecord[];
  /** Of a worker without their environments, which may have secrets: those in one of these networks. */
  readonly services: readonly {
    readonly id: string;
    readonly name: string;
    readonly replicas: number;
    readonly networks: readonly string[];
    readonly command: readonly string[];
  }[];
  readonly tasks: readonly TaskRecord[];
}

/**
 * What a node may read: a manager everything but secrets; a worker the networks that it takes part in, with their endpoints and
 * the nodes that these are on, and its own tasks. `undefined` if it is not, or no longer, part of the cluster.
 */
export function viewFor(state: State, node: string, role?: Role): View | undefined {
  const record = state.nodes.get(node);
  if (record === undefined || record.state === 'left') return undefined;
  const isManager = record.role === 'manager' && role !== 'worker';
  const networks = isManager ? [...state.networks.values()].sort(byId) : networksOf(state, node);
  const endpoints = networks.flatMap(({ id }) => [...state.endpointsIn(id).values()].sort(byId));
  const networkKeys = networks.flatMap(({ id: network, encrypted }) => {
    const [newest] = encrypted === undefined ? [] : (state.networkKeys.get(network) ?? []);
    return newest === undefined ? [] : [{ network, number: newest.number, created: newest.created }];
  });
  const seen = new Set([node, ...endpoints.map((endpoint) => endpoint.node)]);
  const services = [...state.services.values()].sort(byId);
  const tasks = services.flatMap(({ id }) => [...state.tasksOf(id).values()].sort((a, b) => a.slot - b.slot));
  const visible = tasks.filter((task) => isManager || task.node === node);
  const ofNode = new Set(visible.map(({ service }) => service));
  return {
    nodes: [...state.nodes.values()]
      .filter(({ id }) => isManager || seen.has(id))
      .sort(byId)
      .map(({ fingerprints: _, ...rest }) => rest),
    networks,
    ...(networkKeys.length === 0 ? {} : { networkKeys }),
    endpoints,
    services: services
      .filter(({ id }) => isManager || ofNode.has(id))
      .map(({ id, name, replicas, networks: of, command }) => ({
        ...{ id, name, replicas, command },
        networks: isManager ? of : of.filter((network) => networks.some((one) => one.id === network)),
      })),
    tasks: visible,
  };
}
