import {
  formatIpv6,
  ipv4Mask,
  ipv4PrefixContains,
  ipv4ToText,
  isGroupMac,
  isIpv6Text,
  isMulticastIpv4,
  MAC_BROADCAST,
  macToText,
  parseIpv4,
  parseIpv4Prefix,
  parseIpv6,
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
import { ArpCache, UNKNOWN_MAC } from './arp-cache.js';
import { failureOf, isFailure, isHost, quoteOf } from './icmp-errors.js';
import { Ipv6Stack } from './ipv6-stack.js';
import { PathMtus } from './path-mtu.js';
import { Ping, type PacketError, type PingOptions, type PingResult } from './ping.js';
import {
  newCounters,
  type StationCounters,
  type StationDatagram,
  type StationOptions,
  type StationPort,
  type UdpReceiver,
} from './station-types.js';

const ETHERNET = ethernet.HEADER_LENGTH;
const IPV4 = ipv4.MIN_HEADER_LENGTH;
/** Offsets of the parts of an outgoing frame. */
const PACKET = HEADROOM + ETHERNET;
const BODY = PACKET + IPV4;

const LIMITED_BROADCAST = 0xffff_ffff;

/**
 * A host on an Ethernet port with a small IP stack: ARP with RFC 5227, IPv4 without fragments and forwarding, ICMP echo
 * and errors, path MTU discovery (RFC 1191), UDP; and IPv6 with neighbor discovery, echo and errors, if it has an address. It is a machine: it receives frames and the time, and asks its port
 * for wake-ups.
 *
 * The parts with a state of their own are in other files: `AddressClaim`, `ArpCache`, `PathMtus`, `Ping`, and `Ipv6Stack`,
 * which has all of IPv6. This one has the port and IPv4, whose protocols answer through the same few methods that build
 * and send a packet.
 */
export class Station {
  readonly name: string;
  /** 48 bits. */
  readonly mac: number;
  readonly prefix: Ipv4Prefix;
  readonly mtu: number;
  readonly counters = newCounters();
  readonly #gateway: number | null;
  readonly #broadcast: number;
  readonly #agenda = new Agenda();
  readonly #claim: AddressClaim;
  readonly #cache: ArpCache;
  readonly #pathMtus = new PathMtus();
  readonly #ipv6: Ipv6Stack | null;
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
      probe: () => {
        this.#arp(arp.REQUEST, MAC_BROADCAST, 0, address);
        this.#ipv6?.probe();
      },
      announce: () => {
        this.#arp(arp.REQUEST, MAC_BROADCAST, address, address);
        this.#ipv6?.announce();
      },
    });
    this.#cache = new ArpCache(options.arp ?? {}, this.#agenda, {
      now: () => this.#now,
      request: (ip, mac) => this.#arp(arp.REQUEST, mac === UNKNOWN_MAC ? MAC_BROADCAST : mac, this.prefix.address, ip),
      transmit: (frame, mac) => {
        ethernet.setDestination(frame, HEADROOM, mac);
        this.#transmit(frame);
      },
    });
    const { ip6, gateway6, arp: cache } = options;
    this.#ipv6 =
      ip6 === undefined
        ? null
        : new Ipv6Stack(ip6, gateway6 ?? null, cache ?? {}, {
            ...{ mac: this.mac, mtu: this.mtu, agenda: this.#agenda, counters: this.counters },
            now: () => this.#now,
            state: () => this.state,
            transmit: (frame) => this.#transmit(frame),
            pingOf: (identifier) => this.#pings.get(identifier),
            conflict: () => this.#conflict(),
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

  /** Its IPv6 address; `null` if it has none. */
  get ip6(): string | null {
    return this.#ipv6?.ip ?? null;
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
    const mac = isIpv6Text(ip) ? (this.#ipv6?.neighbor(ip) ?? UNKNOWN_MAC) : this.#cache.lookup(parseIpv4(ip));
    return mac === UNKNOWN_MAC ? null : macToText(mac);
  }

  /** The path MTU to an address, as far as it knows. */
  pathMtu(ip: string, now: number): number {
    const known = isIpv6Text(ip) ? this.#ipv6?.pathMtu(ip, now) : this.#pathMtus.get(parseIpv4(ip), now);
    return Math.min(this.mtu, known ?? Infinity);
  }

  /** Sends echo requests and reports the result when all are answered or the time is up. */
  ping(ip: string, options: PingOptions, now: number, onDone: (result: PingResult) => void): void {
    this.#enter(now);
    const isIpv6 = isIpv6Text(ip);
    const destination = isIpv6 ? 0 : parseIpv4(ip);
    const destination6 = isIpv6 ? formatIpv6(parseIpv6(ip)) : '';
    const identifier = (this.#echoIdentifier = (this.#echoIdentifier + 1) & 0xffff);
    const ping: Ping = new Ping(options, {
      now: () => this.#now,
      agenda: this.#agenda,
      echo: (sequence, data) => {
        if (!isIpv6) return this.#echo(destination, identifier, sequence, data, ping);
        if (this.#ipv6 === null) return { reason: 'no-route' };
        return this.#ipv6.echo(destination6, identifier, sequence, data, ping);
      },
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
    this.#ipv6?.clear();
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
    const toIpv6Group = this.#ipv6?.listensTo(destination) === true;
    if (destination !== this.mac && destination !== MAC_BROADCAST && !toIpv6Group) return this.#count('otherMac');
    const type = ethernet.getEtherType(bytes, offset);
    if (type === ethernet.TYPE_ARP) this.#receiveArp(bytes, offset + ETHERNET, end);
    else if (type === ethernet.TYPE_IPV4)
      this.#receiveIpv4(bytes, offset + ETHERNET, end, destination === MAC_BROADCAST);
    else if (type === ethernet.TYPE_IPV6 && this.#ipv6 !== null) this.#ipv6.receive(bytes, offset, end);
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
    } else if (isFailure(type)) {
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
    const failure = failureOf(message, from, this.ip);
    if (failure === null) return this.#count('malformed');
    this.counters.errorsReceived++;
    const { error, nextHopMtu, header, echo, sourcePort, destinationPort } = failure;
    if (nextHopMtu !== undefined) {
      const mtu = this.#pathMtus.learn(parseIpv4(header.destination), nextHopMtu, header.totalLength, this.#now);
      if (mtu === null) return;
      Object.assign(error, { reason: 'too-big', mtu });
    }
    if (echo !== undefined) this.#pings.get(echo.identifier)?.fail(echo.sequence, error);
    else if (sourcePort !== undefined)
      this.#udp.get(sourcePort)?.error?.(error, header.destination, destinationPort!, this.#now);
  }

  /**
   * Sends an ICMP error to the sender of the packet at `ip`. The caller has checked that the packet is unicast and not
   * an ICMP error.
   */
  #sendUnreachable(code: number, bytes: Uint8Array, ip: number, end: number): void {
    const source = ipv4.getSource(bytes, ip);
    const payload = quoteOf(bytes, ip, end);
    if (!isHost(source) || this.#isBroadcast(source)) return;
    if (this.#refuse(source, icmp.HEADER_LENGTH + payload.length) !== null) return;
    const frame = this.#packet(source, ipv4.PROTOCOL_ICMP, icmp.HEADER_LENGTH + payload.length);
    icmp.encodeInto({ type: icmp.UNREACHABLE, code, payload }, frame, BODY);
    this.counters.errorsSent++;
    this.#launch(frame, source, null);
  }
}
