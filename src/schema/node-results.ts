/** The schemas of what a node of a cluster answers; node-types.ts documents the fields. */
import { Type, type TSchema } from '@sinclair/typebox';
import { LIMITS } from '../cluster/index.js';
import { count, Encryption, MANY, milliseconds, port, text, textOrNull, texts, vni } from './results.js';

/** Most characters of a line of output that an event has; of a longer one, several events have a part each. */
export const MAX_LINE = 16_384;

const flag = Type.Boolean();
const words = <T extends string>(...list: T[]): TSchema & { static: T } =>
  Type.Union(
    list.map((word) => Type.Literal(word)),
    { expected: `one of ${list.join(', ')}` },
  ) as never;
const orNull = <T extends TSchema>(schema: T, expected: string): TSchema & { static: T['static'] | null } =>
  Type.Union([schema, Type.Null()], { expected });
const many = <T extends TSchema>(item: T): TSchema & { static: T['static'][] } => Type.Array(item, { maxItems: MANY });
const textByName = Type.Record(Type.String({ pattern: '^.{1,1024}$' }), text, {
  additionalProperties: false,
  maxProperties: LIMITS.labels,
  expected: 'texts by name',
});
/** The words of a command. */
const command = Type.Array(Type.String({ maxLength: LIMITS.commandLength, expected: 'a word of a command' }), {
  maxItems: LIMITS.words,
});
/** Time in milliseconds since 1970. */
const time = milliseconds;
const role = words('manager', 'worker');
const countOrNull = orNull(count, 'an integer or null');
const named = { id: text, name: text };

/** @internal */
export const NodeStatus = Type.Object({
  state: words('none', 'member'),
  node: textOrNull,
  name: textOrNull,
  cluster: textOrNull,
  role: orNull(role, 'manager, worker or null'),
  address: textOrNull,
  connected: flag,
  revision: countOrNull,
});
const joinToken = { role, token: text, managers: texts };
/** @internal */
export const JoinToken = Type.Object(joinToken);
/** @internal */
export const InitResult = Type.Object({ ...joinToken, node: text, cluster: text });
/** @internal */
export const RotatedKeys = Type.Object({ tag: count });
/** @internal */
export const NodeEntry = Type.Object({
  ...named,
  role,
  address: text,
  dataPath: text,
  state: words('alive', 'failed', 'left'),
  since: time,
  joined: time,
  self: flag,
  endpoints: count,
});
/** @internal */
export const RemovedRecord = Type.Object(named);
/** @internal */
export const RemovedEndpoint = Type.Object({ ...named, network: text });

const network = {
  ...named,
  subnets: many(Type.Object({ prefix: text, gateway: text, vni, range: Type.Optional(text), auxiliary: textByName })),
  ipv6: flag,
  internal: flag,
  mtu: Type.Optional(port),
  encrypted: Type.Optional(
    Type.Union([Type.Literal(128), Type.Literal(256)], { expected: '128 or 256, the bits of a key' }),
  ),
  labels: textByName,
  created: time,
};
const keyFacts = { number: count, created: time };
const key = { key: Type.Optional(Type.Object(keyFacts)) };
/** @internal */
export const RotatedNetworkKey = Type.Object({ ...named, ...keyFacts });
/** @internal */
export const NetworkRecord = Type.Object(network);
/** @internal */
export const ClusterNetworkEntry = Type.Object({ ...network, ...key, endpoints: count });
/** @internal */
export const EndpointEntry = Type.Object({
  ...named,
  network: text,
  networkId: text,
  addresses: texts,
  mac: text,
  node: text,
  nodeId: text,
  kind: words('run', 'attach', 'task'),
  service: textOrNull,
  aliases: texts,
  created: time,
  state: orNull(words('starting', 'ready', 'running', 'exited', 'failed'), 'the state of an endpoint, or null'),
  code: countOrNull,
  reason: textOrNull,
  netns: textOrNull,
});
/** @internal */
export const NetworkDetails = Type.Object({
  ...network,
  ...key,
  endpoints: many(EndpointEntry),
  peers: many(Type.Object({ node: text, name: text, address: text, encryption: Type.Optional(Encryption) })),
});

const service = { ...named, replicas: count, running: count, networks: texts, run: command };
/** @internal */
export const ServiceEntry = Type.Object(service);
const ending = Type.Object({
  at: time,
  node: text,
  state: words('exited', 'failed'),
  code: Type.Optional(count),
  reason: Type.Optional(text),
  output: Type.Optional(texts),
});
const task = Type.Object({
  id: text,
  service: text,
  slot: count,
  node: text,
  endpoints: many(Type.Object({ network: text, id: text })),
  attempt: count,
  state: words('pending', 'assigned', 'running', 'exited', 'failed'),
  since: time,
  reason: Type.Optional(text),
  failures: count,
  retry: Type.Optional(time),
  endings: many(ending),
  name: text,
  nodeName: textOrNull,
  addresses: texts,
});
/** @internal */
export const ServiceDetails = Type.Object({ ...service, tasks: many(task) });
/** @internal */
export const OutputEvent = Type.Object({
  event: Type.Literal('output'),
  name: text,
  node: text,
  line: orNull(Type.String({ maxLength: MAX_LINE, expected: 'a line' }), 'a line or null'),
  reason: Type.Optional(text),
});
