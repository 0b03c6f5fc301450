/** Keys of the gossip: reads them from text and files, writes them, and lists them by fingerprint. */
import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { Keyring } from '../gossip/memberlist/index.js';
import { HostError } from './error.js';
import { readPrivate, writePrivate } from './private-file.js';

const LENGTHS = [16, 24, 32];
/** Stands for standard input in place of a file. */
const INPUT = '-';
/** Most bytes of a file of keys. */
const MAX_FILE = 65_536;

/** A key of a ring as listings show it; never contains the key itself. */
export interface KeyListing {
  /** The first 8 hexadecimal digits of the key's SHA-256. */
  fingerprint: string;
  bits: number;
  /** Whether it encrypts outgoing messages. */
  primary: boolean;
}

/**
 * Reads keys. Each text is a key in base64, the path of a file with one key per line, or `-` for standard input.
 * @param warn Receives a warning for each file that other users can read, with the command that fixes it.
 * @throws HostError, also for a file that other users can change; its message never contains a key.
 */
export function readKeys(texts: readonly string[], warn: (message: string) => void): Uint8Array[] {
  return texts.flatMap((text) => {
    if (isKeyText(text)) return [keyOf(text)!];
    if (text === INPUT || isFile(text) || /^[./~]/.test(text)) return keysOfFile(text, warn);
    throw new HostError(`the key ${wrong(text)}, and there is no file of that name`);
  });
}

/** Whether a text is a key itself, and not the name of an existing file. */
export function isKeyText(text: string): boolean {
  return keyOf(text) !== null && !isFile(text);
}

/**
 * Writes a key to a file that only its owner can read.
 * @param force Whether to overwrite an existing file.
 * @throws HostError if the file exists, or cannot be written.
 */
export function writeKeyFile(path: string, key: string, force: boolean): void {
  writePrivate(path, `${key}\n`, force);
}

/**
 * Creates a ring of the given keys; `undefined` if there are none.
 * @param warn As for `readKeys`.
 */
export function keyringOf(texts: readonly string[], warn: (message: string) => void): Keyring | undefined {
  const keys = readKeys(texts, warn);
  return keys.length === 0 ? undefined : new Keyring(keys);
}

export function fingerprint(key: Uint8Array): string {
  return createHash('sha256').update(key).digest('hex').slice(0, 8);
}

export function listKeys(ring: Keyring): KeyListing[] {
  return ring.keys.map((key, i) => ({ fingerprint: fingerprint(key), bits: key.length * 8, primary: i === 0 }));
}

/**
 * Finds a key of a ring by its fingerprint or its base64 text.
 * @throws HostError if it is not in the ring.
 */
export function findKey(ring: Keyring, text: string): Uint8Array {
  const given = keyOf(text);
  const found = ring.keys.find((key) => (given === null ? fingerprint(key) === text.toLowerCase() : same(key, given)));
  if (found !== undefined) return found;
  const known = listKeys(ring).map((key) => key.fingerprint);
  throw new HostError(
    given === null && !/^[0-9a-f]{8}$/i.test(text)
      ? `the key ${wrong(text)}, and is not a fingerprint of 8 hexadecimal digits`
      : `key ${given === null ? text : fingerprint(given)} is not in the ring, which has ${known.join(', ')}; install it first`,
  );
}

/**
 * Reads a key in base64.
 * @throws HostError if it is not a key.
 */
export function requireKey(text: string): Uint8Array {
  const key = keyOf(text);
  if (key === null) throw new HostError(`the key ${wrong(text)}`);
  return key;
}

/** Decodes a key in base64; `null` if the text is not a key. */
function keyOf(text: string): Uint8Array | null {
  const bytes = base64(text);
  return bytes !== null && LENGTHS.includes(bytes.length) ? bytes : null;
}

function base64(text: string): Uint8Array | null {
  if (!/^[A-Za-z0-9+/_-]+={0,2}$/.test(text)) return null;
  const bytes = Buffer.from(text, 'base64');
  const again = bytes.toString('base64').replace(/=+$/, '');
  return again === text.replace(/-/g, '+').replace(/_/g, '/').replace(/=+$/, '') ? new Uint8Array(bytes) : null;
}

/** Says why a text is not a key, without revealing it. */
function wrong(text: string): string {
  const bytes = base64(text);
  if (bytes === null) return `(${text.length} characters) is not base64`;
  return `has ${bytes.length} bytes, not 16, 24 or 32 in base64 ("vtep gossip keygen" makes one)`;
}

/** What standard input contained: it can be read once, and a start reads the keys twice. */
let input: ReturnType<typeof readPrivate> | undefined;

function readFile(path: string): ReturnType<typeof readPrivate> {
  try {
    if (path === INPUT) return (input ??= readPrivate('key file', path, MAX_FILE));
    return readPrivate('key file', path, MAX_FILE);
  } catch (error) {
    if (error instanceof HostError) throw error;
    throw new HostError(`the key's file cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

function keysOfFile(path: string, warn: (message: string) => void): Uint8Array[] {
  const { text, warning } = readFile(path);
  if (warning !== undefined) warn(warning);
  const name = path === INPUT ? 'standard input' : path;
  const lines = text.split('\n').map((line) => line.trim());
  const keys = lines.flatMap((line, i) => {
    if (line === '' || line.startsWith('#')) return [];
    const key = keyOf(line);
    if (key === null) throw new HostError(`${name}:${i + 1}: the key ${wrong(line)}`);
    return [key];
  });
  if (keys.length === 0)
    throw new HostError(`${name} contains no key; write one key per line, 16, 24 or 32 bytes in base64`);
  return keys;
}

function isFile(text: string): boolean {
  try {
    return statSync(text, { throwIfNoEntry: false })?.isFile() === true;
  } catch {
    return false; // a text that cannot be a path: too long, or with a NUL
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((octet, i) => octet === b[i]);
}
