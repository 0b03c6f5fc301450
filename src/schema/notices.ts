/** The schemas of the events of a running VTEP. notice-types.ts documents their fields. */
import { Type, type TSchema } from '@sinclair/typebox';
import { Conflict, count, port, Reloaded, Rival, text, textOrNull, texts, vni } from './results.js';
import { type NoticeFields, type NoticeType } from './notice-types.js';
import { type JsonSchema } from './types.js';

const tap = { tap: text, netns: textOrNull };
const vnis = Type.Array(vni);
const network = { network: text, vnis };
const peer = { vni, address: text, sources: texts };
const endpoint = { vni, ip: text, mac: text, vtep: textOrNull, sources: texts };
const place = Type.Object({ tap: textOrNull, netns: textOrNull, vtep: textOrNull });
const member = { name: text, address: text, port };
const words = <T extends string>(...list: T[]): TSchema & { static: T } =>
  Type.Union(
    list.map((word) => Type.Literal(word)),
    { expected: `one of ${list.join(', ')}` },
  ) as never;

const FIELDS: { [T in NoticeType]: { [F in keyof NoticeFields[T]]: TSchema & { static: NoticeFields[T][F] } } } = {
  'segment-added': { vni, sources: texts },
  'segment-removed': { vni },
  'network-added': {
    ...network,
    gossip: Type.Boolean(),
    mac: textOrNull,
    subnets: Type.Array(Type.Object({ prefix: text, gateway: textOrNull, vni })),
    sources: texts,
  },
  'network-removed': network,
  'tap-attached': { ...tap, device: text, vnis },
  'tap-detached': { ...tap, vnis },
  'tap-lost': { ...tap, vnis, reason: text },
  'peer-added': peer,
  'peer-removed': peer,
  'endpoint-added': endpoint,
  'endpoint-removed': endpoint,
  'endpoint-held': { ...endpoint, by: Rival },
  'member-joined': member,
  'member-left': member,
  'member-failed': member,
  'member-back': member,
  conflict: Conflict.properties,
  'conflict-over': Conflict.properties,
  'peer-unreachable': { address: text, code: text, lost: count },
  'peer-reachable': { address: text, seconds: count, lost: count },
  'path-narrowed': { address: text, mtu: count },
  'local-address-lost': { address: text, fault: words('gone', 'down') },
  'local-address-back': { address: text, seconds: count },
  'duplicate-address': { vni, ip: text, macs: texts, place },
  'mac-flood': { vni, learned: count, refused: count, place },
  loop: { vni, mac: text, moves: count, places: Type.Array(place) },
  reloaded: Reloaded.properties,
  stopping: { failed: Type.Boolean() },
};

/** The types of events. */
export const NOTICE_TYPES = Object.keys(FIELDS) as readonly NoticeType[];

const head = {
  event: Type.Literal('notice'),
  time: Type.String({
    pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{3}Z$',
    expected: 'a time in RFC 3339',
  }),
  level: Type.Optional(words('error', 'warning', 'info', 'debug')),
  message: Type.Optional(text),
  suppressed: Type.Optional(count),
};

/**
 * The type of an event in a request.
 * @internal
 */
export const NoticeName: TSchema & { static: NoticeType } = Type.Union(
  NOTICE_TYPES.map((type) => Type.Literal(type)),
  { type: 'string', expected: `a type of event: ${NOTICE_TYPES.join(', ')}` },
) as never;

/** The schema of each type of event, as a line of the stream. */
const SCHEMAS = Object.fromEntries(
  NOTICE_TYPES.map((type) => [type, Type.Object({ ...head, type: Type.Literal(type), ...FIELDS[type] })]),
) as unknown as Readonly<Record<NoticeType, TSchema>>;

/**
 * The schema of an event as a line of the stream.
 * @internal
 */
export const NoticeEvent: TSchema = Type.Union(Object.values(SCHEMAS), { expected: 'an event' });

/** The schema of an event of a type that a later version added. */
const UNKNOWN: TSchema = Type.Object({ ...head, type: text });

/** The schema of an event of a type, by which a client checks one. */
export function noticeSchema(type: unknown): JsonSchema {
  return typeof type === 'string' && Object.hasOwn(SCHEMAS, type) ? SCHEMAS[type as NoticeType] : UNKNOWN;
}
