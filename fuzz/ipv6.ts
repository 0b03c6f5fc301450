import * as ipv6 from '../src/ipv6/index.js';
import { accessorsHold, ensure, equal, holds } from '../test/support/contract.js';

export function fuzz(data: Uint8Array): void {
  holds(ipv6, data);
  const length = ipv6.check(data, 0, data.length);
  if (length < 0) return;
  accessorsHold(ipv6, data, length);

  // findUpper reads nothing outside the packet, and its result lies within it.
  const upper = ipv6.findUpper(data, 0, data.length);
  for (const fill of [0x00, 0xff]) {
    const framed = new Uint8Array(data.length + 300).fill(fill);
    framed.set(data, 7);
    equal(ipv6.findUpper(framed, 7, 7 + data.length), upper, 'findUpper between other bytes');
  }
  if (upper >= 0) ensure(ipv6.upperOffset(upper) <= data.length, 'findUpper returns an offset beyond the end');
}
