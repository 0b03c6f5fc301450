/** Where the endpoints are that have no sandbox of their own, as a file: `attached.json` in the state directory. */
import { readFileSync } from 'node:fs';
import { codeOf, HostError } from '../error.js';
import { writePrivate } from '../private-file.js';
import { type AttachedPlace } from './node-plan.js';

export class AttachedPlaces {
  readonly #path: string;
  readonly #all: Map<string, AttachedPlace>;
  /** Endpoints whose command has no answer yet. */
  readonly #pending = new Set<string>();

  /** @throws HostError if the file is damaged. */
  constructor(path: string) {
    this.#path = path;
    this.#all = new Map(Object.entries(read(path)));
  }

  /** By the id of the endpoint. */
  get all(): ReadonlyMap<string, AttachedPlace> {
    return this.#all;
  }

  /** Notes a place before its endpoint is created: whenever this process is killed, the next one knows what to remove. */
  begin(endpoint: string, place: AttachedPlace): void {
    this.#pending.add(endpoint);
    this.#all.set(endpoint, place);
    this.#write();
  }

  /** The endpoint exists, or it was refused. */
  end(endpoint: string, exists: boolean): void {
    this.#pending.delete(endpoint);
    if (!exists) this.forget(endpoint);
  }

  /** The places of endpoints that are not, or no longer, among these. */
  stale(endpoints: ReadonlySet<string>): [endpoint: string, place: AttachedPlace][] {
    return [...this.#all].filter(([id]) => !endpoints.has(id) && !this.#pending.has(id));
  }

  forget(endpoint: string): void {
    if (this.#all.delete(endpoint)) this.#write();
  }

  #write(): void {
    writePrivate(this.#path, JSON.stringify(Object.fromEntries(this.#all)), true);
  }
}

function read(path: string): Record<string, AttachedPlace> {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Record<string, AttachedPlace>;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return {};
    throw new HostError(
      `${path} is damaged: ${(error as Error).message}; remove it, and the TAPs of this node that are in namespaces of others`,
      { cause: error },
    );
  }
}
