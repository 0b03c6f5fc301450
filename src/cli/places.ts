/** Hosts out of flags. */
import { parsePlace, type Place } from '../schema/index.js';
import { UsageError, type Parsed } from './flags.js';

/** The hosts of `--join`. @throws UsageError */
export function requirePlaces(flags: Parsed): Place[] {
  return flags
    .values('join')
    .flatMap((text) => text.split(','))
    .map((text) => {
      const place = parsePlace(text);
      if (place === null)
        throw new UsageError(`--join: expected a host, with or without a port, such as 192.168.1.25, got "${text}"`);
      return place;
    });
}
