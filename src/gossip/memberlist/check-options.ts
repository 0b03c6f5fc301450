import { nameTrouble, uint } from '../../wire/index.js';
import { addressBytes, MAX_META } from './message.js';
import { MAX_NAME } from './roster.js';
import type { MemberlistOptions } from './types.js';

/** @throws RangeError for an invalid name, address, port, incarnation, version or meta data. */
export function checkOptions({ name, address, port = 7946, meta, vsn, incarnation = 1 }: MemberlistOptions): void {
  if (name === '' || name.length > MAX_NAME)
    throw new RangeError(`a member's name must have 1 to ${MAX_NAME} characters, not ${name.length}`);
  const trouble = nameTrouble(name);
  if (trouble !== undefined)
    throw new RangeError(`a member's name must be printable, without white space and slashes, and this one ${trouble}`);
  if (vsn !== undefined && vsn.length !== 6)
    throw new RangeError(`memberlist.vsn must have 6 octets, not ${vsn.length}`);
  if (addressBytes(address).length === 0) throw new RangeError('memberlist.address must not be empty');
  uint('memberlist.port', port, 0xffff);
  uint('memberlist.meta', meta?.length ?? 0, MAX_META);
  uint('memberlist.incarnation', incarnation, 0xffff_ffff);
}
