/** A datagram of memberlist: nothing but WireErrors, nothing out of bounds, and what is read is written and read again. */
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
      equal(decodeMessage(encodeMessage(message)), message, 'what was written, compared with what was read');
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
  equal(data, before, 'the bytes, which reading is not to change');
}
