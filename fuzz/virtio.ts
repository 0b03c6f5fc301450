import * as virtio from '../src/virtio/index.js';
import { accessorsHold, holds } from '../test/support/contract.js';

export function fuzz(data: Uint8Array): void {
  holds(virtio, data);
  const length = virtio.check(data, 0, data.length);
  if (length >= 0) accessorsHold(virtio, data, length);
}
