/** Keys of the gossip: reads them from text and files, writes them, and lists them by fingerprint. */
import { createHash } from 'node:crypto';
import { lstatSync } from 'node:fs';
import { Keyring } from '../gossip/memberlist/index.js';
import { type Plan } from '../schema/index.js';
import { about, codeOf, HostError, RequestError } from './error.js';
import { readPrivate, writePrivate } from './private-file.js';

const LENGTHS = [16, 24, 32];
/** Stands for standard input in place of a file. */
const INPUT = '-';
/** Most bytes of a file of keys. */
const MAX_FILE = 65_536;
/** A text that is meant as the name of a file: a path, or a name with an extension. No other one is shown: it may be a key. */
const FILE_NAME = /^[./~]|^[^=]*\.[a-z]\w{0,7}$/i;

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
    if (text === INPUT || exists(text) || FILE_NAME.test(text)) return keysOfFile(text, warn);
    throw new HostError(`the key ${wrong(text)}, and there is no file of that name`);
  });
}

/**
 * Checks that the keys of a plan can be read.
 * @param warn As for `readKeys`.
 * @throws HostError with the path of the keys.
 */
export async function requireKeys({ gossip }: Plan, warn: (message: string) => void): Promise<void> {
  await about('gossip.keys', () => readKeys(gossip?.keys ?? [], warn));
}

/** Whether a text is a key itself, and not the name of something that exists. */
export function isKeyText(text: string): boolean {
  return keyOf(text) !== null && !exists(text);
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
 * @param advice What to do if it is not.
 * @throws RequestError if it is not in the ring.
 */
export function findKey(ring: Keyring, text: string, advice = ''): Uint8Array {
  const given = keyOf(text);
  const found = ring.keys.find((key) => (given === null ? fingerprint(key) === text.toLowerCase() : same(key, given)));
  if (found !== undefined) return found;
  const known = listKeys(ring).map((key) => key.fingerprint);
  if (given === null && !/^[0-9a-f]{8}$/i.test(text))
    throw new RequestError(
      'invalid-request',
      `the key ${wrong(text)}, and is not a fingerprint of 8 hexadecimal digits`,
    );
  throw new RequestError(
    'not-found',
    `key ${given === null ? text : fingerprint(given)} is not in the ring, which has ${known.join(', ')}${advice}`,
  );
}

/**
 * Reads a key in base64.
 * @throws RequestError if it is not a key.
 */
export function requireKey(text: string): Uint8Array {
  const key = keyOf(text);
  if (key === null) throw new RequestError('invalid-request', `the key ${wrong(text)}`);
  return key;
}

/** Decodes a key in base64; `null` if the text is not a key. */
function keyOf(text: string): Uint8Array | null {
  const bytes = bytesOfBase64(text);
  return bytes !== null && LENGTHS.includes(bytes.length) ? bytes : null;
}

/** Decodes base64, of either alphabet; `null` if the text is none. */
export function bytesOfBase64(text: string): Uint8Array | null {
  if (!/^[A-Za-z0-9+/_-]+={0,2}$/.test(text)) return null;
  const bytes = Buffer.from(text, 'base64');
  const again = bytes.toString('base64').replace(/=+$/, '');
  return again === text.replace(/-/g, '+').replace(/_/g, '/').replace(/=+$/, '') ? new Uint8Array(bytes) : null;
}

/** Says why a text is not a key, without revealing it. */
function wrong(text: string): string {
  const bytes = bytesOfBase64(text);
  if (bytes === null) return `(${text.length} characters) is not base64`;
  return `has ${bytes.length} bytes, not 16, 24 or 32 in base64 ("vtep gossip keygen" makes one)`;
}

type Content = ReturnType<typeof readPrivate>;

/** What standard input and pipes contained: they can be read once, and a start reads the keys twice. */
const pipes = new Map<string, Content>();

function readFile(path: string): Content {
  const known = pipes.get(path);
  if (known !== undefined) return known;
  const content = readPrivate('key file', path, MAX_FILE);
  if (path === INPUT || !content.isRegular) pipes.set(path, content);
  return content;
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

/** Whether there is anything at a path, of any kind. */
function exists(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch (error) {
    return ['EACCES', 'ELOOP'].includes(codeOf(error)); // others cannot be paths: too long, with a NUL, below a file
  }
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((octet, i) => octet === b[i]);
}
