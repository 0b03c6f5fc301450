/** The names of one network: which addresses a name stands for, and which names an address has. */
import type { NamedAddress } from './endpoint-records.js';

/** What a node announces of an endpoint. */
export interface NamedEndpoint extends NamedAddress {
  /** The node that wrote the record. */
  readonly owner: string;
}

/** The most that a network keeps: endpoints, and characters of their names. */
export interface NameLimits {
  readonly endpoints: number;
  readonly characters: number;
}

export const NAME_LIMITS: NameLimits = { endpoints: 32_768, characters: 4 << 20 };

/** Records by what they have in common. */
class Groups {
  readonly #groups = new Map<string, Set<NamedEndpoint>>();

  add(name: string, endpoint: NamedEndpoint): void {
    const group = this.#groups.get(name);
    if (group === undefined) this.#groups.set(name, new Set([endpoint]));
    else group.add(endpoint);
  }

  remove(name: string, endpoint: NamedEndpoint): void {
    const group = this.#groups.get(name);
    if (group?.delete(endpoint) === true && group.size === 0) this.#groups.delete(name);
  }

  of(name: string): Iterable<NamedEndpoint> {
    return this.#groups.get(name) ?? [];
  }
}

export class NameTable {
  readonly #limits: NameLimits;
  /** By the key of the record. */
  readonly #all = new Map<string, NamedEndpoint>();
  readonly #byName = new Groups();
  readonly #byIp = new Groups();
  #characters = 0;

  constructor(limits: NameLimits = NAME_LIMITS) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#all.size;
  }

  /** Characters of all names. */
  get characters(): number {
    return this.#characters;
  }

  /**
   * Adds or replaces what a record says; `null` removes it.
   * @returns false if there is no room for it: it is not in the table then, and neither is what it replaces.
   */
  set(key: string, endpoint: NamedEndpoint | null): boolean {
    const before = this.#all.get(key);
    if (before !== undefined) this.#remove(key, before);
    if (endpoint === null) return true;
    const length = charactersOf(endpoint);
    const { endpoints, characters } = this.#limits;
    if (this.#all.size >= endpoints || this.#characters + length > characters) return false;
    this.#all.set(key, endpoint);
    this.#characters += length;
    this.#byIp.add(endpoint.ip, endpoint);
    for (const name of endpoint.names) this.#byName.add(name, endpoint);
    return true;
  }

  #remove(key: string, endpoint: NamedEndpoint): void {
    this.#all.delete(key);
    this.#characters -= charactersOf(endpoint);
    this.#byIp.remove(endpoint.ip, endpoint);
    for (const name of endpoint.names) this.#byName.remove(name, endpoint);
  }

  /** @param name In any case. */
  named(name: string): Iterable<NamedEndpoint> {
    return this.#byName.of(name.toLowerCase());
  }

  /** @param ip In canonical text. */
  at(ip: string): Iterable<NamedEndpoint> {
    return this.#byIp.of(ip);
  }
}

function charactersOf({ ip, name, names }: NamedEndpoint): number {
  return names.reduce((sum, one) => sum + one.length, ip.length + name.length);
}
