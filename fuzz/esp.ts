import * as esp from '../src/esp/index.js';
import { accessorsHold, holds } from '../test/support/contract.js';

/** The header, and what is read of the end of a packet. */
export function fuzz(data: Uint8Array): void {
  holds(esp, data);
  const length = esp.check(data, 0, data.length);
  if (length > 0) accessorsHold(esp, data, length, ['setIv']);
  const end = esp.payloadEnd(data, 0, data.length);
  if (end !== esp.BAD_PADDING && (end < 0 || end > data.length - esp.TRAILER_LENGTH))
    throw new Error(`a payload ends at ${end} of ${data.length}`);
}
