/**
 * The schemas of the results of commands, for their description and for clients: the process behind a control socket
 * may be another program, another version, or hostile.
 *
 * Fields that a later version adds are ignored. Texts are bounded, because a table pads every cell to the longest one.
 */
import { FormatRegistry, Type, type TSchema } from '@sinclair/typebox';
import { COUNTS } from '../vtep/index.js';
import { MAX_VNI } from '../vxlan/index.js';
import { family } from './addresses.js';

/** Most bytes captured of a packet. */
export const MAX_SNAP = 262_144;
/** Latest time that `Date` represents, in milliseconds since 1970. */
const LATEST = 8.64e15;
/**
 * Most members of a list within an entry, such as the members of a network.
 * @internal
 */
export const MANY = 16_384;
/** Most names of a record of counts; those of an agent are some 60. */
const MAX_NAMES = 1024;

FormatRegistry.Set('weft-any-ip', (value) => family(value) !== 0);

const flag = Type.Boolean();
/** @internal */
export const text = Type.String({ maxLength: 1024, expected: 'a text of at most 1024 characters' });
/** @internal */
export const count = Type.Integer({ minimum: 0, expected: 'an integer of 0 or more' });
/** @internal */
export const milliseconds = Type.Number({ minimum: 0, maximum: LATEST, expected: 'milliseconds' });
/** @internal */
export const port = Type.Integer({ minimum: 0, maximum: 65_535, expected: 'a port' });
/** @internal */
export const vni = Type.Integer({ minimum: 0, maximum: MAX_VNI, expected: 'a VNI' });
/** @internal */
export const textOrNull = Type.Union([text, Type.Null()], { expected: 'a text or null' });
const countOrNull = Type.Union([count, Type.Null()], { expected: 'an integer or null' });
const vniOrNull = Type.Union([vni, Type.Null()], { expected: 'a VNI or null' });
/** @internal */
export const texts = Type.Array(text, { maxItems: MANY });
/** Who wants an entry. */
const sources = texts;
/** Counts by name: at least those of `names`. */
const counts = (names: readonly string[] = []): TSchema =>
  Type.Intersect([
    Type.Record(Type.String({ pattern: '^[A-Za-z][\\w -]{0,63}$' }), count, {
      additionalProperties: false,
      maxProperties: MAX_NAMES,
    }),
    Type.Object(Object.fromEntries(names.map((name) => [name, count]))),
  ]);
const byName = { counts: counts(COUNTS.map(([name]) => name)), drops: counts() };
const engine = {
  ...Object.fromEntries(
    ['framesRead', 'framesWritten', 'datagramsReceived', 'datagramsSent', 'sendQueue'].map((name) => [name, count]),
  ),
  ...Object.fromEntries(
    [
      ...['tapDrops', 'superFramesRead', 'superFramesWritten'],
      ...['readCalls', 'writeCalls', 'sendCalls', 'receiveCalls', 'pollCalls'],
    ].map((name) => [name, Type.Optional(count)]),
  ),
  writeErrors: counts(),
  sendErrors: counts(),
  receiveErrors: counts(),
};
const gossip = {
  members: counts(),
  awareness: count,
  entries: count,
  queued: count,
  conflicts: count,
  conflictsSeen: count,
  memberlist: counts(),
  networkdb: counts(),
};
const party = Type.Object({ node: text, vtep: Type.Optional(text), since: milliseconds });
/** @internal */
export const Conflict = Type.Object({
  network: text,
  kind: Type.Union((['place', 'ip', 'mac', 'parameters'] as const).map((word) => Type.Literal(word))),
  value: text,
  holds: text,
  holder: party,
  refused: party,
});
const state = Type.Union(
  (['alive', 'suspect', 'dead', 'left'] as const).map((word) => Type.Literal(word)),
  { expected: 'the state of a member' },
);
const udpEnd = Type.Object({
  address: Type.String({ maxLength: 45, format: 'weft-any-ip', expected: 'an IP address' }),
  port,
});

/** @internal */
export const FdbEntry = Type.Object({
  vni,
  mac: text,
  static: flag,
  age: milliseconds,
  port: textOrNull,
  vtep: textOrNull,
});
/**
 * What is in effect instead of an endpoint.
 * @internal
 */
export const Rival = Type.Object({
  kind: Type.Union(
    (['place', 'ip', 'mac'] as const).map((word) => Type.Literal(word)),
    { expected: 'place, ip or mac' },
  ),
  ip: text,
  mac: text,
  vtep: textOrNull,
});
/** @internal */
export const Neighbor = Type.Object({
  vni,
  ip: text,
  mac: text,
  vtep: textOrNull,
  hidden: flag,
  by: Type.Optional(Rival),
  sources,
});
/** @internal */
export const Peer = Type.Object({ vni, address: text, port, sources });
const keyInUse = Type.Union([Type.Object({ key: count, since: text }), Type.Null()], { expected: 'a key or null' });
/** @internal */
export const Encryption = Type.Object({ group: text, out: keyInUse, in: keyInUse, unanswered: textOrNull });
const octets = Type.String({
  pattern: '^([0-9a-f]{2})+$',
  maxLength: 64,
  expected: 'octets in hexadecimal',
  secret: true,
});
/** @internal */
export const AssociationKey = Type.Object({ source: text, destination: text, spi: count, key: octets, salt: octets });
/** @internal */
export const Remote = Type.Object({
  ...{ address: text, port, mtu: countOrNull, undelivered: count, reason: text },
  from: Type.Optional(textOrNull),
  age: Type.Optional(countOrNull),
  probes: Type.Optional(textOrNull),
  encryption: Type.Optional(Type.Array(Encryption)),
});
/** @internal */
export const Member = Type.Object({
  name: text,
  address: text,
  port,
  state,
  incarnation: count,
  since: text,
  self: flag,
});
/** @internal */
export const Network = Type.Object({
  network: text,
  vni,
  subnet: text,
  gateway: Type.Optional(textOrNull),
  gossip: Type.Optional(flag),
  sources: Type.Optional(sources),
  attached: flag,
  inSync: flag,
  local: count,
  remote: count,
  members: texts,
  refused: count,
  conflicts: Type.Array(Conflict, { maxItems: MANY }),
});
/** @internal */
export const Key = Type.Object({ fingerprint: text, bits: count, primary: flag });
const packet = {
  time: Type.String({ pattern: '^\\d{1,19}$', expected: 'nanoseconds since 1970, as decimal digits' }),
  place: text,
  direction: Type.Union([Type.Literal('in'), Type.Literal('out')]),
  length: Type.Integer({ minimum: 0, maximum: 0xffff_ffff, expected: 'a length in bytes' }),
  data: Type.String({
    pattern: '^([0-9a-fA-F]{2})*$',
    maxLength: 2 * MAX_SNAP,
    expected: 'bytes in hexadecimal, two digits each',
  }),
  source: Type.Optional(udpEnd),
  destination: Type.Optional(udpEnd),
  esp: Type.Optional(flag),
};
/** @internal */
export const Packet = Type.Object(packet);
/** @internal */
export const PacketEvent = Type.Object({ event: Type.Literal('packet'), ...packet });
/** @internal */
export const AllCounters = Type.Object({
  vtep: Type.Object({ ...byName, segments: Type.Array(Type.Object({ vni, ...byName })) }),
  engine: Type.Object(engine),
  losses: Type.Optional(counts()),
  gossip: Type.Optional(Type.Object(gossip)),
}) as TSchema;
/** @internal */
export const Explanation = Type.Object({
  steps: Type.Array(Type.Object({ stage: text, text }), { maxItems: MANY }),
  delivered: texts,
  transmitted: texts,
  dropped: textOrNull,
  service: Type.Optional(count),
}) as TSchema;
/** @internal */
export const Done = Type.Object({});
/** @internal */
export const Removed = Type.Object({ removed: flag, wantedBy: Type.Optional(texts) });
/** @internal */
export const Added = Type.Object({ held: Type.Optional(text) });
/** @internal */
export const TapEntry = Type.Object({
  name: text,
  device: text,
  netns: textOrNull,
  addresses: texts,
  mac: textOrNull,
  mtu: countOrNull,
  vni: vniOrNull,
  vlans: Type.Union([Type.Record(Type.String({ pattern: '^[1-9]\\d{0,3}$' }), vni), Type.Null()], {
    expected: 'VNIs by VLAN ID, or null',
  }),
  native: vniOrNull,
});
/** @internal */
export const DetachedTap = Type.Object({ name: text, netns: textOrNull, addresses: texts, mac: textOrNull });
/** @internal */
export const SegmentWithMtu = Type.Object({ vni, mtu: count });
/** @internal */
export const RemovedSegment = Type.Object({ vni });
/** @internal */
export const AddedNetwork = Type.Object({
  name: text,
  gossip: flag,
  mac: textOrNull,
  subnets: Type.Array(Type.Object({ prefix: text, gateway: textOrNull, vni, mtu: count }), { maxItems: MANY }),
  sources,
});
/** @internal */
export const RemovedNetwork = Type.Object({ name: text, vnis: Type.Array(vni) });
/** @internal */
export const SegmentEntry = Type.Object({
  vni,
  mtu: count,
  proxy: Type.Union([Type.Literal('endpoint'), Type.Literal('vtep'), Type.Literal('off')]),
  learn: flag,
  flood: flag,
  tagged: flag,
  ageing: Type.Number({ minimum: 0, expected: 'seconds' }),
  capacity: count,
  clampMss: Type.Optional(flag),
  mac: textOrNull,
  encrypted: Type.Optional(flag),
  keyNumber: Type.Optional(countOrNull),
  network: Type.Optional(textOrNull),
  subnets: Type.Optional(Type.Array(Type.Object({ prefix: text, gateway: textOrNull }), { maxItems: MANY })),
});
const tapNames = Type.Array(Type.Object({ name: text, netns: textOrNull }));
const entries = Type.Object({ added: count, removed: count });
const names = Type.Array(text, { maxItems: MANY });
/** @internal */
export const Reloaded = Type.Object({
  segments: Type.Object({ added: Type.Array(vni), removed: Type.Array(vni), kept: Type.Array(vni) }),
  networks: Type.Object({ added: names, removed: names, kept: names }),
  taps: Type.Object({ attached: tapNames, detached: tapNames, replaced: tapNames }),
  peers: entries,
  endpoints: entries,
  refused: texts,
  restart: texts,
});
/** @internal */
export const Version = Type.Object({ version: text });
/** @internal */
export const Description = Type.Object({ openapi: text, paths: Type.Object({}) });
