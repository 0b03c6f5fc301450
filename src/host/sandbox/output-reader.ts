/** Reads what a workload writes, while its shim keeps the last two parts of it; shim.ts has the files. */
import { open, stat, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf } from '../error.js';
import { FILES } from './shim.js';

/** A part, open for reading. */
interface Part {
  readonly file: FileHandle;
  /** A file that is removed may leave its number to the next one. */
  readonly identity: string;
}

export class OutputReader {
  readonly #directory: string;
  /** The part that was read last, and how many octets of it. */
  #part: string | undefined;
  #offset = 0;
  #missed = false;

  /** @param directory Of the workload. */
  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Whether, before what the last call of `next` has returned, something may have been written and dropped. */
  get missed(): boolean {
    return this.#missed;
  }

  /**
   * Returns what has been written since the last call, at first all that is kept. Without what was written and dropped between
   * two calls.
   */
  async next(): Promise<Buffer> {
    for (;;) {
      const newer = await this.#open(FILES.output);
      const older = await this.#open(FILES.older);
      try {
        // The newer part becomes the older one at any time.
        if (newer?.identity !== (await this.#identity(FILES.output))) continue;
        return await this.#read(older, newer);
      } finally {
        await newer?.file.close();
        await older?.file.close();
      }
    }
  }

  async #read(older: Part | undefined, newer: Part | undefined): Promise<Buffer> {
    const parts = [older, newer].filter((part) => part !== undefined);
    const known = parts.findIndex(({ identity }) => identity === this.#part);
    // The part that was read last is gone, and so is what was added to it after that.
    this.#missed = this.#part !== undefined && known < 0 && parts.length > 0;
    const read: Buffer[] = [];
    for (const [i, { file, identity }] of parts.entries()) {
      if (i < known) continue;
      const content = await file.readFile();
      read.push(i === known ? content.subarray(this.#offset) : content);
      this.#part = identity;
      this.#offset = content.length;
    }
    return Buffer.concat(read);
  }

  async #open(name: string): Promise<Part | undefined> {
    try {
      const file = await open(join(this.#directory, name), 'r');
      const { ino, birthtimeMs } = await file.stat();
      return { file, identity: `${ino} ${birthtimeMs}` };
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  async #identity(name: string): Promise<string | undefined> {
    const found = await stat(join(this.#directory, name)).catch(() => undefined);
    return found === undefined ? undefined : `${found.ino} ${found.birthtimeMs}`;
  }
}
