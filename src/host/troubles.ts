/** Tracks remotes that datagrams do not reach, as an engine detects them; reports once a second at most. */
import { type Finding, type Remote } from '../vtep/index.js';

/** A report of an engine about the underlay or the traffic. */
export type EngineReport =
  /**
   * `count` datagrams to `address` failed since the last report, the last one with the system's `code`. `known`: this
   * VTEP has received datagrams from that address since it started.
   */
  | { type: 'failed'; address: string; code: string; count: number; known: boolean }
  /** A datagram came from an address that had failed before. */
  | { type: 'received'; address: string }
  /** The path to `address` carries inner IP packets of `mtu` bytes at most, less than before. */
  | { type: 'narrowed'; address: string; mtu: number }
  | { type: 'noticed'; finding: Finding };

/** Milliseconds without a failure after which a remote counts as healthy again. */
export const QUIET = 60_000;
/** Most remotes tracked at a time; failures of others are counted but not reported. */
const MOST = 1024;

interface Trouble {
  count: number;
  code: string;
  last: number;
}

/** Codes that do not show whether the remote can be reached. */
const LOCAL_QUEUE = ['EAGAIN', 'ENOBUFS', 'ENOMEM', 'EMSGSIZE', 'QUEUE'];

export class Troubles {
  readonly #remotes = new Map<Remote, Trouble>();
  readonly #known = new WeakSet<Remote>();
  readonly #hasReceived: (remote: Remote) => boolean;

  /** @param hasReceived Whether a datagram has ever come from a remote before. */
  constructor(hasReceived: (remote: Remote) => boolean) {
    this.#hasReceived = hasReceived;
  }

  get any(): boolean {
    return this.#remotes.size > 0;
  }

  /** Call when datagrams to a remote were not sent, or were reported as undelivered. */
  failed(remote: Remote, code: string, count: number, now: number): void {
    remote.undelivered += count;
    remote.reason = code;
    if (LOCAL_QUEUE.includes(code)) return;
    let trouble = this.#remotes.get(remote);
    if (trouble === undefined) {
      if (this.#remotes.size >= MOST) return;
      trouble = { count: 0, code, last: now };
      this.#remotes.set(remote, trouble);
      if (this.#hasReceived(remote)) this.#known.add(remote);
    }
    trouble.count += count;
    trouble.code = code;
    trouble.last = now;
  }

  /**
   * Reports what happened since the last call. Call it about once a second.
   * @param takeReceived Whether a datagram came from the remote since the last call.
   */
  tick(now: number, takeReceived: (remote: Remote) => boolean, report: (report: EngineReport) => void): void {
    for (const [remote, trouble] of this.#remotes) {
      const { address } = remote;
      const { count, code, last } = trouble;
      const received = takeReceived(remote);
      const known = this.#known.has(remote);
      if (received) this.#known.add(remote);
      if (count > 0 && (known || !received)) {
        report({ type: 'failed', address, code, count, known });
        trouble.count = 0;
      } else if (received || now - last > QUIET) {
        if (received) report({ type: 'received', address });
        this.#remotes.delete(remote);
      }
    }
  }
}
