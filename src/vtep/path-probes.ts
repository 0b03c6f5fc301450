/**
 * The probes of all paths: sends those that the searches want, matches the answers, and answers those of other VTEPs. What the
 * searches find out becomes the MTU of the remotes.
 *
 * Only remotes that datagrams go to are probed, and all together get a bounded number of probes in a second.
 */
import * as ethernet from '../ethernet/index.js';
import * as vxlan from '../vxlan/index.js';
import type { Context } from './context.js';
import type { Frame } from './frame.js';
import { limitPath, UNLIMITED, type RouteMtu } from './path-limits.js';
import { PathSearch, SMALLEST } from './path-search.js';
import { COUNT } from './segment.js';
import type { Random } from './options.js';
import type { Remote } from './remote.js';
import type { ProbeAnswer } from './sink.js';
import { TokenBucket } from './token-bucket.js';
import { SEALED_MORE } from './tunnel.js';

const { probe } = vxlan;

/** Most probes sent in a second, to all remotes together. */
export const PROBES_PER_SECOND = 128;
/** Most probes of others that are answered in a second: of all senders together, and of one. */
export const ANSWERS_PER_SECOND = 1024;
const ANSWERS_TO_ONE = 64;
/** Most answers to unknown probes that are passed on in a second: another thread may have sent the probes. */
const PASSED_ON = 256;
/** Milliseconds for which an answer counts. */
const LIFE = 5000;
/** Milliseconds without traffic after which the search of a path is forgotten. */
const IDLE = 900_000;
/** Milliseconds after which the route to a remote is looked up again, and most look-ups in a second. */
const ROUTE_AGE = 20_000;
const LOOKS = 8;
/** First port that RFC 7348 recommends for sources, and how many there are. */
const FIRST_PORT = 49_152;
const PORTS = 16_384;

/** Length of the headers of IP and UDP. */
const OUTER = { 4: 28, 6: 48 } as const;

interface Path {
  readonly remote: Remote;
  readonly search: PathSearch;
  used: number;
  /** When the route was looked up; `-Infinity` if something says that it has changed. */
  looked: number;
}

interface Outstanding {
  readonly path: Path;
  readonly size: number;
  readonly time: number;
}

export class PathProbes {
  readonly #context: Context;
  readonly #random: Random | null;
  readonly #most: number;
  readonly #paths = new Map<Remote, Path>();
  /** By token, in the order in which they were sent. */
  readonly #outstanding = new Map<string, Outstanding>();
  readonly #answers = new TokenBucket(ANSWERS_PER_SECOND);
  readonly #passed = new TokenBucket(PASSED_ON);
  /** Probes answered since the last tick, by sender. */
  readonly #answeredTo = new Map<string, number>();
  /** Where the next tick begins, so that every path has its turn. */
  #turn = 0;
  /** Remotes whose MTU has become smaller. */
  #narrowed: Remote[] = [];
  readonly #token = new Uint8Array(probe.TOKEN_LENGTH);

  /**
   * @param random Makes the tokens; `null`: probes are answered only.
   * @param most Most probes to send in a second.
   */
  constructor(context: Context, random: Random | null, most: number) {
    this.#context = context;
    this.#random = random;
    this.#most = most;
  }

  /** Sends the probes that are due. Call it about once a second. */
  tick(): void {
    const { sink, now, remotes } = this.#context;
    this.#answeredTo.clear();
    this.#expire(now);
    if (this.#random === null || sink.probe === undefined || sink.largestTo === undefined) return;
    for (const remote of remotes.all()) {
      if (sink.largestTo(remote) === 0) continue;
      const path = this.#paths.get(remote);
      if (path === undefined) this.#paths.set(remote, newPath(remote, now));
      else path.used = now;
    }
    if (this.#paths.size === 0) return;
    const mtu = this.#largestMtu();
    const paths = [...this.#paths.values()];
    let left = this.#most;
    let turn = this.#turn % paths.length;
    for (let i = 0; i < paths.length && left > 0; i++, turn = (turn + 1) % paths.length)
      left -= this.#step(paths[turn]!, mtu);
    this.#turn = turn;
  }

  /**
   * Takes a datagram without flag I, if it is a probe or an answer.
   * @returns false if it is neither.
   */
  receive(source: Remote | string, { bytes, start, end }: Frame): boolean {
    if (probe.check(bytes, start, end) < 0) return false;
    const { trace } = this.#context;
    const address = typeof source === 'string' ? source : source.address;
    const isProbe = probe.getType(bytes, start) === probe.TYPE_PROBE;
    if (trace !== null) {
      const what = isProbe
        ? 'a probe of the path MTU, which this VTEP answers'
        : 'an answer to a probe of the path MTU';
      this.#context.addStep('vxlan', `${what}, from ${address}`);
    } else if (isProbe) this.#answer(address, bytes, start, end);
    else {
      const size = probe.getSize(bytes, start);
      const answer = { address, size, high: probe.getTokenHigh(bytes, start), low: probe.getTokenLow(bytes, start) };
      if (!this.adopt(answer)) this.#passOn(answer);
    }
    return true;
  }

  /** Takes an answer, maybe one that another machine has received. @returns whether a probe of this machine awaits it. */
  adopt({ address, size, high, low }: ProbeAnswer, now = this.#context.now): boolean {
    const key = keyOf(high, low);
    const sent = this.#outstanding.get(key);
    if (sent === undefined || sent.path.remote.address !== address || sent.size !== size) return false;
    this.#outstanding.delete(key);
    this.#count('path-probes-answered');
    sent.path.search.answered(size, now);
    this.#apply(sent.path, now);
    return true;
  }

  /**
   * A router has refused a probe, and quotes it.
   * @param mtu What the error says that the path carries, in bytes of the outer packet; 0 for nothing.
   * @returns false if this machine has sent no such probe to the remote.
   */
  refused(remote: Remote, bytes: Uint8Array, offset: number, end: number, mtu: number, now: number): boolean {
    if (probe.check(bytes, offset, end) < 0) return false;
    const sent = this.#outstanding.get(keyOf(probe.getTokenHigh(bytes, offset), probe.getTokenLow(bytes, offset)));
    if (sent === undefined || sent.path.remote !== remote) return false;
    sent.path.search.refused(sent.size, mtu, now);
    this.#apply(sent.path, now);
    return true;
  }

  /** Something says that the path to a remote has changed. */
  doubt(remote: Remote, now: number): void {
    this.#paths.get(remote)?.search.doubt(now);
  }

  /** The search of the path to a remote, if there is one. */
  searchOf(remote: Remote): PathSearch | undefined {
    return this.#paths.get(remote)?.search;
  }

  /** Addresses of remotes that datagrams go to, whose routes are to be looked up. The caller passes the result to `routes`. */
  takeRoutesToLook(): string[] {
    const { now } = this.#context;
    const addresses: string[] = [];
    for (const path of this.#paths.values()) {
      if (path.used !== now || now - path.looked < ROUTE_AGE) continue;
      path.looked = now;
      this.#paths.delete(path.remote); // the end of the map, so that every route has its turn
      this.#paths.set(path.remote, path);
      if (addresses.push(path.remote.address) >= LOOKS) break;
    }
    return addresses;
  }

  /** The routes to remotes have these MTUs, each the smaller one of the route and its device. */
  routes(mtus: readonly RouteMtu[], now: number): void {
    const largest = this.#largestMtu();
    for (const { address, mtu } of mtus) {
      const remote = this.#context.remotes.find(address);
      if (remote === undefined) continue;
      const before = remote.outerMtu;
      limitPath(remote, 'route', mtu < largest + remote.overhead ? mtu : UNLIMITED, now);
      if (remote.outerMtu < before) this.#narrowed.push(remote);
    }
  }

  /**
   * This host has refused a datagram to a remote because of its size: looks the route up with the next tick.
   * @param size That of a probe; 0 for another datagram.
   */
  routeChanged(remote: Remote, size = 0): void {
    const path = this.#paths.get(remote);
    if (path === undefined) return;
    path.looked = -Infinity;
    path.search.blocked(size);
  }

  /** The remotes whose MTU probes have made smaller since the last call. */
  takeNarrowed(): Remote[] {
    const narrowed = this.#narrowed;
    this.#narrowed = [];
    return narrowed;
  }

  /** @returns how many probes it sent. */
  #step(path: Path, mtu: number): number {
    const { remote, search } = path;
    const { now, sink, remotes } = this.#context;
    if (remotes.find(remote.address) !== remote || now - path.used >= IDLE) {
      this.#paths.delete(remote);
      limitPath(remote, 'probe', UNLIMITED, now);
      return 0;
    }
    const isActive = path.used === now;
    const version = versionOf(remote.address);
    const large = isActive && sink.largestTo!(remote) + OUTER[version] > SMALLEST[version];
    const max = Math.min(mtu + remote.overhead, remote.limits.route.mtu);
    const sizes = search.step(now, max, isActive, large);
    this.#apply(path);
    for (const size of sizes) this.#send(path, size, OUTER[version]);
    return sizes.length;
  }

  #send(path: Path, size: number, outer: number): void {
    const { remote, search } = path;
    const { now, sink } = this.#context;
    const token = this.#token;
    this.#random!(token);
    const padding = size - outer - probe.LENGTH;
    const bytes = probe.encode({ type: probe.TYPE_PROBE, size, token, padding });
    const low = probe.getTokenLow(bytes, 0);
    this.#outstanding.set(keyOf(probe.getTokenHigh(bytes, 0), low), { path, size, time: now });
    this.#count('path-probes-sent');
    if (sink.probe!(remote, bytes, FIRST_PORT + (low % PORTS))) return;
    path.looked = -Infinity;
    search.blocked(size);
  }

  /** What the search has found out holds for the remote from now on. */
  #apply({ remote, search }: Path, now = this.#context.now): void {
    const before = remote.outerMtu;
    if (remote.limits.probe.mtu === search.limit) return;
    limitPath(remote, 'probe', search.limit, now);
    if (remote.outerMtu < before) this.#narrowed.push(remote);
  }

  /** Answers a probe, at a limited rate; it is never shorter than the answer. */
  #answer(address: string, bytes: Uint8Array, start: number, end: number): void {
    const { local, members, now, peersOnly, port, remotes, sink } = this.#context;
    if (sink.probe === undefined || address === local) return;
    if (peersOnly && !remotes.isNamed(address) && !members.has(address)) return;
    const remote = remotes.find(address);
    if (remote !== undefined) this.#paths.get(remote)?.search.heard(now);
    const count = this.#answeredTo.get(address) ?? 0;
    if (count >= ANSWERS_TO_ONE || !this.#answers.has(now)) return;
    this.#answers.take();
    this.#answeredTo.set(address, count + 1);
    const token = probe.getToken(bytes, start);
    const size = end - start + OUTER[versionOf(address)];
    const answer = probe.encode({ type: probe.TYPE_ANSWER, size, token, padding: 0 });
    this.#count('path-probes-replied');
    sink.probe(remote ?? { address, port }, answer, FIRST_PORT + (probe.getTokenLow(answer, 0) % PORTS));
  }

  #passOn(answer: ProbeAnswer): void {
    const { now, sink } = this.#context;
    if (sink.probeAnswered === undefined || !this.#passed.has(now)) return;
    this.#passed.take();
    sink.probeAnswered(answer);
  }

  #expire(now: number): void {
    for (const [key, { time }] of this.#outstanding) {
      if (now - time < LIFE) return;
      this.#outstanding.delete(key);
      this.#count('path-probes-lost');
    }
  }

  /** The largest inner packet of a segment, with a VLAN tag where the segment carries them. */
  #largestMtu(): number {
    let largest = 0;
    for (const { mtu, tagged, group } of this.#context.segments.values()) {
      const length = mtu + (tagged ? ethernet.vlan.HEADER_LENGTH : 0) + (group === null ? 0 : SEALED_MORE);
      if (length > largest) largest = length;
    }
    return largest;
  }

  #count(name: 'path-probes-sent' | 'path-probes-answered' | 'path-probes-lost' | 'path-probes-replied'): void {
    this.#context.counters[COUNT[name]]! += 1;
  }
}

function newPath(remote: Remote, now: number): Path {
  return { remote, search: new PathSearch(remote.address.includes(':'), remote.overhead), used: now, looked: now };
}

function versionOf(address: string): 4 | 6 {
  return address.includes(':') ? 6 : 4;
}

function keyOf(high: number, low: number): string {
  return `${high} ${low}`;
}
