/**
 * Announcements: frames that inform all neighbors of a segment that an IP address has a new MAC address. The neighbors
 * then update their ARP and neighbor caches at once, instead of when the old entries expire.
 */
import { ipToText, macToText, parseMac, type Ip } from '../address/index.js';
import * as arp from '../arp/index.js';
import * as ethernet from '../ethernet/index.js';
import * as icmpv6 from '../icmpv6/index.js';
import * as ipv6 from '../ipv6/index.js';
import { parseEndpointIp, requireUnicast } from './segment.js';

/** How often an address is announced (RFC 5227, section 1.1: ANNOUNCE_NUM). RFC 4861 allows up to 3 for IPv6. */
export const ANNOUNCE_COUNT = 2;
/** Milliseconds between two announcements of one address (RFC 5227, section 1.1: ANNOUNCE_INTERVAL). */
export const ANNOUNCE_INTERVAL = 2000;

/** Frames in the queue. An announcement that finds it full is dropped and counted. */
const QUEUE_LIMIT = 1024;
/** Announcements sent in one call, so that a large change does not become a burst of broadcasts. */
const MAX_PER_CALL = 128;

const ALL_NODES = 'ff02::1';
/** The group MAC address of {@link ALL_NODES} (RFC 2464, section 7). */
const ALL_NODES_MAC = 0x3333_0000_0001;

/** An endpoint of this host to announce. */
export interface AnnouncedEndpoint {
  /** IPv4 or IPv6 address. */
  ip: string;
  mac: string;
  /**
   * The local port that it is behind, which does not receive the announcement. Give it if known: a host that receives
   * an advertisement of an address that it is still probing takes the address for a duplicate (RFC 4862, section
   * 5.4.4).
   */
  port?: number;
}

/** The ARP announcement of RFC 5227, section 2.3: a broadcast request whose sender and target address are the same. */
export function arpAnnouncement(ip: number, mac: number): Uint8Array {
  const frame = new Uint8Array(ethernet.HEADER_LENGTH + arp.ETHERNET_IPV4_LENGTH);
  ethernet.writeHeader(frame, 0, 0xffff_ffff_ffff, mac, ethernet.TYPE_ARP);
  arp.writeEthernetIpv4(frame, ethernet.HEADER_LENGTH, arp.REQUEST, mac, ip, 0, ip);
  return frame;
}

/**
 * The unsolicited neighbor advertisement of RFC 4861, section 7.2.6, with the override flag: to all nodes, hop limit 255.
 * The router flag is clear, so do not announce a router's address by it.
 */
export function unsolicitedAdvertisement(ip: string, mac: number): Uint8Array {
  const addresses = { source: ip, destination: ALL_NODES };
  const address = icmpv6.encodeOption({ type: icmpv6.OPTION_TARGET_LINK_LAYER_ADDRESS, address: macToText(mac) });
  const message = icmpv6.encode(
    {
      type: icmpv6.NEIGHBOR_ADVERTISEMENT,
      code: 0,
      override: true,
      target: ip,
      options: [address],
      payload: new Uint8Array(0),
    },
    addresses,
  );
  const packet = ipv6.encode({
    hopLimit: icmpv6.DISCOVERY_HOP_LIMIT,
    nextHeader: ipv6.NEXT_ICMPV6,
    ...addresses,
    payload: message,
  });
  const frame = new Uint8Array(ethernet.HEADER_LENGTH + packet.length);
  ethernet.writeHeader(frame, 0, ALL_NODES_MAC, mac, ethernet.TYPE_IPV6);
  frame.set(packet, ethernet.HEADER_LENGTH);
  return frame;
}

/**
 * The frame that announces `ip`, IPv4 or IPv6 text, at `mac`.
 * @throws RangeError naming the field, for an address that cannot belong to a single host.
 */
export function announcementFrame(ip: string, mac: string): Uint8Array {
  const address = parseMac(mac);
  requireUnicast('endpoint.mac', address);
  return frameAbout(parseEndpointIp(ip), address);
}

/** The frame that announces an address at `mac`. */
export function frameAbout(ip: Ip, mac: number): Uint8Array {
  return typeof ip === 'number' ? arpAnnouncement(ip, mac) : unsolicitedAdvertisement(ipToText(ip), mac);
}

/** One address that is being announced. */
export interface Announcement {
  readonly vni: number;
  readonly mac: number;
  /** `headroom` free bytes, and the frame behind them. */
  readonly frame: Uint8Array;
  /** The local port of the endpoint, which does not receive its own announcement; -1 if unknown. */
  readonly port: number;
  /** Whether the flood list receives it too, not only the local ports. */
  readonly everywhere: boolean;
  /** Frames still to send. */
  left: number;
  /** Milliseconds at which the next one is due. */
  due: number;
}

/** The announcements that are due now or later. A new one replaces an earlier one for the same address. */
export class AnnouncementQueue {
  readonly #headroom: number;
  readonly #queue = new Map<string, Announcement>();
  /** When the next one is due, at the earliest; so that a call between does not look at all of them. */
  #due = Infinity;

  /** @param headroom Bytes to keep free in front of each frame. */
  constructor(headroom: number) {
    this.#headroom = headroom;
  }

  /** Queues `ANNOUNCE_COUNT` frames, the first due at once. Returns false if the queue is full. */
  add(vni: number, ip: string, mac: number, frame: Uint8Array, port: number, everywhere: boolean): boolean {
    const key = `${vni} ${ip}`;
    this.#queue.delete(key);
    if (this.#queue.size >= QUEUE_LIMIT) return false;
    const framed = new Uint8Array(this.#headroom + frame.length);
    framed.set(frame, this.#headroom);
    this.#queue.set(key, { vni, mac, frame: framed, port, everywhere, left: ANNOUNCE_COUNT, due: -Infinity });
    this.#due = -Infinity;
    return true;
  }

  /** Drops the queued announcement of an address, if it announces `mac`. */
  cancel(vni: number, ip: string, mac: number): void {
    const key = `${vni} ${ip}`;
    if (this.#queue.get(key)?.mac === mac) this.#queue.delete(key);
  }

  /** Drops the queued announcements of a segment. */
  cancelSegment(vni: number): void {
    for (const [key, announcement] of this.#queue) if (announcement.vni === vni) this.#queue.delete(key);
  }

  /** Drops the queued announcements of endpoints behind a local port. */
  cancelPort(port: number): void {
    for (const [key, announcement] of this.#queue) if (announcement.port === port) this.#queue.delete(key);
  }

  /**
   * Sends what is due, up to `MAX_PER_CALL`; the rest stays due.
   * @param budget Frames and datagrams after which it sends no further announcement.
   * @param emit Returns how many frames and datagrams the announcement became.
   */
  send(now: number, budget: number, emit: (announcement: Announcement) => number): void {
    if (now < this.#due) return;
    let announcements = MAX_PER_CALL;
    let left = budget;
    this.#due = Infinity;
    for (const [key, announcement] of this.#queue) {
      if (announcement.due > now) {
        this.#due = Math.min(this.#due, announcement.due);
        continue;
      }
      if (announcements-- === 0 || left <= 0) {
        this.#due = -Infinity;
        return;
      }
      announcement.left--;
      announcement.due = now + ANNOUNCE_INTERVAL;
      if (announcement.left === 0) this.#queue.delete(key);
      else this.#due = Math.min(this.#due, announcement.due);
      left -= emit(announcement);
    }
  }
}
