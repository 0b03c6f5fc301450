/**
 * What a node keeps of its cluster in its state directory, mode 0700: `node.pem` with its private key, its certificate and
 * the CA's certificate, in one file so that they always belong together; `managers.json`; and, while it joins, its key in
 * `joining.pem`.
 */
import { createPrivateKey } from 'node:crypto';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { HostError } from '../error.js';
import { readPrivate, writePrivate } from '../private-file.js';
import { parseHostPort } from '../../schema/index.js';
import { newKey } from './authority.js';
import { identityOf, type Identity } from './certificate.js';
import { MANAGER_PORT } from './protocol.js';

const MAX_FILE = 65_536;
const PEM = /-----BEGIN ([A-Z ]+)-----\r?\n[A-Za-z0-9+/=\r\n]+-----END \1-----\r?\n?/g;

export class StateFiles {
  readonly directory: string;
  readonly #warn: (message: string) => void;

  /** @param warn Receives a warning for each file that other users can read, with the command that fixes it. */
  constructor(directory: string, warn: (message: string) => void = () => undefined) {
    this.directory = directory;
    this.#warn = warn;
  }

  get #node(): string {
    return join(this.directory, 'node.pem');
  }
  get #joining(): string {
    return join(this.directory, 'joining.pem');
  }
  get #managers(): string {
    return join(this.directory, 'managers.json');
  }

  /** @returns `undefined` if this node is in no cluster. @throws HostError if the file is wrong. */
  identity(): Identity | undefined {
    if (!existsSync(this.#node)) return undefined;
    const [key = '', certificate = '', ca = ''] = [...this.#read('file of the node', this.#node).matchAll(PEM)].map(
      ([pem]) => pem,
    );
    try {
      return identityOf(key, certificate, ca);
    } catch (error) {
      throw damaged(this.#node, (error as Error).message, error);
    }
  }

  /** The key to join with: that of an earlier attempt, whose answer may have been lost, or a new one. */
  async joiningKey(): Promise<string> {
    this.#makeDirectory();
    if (existsSync(this.#joining)) {
      const key = this.#read('key', this.#joining);
      if (isKey(key)) return key;
    }
    const key = await newKey();
    writePrivate(this.#joining, key, true);
    return key;
  }

  write({ key, certificate, ca }: Pick<Identity, 'key' | 'certificate' | 'ca'>): void {
    this.#makeDirectory();
    writePrivate(this.#node, [key, certificate, ca].map((pem) => `${pem.trimEnd()}\n`).join(''), true);
    rmSync(this.#joining, { force: true });
  }

  /** Where managers are, as was heard last. */
  managers(): string[] {
    if (!existsSync(this.#managers)) return [];
    const text = this.#read('list of managers', this.#managers);
    let list: unknown;
    try {
      list = JSON.parse(text);
    } catch (error) {
      throw damaged(this.#managers, 'it is not JSON', error);
    }
    if (!isManagers(list)) throw damaged(this.#managers, 'it is not a list of addresses');
    return list;
  }

  writeManagers(managers: readonly string[]): void {
    this.#makeDirectory();
    writePrivate(this.#managers, `${JSON.stringify(managers)}\n`, true);
  }

  /** Forgets the cluster. */
  remove(): void {
    for (const path of [this.#node, this.#joining, this.#managers]) rmSync(path, { force: true });
  }

  #makeDirectory(): void {
    try {
      mkdirSync(this.directory, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw new HostError(`the state directory ${this.directory} cannot be made: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  #read(what: string, path: string): string {
    const { text, warning } = readPrivate(what, path, MAX_FILE);
    if (warning !== undefined) this.#warn(warning);
    return text;
  }
}

function isKey(pem: string): boolean {
  try {
    return createPrivateKey(pem).asymmetricKeyType === 'ec';
  } catch {
    return false;
  }
}

/** Most managers in a list. */
const MANAGERS = 64;

/** Whether this is a list of places of managers, as one manager sends it. */
export function isManagers(list: unknown): list is string[] {
  return (
    Array.isArray(list) &&
    list.length <= MANAGERS &&
    list.every((one) => typeof one === 'string' && parseHostPort(one, MANAGER_PORT) !== null)
  );
}

function damaged(path: string, why: string, cause?: unknown): HostError {
  const remedy = 'restore the file, or remove it and join again';
  return new HostError(`${path} is damaged: ${why}; ${remedy}`, { cause });
}
