import { getMac } from '../src/address/index.js';
import * as icmpv6 from '../src/icmpv6/index.js';
import { accessorsHold, ensure, equal, holds } from '../test/support/contract.js';

/** A partial sum of some pseudo-header. */
const PSEUDO = 0x12345;

export function fuzz(data: Uint8Array): void {
  holds(icmpv6, data);
  const length = icmpv6.check(data, 0, data.length);
  if (length < 0) return;
  accessorsHold(icmpv6, data, length);
  const value = icmpv6.decode(data);
  icmpv6.quoted(value);
  icmpv6.extensions(value);
  for (const option of value.options ?? []) {
    const fields = icmpv6.decodeOption(option);
    if (fields !== null) equal(icmpv6.encodeOption(fields), option, 'an option after decodeOption and encodeOption');
  }
  const whole = icmpv6.readOptions(data, length, data.length).every((option) => option.malformed !== true);
  ensure(icmpv6.checkOptions(data, length, data.length) === whole, 'checkOptions and readOptions disagree');
  const found = icmpv6.findOption(data, length, data.length, icmpv6.OPTION_SOURCE_LINK_LAYER_ADDRESS);
  ensure(found === -1 || (found >= length && found + 8 <= data.length), `findOption returned ${found}`);
  const address = icmpv6.getLinkLayerAddress(data, length, data.length, icmpv6.OPTION_SOURCE_LINK_LAYER_ADDRESS);
  const isShort = found >= 0 && data[found + 1] === 1;
  equal(address, isShort ? getMac(data, found + 2) : -1, 'the address in the option');

  const copy = data.slice();
  icmpv6.fillChecksum(copy, 0, copy.length, PSEUDO);
  ensure(icmpv6.verifyChecksum(copy, 0, copy.length, PSEUDO), 'the checksum that fillChecksum wrote is wrong');
}
