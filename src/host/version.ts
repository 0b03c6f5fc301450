import { existsSync, readFileSync } from 'node:fs';

let read: string | undefined;

/** The version of this package. */
export function version(): string {
  // Relative to the sources, and relative to a chunk of the bundle in dist.
  const manifest = ['../../package.json', '../package.json']
    .map((path) => new URL(path, import.meta.url))
    .find((url) => existsSync(url));
  read ??= (JSON.parse(readFileSync(manifest!, 'utf8')) as { version: string }).version;
  return read;
}
