import {
  ipv4Mask,
  ipv4PrefixContains,
  ipv4ToText,
  isGroupMac,
  isMulticastIpv4,
  MAC_BROADCAST,
  macToText,
  parseIpv4,
  parseIpv4Prefix,
  parseMac,
  type Ipv4Prefix,
} from '../address/index.js';
import * as arp from '../arp/index.js';
import * as ethernet from '../ethernet/index.js';
import * as icmp from '../icmp/index.js';
import * as ipv4 from '../ipv4/index.js';
import * as udp from '../udp/index.js';
import { HEADROOM } from '../vtep/index.js';
import { uint } from '../wire/index.js';
import { AddressClaim, type StationState } from './address-claim.js';
import { Agenda } from './agenda.js';
import { ArpCache, UNKNOWN_MAC, type ArpCacheOptions } from './arp-cache.js';
import { PathMtus } from './path-mtu.js';
import { Ping, type PacketError, type PingOptions, type PingResult } from './ping.js';
import type { Random } from './random.js';

const ETHERNET = ethernet.HEADER_LENGTH;
const IPV4 = ipv4.MIN_HEADER_LENGTH;
/** Offsets of the parts of an outgoing frame. */
const PACKET = HEADROOM + ETHERNET;
const BODY = PACKET + IPV4;

/** Bytes of the offending packet to quote, so that an error stays within 576 bytes (RFC 1812, section 4.3.2.3). */
const QUOTE = 576 - IPV4 - icmp.HEADER_LENGTH;
const LIMITED_BROADCAST = 0xffff_ffff;

/** The ICMP errors that say that a packet was not delivered, and why. */
const REASONS: Partial<Record<number, PacketError['reason']>> = {
  [icmp.UNREACHABLE]: 'unreachable',
  [icmp.TIME_EXCEEDED]: 'expired',
  [icmp.PARAMETER_PROBLEM]: 'malformed',
};

/** The network side of a station. */
export interface StationPort {
  /** Sends a frame. The buffer belongs to the port from then on, with the `HEADROOM` bytes before `offset` that a VTEP needs. */
  transmit(bytes: Uint8Array, offset: number, end: number, now: number): void;
  /** Asks to call `wake` at this time, in the clock's milliseconds, or as soon as possible after it. */
  wake(at: number): void;
}

export interface StationOptions {
  /** MAC address: `02:42:0a:00:00:03`. */
  mac: string;
  /** Address and prefix: `10.0.0.3/24`. */
  ip: string;
  /** Name in traces. Default: the address. */
  name?: string;
  /** Gateway for other subnets. */
  gateway?: string;
  /** The largest IP packet that its interface takes, in bytes. Default 1450. */
  mtu?: number;
  /** Whether it probes for its address before using it (RFC 5227), which takes some seconds. Default true. */
  probe?: boolean;
  /** Whether it announces its address when it starts. Default true. */
  announce?: boolean;
  arp?: ArpCacheOptions;
  /** For the times of probes. */
  random: Random;
}

/** A delivered UDP datagram. */
export interface StationDatagram {
  source: string;
  sourcePort: number;
  destination: string;
  destinationPort: number;
  /** Valid during the call only. */
  payload: Uint8Array;
}

/** Receives the datagrams and errors for a UDP port. */
export interface UdpReceiver {
  receive(datagram: StationDatagram, now: number): void;
  /** A datagram sent from this port to `destination` was not delivered. */
  error?(error: PacketError, destination: string, destinationPort: number, now: number): void;
}

/** Counters of a station. */
export interface StationCounters {
  framesIn: number;
  framesOut: number;
  /** Flooded frames for another MAC address. */
  otherMac: number;
  /** Packets for another IP address. */
  otherIp: number;
  /** Frames and ICMP messages of types that it does not handle. */
  ignored: number;
  malformed: number;
  badChecksum: number;
  /** Fragments, which it does not reassemble. */
  fragments: number;
  echoesAnswered: number;
  /** Echo replies of no ping in progress. */
  strayReplies: number;
  errorsSent: number;
  errorsReceived: number;
  /** ARP packets that claimed its address. */
  conflicts: number;
}

/**
 * A host on an Ethernet port with a small IP stack: ARP with RFC 5227, IPv4 without fragments and forwarding, ICMP echo
 * and errors, path MTU discovery (RFC 1191), UDP. It is a machine: it receives frames and the time, and asks its port
 * for wake-ups.
 *
 * The parts with a state of their own are in other files: `AddressClaim`, `ArpCache`, `PathMtus`, `Ping`. The rest is
 * in this one, although it is long, because every protocol answers through the same few methods that build and send a
 * packet.
 */
export class Station {
  readonly name: string;
  /** 48 bits. */
  readonly mac: number;
  readonly prefix: Ipv4Prefix;
  readonly mtu: number;
  readonly counters: StationCounters = {
    framesIn: 0,
    framesOut: 0,
    otherMac: 0,
    otherIp: 0,
    ignored: 0,
    malformed: 0,
    badChecksum: 0,
    fragments: 0,
    echoesAnswered: 0,
    strayReplies: 0,
    errorsSent: 0,
    errorsReceived: 0,
    conflicts: 0,
  };
  readonly #gateway: number | null;
  readonly #broadcast: number;
  readonly #agenda = new Agenda();
  readonly #claim: AddressClaim;
  readonly #cache: ArpCache;
  readonly #pathMtus = new PathMtus();
  readonly #udp = new Map<number, UdpReceiver>();
  readonly #pings = new Map<number, Ping>();
  /** The Ethernet and IPv4 headers of outgoing packets. */
  readonly #template: Uint8Array;
  #port: StationPort | null = null;
  #now = 0;
  #identification = 0;
  #echoIdentifier = 0;

  /** @throws RangeError naming the option that is wrong. */
  constructor(options: StationOptions) {
    this.prefix = parseIpv4Prefix(options.ip);
    this.mac = parseMac(options.mac);
    if (isGroupMac(this.mac)) throw new RangeError(`mac ${options.mac} is a group address`);
    this.name = options.name ?? ipv4ToText(this.prefix.address);
    this.mtu = uint('mtu', options.mtu ?? 1450, 0xffff);
    this.#gateway = options.gateway === undefined ? null : parseIpv4(options.gateway);
    this.#broadcast = (this.prefix.address | ~ipv4Mask(this.prefix.length)) >>> 0;
    const { probe = true, announce = true, random } = options;
    const { address } = this.prefix;
    this.#claim = new AddressClaim({ probe, announce, random }, this.#agenda, {
      now: () => this.#now,
      probe: () => this.#arp(arp.REQUEST, MAC_BROADCAST, 0, address),
      announce: () => this.#arp(arp.REQUEST, MAC_BROADCAST, address, address),
    });
    this.#cache = new ArpCache(options.arp ?? {}, this.#agenda, {
      now: () => this.#now,
      request: (ip, mac) => this.#arp(arp.REQUEST, mac === UNKNOWN_MAC ? MAC_BROADCAST : mac, this.prefix.address, ip),
      transmit: (frame, mac) => {
        ethernet.setDestination(frame, HEADROOM, mac);
        this.#transmit(frame);
      },
    });
    this.#template = new Uint8Array(BODY);
    ethernet.writeHeader(this.#template, HEADROOM, 0, this.mac, ethernet.TYPE_IPV4);
    ipv4.encodeInto(
      { protocol: 0, source: this.ip, destination: '0.0.0.0', dontFragment: true, payload: new Uint8Array(0) },
      this.#template,
      PACKET,
    );
  }

  /** Its address as text. */
  get ip(): string {
    return ipv4ToText(this.prefix.address);
  }

  get state(): StationState {
    return this.#claim.state;
  }

  /** Connects it to a port, or to none. Without a port it sleeps, and loses the frames that it sends. */
  plug(port: StationPort | null, now: number): void {
    this.#port = port;
    this.#enter(now);
    this.#arm();
  }

  /** Starts it with empty state, except for the receivers at its UDP ports. */
  start(now: number): void {
    this.#enter(now);
    this.#silence('down');
    this.#claim.start();
    this.#arm();
  }

  /** Stops it: it becomes silent, and its pings end. */
  stop(now: number): void {
    this.#enter(now);
    this.#silence('down');
  }

  /** Announces its address (RFC 5227, section 3), as after a move. */
  announce(now: number): void {
    this.#enter(now);
    this.#claim.announce();
    this.#arm();
  }

  /** Performs everything that is due. */
  wake(now: number): void {
    this.#enter(now);
    while (this.#agenda.next <= now) this.#agenda.take()();
    this.#arm();
  }

  /** When `wake` is due; `Infinity` if never. */
  get due(): number {
    return this.#agenda.next;
  }

  /** Receives a frame; its bytes are only read. */
  receive(bytes: Uint8Array, offset: number, end: number, now: number): void {
    this.#enter(now);
    this.#receive(bytes, offset, end);
    this.#arm();
  }

  /** The MAC address that it knows for an IP address of its subnet. */
  neighbor(ip: string): string | null {
    const mac = this.#cache.lookup(parseIpv4(ip));
    return mac === UNKNOWN_MAC ? null : macToText(mac);
  }

  /** The path MTU to an address, as far as it knows. */
  pathMtu(ip: string, now: number): number {
    return Math.min(this.mtu, this.#pathMtus.get(parseIpv4(ip), now));
  }

  /** Sends echo requests and reports the result when all are answered or the time is up. */
  ping(ip: string, options: PingOptions, now: number, onDone: (result: PingResult) => void): void {
    this.#enter(now);
    const destination = parseIpv4(ip);
    const identifier = (this.#echoIdentifier = (this.#echoIdentifier + 1) & 0xffff);
    const ping: Ping = new Ping(options, {
      now: () => this.#now,
      agenda: this.#agenda,
      echo: (sequence, data) => this.#echo(destination, identifier, sequence, data, ping),
      finished: (result) => {
        this.#pings.delete(identifier);
        onDone(result);
      },
    });
    this.#pings.set(identifier, ping);
    ping.next();
    this.#arm();
  }

  /** @throws RangeError if the port is in use. */
  bind(port: number, receiver: UdpReceiver): void {
    if (this.#udp.has(port)) throw new RangeError(`UDP port ${port} is already in use`);
    this.#udp.set(port, receiver);
  }

  unbind(port: number): boolean {
    return this.#udp.delete(port);
  }

  /** Sends a UDP datagram; returns why it could not be sent, or `null`. Later errors go to the source port's receiver. */
  sendUdp(
    ip: string,
    destinationPort: number,
    sourcePort: number,
    payload: Uint8Array,
    now: number,
  ): PacketError | null {
    this.#enter(now);
    const destination = parseIpv4(ip);
    const length = udp.HEADER_LENGTH + payload.length;
    const error = this.#refuse(destination, length);
    if (error !== null) return error;
    const frame = this.#packet(destination, ipv4.PROTOCOL_UDP, length);
    udp.writeHeader(frame, BODY, sourcePort, destinationPort, length);
    frame.set(payload, BODY + udp.HEADER_LENGTH);
    const pseudo = ipv4.pseudoHeaderSum(frame, PACKET, ipv4.PROTOCOL_UDP, length);
    udp.fillChecksum(frame, BODY, frame.length, pseudo);
    this.#launch(frame, destination, () =>
      this.#udp.get(sourcePort)?.error?.({ reason: 'no-neighbor' }, ip, destinationPort, this.#now),
    );
    this.#arm();
    return null;
  }

  // ---- Time and state ----

  #enter(now: number): void {
    this.#now = now;
  }

  #arm(): void {
    if (this.#agenda.next !== Infinity) this.#port?.wake(this.#agenda.next);
  }

  /** Clears its state and cancels everything scheduled. */
  #silence(state: 'down' | 'conflict'): void {
    this.#claim.stop(state);
    for (const ping of [...this.#pings.values()]) ping.finish();
    this.#cache.clear();
    this.#agenda.clear();
    this.#pathMtus.clear();
  }

  // ---- ARP ----

  /** Sends a request for `target`, or a reply to the station at `mac`. */
  #arp(operation: number, mac: number, sender: number, target: number): void {
    const frame = new Uint8Array(PACKET + arp.ETHERNET_IPV4_LENGTH);
    ethernet.writeHeader(frame, HEADROOM, mac, this.mac, ethernet.TYPE_ARP);
    arp.writeEthernetIpv4(frame, PACKET, operation, this.mac, sender, operation === arp.REPLY ? mac : 0, target);
    this.#transmit(frame);
  }

  #receiveArp(bytes: Uint8Array, at: number, end: number): void {
    if (arp.check(bytes, at, end) < 0 || !arp.isEthernetIpv4(bytes, at)) return this.#count('malformed');
    const { address } = this.prefix;
    const mac = arp.getSenderMac(bytes, at);
    const sender = arp.getSenderIp(bytes, at);
    const target = arp.getTargetIp(bytes, at);
    if (mac === this.mac) return;
    const probed = this.state === 'probing' && arp.isProbe(bytes, at) && target === address;
    if (sender === address || probed) return this.#conflict();
    if (this.state !== 'up') return;
    this.#cache.learn(sender, mac, target === address && ipv4PrefixContains(this.prefix, sender));
    if (target === address && arp.getOperation(bytes, at) === arp.REQUEST) this.#arp(arp.REPLY, mac, address, sender);
  }

  /** Handles a claim to this station's address. */
  #conflict(): void {
    this.counters.conflicts++;
    if (!this.#claim.defend()) this.#silence('conflict');
  }

  // ---- Out ----

  /** Why a packet with `length` bytes behind its IP header cannot be sent, or `null`. */
  #refuse(destination: number, length: number): PacketError | null {
    if (this.state !== 'up') return { reason: 'down' };
    if (this.#nextHop(destination) === null) return { reason: 'no-route' };
    const mtu = Math.min(this.mtu, this.#pathMtus.get(destination, this.#now));
    return IPV4 + length > mtu ? { reason: 'too-big', mtu } : null;
  }

  #nextHop(destination: number): number | null {
    if (destination === LIMITED_BROADCAST || ipv4PrefixContains(this.prefix, destination)) return destination;
    return isMulticastIpv4(destination) ? null : this.#gateway;
  }

  /** Builds a frame with all headers up to IP, and room for `length` bytes behind them. */
  #packet(destination: number, protocol: number, length: number): Uint8Array {
    const frame = new Uint8Array(BODY + length);
    frame.set(this.#template);
    this.#identification = (this.#identification + 1) & 0xffff;
    ipv4.setTotalLength(frame, PACKET, IPV4 + length);
    ipv4.setIdentification(frame, PACKET, this.#identification);
    ipv4.setProtocol(frame, PACKET, protocol);
    ipv4.setDestination(frame, PACKET, destination);
    ipv4.fillChecksum(frame, PACKET);
    return frame;
  }

  #launch(frame: Uint8Array, destination: number, failed: (() => void) | null): void {
    const hop = this.#nextHop(destination)!;
    if (hop === this.prefix.address) {
      this.#agenda.add(this.#now, () => this.#receiveIpv4(frame, PACKET, frame.length, false));
    } else if (this.#isBroadcast(hop)) {
      ethernet.setDestination(frame, HEADROOM, MAC_BROADCAST);
      this.#transmit(frame);
    } else this.#cache.send(hop, frame, failed);
  }

  #isBroadcast(ip: number): boolean {
    return ip === LIMITED_BROADCAST || (ip === this.#broadcast && this.prefix.length < 31);
  }

  #transmit(frame: Uint8Array): void {
    if (this.#port === null) return;
    this.counters.framesOut++;
    this.#port.transmit(frame, HEADROOM, frame.length, this.#now);
  }

  #echo(
    destination: number,
    identifier: number,
    sequence: number,
    payload: Uint8Array,
    ping: Ping,
  ): PacketError | null {
    const length = icmp.HEADER_LENGTH + payload.length;
    const error = this.#refuse(destination, length);
    if (error !== null) return error;
    const frame = this.#packet(destination, ipv4.PROTOCOL_ICMP, length);
    icmp.encodeInto(
      { type: icmp.ECHO_REQUEST, code: 0, identifier, sequence: sequence & 0xffff, payload },
      frame,
      BODY,
    );
    this.#launch(frame, destination, () => ping.fail(sequence, { reason: 'no-neighbor' }));
    return null;
  }

  // ---- In ----

  #count(counter: keyof StationCounters): void {
    this.counters[counter]++;
  }

  #receive(bytes: Uint8Array, offset: number, end: number): void {
    this.counters.framesIn++;
    if (this.state === 'down' || this.state === 'conflict') return this.#count('ignored');
    if (ethernet.check(bytes, offset, end) < 0) return this.#count('malformed');
    const destination = ethernet.getDestination(bytes, offset);
    if (destination !== this.mac && destination !== MAC_BROADCAST) return this.#count('otherMac');
    const type = ethernet.getEtherType(bytes, offset);
    if (type === ethernet.TYPE_ARP) this.#receiveArp(bytes, offset + ETHERNET, end);
    else if (type === ethernet.TYPE_IPV4)
      this.#receiveIpv4(bytes, offset + ETHERNET, end, destination === MAC_BROADCAST);
    else this.#count('ignored');
  }

  /** @param group Whether the frame was for a group, in which case no error may answer it (RFC 1122, section 3.2.2). */
  #receiveIpv4(bytes: Uint8Array, at: number, end: number, group: boolean): void {
    const length = ipv4.check(bytes, at, end);
    if (length < 0) return this.#count('malformed');
    if (!ipv4.verifyChecksum(bytes, at)) return this.#count('badChecksum');
    const destination = ipv4.getDestination(bytes, at);
    const broadcast = this.#isBroadcast(destination);
    if (this.state !== 'up' || (destination !== this.prefix.address && !broadcast)) return this.#count('otherIp');
    if (ipv4.isFragment(bytes, at)) return this.#count('fragments');
    const body = at + length;
    const bodyEnd = at + ipv4.getTotalLength(bytes, at);
    const toAll = group || broadcast;
    const protocol = ipv4.getProtocol(bytes, at);
    if (protocol === ipv4.PROTOCOL_ICMP) this.#receiveIcmp(bytes, at, body, bodyEnd, toAll);
    else if (protocol === ipv4.PROTOCOL_UDP) this.#receiveUdp(bytes, at, body, bodyEnd, toAll);
    else if (!toAll) this.#sendUnreachable(icmp.CODE_PROTOCOL_UNREACHABLE, bytes, at, bodyEnd);
  }

  #receiveUdp(bytes: Uint8Array, ip: number, at: number, end: number, toAll: boolean): void {
    if (udp.check(bytes, at, end) < 0) return this.#count('malformed');
    const length = udp.getLength(bytes, at);
    const pseudo = ipv4.pseudoHeaderSum(bytes, ip, ipv4.PROTOCOL_UDP, length);
    if (!udp.verifyChecksum(bytes, at, pseudo, true)) return this.#count('badChecksum');
    const destinationPort = udp.getDestinationPort(bytes, at);
    const receiver = this.#udp.get(destinationPort);
    if (receiver === undefined) {
      if (!toAll) this.#sendUnreachable(icmp.CODE_PORT_UNREACHABLE, bytes, ip, end);
      return;
    }
    const datagram: StationDatagram = {
      source: ipv4ToText(ipv4.getSource(bytes, ip)),
      sourcePort: udp.getSourcePort(bytes, at),
      destination: ipv4ToText(ipv4.getDestination(bytes, ip)),
      destinationPort,
      payload: bytes.subarray(at + udp.HEADER_LENGTH, at + length),
    };
    receiver.receive(datagram, this.#now);
  }

  #receiveIcmp(bytes: Uint8Array, ip: number, at: number, end: number, toAll: boolean): void {
    if (icmp.check(bytes, at, end) < 0) return this.#count('malformed');
    if (!icmp.verifyChecksum(bytes, at, end)) return this.#count('badChecksum');
    const type = icmp.getType(bytes, at);
    if (type === icmp.ECHO_REQUEST) {
      if (!toAll) this.#answerEcho(bytes, ip, at, end);
    } else if (type === icmp.ECHO_REPLY) {
      const ping = this.#pings.get(icmp.getIdentifier(bytes, at));
      if (ping === undefined) return this.#count('strayReplies');
      ping.reply(icmp.getSequence(bytes, at), bytes, at + icmp.HEADER_LENGTH, end);
    } else if (REASONS[type] !== undefined) {
      this.#receiveError(icmp.decode(bytes, at, end), ipv4ToText(ipv4.getSource(bytes, ip)));
    } else this.#count('ignored');
  }

  #answerEcho(bytes: Uint8Array, ip: number, at: number, end: number): void {
    const source = ipv4.getSource(bytes, ip);
    if (this.#refuse(source, end - at) !== null) return;
    const frame = this.#packet(source, ipv4.PROTOCOL_ICMP, end - at);
    frame.set(bytes.subarray(at, end), BODY);
    icmp.setType(frame, BODY, icmp.ECHO_REPLY);
    icmp.fillChecksum(frame, BODY, frame.length);
    this.counters.echoesAnswered++;
    this.#launch(frame, source, null);
  }

  /** Handles an ICMP error about a packet that this station sent. */
  #receiveError(message: icmp.DecodedIcmp, from: string): void {
    const about = icmp.quoted(message);
    if (about === null || about.header.source !== this.ip) return this.#count('malformed');
    this.counters.errorsReceived++;
    const { header } = about;
    const { type, code, nextHopMtu } = message;
    const error: PacketError = { reason: REASONS[type]!, from, code };
    if (nextHopMtu !== undefined) {
      const destination = parseIpv4(header.destination);
      const mtu = this.#pathMtus.learn(destination, nextHopMtu, header.totalLength, this.#now);
      if (mtu === null) return;
      error.reason = 'too-big';
      error.mtu = mtu;
    }
    if (header.protocol === ipv4.PROTOCOL_ICMP) {
      const echo = icmp.decodeLax(header.payload, 0, header.payload.length);
      if (echo?.type === icmp.ECHO_REQUEST && echo.sequence !== undefined)
        this.#pings.get(echo.identifier!)?.fail(echo.sequence, error);
    } else if (header.protocol === ipv4.PROTOCOL_UDP && about.sourcePort !== undefined)
      this.#udp.get(about.sourcePort)?.error?.(error, header.destination, about.destinationPort!, this.#now);
  }

  /**
   * Sends an ICMP error to the sender of the packet at `ip`. The caller has checked that the packet is unicast and not
   * an ICMP error.
   */
  #sendUnreachable(code: number, bytes: Uint8Array, ip: number, end: number): void {
    const source = ipv4.getSource(bytes, ip);
    const payload = bytes.subarray(ip, Math.min(end, ip + QUOTE));
    if (!isHost(source) || this.#isBroadcast(source)) return;
    if (this.#refuse(source, icmp.HEADER_LENGTH + payload.length) !== null) return;
    const frame = this.#packet(source, ipv4.PROTOCOL_ICMP, icmp.HEADER_LENGTH + payload.length);
    icmp.encodeInto({ type: icmp.UNREACHABLE, code, payload }, frame, BODY);
    this.counters.errorsSent++;
    this.#launch(frame, source, null);
  }
}

/**
 * Whether an ICMP error may be sent to an address: not to 0.0.0.0/8, loopback, multicast or reserved (RFC 1122, section
 * 3.2.2).
 */
function isHost(address: number): boolean {
  const net = address >>> 24;
  return net !== 0 && net !== 127 && net < 224;
}
