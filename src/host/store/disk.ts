/**
 * The files of a store. `journal` has a frame for each write, with the transactions that were committed together. `snapshot`
 * has everything as of the frame whose number it names; frames up to that number are passed over. It is written aside and
 * renamed, so there is always a whole one.
 */
import { join } from 'node:path';
import { type Item } from '../../cluster/index.js';
import { fileTrouble } from '../bounded-read.js';
import { HostError } from '../error.js';
import { Contents, type Entry, type Revision } from './contents.js';
import { type StoreFile, type StoreFiles } from './files.js';
import { encodeFrame, readFrames, type Frames } from './frames.js';

/** A frame of the journal. */
interface Batch {
  readonly number: number;
  readonly entries: readonly Entry[];
}

/** The frames of a snapshot: the first, any number of others, and the last one. */
type Part =
  | { readonly snapshot: 1; readonly number: number; readonly revision: number }
  | { readonly leases: readonly { readonly id: string; readonly seconds: number }[] }
  | { readonly items: readonly Item[] }
  | { readonly end: number };

/** Items in a frame of a snapshot. */
const ITEMS = 500;

/** Open files, and what they contain. */
export class Disk {
  /** In octets. */
  length = 0;
  readonly #files: StoreFiles;
  readonly #directory: string;
  #journal: StoreFile;
  #number: number;

  private constructor(files: StoreFiles, directory: string, journal: StoreFile, number: number) {
    this.#files = files;
    this.#directory = directory;
    this.#journal = journal;
    this.#number = number;
  }

  /**
   * Reads and verifies the files.
   * @param history Receives the revisions that are still in the journal.
   * @throws HostError that says which file is damaged, where, and what to do.
   */
  static async open(
    files: StoreFiles,
    directory: string,
    notice: (text: string) => void,
    history: (change: Revision) => void,
  ): Promise<{ disk: Disk; contents: Contents }> {
    const path = join(directory, 'journal');
    const snapshot = await read(files, join(directory, 'snapshot'));
    const bytes = await read(files, path);
    for (const name of ['snapshot.new', 'journal.new']) await files.remove(join(directory, name));
    const { contents, number } =
      snapshot === null ? { contents: new Contents(), number: 0 } : restore(snapshot, directory);
    const frames = readFrames(bytes ?? Buffer.alloc(0));
    requireWhole(frames, path);
    const last = replay(frames, { contents, number, path, history });
    const journal = await files.open(path);
    try {
      const disk = new Disk(files, directory, journal, last);
      disk.length = frames.end;
      if (frames.damage !== undefined) {
        const lost = bytes!.length - frames.end;
        notice(`${path}: the last write was interrupted before it was complete: its ${lost} octets are cut off`);
        await journal.truncate(frames.end);
      }
      // What an earlier process wrote and did not confirm is read from memory and perhaps not on the disk yet.
      await journal.sync();
      await files.syncDirectory(directory);
      return { disk, contents };
    } catch (error) {
      await journal.close().catch(() => {});
      throw error;
    }
  }

  /** Resolves when the entries would survive a loss of power. If it rejects, they may or may not. */
  async append(entries: readonly Entry[]): Promise<void> {
    const frame = encodeFrame({ number: this.#number + 1, entries } satisfies Batch);
    await this.#journal.write(frame, this.length);
    await this.#journal.sync();
    this.#number += 1;
    this.length += frame.length;
  }

  /** Writes a snapshot aside. If it rejects, nothing has changed. */
  async writeSnapshot(contents: Contents): Promise<void> {
    const path = join(this.#directory, 'snapshot.new');
    try {
      const file = await this.#files.open(path);
      try {
        await file.truncate(0);
        let length = 0;
        for (const part of partsOf(contents, this.#number)) {
          const frame = encodeFrame(part);
          await file.write(frame, length);
          length += frame.length;
        }
        await file.sync();
      } finally {
        await file.close();
      }
    } catch (error) {
      await this.#files.remove(path).catch(() => {});
      throw error;
    }
  }

  /**
   * Puts the snapshot in place, and a new journal in the place of the old one. An old file that is emptied may come back with
   * its content if an earlier sync of it failed. If it rejects, the files are whole, but which ones is unknown.
   */
  async useSnapshot(): Promise<void> {
    const files = this.#files;
    const path = (name: string): string => join(this.#directory, name);
    await files.rename(path('snapshot.new'), path('snapshot'));
    await files.syncDirectory(this.#directory);
    const journal = await files.open(path('journal.new'));
    try {
      await journal.sync();
      await files.rename(path('journal.new'), path('journal'));
      await files.syncDirectory(this.#directory);
    } catch (error) {
      await journal.close().catch(() => {});
      throw error;
    }
    await this.#journal.close();
    this.#journal = journal;
    this.length = 0;
  }

  async close(): Promise<void> {
    await this.#journal.close();
  }
}

async function read(files: StoreFiles, path: string): Promise<Buffer | null> {
  try {
    return await files.read(path);
  } catch (error) {
    throw new HostError(`${path} cannot be read: ${fileTrouble(error)}`, { cause: error });
  }
}

function* partsOf(contents: Contents, number: number): Iterable<Part> {
  yield { snapshot: 1, number, revision: contents.revision };
  yield { leases: [...contents.leases].map(([id, { seconds }]) => ({ id, seconds })) };
  let items: Item[] = [];
  for (const item of contents.items.values()) {
    items.push(item);
    if (items.length < ITEMS) continue;
    yield { items };
    items = [];
  }
  yield { items };
  yield { end: contents.items.size };
}

function restore(bytes: Buffer, directory: string): { contents: Contents; number: number } {
  const path = join(directory, 'snapshot');
  const { values, end, damage } = readFrames(bytes);
  requireVersion(path, damage);
  const contents = new Contents();
  let number: number | undefined;
  let isWhole = false;
  for (const { value } of values) {
    const part = value as Part;
    if ('snapshot' in part) [number, contents.revision] = [part.number, part.revision];
    else if ('leases' in part) for (const { id, seconds } of part.leases) contents.apply({ lease: id, seconds });
    else if ('items' in part) for (const item of part.items) contents.restore(item);
    else isWhole = part.end === contents.items.size;
  }
  if (damage !== undefined || !isWhole || number === undefined)
    throw new HostError(
      `${path} is damaged at octet ${end}; restore the directory ${directory} from a backup, or move it away: the store then begins empty`,
    );
  return { contents, number };
}

function requireVersion(path: string, damage: Frames['damage']): void {
  if (damage?.version !== undefined)
    throw new HostError(
      `${path} has version ${damage.version}, and this program reads version 1; use the program that wrote it`,
    );
}

/** Refuses a journal that is damaged before its end. */
function requireWhole({ values, end, damage }: Frames, path: string): void {
  requireVersion(path, damage);
  if (damage?.isFollowed !== true) return;
  const last = (values.at(-1)?.value as Batch | undefined)?.number ?? 0;
  throw new HostError(
    `${path} is damaged at octet ${end}, and not by an interrupted write: later transactions are intact. ` +
      `Restore the directory from a backup. Or give up everything after write ${last}: truncate -s ${end} ${path}`,
  );
}

/**
 * Applies the frames after a snapshot.
 * @returns the number of the last frame.
 */
function replay(
  frames: Frames,
  into: { contents: Contents; number: number; path: string; history: (change: Revision) => void },
): number {
  const { contents, path, history } = into;
  let { number } = into;
  for (const { offset, value } of frames.values) {
    const batch = value as Batch;
    if (batch.number <= number) continue;
    const trouble = (why: string): HostError =>
      new HostError(
        `${path} does not continue ${number === into.number ? 'the snapshot' : 'itself'} at octet ${offset}: ${why}; ` +
          'restore the directory from a backup: its files do not belong together',
      );
    if (batch.number !== number + 1) throw trouble(`write ${batch.number} follows write ${number}`);
    number = batch.number;
    try {
      for (const entry of batch.entries) {
        const change = contents.apply(entry);
        if (change !== null) history(change);
      }
    } catch (error) {
      if (error instanceof RangeError) throw trouble(error.message);
      throw error;
    }
  }
  return number;
}
