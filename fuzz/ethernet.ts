import * as ethernet from '../src/ethernet/index.js';
import { accessorsHold, holds } from '../test/support/contract.js';

export function fuzz(data: Uint8Array): void {
  holds(ethernet, data);
  const length = ethernet.check(data, 0, data.length);
  if (length >= 0) accessorsHold(ethernet, data, length);
}
