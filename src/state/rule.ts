/**
 * The rule for conflicts, as functions: which endpoint has an address of which several attachments say that they have it, and
 * at which place. `index.ts` has it in words. The host state applies it to what its sources want, the gossip to the records
 * of all hosts.
 */

/** An endpoint at a place, since some time. */
export interface Attached {
  readonly ip: string;
  readonly mac: string;
  /** The underlay address of the VTEP. */
  readonly vtep: string;
  /** In milliseconds; 0 if nobody knows, like in the records of Docker: before every known time. */
  readonly since: number;
}

/** An IP address with a MAC address. */
export type Addresses = Pick<Attached, 'ip' | 'mac'>;

/** Whether endpoint `a` is older than `b`: of one moment, the one with the lower MAC and then the lower IP address, as texts. */
export function isOlder(sinceA: number, a: Addresses, sinceB: number, b: Addresses): boolean {
  if (sinceA !== sinceB) return sinceA < sinceB;
  return a.mac === b.mac ? a.ip < b.ip : a.mac < b.mac;
}

/** Whether `a` is a newer place of one endpoint than `b`: of one moment, the one with the lower underlay address, as a text. */
export function isNewer(sinceA: number, vtepA: string, sinceB: number, vtepB: string): boolean {
  return sinceA === sinceB ? vtepA < vtepB : sinceA > sinceB;
}

export function isSameEndpoint(a: Addresses, b: Addresses): boolean {
  return a.ip === b.ip && a.mac === b.mac;
}

/**
 * Of the attachments of an IP or a MAC address, the one that holds it: the newest one of the oldest endpoint. An attachment is
 * in effect if it is at the place of the holders of both its addresses, and that of its IP address has its MAC address.
 *
 * Takes time for each attachment.
 * @param isFirst Which of two attachments at the same place, since the same moment, is returned.
 * @returns `null` if there is none.
 */
export function holderOf<A extends Attached>(
  attachments: Iterable<A>,
  isFirst: (a: A, b: A) => boolean = () => false,
): A | null {
  let oldest: A | null = null;
  for (const one of attachments) if (oldest === null || isOlder(one.since, one, oldest.since, oldest)) oldest = one;
  if (oldest === null) return null;
  let newest: A = oldest;
  for (const one of attachments) {
    if (!isSameEndpoint(one, oldest)) continue;
    const isEqual = one.since === newest.since && one.vtep === newest.vtep;
    if (isEqual ? isFirst(one, newest) : isNewer(one.since, one.vtep, newest.since, newest.vtep)) newest = one;
  }
  return newest;
}
