/** Set-ups for the benchmark of scale: VTEPs with many ports, networks and endpoints. */
import { ipv4ToText, macToText, setMac } from '../src/address/index.js';
import * as ethernet from '../src/ethernet/index.js';
import * as vxlan from '../src/vxlan/index.js';
import { Frame, HEADROOM, Vtep, type VtepSink } from '../src/vtep/index.js';
import { INNER, PING } from './packet.js';

const SEED = 12_345;
const { vlan } = ethernet;

/** The headers of the ping of the codec benchmarks; its addresses are replaced. */
const FRAME = PING.subarray(INNER);

/** A sink that counts what it receives. A number in an array, because a variable would allocate at each addition. */
export class Counter implements VtepSink {
  readonly received = new Float64Array(2);

  get frames(): number {
    return this.received[0]!;
  }

  get datagrams(): number {
    return this.received[1]!;
  }

  deliver(): void {
    this.received[0]! += 1;
  }

  transmit(): void {
    this.received[1]! += 1;
  }
}

/** A buffer with room for the headers in front of a frame, and the frame of a ping. */
export class Ping {
  readonly bytes = new Uint8Array(HEADROOM + FRAME.length);
  readonly #frame = new Frame();

  constructor() {
    this.bytes.set(FRAME, HEADROOM);
  }

  /** Receives the frame from a port, or from the remote `source`. */
  receive(vtep: Vtep, from: number | string, vni: number, to: number, source: number, now: number, sink: VtepSink) {
    const { bytes } = this;
    setMac(bytes, HEADROOM, to);
    setMac(bytes, HEADROOM + ethernet.SOURCE_OFFSET, source);
    if (typeof from === 'number')
      return vtep.receiveFrame(from, this.#frame.set(bytes, HEADROOM, bytes.length), now, sink);
    const start = HEADROOM - vxlan.HEADER_LENGTH;
    vxlan.writeHeader(bytes, start, vni);
    vtep.receiveDatagram(from, this.#frame.set(bytes, start, bytes.length), now, 0, sink);
  }
}

// ---- Ports ----

export type PortKind = 'access' | 'trunk';
const KINDS: PortKind[] = ['access', 'trunk'];
export { KINDS as PORT_KINDS };

/** A network with `count` ports. `run` sends a frame from the first one to the station behind the last one. */
export function ports(kind: PortKind, count: number): { run(): void; sink: Counter } {
  const vtep = new Vtep({ seed: SEED });
  const sink = new Counter();
  vtep.addSegment({ vni: 1 });
  for (let i = 0; i < count; i++)
    vtep.addPort({ name: `tap${i}`, ...(kind === 'access' ? { vni: 1 } : { vlans: { 10: 1 } }) });
  const tags = kind === 'trunk' ? vlan.HEADER_LENGTH : 0;
  const bytes = new Uint8Array(HEADROOM + tags + FRAME.length);
  const frame = new Frame();
  const addresses = ethernet.HEADER_LENGTH - 2;
  /** The machine removes the tag of a trunk, so each frame is written again. */
  const send = (port: number, to: number, from: number): void => {
    setMac(bytes, HEADROOM, to);
    setMac(bytes, HEADROOM + ethernet.SOURCE_OFFSET, from);
    if (tags > 0) {
      ethernet.setEtherType(bytes, HEADROOM, ethernet.TYPE_VLAN);
      vlan.writeHeader(bytes, HEADROOM + ethernet.HEADER_LENGTH, 10, ethernet.TYPE_IPV4);
    }
    vtep.receiveFrame(port, frame.set(bytes, HEADROOM, bytes.length), 1000, sink);
  };
  bytes.set(FRAME.subarray(addresses), HEADROOM + tags + addresses);
  const [first, last] = [0x0200_0000_0001, 0x0200_0000_0002];
  send(count - 1, first, last); // flooded; its source is learned
  send(0, last, first);
  return { run: () => send(0, last, first), sink };
}

// ---- Networks ----

export type PathKind = 'port to tunnel' | 'trunk to tunnel' | 'tunnel to port';
export const PATHS: PathKind[] = ['port to tunnel', 'trunk to tunnel', 'tunnel to port'];

/** Remote VTEPs that the endpoints are behind. */
const HOSTS = 64;
const addressOf = (host: number): string => ipv4ToText(0xc0a8_0101 + host);
/** Endpoints of each network behind local ports: its own, and the trunk. */
const LOCALS = 2;
/** The MAC address of an endpoint; the local ones come first. */
const macOf = (network: number, endpoint: number): number => 0x0242_0000_0000 + network * 256 + endpoint;

/** Frames that arrive together, such as the datagrams of one receive call of the engine `linux`. */
export const TOGETHER = 16;
/** Bytes from one of them to the next. */
const APART = 128;

/** How the frames arrive: one at a time, or `TOGETHER`, without and with a call of `Vtep.preparation` for all of them. */
export type Arrival = 'one' | 'together' | 'prepared';
export const ARRIVALS: Arrival[] = ['one', 'together', 'prepared'];

/**
 * Networks, each with a port of its own, a trunk of all networks, and endpoints. The functions send a frame in a random
 * network, to or from a random remote endpoint; or `TOGETHER` of them, each in another network.
 */
export function networks(
  count: number,
  endpoints: number,
): { run: Record<PathKind, Record<Arrival, () => void>>; sink: Counter } {
  const vtep = new Vtep({ seed: SEED });
  const sink = new Counter();
  const vlans = new Map<number, number>();
  for (let vni = 1; vni <= count; vni++) {
    vtep.addSegment({ vni });
    vlans.set(vni, vni);
    vtep.addPort({ name: `tap${vni}`, vni });
    for (let i = LOCALS; i < endpoints; i++) {
      const ip = ipv4ToText(0x0a00_0000 + i);
      vtep.addEndpoint(vni, { ip, mac: macToText(macOf(vni, i)), vtep: addressOf(i % HOSTS) });
    }
  }
  const trunk = vtep.addPort({ name: 'trunk', vlans });
  const remotes = Array.from({ length: HOSTS }, (_, i) => vtep.remote(addressOf(i))!);
  const bytes = new Uint8Array(TOGETHER * APART);
  const frame = new Frame();
  /** Where the untagged frames begin, those with a tag, and the datagrams. */
  const starts = Int32Array.from({ length: TOGETHER }, (_, i) => i * APART + HEADROOM);
  const tagged = starts.map((start) => start - vlan.HEADER_LENGTH);
  const datagrams = starts.map((start) => start - vxlan.HEADER_LENGTH);
  const from = new Int32Array(TOGETHER);
  const trunks = new Int32Array(TOGETHER).fill(trunk);
  for (const start of starts) bytes.set(FRAME, start);

  // Of each path: writes a frame, prepares all of them, receives one.
  const writePort = (i: number, vni: number, endpoint: number): void => {
    setMac(bytes, starts[i]!, macOf(vni, endpoint));
    setMac(bytes, starts[i]! + ethernet.SOURCE_OFFSET, macOf(vni, 0));
    from[i] = vni - 1;
  };
  const preparePort = (): void => vtep.preparation.frames(bytes, from, starts, TOGETHER);
  const receivePort = (i: number): void =>
    vtep.receiveFrame(from[i]!, frame.set(bytes, starts[i]!, starts[i]! + FRAME.length), 1000, sink);

  const writeTrunk = (i: number, vni: number, endpoint: number): void => {
    const start = tagged[i]!;
    setMac(bytes, start, macOf(vni, endpoint));
    setMac(bytes, start + ethernet.SOURCE_OFFSET, macOf(vni, 1));
    ethernet.setEtherType(bytes, start, ethernet.TYPE_VLAN);
    vlan.writeHeader(bytes, start + ethernet.HEADER_LENGTH, vni, ethernet.TYPE_IPV4);
  };
  const prepareTrunk = (): void => vtep.preparation.frames(bytes, trunks, tagged, TOGETHER);
  const receiveTrunk = (i: number): void =>
    vtep.receiveFrame(trunk, frame.set(bytes, tagged[i]!, starts[i]! + FRAME.length), 1000, sink);

  const writeTunnel = (i: number, vni: number, endpoint: number): void => {
    setMac(bytes, starts[i]!, macOf(vni, 0));
    setMac(bytes, starts[i]! + ethernet.SOURCE_OFFSET, macOf(vni, endpoint));
    vxlan.writeHeader(bytes, datagrams[i]!, vni);
    from[i] = endpoint % HOSTS;
  };
  const prepareTunnel = (): void => vtep.preparation.datagrams(bytes, datagrams, TOGETHER);
  const receiveTunnel = (i: number): void => {
    frame.set(bytes, datagrams[i]!, starts[i]! + FRAME.length);
    vtep.receiveDatagram(remotes[from[i]!]!, frame, 1000, 0, sink);
  };

  // The local endpoints are learned from their first frames.
  for (let vni = 1; vni <= count; vni++) {
    writePort(0, vni, LOCALS);
    receivePort(0);
    writeTrunk(0, vni, LOCALS);
    receiveTrunk(0);
  }
  let state = SEED;
  const random = (): number => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state;
  };
  const vni = (): number => 1 + ((random() >>> 4) % count);
  const endpoint = (): number => LOCALS + ((state >>> 18) % (endpoints - LOCALS));
  // Each path has loops of its own, because V8 would not inline the functions of several paths into one.
  return {
    sink,
    run: {
      'port to tunnel': {
        one() {
          writePort(0, vni(), endpoint());
          receivePort(0);
        },
        together() {
          for (let i = 0; i < TOGETHER; i++) writePort(i, vni(), endpoint());
          for (let i = 0; i < TOGETHER; i++) receivePort(i);
        },
        prepared() {
          for (let i = 0; i < TOGETHER; i++) writePort(i, vni(), endpoint());
          preparePort();
          for (let i = 0; i < TOGETHER; i++) receivePort(i);
        },
      },
      'trunk to tunnel': {
        one() {
          writeTrunk(0, vni(), endpoint());
          receiveTrunk(0);
        },
        together() {
          for (let i = 0; i < TOGETHER; i++) writeTrunk(i, vni(), endpoint());
          for (let i = 0; i < TOGETHER; i++) receiveTrunk(i);
        },
        prepared() {
          for (let i = 0; i < TOGETHER; i++) writeTrunk(i, vni(), endpoint());
          prepareTrunk();
          for (let i = 0; i < TOGETHER; i++) receiveTrunk(i);
        },
      },
      'tunnel to port': {
        one() {
          writeTunnel(0, vni(), endpoint());
          receiveTunnel(0);
        },
        together() {
          for (let i = 0; i < TOGETHER; i++) writeTunnel(i, vni(), endpoint());
          for (let i = 0; i < TOGETHER; i++) receiveTunnel(i);
        },
        prepared() {
          for (let i = 0; i < TOGETHER; i++) writeTunnel(i, vni(), endpoint());
          prepareTunnel();
          for (let i = 0; i < TOGETHER; i++) receiveTunnel(i);
        },
      },
    },
  };
}
