/** Parses hosts in flags. */
import { parseHostPort, type HostPort } from '../schema/index.js';
import { UsageError, type Parsed } from './flags.js';

/** The hosts of `--join`. @throws UsageError */
export function requireHostPorts(flags: Parsed): HostPort[] {
  return flags
    .values('join')
    .flatMap((text) => text.split(','))
    .map((text) => {
      const hostPort = parseHostPort(text);
      if (hostPort === null)
        throw new UsageError(`--join: expected a host, with or without a port, such as 192.168.1.25, got "${text}"`);
      return hostPort;
    });
}
