/** Work on several items at a time, for steps that wait for the kernel, a disk or other programs most of the time. */

/**
 * Works on items, at most `most` of them at a time, in their order. Every item gets its turn: one that fails does not keep the
 * others from it.
 * @returns the outcome of each item, in the order of the items.
 */
export async function several<T, R>(
  items: Iterable<T>,
  most: number,
  work: (item: T, index: number) => Promise<R>,
): Promise<PromiseSettledResult<R>[]> {
  const all = [...items];
  const outcomes: PromiseSettledResult<R>[] = [];
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < all.length) {
      const index = next++;
      try {
        outcomes[index] = { status: 'fulfilled', value: await work(all[index]!, index) };
      } catch (reason) {
        outcomes[index] = { status: 'rejected', reason };
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(Math.max(1, most), all.length) }, worker));
  return outcomes;
}

/** The values of outcomes, in their order. @throws the first error among them. */
export function valuesOf<R>(outcomes: readonly PromiseSettledResult<R>[]): R[] {
  return outcomes.map((outcome) => {
    if (outcome.status === 'rejected') throw outcome.reason;
    return outcome.value;
  });
}
