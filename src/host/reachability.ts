/** Logs which remotes do not receive datagrams, from an engine's reports: one line per change. */
import { QUIET } from './troubles.js';
import { type Logger } from './log.js';
import { sendLoss } from './losses.js';

/** Milliseconds that datagrams must fail before a line is logged: a VTEP that merely restarts is not reported. */
const PATIENCE = 2000;
/** The same for a remote that has sent nothing yet: if hosts start together, it may not have started. */
const FIRST_PATIENCE = 30_000;
/** Most remotes to track; failures of others are counted by the engine and not logged. */
const MOST = 4096;

interface Peer {
  since: number;
  last: number;
  lost: number;
  code: string;
  reported: boolean;
  /** Whether a look-up found no route. */
  lacksRoute: boolean;
}

export class Reachability {
  readonly #log: Logger;
  readonly #peers = new Map<string, Peer>();
  /** While this host itself is cut off from the underlay, only that is logged, and not every remote. */
  #muted = false;

  constructor(log: Logger) {
    this.#log = log;
  }

  /** Whether datagrams to any remote failed recently. */
  get any(): boolean {
    return this.#peers.size > 0;
  }

  /** Addresses that are logged as unreachable because there is no route. */
  withoutRoute(): string[] {
    return [...this.#peers]
      .filter(([, { reported, code }]) => reported && sendLoss(code) === 'no-route')
      .map(([address]) => address);
  }

  failed(address: string, code: string, count: number, known: boolean, now: number): void {
    let peer = this.#peers.get(address);
    if (peer === undefined) {
      if (this.#peers.size >= MOST) return;
      peer = { since: now, last: now, lost: 0, code, reported: false, lacksRoute: false };
      this.#peers.set(address, peer);
    }
    peer.last = now;
    peer.lost += count;
    peer.code = code;
    const patience = known || sendLoss(code) !== 'send-failed' ? PATIENCE : FIRST_PATIENCE;
    if (this.#muted || peer.reported || now - peer.since < patience) return;
    peer.reported = true;
    this.#log.warning(
      'peer-unreachable',
      `VTEP ${address} is unreachable: ${WHY[code] ?? 'datagrams to it fail'} (${code}); ${lostText(peer.lost)}`,
      { address, code, lost: peer.lost },
    );
  }

  /** A datagram arrived from `address`. */
  back(address: string, now: number): void {
    this.#end(address, now, 'is reachable again');
  }

  /**
   * Whether a look-up found a route to `address`. One that was there all the time says nothing: a host that does not
   * answer, or a router without a route, is the reason then.
   */
  route(address: string, isThere: boolean, now: number): void {
    const peer = this.#peers.get(address);
    if (peer === undefined) return;
    if (isThere && peer.lacksRoute) this.#end(address, now, 'has a route again');
    peer.lacksRoute = !isThere;
  }

  /** Forgets remotes without recent failures. Call it about once a second. */
  tick(now: number): void {
    for (const [address, { last }] of this.#peers)
      if (now - last > QUIET)
        this.#end(address, last, `is not failing any more: no datagram to it was lost for ${QUIET / 1000} s`);
  }

  /** Whether this host is cut off from the underlay. */
  set muted(muted: boolean) {
    if (this.#muted && !muted)
      for (const [address, { reported }] of this.#peers) if (!reported) this.#peers.delete(address);
    this.#muted = muted;
  }

  #end(address: string, until: number, text: string): void {
    const peer = this.#peers.get(address);
    if (peer === undefined) return;
    this.#peers.delete(address);
    if (!peer.reported) return;
    const seconds = Math.round((until - peer.since) / 1000);
    this.#log.info(
      'peer-reachable',
      `VTEP ${address} ${text}; it was unreachable for ${seconds} s, and ${lostText(peer.lost)}`,
      {
        address,
        seconds,
        lost: peer.lost,
      },
    );
  }
}

function lostText(count: number): string {
  return count === 1 ? '1 datagram to it was lost' : `${count} datagrams to it were lost`;
}

const WHY: Readonly<Record<string, string>> = {
  ENETUNREACH: 'this host has no route to it',
  EHOSTUNREACH: 'no host answers there, or a router has no route to it',
  ENETDOWN: 'the network device is down',
  EINVAL: 'this host has lost the address of the VTEP',
  EADDRNOTAVAIL: 'this host has lost the address of the VTEP',
  EPERM: 'a firewall of this host refuses it',
  EACCES: 'a firewall or policy refuses it',
  ECONNREFUSED: 'no VTEP listens there',
};
