/**
 * The results of requests to a running VTEP: their schemas, by which a client checks them before use. The process behind
 * a control socket may be another program, another version, or hostile.
 *
 * Fields that a later version adds are ignored. Texts are bounded, because a table pads every cell to the longest one.
 */
import { FormatRegistry, Type, type TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import { isIP } from 'node:net';
import { findProblems, MAX_SNAP, problemText, type Command } from '../schema/index.js';
import {
  COUNTS,
  DROPS,
  type Explanation,
  type FdbListing,
  type NeighborListing,
  type RemoteListing,
} from '../vtep/index.js';
import { MAX_VNI } from '../vxlan/index.js';
import { type Captured } from './capture.js';
import { HostError } from './error.js';
import { type KeyListing } from './gossip-keys.js';
import { type MemberListing, type NetworkListing } from './overlay-gossip.js';
import { type AllCounters } from './overlay.js';

/** An entry of a listing, with the network that it is in. */
type Listed<T> = T & { vni: number };

/** The result of each request that a client reads. For a listing or a capture: the whole list. */
export interface Results {
  fdb: Listed<FdbListing>[];
  neighbors: Listed<NeighborListing>[];
  peers: Listed<{ address: string; port: number }>[];
  remotes: RemoteListing[];
  counters: AllCounters;
  explain: Explanation;
  capture: Captured[];
  members: MemberListing[];
  networks: NetworkListing[];
  keys: KeyListing[];
  'install-key': KeyListing[];
  'use-key': KeyListing[];
  'remove-key': KeyListing[];
}

/** Commands whose result a client reads. */
export type Question = Extract<Command, keyof Results>;

/** Latest time that `Date` represents, in milliseconds since 1970. */
const LATEST = 8.64e15;

/** Most members of a list within an entry, such as the members of a network. */
const MANY = 16_384;

FormatRegistry.Set('weft-any-ip', (value) => isIP(value) !== 0 && !value.includes('%'));

const flag = Type.Boolean();
const text = Type.String({ maxLength: 1024, expected: 'a text of at most 1024 characters' });
const count = Type.Integer({ minimum: 0, expected: 'an integer of 0 or more' });
const milliseconds = Type.Number({ minimum: 0, maximum: LATEST, expected: 'milliseconds' });
const port = Type.Integer({ minimum: 0, maximum: 65_535, expected: 'a port' });
const vni = Type.Integer({ minimum: 0, maximum: MAX_VNI, expected: 'a VNI' });
const textOrNull = Type.Union([text, Type.Null()], { expected: 'a text or null' });
const countOrNull = Type.Union([count, Type.Null()], { expected: 'an integer or null' });
const texts = Type.Array(text, { maxItems: MANY });
/** Most names of a record of counts; those of an agent are some 60. */
const MAX_NAMES = 1024;
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
const conflict = Type.Object({
  network: text,
  kind: Type.Union([Type.Literal('ip'), Type.Literal('mac'), Type.Literal('parameters')]),
  value: text,
  holds: text,
  holder: party,
  refused: party,
});
const state = Type.Union(
  (['alive', 'suspect', 'dead', 'left'] as const).map((word) => Type.Literal(word)),
  { expected: 'the state of a member' },
);
const key = Type.Object({ fingerprint: text, bits: count, primary: flag });
const udpEnd = Type.Object({
  address: Type.String({ maxLength: 45, format: 'weft-any-ip', expected: 'an IP address' }),
  port,
});

/** The schema of each entry of a list. */
const ENTRIES = {
  fdb: Type.Object({ vni, mac: text, static: flag, age: milliseconds, port: textOrNull, vtep: textOrNull }),
  neighbors: Type.Object({ vni, ip: text, mac: text, vtep: textOrNull, hidden: flag }),
  peers: Type.Object({ vni, address: text, port }),
  remotes: Type.Object({ address: text, port, mtu: countOrNull, undelivered: count, reason: text }),
  capture: Type.Object({
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
  }),
  members: Type.Object({ name: text, address: text, port, state, incarnation: count, since: text, self: flag }),
  networks: Type.Object({
    network: text,
    vni,
    subnet: text,
    attached: flag,
    inSync: flag,
    local: count,
    remote: count,
    members: texts,
    refused: count,
    conflicts: Type.Array(conflict, { maxItems: MANY }),
  }),
  keys: key,
  'install-key': key,
  'use-key': key,
  'remove-key': key,
} satisfies { [Q in Exclude<Question, keyof typeof VALUES>]: TSchema & { static: Results[Q][number] } };

/** The schemas of results that are not lists. */
const VALUES = {
  counters: Type.Object({
    vtep: Type.Object({ ...byName, segments: Type.Array(Type.Object({ vni, ...byName })) }),
    engine: Type.Object(engine),
    gossip: Type.Optional(Type.Object(gossip)),
  }) as TSchema,
  explain: Type.Object({
    steps: Type.Array(Type.Object({ stage: text, text }), { maxItems: MANY }),
    delivered: texts,
    transmitted: texts,
    dropped: textOrNull,
  }) as TSchema,
};

/**
 * Checks the result of a request, or a part of it if it is a list.
 * @param path The control socket, for the error.
 * @throws HostError with the first thing that does not fit.
 */
export function checkResult<Q extends Question>(question: Q, result: unknown, path: string): Results[Q] {
  if (question in VALUES) requireFit(VALUES[question as keyof typeof VALUES], result, '', question, path);
  else {
    if (!Array.isArray(result)) throw misfit('expected a list', question, path);
    const schema = ENTRIES[question as keyof typeof ENTRIES];
    result.forEach((entry, i) => requireFit(schema, entry, `[${i}]`, question, path));
  }
  if (question === 'counters') completeDrops(result as AllCounters);
  return result as Results[Q];
}

/** An older VTEP does not count the reasons that later versions added. */
function completeDrops({ vtep }: AllCounters): void {
  for (const { drops } of [vtep, ...vtep.segments]) for (const [reason] of DROPS) drops[reason] ??= 0;
}

function requireFit(schema: TSchema, value: unknown, at: string, question: Question, path: string): void {
  if (Value.Check(schema, value)) return;
  const [problem] = findProblems(schema, value);
  if (problem === undefined) throw misfit('it does not fit', question, path);
  const inside = at === '' || /^(\[|$)/.test(problem.path) ? problem.path : `.${problem.path}`;
  throw misfit(problemText({ ...problem, path: at + inside }), question, path);
}

/** Most characters of an error about a result, which may contain keys and values of the result. */
const LONGEST = 200;

function misfit(what: string, question: Question, path: string): HostError {
  const short = what.length > LONGEST ? `${what.slice(0, LONGEST - 3)}...` : what;
  return new HostError(
    `the process that listens on ${path} is not a VTEP of this version: its answer to "${question}" is wrong: ${short}`,
  );
}
