/** What the functions that plan commands have in common: their context, and how they find what a command names. */
import { Draft } from './draft.js';
import { type EndpointRecord, type NetworkRecord, type NodeRecord, type Role, type ServiceRecord } from './records.js';
import { Refused, some } from './refusal.js';
import { LIMITS } from './limits.js';
import { type State } from './state.js';

/** Who sends a command: what its certificate says. */
export interface Actor {
  /** The id of its node. */
  readonly node: string;
  readonly role: Role;
}

/** What a command depends on beside the state and its own fields. */
export interface Context {
  /** Milliseconds since 1970. */
  readonly now: number;
  /**
   * A number from 0 up to but not including 1, with 32 random bits. Tokens and gossip keys are made of it: outside of tests it
   * must be fit for secrets.
   */
  random(): number;
  /** Absent: nobody. Then only `init-cluster` and `join` are possible. */
  readonly actor?: Actor | undefined;
  /** Routes of the host that a network is created on, or extended to, which its subnets must not overlap. */
  readonly routes?: readonly { readonly prefix: string; /** `route of host2 by eth0` */ readonly owner: string }[];
}

/** One command while it is planned. */
export interface Planning extends Context {
  readonly state: State;
  readonly draft: Draft;
  /** The record of the actor's node. */
  readonly self?: NodeRecord | undefined;
  /** What the actor may do: no more than its record and its certificate both say. */
  readonly role: Role;
}

/**
 * One of the records by its id, its name, or the beginning of its id, as in Docker.
 * @param named The records of a name.
 * @throws Refused
 */
export function findRecord<T extends { readonly id: string; readonly name: string }>(
  what: string,
  field: string,
  reference: string,
  records: ReadonlyMap<string, T>,
  named: (name: string) => readonly T[],
): T {
  const exact = records.get(reference);
  if (exact !== undefined) return exact;
  let found = named(reference);
  if (found.length === 0 && reference.length >= LIMITS.idBeginning)
    found = [...records.values()].filter(({ id }) => id.startsWith(reference));
  if (found.length === 1) return found[0]!;
  if (found.length === 0) throw new Refused('not-found', `${field}: there is no ${what} ${reference}`, field);
  const ids = some(found.map(({ id }) => id));
  throw new Refused('invalid', `${field}: ${reference} may be each of several ${what}s; use the id: ${ids}`, field);
}

const maybe = <T>(one: T | undefined): readonly T[] => (one === undefined ? [] : [one]);

export function findNetwork(state: State, reference: string, field = 'network'): NetworkRecord {
  return findRecord('network', field, reference, state.networks, (name) => maybe(state.networkNamed(name)));
}

export function findService(state: State, reference: string): ServiceRecord {
  return findRecord('service', 'service', reference, state.services, (name) => maybe(state.serviceNamed(name)));
}

export function findNode(state: State, reference: string): NodeRecord {
  return findRecord('node', 'node', reference, state.nodes, (name) =>
    [...state.nodes.values()].filter((node) => node.name.toLowerCase() === name.toLowerCase()),
  );
}

export function findEndpoint(state: State, network: NetworkRecord, reference: string): EndpointRecord {
  return findRecord(
    `endpoint in network ${network.name} called`,
    'endpoint',
    reference,
    state.endpointsIn(network.id),
    (name) => maybe(state.endpointNamed(network.id, name)),
  );
}

/** The name of a node for messages. */
export function nodeName(state: State, id: string): string {
  return state.nodes.get(id)?.name ?? id;
}

/** Seconds for messages. */
export function seconds(milliseconds: number): string {
  return `${Math.max(1, Math.ceil(milliseconds / 1000))} s`;
}
