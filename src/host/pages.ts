/**
 * Long lists in pages. A page is what a thread makes of a list without a pause, so that whatever else it does never waits
 * for more than one page.
 */

/** A part of the list that answers a request. */
export interface Page {
  result: readonly unknown[];
  /** Of a capture: packets so far that are not in the list. */
  dropped?: number;
  /** Nothing follows. */
  last?: boolean;
}

/** Entries of a page at most. */
export const PAGE_ENTRIES = 256;
/** Milliseconds that a page may take, about. */
const PAGE_TIME = 0.5;
/** Entries between two looks at the clock. */
const STRIDE = 16;

/** Takes the next page from a list. */
export function takePage<T>(entries: Iterator<T>): { result: T[]; last: boolean } {
  const result: T[] = [];
  const until = performance.now() + PAGE_TIME;
  while (result.length < PAGE_ENTRIES && (result.length % STRIDE !== 0 || performance.now() < until)) {
    const { done, value } = entries.next();
    if (done === true) return { result, last: true };
    result.push(value);
  }
  return { result, last: false };
}

/** All pages of a list, each made when it is asked for. */
export async function* pagesOf(entries: Iterable<unknown>): AsyncGenerator<Page> {
  const iterator = entries[Symbol.iterator]();
  for (let last = false; !last;) {
    const page = takePage(iterator);
    yield page;
    last = page.last;
  }
}
