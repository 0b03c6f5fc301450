/**
 * The names of a node's endpoints: which ones it announces, and the answers that its endpoints get at their gateways. They
 * come from the gossip, so that they need no manager.
 */
import { type AssignedTask, type Assignment, type EndpointRecord, type NetworkRecord } from '../../cluster/index.js';
import { type GatewayRequest } from '../gateway-service.js';
import { type NamedLocation } from '../gossip-networks.js';
import { NameService, type NamedNetwork } from '../names/name-service.js';
import { Forwarder } from '../names/forwarder.js';
import { type HostResolvConf } from '../names/resolv-conf.js';
import { type Overlay } from '../overlay.js';

/** The port of DNS. */
export const NAME_PORT = 53;

/** The names that a node announces: those of endpoints with a device, and, of tasks, whose command runs. By network. */
export function ownNames(
  { endpoints, networks, tasks }: Assignment,
  isRunning: (task: AssignedTask) => boolean,
): Map<string, NamedLocation[]> {
  const names = new Map(networks.map(({ id }) => [id, [] as NamedLocation[]]));
  const taskOf = new Map(tasks.flatMap((task) => task.endpoints.map(({ id }) => [id, task] as const)));
  for (const { id, network, name, aliases, addresses, mac, kind } of endpoints) {
    const task = taskOf.get(id);
    if (kind === 'task' && (task === undefined || !isRunning(task))) continue;
    const service = task === undefined ? undefined : { id: task.service, name: task.serviceName };
    names.get(network)?.push(...addresses.map((ip) => ({ ip, mac, name, aliases, service })));
  }
  return names;
}

/**
 * The networks whose names an endpoint sees, first its own: all those that its sandbox is in. A sandbox has one resolver, which
 * asks at its first network.
 */
export function networksOfEndpoint({ endpoints, networks, tasks }: Assignment, own: EndpointRecord): NetworkRecord[] {
  const task = tasks.find(({ endpoints: places }) => places.some(({ id }) => id === own.id));
  const ids = [own.id, ...(task?.endpoints.map(({ id }) => id) ?? [])];
  const all = ids.flatMap((id) => endpoints.find((endpoint) => endpoint.id === id)?.network ?? []);
  return [...new Set(all)].flatMap((id) => networks.find((network) => network.id === id) ?? []);
}

export class NodeNames {
  readonly #overlay: Overlay;
  readonly #forwarder: Forwarder;
  readonly #service: NameService;
  /** By VNI: the network. By VNI and address of an endpoint of this node: the networks that it sees. */
  #networks = new Map<number, NamedNetwork>();
  #seen = new Map<string, readonly NamedNetwork[]>();
  #gateways: ReadonlySet<string> = new Set();

  /** @param host The name servers that everything else is passed on to. */
  constructor(overlay: Overlay, host: HostResolvConf) {
    this.#overlay = overlay;
    this.#forwarder = new Forwarder({
      // A gateway would pass the question on to this host again.
      servers: async () => (await host.read()).servers.filter((server) => !this.#gateways.has(server)),
    });
    this.#service = new NameService({ forwarder: this.#forwarder });
  }

  /** The networks and endpoints of this node are these. */
  assign(assignment: Assignment): void {
    const { networks, endpoints } = assignment;
    const named = new Map(networks.map((network) => [network.id, this.#named(network)]));
    this.#networks = new Map(
      networks.flatMap(({ id, subnets }) => subnets.map(({ vni }) => [vni, named.get(id)!] as const)),
    );
    this.#seen = new Map(
      endpoints.flatMap((endpoint) => {
        const seen = networksOfEndpoint(assignment, endpoint).map(({ id }) => named.get(id)!);
        const vnis = networks.find(({ id }) => id === endpoint.network)?.subnets.map(({ vni }) => vni) ?? [];
        return vnis.flatMap((vni) => endpoint.addresses.map((ip) => [`${vni} ${ip}`, seen] as const));
      }),
    );
    this.#gateways = new Set(networks.flatMap(({ subnets }) => subnets.map(({ gateway }) => gateway)));
  }

  #named({ id, name, subnets, internal }: NetworkRecord): NamedNetwork {
    const known = (): ReturnType<NonNullable<Overlay['gossip']>['namesIn']> => this.#overlay.gossip?.namesIn(id);
    return {
      ...{ name, internal, prefixes: subnets.map(({ prefix }) => prefix) },
      addressesOf: (asked) => known()?.addressesOf(asked) ?? [],
      namesOf: (ip) => known()?.namesOf(ip) ?? [],
    };
  }

  /** Answers a question, whatever its bytes are; `undefined` for what gets no answer. */
  async answer({ vni, source, payload, room }: GatewayRequest): Promise<Uint8Array | undefined> {
    const network = this.#networks.get(vni);
    if (network === undefined) return undefined;
    const client = `${vni} ${source}`;
    return this.#service.answer(payload, this.#seen.get(client) ?? [network], client, room);
  }

  /** Ends the questions that were passed on. */
  close(): void {
    this.#forwarder.close();
  }
}
