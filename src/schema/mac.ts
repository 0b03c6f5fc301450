/**
 * MAC addresses in configuration. In a separate file, so that a bundle with this function contains no schema library.
 */
import { macToText, parseMac } from '../address/index.js';

/** An accepted MAC address in its canonical text: `02:42:0a:00:00:02`. */
export function canonicalMac(text: string): string {
  return macToText(parseMac(text));
}
