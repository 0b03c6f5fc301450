import * as vxlan from '../src/vxlan/index.js';
import { accessorsHold, holds } from '../test/support/contract.js';

export function fuzz(data: Uint8Array): void {
  holds(vxlan, data);
  const length = vxlan.check(data, 0, data.length);
  if (length < 0) return;
  accessorsHold(vxlan, data, length, ['setGroup', 'setNextProtocol']); // these set flags too
  const value = vxlan.decode(data);
  vxlan.groupPolicy(value);
  vxlan.nextProtocol(value);
}
