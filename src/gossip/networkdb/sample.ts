/**
 * Moves `count` random items to the front and returns them; all items if there are no more than that.
 * @param random Returns a random number from 0 up to but not including 1.
 */
export function sample<T>(items: T[], count: number, random: () => number): T[] {
  for (let i = 0; i < count && i < items.length; i++) {
    const j = i + Math.floor(random() * (items.length - i));
    const item = items[i]!;
    items[i] = items[j]!;
    items[j] = item;
  }
  return items.slice(0, count);
}
