/**
 * The commands of a node of a cluster, a part of the table in commands.ts; node-types.ts documents the fields. A schema here
 * tells a program what a field is; the managers, who know the cluster, decide whether it can be.
 */
import { Type, type TSchema } from '@sinclair/typebox';
import { ESP_PORT, LIMITS, MANAGER_PORT, VXLAN_PORT } from '../cluster/index.js';
import { fields, type CommandEntry, type Entry } from './command-entry.js';
import { DeviceName, HostIp, Ip, Mac, ManagerPlace, Netns, Subnet } from './formats.js';
import {
  ClusterNetworkEntry,
  EndpointEntry,
  InitResult,
  JoinToken,
  NetworkDetails,
  NetworkRecord,
  NodeEntry,
  NodeStatus,
  OutputEvent,
  RemovedEndpoint,
  RemovedRecord,
  RotatedKeys,
  RotatedNetworkKey,
  ServiceDetails,
  ServiceEntry,
} from './node-results.js';
import { type NodeRequest } from './node-types.js';
import { Done } from './results.js';
import { type ControlRequest } from './types.js';

type NodeCommand = NodeRequest['command'];

/** Most octets of a path (linux/limits.h). */
const MAX_PATH = 4095;
/** Most managers that a request to join has. */
const MANAGERS = 64;
/** Most lines of each command's output that a request asks for. */
const LINES = 1_000_000;
/** The largest process id (proc(5), `pid_max`). */
const MAX_PID = 4_194_304;

const integer = (least: number, most: number, what = 'an integer'): TSchema & { static: number } =>
  Type.Integer({ minimum: least, maximum: most, expected: `${what} from ${least} to ${most}` });
const name = (most: number): TSchema & { static: string } =>
  Type.String({
    pattern: '^[a-zA-Z0-9][a-zA-Z0-9_.-]*$',
    maxLength: most,
    expected: `a name of 1 to ${most} letters, digits, "_", "." and "-" that begins with a letter or a digit`,
  });
const reference = (most: number): TSchema & { static: string } =>
  Type.String({
    pattern: '^[a-zA-Z0-9][a-zA-Z0-9_.-]*$',
    maxLength: most,
    expected: 'a name, an id, or the beginning of an id',
  });
const list = <T extends TSchema>(
  item: T,
  least: number,
  most: number,
  what: string,
): TSchema & { static: T['static'][] } =>
  Type.Array(item, { minItems: least, maxItems: most, expected: `a list of ${least} to ${most} ${what}` });
/** An object with a text by name. */
const texts = (
  names: string,
  value: TSchema & { static: string },
  most: number,
  what: string,
): TSchema & { static: Record<string, string> } =>
  Type.Record(Type.String({ pattern: names }), value, {
    additionalProperties: false,
    maxProperties: most,
    expected: `an object with at most ${most} ${what}`,
    expectedKey: `an object with ${what}`,
  });
/** What a program may get: anything but NUL. */
const word = (most: number): TSchema & { static: string } =>
  Type.String({
    maxLength: most,
    pattern: '^[^\\u0000]*$',
    expected: `a text of at most ${most} characters without NUL`,
  });

const flag = Type.Optional(Type.Boolean());
const recordName = name(LIMITS.name);
const record = reference(LIMITS.name);
const node = reference(LIMITS.nodeName);
const hostName = Type.Optional(
  Type.String({
    pattern: '^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$',
    expected: 'a host name: 1 to 63 letters, digits, dots, underscores and hyphens',
  }),
);
const role = Type.Union([Type.Literal('manager'), Type.Literal('worker')], {
  type: 'string',
  expected: '"manager" or "worker"',
});
const token = Type.String({
  minLength: 1,
  maxLength: 256,
  expected: 'a token, as "vtep token worker" prints it',
  secret: true,
});
const command = list(word(LIMITS.commandLength), 1, LIMITS.words, 'words: a program and its arguments');
const environment = Type.Optional(
  texts('^[^=\\u0000]+$', word(LIMITS.environmentLength), LIMITS.variables, 'values by the names of variables'),
);
const labels = Type.Optional(
  texts(
    `^\\S{1,${LIMITS.labelName}}$`,
    Type.String({ maxLength: LIMITS.labelValue, expected: `a text of at most ${LIMITS.labelValue} characters` }),
    LIMITS.labels,
    'texts by name',
  ),
);
const prefix = Type.String({ maxLength: 50, expected: 'a subnet such as 10.0.0.0/24 or fd00::/64' });
const subnet = fields({
  subnet: Subnet,
  gateway: Type.Optional(HostIp),
  range: Type.Optional(prefix),
  auxiliary: Type.Optional(texts('^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$', HostIp, LIMITS.auxiliary, 'addresses by name')),
  vni: Type.Optional(integer(0, 0xff_ffff, 'a VNI: an integer')),
});
const wanted = {
  network: record,
  addresses: Type.Optional(list(HostIp, 0, 2, 'addresses')),
  mac: Type.Optional(Mac),
  aliases: Type.Optional(list(recordName, 0, LIMITS.aliases, 'names')),
};
const owner = fields({
  pid: integer(1, MAX_PID, 'the id of a process: an integer'),
  start: integer(0, Number.MAX_SAFE_INTEGER, 'ticks since the boot: an integer'),
});
const nothing = fields({});
const replicas = integer(0, LIMITS.replicas);

const table: { [C in NodeCommand]: Entry<C> } = {
  node: {
    method: 'GET',
    path: '/v1/node',
    summary: 'Tell what this node is: its cluster, its role, and whether it has a connection to a manager',
    kind: 'value',
    request: nothing,
    result: NodeStatus,
  },
  init: {
    method: 'POST',
    path: '/v1/node/init',
    summary: 'Create a cluster with this node as its manager',
    kind: 'value',
    request: fields({
      address: Type.Optional(Ip),
      dataPath: Type.Optional(Ip),
      dataPathPort: Type.Optional(integer(1024, 49_151, `a port (default ${VXLAN_PORT}): an integer`)),
      espPort: Type.Optional(integer(1024, 49_151, `a port (default ${ESP_PORT}): an integer`)),
      name: hostName,
      pools: Type.Optional(list(prefix, 1, LIMITS.subnets, 'pools such as 10.0.0.0/8')),
      maskLength: Type.Optional(integer(1, 128, 'a prefix length: an integer')),
    }),
    result: InitResult,
  },
  // The token is in the body: paths and queries are what people log.
  join: {
    method: 'POST',
    path: '/v1/node/join',
    summary: `Join a cluster with a token, at one of its managers (port ${MANAGER_PORT} unless given)`,
    kind: 'value',
    request: fields({
      token,
      managers: list(ManagerPlace, 1, MANAGERS, 'managers'),
      address: Type.Optional(Ip),
      dataPath: Type.Optional(Ip),
      name: hostName,
    }),
    result: NodeStatus,
  },
  leave: {
    method: 'POST',
    path: '/v1/node/leave',
    summary:
      'End everything that runs on this node, and leave the cluster; force: also without a manager, or as the last one',
    kind: 'value',
    request: fields({ force: flag }),
    result: Done,
  },
  run: {
    method: 'POST',
    path: '/v1/node/sandboxes',
    summary: 'Make a sandbox with an endpoint, and start a command in it if one is given',
    kind: 'value',
    request: fields({
      ...wanted,
      name: Type.Optional(recordName),
      run: Type.Optional(command),
      environment,
      cwd: Type.Optional(
        Type.String({ pattern: '^/[^\\u0000]*$', maxLength: MAX_PATH, expected: 'the absolute path of a directory' }),
      ),
      owner: Type.Optional(owner),
    }),
    result: EndpointEntry,
    rule: ({ run, ...given }) => {
      if (run !== undefined) return undefined;
      const path = ['environment', 'cwd'].find((one) => given[one] !== undefined);
      return path === undefined
        ? undefined
        : {
            path,
            reason: 'belongs to a command, and there is none; give {0} as well',
            related: ['run'],
            given: undefined,
          };
    },
  },
  sandbox: {
    method: 'GET',
    path: '/v1/node/sandboxes/{name}',
    summary: 'Tell about a sandbox on this node, by the name or the id of its endpoint; works without a manager',
    kind: 'value',
    request: fields({ name: record }),
    result: EndpointEntry,
  },
  token: {
    method: 'GET',
    path: '/v1/cluster/tokens/{role}',
    summary: 'Print the token with which nodes join as manager or worker; a manager answers',
    kind: 'value',
    request: fields({ role }),
    result: JoinToken,
  },
  'rotate-token': {
    method: 'POST',
    path: '/v1/cluster/tokens/{role}',
    summary: 'Replace the token with which nodes join; the one before is no longer valid',
    kind: 'value',
    request: fields({ role }),
    result: JoinToken,
  },
  'rotate-gossip-keys': {
    method: 'POST',
    path: '/v1/cluster/gossip-keys',
    summary: 'Make a new key for the gossip; force: also while nodes do not have the one before yet',
    kind: 'value',
    request: fields({ force: flag }),
    result: RotatedKeys,
  },
  nodes: {
    method: 'GET',
    path: '/v1/cluster/nodes',
    summary: 'List the nodes: a manager all, a worker those of its networks',
    kind: 'list',
    request: nothing,
    result: NodeEntry,
  },
  'remove-node': {
    method: 'DELETE',
    path: '/v1/cluster/nodes/{node}',
    summary: 'Remove a node that has left or failed; force: any node, which locks it out',
    kind: 'value',
    request: fields({ node, force: flag }),
    result: RemovedRecord,
  },
  'cluster-networks': {
    method: 'GET',
    path: '/v1/cluster/networks',
    summary: 'List the networks that this node knows: a manager all, a worker those in which it has endpoints',
    kind: 'list',
    request: nothing,
    result: ClusterNetworkEntry,
  },
  'create-network': {
    method: 'POST',
    path: '/v1/cluster/networks',
    summary: 'Create a network; without subnets, with one from the pools',
    kind: 'value',
    request: fields({
      name: recordName,
      subnets: Type.Optional(list(subnet, 0, LIMITS.subnets, 'subnets')),
      ipv6: flag,
      internal: flag,
      mtu: Type.Optional(integer(576, 65_535, 'an MTU: an integer')),
      encrypted: Type.Optional(
        Type.Union([Type.Literal(128), Type.Literal(256)], { expected: '128 or 256, the bits of a key' }),
      ),
      labels,
      overlapping: flag,
    }),
    result: NetworkRecord,
  },
  'cluster-network': {
    method: 'GET',
    path: '/v1/cluster/networks/{network}',
    summary: 'Describe a network, with its endpoints and the nodes that they are on',
    kind: 'value',
    request: fields({ network: record }),
    result: NetworkDetails,
  },
  'rotate-network-key': {
    method: 'POST',
    path: '/v1/cluster/networks/{network}/key',
    summary: 'Make a new key for an encrypted network; some time must have passed since the last one',
    kind: 'value',
    request: fields({ network: record }),
    result: RotatedNetworkKey,
  },
  'delete-network': {
    method: 'DELETE',
    path: '/v1/cluster/networks/{network}',
    summary: 'Remove a network that has no endpoints and no services',
    kind: 'value',
    request: fields({ network: record }),
    result: RemovedRecord,
  },
  endpoints: {
    method: 'GET',
    path: '/v1/cluster/endpoints',
    summary: 'List the endpoints that this node knows: all, or those of one network',
    kind: 'list',
    request: fields({ network: Type.Optional(record) }),
    result: EndpointEntry,
  },
  'attach-endpoint': {
    method: 'POST',
    path: '/v1/cluster/endpoints',
    summary: 'Attach a namespace of this host to a network: make an endpoint, whose device appears there',
    kind: 'value',
    request: fields({
      ...wanted,
      netns: Netns,
      device: Type.Optional(DeviceName),
      name: Type.Optional(recordName),
    }),
    result: EndpointEntry,
  },
  'detach-endpoint': {
    method: 'DELETE',
    path: '/v1/cluster/endpoints/{endpoint}',
    summary: 'Remove an endpoint: detach its namespace, or end its sandbox with the command in it',
    kind: 'value',
    request: fields({ endpoint: record, network: Type.Optional(record) }),
    result: RemovedEndpoint,
  },
  services: {
    method: 'GET',
    path: '/v1/cluster/services',
    summary: 'List the services: a manager all, a worker those of its tasks',
    kind: 'list',
    request: nothing,
    result: ServiceEntry,
  },
  'create-service': {
    method: 'POST',
    path: '/v1/cluster/services',
    summary: 'Create a service: replicas of a command, which the nodes start and restart',
    kind: 'value',
    request: fields({
      name: name(LIMITS.serviceName),
      run: command,
      environment,
      networks: list(record, 1, LIMITS.serviceNetworks, 'networks'),
      replicas: Type.Optional(replicas),
      labels,
    }),
    result: ServiceEntry,
  },
  service: {
    method: 'GET',
    path: '/v1/cluster/services/{service}',
    summary: 'Describe a service, with its tasks and how they ended before',
    kind: 'value',
    request: fields({ service: record }),
    result: ServiceDetails,
  },
  'remove-service': {
    method: 'DELETE',
    path: '/v1/cluster/services/{service}',
    summary: 'Remove a service, and end its tasks',
    kind: 'value',
    request: fields({ service: record }),
    result: RemovedRecord,
  },
  'scale-service': {
    method: 'POST',
    path: '/v1/cluster/services/{service}/scale',
    summary: 'Change the number of replicas of a service',
    kind: 'value',
    request: fields({ service: record, replicas }),
    result: ServiceEntry,
  },
  logs: {
    method: 'GET',
    path: '/v1/cluster/logs',
    summary:
      'Send the output of the command of an endpoint on this node, or of a task or all tasks of a service, wherever they run',
    kind: 'events',
    request: fields({
      name: record,
      tail: Type.Optional(integer(0, LINES, 'a number of lines: an integer')),
      follow: flag,
    }),
    result: OutputEvent,
  },
};

/** Every command of a node. */
export const NODE_COMMANDS: Readonly<Record<NodeCommand, CommandEntry>> = table;

/** Whether a request is one that a node of a cluster answers. */
export function isNodeRequest(request: ControlRequest): request is NodeRequest {
  return Object.hasOwn(NODE_COMMANDS, request.command);
}
