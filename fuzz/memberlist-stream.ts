/** A stream of memberlist, whole and in pieces: the same message, or WireErrors and nothing else; and written again. */
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
    ensure(pieces.kept <= LIMITS.octets, `keeps ${pieces.kept} octets`);
    at += length;
  }
  if (read === undefined) ensure(message === null, 'what is refused as a whole is read in pieces');
  else {
    ensure(!refused, 'what is read as a whole is refused in pieces');
    equal(message, data.length === 0 ? null : read, 'what is read in pieces, compared with the whole');
  }
  if (message === null) return;
  const bytes =
    message.type === 'pushPull'
      ? encodePushPull(message)
      : message.type === 'user'
        ? encodeUser(message.payload)
        : encodeMessage(message);
  equal(new StreamReader({}, false).push(bytes), message, 'what was written, compared with what was read');
}
