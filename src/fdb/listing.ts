import { HIGH, LOW, slotOf, STRIDE, type FdbEntry, type Slots } from './slot.js';

/** Most slots of a table whose listing reads a copy: other tables may use these slots when this one leaves them. */
const COPIED = 1 << 16;

/**
 * Lists the entries of a table, which may change meanwhile. An entry that exists throughout is listed exactly once, although
 * it may move from the former slots of the table to the current ones, and from these to later ones: an address is in both
 * only if it is in the former slots.
 * @param former The slots that entries move out of.
 * @param entryOf The entry of an address; `null` if there is none.
 */
export function listEntries(
  current: Slots,
  former: Slots | null,
  seed: number,
  entryOf: (low: number, high: number) => FdbEntry | null,
): Generator<FdbEntry> {
  const slots = still(current);
  return former === null ? entriesIn(slots, entryOf) : entriesInBoth(slots, still(former), seed, entryOf);
}

function* entriesInBoth(
  current: Slots,
  former: Slots,
  seed: number,
  entryOf: (low: number, high: number) => FdbEntry | null,
): Generator<FdbEntry> {
  const { words, base, count } = former;
  yield* entriesIn(former, entryOf);
  yield* entriesIn(current, (low, high) =>
    words[slotOf(words, base, count - 1, seed, low, high) + HIGH] === 0 ? entryOf(low, high) : null,
  );
}

function* entriesIn(
  { words, base, count }: Slots,
  entryOf: (low: number, high: number) => FdbEntry | null,
): Generator<FdbEntry> {
  // A removal moves later entries of the same run of used slots to earlier slots of that run. The iteration therefore
  // reads a whole run before it yields. It begins after a free slot, because a run may wrap around the end of the table.
  let before = 0;
  while (words[base + before * STRIDE + HIGH] !== 0) before++;
  const run: FdbEntry[] = [];
  for (let i = 1; i <= count; i++) {
    const at = base + ((before + i) & (count - 1)) * STRIDE;
    const word = words[at + HIGH]!;
    if (word !== 0) {
      const entry = entryOf(words[at + LOW]!, word & 0xffff);
      if (entry !== null) run.push(entry);
      if (i < count) continue;
    }
    for (let k = 0; k < run.length; k++) yield run[k]!; // faster than yield*
    run.length = 0;
  }
}

/** Slots that no other table uses: a copy, or an array that stays as it is when the table leaves it. */
function still({ words, base, count }: Slots): Slots {
  return count > COPIED ? { words, base, count } : { words: words.slice(base, base + count * STRIDE), base: 0, count };
}
