/** The keys of ESP packets in a file for Wireshark. */
import { writePrivate, type Results } from '../host/index.js';
import { call } from './call.js';

type Secret = Results['association-keys'][number];

/** Writes the keys of the associations that a running VTEP has, and has had since the first call. */
export class EspKeys {
  readonly #control: string;
  readonly #timeout: number;
  readonly #path: string;
  readonly #lines = new Set<string>();

  constructor(control: string, timeout: number, path: string) {
    this.#control = control;
    this.#timeout = timeout;
    this.#path = path;
  }

  /** @throws HostError if no VTEP answers, or the file cannot be written. */
  async write(): Promise<void> {
    const secrets = await call(this.#control, { command: 'association-keys' }, { timeout: this.#timeout });
    for (const secret of secrets) this.#lines.add(lineOf(secret));
    writePrivate(this.#path, [...this.#lines].join(''), true);
  }
}

/** A line of the table `esp_sa`: "ESP SAs" in the preferences of Wireshark. */
function lineOf({ source, destination, spi, key, salt }: Secret): string {
  const family = source.includes(':') ? 'IPv6' : 'IPv4';
  const columns = [family, source, destination, `0x${spi.toString(16).padStart(8, '0')}`, CIPHER];
  return `${[...columns, `0x${key}${salt}`, 'NULL', ''].map((column) => `"${column}"`).join(',')}\n`;
}

const CIPHER = 'AES-GCM with 16 octet ICV [RFC4106]';
