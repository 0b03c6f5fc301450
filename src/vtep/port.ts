import * as ethernet from '../ethernet/index.js';
import { UNTAGGED, type Member, type Segment } from './segment.js';

const { vlan } = ethernet;

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

/** The local ports by number. The number of a removed port is not reused. */
export class Ports {
  readonly #ports: (Port | null)[] = [];

  /** @throws RangeError for a number of no port. */
  get(id: number): Port {
    const port = this.#ports[id];
    if (port === undefined || port === null) throw new RangeError(`there is no port ${id}`);
    return port;
  }

  /** The port with this number, or `undefined`. */
  find(id: number): Port | undefined {
    return this.#ports[id] ?? undefined;
  }

  /**
   * Adds a port to its segments and returns its number.
   * @param segmentOf Returns the segment of a VNI, or throws.
   * @throws RangeError for a VLAN id out of 1 to 4094, or a VNI that is mapped twice.
   */
  add(options: PortOptions, segmentOf: (vni: number) => Segment): number {
    const id = this.#ports.length;
    if ('vni' in options) {
      const segment = segmentOf(options.vni);
      this.#ports.push({ id, name: options.name, segment, vlans: null });
      segment.members = [...segment.members, { port: id, vlan: UNTAGGED }];
      return id;
    }
    const vlans = new Map<number, Segment>();
    const members: [Segment, Member][] = [];
    const native = options.native === undefined ? null : segmentOf(options.native);
    if (native !== null) members.push([native, { port: id, vlan: UNTAGGED }]);
    for (const [vid, vni] of vlanPairs(options.vlans)) {
      if (!Number.isInteger(vid) || vid < 1 || vid > vlan.MAX_ID)
        throw new RangeError(`VLAN id must be an integer from 1 to ${vlan.MAX_ID}, not ${vid}`);
      const segment = segmentOf(vni);
      if (members.some(([other]) => other === segment))
        throw new RangeError(`vni ${vni} is mapped twice on port ${options.name}; map it to one VLAN only`);
      vlans.set(vid, segment);
      members.push([segment, { port: id, vlan: vid }]);
    }
    this.#ports.push({ id, name: options.name, segment: native, vlans });
    for (const [segment, member] of members) segment.members = [...segment.members, member];
    return id;
  }

  /** Removes a port. Its segments still have it as a member. */
  remove(id: number): void {
    this.#ports[id] = null;
  }

  /** Takes a segment away from all ports. */
  removeSegment(segment: Segment): void {
    for (const port of this.#ports) {
      if (port?.segment === segment || (port?.vlans && [...port.vlans.values()].includes(segment)))
        this.#ports[port.id] = {
          ...port,
          segment: port.segment === segment ? null : port.segment,
          vlans: port.vlans && new Map([...port.vlans].filter(([, one]) => one !== segment)),
        };
    }
  }
}

/** The VLAN ids and VNIs of a trunk. */
function vlanPairs(vlans: ReadonlyMap<number, number> | Readonly<Record<number, number>>): [number, number][] {
  if (vlans instanceof Map) return [...(vlans as ReadonlyMap<number, number>)];
  return Object.entries(vlans as Record<number, number>).map(([id, vni]) => [Number(id), vni]);
}
