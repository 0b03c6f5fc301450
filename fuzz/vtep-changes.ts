/**
 * A VTEP whose ports, segments, peers and endpoints change between its frames, against a naive model. The input is a series
 * of operations of four octets: a kind and three arguments.
 *
 *     0, 1     a segment is added, removed
 *     2, 3     a port is attached to a segment, or as a trunk to two; a port is detached
 *     4, 5     a peer is added, removed
 *     6, 7     a remote endpoint is added, removed
 *     8 to 10  a frame from a port: its segment, its source, its destination
 *     11, 12   a datagram from a remote: the segment, the source and the destination of its frame
 *
 * A change is accepted or rejected as the model says, and a frame leaves where the model says. What was removed gets no
 * frame, and no other port or segment loses one by it. The totals of the counters never decrease.
 */
import { Machine } from '../src/host/machine.js';
import { Frame, HEADROOM, namedCounters, type VtepSink } from '../src/vtep/index.js';
import { SEGMENT_DEFAULTS, type Change } from '../src/model/index.js';
import { ensure, equal } from '../test/support/contract.js';

const LOCAL = '192.0.2.1';
const VNIS = [0, 8, 4097, 16_777_215];
const REMOTES = ['198.51.100.2', '198.51.100.3', '198.51.100.4'];
/** Most ports at a time. */
const PORTS = 6;
const VLANS = [10, 20] as const;
/** Last octets of the stations that send, and of those that only endpoints name. */
const STATIONS = [1, 2, 3, 4];
const NAMED = [5, 6, 7];
const BROADCAST = 255;

/** Where a station is: a port, or the address of a remote. */
type Place = number | string;

interface Named {
  ip: string;
  mac: number;
  vtep: string;
}

interface Segment {
  peers: Set<string>;
  endpoints: Named[];
  learned: Map<number, Place>;
}

/** The segments of a port, each with the VLAN of its frames; `null` for frames without a tag. */
type Members = Map<number, number | null>;

class Model {
  readonly segments = new Map<number, Segment>();
  readonly ports = new Map<number, Members>();

  /** Where a frame of a segment goes. */
  destinations(vni: number, from: Place, source: number, destination: number): Place[] {
    const { peers, endpoints, learned } = this.segments.get(vni)!;
    const isRemote = typeof from === 'string';
    // A frame from a tunnel passes, but takes no station away from a port (src/vtep/learning.ts).
    if (!isRemote || typeof learned.get(source) !== 'number') learned.set(source, from);
    const [named] = endpoints.filter(({ mac }) => mac === destination).slice(-1);
    const known = named?.vtep ?? learned.get(destination);
    const all: Place[] = [...[...this.ports].flatMap(([port, of]) => (of.has(vni) ? port : [])), ...peers];
    const reached = known === undefined || destination === BROADCAST ? all : [known];
    // Frames from a tunnel go into no tunnel.
    return reached.filter((place) => place !== from && !(isRemote && typeof place === 'string'));
  }

  accepts(vni: number, from: string): boolean {
    const segment = this.segments.get(vni);
    if (segment === undefined) return false;
    return segment.peers.has(from) || segment.endpoints.some(({ vtep }) => vtep === from);
  }
}

const macOf = (last: number): string => (last === BROADCAST ? 'ff:ff:ff:ff:ff:ff' : `02:00:00:00:00:0${last}`);

/** A frame of an experimental EtherType, with a tag or without. */
function frameOf(source: number, destination: number, vlan: number | null): number[] {
  const mac = (last: number): number[] => (last === BROADCAST ? Array<number>(6).fill(255) : [2, 0, 0, 0, 0, last]);
  const tag = vlan === null ? [] : [0x81, 0x00, 0, vlan];
  return [...mac(destination), ...mac(source), ...tag, 0x88, 0xb5, ...Array<number>(46).fill(0)];
}

/** Makes a change. @returns whether it was accepted. */
function accepted(machine: Machine, change: Change): boolean {
  try {
    machine.apply(change);
    return true;
  } catch (error) {
    ensure(error instanceof RangeError, `${(error as Error).message} is no refusal`);
    return false;
  }
}

export function fuzz(data: Uint8Array): void {
  const machine = new Machine({ port: 4789, local: LOCAL, peersOnly: true }, false);
  const model = new Model();
  let [now, total] = [1000, 0];
  for (let at = 0; at + 4 <= data.length; at += 4) {
    const [kind, a, b, c] = [data[at]! % 13, data[at + 1]!, data[at + 2]!, data[at + 3]!] as const;
    if (kind < 8) change(machine, model, kind, a, b, c);
    else pass(machine, model, kind, [a, b, c], now++);
    const { counts } = namedCounters(machine.counts());
    const sum = Object.values(counts).reduce((all, one) => all + one, 0);
    ensure(sum >= total, `the counters have decreased from ${total} to ${sum}`);
    total = sum;
    listings(machine, model, now);
  }
}

function change(machine: Machine, model: Model, kind: number, a: number, b: number, c: number): void {
  const vni = VNIS[a % VNIS.length]!;
  const segment = model.segments.get(vni);
  const address = REMOTES[b % REMOTES.length]!;
  const named: Named = { ip: `10.0.0.${1 + (c >> 4)}`, mac: NAMED[c % NAMED.length]!, vtep: address };
  const endpoint = { ip: named.ip, mac: macOf(named.mac), vtep: named.vtep };
  const users = [...model.ports.values()].filter((members) => members.has(vni)).length;
  switch (kind) {
    case 0: {
      const added = { ...SEGMENT_DEFAULTS, vni, mtu: 1450, proxy: 'off', ageing: 0, capacity: 64 } as const;
      ensure(accepted(machine, { do: 'add-segment', segment: added }), `segment ${vni} is refused`);
      if (segment === undefined) model.segments.set(vni, { peers: new Set(), endpoints: [], learned: new Map() });
      return;
    }
    case 1:
      equal(accepted(machine, { do: 'remove-segment', vni }), users === 0, `segment ${vni} is removed`);
      if (users === 0) model.segments.delete(vni);
      return;
    case 2:
      return attach(machine, model, vni, VNIS[b % VNIS.length]!, c);
    case 3: {
      const port = [...model.ports.keys()][b % PORTS];
      if (port === undefined) return;
      machine.detach(port);
      model.ports.delete(port);
      for (const { learned } of model.segments.values())
        for (const [mac, place] of learned) if (place === port) learned.delete(mac);
      return;
    }
    case 4:
      equal(accepted(machine, { do: 'add-peer', vni, address }), segment !== undefined, `peer ${address} is added`);
      segment?.peers.add(address);
      return;
    case 5:
      machine.apply({ do: 'remove-peer', vni, address });
      segment?.peers.delete(address);
      return;
    default: {
      const isOther = ({ ip, mac, vtep }: Named): boolean =>
        ip !== named.ip || mac !== named.mac || vtep !== named.vtep;
      if (kind === 6) {
        equal(accepted(machine, { do: 'add-endpoint', vni, endpoint }), segment !== undefined, `${named.ip} is added`);
        // An address has one endpoint: the last one that was added.
        if (segment !== undefined)
          segment.endpoints = [...segment.endpoints.filter(({ ip }) => ip !== named.ip), named];
      } else {
        machine.apply({ do: 'remove-endpoint', vni, endpoint });
        if (segment !== undefined) segment.endpoints = segment.endpoints.filter(isOther);
      }
    }
  }
}

function attach(machine: Machine, model: Model, vni: number, other: number, c: number): void {
  if (model.ports.size >= PORTS) return;
  const isTrunk = (c & 1) === 1 && other !== vni;
  const members: Members = isTrunk
    ? new Map([
        [vni, VLANS[0]],
        [other, VLANS[1]],
      ])
    : new Map([[vni, null]]);
  const segments = isTrunk ? { vlans: { [VLANS[0]]: vni, [VLANS[1]]: other } } : { vni };
  const isKnown = [...members.keys()].every((one) => model.segments.has(one));
  let port = -1;
  try {
    port = machine.attach({ name: 'tap', segments });
  } catch (error) {
    ensure(error instanceof RangeError, `${(error as Error).message} is no refusal`);
  }
  equal(port >= 0, isKnown, 'the port is attached');
  if (!isKnown) return;
  ensure(!model.ports.has(port), `port ${port} is there twice`);
  model.ports.set(port, members);
}

/** A frame passes from a port or from a remote. */
function pass(machine: Machine, model: Model, kind: number, [a, b, c]: readonly number[], now: number): void {
  const source = STATIONS[b! % STATIONS.length]!;
  const destination = [...STATIONS, ...NAMED, BROADCAST][c! % 8]!;
  if (source === destination) return;
  const reached: Place[] = [];
  const sink: VtepSink = {
    deliver: (port) => void reached.push(port),
    transmit: ({ address }) => void reached.push(address),
  };
  const send = (bytes: readonly number[], receive: (frame: Frame) => void): void => {
    const framed = new Uint8Array(HEADROOM + bytes.length);
    framed.set(bytes, HEADROOM);
    receive(new Frame(framed, HEADROOM));
  };
  let expected: Place[];
  if (kind < 11) {
    const port = [...model.ports.keys()][a! % PORTS];
    if (port === undefined) return;
    const members = [...model.ports.get(port)!];
    const [vni, vlan] = members[(a! >> 4) % members.length]!;
    expected = model.destinations(vni, port, source, destination);
    send(frameOf(source, destination, vlan), (frame) => machine.vtep.receiveFrame(port, frame, now, sink));
  } else {
    const vni = VNIS[a! % VNIS.length]!;
    const from = REMOTES[(a! >> 4) % REMOTES.length]!;
    expected = model.accepts(vni, from) ? model.destinations(vni, from, source, destination) : [];
    const header = [8, 0, 0, 0, vni >> 16, (vni >> 8) & 255, vni & 255, 0];
    send([...header, ...frameOf(source, destination, null)], (datagram) =>
      machine.vtep.receiveDatagram(from, datagram, now, 0, sink),
    );
  }
  const text = (places: Place[]): string[] => places.map(String).sort();
  equal(text(reached), text(expected), `where ${macOf(source)} to ${macOf(destination)} goes`);
}

/** What the listings contain is what the model has. */
function listings(machine: Machine, model: Model, now: number): void {
  const { vtep } = machine;
  equal(vtep.vnis().sort(), [...model.segments.keys()].sort(), 'the segments');
  for (const [vni, { peers, endpoints, learned }] of model.segments) {
    const addresses = [...vtep.peers(vni)].map(({ address }) => address);
    equal(addresses.sort(), [...peers].sort(), `the peers of ${vni}`);
    const places = new Map<string, Place>([...learned].map(([mac, place]) => [macOf(mac), place]));
    for (const { mac, vtep: address } of endpoints) places.set(macOf(mac), address);
    const listed = [...vtep.fdbEntries(vni, now)].map(({ mac, port, vtep: address }) => `${mac} ${port ?? address}`);
    const wanted = [...places].map(([mac, place]) => `${mac} ${typeof place === 'number' ? 'tap' : place}`);
    equal(listed.sort(), wanted.sort(), `the FDB of ${vni}`);
  }
}
