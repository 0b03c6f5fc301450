import * as tcp from '../src/tcp/index.js';
import { accessorsHold, ensure, holds } from '../test/support/contract.js';

export function fuzz(data: Uint8Array): void {
  holds(tcp, data);
  const length = tcp.check(data, 0, data.length);
  if (length < 0) return;
  accessorsHold(tcp, data, length);
  const copy = data.slice();
  tcp.fillChecksum(copy, 0, copy.length, 0x1234);
  ensure(tcp.verifyChecksum(copy, 0, copy.length, 0x1234), 'the checksum that fillChecksum wrote is wrong');
}
