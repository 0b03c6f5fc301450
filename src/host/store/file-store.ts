import { randomBytes } from 'node:crypto';
import { resolve } from 'node:path';
import {
  type Committed,
  type Item,
  type Lease,
  type Store,
  type Transaction,
  type Watcher,
} from '../../cluster/index.js';
import { fileTrouble } from '../bounded-read.js';
import { HostError } from '../error.js';
import { Contents, type Entry } from './contents.js';
import { Disk } from './disk.js';
import { NODE_FILES, type StoreFiles } from './files.js';
import { lockDirectory } from './lock.js';
import { Watches } from './watches.js';

/** The time in milliseconds, which never goes back, and timers. */
export interface StoreClock {
  now(): number;
  /** Runs once. @returns cancels it. */
  after(milliseconds: number, run: () => void): () => void;
}

export interface FileStoreOptions {
  /** Created with mode 0700 if there is none. */
  readonly directory: string;
  /** Receives what an operator should know, as lines. */
  readonly notice?: (text: string) => void;
  readonly clock?: StoreClock;
  /** Octets of the journal after which a snapshot replaces it. */
  readonly compactAt?: number;
  /** Changes of keys that are kept for watchers. */
  readonly history?: number;
}

/** The parts of the system that a store uses. */
export interface StoreSystem {
  readonly files: StoreFiles;
  /** Locks a directory. @returns ends the lock. */
  readonly lock: (directory: string) => Promise<() => Promise<void>>;
}

const SYSTEM: StoreSystem = { files: NODE_FILES, lock: lockDirectory };
const CLOCK: StoreClock = {
  now: () => performance.now(),
  after: (milliseconds, run) => {
    const timer = setTimeout(run, Math.min(milliseconds, 2 ** 31 - 1)).unref();
    return () => clearTimeout(timer);
  },
};
const COMPACT_AT = 4 * 2 ** 20;
const HISTORY = 20_000;
/** Most octets of one transaction, about as much as etcd takes. */
const LARGEST = 2 ** 20;
/** Octets of transactions after which no more are added to a write. */
const BATCH = 2 ** 20;

/** A request in the queue. */
interface Pending {
  /** About as many octets as its entry has. */
  readonly size: number;
  /** Finds out what to record, and the answer once it is. */
  readonly decide: (contents: Contents) => { readonly entry: Entry | null; readonly answer: unknown };
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The embedded store of one manager: a directory with a journal. It answers after fsync, so what it has confirmed survives
 * `kill -9` and a loss of power. A transaction is there whole or not at all. Transactions that arrive during a write are
 * written together by the next one.
 *
 * After an error of a write nothing can be trusted: a later fsync may succeed although data is lost. So the store then
 * refuses all changes with the reason, until it is opened again. It still lists what is confirmed.
 */
export class FileStore implements Store {
  readonly #directory: string;
  readonly #disk: Disk;
  readonly #unlock: () => Promise<void>;
  readonly #notice: (text: string) => void;
  readonly #clock: StoreClock;
  readonly #least: number;
  /** What is confirmed. */
  readonly #durable: Contents;
  /** What will be when the current write is. */
  readonly #staged: Contents;
  readonly #watches: Watches;
  readonly #queue: Pending[] = [];
  /** When each lease ends. */
  readonly #ends = new Map<string, number>();
  #cancelTimer = (): void => {};
  /** Octets of the journal at which the next snapshot is due. */
  #compactAt: number;
  #running: Promise<void> | null = null;
  #closed: Promise<void> | null = null;
  #failure: HostError | undefined;

  private constructor(
    parts: { disk: Disk; durable: Contents; watches: Watches; unlock: () => Promise<void> },
    options: Required<FileStoreOptions>,
  ) {
    ({ disk: this.#disk, durable: this.#durable, watches: this.#watches, unlock: this.#unlock } = parts);
    ({ directory: this.#directory, notice: this.#notice, clock: this.#clock, compactAt: this.#least } = options);
    this.#compactAt = this.#least;
    this.#staged = copyOf(this.#durable);
    for (const [id, { seconds }] of this.#durable.leases) this.#ends.set(id, this.#clock.now() + seconds * 1000);
    this.#setTimer();
  }

  /**
   * Opens a store, or creates it. A write that was interrupted is cut off.
   * @throws HostError if another process uses it, if it is damaged, or if others have access to it.
   */
  static async open(options: FileStoreOptions, system = SYSTEM): Promise<FileStore> {
    const all = {
      notice: () => {},
      clock: CLOCK,
      compactAt: COMPACT_AT,
      history: HISTORY,
      ...options,
      directory: resolve(options.directory),
    };
    const unlock = await system.lock(all.directory);
    try {
      let watches: Watches | undefined;
      const { disk, contents } = await Disk.open(system.files, all.directory, all.notice, (change) =>
        (watches ??= new Watches(all.history, change.revision - 1)).add(change),
      );
      watches ??= new Watches(all.history, contents.revision);
      const store = new FileStore({ disk, durable: contents, watches, unlock }, all);
      // Into new files: what an earlier process could not write to the disk may be in memory only, and count as written.
      if (disk.length > 0) await store.#compact();
      if (store.#failure === undefined) return store;
      store.#cancelTimer();
      await disk.close().catch(() => {});
      throw store.#failure;
    } catch (error) {
      await unlock();
      if (error instanceof HostError) throw error;
      throw new HostError(`the store ${all.directory} cannot be opened: ${fileTrouble(error)}`, { cause: error });
    }
  }

  /** Why the store changes nothing any more. */
  get failure(): HostError | undefined {
    return this.#failure;
  }

  list(prefix: string): Promise<{ revision: number; items: Item[] }> {
    const items: Item[] = [];
    for (const [key, item] of this.#durable.items) if (key.startsWith(prefix)) items.push(item);
    items.sort((a, b) => (a.key < b.key ? -1 : 1));
    return Promise.resolve({ revision: this.#durable.revision, items });
  }

  async commit({ conditions, writes }: Transaction): Promise<Committed> {
    const size = sizeOf(writes);
    return this.#enqueue<Committed>(size, (contents) => {
      const conflict = contents.conflict(conditions);
      if (conflict !== undefined) return { entry: null, answer: { conflict } };
      for (const write of writes)
        if ('put' in write && write.lease !== undefined && !contents.leases.has(write.lease))
          throw new HostError(`the lease ${write.lease} of ${write.put} has ended; get a new one, and write again`);
      const entry = contents.entryOf(writes);
      return { entry, answer: { revision: contents.revision + (entry === null ? 0 : 1) } };
    });
  }

  watch(prefix: string, revision: number, on: Watcher): { stop(): void } {
    return this.#watches.watch(prefix, revision, on);
  }

  async lease(seconds: number): Promise<Lease> {
    if (!Number.isInteger(seconds) || seconds < 1)
      throw new RangeError(`a lease of ${seconds} seconds; give at least 1`);
    const id = randomBytes(8).toString('hex');
    await this.#enqueue(0, () => ({ entry: { lease: id, seconds }, answer: undefined }));
    const begin = (): void => void this.#ends.set(id, this.#clock.now() + seconds * 1000);
    begin();
    this.#setTimer();
    return {
      id,
      renew: async () => {
        this.#requireOpen();
        const end = this.#ends.get(id);
        if (end === undefined || end <= this.#clock.now()) return false;
        begin();
        return true;
      },
      revoke: () => this.#endLease(id),
    };
  }

  /** Waits for the transactions that are under way, and releases the directory. */
  close(): Promise<void> {
    return (this.#closed ??= this.#end());
  }

  async #end(): Promise<void> {
    this.#cancelTimer();
    this.#watches.clear();
    await this.#running;
    await this.#disk.close().catch(() => {}); // everything confirmed is on the disk
    await this.#unlock();
  }

  // ---- Writing ----

  #requireOpen(): void {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#closed !== null) throw new HostError(`the store ${this.#directory} is closed`);
  }

  #enqueue<T>(size: number, decide: (contents: Contents) => { entry: Entry | null; answer: T }): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#requireOpen();
      this.#queue.push({ size, decide, resolve: resolve as (answer: unknown) => void, reject });
      this.#running ??= this.#run();
    });
  }

  async #run(): Promise<void> {
    await Promise.resolve(); // what is requested at once is written at once
    while (this.#queue.length > 0 && this.#failure === undefined) {
      await this.#write(this.#take());
      if (this.#disk.length >= this.#compactAt && this.#failure === undefined) await this.#compact();
    }
    for (const { reject } of this.#queue.splice(0)) reject(this.#failure);
    this.#running = null;
  }

  #take(): Pending[] {
    let [count, size] = [0, 0];
    while (count < this.#queue.length && (count === 0 || size < BATCH)) size += this.#queue[count++]!.size;
    return this.#queue.splice(0, count);
  }

  async #write(requests: readonly Pending[]): Promise<void> {
    const entries: Entry[] = [];
    const answers: (() => void)[] = [];
    for (const { decide, resolve, reject } of requests)
      try {
        const { entry, answer } = decide(this.#staged);
        if (entry !== null) {
          this.#staged.apply(entry);
          entries.push(entry);
        }
        answers.push(() => resolve(answer));
      } catch (error) {
        answers.push(() => reject(error));
      }
    try {
      if (entries.length > 0) await this.#disk.append(entries);
    } catch (error) {
      this.#fail(error);
      for (const { reject } of requests) reject(this.#failure);
      return;
    }
    for (const entry of entries) {
      const change = this.#durable.apply(entry);
      if (change !== null) this.#watches.add(change);
    }
    for (const answer of answers) answer();
  }

  /** Replaces the journal by a snapshot. */
  async #compact(): Promise<void> {
    try {
      await this.#disk.writeSnapshot(this.#durable);
    } catch (error) {
      // The journal is whole and goes on.
      this.#compactAt = this.#disk.length * 2;
      this.#notice(`the journal of the store ${this.#directory} cannot be compacted yet: ${fileTrouble(error)}`);
      return;
    }
    try {
      await this.#disk.useSnapshot();
      this.#compactAt = this.#least;
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.#failure = new HostError(
      `the store ${this.#directory} cannot be written: ${fileTrouble(error)}. It takes no changes until it is opened again, ` +
        'and the last ones may be in it or not. Solve the problem of the disk, then restart the agent',
      { cause: error },
    );
    this.#notice(this.#failure.message);
  }

  // ---- Leases ----

  async #endLease(id: string): Promise<void> {
    this.#requireOpen();
    this.#ends.delete(id);
    await this.#enqueue(0, (contents) => ({ entry: contents.endOf(id), answer: undefined }));
  }

  /** Waits for the lease that ends first. */
  #setTimer(): void {
    this.#cancelTimer();
    if (this.#ends.size === 0) return;
    let first = Infinity;
    for (const end of this.#ends.values()) first = Math.min(first, end);
    this.#cancelTimer = this.#clock.after(Math.max(0, first - this.#clock.now()), () => {
      const now = this.#clock.now();
      // If it fails, the store takes no changes any more, and has said so.
      for (const [id, end] of this.#ends) if (end <= now) this.#endLease(id).catch(() => {});
      if (this.#failure === undefined) this.#setTimer();
    });
  }
}

function copyOf(contents: Contents): Contents {
  const copy = new Contents();
  copy.revision = contents.revision;
  for (const [lease, { seconds }] of contents.leases) copy.apply({ lease, seconds });
  for (const item of contents.items.values()) copy.restore(item);
  return copy;
}

/**
 * The octets of a transaction, about.
 * @throws RangeError if it is too large, or writes a key twice.
 */
function sizeOf(writes: Transaction['writes']): number {
  const keys = new Set<string>();
  let size = 0;
  for (const write of writes) {
    const key = 'put' in write ? write.put : write.delete;
    if (keys.has(key)) throw new RangeError(`a transaction writes ${key} twice; leave one of the writes out`);
    keys.add(key);
    size += Buffer.byteLength(key) + ('put' in write ? Buffer.byteLength(write.value) : 0);
  }
  if (size > LARGEST) throw new RangeError(`a transaction has ${size} octets, and ${LARGEST} at most; divide it`);
  return size;
}
