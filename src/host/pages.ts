/**
 * Long lists in pages. A thread makes one page of a list without a pause, so that its other work waits for at most one
 * page.
 */

/** A part of the list that answers a request. */
export interface Page {
  result: readonly unknown[];
  /** For a stream: number of packets or events so far that are not in the list, because the client was too slow. */
  dropped?: number;
  /** This is the last page. */
  last?: boolean;
}

/** Most entries in a page. */
export const PAGE_ENTRIES = 256;
/** Approximate limit of milliseconds to make a page. */
const PAGE_TIME = 0.5;
/** Number of entries between two checks of the clock. */
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

/** All pages of a list, each made on request. */
export async function* pagesOf(entries: Iterable<unknown>): AsyncGenerator<Page> {
  const iterator = entries[Symbol.iterator]();
  for (let last = false; !last;) {
    const page = takePage(iterator);
    yield page;
    last = page.last;
  }
}

export function isPages(result: unknown): result is AsyncIterable<Page> {
  return typeof result === 'object' && result !== null && Symbol.asyncIterator in result;
}

/** The pages of a capture, or of the events of a VTEP, as events of the API: each entry is one of a kind. */
export async function* eventsOf(kind: 'packet' | 'notice', pages: AsyncIterable<Page>): AsyncGenerator<Page> {
  for await (const page of pages)
    yield { ...page, result: page.result.map((entry) => ({ event: kind, ...(entry as object) })) };
}
