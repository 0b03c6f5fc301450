/** Parses hosts in flags. */
import { parseHostPort, type HostPort } from '../schema/index.js';
import { requireValues, type Parsed } from './flags.js';

/** The hosts of `--join`. @throws UsageError */
export function requireHostPorts(flags: Parsed): HostPort[] {
  const texts = flags.values('join').flatMap((text) => text.split(','));
  requireValues(flags, 'join', 'host', texts);
  return texts.map((text) => parseHostPort(text)!);
}
