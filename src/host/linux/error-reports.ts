/** What the ICMP errors that the kernel reports mean for remotes: a narrower path, or datagrams that were not delivered. */
import * as esp from '../../esp/index.js';
import { NOT_OURS, UNKNOWN_LENGTH, type Remote, type Vtep } from '../../vtep/index.js';
import { probe } from '../../vxlan/index.js';
import { type Troubles } from '../troubles.js';
import { type Arena } from './arena.js';
import { countError } from './counts.js';
import { type ErrorEvents, type Quote } from './error-queue.js';
import { EMSGSIZE, errorName } from './libc.js';
import { type Claim, type PathMtus } from './path-mtu.js';

export interface ErrorParts {
  arena: Arena;
  vtep: Vtep;
  mtus: PathMtus;
  troubles: Troubles;
  counts: Float64Array;
  /** The port of ESP. */
  espPort: number;
  /** The length of the largest datagram sent to a remote lately, from its VXLAN header on. */
  largest(remote: Remote): number;
  now(): number;
  /** Tells the other workers of a claim about the path to an address; absent if there are none. */
  tell?(address: string, claim: Claim): void;
  /** Tells them of an error about a probe of a path MTU that this worker has not sent; absent if there are none. */
  tellRefused?(address: string, quote: Uint8Array, mtu: number): void;
}

/** Most errors about probes that are passed on to the other workers in a second. */
const MOST_PASSED_ON = 64;

export class ErrorReports implements ErrorEvents {
  readonly #parts: ErrorParts;
  /** The second in which errors about probes were passed on, and how many. */
  #second = 0;
  #passedOn = 0;

  constructor(parts: ErrorParts) {
    this.#parts = parts;
  }

  tooBig(quote: Quote, mtu: number, here: boolean): void {
    const { counts, mtus, troubles, now, tell } = this.#parts;
    if (!here && this.#isProbe(quote)) return this.#probeRefused(quote, mtu);
    if (!here) countError(counts, 'receiveErrors', EMSGSIZE); // a router dropped it
    const remote = this.#destinationOf(quote);
    if (remote === undefined) return;
    const claim = { mtu, quoted: here ? UNKNOWN_LENGTH : this.#lengthOf(remote, quote), here };
    if (!mtus.isPlausible(claim)) return;
    const isTrue = mtus.take(remote, claim, now());
    if (isTrue) this.#parts.vtep.paths.doubt(remote, now());
    if (here) this.#parts.vtep.paths.routeChanged(remote);
    // The sender counts what this host refuses.
    if (isTrue && !here) troubles.failed(remote, errorName(EMSGSIZE), 1, now());
    // All workers send from the same sockets, so the datagram may be another one's.
    if (tell !== undefined && mtus.mayTell(remote, claim)) tell(quote.address, claim);
  }

  /** Another worker has received an error about the path to an address. */
  narrow(address: string, claim: Claim): void {
    const { vtep, mtus, now } = this.#parts;
    const remote = vtep.remote(address);
    if (remote !== undefined && mtus.take(remote, claim, now())) vtep.paths.doubt(remote, now());
  }

  /** Another worker has received an error that quotes a probe to an address. */
  probeRefused(address: string, quote: Uint8Array, mtu: number): void {
    const { vtep, now } = this.#parts;
    const remote = vtep.remote(address);
    if (remote !== undefined) vtep.paths.refused(remote, quote, 0, quote.length, mtu, now());
  }

  /** Whether an error quotes a probe of a path MTU: a lost one is no lost packet. */
  #isProbe({ offset, end }: Quote): boolean {
    return probe.check(this.#parts.arena.bytes, offset, end) > 0;
  }

  #probeRefused(quote: Quote, mtu: number): void {
    const { arena, vtep, now, tellRefused } = this.#parts;
    const { address, offset, end } = quote;
    const remote = this.#destinationOf(quote);
    if (remote === undefined || vtep.paths.refused(remote, arena.bytes, offset, end, mtu, now())) return;
    if (now() - this.#second >= 1000) [this.#second, this.#passedOn] = [now(), 0];
    if (this.#passedOn++ < MOST_PASSED_ON)
      tellRefused?.(address, arena.bytes.slice(offset, offset + probe.LENGTH), mtu);
  }

  refused(quote: Quote, errno: number): void {
    const { counts, troubles, largest, now, tell } = this.#parts;
    if (this.#isProbe(quote)) return;
    countError(counts, 'receiveErrors', errno);
    const remote = this.#destinationOf(quote);
    if (remote === undefined) return;
    const length = this.#lengthOf(remote, quote);
    const isAlone = tell === undefined;
    if (length === NOT_OURS || (length === UNKNOWN_LENGTH && isAlone && largest(remote) === 0)) return;
    troubles.failed(remote, errorName(errno), 1, now());
  }

  /** The remote that a quoted datagram was for; `undefined` if there is none with this address and port. */
  #destinationOf(quote: Quote): Remote | undefined {
    const remote = this.#parts.vtep.remote(quote.address);
    if (remote === undefined || this.#isEsp(quote)) return remote;
    return remote.port === quote.port ? remote : undefined;
  }

  #isEsp({ port }: Quote): boolean {
    return port === this.#parts.espPort;
  }

  #lengthOf(remote: Remote, quote: Quote): number {
    const { arena, vtep, now, largest } = this.#parts;
    const { offset, end } = quote;
    if (this.#isEsp(quote)) {
      // Its SPI, which no stranger knows, is all that can be read. It was no longer than the largest one.
      const isOurs =
        end - offset >= esp.HEADER_LENGTH && vtep.associations.sendsBy(remote, esp.getSpi(arena.bytes, offset));
      return isOurs ? largest(remote) : NOT_OURS;
    }
    return vtep.lengthOfQuote(remote, arena.bytes, offset, end, now());
  }
}
