import type { Clock } from './clock.js';
import type { Datagram } from './datagram.js';
import { Link, type LinkOptions } from './link.js';
import type { Random } from './random.js';
import { Slab } from './slab.js';
import type { DatagramEvent, Trace } from './trace.js';

/** Receives the datagrams for a port. */
export type DatagramReceiver = (datagram: Datagram) => void;

/** Bytes of IP and UDP header in front of a datagram's payload, by the family of an address in text. */
function headers(address: string): number {
  return (address.includes(':') ? 40 : 20) + 8;
}

/**
 * An underlay: nodes at addresses that send each other UDP datagrams, which arrive late, twice or not at all. A node
 * sends through its own link, except to destinations with a path of their own.
 */
export class Network {
  readonly clock: Clock;
  readonly #slab = new Slab(65_536);
  readonly #random: Random;
  readonly #defaults: LinkOptions;
  readonly #trace: Trace | null;
  readonly #nodes = new Map<string, Node>();
  /** Links of single paths, by source and destination. */
  readonly #paths = new Map<string, Map<string, Link>>();
  /** Destinations that a source is cut off from. */
  readonly #cuts = new Map<string, Set<string>>();
  /** The side of each address that a partition names. */
  #sides = new Map<string, number>();

  /** @param options Defaults of every link. */
  constructor(clock: Clock, random: Random, options: LinkOptions = {}, trace: Trace | null = null) {
    this.clock = clock;
    this.#random = random;
    this.#defaults = options;
    this.#trace = trace;
  }

  /**
   * Adds a node.
   * @param options Of its own link; they override the network's.
   * @throws RangeError if a node has the address.
   */
  join(address: string, options: LinkOptions = {}): Node {
    if (this.#nodes.has(address)) throw new RangeError(`address ${address} already has a node`);
    const link = new Link(this.clock, this.#random, { ...this.#defaults, ...options });
    const node = new Node(this, address, link);
    this.#nodes.set(address, node);
    return node;
  }

  node(address: string): Node | undefined {
    return this.#nodes.get(address);
  }

  nodes(): Iterable<Node> {
    return this.#nodes.values();
  }

  /** Removes a node; datagrams in flight to it are lost. */
  leave(address: string): boolean {
    return this.#nodes.delete(address);
  }

  /** The link from one address to another. From now on it is separate, with options of its own. */
  path(from: string, to: string): Link {
    let paths = this.#paths.get(from);
    if (paths === undefined) this.#paths.set(from, (paths = new Map<string, Link>()));
    let link = paths.get(to);
    if (link === undefined) {
      link = new Link(this.clock, this.#random, this.#nodes.get(from)?.link.options ?? this.#defaults);
      paths.set(to, link);
    }
    return link;
  }

  /** Cuts one direction: datagrams from `from` to `to` no longer arrive. */
  cut(from: string, to: string): void {
    const cuts = this.#cuts.get(from);
    if (cuts === undefined) this.#cuts.set(from, new Set([to]));
    else cuts.add(to);
  }

  /** Splits the network, replacing any earlier split: each group hears only itself, and so do all nodes in no group. */
  partition(...groups: readonly (readonly string[])[]): void {
    this.#sides = new Map(groups.flatMap((group, side) => group.map((address) => [address, side] as const)));
  }

  /** Ends all partitions and cuts. */
  heal(): void {
    this.#sides.clear();
    this.#cuts.clear();
  }

  /** Whether datagrams from `from` reach `to` now. */
  connected(from: string, to: string): boolean {
    if (this.#sides.size > 0 && this.#sides.get(from) !== this.#sides.get(to)) return false;
    return this.#cuts.size === 0 || this.#cuts.get(from)?.has(to) !== true;
  }

  /** Sends for a node: see {@link Node.send}. */
  transmit(
    from: Node,
    destination: string,
    destinationPort: number,
    sourcePort: number,
    bytes: Uint8Array,
    offset: number,
    end: number,
    tos: number,
  ): void {
    const source = from.address;
    const payload = this.#slab.copy(bytes, offset, end);
    const datagram: Datagram = { source, sourcePort, destination, destinationPort, tos, payload };
    this.#record('send', source, datagram);
    if (!this.connected(source, destination)) return this.#record('cut', source, datagram);
    const link = (this.#paths.size === 0 ? undefined : this.#paths.get(source)?.get(destination)) ?? from.link;
    const fate = link.send(headers(destination) + payload.length, () => this.#arrive(datagram));
    if (fate === 'sent') return;
    this.#record(fate, source, datagram);
    if (fate !== 'too-big' || from.onTooBig === null || link.options.silent) return;
    // Like an ICMP error from a router on the path: it takes time, and the sender may be gone by then.
    const { mtu, latency } = link.options;
    this.clock.after(latency, () => this.#nodes.get(source)?.onTooBig?.(destination, mtu));
  }

  #arrive(datagram: Datagram): void {
    const node = this.#nodes.get(datagram.destination);
    if (node === undefined || !node.up) return this.#record('no-node', datagram.destination, datagram);
    const receiver = node.receiver(datagram.destinationPort);
    if (receiver === undefined) return this.#record('no-port', datagram.destination, datagram);
    this.#record('receive', datagram.destination, datagram);
    receiver(datagram);
  }

  #record(event: DatagramEvent['event'], location: string, datagram: Datagram): void {
    if (this.#trace !== null) this.#trace({ kind: 'datagram', time: this.clock.now, location, event, datagram });
  }
}

/** A node of a network: an address with ports. */
export class Node {
  readonly address: string;
  /** The link that it sends through, except to destinations with a path of their own. */
  readonly link: Link;
  /** Whether it is up; a node that is down sends and receives nothing. */
  up = true;
  /** Called when the path to an address carries only IP packets of `mtu` bytes. */
  onTooBig: ((address: string, mtu: number) => void) | null = null;
  readonly #network: Network;
  readonly #ports = new Map<number, DatagramReceiver>();

  constructor(network: Network, address: string, link: Link) {
    this.#network = network;
    this.address = address;
    this.link = link;
  }

  /** @throws RangeError if the port is in use. */
  bind(port: number, receiver: DatagramReceiver): void {
    if (this.#ports.has(port)) throw new RangeError(`port ${port} of ${this.address} is already in use`);
    this.#ports.set(port, receiver);
  }

  unbind(port: number): boolean {
    return this.#ports.delete(port);
  }

  receiver(port: number): DatagramReceiver | undefined {
    return this.#ports.get(port);
  }

  /** Sends `bytes[offset, end)`, which are copied, to a port at an address. */
  send(
    destination: string,
    destinationPort: number,
    sourcePort: number,
    bytes: Uint8Array,
    offset = 0,
    end = bytes.length,
    tos = 0,
  ): void {
    if (this.up) this.#network.transmit(this, destination, destinationPort, sourcePort, bytes, offset, end, tos);
  }
}
