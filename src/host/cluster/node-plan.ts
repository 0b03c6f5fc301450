/** What an assignment means on a host: the VTEP, its networks, and the sandboxes with their devices and commands. */
import { family, plan as planOf, shareAddresses, type NewNetwork, type Plan, type Tap } from '../../schema/index.js';
import {
  encryptingKey,
  type AssignedTask,
  type Assignment,
  type EndpointRecord,
  type GossipKey,
  type HostRoute,
  type NetworkRecord,
  type SubnetRecord,
} from '../../cluster/index.js';
import { type GroupKeyring } from '../group-keys.js';
import { type Overlay } from '../overlay.js';
import { type SandboxPlan } from '../sandbox/plan.js';
import { type WorkloadPlan } from '../sandbox/workload.js';

/** What a node has been told about itself. */
export interface NodePlace {
  /** The address at which other nodes reach it. */
  readonly address: string;
  /** The underlay address of its VTEP; absent: `address`. */
  readonly dataPath?: string | undefined;
  /** The name of the node, for people. */
  readonly name?: string | undefined;
  /** Further fields of the VTEP's configuration: engine, workers and so on. */
  readonly settings?: object | undefined;
}

/**
 * The configuration of the node's VTEP, without networks and TAPs, which come and go while it runs.
 * @param members Addresses of other nodes, to join their gossip.
 * @throws SchemaError if an address or a setting is wrong.
 */
export function vtepPlan(assignment: Assignment, place: NodePlace, members: readonly string[]): Plan {
  const { node, cluster, gossipKeys } = assignment;
  const { address, dataPath = address, settings = {} } = place;
  return planOf({
    ...settings,
    local: dataPath,
    port: cluster.dataPathPort,
    ...(cluster.espPort === undefined ? {} : { espPort: cluster.espPort }),
    keepTaps: true,
    segments: [],
    taps: [],
    gossip: {
      ...{ name: node, bind: address, advertise: address },
      join: members.filter((one) => one !== address),
      keys: keysInOrder(gossipKeys).map(({ key }) => key),
    },
  });
}

/** The gossip keys, first the one that encrypts. */
export function keysInOrder(keys: readonly GossipKey[]): GossipKey[] {
  const first = encryptingKey(keys);
  return [...keys].sort((a, b) => Number(b === first) - Number(a === first));
}

/** A network as a VTEP takes it. Its name there is its id, which the tables of the gossip have too. */
export function vtepNetwork({ id, subnets, mtu }: NetworkRecord): NewNetwork {
  return {
    name: id,
    subnets: subnets.map(({ prefix, gateway, vni }) => ({ prefix, gateway, vni })),
    gossip: true,
    ...(mtu === undefined ? {} : { mtu }),
  };
}

/** The key group of a network: its id, which is the same on all nodes; `undefined` if it is not encrypted. */
export function groupOf({ id, encrypted }: NetworkRecord): string | undefined {
  return encrypted === undefined ? undefined : id;
}

/** Gives a VTEP the keys of an assignment at once: the rest of the work may take longer than the next rotations. */
export function setKeys({ gossip, groupKeys }: Pick<Overlay, 'gossip' | 'groupKeys'>, assignment: Assignment): void {
  const { gossipKeys } = assignment;
  if (gossipKeys.length > 0) gossip?.setKeys(keysInOrder(gossipKeys).map(({ key }) => key));
  setNetworkKeys(groupKeys, assignment);
}

/** Gives a VTEP the keys of the encrypted networks that a node takes part in. */
export function setNetworkKeys(ring: Pick<GroupKeyring, 'set'>, { networkKeys = [] }: Assignment): void {
  for (const { network, keys } of networkKeys)
    ring.set(
      network,
      keys.map(({ number, key }) => ({ number, key })),
    );
}

/** A sandbox, with a device for each of its endpoints, and the task that runs in it. */
export interface Wanted {
  readonly sandbox: SandboxPlan;
  /** Without the namespace, which the sandbox has. The first one is that of `sandbox`. */
  readonly taps: readonly Tap[];
  readonly task?: AssignedTask;
}

/** Where an endpoint is that has no sandbox of its own: in a namespace that was there before. */
export interface AttachedPlace {
  /** A name, or a path such as `/proc/PID/ns/net`. */
  readonly netns: string;
  readonly device: string;
}

/** How a node joins a cluster. */
export interface NodeJoin extends NodePlace {
  readonly token: string;
  /** Managers, each as `address` or `address:port`. */
  readonly managers: readonly string[];
  /** The name of the node, for people. */
  readonly name: string;
}

/** An endpoint in a namespace that exists already: of a container, a virtual machine. */
export interface NodeAttachment extends Partial<AttachedPlace> {
  readonly netns: string;
  readonly network: string;
  readonly name: string;
  readonly addresses?: readonly string[];
  readonly mac?: string;
  readonly aliases?: readonly string[];
  /** The routes of this host; see `hostRoutes`. */
  readonly routes?: readonly HostRoute[];
}

/** The TAPs of the endpoints that are in namespaces of others, by the endpoint's id. */
export function wantedAttachments(
  { endpoints, networks }: Assignment,
  places: ReadonlyMap<string, AttachedPlace>,
): Map<string, Tap> {
  const wanted = new Map<string, Tap>();
  for (const endpoint of endpoints) {
    const place = endpoint.kind === 'attach' ? places.get(endpoint.id) : undefined;
    const network = networks.find(({ id }) => id === endpoint.network);
    if (place !== undefined && network !== undefined)
      wanted.set(endpoint.id, { ...tapOf(place.device, endpoint, network), netns: place.netns });
  }
  return wanted;
}

/**
 * The sandboxes that a node has to have, by name.
 * @param search The domains that complete a short name, of the host.
 */
export function wantedSandboxes(
  { endpoints, networks, tasks }: Assignment,
  search: readonly string[] = [],
): Map<string, Wanted> {
  const byId = new Map(endpoints.map((endpoint) => [endpoint.id, endpoint]));
  const networkOf = new Map(networks.map((network) => [network.id, network]));
  const wanted = new Map<string, Wanted>();
  const add = (id: string, own: readonly EndpointRecord[], task?: AssignedTask): void => {
    const places = own.flatMap((endpoint) => {
      const network = networkOf.get(endpoint.network);
      return network === undefined ? [] : [{ endpoint, network }];
    });
    const [first] = places;
    if (first === undefined || places.length < own.length) return; // the next assignment has all of them
    const name = sandboxName(first.endpoint.name, id);
    wanted.set(name, {
      sandbox: sandboxPlan(name, first.endpoint, first.network, places, search),
      taps: places.map(({ endpoint, network }, i) => tapOf(`eth${i}`, endpoint, network)),
      ...(task === undefined ? {} : { task }),
    });
  };
  for (const endpoint of endpoints) if (endpoint.kind === 'run') add(endpoint.id, [endpoint]);
  for (const task of tasks) {
    const own = task.endpoints.flatMap(({ id }) => byId.get(id) ?? []);
    if (own.length === task.endpoints.length && own.length > 0) add(task.id, own, task);
  }
  return wanted;
}

/** Characters of an id in the name of a sandbox, whose names are unique on a machine. */
const ID_SHOWN = 8;

/** `test.1-zmq0dp2j` */
export function sandboxName(name: string, id: string): string {
  return `${name}-${id.slice(0, ID_SHOWN)}`;
}

/** The name of the sandbox of an endpoint that is not attached to a namespace of others. */
export function sandboxOf({ name, id, of }: EndpointRecord): string {
  return sandboxName(name, of?.task ?? id);
}

function sandboxPlan(
  name: string,
  endpoint: EndpointRecord,
  network: NetworkRecord,
  places: readonly { readonly endpoint: EndpointRecord }[],
  search: readonly string[],
): SandboxPlan {
  const own = addressesOf(endpoint, network);
  return {
    name,
    addresses: own.map(({ text }) => text),
    gateways: network.internal ? [] : own.map(({ subnet }) => subnet.gateway),
    routes: network.subnets.flatMap(({ prefix, gateway }) => {
      if (own.some(({ subnet }) => subnet.prefix === prefix)) return [];
      const via = own.find(({ subnet }) => family(subnet.gateway) === family(gateway));
      return via === undefined ? [] : [{ to: prefix, via: via.subnet.gateway }];
    }),
    // The host answers at the gateway. Without `ndots:0`, names with one label would be asked for in other domains first.
    resolver: { servers: [own[0]!.subnet.gateway], search, options: ['ndots:0'] },
    hosts: places.flatMap(({ endpoint: one }) =>
      one.addresses.map((address) => ({ address, names: [one.name, ...one.aliases] })),
    ),
  };
}

function tapOf(name: string, endpoint: EndpointRecord, network: NetworkRecord): Tap {
  const own = addressesOf(endpoint, network);
  return { name, address: own.map(({ text }) => text), mac: endpoint.mac, vni: own[0]!.subnet.vni };
}

/** The addresses of an endpoint with prefix lengths, each with its subnet. */
function addressesOf(
  { addresses }: EndpointRecord,
  { subnets }: NetworkRecord,
): { text: string; subnet: SubnetRecord }[] {
  return addresses.flatMap((address) => {
    const subnet = subnets.find(({ prefix }) => shareAddresses(address, prefix));
    return subnet === undefined ? [] : [{ text: address + subnet.prefix.slice(subnet.prefix.indexOf('/')), subnet }];
  });
}

/** The command of a task as its sandbox runs it. Each attempt is a workload of its own. */
export function workloadOf({ attempt, command, environment }: AssignedTask): WorkloadPlan {
  return { id: workloadId(attempt), command, environment };
}

export function workloadId(attempt: number): string {
  return `attempt-${attempt}`;
}
