/** The results of requests to a running VTEP, which a client checks before use. */
import { type TSchema } from '@sinclair/typebox';
import { Value } from '@sinclair/typebox/value';
import {
  COMMANDS,
  findProblems,
  noticeSchema,
  problemText,
  type Command,
  type NodeResults,
  type Notice,
  type Reloaded,
} from '../schema/index.js';
import { DROPS, type Explanation, type FdbListing, type RemoteListing } from '../vtep/index.js';
import { type Captured } from './capture.js';
import { HostError } from './error.js';
import { type EncryptionListing, type SecretListing } from './esp/key-agreement.js';
import { type EndpointListing } from './intent.js';
import { type KeyListing } from './gossip-keys.js';
import { type MemberListing } from './overlay-gossip.js';
import { type AllCounters } from './overlay-types.js';
import { type AddedNetwork, type NetworkListing, type RemovedNetwork } from './overlay-networks.js';
import { type DetachedTap, type SegmentListing, type TapListing } from './parts.js';

/** An entry of a listing, with the network that it is in. */
type Listed<T> = T & { vni: number };

/** Who wants an entry. */
interface Sourced {
  sources: string[];
}

/**
 * The result of each command: for a listing or a stream, the whole list, without the kinds of events. The schemas in the
 * table of commands describe the same.
 */
export interface Results extends NodeResults {
  fdb: Listed<FdbListing>[];
  neighbors: Listed<EndpointListing & Sourced>[];
  peers: Listed<{ address: string; port: number } & Sourced>[];
  remotes: (RemoteListing & { encryption?: EncryptionListing[] })[];
  'association-keys': SecretListing[];
  counters: AllCounters;
  explain: Explanation;
  capture: Captured[];
  events: Notice[];
  members: MemberListing[];
  networks: NetworkListing[];
  keys: KeyListing[];
  'install-key': KeyListing[];
  'use-key': KeyListing[];
  'remove-key': KeyListing[];
  'add-peer': object;
  'remove-peer': { removed: boolean; wantedBy?: string[] };
  'add-endpoint': { held?: string };
  'remove-endpoint': { removed: boolean; wantedBy?: string[] };
  attach: TapListing;
  detach: DetachedTap;
  taps: TapListing[];
  'add-segment': { vni: number; mtu: number };
  'remove-segment': { vni: number };
  segments: SegmentListing[];
  'add-network': AddedNetwork;
  'remove-network': RemovedNetwork;
  reload: Reloaded;
  stop: object;
  version: { version: string };
  openapi: { openapi: string; paths: object };
}

/** The commands that a client may ask. */
export type Question = Extract<Command, keyof Results>;

/**
 * Checks the result of a request, or a part of it if it is a list.
 * @param path The control socket, for the error.
 * @throws HostError with the first thing that does not fit.
 */
export function checkResult<Q extends Question>(question: Q, result: unknown, path: string): Results[Q] {
  const { kind, result: described } = COMMANDS[question];
  const schema = described as unknown as TSchema;
  if (kind === 'value') requireFit(schema, result, '', question, path);
  else {
    if (!Array.isArray(result)) throw misfit('expected a list', question, path);
    for (const [i, entry] of result.entries()) requireFit(...asSent(question, entry, schema), `[${i}]`, question, path);
  }
  if (question === 'counters') completeDrops(result as AllCounters);
  return result as Results[Q];
}

/** An entry as it was sent, and the schema that describes it. A later version has further types of events. */
function asSent(question: Question, entry: unknown, schema: TSchema): [schema: TSchema, entry: unknown] {
  if (question === 'capture') return [schema, { ...(entry as object), event: 'packet' }];
  if (question !== 'events') return [schema, entry];
  const known = noticeSchema((entry as { type?: unknown } | null)?.type) as unknown as TSchema;
  return [known, { ...(entry as object), event: 'notice' }];
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
