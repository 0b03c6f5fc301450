import type { Segment } from './segment.js';

/** A local port: of one segment, or a trunk whose VLANs map to segments. */
export type PortOptions =
  | { name: string; vni: number }
  | {
      name: string;
      /** VNI by VLAN id, 1 to 4094. */
      vlans: ReadonlyMap<number, number> | Readonly<Record<number, number>>;
      /** The VNI of untagged frames; if absent, they are dropped. */
      native?: number;
    };

/** A local port as the machine stores it. */
export interface Port {
  readonly id: number;
  readonly name: string;
  /** The segment of untagged frames. */
  readonly segment: Segment | null;
  /** Segments by VLAN id, on a trunk. */
  readonly vlans: ReadonlyMap<number, Segment> | null;
}

/** The VLAN ids and VNIs of a trunk. */
export function vlanPairs(vlans: ReadonlyMap<number, number> | Readonly<Record<number, number>>): [number, number][] {
  if (vlans instanceof Map) return [...(vlans as ReadonlyMap<number, number>)];
  return Object.entries(vlans as Record<number, number>).map(([id, vni]) => [Number(id), vni]);
}
