/** Files of the state directory that have a record for each of several ids, as JSON. */
import { readFileSync } from 'node:fs';
import { codeOf, HostError } from '../error.js';
import { writePrivate } from '../private-file.js';

/**
 * Reads the records by their ids; none if there is no file.
 * @param remedy What to do if the file is damaged, for the error.
 * @throws HostError if it is damaged.
 */
export function readRecords<T>(path: string, remedy: string): Map<string, T> {
  try {
    return new Map(Object.entries(JSON.parse(readFileSync(path, 'utf8')) as Record<string, T>));
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return new Map();
    throw new HostError(`${path} is damaged: ${(error as Error).message}; ${remedy}`, { cause: error });
  }
}

/** Replaces the records, whole. */
export function writeRecords(path: string, records: ReadonlyMap<string, unknown>): void {
  writePrivate(path, JSON.stringify(Object.fromEntries(records)), true);
}
