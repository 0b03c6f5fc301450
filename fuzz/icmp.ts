import * as icmp from '../src/icmp/index.js';
import { accessorsHold, ensure, equal, holds } from '../test/support/contract.js';

export function fuzz(data: Uint8Array): void {
  holds(icmp, data);
  const length = icmp.check(data, 0, data.length);
  if (length < 0) return;
  accessorsHold(icmp, data, length);
  const value = icmp.decode(data);
  icmp.quoted(value);
  icmp.extensions(value);

  const copy = data.slice();
  icmp.fillChecksum(copy, 0, copy.length);
  ensure(icmp.verifyChecksum(copy, 0, copy.length), 'the checksum that fillChecksum wrote is wrong');
  const { checksum: _, ...rest } = value;
  equal(icmp.encode(rest), copy, 'encode with a computed checksum, compared with fillChecksum');
}
