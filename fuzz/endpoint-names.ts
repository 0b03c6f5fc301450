/**
 * The record of an endpoint's names: the first octet chooses the table, the rest is the record. It is refused, or has an
 * address and names that can be asked for, which are the same when they are written and read again.
 */
import {
  decodeNames,
  encodeNames,
  isEndpointName,
  MAX_NAMES,
  NAME_TABLES,
  nameTableOf,
} from '../src/gossip/networkdb/endpoint-records.js';
import { attempt, ensure, equal, wireError } from '../test/support/contract.js';

export function fuzz(data: Uint8Array): void {
  const table = NAME_TABLES[(data[0] ?? 0) % NAME_TABLES.length]!;
  const [found, error] = attempt(() => decodeNames(table, data.subarray(1)));
  if (found === undefined) {
    if (!(error instanceof RangeError)) wireError(error);
    return;
  }
  const { ip, name, names } = found;
  ensure(nameTableOf(ip) === table, `${ip} is not of ${table}`);
  ensure(names.length > 0 && names.length <= MAX_NAMES, `${names.length} names`);
  for (const one of [name, ...names]) ensure(isEndpointName(one), `the name ${JSON.stringify(one)}`);
  equal([...new Set(names.map((one) => one.toLowerCase()))], names, 'names in lower case, each once');
  const again = decodeNames(table, encodeNames({ ip, name, aliases: names.slice(1) }));
  equal(again, found, 'the names, written and read again');
}
