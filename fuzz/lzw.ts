/** LZW: any bytes decompress within the limit or are rejected, and any bytes round-trip through compression. */
import { compress, decompress } from '../src/gossip/memberlist/index.js';
import { attempt, ensure, equal, wireError } from '../test/support/contract.js';

const LIMIT = 65_536;

export function fuzz(data: Uint8Array): void {
  equal(decompress(compress(data), data.length), data, 'decompress(compress(b))');
  const [plain, error] = attempt(() => decompress(data, LIMIT));
  if (plain === undefined) return void wireError(error);
  ensure(plain.length <= LIMIT, `${plain.length} octets`);
  equal(decompress(compress(plain), LIMIT), plain, 'decompress(compress(decompress(b)))');
}
