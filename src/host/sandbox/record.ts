/** What is known of a sandbox on disk, so that the next process finds it, or what is left of it. */
import { mkdir, open, readdir, readFile, rename } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type SubnetRoute } from '../../schema/index.js';
import { codeOf, HostError } from '../error.js';
import { type SandboxPlan } from './plan.js';

/** Addresses and routes of the device that weft may have added. */
export interface Added {
  readonly addresses: readonly string[];
  readonly routes: readonly SubnetRoute[];
}

/**
 * The record of a sandbox. It is written before anything is made, and removed after everything is gone: what has no record
 * is not weft's.
 */
export interface SandboxRecord {
  readonly version: 1;
  readonly state: 'creating' | 'ready' | 'removing';
  /** Identifies the namespace; absent until it has been made. */
  readonly namespace?: string;
  readonly plan: SandboxPlan;
  /** What an earlier plan had and this one has not, as long as it may be there. */
  readonly stale?: Added;
}

const RECORD = 'sandbox.json';

/** Replaces the content of a file, so that a reader, also one after a crash, finds the old text or the new one. */
export async function writeAside(path: string, text: string): Promise<void> {
  const aside = `${path}.new`;
  const file = await open(aside, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(aside, path);
  const directory = await open(dirname(path), 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Writes the record of a sandbox, into its directory. */
export async function writeRecord(directory: string, record: SandboxRecord): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await writeAside(join(directory, RECORD), `${JSON.stringify(record, null, 1)}\n`);
  } catch (error) {
    throw new HostError(`the sandbox cannot be recorded in ${directory}: ${(error as Error).message}`, {
      cause: error,
    });
  }
}

/**
 * Reads the record of a sandbox; `undefined` if there is none.
 * @throws HostError if it is damaged.
 */
export async function readRecord(directory: string): Promise<SandboxRecord | undefined> {
  const path = join(directory, RECORD);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return undefined;
    throw new HostError(`${path} cannot be read: ${(error as Error).message}`, { cause: error });
  }
  try {
    const record = JSON.parse(text) as SandboxRecord;
    if (record.version === 1 && typeof record.plan?.name === 'string') return record;
  } catch {
    // said below
  }
  throw new HostError(
    `${path} is not the record of a sandbox; if its namespace is gone ("ip netns list"), remove the file`,
  );
}

/** The names in a directory; none if there is no such directory. */
export async function namesIn(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [];
    throw error;
  }
}
