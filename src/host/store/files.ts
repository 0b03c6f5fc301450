/** The calls of the file system that a store makes: an interface, so that tests can fail each of them. */
import { constants } from 'node:fs';
import { open, readFile, rename, rm, type FileHandle } from 'node:fs/promises';
import { codeOf } from '../error.js';
import { PRIVATE } from '../private-file.js';

/** An open file. */
export interface StoreFile {
  /** Writes all bytes at a position. */
  write(bytes: Uint8Array, position: number): Promise<void>;
  truncate(length: number): Promise<void>;
  /** Resolves when the content, and its length, would survive a loss of power. */
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** A file system. Paths are absolute. */
export interface StoreFiles {
  /** Opens a file to write, and creates it if there is none; nobody else can read it. */
  open(path: string): Promise<StoreFile>;
  /** The content of a file; `null` if there is none. */
  read(path: string): Promise<Buffer | null>;
  rename(from: string, to: string): Promise<void>;
  /** Removes a file, if there is one. */
  remove(path: string): Promise<void>;
  /** Resolves when the names in a directory would survive a loss of power. */
  syncDirectory(path: string): Promise<void>;
}

class NodeFile implements StoreFile {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async write(bytes: Uint8Array, position: number): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const { bytesWritten } = await this.#handle.write(bytes, done, bytes.length - done, position + done);
      done += bytesWritten;
    }
  }

  async truncate(length: number): Promise<void> {
    await this.#handle.truncate(length);
  }

  async sync(): Promise<void> {
    await this.#handle.datasync(); // includes the length (fdatasync(2))
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** The file system of this host. */
export const NODE_FILES: StoreFiles = {
  async open(path) {
    return new NodeFile(await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, PRIVATE));
  },
  async read(path) {
    try {
      return await readFile(path);
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return null;
      throw error;
    }
  },
  async rename(from, to) {
    await rename(from, to);
  },
  async remove(path) {
    await rm(path, { force: true });
  },
  async syncDirectory(path) {
    const handle = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
};
