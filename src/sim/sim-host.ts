import { Frame, HEADROOM, limitPath, type GatewayDatagram, type Vtep, type VtepSink } from '../vtep/index.js';
import { Slab } from './slab.js';
import type { Station } from './station.js';
import type { StationPort } from './station-types.js';
import type { FrameEvent, Trace } from './trace.js';

/** Milliseconds between two ticks of the VTEP. */
const TICK = 1000;
/** Milliseconds after which a sent datagram may be forgotten. */
const PERIOD = 5000;

/** The outside world of a host: a simulated underlay, or a real socket and timer. */
export interface HostPort {
  /** Sends a VXLAN datagram. The port may use the bytes during the call only. */
  send(
    address: string,
    port: number,
    sourcePort: number,
    bytes: Uint8Array,
    offset: number,
    end: number,
    tos: number,
  ): void;
  /** Asks to call `wake` at this time, in the clock's milliseconds, or as soon as possible after it. */
  wake(at: number): void;
}

export interface SimHostOptions {
  name: string;
  /** Creates the VTEP with its segments, peers, endpoints and routers at each start of the host. */
  makeVtep: () => Vtep;
  port: HostPort;
  /** Receives the frames at the stations' ports. */
  trace?: Trace | null;
}

/** Answers a datagram to a service at a gateway: the UDP payload, or `undefined` for no answer. */
export type SimService = (request: GatewayDatagram, now: number) => Uint8Array | undefined;

interface Attached {
  readonly station: Station;
  readonly vni: number;
  /** The VTEP's number of its port; -1 while the host is down. */
  port: number;
}

/** A queued frame, to a station or from one, or a datagram to a service. */
type Queued =
  | { readonly attached: Attached; readonly inward: boolean; readonly bytes: Uint8Array }
  | { readonly request: GatewayDatagram };

/**
 * A host: a VTEP with stations on its ports. It is a machine: it receives datagrams and the time, and owns no clock or
 * network.
 */
export class SimHost {
  readonly name: string;
  readonly #makeVtep: () => Vtep;
  readonly #port: HostPort;
  readonly #trace: Trace | null;
  readonly #attached: Attached[] = [];
  readonly #services = new Map<number, SimService>();
  readonly #sink: VtepSink;
  readonly #slab = new Slab(16_384);
  readonly #frame = new Frame();
  #vtep: Vtep | null = null;
  #byPort: Attached[] = [];
  /** Frames are handled one after the other, so that the VTEP is never re-entered. */
  #queue: Queued[] = [];
  #busy = false;
  #nextTick = Infinity;
  #now = 0;
  /** The largest datagram to each remote: since the last but one `PERIOD` began, in two parts. */
  #largest = new Map<string, number>();
  #largestBefore = new Map<string, number>();
  #nextPeriod = 0;

  constructor(options: SimHostOptions) {
    this.name = options.name;
    this.#makeVtep = options.makeVtep;
    this.#port = options.port;
    this.#trace = options.trace ?? null;
    this.#sink = {
      deliver: (port, { bytes, start, end }) =>
        void this.#queue.push({
          attached: this.#byPort[port]!,
          inward: true,
          bytes: this.#slab.copy(bytes, start, end),
        }),
      transmit: ({ address, port }, { bytes, start, end }, sourcePort, tos) => {
        this.#largest.set(address, Math.max(this.#largest.get(address) ?? 0, end - start));
        this.#port.send(address, port, sourcePort, bytes, start, end, tos);
      },
      probe: ({ address, port }, bytes, sourcePort) => {
        this.#port.send(address, port, sourcePort, bytes, 0, bytes.length, 0);
        return true;
      },
      largestTo: ({ address }) => Math.max(this.#largest.get(address) ?? 0, this.#largestBefore.get(address) ?? 0),
      request: (request) => void this.#queue.push({ request }),
    };
  }

  /** The VTEP; `null` while the host is down. */
  get vtep(): Vtep | null {
    return this.#vtep;
  }

  get stations(): Station[] {
    return this.#attached.map(({ station }) => station);
  }

  /** Starts the host, its VTEP and its stations with empty state. */
  start(now: number): void {
    this.stop(now);
    this.#vtep = this.#makeVtep();
    for (const port of this.#services.keys()) this.#vtep.services.serve(port);
    this.#nextTick = now + TICK;
    for (const attached of this.#attached) this.#plug(attached, now);
    for (const { station } of this.#attached) station.start(now);
    this.#port.wake(this.#nextTick);
  }

  /** Stops the host and its stations at once, as a power failure does. */
  stop(now: number): void {
    this.#vtep = null;
    this.#byPort = [];
    this.#queue = [];
    for (const attached of this.#attached) {
      attached.port = -1;
      attached.station.stop(now);
      attached.station.plug(null, now);
    }
  }

  /** Serves a UDP port at the addresses of the gateways, for the host's stations, now and after each start. */
  serve(port: number, service: SimService): void {
    this.#services.set(port, service);
    this.#vtep?.services.serve(port);
  }

  /**
   * Puts a station on a port of its own in a segment. A running station keeps running, unless the host is
   * down. A station that is down starts now, or with the host.
   */
  attach(station: Station, vni: number, now: number): void {
    const attached: Attached = { station, vni, port: -1 };
    this.#attached.push(attached);
    if (this.#vtep === null) return station.stop(now);
    this.#plug(attached, now);
    if (station.state === 'down') station.start(now);
  }

  /**
   * Removes a station and its port. The station keeps its state and receives nothing.
   * @throws RangeError for a station of another host.
   */
  detach(station: Station, now: number): void {
    const at = this.#attached.findIndex((one) => one.station === station);
    if (at < 0) throw new RangeError(`station ${station.name} is not on host ${this.name}`);
    const [attached] = this.#attached.splice(at, 1) as [Attached];
    this.#vtep?.removePort(attached.port);
    attached.port = -1;
    station.plug(null, now);
  }

  /**
   * Receives a VXLAN datagram; its bytes are only read.
   * @param ecn The ECN field of the outer header.
   */
  receive(source: string, datagram: Uint8Array, ecn: number, now: number): void {
    if (this.#vtep === null) return;
    const copy = this.#slab.copy(datagram, 0, datagram.length);
    this.#vtep.receiveDatagram(source, this.#frame.set(copy, 0, copy.length), now, ecn, this.#sink);
    this.#pump(now);
  }

  /** Reports that the path to an underlay address carries only IP packets of `mtu` bytes. */
  tooBig(address: string, mtu: number): void {
    const remote = this.#vtep?.remote(address);
    if (remote !== undefined) limitPath(remote, 'icmp', mtu, this.#now);
  }

  /** Performs everything that is due. */
  wake(now: number): void {
    if (this.#vtep === null) return;
    let next = Infinity;
    // A copy, because a station's action may move it.
    for (const { station } of [...this.#attached]) {
      if (station.due <= now) station.wake(now);
      next = Math.min(next, station.due);
    }
    if (this.#nextTick <= now) {
      this.#nextTick = now + TICK;
      this.#now = now;
      this.#vtep.tick(now, this.#sink);
      if (now >= this.#nextPeriod) {
        this.#nextPeriod = now + PERIOD;
        [this.#largestBefore, this.#largest] = [this.#largest, new Map<string, number>()];
      }
      this.#pump(now);
    }
    this.#port.wake(Math.min(next, this.#nextTick));
  }

  #plug(attached: Attached, now: number): void {
    const { station, vni } = attached;
    attached.port = this.#vtep!.addPort({ name: station.name, vni });
    this.#byPort[attached.port] = attached;
    const port: StationPort = {
      transmit: (bytes, offset, end, at) => {
        this.#record('send', station, bytes.subarray(offset, end), at);
        this.#queue.push({ attached, inward: false, bytes });
        this.#pump(at);
      },
      wake: (at) => this.#port.wake(at),
    };
    station.plug(port, now);
  }

  #pump(now: number): void {
    if (this.#busy) return;
    this.#busy = true;
    try {
      // Handling a frame may add to the queue, or stop the host, which empties it.
      for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) this.#handle(next, now);
    } finally {
      this.#busy = false;
    }
  }

  #handle(queued: Queued, now: number): void {
    if ('request' in queued) {
      const { request } = queued;
      const answer = this.#services.get(request.gatewayPort)?.(request, now) ?? null;
      return void this.#vtep?.services.answer(request.id, answer, now, this.#sink);
    }
    const { attached, inward, bytes } = queued;
    const { station, port } = attached;
    if (port < 0) return; // its station has been detached meanwhile
    if (inward) {
      this.#record('receive', station, bytes, now);
      station.receive(bytes, 0, bytes.length, now);
    } else this.#vtep!.receiveFrame(port, this.#frame.set(bytes, HEADROOM, bytes.length), now, this.#sink);
  }

  #record(event: FrameEvent['event'], station: Station, bytes: Uint8Array, time: number): void {
    if (this.#trace === null) return;
    // A copy, because the VTEP writes the frame and the bytes in front of it.
    this.#trace({ kind: 'frame', time, location: `${this.name}/${station.name}`, event, frame: bytes.slice() });
  }
}
