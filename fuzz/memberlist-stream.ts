/** A memberlist stream: gives the same message or a WireError, whole and in pieces, and the message round-trips. */
import {
  encodeMessage,
  encodePushPull,
  encodeUser,
  StreamReader,
  type StreamMessage,
} from '../src/gossip/memberlist/index.js';
import { attempt, ensure, equal, wireError } from '../test/support/contract.js';

const LIMITS = { octets: 8192, inflated: 65_536, nodes: 64 };

export function fuzz(data: Uint8Array): void {
  const [read, error] = attempt(() => new StreamReader({}, false, LIMITS).push(data));
  if (error !== undefined) wireError(error);
  const pieces = new StreamReader({}, false, LIMITS);
  let message: StreamMessage | null = null;
  let refused = false;
  for (let at = 0; at < data.length && message === null && !refused;) {
    const length = 1 + (at % 7);
    const [one, trouble] = attempt(() => pieces.push(data.subarray(at, at + length)));
    if (trouble !== undefined) {
      wireError(trouble);
      refused = true;
    } else message = one!;
    ensure(pieces.kept <= LIMITS.octets, `buffers ${pieces.kept} octets`);
    at += length;
  }
  if (read === undefined) ensure(message === null, 'a stream that is rejected as a whole is accepted in pieces');
  else {
    ensure(!refused, 'a stream that is accepted as a whole is rejected in pieces');
    equal(message, data.length === 0 ? null : read, 'the message read in pieces, compared with the whole');
  }
  if (message === null) return;
  const bytes =
    message.type === 'pushPull'
      ? encodePushPull(message)
      : message.type === 'user'
        ? encodeUser(message.payload)
        : encodeMessage(message);
  equal(new StreamReader({}, false).push(bytes), message, 'the message, encoded and read again');
}
