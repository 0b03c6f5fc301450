import { parseMac } from '../address/index.js';
import * as ethernet from '../ethernet/index.js';
import { requireUnicast, UNTAGGED, type Member, type Segment } from './segment.js';
import { TokenBucket } from './token-bucket.js';

const { vlan } = ethernet;

/** A local port: of one segment, or a trunk whose VLANs map to segments. */
export type PortOptions =
  | {
      name: string;
      vni: number;
      /** The MAC address of the station behind the port: no frame from elsewhere moves it. */
      mac?: string;
    }
  | {
      name: string;
      /** The same for the segment of untagged frames. */
      mac?: string;
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
  /** Limits the answers to its packets that are too big, so that one port cannot use up what others need. */
  readonly errors: TokenBucket;
}

/** Maximum number of ICMP errors sent to a port per second (RFC 1812, section 4.3.2.8). */
const ERRORS_PER_SECOND = 1000;

function newErrors(): TokenBucket {
  return new TokenBucket(ERRORS_PER_SECOND);
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
    const mac = options.mac === undefined ? undefined : parseMac(options.mac);
    if (mac !== undefined) requireUnicast('mac', mac);
    if ('vni' in options) {
      const segment = segmentOf(options.vni);
      this.#ports.push({ id, name: options.name, segment, vlans: null, errors: newErrors() });
      segment.addMember({ port: id, vlan: UNTAGGED });
      if (mac !== undefined) segment.bindStation(mac, id);
      return id;
    }
    const vlans = new Map<number, Segment>();
    const members = new Map<Segment, Member>();
    const native = options.native === undefined ? null : segmentOf(options.native);
    if (native !== null) members.set(native, { port: id, vlan: UNTAGGED });
    for (const [vid, vni] of vlanPairs(options.vlans)) {
      if (!Number.isInteger(vid) || vid < 1 || vid > vlan.MAX_ID)
        throw new RangeError(`VLAN id must be an integer from 1 to ${vlan.MAX_ID}, not ${vid}`);
      const segment = segmentOf(vni);
      if (members.has(segment))
        throw new RangeError(`vni ${vni} is mapped twice on port ${options.name}; map it to one VLAN only`);
      vlans.set(vid, segment);
      members.set(segment, { port: id, vlan: vid });
    }
    this.#ports.push({ id, name: options.name, segment: native, vlans, errors: newErrors() });
    for (const [segment, member] of members) segment.addMember(member);
    if (mac !== undefined && native !== null) native.bindStation(mac, id);
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
