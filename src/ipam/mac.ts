import { deriveMac, isGroupMac, macToText, parseMac } from '../address/index.js';
import { IpamError } from './error.js';

/** The MAC address of an endpoint that asked for none: the same on every host and after every restart. */
export function macOf(vni: number, address: string): string {
  return macToText(deriveMac(vni, address));
}

/**
 * Checks a MAC address that somebody asks for.
 * @returns its canonical text.
 * @throws IpamError `invalid`.
 */
export function requestMac(text: string): string {
  let mac: number;
  try {
    mac = parseMac(text);
  } catch (error) {
    throw new IpamError('invalid', 'mac', (error as Error).message);
  }
  const why = mac === 0 ? 'is all zeros' : isGroupMac(mac) ? 'is a group address' : undefined;
  if (why !== undefined)
    throw new IpamError(
      'invalid',
      'mac',
      `${macToText(mac)} ${why}, which no station can have; choose one such as 02:42:0a:00:00:02`,
    );
  return macToText(mac);
}
