import { parseMac } from '../address/index.js';
import * as ethernet from '../ethernet/index.js';
import { portDestination } from './destination.js';
import { NO_ROW, type HotRows } from './hot-rows.js';
import { IdMap } from './id-map.js';
import { requireUnicast, UNTAGGED, type Common, type Segment } from './segment.js';
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

/** A local port as the machine stores it, besides the segment of its untagged frames. */
export interface Port {
  readonly id: number;
  readonly name: string;
  /** The rows in `Common.hot` of a trunk's segments, by VLAN id. */
  readonly vlans: IdMap<number> | null;
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
  readonly #common: Common;
  /**
   * By port, the row in `Common.hot` of the segment of its untagged frames, or `NO_ROW`. In an array of their own: a frame then
   * needs not read the `Port`.
   */
  #natives = new Int32Array(64);
  /** By port, 1 for a trunk. */
  #trunks = new Uint8Array(64);

  constructor(common: Common) {
    this.#common = common;
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
    return this.#common.hot.ownerOf(this.rowOf(id)) ?? this.#noNative(id);
  }

  /** The row in `Common.hot` of the segment of a port's untagged frames, or `NO_ROW`. */
  rowOf(id: number): number {
    return this.#natives[id] ?? NO_ROW;
  }

  /** The row of the segment of the frames with a VLAN id from a trunk, or `NO_ROW`. */
  rowOnTrunk(id: number, vlan: number): number {
    return this.find(id)?.vlans?.get(vlan) ?? NO_ROW;
  }

  /** The VLAN id that frames of a segment carry on one of its ports, or `UNTAGGED`. */
  vlanOn(id: number, segment: Segment): number {
    return this.#trunks[id] === 0 ? UNTAGGED : segment.vlanOn(id);
  }

  /**
   * Adds a port to its segments and returns its number.
   * @param rowOf Returns the row in `Common.hot` of the segment of a VNI, or throws.
   * @throws RangeError for a VLAN id out of 1 to 4094, or a VNI that is mapped twice.
   */
  add(options: PortOptions, rowOf: (vni: number) => number): number {
    const { hot } = this.#common;
    const id = this.#ports.length;
    const mac = options.mac === undefined ? 0 : parseMac(options.mac);
    if (options.mac !== undefined) requireUnicast('mac', mac);
    const nativeVni = 'vni' in options ? options.vni : options.native;
    const row = nativeVni === undefined ? NO_ROW : rowOf(nativeVni);
    const native = hot.ownerOf(row);
    native?.addMember(id, UNTAGGED);
    const vlans = 'vni' in options ? null : joinTrunk(id, options, native, rowOf, hot);
    const station = native === null ? 0 : mac;
    this.#ports.push({ id, name: options.name, vlans, station, ...newLimits() });
    if (id >= this.#trunks.length) {
      const trunks = new Uint8Array(this.#trunks.length * 2);
      trunks.set(this.#trunks);
      this.#trunks = trunks;
      const natives = new Int32Array(trunks.length);
      natives.set(this.#natives);
      this.#natives = natives;
    }
    this.#trunks[id] = vlans === null ? 0 : 1;
    this.#natives[id] = row;
    if (station !== 0) native!.bindStation(station, id);
    return id;
  }

  /** Removes a port from its segments. */
  remove(id: number): void {
    this.forget(id);
    const { hot } = this.#common;
    hot.ownerOf(this.rowOf(id))?.removeMember(id);
    for (const row of this.get(id).vlans?.values() ?? []) hot.ownerOf(row)!.removeMember(id);
    this.#ports[id] = null;
    this.#natives[id] = NO_ROW;
  }

  /** Removes what is known to be behind a port: learned addresses, and the one that is bound to it. */
  forget(id: number): void {
    const port = this.get(id);
    const { hot, memory } = this.#common;
    const native = hot.ownerOf(this.rowOf(id));
    if (port.station !== 0) native!.unbindStation(port.station, id);
    port.station = 0;
    const place = portDestination(id);
    native?.fdb.flush(place);
    if (port.vlans === null) return;
    for (const row of port.vlans.values()) {
      if (memory.behind(place) === 0) return; // usually before the last one of a trunk
      hot.ownerOf(row)!.fdb.flush(place);
    }
  }

  /** Takes a segment away from its ports. */
  removeSegment(segment: Segment): void {
    for (const { port, vlan: id } of segment.members)
      if (id === UNTAGGED) {
        this.#natives[port] = NO_ROW;
        this.#ports[port]!.station = 0;
      } else this.#ports[port]!.vlans!.delete(id);
  }

  #noNative(id: number): null {
    this.get(id); // throws for an unknown one
    return null;
  }
}

/**
 * Adds a trunk to the segments of its VLANs, and returns their rows by VLAN id. A segment is visited once: with thousands of
 * them, each visit waits for memory.
 * @param native Its segment of untagged frames, which has it already.
 * @throws RangeError for a VLAN id out of 1 to 4094, or a VNI that is mapped twice; no segment has the trunk then.
 */
function joinTrunk(
  id: number,
  { name, vlans }: Extract<PortOptions, { vlans: unknown }>,
  native: Segment | null,
  rowOf: (vni: number) => number,
  hot: HotRows<Segment>,
): IdMap<number> {
  const pairs = vlans instanceof Map ? (vlans as ReadonlyMap<number, number>) : pairsOf(vlans);
  const rows = new IdMap<number>(pairs.size);
  try {
    for (const [vid, vni] of pairs) {
      if (!Number.isInteger(vid) || vid < 1 || vid > vlan.MAX_ID)
        throw new RangeError(`VLAN id must be an integer from 1 to ${vlan.MAX_ID}, not ${vid}`);
      const row = rowOf(vni);
      if (!hot.ownerOf(row)!.addMember(id, vid))
        throw new RangeError(`vni ${vni} is mapped twice on port ${name}; map it to one VLAN only`);
      rows.set(vid, row);
    }
  } catch (error) {
    native?.removeMember(id);
    for (const row of rows.values()) hot.ownerOf(row)!.removeMember(id);
    throw error;
  }
  return rows;
}

/** VNIs by VLAN id; two spellings of an id are one, which has the last VNI. */
function pairsOf(vlans: object): ReadonlyMap<number, number> {
  return new Map(Object.entries(vlans).map(([id, vni]) => [Number(id), vni as number]));
}
