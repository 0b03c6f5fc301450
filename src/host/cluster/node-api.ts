/**
 * The local API of a node: answers each request with its `ClusterNode`. What only reads a VTEP goes to that of the node; what changes
 * one is refused, because the cluster decides what a node has.
 */
import { join } from 'node:path';
import { type EndpointRecord, type NetworkRecord, type Role, type View } from '../../cluster/index.js';
import {
  isNodeRequest,
  listed,
  type ControlRequest,
  type EndpointEntry,
  type JoinToken,
  type NodeRequest,
  type NodeResults,
  type NodeStatus,
  type Request,
} from '../../schema/index.js';
import { HostError, RequestError } from '../error.js';
import { type Logger } from '../log.js';
import { type ClusterNode } from './cluster-node.js';
import { ClusterError, NO_CLUSTER } from './error.js';
import { hostRoutes } from './host-routes.js';
import { LocalEndpoints } from './local-endpoints.js';
import { placeOf } from './node-addresses.js';
import { requestErrorOf } from './node-errors.js';
import {
  ELSEWHERE,
  endpointEntry,
  endpointsCalled,
  namesOfAssignment,
  namesOfView,
  networkDetails,
  networkEntries,
  nodeEntries,
  recordIn,
  serviceDetails,
  serviceEntry,
  type Names,
} from './node-listings.js';
import { logsOf } from './node-logs.js';
import { NodeRuns } from './node-runs.js';
import { Runs } from './runs.js';
import { parseToken } from './token.js';

type Asked<C extends NodeRequest['command']> = Extract<NodeRequest, { command: C }>;
type Handlers = {
  [C in NodeRequest['command']]: (
    request: Asked<C>,
    gone: AbortSignal,
  ) => Promise<C extends 'logs' ? unknown : NodeResults[C]>;
};

export interface NodeApiOptions {
  readonly node: ClusterNode;
  /** The state directory. */
  readonly directory: string;
  readonly log: Logger;
  /** Called when a client wants the daemon to stop. */
  stop(): void;
}

/** Milliseconds between two looks at what the node has done while a client waits. */
const LOOK = 1000;

/** What to use in place of a request that changes a VTEP. */
const INSTEAD: Readonly<Partial<Record<Request['command'], string>>> = {
  attach: 'attach-endpoint (vtep attach NETWORK)',
  detach: 'detach-endpoint (vtep detach NAME)',
  'add-segment': 'create-network (vtep network create)',
  'remove-segment': 'delete-network (vtep network rm)',
  'add-network': 'create-network (vtep network create)',
  'remove-network': 'delete-network (vtep network rm)',
  'add-endpoint': 'attach-endpoint (vtep attach NETWORK)',
  'remove-endpoint': 'detach-endpoint (vtep detach NAME)',
  'add-peer': 'join (vtep join) on the other host',
  'remove-peer': 'remove-node (vtep node rm)',
  'install-key': 'rotate-gossip-keys',
  'use-key': 'rotate-gossip-keys',
  'remove-key': 'rotate-gossip-keys',
  reload: 'the requests of a node: it has no configuration file',
};

export class NodeApi {
  readonly #node: ClusterNode;
  readonly #log: Logger;
  readonly #stop: () => void;
  readonly #local: LocalEndpoints;
  readonly #runs: Runs;
  readonly #making: NodeRuns;

  /** @throws HostError if a file of the state directory cannot be read. */
  constructor({ node, directory, log, stop }: NodeApiOptions) {
    this.#node = node;
    this.#log = log;
    this.#stop = stop;
    this.#runs = new Runs(join(directory, 'runs.json'), (message) => log.warning('state', message));
    this.#local = new LocalEndpoints(node, () => this.#runs);
    this.#making = new NodeRuns({ node, local: this.#local, runs: this.#runs, log });
  }

  /**
   * Answers a request.
   * @param gone Aborted when the client has gone: streams end.
   * @param goesOn Called about once per second while the node makes or removes things that the answer may wait for.
   * @throws SchemaError, RequestError
   */
  async answer(
    request: Exclude<ControlRequest, { command: 'version' | 'openapi' }>,
    gone: AbortSignal,
    goesOn: () => void = () => undefined,
  ): Promise<unknown> {
    if (!isNodeRequest(request)) return this.#ofVtep(request, gone);
    if (this.#node.identity === undefined && !['node', 'init', 'join'].includes(request.command)) throw noCluster();
    let done = this.#node.done;
    const look = setInterval(() => {
      if (this.#node.done !== done) goesOn();
      done = this.#node.done;
    }, LOOK);
    try {
      const handle = this.#handlers[request.command] as (request: NodeRequest, gone: AbortSignal) => Promise<unknown>;
      return await handle(request, gone);
    } catch (error) {
      throw requestErrorOf(error, request);
    } finally {
      clearInterval(look);
    }
  }

  /** Ends the watch of what it has made. What runs stays. */
  close(): Promise<void> {
    return this.#making.close();
  }

  #ofVtep(request: Request, gone: AbortSignal): Promise<unknown> | object {
    if (request.command === 'stop') {
      setImmediate(this.#stop); // after the reply has been sent
      return {};
    }
    const node = this.#node;
    if (node.identity === undefined) throw noCluster();
    const instead = INSTEAD[request.command];
    if (instead !== undefined)
      throw new RequestError(
        'conflict',
        `the managers of the cluster decide what this VTEP has; in place of ${request.command}, use ${instead}`,
      );
    if (node.overlay === undefined)
      throw new RequestError(
        'unavailable',
        `this node has no VTEP yet: ${node.outcomeOf('') ?? 'it has not heard from a manager'}`,
      );
    return node.overlay.answer(request, gone);
  }

  // ---- What each request does ----

  readonly #handlers: Handlers = {
    node: async () => this.#status(),

    init: async ({ command: _, address, dataPath, name, ...wanted }) => {
      this.#node.requireNone();
      const place = await placeOf(given({ address, dataPath, name }));
      const { node, cluster } = await this.#node.init({ ...wanted, ...place });
      return { ...this.#token('worker'), node, cluster };
    },

    join: async ({ command: _, token, managers, address, dataPath, name }) => {
      this.#node.requireNone();
      requireToken(token);
      const place = await placeOf(given({ address, dataPath, name }), managers);
      await this.#node.join({ token, managers, ...place });
      return this.#status();
    },

    leave: async ({ force = false }) => {
      await this.#node.leave(force);
      this.#runs.clear();
      return {};
    },

    token: async ({ role }) => this.#token(role),

    'rotate-token': async ({ role }) => {
      await this.#node.command({ do: 'rotate-token', role });
      return this.#token(role);
    },

    'rotate-gossip-keys': async ({ force }) =>
      (await this.#node.command({ do: 'rotate-gossip-keys', force })) as { tag: number },

    nodes: async () => nodeEntries(await this.#view(), this.#self.id),

    'remove-node': async ({ node, force }) => identityOf(await this.#node.command({ do: 'remove-node', node, force })),

    'cluster-networks': async () => networkEntries(await this.#view()),

    'cluster-network': async ({ network }) => {
      const view = await this.#view();
      const record = recordIn('network', network, view.networks);
      const endpoints = view.endpoints.filter((endpoint) => endpoint.network === record.id);
      const encryption = this.#node.overlay?.encryption() ?? new Map<string, never>();
      return networkDetails(record, await this.#entries(endpoints, namesOfView(view)), view, encryption);
    },

    'create-network': async ({ command: _, ...wanted }) =>
      (await this.#node.command({ do: 'create-network', ...wanted, routes: await hostRoutes() })) as NetworkRecord,

    'rotate-network-key': async ({ network }) =>
      (await this.#node.command({ do: 'rotate-network-key', network })) as NodeResults['rotate-network-key'],

    'delete-network': async ({ network }) => identityOf(await this.#node.command({ do: 'remove-network', network })),

    endpoints: async ({ network }) => {
      const { networks, endpoints, names } = await this.#known();
      const record = network === undefined ? undefined : recordIn('network', network, networks);
      return this.#entries(
        endpoints.filter((endpoint) => record === undefined || endpoint.network === record.id),
        names,
      );
    },

    'attach-endpoint': async (request) => this.#entry(await this.#making.attach(request)),

    'detach-endpoint': async (request) => this.#detach(request),

    run: async (request) => this.#entry(await this.#making.run(request)),

    sandbox: async ({ name }) => this.#entry(await this.#sandbox(name)),

    services: async () => {
      const view = await this.#view();
      return view.services.map((service) => serviceEntry(service, view));
    },

    service: async ({ service }) => {
      const view = await this.#view();
      return serviceDetails(recordIn('service', service, view.services), view);
    },

    'create-service': async ({ command: _, run, ...wanted }) =>
      this.#service(await this.#node.command({ do: 'create-service', command: run, ...wanted })),

    'scale-service': async ({ service, replicas }) =>
      this.#service(await this.#node.command({ do: 'scale-service', service, replicas })),

    'remove-service': async ({ service }) => identityOf(await this.#node.command({ do: 'remove-service', service })),

    logs: async (request, gone) =>
      logsOf(
        request,
        {
          local: this.#local,
          node: this.#self,
          serviceName: (id) => this.#node.assignment?.tasks.find(({ service }) => service === id)?.serviceName,
          view: await this.#viewIfAny(),
          remote: (wanted) => this.#node.remoteOutput(wanted),
        },
        gone,
      ),
  };

  // ---- The node ----

  get #self(): { id: string; name: string } {
    const id = this.#node.identity!.node;
    return { id, name: this.#node.place?.name ?? id };
  }

  #status(): NodeStatus {
    const { identity, place, assignment, isConnected: connected } = this.#node;
    const { node = null, cluster = null } = identity ?? {};
    return {
      ...{ state: identity === undefined ? 'none' : 'member', node, name: place?.name ?? null, cluster },
      role: assignment?.role ?? identity?.role ?? null,
      ...{ address: place?.address ?? null, connected, revision: assignment?.revision ?? null },
    };
  }

  #token(role: Role): JoinToken {
    return { role, token: this.#node.token(role), managers: this.#node.managers };
  }

  // ---- What the managers say ----

  async #view(): Promise<View> {
    return (await this.#node.command({ do: 'view' })) as View;
  }

  /** What the managers say; `undefined` if none answers. */
  async #viewIfAny(): Promise<View | undefined> {
    try {
      return await this.#view();
    } catch (error) {
      if (!(error instanceof ClusterError)) throw error;
      this.#log.debug('manager', error.message);
      return undefined;
    }
  }

  /** What the managers say, or, if none answers, what this node is assigned. */
  async #known(): Promise<{
    networks: readonly NetworkRecord[];
    endpoints: readonly EndpointRecord[];
    names: Names;
  }> {
    const view = await this.#viewIfAny();
    if (view !== undefined) return { ...view, names: namesOfView(view) };
    const { assignment } = this.#node;
    if (assignment === undefined)
      throw new RequestError('no-manager', 'no manager answers, and this node has no endpoints');
    return { ...assignment, names: this.#ownNames() };
  }

  #ownNames(): Names {
    return namesOfAssignment(this.#node.assignment!, this.#node.place?.name);
  }

  async #service(answer: unknown): Promise<NodeResults['create-service']> {
    const view = await this.#view();
    return serviceEntry(recordIn('service', identityOf(answer).id, view.services), view);
  }

  // ---- Endpoints ----

  async #entries(endpoints: readonly EndpointRecord[], names: Names): Promise<EndpointEntry[]> {
    const entries: EndpointEntry[] = [];
    for (const endpoint of endpoints)
      entries.push(
        endpointEntry(
          endpoint,
          names,
          endpoint.node === this.#self.id ? await this.#local.stateOf(endpoint) : ELSEWHERE,
        ),
      );
    return entries;
  }

  /** An endpoint on this node. */
  async #entry(endpoint: EndpointRecord): Promise<EndpointEntry> {
    return endpointEntry(endpoint, this.#ownNames(), await this.#local.stateOf(endpoint));
  }

  /** @throws RequestError that says on which node it is. */
  async #sandbox(name: string): Promise<EndpointRecord> {
    const found = this.#local.called(name);
    const places = new Set(found.map((endpoint) => this.#local.placeOf(endpoint)));
    if (places.size === 1) return found[0]!;
    if (places.size > 1) throw this.#ambiguous('name', name, found, this.#ownNames());
    const view = await this.#viewIfAny();
    const elsewhere = view === undefined ? [] : endpointsCalled(name, view.endpoints);
    if (elsewhere.length === 0) {
      const also = view === undefined ? ', and no manager answers that knows others' : '';
      throw wrong('not-found', 'name', `there is no endpoint ${name} on this node${also}; "vtep ps" lists them`);
    }
    const hosts = new Set(elsewhere.map(({ node }) => namesOfView(view!).node(node)));
    const [{ name: own }] = elsewhere as [EndpointRecord];
    throw wrong('elsewhere', 'name', `${own} is on ${listed([...hosts])}; run this there`);
  }

  async #detach({ endpoint: reference, network }: Asked<'detach-endpoint'>): Promise<NodeResults['detach-endpoint']> {
    const { networks, endpoints, names } = await this.#known();
    const record = network === undefined ? undefined : recordIn('network', network, networks);
    const found = endpointsCalled(
      reference,
      endpoints.filter((one) => record === undefined || one.network === record.id),
    );
    if (found.length > 1) throw this.#ambiguous('endpoint', reference, found, names);
    const [one] = found;
    if (one === undefined) {
      const where = record === undefined ? '' : ` in network ${record.name}`;
      throw wrong('not-found', 'endpoint', `there is no endpoint ${reference}${where}; "vtep ps" lists them`);
    }
    await this.#node.command({ do: 'remove-endpoint', network: one.network, endpoint: one.id });
    if (one.node === this.#self.id) await this.#local.gone(one);
    return { id: one.id, name: one.name, network: names.network(one.network) };
  }

  #ambiguous(field: string, reference: string, found: readonly EndpointRecord[], names: Names): RequestError {
    const all = found.map(({ id, name, network }) => `${name} in ${names.network(network)} (${id})`);
    const how = field === 'endpoint' ? 'give the network, or the id' : 'give the id';
    return wrong('invalid-request', field, `${reference} may be each of several endpoints; ${how}: ${listed(all)}`);
  }
}

function noCluster(): RequestError {
  return new RequestError('no-cluster', NO_CLUSTER);
}

function wrong(code: RequestError['code'], path: string, message: string): RequestError {
  return new RequestError(code, `${path}: ${message}`, { fields: [{ path, message }] });
}

/** @throws RequestError that repeats no part of the token. */
function requireToken(token: string): void {
  try {
    parseToken(token);
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    throw wrong('invalid-request', 'token', error.message);
  }
}

function identityOf(answer: unknown): { id: string; name: string } {
  const { id, name } = answer as { id: string; name: string };
  return { id, name };
}

/** The fields that have a value. */
function given<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never;
}
