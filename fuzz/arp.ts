import * as arp from '../src/arp/index.js';
import { accessorsHold, holds } from '../test/support/contract.js';

export function fuzz(data: Uint8Array): void {
  holds(arp, data);
  const length = arp.check(data, 0, data.length);
  if (length >= 0 && arp.isEthernetIpv4(data, 0)) accessorsHold(arp, data, length);
}
