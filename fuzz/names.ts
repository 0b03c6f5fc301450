/**
 * A question of an endpoint, and the response of another server to it: the input is the length of the question in one
 * octet, the question, and the response. Every answer is a DNS message with the id and the question that fits its room.
 */
import {
  isResponseTo,
  NXDOMAIN,
  passOn,
  readQuery,
  respond,
  TYPE_A,
  withId,
  type Query,
} from '../src/host/names/message.js';
import { ensure, equal } from '../test/support/contract.js';
import { readMessage } from '../test/support/dns.js';

const ROOM = 600;
/** The header, a name of 255 octets with type and class, and OPT. */
const LEAST = 12 + 259 + 11;
const ANSWERS = Array.from({ length: 40 }, (_, i) => ({ type: TYPE_A, data: Uint8Array.of(10, 0, 0, i) }));

export function fuzz(data: Uint8Array): void {
  const length = data[0] ?? 0;
  const bytes = data.subarray(1, 1 + length);
  const query = readQuery(bytes);
  if (query === undefined) return;
  if ('refusal' in query) {
    ensure(query.refusal.length <= LEAST, `a refusal of ${query.refusal.length} octets`);
    equal([...query.refusal.subarray(0, 2)], [...bytes.subarray(0, 2)], 'the id');
    readMessage(query.refusal);
    return;
  }
  for (const room of [ROOM, LEAST]) {
    const { answers } = checked(respond(query, 0, ANSWERS, room), query, room);
    ensure(
      answers.every(({ type }) => type === TYPE_A),
      'the records',
    );
    checked(respond(query, NXDOMAIN, [], room), query, room);
  }
  const asked = withId(bytes, 0xabcd);
  ensure(asked.length === bytes.length && asked[0] === 0xab && asked[1] === 0xcd, 'the id');
  response(data.slice(1 + length), query);
}

function checked(answer: Uint8Array, { bytes, end }: Query, room: number): ReturnType<typeof readMessage> {
  ensure(answer.length <= room, `${answer.length} octets in a room of ${room}`);
  equal([...answer.subarray(0, 2)], [...bytes.subarray(0, 2)], 'the id');
  equal([...answer.subarray(12, end)], [...bytes.subarray(12, end)], 'the question');
  return readMessage(answer);
}

/** A response that is none to the question is made one: no mutation would find it. */
function response(message: Uint8Array, query: Query): void {
  const { bytes, end } = query;
  if (message.length < end) return ensure(!isResponseTo(message, query), 'a response without the question');
  message.set(bytes.subarray(0, 2));
  message[2] = (message[2]! & 7) | 0x80;
  message.set([0, 1], 4);
  message.set(bytes.subarray(12, end), 12);
  ensure(isResponseTo(message, query), 'the response to its question is refused');
  for (const room of [ROOM, LEAST, 65_535]) {
    const out = passOn(message, query, room);
    ensure(out.length <= Math.min(room, Math.max(query.size, LEAST)), `${out.length} octets in a room of ${room}`);
    ensure(isResponseTo(out, query), 'what is passed on is no response');
  }
}
