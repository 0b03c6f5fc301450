/** Keys of encrypted segments: key files, and the keys that a running VTEP has. */
import { randomBytes } from 'node:crypto';
import { lstatSync } from 'node:fs';
import { MAX_GROUP_KEYS } from '../keying/index.js';
import { type GroupKey } from '../model/index.js';
import { HostError } from './error.js';
import { bytesOfBase64 } from './gossip-keys.js';
import { readPrivate, writePrivate } from './private-file.js';

/** Lengths of a key in octets: for AES-128-GCM, and for AES-256-GCM. */
const LENGTHS = [16, 32];
/** Greatest number of a key. */
const LAST_NUMBER = 0xffff_ffff;
/** Most bytes of a key file. */
const MAX_FILE = 65_536;
const HEADER = '# Keys of an encrypted network, the newest first: NUMBER KEY';
const FORM = 'expected NUMBER KEY: a number from 1 to 4294967295, and a key in base64';

/** A key as a line of a file has it. */
interface Line {
  key: GroupKey;
  /** Its index in the lines of the file. */
  at: number;
}

/**
 * Reads a key file: one key per line, its number before it. Lines that begin with `#` are comments.
 * @param warn Receives a warning if other users can read the file, with the command that fixes it.
 * @returns its keys, the newest first.
 * @throws HostError, also for a file that other users can change; its message never contains a key.
 */
export function readGroupKeys(path: string, warn: (message: string) => void): GroupKey[] {
  return newestFirst(linesOf(path, readText(path, warn)));
}

/**
 * Creates a key file with one key, which has the number 1. Its owner alone can read it.
 * @param bits 128 or 256.
 * @param force Whether to overwrite an existing file.
 * @throws HostError if the file exists, or cannot be written.
 */
export function writeGroupKeyFile(path: string, bits: number, force: boolean): void {
  writePrivate(path, newGroupKeyText(bits), force);
}

/** The text of a key file with one new key. @param bits 128 or 256. */
export function newGroupKeyText(bits: number): string {
  return `${HEADER}\n1 ${randomKey(bits / 8)}\n`;
}

/**
 * Adds a key to a key file, with the next number. The newest keys stay, up to `MAX_GROUP_KEYS`, and so do comments.
 * @param warn As for `readGroupKeys`.
 * @returns the number of the new key.
 * @throws HostError if the file cannot be read or written, or if it is no key file. It is as it was then.
 */
export function rotateGroupKeyFile(path: string, warn: (message: string) => void): number {
  const text = readText(path, warn);
  const lines = linesOf(path, text);
  const [{ number, key }] = newestFirst(lines) as [GroupKey];
  if (number >= LAST_NUMBER)
    throw new HostError(`${path}: there is no number above ${LAST_NUMBER}; create another key file`);
  const old = new Set(
    [...lines]
      .sort((a, b) => b.key.number - a.key.number)
      .slice(MAX_GROUP_KEYS - 1)
      .map(({ at }) => at),
  );
  const first = Math.min(...lines.map(({ at }) => at));
  const fresh = `${number + 1} ${randomKey(bytesOfBase64(key)!.length)}`;
  const kept = text
    .split('\n')
    .flatMap((line, at) => [...(at === first ? [fresh] : []), ...(old.has(at) ? [] : [line])]);
  writePrivate(path, kept.join('\n'), true);
  return number + 1;
}

function randomKey(length: number): string {
  return randomBytes(length).toString('base64');
}

function readText(path: string, warn: (message: string) => void): string {
  if (isMisplacedKey(path))
    throw new HostError('a key is given in place of a file; write it into a file, as NUMBER KEY, and give its path');
  const { text, warning, isRegular } = readPrivate('key file', path, MAX_FILE);
  if (!isRegular)
    throw new HostError(`${path} is not a regular file; a key file is read again when the keys are rotated`);
  if (warning !== undefined) warn(warning);
  return text;
}

/** Whether a text is a key and not the path of anything. Errors show paths. */
function isMisplacedKey(text: string): boolean {
  if (![16, 24, 32].includes(bytesOfBase64(text)?.length ?? 0)) return false;
  return lstatSync(text, { throwIfNoEntry: false }) === undefined;
}

function linesOf(path: string, text: string): Line[] {
  const lines: Line[] = [];
  const seen = new Map<number, number>();
  for (const [at, line] of text.split('\n').entries()) {
    const words = line.trim();
    if (words === '' || words.startsWith('#')) continue;
    const refuse = (reason: string): never => {
      throw new HostError(`${path}:${at + 1}: ${reason}`);
    };
    if (lines.length === MAX_GROUP_KEYS) refuse(`a key file has at most ${MAX_GROUP_KEYS} keys; remove the oldest one`);
    const [, digits = '', base64 = ''] = /^(\d{1,10})\s+(\S+)$/.exec(words) ?? refuse(FORM);
    const number = Number(digits);
    if (number < 1 || number > LAST_NUMBER) refuse(FORM);
    const before = seen.get(number);
    if (before !== undefined) refuse(`the number ${number} is given twice (before in line ${before + 1})`);
    seen.set(number, at);
    const bytes = bytesOfBase64(base64) ?? refuse(`the key (${base64.length} characters) is not base64`);
    if (!LENGTHS.includes(bytes.length))
      refuse(`the key has ${bytes.length} octets, not 16 or 32 ("vtep network keygen" makes one)`);
    const key = Buffer.from(bytes).toString('base64');
    if (lines.length > 0 && lines[0]!.key.key.length !== key.length)
      refuse(
        `the key has ${bytes.length} octets, and that in line ${lines[0]!.at + 1} has not; all keys of a file have the same length`,
      );
    lines.push({ key: { number, key }, at });
  }
  if (lines.length === 0)
    throw new HostError(`${path} contains no key; "vtep network keygen -o FILE" makes a key file`);
  return lines;
}

function newestFirst(lines: readonly Line[]): GroupKey[] {
  return lines.map(({ key }) => key).sort((a, b) => b.number - a.number);
}

/** Hears of a group whose keys have changed. */
export type GroupListener = (group: string) => void;

/** The keys that a running VTEP has, by group. */
export class GroupKeyring {
  readonly #groups = new Map<string, readonly GroupKey[]>();
  readonly #listeners = new Set<GroupListener>();

  /** The keys of a group, the newest first; none if the group is unknown. */
  get(group: string): readonly GroupKey[] {
    return this.#groups.get(group) ?? [];
  }

  /**
   * Replaces the keys of a group. Of more than `MAX_GROUP_KEYS`, the newest stay.
   * @returns whether they differ from those before.
   */
  set(group: string, keys: readonly GroupKey[]): boolean {
    const next = [...keys].sort((a, b) => b.number - a.number).slice(0, MAX_GROUP_KEYS);
    const before = this.#groups.get(group) ?? [];
    const isSame = next.every(({ number, key }, i) => before[i]?.number === number && before[i].key === key);
    if (next.length === before.length && isSame) return false;
    if (next.length === 0) this.#groups.delete(group);
    else this.#groups.set(group, next);
    this.#changed(group);
    return true;
  }

  /** Forgets the keys of a group. */
  remove(group: string): void {
    if (this.#groups.delete(group)) this.#changed(group);
  }

  /**
   * Calls a function after each change, with the group.
   * @returns a function that ends that.
   */
  onChange(listener: GroupListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  #changed(group: string): void {
    for (const listener of [...this.#listeners]) listener(group);
  }
}
