/** The schemas of requests to a running VTEP. types.ts documents each field. */
import { Type, type TSchema } from '@sinclair/typebox';
import { MAX_VNI } from '../vxlan/index.js';
import { findProblems, SchemaError } from './problem.js';
import { Ip, Ipv4, Mac } from './formats.js';
import { type Command, type JsonSchema, type Request } from './types.js';

/** Limits of a capture: packets, seconds, and bytes of each packet. */
export const MAX_COUNT = 1_000_000_000;
export const MAX_SECONDS = 86_400;
export const MAX_SNAP = 262_144;
/** Most octets of a packet to explain: more than a datagram or a super-frame can have. */
export const MAX_PACKET = 65_536;

const strict = { additionalProperties: false } as const;
const vni = Type.Integer({ minimum: 0, maximum: MAX_VNI, expected: `a VNI: an integer from 0 to ${MAX_VNI}` });
const hex = Type.String({
  pattern: '^([0-9a-fA-F]{2})+$',
  maxLength: 2 * MAX_PACKET,
  expected: 'bytes in hexadecimal, two digits each',
});
const listing = { vni: Type.Optional(vni) };
const peer = { vni, address: Ip };
const endpoint = { vni, ip: Ipv4, mac: Mac, vtep: Type.Optional(Ip) };
const key = Type.String({
  minLength: 1,
  maxLength: 64,
  expected: 'a key in base64, or its fingerprint',
  secret: true,
});
const packet = {
  port: Type.Optional(Type.String()),
  frame: Type.Optional(hex),
  from: Type.Optional(Ip),
  datagram: Type.Optional(hex),
};

const schemas = {
  fdb: Type.Object({ command: Type.Literal('fdb'), ...listing }, strict),
  neighbors: Type.Object({ command: Type.Literal('neighbors'), ...listing }, strict),
  peers: Type.Object({ command: Type.Literal('peers'), ...listing }, strict),
  remotes: Type.Object({ command: Type.Literal('remotes') }, strict),
  counters: Type.Object({ command: Type.Literal('counters') }, strict),
  explain: Type.Object({ command: Type.Literal('explain'), ...packet }, strict),
  capture: Type.Object(
    {
      command: Type.Literal('capture'),
      count: Type.Integer({ minimum: 1, maximum: MAX_COUNT, expected: `an integer from 1 to ${MAX_COUNT}` }),
      seconds: Type.Number({ minimum: 0, maximum: MAX_SECONDS, expected: `seconds from 0 to ${MAX_SECONDS}` }),
      snap: Type.Optional(
        Type.Integer({ minimum: 1, maximum: MAX_SNAP, expected: `an integer from 1 to ${MAX_SNAP}` }),
      ),
    },
    strict,
  ),
  'add-peer': Type.Object({ command: Type.Literal('add-peer'), ...peer }, strict),
  'remove-peer': Type.Object({ command: Type.Literal('remove-peer'), ...peer }, strict),
  'add-endpoint': Type.Object({ command: Type.Literal('add-endpoint'), ...endpoint }, strict),
  'remove-endpoint': Type.Object({ command: Type.Literal('remove-endpoint'), ...endpoint }, strict),
  members: Type.Object({ command: Type.Literal('members') }, strict),
  networks: Type.Object({ command: Type.Literal('networks') }, strict),
  keys: Type.Object({ command: Type.Literal('keys') }, strict),
  'install-key': Type.Object({ command: Type.Literal('install-key'), key }, strict),
  'use-key': Type.Object({ command: Type.Literal('use-key'), key }, strict),
  'remove-key': Type.Object({ command: Type.Literal('remove-key'), key }, strict),
  stop: Type.Object({ command: Type.Literal('stop') }, strict),
} satisfies { [C in Command]: TSchema & { static: Extract<Request, { command: C }> } };

/** Each command with the schema of its request. */
export const REQUESTS: Readonly<Record<Command, JsonSchema>> = schemas;

/**
 * Checks a request.
 * @throws SchemaError with every problem.
 */
export function parseRequest(value: unknown): Request {
  const command = (value as { command?: unknown } | null)?.command;
  if (typeof command !== 'string' || !Object.hasOwn(REQUESTS, command))
    throw new SchemaError([
      { path: 'command', expected: `one of ${Object.keys(REQUESTS).join(', ')}`, given: command },
    ]);
  const problems = findProblems(REQUESTS[command as Command], value);
  if (problems.length > 0) throw new SchemaError(problems);
  const request = value as Request;
  if (request.command === 'explain') {
    const frame = request.port !== undefined && request.frame !== undefined;
    const datagram = request.from !== undefined && request.datagram !== undefined;
    const fields = Object.keys(request).length - 1;
    if (fields !== 2 || frame === datagram)
      throw new SchemaError([{ path: '', expected: 'either port and frame, or from and datagram', given: value }]);
  }
  return request;
}
