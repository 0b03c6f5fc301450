import { ipToText, type Ip } from '../address/index.js';
import * as ethernet from '../ethernet/index.js';
import { NONE } from '../fdb/index.js';
import { LOCAL } from '../neighbor/index.js';
import { AnnouncementQueue, frameAbout, type Announcement } from './announcement.js';
import type { Context } from './context.js';
import { NO_PLACE, portDestination } from './destination.js';
import { deliver, encapsulate } from './egress.js';
import { ownFrame } from './frame.js';
import { learn } from './learning.js';
import type { Remote } from './remote.js';
import { COUNT, type Segment } from './segment.js';
import { HEADROOM } from './tunnel.js';

/** Datagrams in one call of `send` after which the rest waits for the next one, so that a change is not a burst. */
const DATAGRAMS_PER_CALL = 1024;

/**
 * The frames that a VTEP sends although it received none: announcements of endpoints, and the recent questions of local
 * hosts, which it repeats to new peers.
 */
export class Announcer {
  readonly #context: Context;
  readonly #queue: AnnouncementQueue | null;
  /** Peers added since the last `send`. They have not received the first `asked` questions of their segment. */
  readonly #newPeers: { segment: Segment; remote: Remote; asked: number }[] = [];

  /** @param announce Whether it sends announcements. */
  constructor(context: Context, announce: boolean) {
    this.#context = context;
    this.#queue = announce ? new AnnouncementQueue(HEADROOM) : null;
  }

  /** Queues the announcement `frame` that says that `ip` is at `mac`. The other parameters are those of `Announcement`. */
  announce(segment: Segment, ip: string, mac: number, frame: Uint8Array, port: number, everywhere: boolean): void {
    if (this.#queue === null) return;
    if (!this.#queue.add(segment.vni, ip, mac, frame, port, everywhere))
      segment.count(COUNT['announcements-refused'], 1);
  }

  /**
   * The endpoints with an IP address have changed. Announces the address if its MAC address differs from `before`, or if
   * a local host just asked for it and got no answer.
   * @param before What `segment.answeredMac` was.
   */
  addressChanged(segment: Segment, ip: Ip, before: number): void {
    const binding = segment.neighbors.byIp(ip);
    if (binding === undefined) return segment.rememberWithdrawn(ip, before);
    const mac = segment.answeredMac(ip);
    segment.forgetWithdrawn(ip);
    const isAwaited = binding.location !== LOCAL && segment.proxy !== 'off' && segment.questions.asked(ip, binding.mac);
    if (!isAwaited && (before === 0 || before === mac)) return;
    // A remote endpoint is announced to other hosts by its own VTEP.
    this.announce(segment, ipToText(ip), mac, frameAbout(ip, mac), -1, binding.location === LOCAL);
  }

  /** A peer was added. The next `send` sends it the questions of the last second. */
  addPeer(segment: Segment, remote: Remote): void {
    const asked = segment.questions.kept; // later ones are flooded to it
    if (asked > 0) this.#newPeers.push({ segment, remote, asked });
  }

  /** Drops what is queued for an address, if it announces `mac`. */
  cancel(vni: number, ip: string, mac: number): void {
    this.#queue?.cancel(vni, ip, mac);
  }

  /** Drops what is queued for endpoints behind a local port. */
  cancelPort(port: number): void {
    this.#queue?.cancelPort(port);
  }

  /** Drops what is queued for a segment. */
  cancelSegment(segment: Segment): void {
    const others = this.#newPeers.filter((one) => one.segment !== segment);
    this.#newPeers.splice(0, Infinity, ...others);
    this.#queue?.cancelSegment(segment.vni);
  }

  /** Sends the recent questions to new peers, and the announcements that are due. */
  send(): void {
    if (this.#newPeers.length > 0) this.#askNewPeers();
    this.#queue?.send(this.#context.now, DATAGRAMS_PER_CALL, (announcement) => this.#sendAnnouncement(announcement));
  }

  #askNewPeers(): void {
    // A question that waits for more than a second is not sent: its host has repeated it.
    let left = DATAGRAMS_PER_CALL;
    let done = 0;
    while (done < this.#newPeers.length && left > 0) {
      const { segment, remote, asked } = this.#newPeers[done++]!;
      if (!segment.peers.has(remote)) continue;
      segment.questions.each(this.#context.now, asked, (question) => {
        segment.count(COUNT['asked-again'], 1);
        left--;
        encapsulate(this.#context, segment, question, remote);
      });
    }
    this.#newPeers.splice(0, done);
  }

  /** Returns how many frames and datagrams it became. */
  #sendAnnouncement({ vni, frame: bytes, port, everywhere }: Announcement): number {
    const segment = this.#context.segment(vni);
    const frame = ownFrame(bytes, HEADROOM, bytes.length);
    if (port >= 0) {
      frame.from = portDestination(port);
      learn(this.#context, segment, frame);
    } else frame.from = this.#placeOf(segment, bytes);
    segment.count(COUNT['announced'], 1);
    const { members } = segment;
    const peers = everywhere ? segment.peers.all() : [];
    for (const { port: to, vlan } of members)
      if (portDestination(to) !== frame.from) deliver(this.#context, segment, frame, to, vlan);
    for (const peer of peers) encapsulate(this.#context, segment, frame, peer);
    return members.length + peers.length;
  }

  /** The port that the endpoint of an announcement is behind, if it is known; it may be probing its address. */
  #placeOf(segment: Segment, frame: Uint8Array): number {
    const place = segment.fdb.lookup(frame, HEADROOM + ethernet.SOURCE_OFFSET, this.#context.now);
    const known = place === NONE ? segment.stationAt(ethernet.getSource(frame, HEADROOM)) : place;
    return known === NONE ? NO_PLACE : known;
  }
}
