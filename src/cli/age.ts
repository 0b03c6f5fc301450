/** Times of the cluster, for people. */

const UNITS: readonly (readonly [seconds: number, name: string])[] = [
  [86_400, 'd'],
  [3600, 'h'],
  [60, 'min'],
  [1, 's'],
];

/**
 * How long ago something was: `5 s`, `3 min`, `2 h`, `4 d`. Clocks of hosts differ: what is in the future is 0 s ago.
 * @param time Milliseconds since 1970.
 */
export function age(time: number, now: number): string {
  const seconds = Math.max(0, Math.floor((now - time) / 1000));
  const [unit, name] = UNITS.find(([least]) => seconds >= least) ?? [1, 's'];
  return `${Math.floor(seconds / unit)} ${name}`;
}

/** A time as RFC 3339 has it: `2026-01-31T12:00:00.000Z`; the number itself if no clock shows it. */
export function timestamp(time: number): string {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? String(time) : date.toISOString();
}

/** The beginning of an id, as long as Docker shows it. */
export function shortId(id: string): string {
  return id.slice(0, 12);
}
