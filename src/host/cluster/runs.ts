/**
 * The sandboxes that were made on request, as a file: `runs.json` in the state directory. It has those that are not complete
 * yet, and those that belong to a process. Whenever this process is killed, the next one removes what is half made, and the
 * sandboxes whose processes have ended.
 */
import { RUN_RECORD } from '../../schema/index.js';
import { isRunning, type ProcessIdentity } from '../sandbox/processes.js';
import { readRecords, writeRecords } from './id-file.js';

export interface Run {
  /** The id of its network. */
  readonly network: string;
  readonly owner?: ProcessIdentity | undefined;
  /** It is not complete yet. */
  readonly making?: boolean;
}

/** Without its record, a sandbox is one without an owner. */
const remedy = (id?: string): string =>
  id === undefined
    ? 'sandboxes of "vtep run" stay after their commands; "vtep ps" lists them, and "vtep detach NAME" removes one'
    : `the sandbox of endpoint ${id} stays after its command; "vtep detach ${id}" removes it`;

export class Runs {
  readonly #path: string;
  readonly #all: Map<string, Run>;
  /** Endpoints that this process is making. */
  readonly #own = new Set<string>();

  /**
   * @param warn Receives what is damaged in the file.
   * @throws HostError if the file cannot be read.
   */
  constructor(path: string, warn: (message: string) => void) {
    this.#path = path;
    this.#all = readRecords<Run>({ path, schema: RUN_RECORD, remedy, warn });
  }

  /** Notes a sandbox before its endpoint is created. */
  begin(endpoint: string, run: Omit<Run, 'making'>): void {
    this.#own.add(endpoint);
    this.#all.set(endpoint, { ...run, making: true });
    this.#write();
  }

  /** It is complete. */
  complete(endpoint: string): void {
    const run = this.#all.get(endpoint);
    if (run?.owner === undefined) this.#all.delete(endpoint);
    else this.#all.set(endpoint, { network: run.network, owner: run.owner });
    this.#write();
    this.#own.delete(endpoint);
  }

  /** Its endpoint does not exist, or no longer. */
  forget(endpoint: string): void {
    this.#own.delete(endpoint);
    if (this.#all.delete(endpoint)) this.#write();
  }

  /** This process does not go on with making it. */
  abandon(endpoint: string): void {
    this.#own.delete(endpoint);
  }

  isMaking(endpoint: string): boolean {
    return this.#own.has(endpoint);
  }

  /** The endpoints to remove: half made by an earlier process, or of a process that has ended. */
  orphans(): [endpoint: string, run: Run][] {
    return [...this.#all].filter(
      ([id, { making, owner }]) =>
        !this.#own.has(id) && (making === true || (owner !== undefined && !isRunning(owner))),
    );
  }

  /** Forgets those that are complete, and whose endpoints are not among these. */
  retain(endpoints: ReadonlySet<string>): void {
    for (const [id, { making }] of this.#all)
      if (making !== true && !this.#own.has(id) && !endpoints.has(id)) this.forget(id);
  }

  /** Forgets all, without a change of the file: the node has left its cluster. */
  clear(): void {
    this.#all.clear();
    this.#own.clear();
  }

  #write(): void {
    writeRecords(this.#path, this.#all);
  }
}
