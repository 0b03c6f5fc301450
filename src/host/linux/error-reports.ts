/** What the ICMP errors that the kernel reports mean for remotes: a narrower path, or datagrams that were not delivered. */
import { NOT_OURS, UNKNOWN_LENGTH, type Remote, type Vtep } from '../../vtep/index.js';
import { type Troubles } from '../troubles.js';
import { type Arena } from './arena.js';
import { countError } from './counts.js';
import { type ErrorEvents, type Quote } from './error-queue.js';
import { EMSGSIZE, errorName } from './libc.js';
import { type Claim, type PathMtus } from './path-mtu.js';

interface Parts {
  arena: Arena;
  vtep: Vtep;
  mtus: PathMtus;
  troubles: Troubles;
  counts: Float64Array;
  /** The length of the largest datagram sent to a remote lately, from its VXLAN header on. */
  largest(remote: Remote): number;
  now(): number;
  /** Tells the other workers of a claim about the path to an address; absent if there are none. */
  tell?(address: string, claim: Claim): void;
}

export class ErrorReports implements ErrorEvents {
  readonly #parts: Parts;

  constructor(parts: Parts) {
    this.#parts = parts;
  }

  tooBig(quote: Quote, mtu: number, here: boolean): void {
    const { counts, mtus, troubles, now, tell } = this.#parts;
    if (!here) countError(counts, 'receiveErrors', EMSGSIZE); // a router dropped it
    const remote = this.#destinationOf(quote);
    if (remote === undefined) return;
    const claim = { mtu, quoted: here ? UNKNOWN_LENGTH : this.#lengthOf(remote, quote), here };
    if (!mtus.isPlausible(claim)) return;
    const isTrue = mtus.take(remote, claim, now());
    // The sender counts what this host refuses.
    if (isTrue && !here) troubles.failed(remote, errorName(EMSGSIZE), 1, now());
    // All workers send from the same sockets, so the datagram may be another one's.
    if (tell !== undefined && mtus.mayTell(remote, claim)) tell(quote.address, claim);
  }

  /** Another worker has received an error about the path to an address. */
  narrow(address: string, claim: Claim): void {
    const { vtep, mtus, now } = this.#parts;
    const remote = vtep.remote(address);
    if (remote !== undefined) mtus.take(remote, claim, now());
  }

  refused(quote: Quote, errno: number): void {
    const { counts, troubles, largest, now, tell } = this.#parts;
    countError(counts, 'receiveErrors', errno);
    const remote = this.#destinationOf(quote);
    if (remote === undefined) return;
    const length = this.#lengthOf(remote, quote);
    const isAlone = tell === undefined;
    if (length === NOT_OURS || (length === UNKNOWN_LENGTH && isAlone && largest(remote) === 0)) return;
    troubles.failed(remote, errorName(errno), 1, now());
  }

  /** The remote that a quoted datagram was for; `undefined` if there is none with this address and port. */
  #destinationOf({ address, port }: Quote): Remote | undefined {
    const remote = this.#parts.vtep.remote(address);
    return remote?.port === port ? remote : undefined;
  }

  #lengthOf(remote: Remote, { offset, end }: Quote): number {
    const { arena, vtep, now } = this.#parts;
    return vtep.lengthOfQuote(remote, arena.bytes, offset, end, now());
  }
}
