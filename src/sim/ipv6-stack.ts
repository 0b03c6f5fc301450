/** IPv6 of a station: neighbor discovery (RFC 4861), echo and errors (RFC 4443), path MTU discovery (RFC 8201). */
import { formatIpv6, isIpv6Text, macToText, parseIpv6 } from '../address/index.js';
import * as ethernet from '../ethernet/index.js';
import * as icmpv6 from '../icmpv6/index.js';
import * as ipv6 from '../ipv6/index.js';
import { prefixContains } from '../model/index.js';
import { HEADROOM } from '../vtep/index.js';
import { type StationState } from './address-claim.js';
import { type Agenda } from './agenda.js';
import { ArpCache, UNKNOWN_MAC, type ArpCacheOptions } from './arp-cache.js';
import { PathMtus } from './path-mtu.js';
import { type PacketError, type Ping } from './ping.js';
import { type StationCounters } from './station-types.js';

/** Offset of the packet in an outgoing frame. */
const PACKET = HEADROOM + ethernet.HEADER_LENGTH;
/** The minimum MTU of an IPv6 path (RFC 8200, section 5). */
const LEAST_MTU = 1280;
const ALL_NODES = 'ff02::1';
const UNSPECIFIED = '::';

/** The ICMPv6 errors that say that a packet was not delivered, and why. */
const REASONS: Partial<Record<number, PacketError['reason']>> = {
  [icmpv6.UNREACHABLE]: 'unreachable',
  [icmpv6.PACKET_TOO_BIG]: 'too-big',
  [icmpv6.TIME_EXCEEDED]: 'expired',
  [icmpv6.PARAMETER_PROBLEM]: 'malformed',
};

/** What the stack needs from its station. */
export interface Ipv6StackHost {
  readonly mac: number;
  readonly mtu: number;
  readonly agenda: Agenda;
  readonly counters: StationCounters;
  now(): number;
  state(): StationState;
  /** Sends a frame that begins at `HEADROOM`. */
  transmit(frame: Uint8Array): void;
  /** The ping with an echo identifier. */
  pingOf(identifier: number): Ping | undefined;
  /** Another station has the address. */
  conflict(): void;
}

export class Ipv6Stack {
  /** Its address in canonical text. */
  readonly ip: string;
  readonly #prefix: string;
  readonly #gateway: string | null;
  readonly #host: Ipv6StackHost;
  readonly #cache: ArpCache<string>;
  readonly #pathMtus = new PathMtus<string>(LEAST_MTU);
  readonly #groups: readonly number[];

  /**
   * @param prefix Address and prefix length: `fd00::3/64`.
   * @throws RangeError if an address is invalid.
   */
  constructor(prefix: string, gateway: string | null, options: ArpCacheOptions, host: Ipv6StackHost) {
    const [text = ''] = prefix.split('/');
    if (!isIpv6Text(text) || !prefixContains(prefix, text))
      throw new RangeError(`ip6 ${prefix} is not an IPv6 address`);
    this.ip = canonical(text);
    this.#prefix = prefix;
    this.#gateway = gateway === null ? null : canonical(gateway);
    this.#host = host;
    this.#groups = [ALL_NODES, solicitedNode(this.ip)].map(groupMac);
    this.#cache = new ArpCache(options, host.agenda, {
      now: () => host.now(),
      request: (ip, mac) => this.#solicit(ip, mac, this.ip),
      transmit: (frame, mac) => {
        ethernet.setDestination(frame, HEADROOM, mac);
        host.transmit(frame);
      },
    });
  }

  /** Whether a group MAC address is that of a group that every node is in, or that of its solicited-node address. */
  listensTo(mac: number): boolean {
    return this.#groups.includes(mac);
  }

  neighbor(ip: string): number {
    return this.#cache.lookup(canonical(ip));
  }

  pathMtu(ip: string, now: number): number {
    return this.#pathMtus.get(canonical(ip), now);
  }

  clear(): void {
    this.#cache.clear();
    this.#pathMtus.clear();
  }

  /** Asks whether another station has the address (RFC 4862, section 5.4.2). */
  probe(): void {
    this.#solicit(this.ip, UNKNOWN_MAC, UNSPECIFIED);
  }

  /** Announces the address by an unsolicited advertisement (RFC 4861, section 7.2.6). */
  announce(): void {
    this.#advertise(ALL_NODES, groupMac(ALL_NODES), false);
  }

  /** Sends an echo request. @returns why it cannot, or `null`. */
  echo(destination: string, identifier: number, sequence: number, payload: Uint8Array, ping: Ping): PacketError | null {
    const length = ipv6.HEADER_LENGTH + icmpv6.HEADER_LENGTH + payload.length;
    const error = this.#refuse(destination, length);
    if (error !== null) return error;
    const message = { type: icmpv6.ECHO_REQUEST, code: 0, identifier, sequence: sequence & 0xffff, payload };
    this.#launch(destination, message, () => ping.fail(sequence, { reason: 'no-neighbor' }));
    return null;
  }

  /** Receives the frame at `offset`; its bytes are only read. */
  receive(bytes: Uint8Array, offset: number, end: number): void {
    this.#receivePacket(bytes, offset + ethernet.HEADER_LENGTH, end, ethernet.getSource(bytes, offset));
  }

  // ---- Out ----

  /** Why a packet of `length` bytes cannot be sent, or `null`. */
  #refuse(destination: string, length: number): PacketError | null {
    if (this.#host.state() !== 'up') return { reason: 'down' };
    if (this.#nextHop(destination) === null) return { reason: 'no-route' };
    const mtu = Math.min(this.#host.mtu, this.#pathMtus.get(destination, this.#host.now()));
    return length > mtu ? { reason: 'too-big', mtu } : null;
  }

  #nextHop(destination: string): string | null {
    return prefixContains(this.#prefix, destination) ? destination : this.#gateway;
  }

  #frame(
    destination: string,
    message: icmpv6.Icmpv6,
    { hopLimit = ipv6.DEFAULT_HOP_LIMIT, source = this.ip, mac = 0 } = {},
  ): Uint8Array {
    const addresses = { source, destination };
    const payload = icmpv6.encode(message, addresses);
    const packet = ipv6.encode({ hopLimit, nextHeader: ipv6.NEXT_ICMPV6, ...addresses, payload });
    const frame = new Uint8Array(PACKET + packet.length);
    ethernet.writeHeader(frame, HEADROOM, mac, this.#host.mac, ethernet.TYPE_IPV6);
    frame.set(packet, PACKET);
    return frame;
  }

  #launch(destination: string, message: icmpv6.Icmpv6, failed: (() => void) | null): void {
    const frame = this.#frame(destination, message);
    const { agenda, mac } = this.#host;
    if (destination === this.ip)
      agenda.add(this.#host.now(), () => this.#receivePacket(frame, PACKET, frame.length, mac));
    else this.#cache.send(this.#nextHop(destination)!, frame, failed);
  }

  /** @param mac Of the neighbor to ask; `UNKNOWN_MAC` to ask its group. */
  #solicit(target: string, mac: number, source: string): void {
    const group = solicitedNode(target);
    const [destination, to] = mac === UNKNOWN_MAC ? [group, groupMac(group)] : [target, mac];
    const address = { type: icmpv6.OPTION_SOURCE_LINK_LAYER_ADDRESS, address: macToText(this.#host.mac) } as const;
    const options = source === UNSPECIFIED ? [] : [icmpv6.encodeOption(address)];
    const message = { type: icmpv6.NEIGHBOR_SOLICITATION, code: 0, target, options, payload: new Uint8Array(0) };
    this.#host.transmit(this.#frame(destination, message, { hopLimit: icmpv6.DISCOVERY_HOP_LIMIT, source, mac: to }));
  }

  #advertise(destination: string, mac: number, solicited: boolean): void {
    const address = { type: icmpv6.OPTION_TARGET_LINK_LAYER_ADDRESS, address: macToText(this.#host.mac) } as const;
    const options = [icmpv6.encodeOption(address)];
    const flags = { override: true, ...(solicited ? { solicited } : {}) };
    const message = { type: icmpv6.NEIGHBOR_ADVERTISEMENT, code: 0, target: this.ip, ...flags, options };
    this.#host.transmit(
      this.#frame(
        destination,
        { ...message, payload: new Uint8Array(0) },
        { hopLimit: icmpv6.DISCOVERY_HOP_LIMIT, mac },
      ),
    );
  }

  // ---- In ----

  #count(counter: keyof StationCounters): void {
    this.#host.counters[counter]++;
  }

  #receivePacket(bytes: Uint8Array, at: number, end: number, from: number): void {
    if (ipv6.check(bytes, at, end) < 0) return this.#count('malformed');
    const { nextHeader, source, destination, payload } = ipv6.decode(bytes, at, end);
    const isGroup = destination === ALL_NODES || destination === solicitedNode(this.ip);
    if (destination !== this.ip && !isGroup) return this.#count('otherIp');
    if (nextHeader === ipv6.NEXT_FRAGMENT) return this.#count('fragments');
    if (nextHeader !== ipv6.NEXT_ICMPV6) return this.#count('ignored');
    const body = at + ipv6.HEADER_LENGTH;
    const bodyEnd = body + payload.length;
    if (icmpv6.check(bytes, body, bodyEnd) < 0) return this.#count('malformed');
    if (icmpv6.isDiscovery(icmpv6.getType(bytes, body))) {
      if (!icmpv6.verifyDiscovery(bytes, at, body, bodyEnd)) return this.#count('malformed');
      return this.#discover(icmpv6.decode(bytes, body, bodyEnd), source, from);
    }
    if (!icmpv6.verifyChecksum(bytes, body, bodyEnd, { source, destination })) return this.#count('badChecksum');
    if (this.#host.state() === 'up') this.#receiveMessage(icmpv6.decode(bytes, body, bodyEnd), source, isGroup);
  }

  #discover({ type, target, solicited }: icmpv6.DecodedIcmpv6, source: string, mac: number): void {
    if (mac === this.#host.mac) return;
    const isMine = target === this.ip;
    const state = this.#host.state();
    if (type === icmpv6.NEIGHBOR_ADVERTISEMENT) {
      if (isMine) this.#host.conflict();
      else if (state === 'up') this.#cache.learn(target!, mac, false);
    } else if (type !== icmpv6.NEIGHBOR_SOLICITATION || !isMine || solicited === true) return;
    else if (source === UNSPECIFIED) {
      // Two stations that probe at the same time both give up (RFC 4862, section 5.4.3).
      if (state === 'probing') this.#host.conflict();
      else if (state === 'up') this.announce();
    } else if (state === 'up') {
      this.#cache.learn(source, mac, prefixContains(this.#prefix, source));
      this.#advertise(source, mac, true);
    }
  }

  #receiveMessage(message: icmpv6.DecodedIcmpv6, source: string, isGroup: boolean): void {
    const { type, identifier, sequence, payload } = message;
    if (type === icmpv6.ECHO_REQUEST) {
      const length = ipv6.HEADER_LENGTH + icmpv6.HEADER_LENGTH + payload.length;
      if (isGroup || this.#refuse(source, length) !== null) return;
      this.#count('echoesAnswered');
      const { checksum: _checksum, ...request } = message;
      this.#launch(source, { ...request, type: icmpv6.ECHO_REPLY }, null);
    } else if (type === icmpv6.ECHO_REPLY) {
      const ping = this.#host.pingOf(identifier!);
      if (ping === undefined) return this.#count('strayReplies');
      ping.reply(sequence!, payload, 0, payload.length);
    } else if (REASONS[type] !== undefined) this.#receiveError(message, source);
    else this.#count('ignored');
  }

  /** Handles an error about a packet that this station sent. */
  #receiveError(message: icmpv6.DecodedIcmpv6, from: string): void {
    const quoted = ipv6.decodeLax(message.payload, 0, message.payload.length);
    if (quoted === null || quoted.source !== this.ip) return this.#count('malformed');
    this.#count('errorsReceived');
    const { type, code, mtu } = message;
    const error: PacketError = { reason: REASONS[type]!, from, code };
    if (type === icmpv6.PACKET_TOO_BIG) {
      // The quotation is cut: the length of the packet is that of its header.
      const length = ipv6.HEADER_LENGTH + ipv6.getPayloadLength(message.payload, 0);
      const learned = this.#pathMtus.learn(quoted.destination, mtu!, length, this.#host.now());
      if (learned === null) return;
      error.mtu = learned;
    }
    if (quoted.nextHeader !== ipv6.NEXT_ICMPV6) return;
    const echo = icmpv6.decodeLax(quoted.payload, 0, quoted.payload.length);
    if (echo?.type === icmpv6.ECHO_REQUEST && echo.sequence !== undefined)
      this.#host.pingOf(echo.identifier!)?.fail(echo.sequence, error);
  }
}

function canonical(text: string): string {
  return formatIpv6(parseIpv6(text));
}

/** The solicited-node address of an address (RFC 4291, section 2.7.1). */
function solicitedNode(ip: string): string {
  const bytes = parseIpv6(ip);
  const group = parseIpv6('ff02::1:ff00:0');
  group.set(bytes.subarray(13), 13);
  return formatIpv6(group);
}

/** The MAC address of a multicast address (RFC 2464, section 7): 33:33 and its last four octets. */
function groupMac(ip: string): number {
  return parseIpv6(ip)
    .subarray(12)
    .reduce((mac, octet) => mac * 256 + octet, 0x3333);
}
