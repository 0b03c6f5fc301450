import { parseMac } from '../address/index.js';
import * as ethernet from '../ethernet/index.js';
import type { FdbMemory } from '../fdb/index.js';
import { portDestination } from './destination.js';
import { IdMap } from './id-map.js';
import { requireUnicast, UNTAGGED, type Segment } from './segment.js';
import { TokenBucket } from './token-bucket.js';

const { vlan } = ethernet;
const { ID_NONE } = vlan;

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

/** A local port as the machine stores it, besides the segment of its untagged frames. */
export interface Port {
  readonly id: number;
  readonly name: string;
  /** Segments by VLAN id, on a trunk. */
  readonly vlans: IdMap<Segment> | null;
  /** The MAC address that is bound to it in the segment of untagged frames; 0 for none. */
  station: number;
  /** Limits the answers to its packets that are too big, so that one port cannot use up what others need. */
  readonly errors: TokenBucket;
  /** Limits its requests to services at the gateways. */
  readonly requests: TokenBucket;
}

/** Maximum number of ICMP errors sent to a port per second (RFC 1812, section 4.3.2.8). */
const ERRORS_PER_SECOND = 1000;

/** Maximum number of requests per second, so that one port cannot occupy the program behind the services. */
const REQUESTS_PER_SECOND = 2000;

function newLimits(): Pick<Port, 'errors' | 'requests'> {
  return { errors: new TokenBucket(ERRORS_PER_SECOND), requests: new TokenBucket(REQUESTS_PER_SECOND) };
}

/** The local ports by number. The number of a removed port is not reused. */
export class Ports {
  readonly #ports: (Port | null)[] = [];
  readonly #memory: FdbMemory;
  /** The segments of untagged frames by port. In an array of their own: a frame then needs not read the `Port`. */
  readonly #natives: (Segment | null)[] = [];
  /** By port, 1 for a trunk. */
  #trunks = new Uint8Array(64);

  /** @param memory What the tables of the segments share. */
  constructor(memory: FdbMemory) {
    this.#memory = memory;
  }

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
   * The segment of the untagged frames of a port, or `null`.
   * @throws RangeError for a number of no port.
   */
  nativeOf(id: number): Segment | null {
    return this.#natives[id] ?? this.#noNative(id);
  }

  /** The segment of the frames with a VLAN id from a trunk, or of the untagged ones for the id 0; `null` if there is none. */
  segmentOf(id: number, vlan: number): Segment | null {
    if (vlan === ID_NONE) return this.#natives[id] ?? null;
    return this.find(id)?.vlans?.get(vlan) ?? null;
  }

  /** The VLAN id that frames of a segment carry on one of its ports, or `UNTAGGED`. */
  vlanOn(id: number, segment: Segment): number {
    return this.#trunks[id] === 0 ? UNTAGGED : segment.vlanOn(id);
  }

  /**
   * Adds a port to its segments and returns its number.
   * @param segmentOf Returns the segment of a VNI, or throws.
   * @throws RangeError for a VLAN id out of 1 to 4094, or a VNI that is mapped twice.
   */
  add(options: PortOptions, segmentOf: (vni: number) => Segment): number {
    const id = this.#ports.length;
    const mac = options.mac === undefined ? 0 : parseMac(options.mac);
    if (options.mac !== undefined) requireUnicast('mac', mac);
    const nativeVni = 'vni' in options ? options.vni : options.native;
    const native = nativeVni === undefined ? null : segmentOf(nativeVni);
    native?.addMember(id, UNTAGGED);
    const vlans = 'vni' in options ? null : joinTrunk(id, options, native, segmentOf);
    const station = native === null ? 0 : mac;
    this.#ports.push({ id, name: options.name, vlans, station, ...newLimits() });
    this.#natives.push(native);
    if (id >= this.#trunks.length) {
      const grown = new Uint8Array(this.#trunks.length * 2);
      grown.set(this.#trunks);
      this.#trunks = grown;
    }
    this.#trunks[id] = vlans === null ? 0 : 1;
    if (station !== 0) native!.bindStation(station, id);
    return id;
  }

  /** Removes a port from its segments. */
  remove(id: number): void {
    this.forget(id);
    this.#natives[id]?.removeMember(id);
    for (const segment of this.get(id).vlans?.values() ?? []) segment.removeMember(id);
    this.#ports[id] = null;
    this.#natives[id] = null;
  }

  /** Removes what is known to be behind a port: learned addresses, and the one that is bound to it. */
  forget(id: number): void {
    const port = this.get(id);
    if (port.station !== 0) this.#natives[id]!.unbindStation(port.station, id);
    port.station = 0;
    const place = portDestination(id);
    this.#natives[id]?.fdb.flush(place);
    if (port.vlans === null) return;
    for (const { fdb } of port.vlans.values()) {
      if (this.#memory.behind(place) === 0) return; // usually before the last one of a trunk
      fdb.flush(place);
    }
  }

  /** Takes a segment away from its ports. */
  removeSegment(segment: Segment): void {
    for (const { port, vlan: id } of segment.members)
      if (id === UNTAGGED) {
        this.#natives[port] = null;
        this.#ports[port]!.station = 0;
      } else this.#ports[port]!.vlans!.delete(id);
  }

  #noNative(id: number): null {
    this.get(id); // throws for an unknown one
    return null;
  }
}

/**
 * Adds a trunk to the segments of its VLANs, and returns them by VLAN id. A segment is visited once: with thousands of
 * them, each visit waits for memory.
 * @param native Its segment of untagged frames, which has it already.
 * @throws RangeError for a VLAN id out of 1 to 4094, or a VNI that is mapped twice; no segment has the trunk then.
 */
function joinTrunk(
  id: number,
  { name, vlans }: Extract<PortOptions, { vlans: unknown }>,
  native: Segment | null,
  segmentOf: (vni: number) => Segment,
): IdMap<Segment> {
  const pairs = vlans instanceof Map ? (vlans as ReadonlyMap<number, number>) : pairsOf(vlans);
  const segments = new IdMap<Segment>(pairs.size);
  try {
    for (const [vid, vni] of pairs) {
      if (!Number.isInteger(vid) || vid < 1 || vid > vlan.MAX_ID)
        throw new RangeError(`VLAN id must be an integer from 1 to ${vlan.MAX_ID}, not ${vid}`);
      const segment = segmentOf(vni);
      if (!segment.addMember(id, vid))
        throw new RangeError(`vni ${vni} is mapped twice on port ${name}; map it to one VLAN only`);
      segments.set(vid, segment);
    }
  } catch (error) {
    native?.removeMember(id);
    for (const segment of segments.values()) segment.removeMember(id);
    throw error;
  }
  return segments;
}

/** VNIs by VLAN id; two spellings of an id are one, which has the last VNI. */
function pairsOf(vlans: object): ReadonlyMap<number, number> {
  return new Map(Object.entries(vlans).map(([id, vni]) => [Number(id), vni as number]));
}
