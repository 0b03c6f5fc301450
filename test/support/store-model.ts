/** A naive store: what a sequence of transactions does, one after the other. */
import { type Item, type StoreChange, type Transaction } from '../../src/cluster/index.js';

export class StoreModel {
  items = new Map<string, Item>();
  /** `revision` of an empty store. */
  constructor(public revision = 0) {}

  commit({ conditions, writes }: Transaction): { revision: number; changes: StoreChange[] } | { conflict: string } {
    for (const { key, modified } of conditions)
      if ((this.items.get(key)?.modified ?? 0) !== modified) return { conflict: key };
    const changes: StoreChange[] = [];
    for (const write of writes)
      if ('put' in write) {
        const { put: key, value } = write;
        const created = this.items.get(key)?.created ?? this.revision + 1;
        changes.push({ key, item: { key, value, created, modified: this.revision + 1 } });
      } else if (this.items.has(write.delete)) changes.push({ key: write.delete, item: null });
    if (changes.length > 0) this.revision += 1;
    for (const { key, item } of changes)
      if (item === null) this.items.delete(key);
      else this.items.set(key, item);
    return { revision: this.revision, changes };
  }

  list(prefix: string): Item[] {
    return [...this.items.values()]
      .filter(({ key }) => key.startsWith(prefix))
      .sort((a, b) => (a.key < b.key ? -1 : 1));
  }
}

/** A random transaction on few keys, with conditions of which most hold if the store has these items. */
export function randomTransaction(below: (end: number) => number, items: ReadonlyMap<string, Item>): Transaction {
  const key = (): string => `${['a', 'a/b', 'b', 'ä'][below(4)]}/${below(3)}`;
  const keys = [...new Set(Array.from({ length: 1 + below(3) }, key))];
  return {
    conditions: Array.from({ length: below(3) }, key).map((key) => ({
      key,
      modified: below(8) === 0 ? below(20) : (items.get(key)?.modified ?? 0),
    })),
    writes: keys.map((key) =>
      below(3) === 0
        ? { delete: key }
        : { put: key, value: JSON.stringify({ n: below(1000), text: 'ü'.repeat(below(40)) }) },
    ),
  };
}
