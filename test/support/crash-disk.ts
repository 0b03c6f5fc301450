/**
 * A disk in memory that loses what was not synced. It stops at a given call, as at a loss of power, and then each of the
 * calls that no sync has covered may have reached the disk or not: writes by sectors, in any order.
 */
import { basename, dirname } from 'node:path';
import { type StoreFile, type StoreFiles } from '../../src/host/store/files.js';

const SECTOR = 16;

type Change = { readonly at: number; readonly bytes: Uint8Array } | { readonly length: number };

/** A file: what is on the disk, and what is only in memory. */
interface Inode {
  durable: Buffer;
  /** What a process reads. */
  seen: Buffer;
  pending: Change[];
}

type Naming = { readonly name: string; readonly inode: Inode | null };

function change(content: Buffer, made: Change): Buffer {
  if ('length' in made)
    return made.length <= content.length
      ? Buffer.from(content.subarray(0, made.length))
      : Buffer.concat([content, Buffer.alloc(made.length - content.length)]);
  const out = Buffer.alloc(Math.max(content.length, made.at + made.bytes.length));
  content.copy(out);
  out.set(made.bytes, made.at);
  return out;
}

export class CrashDisk implements StoreFiles {
  /** Calls until now. */
  calls = 0;
  /** The call at which the power fails; calls from then on never end. */
  crashAt = Infinity;
  /** Calls that fail with this code, without an effect, or with half of it. */
  readonly failures = new Map<number, { code: string; isPartial: boolean }>();
  /** The names of files for whose content there is no space. */
  readonly full = new Set<string>();
  #names = new Map<string, Inode>();
  #durableNames = new Map<string, Inode>();
  #pendingNames: Naming[] = [];
  #stopped: () => void = () => {};
  /** Resolves when the power fails. */
  readonly stopped = new Promise<void>((resolve) => (this.#stopped = resolve));

  async open(path: string): Promise<StoreFile> {
    await this.#call();
    let inode = this.#names.get(basename(path));
    if (inode === undefined) {
      inode = { durable: Buffer.alloc(0), seen: Buffer.alloc(0), pending: [] };
      this.#name({ name: basename(path), inode });
    }
    const file = inode;
    const make = async (made: Change): Promise<void> => {
      const half = 'length' in made ? made : { at: made.at, bytes: made.bytes.slice(0, made.bytes.length >> 1) };
      await this.#call(() => this.#apply(file, half));
      if (this.full.has(basename(path)) && 'bytes' in made) throw failureOf('ENOSPC');
      this.#apply(file, made);
    };
    return {
      write: (bytes, at) => make({ at, bytes: Uint8Array.from(bytes) }),
      truncate: (length) => make({ length }),
      // As in Linux: what a failed sync could not write counts as written, and is read as before.
      sync: () =>
        this.#call(() => (file.pending = [])).then(() => {
          for (const made of file.pending) file.durable = change(file.durable, made);
          file.pending = [];
        }),
      close: () => Promise.resolve(),
    };
  }

  async read(path: string): Promise<Buffer | null> {
    const inode = this.#names.get(basename(path));
    return inode === undefined ? null : Buffer.from(inode.seen);
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#call();
    const inode = this.#names.get(basename(from))!;
    if (dirname(from) !== dirname(to)) throw new Error('another directory');
    this.#name({ name: basename(from), inode: null });
    this.#name({ name: basename(to), inode });
  }

  async remove(path: string): Promise<void> {
    await this.#call();
    if (this.#names.has(basename(path))) this.#name({ name: basename(path), inode: null });
  }

  async syncDirectory(): Promise<void> {
    await this.#call();
    for (const naming of this.#pendingNames) setName(this.#durableNames, naming);
    this.#pendingNames = [];
  }

  /** What a process finds after the power came back. @param below A random number from 0 up to but not including its argument. */
  afterCrash(below: (end: number) => number): CrashDisk {
    const disk = new CrashDisk();
    const names = new Map(this.#durableNames);
    // The names change in order. A rename is one step: its two changes are both there or not.
    const steps = this.#pendingNames.slice(0, below(this.#pendingNames.length + 1));
    const next = this.#pendingNames[steps.length];
    if (steps.at(-1)?.inode === null && next?.inode != null) steps.pop();
    for (const naming of steps) setName(names, naming);
    const copies = new Map<Inode, Inode>();
    for (const [name, inode] of names) {
      let content = inode.durable;
      for (const made of inode.pending) {
        if ('length' in made) {
          if (below(2) === 0) content = change(content, made);
          continue;
        }
        for (let at = 0; at < made.bytes.length; at += SECTOR)
          if (below(3) > 0)
            content = change(content, { at: made.at + at, bytes: made.bytes.subarray(at, at + SECTOR) });
      }
      const copy = copies.get(inode) ?? { durable: content, seen: content, pending: [] };
      copies.set(inode, copy);
      disk.#names.set(name, copy);
    }
    disk.#durableNames = new Map(disk.#names);
    return disk;
  }

  /** The same disk, for the next process after one that is killed now, without a loss of power. */
  afterKill(): CrashDisk {
    this.crashAt = 0;
    const disk = new CrashDisk();
    disk.#names = new Map(this.#names);
    disk.#durableNames = new Map(this.#durableNames);
    disk.#pendingNames = [...this.#pendingNames];
    return disk;
  }

  /** Sets the content of a file, as if it had always been there. */
  set(name: string, content: Buffer): void {
    const inode = { durable: content, seen: content, pending: [] };
    this.#names.set(name, inode);
    this.#durableNames.set(name, inode);
  }

  get(name: string): Buffer | undefined {
    return this.#names.get(name)?.seen;
  }

  /** @param half What a call that is interrupted or fails may have done. */
  async #call(half: () => void = () => {}): Promise<void> {
    this.calls += 1;
    const { calls } = this;
    await Promise.resolve();
    if (calls >= this.crashAt) {
      if (calls === this.crashAt) half();
      this.#stopped();
      return new Promise(() => {});
    }
    const failure = this.failures.get(calls);
    if (failure === undefined) return;
    if (failure.isPartial) half();
    throw failureOf(failure.code);
  }

  #apply(inode: Inode, made: Change): void {
    inode.seen = change(inode.seen, made);
    inode.pending.push(made);
  }

  #name(naming: Naming): void {
    setName(this.#names, naming);
    this.#pendingNames.push(naming);
  }
}

function failureOf(code: string): Error {
  return Object.assign(new Error(`${code} of the test`), { code });
}

function setName(names: Map<string, Inode>, { name, inode }: Naming): void {
  if (inode === null) names.delete(name);
  else names.set(name, inode);
}
