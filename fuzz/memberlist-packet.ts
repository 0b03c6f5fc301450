/** A memberlist datagram: decoding throws only WireErrors and stays in bounds, and decoded messages round-trip. */
import {
  decodeMessage,
  encodeMessage,
  MAX_INFLATED,
  MAX_MESSAGES,
  openPacket,
  walk,
} from '../src/gossip/memberlist/index.js';
import { attempt, ensure, equal, wireError } from '../test/support/contract.js';

export function fuzz(data: Uint8Array): void {
  const before = data.slice();
  const [plain, error] = attempt(() => openPacket(data, {}));
  if (plain === undefined) return void wireError(error);
  let messages = 0;
  walk(plain, {
    message(message) {
      messages++;
      equal(decodeMessage(encodeMessage(message)), message, 'decodeMessage(encodeMessage(m))');
    },
    user(bytes) {
      messages++;
      ensure(bytes.length <= Math.max(MAX_INFLATED, data.length), `${bytes.length} octets of user message`);
    },
    refused(reason) {
      messages++;
      wireError(reason);
    },
  });
  ensure(messages <= 2 * MAX_MESSAGES, `${messages} messages`);
  equal(data, before, 'the input after reading, which must not change it');
}
