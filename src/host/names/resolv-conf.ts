/** The name servers of the host: resolv.conf(5), read again when it has changed. */
import { stat } from 'node:fs/promises';
import { isIP } from 'node:net';
import { readBounded } from '../bounded-read.js';

/** What the host's resolver is told. */
export interface ResolvConf {
  /** Addresses, an IPv6 one perhaps with a zone. */
  readonly servers: readonly string[];
  readonly search: readonly string[];
}

const PATH = '/etc/resolv.conf';
/** Most bytes that are read, and milliseconds before the file is looked at again. */
const MAX_BYTES = 65_536;
const INTERVAL = 1000;
/** Most servers that the C library asks, and most domains that are taken. */
const MAX_SERVERS = 3;
const MAX_SEARCH = 16;

export function parseResolvConf(text: string): ResolvConf {
  const servers: string[] = [];
  let search: string[] = [];
  for (const line of text.split('\n')) {
    const [keyword = '', ...words] = line.trim().split(/\s+/);
    if (keyword === 'nameserver' && words[0] !== undefined && isIP(words[0]) !== 0) servers.push(words[0]);
    // The last one holds.
    else if (keyword === 'search' || keyword === 'domain') search = words.filter((word) => DOMAIN.test(word));
  }
  return { servers: servers.slice(0, MAX_SERVERS), search: search.slice(0, MAX_SEARCH) };
}

const DOMAIN = /^[a-z0-9_.-]{1,253}$/i;

const NONE: ResolvConf = { servers: [], search: [] };

/** The host's resolv.conf as it is now, or was a moment ago. */
export class HostResolvConf {
  readonly #path: string;
  #known = NONE;
  /** What identifies the file that is known. */
  #seen = '';
  #checked = -Infinity;
  #reading: Promise<void> | undefined;

  constructor(path = PATH) {
    this.#path = path;
  }

  /** A file that cannot be read counts as empty. */
  async read(): Promise<ResolvConf> {
    if (performance.now() - this.#checked >= INTERVAL) {
      this.#reading ??= this.#read().finally(() => (this.#reading = undefined));
      await this.#reading;
    }
    return this.#known;
  }

  async #read(): Promise<void> {
    try {
      const { ino, size, mtimeMs } = await stat(this.#path);
      const seen = `${ino} ${size} ${mtimeMs}`;
      if (seen !== this.#seen) {
        this.#known = parseResolvConf(readBounded(this.#path, MAX_BYTES));
        this.#seen = seen;
      }
    } catch {
      [this.#known, this.#seen] = [NONE, ''];
    }
    this.#checked = performance.now();
  }
}
