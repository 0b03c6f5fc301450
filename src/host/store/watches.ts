/** The recent changes of a store, and who watches them. */
import { type Watcher } from '../../cluster/index.js';
import { type Revision } from './contents.js';

interface Watch {
  readonly prefix: string;
  readonly on: Watcher;
  /** The last revision that it knows. */
  revision: number;
  isScheduled: boolean;
}

/** Keeps as many changes as the caller allows; a watcher that needs older ones is told that they are lost. */
export class Watches {
  /** Consecutive. */
  readonly #history: Revision[] = [];
  readonly #most: number;
  readonly #watches = new Set<Watch>();
  #kept = 0;
  /** The changes after this revision are in the history. */
  #since: number;

  /** @param most Changes of keys to keep. */
  constructor(most: number, revision: number) {
    this.#most = most;
    this.#since = revision;
  }

  /** The latest revision. */
  get #latest(): number {
    return this.#history.at(-1)?.revision ?? this.#since;
  }

  add(change: Revision): void {
    this.#history.push(change);
    this.#kept += change.changes.length;
    let drop = 0;
    // Half of it at once: to drop the first ones of an array takes time for all others.
    if (this.#kept > this.#most)
      for (; this.#kept > this.#most / 2 && drop < this.#history.length; drop++)
        this.#kept -= this.#history[drop]!.changes.length;
    if (drop > 0) {
      this.#since = this.#history[drop - 1]!.revision;
      this.#history.splice(0, drop);
    }
    for (const watch of this.#watches) this.#schedule(watch);
  }

  watch(prefix: string, revision: number, on: Watcher): { stop(): void } {
    const watch: Watch = { prefix, on, revision, isScheduled: false };
    this.#watches.add(watch);
    this.#schedule(watch);
    return { stop: () => void this.#watches.delete(watch) };
  }

  /** Ends all watches. */
  clear(): void {
    this.#watches.clear();
  }

  /** Never within the call that causes it: a watcher may call the store. */
  #schedule(watch: Watch): void {
    if (watch.isScheduled) return;
    watch.isScheduled = true;
    queueMicrotask(() => {
      watch.isScheduled = false;
      this.#tell(watch);
    });
  }

  #tell(watch: Watch): void {
    const latest = this.#latest;
    // A revision that is not there yet is one of another store, or of one that has lost its last transactions.
    if (watch.revision < this.#since || watch.revision > latest) {
      if (this.#watches.delete(watch)) watch.on.lost();
      return;
    }
    while (this.#watches.has(watch) && watch.revision < latest) {
      const { revision, changes } = this.#history[watch.revision - this.#since]!;
      watch.revision = revision;
      const wanted = changes.filter(({ key }) => key.startsWith(watch.prefix));
      if (wanted.length > 0) watch.on.changed(revision, wanted);
    }
  }
}
