/** LZW: any bytes decompress within the limit or not at all, and compressed they come out again. */
import { compress, decompress } from '../src/gossip/memberlist/index.js';
import { attempt, ensure, equal, wireError } from '../test/support/contract.js';

const LIMIT = 65_536;

export function fuzz(data: Uint8Array): void {
  equal(decompress(compress(data), data.length), data, 'what comes out, compared with what went in');
  const [plain, error] = attempt(() => decompress(data, LIMIT));
  if (plain === undefined) return void wireError(error);
  ensure(plain.length <= LIMIT, `${plain.length} octets`);
  equal(decompress(compress(plain), LIMIT), plain, 'what comes out again, compared with what came out');
}
