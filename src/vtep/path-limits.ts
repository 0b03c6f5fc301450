/** The largest outer packet that the path to a remote carries, and where that is known from. */
/** The MTU of a path that is not known to be narrow: the longest IP packet. */
export const UNLIMITED = 65_535;

/** The sources of a path MTU: a route or a device of this host, an ICMP error, or probes. */
export const MTU_SOURCES = ['route', 'icmp', 'probe'] as const;
export type MtuSource = (typeof MTU_SOURCES)[number];

/** What one source says about the path to a remote. */
export interface PathLimit {
  /** In bytes of the outer IP packet, or `UNLIMITED`. */
  mtu: number;
  /** When the source said it. */
  time: number;
}

/** What each source says. */
export type PathLimits = Record<MtuSource, PathLimit>;

export function noLimits(): PathLimits {
  return {
    route: { mtu: UNLIMITED, time: 0 },
    icmp: { mtu: UNLIMITED, time: 0 },
    probe: { mtu: UNLIMITED, time: 0 },
  };
}

/** The sources in words, behind "according to". */
export const SOURCE_TEXTS: Readonly<Record<MtuSource, string>> = {
  route: 'the route or the device of this host',
  icmp: 'an ICMP error of a router',
  probe: 'probes of the path',
};

/** The MTU of the route to an underlay address, in bytes of the outer packet. */
export interface RouteMtu {
  address: string;
  mtu: number;
}

/** A remote, as far as its path is concerned. */
interface Limited {
  readonly limits: PathLimits;
  outerMtu: number;
}

/** Sets what a source says, or with `UNLIMITED` that it says nothing. `Remote.outerMtu` is the smallest of all. */
export function limitPath(remote: Limited, source: MtuSource, mtu: number, now: number): void {
  const { limits } = remote;
  const limit = limits[source];
  if (limit.mtu !== mtu) limit.time = now;
  limit.mtu = mtu;
  remote.outerMtu = Math.min(limits.route.mtu, limits.icmp.mtu, limits.probe.mtu);
}

/** The source of `Remote.outerMtu`; `null` if the path is not known to be narrow. */
export function narrowestOf({ limits, outerMtu }: Readonly<Limited>): MtuSource | null {
  if (outerMtu >= UNLIMITED) return null;
  return MTU_SOURCES.find((source) => limits[source].mtu === outerMtu) ?? null;
}
