import { vlan } from '../src/ethernet/index.js';
import { accessorsHold, holds } from '../test/support/contract.js';

export function fuzz(data: Uint8Array): void {
  holds(vlan, data);
  const length = vlan.check(data, 0, data.length);
  if (length >= 0) accessorsHold(vlan, data, length);
}
