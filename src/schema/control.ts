/** Requests to a running VTEP: one JSON object a line over its control socket. */
import { Type, type Static } from '@sinclair/typebox';
import { MAX_VNI } from '../vxlan/index.js';
import { findProblems, SchemaError } from './problem.js';
import { Ip, Ipv4, Mac } from './text.js';

const strict = { additionalProperties: false } as const;
const vni = Type.Integer({ minimum: 0, maximum: MAX_VNI, expected: `a VNI: a whole number from 0 to ${MAX_VNI}` });
const hex = Type.String({
  pattern: '^([0-9a-fA-F]{2})+$',
  maxLength: 131_072,
  expected: 'bytes as hexadecimal digits, two each',
});

/** Each command with the fields of its request. */
export const REQUESTS = {
  fdb: Type.Object({ command: Type.Literal('fdb'), vni: Type.Optional(vni) }, strict),
  neighbors: Type.Object({ command: Type.Literal('neighbors'), vni: Type.Optional(vni) }, strict),
  counters: Type.Object({ command: Type.Literal('counters') }, strict),
  peers: Type.Object({ command: Type.Literal('peers'), vni: Type.Optional(vni) }, strict),
  explain: Type.Object(
    {
      command: Type.Literal('explain'),
      /** The frame enters by this TAP … */
      port: Type.Optional(Type.String()),
      frame: Type.Optional(hex),
      /** … or the datagram (a UDP payload) comes from this address. */
      from: Type.Optional(Ip),
      datagram: Type.Optional(hex),
    },
    strict,
  ),
  'add-peer': Type.Object({ command: Type.Literal('add-peer'), vni, address: Ip }, strict),
  'remove-peer': Type.Object({ command: Type.Literal('remove-peer'), vni, address: Ip }, strict),
  'add-endpoint': Type.Object(
    { command: Type.Literal('add-endpoint'), vni, ip: Ipv4, mac: Mac, vtep: Type.Optional(Ip) },
    strict,
  ),
  'remove-endpoint': Type.Object(
    { command: Type.Literal('remove-endpoint'), vni, ip: Ipv4, mac: Mac, vtep: Type.Optional(Ip) },
    strict,
  ),
  stop: Type.Object({ command: Type.Literal('stop') }, strict),
} as const;

export type Command = keyof typeof REQUESTS;
export type Request = { [C in Command]: Static<(typeof REQUESTS)[C]> }[Command];

/** What comes back: one JSON object a line, in the order of the requests. */
export type Reply = { ok: true; result: unknown } | { ok: false; error: string };

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
