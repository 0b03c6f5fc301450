/**
 * The mirror of the store that a manager keeps in memory: all records, with indices for what commands and assignments look up.
 * It contains what the store says and nothing else, so that a mirror that was just filled equals one that has followed every change.
 */
import { PrefixSet, Vnis } from '../ipam/index.js';
import { splitKey } from './keys.js';
import { TIMES } from './limits.js';
import { domainsOf, noteAddress, type Domain } from './networks-index.js';
import { readRecord } from './record-checks.js';
import {
  type AddressRecord,
  type CaRecord,
  type ClusterRecord,
  type EndpointRecord,
  type GossipKey,
  type NetworkKey,
  type NetworkRecord,
  type NodeRecord,
  type Role,
  type ServiceRecord,
  type TaskRecord,
  type VniRecord,
} from './records.js';
import { type Item, type StoreChange } from './store.js';

/** A released address. */
export interface AddressMark {
  readonly network: string;
  readonly ip: string;
  readonly released: number;
  readonly node: string;
}

const NONE: ReadonlyMap<never, never> = new Map<never, never>();

/** Maps of maps: an inner map exists as long as it has an entry. */
class Nested<K, V> {
  readonly #maps = new Map<string, Map<K, V>>();
  of(outer: string): ReadonlyMap<K, V> {
    return this.#maps.get(outer) ?? (NONE as ReadonlyMap<K, V>);
  }
  set(outer: string, inner: K, value: V): void {
    const map = this.#maps.get(outer);
    if (map === undefined) this.#maps.set(outer, new Map([[inner, value]]));
    else map.set(inner, value);
  }
  delete(outer: string, inner: K): void {
    const map = this.#maps.get(outer);
    if (map?.delete(inner) === true && map.size === 0) this.#maps.delete(outer);
  }
  /** The outer keys. */
  keys(): Iterable<string> {
    return this.#maps.keys();
  }
}

export class State {
  /** The revision of the store that it shows. */
  revision = 0;
  /** Since when this manager hears which nodes have failed. */
  watching = 0;
  cluster: ClusterRecord | undefined;
  ca: CaRecord | undefined;
  /** Newest first. */
  gossipKeys: readonly GossipKey[] = [];
  readonly tokens = new Map<Role, string>();
  readonly nodes = new Map<string, NodeRecord>();
  readonly revoked = new Set<string>();
  /** When the last certificate of each node was revoked: when it left or was removed, if it did. */
  readonly gone = new Map<string, number>();
  readonly networks = new Map<string, NetworkRecord>();
  /** The keys of encrypted networks, the newest first, by network. */
  readonly networkKeys = new Map<string, readonly NetworkKey[]>();
  readonly services = new Map<string, ServiceRecord>();
  /** Endpoints by their ids, of all networks. */
  readonly endpoints = new Map<string, EndpointRecord>();
  /** The subnets of all networks. */
  readonly prefixes = new PrefixSet();
  readonly vnis = new Vnis();
  /** Released VNIs, with the time. */
  readonly vniMarks = new Map<number, number>();
  readonly addressMarks = new Map<string, AddressMark>();

  readonly #items = new Map<string, { value: unknown; modified: number }>();
  /** Ids by names in lower case. */
  readonly #networkNames = new Map<string, string>();
  readonly #serviceNames = new Map<string, string>();
  readonly #endpointNames = new Nested<string, string>();
  readonly #networkEndpoints = new Nested<string, EndpointRecord>();
  readonly #nodeEndpoints = new Nested<string, EndpointRecord>();
  readonly #addresses = new Nested<string, number>();
  readonly #tasks = new Nested<number, TaskRecord>();
  readonly #nodeTasks = new Nested<string, TaskRecord>();
  readonly #domains = new Map<string, Domain[]>();

  /**
   * A mirror of all items of a store.
   * @param watching Since when this manager hears which nodes have failed, in milliseconds since 1970.
   */
  static of({ revision, items }: { revision: number; items: readonly Item[] }, watching = 0): State {
    const state = new State();
    state.watching = watching;
    state.apply(
      revision,
      items.map((item) => ({ key: item.key, item })),
    );
    return state;
  }

  /**
   * Applies the changes of a revision: all of them, or none.
   * @throws RecordError for an item that cannot be read. Then nothing has changed.
   */
  apply(revision: number, changes: readonly StoreChange[]): void {
    const parsed = changes.map(({ key, item }) => ({
      key,
      value: readRecord(key, item === null ? null : item.value),
      modified: item?.modified ?? 0,
    }));
    // The addresses of a network are noted in its subnets, and for as long as its nodes say.
    const order = (key: string): number =>
      key.startsWith('revoked/') ? 0 : key.startsWith('nodes/') || key.startsWith('networks/') ? 1 : 2;
    parsed.sort((a, b) => order(a.key) - order(b.key));
    for (const { key, value, modified } of parsed) {
      const before = this.#items.get(key)?.value;
      if (before === undefined && value === undefined) continue; // there is nothing to delete
      if (value === undefined) this.#items.delete(key);
      else this.#items.set(key, { value, modified });
      this.#note(key, before, value, modified);
    }
    this.revision = revision;
  }

  /** The revision at which a key was last changed; 0 if it does not exist: for a condition. */
  modified(key: string): number {
    return this.#items.get(key)?.modified ?? 0;
  }

  /** The value of a key, whose type its kind says. */
  value(key: string): unknown {
    return this.#items.get(key)?.value;
  }

  networkNamed(name: string): NetworkRecord | undefined {
    return this.networks.get(this.#networkNames.get(name.toLowerCase()) ?? '');
  }

  serviceNamed(name: string): ServiceRecord | undefined {
    return this.services.get(this.#serviceNames.get(name.toLowerCase()) ?? '');
  }

  endpointNamed(network: string, name: string): EndpointRecord | undefined {
    return this.endpoints.get(this.#endpointNames.of(network).get(name.toLowerCase()) ?? '');
  }

  /** The endpoints of a network by id. */
  endpointsIn(network: string): ReadonlyMap<string, EndpointRecord> {
    return this.#networkEndpoints.of(network);
  }

  /** The endpoints on a node by id. */
  endpointsOn(node: string): ReadonlyMap<string, EndpointRecord> {
    return this.#nodeEndpoints.of(node);
  }

  /** Nodes that endpoints name, whether or not these nodes exist. */
  nodesWithEndpoints(): Iterable<string> {
    return this.#nodeEndpoints.keys();
  }

  /** The tasks of a service by slot. */
  tasksOf(service: string): ReadonlyMap<number, TaskRecord> {
    return this.#tasks.of(service);
  }

  /** The tasks on a node by id; those of node `` have none. */
  tasksOn(node: string): ReadonlyMap<string, TaskRecord> {
    return this.#nodeTasks.of(node);
  }

  /** Services that tasks name, whether or not these services exist. */
  servicesWithTasks(): Iterable<string> {
    return this.#tasks.keys();
  }

  /** The broadcast domains of a network, with the addresses that are in use. */
  domains(network: string): readonly Domain[] {
    return this.#domains.get(network) ?? [];
  }

  #note(key: string, before: unknown, value: unknown, modified: number): void {
    const [kind, first, second] = splitKey(key);
    switch (kind) {
      case 'cluster':
        this.cluster = value as ClusterRecord | undefined;
        return;
      case 'ca':
        this.ca = value as CaRecord | undefined;
        return;
      case 'gossip-keys':
        this.gossipKeys = (value as readonly GossipKey[] | undefined) ?? [];
        return;
      case 'tokens':
        return setOrDelete(this.tokens, first as Role, value as string | undefined);
      case 'revoked':
        return this.#noteRevoked(first, value as { node: string; at: number } | undefined);
      case 'nodes':
        return this.#noteNode(first, value as NodeRecord | undefined);
      case 'networks':
        return this.#noteNetwork(first, before as NetworkRecord | undefined, value as NetworkRecord | undefined);
      case 'network-keys':
        return setOrDelete(this.networkKeys, first, value as readonly NetworkKey[] | undefined);
      case 'network-names':
        return setOrDelete(this.#networkNames, first, value as string | undefined);
      case 'service-names':
        return setOrDelete(this.#serviceNames, first, value as string | undefined);
      case 'services':
        return setOrDelete(this.services, first, value as ServiceRecord | undefined);
      case 'vnis':
        return this.#noteVni(Number(first), value as VniRecord | undefined, modified);
      case 'endpoint-names':
        if (value === undefined) this.#endpointNames.delete(first, second);
        else this.#endpointNames.set(first, second, value as string);
        return;
      case 'endpoints':
        return this.#noteEndpoint(first, second, before as EndpointRecord | undefined, value as EndpointRecord);
      case 'addresses':
        return this.#noteAddress(key, first, second, value as AddressRecord | undefined, modified);
      case 'tasks':
        return this.#noteTask(first, Number(second), before as TaskRecord | undefined, value as TaskRecord | undefined);
      default: // keys that only conditions look at
        return;
    }
  }

  #noteRevoked(fingerprint: string, record: { node: string; at: number } | undefined): void {
    if (record === undefined) {
      this.revoked.delete(fingerprint);
      return;
    }
    this.revoked.add(fingerprint);
    this.gone.set(record.node, Math.max(record.at, this.gone.get(record.node) ?? 0));
  }

  #noteNode(id: string, node: NodeRecord | undefined): void {
    const before = this.nodes.get(id);
    setOrDelete(this.nodes, id, node);
    if (before?.state === node?.state && before?.since === node?.since) return;
    for (const { network, ip, released, node: of } of this.addressMarks.values())
      if (of === id) noteAddress(this.domains(network), ip, { released, node: of }, 0, this);
  }

  #noteNetwork(id: string, before: NetworkRecord | undefined, network: NetworkRecord | undefined): void {
    setOrDelete(this.networks, id, network);
    // Managers do not change subnets or names. A damaged store must not make two mirrors differ for it.
    const what = (one: NetworkRecord | undefined): string => JSON.stringify([one?.name, one?.subnets]);
    if (what(before) === what(network)) return;
    for (const { prefix } of before?.subnets ?? []) this.prefixes.remove(prefix, `network ${before!.name}`);
    this.#domains.delete(id);
    if (network === undefined) return;
    for (const { prefix } of network.subnets) this.prefixes.add(prefix, `network ${network.name}`);
    const domains = domainsOf(network);
    this.#domains.set(id, domains);
    for (const [ip, modified] of this.#addresses.of(id))
      noteAddress(domains, ip, this.value(`addresses/${id}/${ip}`) as AddressRecord, modified, this);
  }

  #noteVni(vni: number, record: VniRecord | undefined, modified: number): void {
    this.vniMarks.delete(vni);
    if (record === undefined) this.vnis.forget(vni);
    else if ('network' in record) this.vnis.take(vni, record.network, record.automatic ? modified : undefined);
    else {
      this.vniMarks.set(vni, record.released);
      this.vnis.release(vni, record.released + TIMES.hold);
    }
  }

  #noteEndpoint(
    network: string,
    id: string,
    before: EndpointRecord | undefined,
    value: EndpointRecord | undefined,
  ): void {
    if (before !== undefined && before.node !== value?.node) this.#nodeEndpoints.delete(before.node, id);
    setOrDelete(this.endpoints, id, value);
    if (value === undefined) {
      this.#networkEndpoints.delete(network, id);
      return;
    }
    this.#networkEndpoints.set(network, id, value);
    this.#nodeEndpoints.set(value.node, id, value);
  }

  #noteAddress(key: string, network: string, ip: string, record: AddressRecord | undefined, modified: number): void {
    if (record === undefined) this.#addresses.delete(network, ip);
    else this.#addresses.set(network, ip, modified);
    if (record === undefined || 'endpoint' in record) this.addressMarks.delete(key);
    else this.addressMarks.set(key, { network, ip, ...record });
    noteAddress(this.domains(network), ip, record, modified, this);
  }

  #noteTask(service: string, slot: number, before: TaskRecord | undefined, task: TaskRecord | undefined): void {
    if (before !== undefined) this.#nodeTasks.delete(before.node, before.id);
    if (task === undefined) {
      this.#tasks.delete(service, slot);
      return;
    }
    this.#tasks.set(service, slot, task);
    this.#nodeTasks.set(task.node, task.id, task);
  }
}

function setOrDelete<K, V>(map: Map<K, V>, key: K, value: V | undefined): void {
  if (value === undefined) map.delete(key);
  else map.set(key, value);
}
