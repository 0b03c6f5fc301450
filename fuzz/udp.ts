import * as udp from '../src/udp/index.js';
import { accessorsHold, ensure, holds } from '../test/support/contract.js';

export function fuzz(data: Uint8Array): void {
  holds(udp, data);
  const length = udp.check(data, 0, data.length);
  if (length < 0) return;
  accessorsHold(udp, data, length);
  const { payload } = udp.decode(data);
  const end = udp.HEADER_LENGTH + payload.length;
  const copy = data.slice(0, end);
  udp.fillChecksum(copy, 0, end, 0x1234);
  ensure(udp.getChecksum(copy, 0) !== 0, 'fillChecksum wrote zero, which means no checksum');
}
