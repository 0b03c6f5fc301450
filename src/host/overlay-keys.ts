/** The key files of a running VTEP: reads them, and keeps the keys of its groups. */
import { isAbsolute } from 'node:path';
import { type Change, type GroupKey, type Rejection } from '../model/index.js';
import { type KeyFilePlan, type Plan } from '../schema/index.js';
import { type DataPlane, type EngineFacts } from './data-plane.js';
import { HostError, RequestError } from './error.js';
import { KeyAgreement, type EncryptionListing } from './esp/key-agreement.js';
import { type RemoteListing } from '../vtep/index.js';
import { type KeyingEvent } from './esp/keying-events.js';
import { GroupKeyring, readGroupKeys } from './group-keys.js';
import { pagesOf, type Page } from './pages.js';
import { type Logger } from './log.js';

/** The keys of key files. */
export type ReadKeys = readonly (KeyFilePlan & { readonly keys: readonly GroupKey[] })[];

/**
 * Reads the key files of a plan.
 * @param warn Receives a warning for each file that other users can read, with the command that fixes it.
 * @throws HostError with the path of the file in the configuration.
 */
export function readKeyFiles(plan: Plan, warn: (message: string) => void): ReadKeys {
  return plan.keyFiles.map(({ group, path }) => {
    try {
      return { group, path, keys: readGroupKeys(path, warn) };
    } catch (error) {
      if (error instanceof HostError) error.path ??= placeOf(plan, group);
      throw error;
    }
  });
}

/** The path of the key file of a group in the configuration. */
function placeOf({ networks, gossip, segments }: Plan, group: string): string {
  const network = networks.findIndex(({ name }) => name === group);
  if (network >= 0) return `networks[${network}].keyFile`;
  const gossiped = (gossip?.networks ?? []).findIndex(({ id }) => id === group);
  if (gossiped >= 0) return `gossip.networks[${gossiped}].keyFile`;
  return `segments[${segments.findIndex((segment) => segment.group === group)}].keyFile`;
}

export class OverlayKeys {
  readonly ring = new GroupKeyring();
  /** Its key files become those of the segments that the VTEP has now. */
  readonly #plan: Plan;
  readonly #log: Logger;
  readonly #warn = (message: string): void => this.#log.warning('key-file', message);

  #agreement: KeyAgreement | undefined;

  /** @throws HostError with the path of a key file in the configuration. */
  constructor(plan: Plan, log: Logger) {
    this.#plan = plan;
    this.#log = log;
    for (const { group, keys } of readKeyFiles(plan, this.#warn)) this.ring.set(group, keys);
  }

  // ---- Agreement with other hosts ----

  /** The data plane has started: begins to agree on keys. */
  start(engine: DataPlane, { senders }: EngineFacts): void {
    this.#agreement = new KeyAgreement(this.#plan.local, senders, engine, this.ring, this.#log);
  }

  /** What the data plane reports. */
  take(events: readonly KeyingEvent[]): void {
    this.#agreement?.take(events);
  }

  /**
   * Makes changes of the data plane. It opens the port of ESP for the first encrypted segment.
   * @returns those that it does not make.
   */
  async apply(engine: DataPlane, changes: readonly Change[]): Promise<readonly Rejection[]> {
    const groups = changes.flatMap((change) => (change.do === 'add-segment' ? (change.segment.group ?? []) : []));
    if (groups.length === 0) return (await engine.apply(changes)).rejected;
    try {
      await engine.secure();
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
      const reason = error.message;
      return changes.map((_, index) => ({ index, reason }));
    }
    for (const group of groups) this.#agreement!.add(group);
    return (await engine.apply(changes)).rejected;
  }

  /** Adds to each remote of a listing how frames to and from it are encrypted. */
  async *remotes(pages: AsyncIterable<Page>): AsyncGenerator<Page> {
    const known = this.encryption();
    for await (const page of pages)
      yield {
        ...page,
        result: (page.result as RemoteListing[]).map((remote) => {
          const encryption = known.get(remote.address);
          return encryption === undefined ? remote : { ...remote, encryption };
        }),
      };
  }

  /** With which hosts keys are agreed on. */
  encryption(): ReadonlyMap<string, EncryptionListing[]> {
    return this.#agreement?.listing() ?? new Map<string, EncryptionListing[]>();
  }

  /** The keys of all associations, for a person who decrypts a capture. */
  secrets(): AsyncIterable<Page> {
    return pagesOf(this.#agreement?.secrets() ?? []);
  }

  close(): void {
    this.#agreement?.close();
  }

  // ---- Key files ----

  /**
   * Adds segments of a group with a key file, which the group does not have yet. If this fails, its keys are removed.
   * @param path Absolute: the working directory of a client may be another one.
   * @throws RequestError if the key file does not fit.
   */
  async adding<T>(group: string | undefined, path: string | undefined, add: () => Promise<T>): Promise<T> {
    if (group === undefined || path === undefined) return add();
    if (!isAbsolute(path))
      throw new RequestError('invalid-request', 'expected the absolute path of a key file', { path: 'keyFile' });
    const { keyFiles } = this.#plan;
    if (keyFiles.some((file) => file.group === group))
      throw new RequestError('conflict', `the key group ${group} exists already; choose another name`, {
        path: 'name',
      });
    let keys: GroupKey[];
    try {
      keys = readGroupKeys(path, this.#warn);
    } catch (error) {
      throw error instanceof HostError
        ? new RequestError('conflict', error.message, { path: 'keyFile', cause: error })
        : error;
    }
    keyFiles.push({ group, path });
    this.ring.set(group, keys);
    try {
      return await add();
    } finally {
      this.prune();
    }
  }

  /** Forgets the keys of groups that have no segment any more. */
  prune(): void {
    const { keyFiles, segments } = this.#plan;
    const groups = new Set(segments.map((segment) => segment.group));
    for (let i = keyFiles.length - 1; i >= 0; i--) {
      const { group } = keyFiles[i]!;
      if (groups.has(group)) continue;
      keyFiles.splice(i, 1);
      this.ring.remove(group);
    }
  }

  /**
   * Applies a configuration that was read again.
   * @throws what `apply` throws, and HostError for a key file; the keys stay as they were then.
   */
  async reloading<T>(next: Plan, apply: () => Promise<T>): Promise<T> {
    const read = readKeyFiles(next, this.#warn);
    const { keyFiles } = this.#plan;
    // New segments need them at once. The keys of the others change when nothing can fail any more.
    const fresh = read.filter(({ group }) => !keyFiles.some((file) => file.group === group));
    for (const { group, path, keys } of fresh) {
      keyFiles.push({ group, path });
      this.ring.set(group, keys);
    }
    try {
      const done = await apply();
      for (const { group, path, keys } of read) {
        keyFiles.find((file) => file.group === group)!.path = path;
        if (this.ring.set(group, keys))
          this.#log.info('keys', `the newest key of ${group} is number ${keys[0]!.number}, from ${path}`, {
            ...{ group, number: keys[0]!.number, numbers: keys.map(({ number }) => number) },
          });
      }
      return done;
    } finally {
      this.prune();
    }
  }
}
