/**
 * The path MTUs to the remotes, as ICMP errors report them. Anyone can send such an error: what it quotes must be a
 * datagram that was sent, and what it claims is believed for a short time only.
 */
import {
  limitPath,
  NOT_OURS,
  OVER_IPV4,
  UNKNOWN_LENGTH,
  UNLIMITED,
  type MtuSource,
  type Remote,
} from '../../vtep/index.js';

/** The smallest MTU that a router's error sets: `net.ipv4.route.min_pmtu` of Linux, and the minimum of IPv6 links. */
const MIN_PATH_MTU = { 4: 552, 6: 1280 } as const;
/**
 * The smallest MTU over IPv4 that an error sets which quotes no more than the UDP header, as some routers' do. Its sender
 * need not know more than addresses and a port, so it must leave room for the smallest MTU of inner IPv6.
 */
const MIN_UNQUOTED_MTU = MIN_PATH_MTU[6] + OVER_IPV4.overhead;
/** The smallest MTU that this host's own devices set: the minimum for IPv4 links (RFC 791). */
const MIN_DEVICE_MTU = 68;
/**
 * Milliseconds for which an error counts. Then a packet of full size probes the path: a router answers it with another
 * error. Errors do not extend this time while no such packet has been sent.
 */
const LIFE = 60_000;
/** Milliseconds after which an MTU is reported again that was reported before. */
const MEMORY = 600_000;

/** Claims about one remote that are passed on to the other workers in a second. */
const TOLD = 4;

/** What an ICMP error says about the path to a remote. */
export interface Claim {
  /** The largest packet that the path carries, in bytes. */
  mtu: number;
  /** `Vtep.lengthOfQuote` of the quoted datagram. */
  quoted: number;
  /** Whether this host's kernel reports it, because its device is too narrow. */
  here: boolean;
}

interface Entry {
  /** The last MTU that was reported. */
  mtu: number;
  /** When it was claimed last. */
  time: number;
  /** Whether this host or a router has reported it. */
  source: MtuSource;
}

export class PathMtus {
  readonly #version: 4 | 6;
  readonly #largest: (remote: Remote) => number;
  readonly #narrowed: (remote: Remote) => void;
  readonly #entries = new Map<Remote, Entry>();
  /** Number of claims passed on since the last `expire`: without a quote, and the others. */
  readonly #told = new Map<Remote, number>();
  readonly #toldTrusted = new Map<Remote, number>();

  /**
   * @param largest The length of the largest datagram sent to a remote lately, from its VXLAN header on.
   * @param narrowed Called when the MTU to a remote has become smaller.
   */
  constructor(v6: boolean, largest: (remote: Remote) => number, narrowed: (remote: Remote) => void) {
    this.#version = v6 ? 6 : 4;
    this.#largest = largest;
    this.#narrowed = narrowed;
  }

  /** Whether an error may be true, as far as that does not depend on what was sent lately. */
  isPlausible({ mtu, quoted, here }: Claim): boolean {
    if (here) return mtu > 0;
    if (quoted === NOT_OURS || mtu === 0) return false; // routers older than RFC 1191 send 0
    if (quoted !== UNKNOWN_LENGTH && this.#packet(quoted) <= mtu) return false;
    // RFC 8201, section 4: smaller ones are discarded. ICMPv6 quotes as much as fits.
    if (this.#version === 6) return mtu >= MIN_PATH_MTU[6] && quoted !== UNKNOWN_LENGTH;
    return quoted !== UNKNOWN_LENGTH || mtu >= MIN_UNQUOTED_MTU;
  }

  /**
   * Reduces the MTU to a remote, if the claim is plausible and a larger datagram was sent lately.
   * @returns whether that is so; the MTU may have been as small before.
   */
  take(remote: Remote, claim: Claim, now: number): boolean {
    if (!this.isPlausible(claim)) return false;
    const { quoted, here } = claim;
    const mtu = Math.max(here ? MIN_DEVICE_MTU : MIN_PATH_MTU[this.#version], claim.mtu);
    const largest = this.#largest(remote);
    if (this.#packet(largest) <= mtu || quoted > largest) return false;
    if (mtu >= remote.outerMtu) return true;
    const source = here ? 'route' : 'icmp';
    const before = this.#entries.get(remote);
    if (before !== undefined && before.source !== source) limitPath(remote, before.source, UNLIMITED, now);
    limitPath(remote, source, mtu, now);
    if (before === undefined || mtu < before.mtu) this.#narrowed(remote);
    this.#entries.set(remote, { mtu, time: now, source });
    return true;
  }

  /**
   * Whether to pass a claim on to the other workers: a few for each remote between two calls of `expire`, because
   * anyone can send errors. Those that quote a datagram are counted apart from the rest.
   */
  mayTell(remote: Remote, { quoted, here }: Claim): boolean {
    const told = here || quoted > 0 ? this.#toldTrusted : this.#told;
    const count = told.get(remote) ?? 0;
    told.set(remote, count + 1);
    return count < TOLD;
  }

  /** Ends the claims that are too old. Call it about once a second. */
  expire(now: number): void {
    this.#told.clear();
    this.#toldTrusted.clear();
    for (const [remote, { time, source }] of this.#entries) {
      if (now - time >= LIFE) limitPath(remote, source, UNLIMITED, now);
      if (now - time >= MEMORY) this.#entries.delete(remote);
    }
  }

  /** The length of the IP packet that a datagram leaves in. */
  #packet(datagram: number): number {
    return datagram + UDP + IP[this.#version];
  }
}

const UDP = 8;
const IP = { 4: 20, 6: 40 } as const;
