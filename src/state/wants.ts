/** Who wants what, and since when. */
import type { NetworkRouter, Segment } from '../model/index.js';

/** What an entry is that several sources may define differently. */
export type Definition = Segment | NetworkRouter;

/** One source and the items that it wants, each with the time of its want. */
export class Source<Item> {
  readonly name: string;
  readonly wants = new Map<Item, number>();
  /** How it defines the segments and routers that it wants. */
  readonly definitions = new Map<Item, Definition>();

  constructor(name: string) {
    this.name = name;
  }
}

/** The sources, of which there are few: each question about an item asks every one. */
export class Wants<Item extends object> {
  readonly #sources: Source<Item>[] = [];

  /** The source of that name, which exists from then on. */
  source(name: string): Source<Item> {
    const known = this.find(name);
    if (known !== undefined) return known;
    const source = new Source<Item>(name);
    this.#sources.push(source);
    // By name, so that what holds among equals does not depend on who came first.
    this.#sources.sort((a, b) => (a.name < b.name ? -1 : 1));
    return source;
  }

  find(name: string): Source<Item> | undefined {
    return this.#sources.find((source) => source.name === name);
  }

  has(item: Item): boolean {
    return this.#sources.some(({ wants }) => wants.has(item));
  }

  /** The sources that want an item. */
  of(item: Item): string[] {
    return this.#sources.filter(({ wants }) => wants.has(item)).map(({ name }) => name);
  }

  /** The time of the first want of an item; infinity for none. */
  oldest(item: Item): number {
    let oldest = Infinity;
    for (const { wants } of this.#sources) oldest = Math.min(oldest, wants.get(item) ?? Infinity);
    return oldest;
  }

  /** The time of the last want of an item; minus infinity for none. */
  newest(item: Item): number {
    let newest = -Infinity;
    for (const { wants } of this.#sources) newest = Math.max(newest, wants.get(item) ?? -Infinity);
    return newest;
  }

  /** The definition of a segment or a router that has been wanted for the longest time; `null` for none. */
  definition<D extends Definition>(item: Item & { applied: D | null }): D | null {
    let oldest = Infinity;
    let found: D | null = null;
    for (const { wants, definitions } of this.#sources) {
      const since = wants.get(item);
      if (since === undefined || (found !== null && since >= oldest)) continue;
      oldest = since;
      found = definitions.get(item) as D;
    }
    return found;
  }
}
