/** Where the endpoints are that have no sandbox of their own, as a file: `attached.json` in the state directory. */
import { ATTACHED_RECORD } from '../../schema/index.js';
import { readRecords, writeRecords } from './id-file.js';
import { type AttachedPlace } from './node-plan.js';

/** Without its place, an endpoint has no device here. */
const remedy = (id?: string): string =>
  id === undefined
    ? 'the endpoints of "vtep attach" on this node have no devices until you detach them ("vtep ps" lists them, "vtep detach NAME") and attach them again; "ip link del" in their namespaces removes the devices that were there'
    : `endpoint ${id} has no device until you detach it ("vtep detach ${id}") and attach its namespace again; "ip link del" in that namespace removes the device that was there`;

export class AttachedPlaces {
  readonly #path: string;
  readonly #all: Map<string, AttachedPlace>;
  /** Endpoints that no assignment has had yet: one may arrive that is older than they are. */
  readonly #pending = new Set<string>();

  /**
   * @param warn Receives what is damaged in the file.
   * @throws HostError if the file cannot be read.
   */
  constructor(path: string, warn: (message: string) => void) {
    this.#path = path;
    this.#all = readRecords<AttachedPlace>({ path, schema: ATTACHED_RECORD, remedy, warn });
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

  /** The endpoint was refused, or is removed again. One that an assignment has had stays until `stale` has returned it. */
  abandon(endpoint: string): void {
    if (this.#pending.delete(endpoint)) this.forget(endpoint);
  }

  /**
   * The places of endpoints that are no longer assigned.
   * @param endpoints Those that are.
   */
  stale(endpoints: ReadonlySet<string>): [endpoint: string, place: AttachedPlace][] {
    for (const id of endpoints) this.#pending.delete(id);
    return [...this.#all].filter(([id]) => !endpoints.has(id) && !this.#pending.has(id));
  }

  forget(endpoint: string): void {
    if (this.#all.delete(endpoint)) this.#write();
  }

  #write(): void {
    writeRecords(this.#path, this.#all);
  }
}
