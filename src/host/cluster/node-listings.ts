/** What the managers say, and what a node knows itself, as results of the API. */
import {
  findRecord,
  LIMITS,
  type Assignment,
  type EndpointRecord,
  type NetworkRecord,
  type View,
} from '../../cluster/index.js';
import {
  type ClusterNetworkEntry,
  type EndpointEntry,
  type NetworkDetails,
  type NodeEntry,
  type ServiceDetails,
  type ServiceEntry,
  type TaskEntry,
} from '../../schema/index.js';

import { type EncryptionListing } from '../esp/key-agreement.js';

/** What an endpoint is on this node; see `EndpointEntry`. */
export type LocalState = Pick<EndpointEntry, 'state' | 'code' | 'reason' | 'netns'>;
export const ELSEWHERE: LocalState = { state: null, code: null, reason: null, netns: null };

/** Names for people, by id. */
export interface Names {
  network(id: string): string;
  node(id: string): string;
  service(id: string): string;
}

function namesIn(
  networks: readonly { readonly id: string; readonly name: string }[],
  nodes: readonly { readonly id: string; readonly name: string }[],
  services: readonly { readonly id: string; readonly name: string }[],
): Names {
  const name = (list: readonly { readonly id: string; readonly name: string }[]): ((id: string) => string) => {
    const byId = new Map(list.map((one) => [one.id, one.name]));
    return (id) => byId.get(id) ?? id;
  };
  return { network: name(networks), node: name(nodes), service: name(services) };
}

export function namesOfView({ networks, nodes, services }: View): Names {
  return namesIn(networks, nodes, services);
}

/** Names that a node knows without a manager. */
export function namesOfAssignment({ networks, tasks, node }: Assignment, self: string | undefined): Names {
  const services = tasks.map(({ service: id, serviceName: name }) => ({ id, name }));
  return namesIn(networks, [{ id: node, name: self ?? node }], services);
}

export function nodeEntries({ nodes, endpoints }: View, self: string): NodeEntry[] {
  return nodes.map(({ id, name, role, address, dataPath = address, state, since, joined }) => ({
    ...{ id, name, role, address, dataPath, state, since, joined },
    self: id === self,
    endpoints: endpoints.filter(({ node }) => node === id).length,
  }));
}

/** Which key of an encrypted network is the newest; nothing of other ones. */
function keyFacts({ networkKeys = [] }: View, network: string): Pick<ClusterNetworkEntry, 'key'> {
  const found = networkKeys.find((one) => one.network === network);
  return found === undefined ? {} : { key: { number: found.number, created: found.created } };
}

export function networkEntries(view: View): ClusterNetworkEntry[] {
  const { networks, endpoints } = view;
  return networks.map((network) => ({
    ...network,
    ...keyFacts(view, network.id),
    endpoints: endpoints.filter((endpoint) => endpoint.network === network.id).length,
  }));
}

export function endpointEntry(endpoint: EndpointRecord, names: Names, local: LocalState): EndpointEntry {
  const { id, name, network, addresses, mac, node, kind, of, aliases, created } = endpoint;
  return {
    ...{ id, name, network: names.network(network), networkId: network, addresses, mac },
    ...{ node: names.node(node), nodeId: node, kind, service: of === undefined ? null : names.service(of.service) },
    ...{ aliases, created, ...local },
  };
}

export function networkDetails(
  network: NetworkRecord,
  endpoints: readonly EndpointEntry[],
  view: View,
  encryption: ReadonlyMap<string, readonly EncryptionListing[]>,
): NetworkDetails {
  const nodes = new Set(endpoints.map(({ nodeId }) => nodeId));
  return {
    ...network,
    ...keyFacts(view, network.id),
    endpoints,
    peers: view.nodes
      .filter(({ id }) => nodes.has(id))
      .map(({ id: node, name, dataPath, address: own }) => {
        const address = dataPath ?? own;
        const known = encryption.get(address)?.find(({ group }) => group === network.id);
        return { node, name, address, ...(known === undefined ? {} : { encryption: known }) };
      }),
  };
}

export function serviceEntry(
  { id, name, replicas, networks, command }: View['services'][number],
  view: View,
): ServiceEntry {
  const names = namesOfView(view);
  return {
    ...{ id, name, replicas },
    running: view.tasks.filter(({ service, state }) => service === id && state === 'running').length,
    networks: networks.map((network) => names.network(network)),
    run: command,
  };
}

export function serviceDetails(service: View['services'][number], view: View): ServiceDetails {
  const names = namesOfView(view);
  const tasks = view.tasks
    .filter((task) => task.service === service.id)
    .map((task): TaskEntry => ({
      ...task,
      name: `${service.name}.${task.slot}`,
      nodeName: task.node === '' ? null : names.node(task.node),
      addresses: task.endpoints.flatMap(({ id }) => view.endpoints.find((one) => one.id === id)?.addresses ?? []),
    }));
  return { ...serviceEntry(service, view), tasks };
}

/** A record of a view by its name, its id, or the beginning of its id. @throws a refusal */
export function recordIn<T extends { readonly id: string; readonly name: string }>(
  what: 'network' | 'service' | 'node',
  reference: string,
  records: readonly T[],
): T {
  return findRecord(what, what, reference, new Map(records.map((one) => [one.id, one])), (name) =>
    records.filter((one) => one.name.toLowerCase() === name.toLowerCase()),
  );
}

/** The endpoints with this name, id, or beginning of an id, those with the name first. */
export function endpointsCalled<T extends { readonly id: string; readonly name: string }>(
  reference: string,
  endpoints: readonly T[],
): readonly T[] {
  const exact = endpoints.filter(({ id }) => id === reference);
  if (exact.length > 0) return exact;
  const named = endpoints.filter(({ name }) => name.toLowerCase() === reference.toLowerCase());
  if (named.length > 0) return named;
  return reference.length < LIMITS.idBeginning ? [] : endpoints.filter(({ id }) => id.startsWith(reference));
}
