import * as ipv4 from '../src/ipv4/index.js';
import { accessorsHold, ensure, holds } from '../test/support/contract.js';

export function fuzz(data: Uint8Array): void {
  holds(ipv4, data);
  const length = ipv4.check(data, 0, data.length);
  if (length < 0) return;
  accessorsHold(ipv4, data, length, ['setEcn']); // turns a checksum of ffff into 0000, which is equivalent
  if (!ipv4.verifyChecksum(data, 0)) return;
  const copy = data.slice();
  ipv4.setEcn(copy, 0, 3 - ipv4.getEcn(copy, 0));
  if (ipv4.getTtl(copy, 0) > 0) ipv4.decrementTtl(copy, 0);
  ensure(ipv4.verifyChecksum(copy, 0), 'the checksum is wrong after setEcn and decrementTtl');
}
