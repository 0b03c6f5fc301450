/** Commands about endpoints, and what they share with the endpoints of tasks: each is made, or ended, in one transaction. */
import { deriveMacFromText, macToText } from '../address/index.js';
import { macOf, PrefixSet, requestMac } from '../ipam/index.js';
import { newId } from './check.js';
import { type CreateEndpoint, type RemoveEndpoint } from './commands.js';
import { type Draft } from './draft.js';
import { KEY } from './keys.js';
import { heldUntil, type Domain } from './networks-index.js';
import { findEndpoint, findNetwork, findNode, nodeName, seconds, type Planning } from './planning.js';
import { type AddressRecord, type EndpointRecord, type NetworkRecord, type NodeRecord } from './records.js';
import { Refused, refusing } from './refusal.js';
import { type State } from './state.js';

/** An endpoint that is to be made. */
export type NewEndpoint = Pick<EndpointRecord, 'id' | 'name' | 'kind' | 'aliases' | 'of'> & {
  readonly network: NetworkRecord;
  readonly node: NodeRecord;
  readonly addresses?: readonly string[] | undefined;
  readonly mac?: string | undefined;
  /** The id of an endpoint that the same transaction removes: its name is free. */
  readonly replaces?: string | undefined;
};

/** The addresses that other transactions give, of which the state does not know yet. */
export class Given {
  /** The last one of each family in a domain. */
  readonly #last = new Map<string, string>();
  readonly #all = new Set<string>();

  /** Whether an address is given, by its key. */
  has(key: string): boolean {
    return this.#all.has(key);
  }

  /** The next free address of a domain. @throws Refused `exhausted` */
  next(network: string, domain: Domain, family: 4 | 6, now: number): string {
    const key = `${network} ${domain.vni} ${family}`;
    const ip = refusing({ ip: 'network' }, () => domain.addresses.next(now, { family, after: this.#last.get(key) }));
    this.#last.set(key, ip);
    const name = KEY.address(network, ip);
    if (this.#all.has(name)) throw new Refused('exhausted', `network: no address is free in it; try again`, 'network');
    this.#all.add(name);
    return ip;
  }
}

export function createEndpoint(command: CreateEndpoint, planning: Planning): EndpointRecord {
  const { state, draft, self, role } = planning;
  const network = findNetwork(state, command.network);
  const node = command.node === undefined ? self! : findNode(state, command.node);
  if (role === 'worker' && node.id !== self!.id)
    throw new Refused('forbidden', 'node: a worker creates endpoints on itself only; run this on a manager', 'node');
  const { name, kind, addresses, mac, aliases = [] } = command;
  if (command.id !== undefined) {
    const before = state.endpoints.get(command.id);
    if (before !== undefined) {
      if (before.node === node.id && before.network === network.id && before.name === name && before.kind === kind)
        return before;
      throw new Refused('conflict', `id: there is another endpoint ${before.id} already`, 'id');
    }
  }
  if (node.state === 'left') throw new Refused('conflict', `node: ${node.name} has left the cluster`, 'node');
  if (!takesPart(state, node.id, network.id)) requireFreeRoutes(network, node, planning);
  const id = command.id ?? newId(planning.random);
  return addEndpoint({ id, name, kind, network, node, addresses, mac, aliases }, draft, new Given(), planning);
}

/** Whether a node has an endpoint in a network. */
export function takesPart(state: State, node: string, network: string): boolean {
  for (const endpoint of state.endpointsOn(node).values()) if (endpoint.network === network) return true;
  return false;
}

function requireFreeRoutes(network: NetworkRecord, node: NodeRecord, { routes = [] }: Planning): void {
  if (routes.length === 0) return;
  const used = new PrefixSet();
  for (const { prefix, owner } of routes) used.add(prefix, owner);
  for (const { prefix } of network.subnets) {
    const [other] = used.overlaps(prefix, 1);
    if (other !== undefined)
      throw new Refused(
        'conflict',
        `network: subnet ${prefix} of network ${network.name} overlaps with ${other.prefix}, ${other.owner}, on ${node.name}; ` +
          'remove that route, or create the network with another subnet',
        'network',
      );
  }
}

/** Adds an endpoint with its addresses. @throws Refused */
export function addEndpoint(
  endpoint: NewEndpoint,
  draft: Draft,
  given: Given,
  { state, now }: Pick<Planning, 'state' | 'now'>,
): EndpointRecord {
  const { id, name, kind, of, network, node, aliases } = endpoint;
  requireFreeName(endpoint, state);
  const chosen = chooseAddresses(endpoint, given, state, now);
  const mac = chooseMac(endpoint, chosen, state);
  const record: EndpointRecord = {
    id,
    name,
    network: network.id,
    addresses: chosen.addresses,
    mac,
    node: node.id,
    kind,
    ...(of === undefined ? {} : { of }),
    aliases,
    created: now,
  };
  draft.expect(KEY.network(network.id));
  draft.expect(KEY.node(node.id));
  draft.touch(KEY.uses(network.id), {});
  draft.put(KEY.endpoint(network.id, id), record);
  draft.put(KEY.endpointName(network.id, name), id);
  draft.put(KEY.mac(network.id, mac), id);
  for (const ip of chosen.addresses) {
    const automatic = !(endpoint.addresses ?? []).includes(ip);
    draft.put(KEY.address(network.id, ip), { endpoint: id, automatic } satisfies AddressRecord);
  }
  return record;
}

/** The MAC address that an endpoint asks for, or the one that follows from its address. */
function chooseMac(
  { id, mac: asked, network }: NewEndpoint,
  { domain, addresses }: { domain: Domain; addresses: readonly string[] },
  state: State,
): string {
  const ownerOf = (mac: string): EndpointRecord | undefined =>
    state.endpoints.get((state.value(KEY.mac(network.id, mac)) as string | undefined) ?? '');
  if (asked === undefined) {
    const derived = macOf(domain.vni, addresses[0]!);
    // Another endpoint may have asked for it; nobody can for one that follows from a random id.
    return ownerOf(derived) === undefined ? derived : macToText(deriveMacFromText(id));
  }
  const mac = refusing({ mac: 'mac' }, () => requestMac(asked));
  const owner = ownerOf(mac);
  if (owner === undefined) return mac;
  throw new Refused(
    'conflict',
    `mac: endpoint ${owner.name} in network ${network.name} has ${mac}; choose another`,
    'mac',
  );
}

function requireFreeName({ name, network, replaces }: NewEndpoint, state: State): void {
  const other = state.endpointNamed(network.id, name);
  if (other !== undefined && other.id !== replaces)
    throw new Refused(
      'conflict',
      `name: network ${network.name} has an endpoint ${other.name} on ${nodeName(state, other.node)}; choose another name, or remove it`,
      'name',
    );
  const service = state.serviceNamed(name);
  if (service?.networks.includes(network.id) === true)
    throw new Refused(
      'conflict',
      `name: in network ${network.name}, ${name} is the name of a service; choose another`,
      'name',
    );
}

/** The addresses that an endpoint asks for, and automatic ones in the same segment for the other families. */
function chooseAddresses(
  { addresses: asked = [], network, node }: NewEndpoint,
  given: Given,
  state: State,
  now: number,
): { domain: Domain; addresses: string[] } {
  const domains = state.domains(network.id);
  const families = network.ipv6 ? ([4, 6] as const) : ([4] as const);
  if (asked.length === 0) {
    for (const [i, domain] of domains.entries()) {
      try {
        return { domain, addresses: families.map((family) => given.next(network.id, domain, family, now)) };
      } catch (error) {
        const isFull = error instanceof Refused && error.refusal.code === 'exhausted';
        if (!isFull || i === domains.length - 1) throw error;
      }
    }
  }
  const requested = asked.map((ip, i) => requestAddress(ip, `addresses[${i}]`, network, node, state, now));
  const [{ domain } = { domain: domains[0]! }] = requested;
  if (requested.some((one) => one.domain !== domain))
    throw new Refused(
      'invalid',
      `addresses: ${asked.join(' and ')} are in different segments of the network`,
      'addresses',
    );
  const familyOf = (ip: string): 4 | 6 => (ip.includes(':') ? 6 : 4);
  if (new Set(asked.map(familyOf)).size < asked.length)
    throw new Refused('invalid', 'addresses: at most one IPv4 and one IPv6 address', 'addresses');
  const addresses = families.map(
    (family) => requested.find(({ ip }) => familyOf(ip) === family)?.ip ?? given.next(network.id, domain, family, now),
  );
  return { domain, addresses };
}

function requestAddress(
  text: string,
  field: string,
  network: NetworkRecord,
  node: NodeRecord,
  state: State,
  now: number,
): { ip: string; domain: Domain } {
  const domains = state.domains(network.id);
  const domain = domains.find(({ addresses }) => addresses.subnetOf(text) !== undefined);
  if (domain === undefined) {
    const subnets = network.subnets.map(({ prefix }) => prefix).join(', ');
    throw new Refused(
      'invalid',
      `${field}: ${text} is in no subnet of network ${network.name}; they are ${subnets}`,
      field,
    );
  }
  const record = state.value(KEY.address(network.id, text)) as AddressRecord | undefined;
  if (record !== undefined && 'endpoint' in record) {
    const owner = state.endpoints.get(record.endpoint);
    const who = owner === undefined ? record.endpoint : `${owner.name} on ${nodeName(state, owner.node)}`;
    throw new Refused('conflict', `${field}: endpoint ${who} has ${text}; choose another address, or none`, field);
  }
  // The node that had it last uses it for one endpoint after the other.
  if (record !== undefined && record.node !== node.id) {
    const before = state.nodes.get(record.node);
    const until = heldUntil(record, state);
    if (before?.state === 'failed')
      throw new Refused(
        'conflict',
        `${field}: ${before.name} had ${text} and has failed, and may still use it; choose another address, or remove the node`,
        field,
      );
    if (now < until)
      throw new Refused(
        'conflict',
        `${field}: ${text} was released by ${nodeName(state, record.node)} a short time ago; try again in ${seconds(until - now)}, or choose another address`,
        field,
      );
  }
  if (record === undefined) refusing({ ip: field }, () => domain.addresses.request(text));
  return { ip: text, domain };
}

export function removeEndpoint(command: RemoveEndpoint, { state, draft, now, self, role }: Planning): EndpointRecord {
  const network = findNetwork(state, command.network);
  const endpoint = findEndpoint(state, network, command.endpoint);
  if (role === 'worker' && endpoint.node !== self!.id)
    throw new Refused('forbidden', `endpoint: ${endpoint.name} is on another node; run this on a manager`, 'endpoint');
  if (endpoint.of !== undefined) {
    const service = state.services.get(endpoint.of.service)?.name ?? endpoint.of.service;
    throw new Refused(
      'in-use',
      `endpoint: ${endpoint.name} belongs to service ${service}; scale or remove the service`,
      'endpoint',
    );
  }
  endEndpoint(endpoint, draft, now);
  return endpoint;
}

/** Removes an endpoint and releases its addresses. */
export function endEndpoint(endpoint: EndpointRecord, draft: Draft, now: number): void {
  const { network, id, name, mac, addresses, node } = endpoint;
  draft.delete(KEY.endpoint(network, id));
  draft.delete(KEY.endpointName(network, name));
  draft.delete(KEY.mac(network, mac));
  for (const ip of addresses) draft.put(KEY.address(network, ip), { released: now, node } satisfies AddressRecord);
}
