/** Names of network devices. */
import { isPrintable } from '../wire/index.js';

/**
 * Whether a text may name a device: 1 to 15 bytes, no `/`, `:`, white space or control character; `.`, `..` and a `%`
 * template are not names. The kernel accepts control and invisible characters above U+007F, this does not.
 */
export function isDeviceName(text: string): boolean {
  if (/[\s/:%]/.test(text) || text === '.' || text === '..' || !isPrintable(text)) return false;
  const length = new TextEncoder().encode(text).length;
  return length >= 1 && length <= 15;
}
