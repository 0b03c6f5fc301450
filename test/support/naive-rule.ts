/** The rule for conflicts, as src/state/index.ts has it in words: endpoints with their ages, and their places in order. */

export interface Attachment {
  readonly ip: string;
  readonly mac: string;
  readonly vtep: string;
  readonly since: number;
}

const compare = <T extends number | string>(a: T, b: T): number => (a < b ? -1 : a > b ? 1 : 0);

/** Of the attachments of one address, the newest place of the oldest endpoint. */
export function naiveHolder<A extends Attachment>(attachments: readonly A[]): A | undefined {
  const endpoints = new Map<string, A[]>();
  for (const one of attachments) {
    const name = `${one.mac} ${one.ip}`;
    endpoints.set(name, [...(endpoints.get(name) ?? []), one]);
  }
  const age = (all: readonly A[]): number => Math.min(...all.map(({ since }) => since));
  const byAge = [...endpoints].sort(([a, some], [b, others]) => compare(age(some), age(others)) || compare(a, b));
  const places = byAge[0]?.[1] ?? [];
  return [...places].sort((a, b) => compare(b.since, a.since) || compare(a.vtep, b.vtep))[0];
}

/** The attachments that are in effect: both of their addresses are at their place, and belong to their endpoint. */
export function naiveEffect<A extends Attachment>(all: readonly A[]): A[] {
  return all.filter(({ ip, mac, vtep }) => {
    const byIp = naiveHolder(all.filter((one) => one.ip === ip))!;
    const byMac = naiveHolder(all.filter((one) => one.mac === mac))!;
    return byIp.mac === mac && byIp.vtep === vtep && byMac.vtep === vtep;
  });
}
