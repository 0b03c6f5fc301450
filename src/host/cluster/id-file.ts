/**
 * Files of the state directory that have a record for each of several ids, as JSON. A damaged record is left out, and the others
 * count: each is about one endpoint, and what runs in the others goes on. Leaving one out removes nothing.
 */
import { readFileSync } from 'node:fs';
import { findProblems, problemText, type JsonSchema } from '../../schema/index.js';
import { codeOf, HostError } from '../error.js';
import { writePrivate } from '../private-file.js';

/** What a file has, and what to do about a damaged one. */
export interface IdFile {
  readonly path: string;
  /** Of a record. */
  readonly schema: JsonSchema;
  /** What does not happen without a record, and the command that helps. @param id Absent: all of them. */
  remedy(id?: string): string;
  /** Receives what is damaged. */
  warn(message: string): void;
}

/**
 * Reads the records by their ids; none if there is no file. What is damaged is left out, and stays in a file beside it.
 * @throws HostError if the file cannot be read.
 */
export function readRecords<T>({ path, schema, remedy, warn }: IdFile): Map<string, T> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return new Map();
    throw new HostError(`${path} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  const records = objectIn(text);
  const troubles: string[] = [];
  const found = new Map<string, T>();
  if (typeof records === 'string') troubles.push(`${records}; ${remedy()}`);
  else
    for (const [id, record] of Object.entries(records)) {
      const [problem] = findProblems(schema, record);
      if (problem === undefined) found.set(id, record as T);
      else troubles.push(`record ${JSON.stringify(id)}: ${problemText(problem)}; ${remedy(id)}`);
    }
  if (troubles.length === 0) return found;
  const kept = damagedCopy(path);
  writePrivate(kept, text, true);
  for (const trouble of troubles) warn(`${path} is damaged, and ${kept} has a copy: ${trouble}`);
  return found;
}

/** The object in a text, or what is there instead. */
function objectIn(text: string): object | string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    return `it is not JSON (${(error as Error).message})`;
  }
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? value
    : 'it is not an object with a record for each endpoint';
}

/** Where a damaged file remains. */
export function damagedCopy(path: string): string {
  return `${path}.damaged`;
}

/** Replaces the records, whole. */
export function writeRecords(path: string, records: ReadonlyMap<string, unknown>): void {
  writePrivate(path, JSON.stringify(Object.fromEntries(records)), true);
}
