/** The part of a worker that moves encrypted datagrams. It exists as soon as a segment is encrypted. */
import { type Aead, type Outbound } from '../../esp/index.js';
import { type AssociationChange } from '../../keying/index.js';
import { type Coalescer, Segmenter } from '../../offload/index.js';
import { type Explanation, type Frame, type Remote, type Vtep, type VtepSink } from '../../vtep/index.js';
import { MAX_PACKET } from '../../schema/index.js';
import { associate } from '../esp/associate.js';
import { KeyingQueue } from '../esp/keying-events.js';
import { type EspForm, type Recorder } from '../recorder.js';
import { type Sums } from '../simd.js';
import * as abi from './abi.js';
import { type Senders } from './address.js';
import { type Arena } from './arena.js';
import { type Libc } from './libc.js';
import { ProbeSender } from './probe-sender.js';
import { Receiver } from './receiver.js';
import { SealedReceiver } from './sealed-receiver.js';
import { SealedSender } from './sealed-sender.js';
import { MAX_SEGMENTS, Sender, type SenderEvents } from './sender.js';

/** Length of the non-ESP marker (RFC 3948, section 2.2). */
const MARKER = 4;

export interface EspPathParts {
  libc: Libc;
  arena: Arena;
  aead: Aead;
  sums: Sums;
  vtep: Vtep;
  counts: Float64Array;
  senders: Senders;
  recorder: Recorder;
  /** The sockets of clear text, by which ESP leaves too, and their ports. */
  fds: readonly number[];
  sourcePorts: readonly number[];
  /** The socket of the port of ESP, and the receiver of clear text, whose buffers serve both. */
  fd: number;
  clear: Receiver;
  /** That of clear text: it holds nothing between two calls of a receiver. */
  coalescer: Coalescer;
  local: { address: string; port: number };
  /** The number of this worker, and of all. */
  worker: number;
  workers: number;
  joins: boolean;
  /** Where the machine sends. */
  sink: VtepSink;
  events: SenderEvents;
  received(remote: Remote): void;
}

export class EspPath {
  readonly events = new KeyingQueue();
  readonly sender: SealedSender;
  readonly fd: number;
  readonly #parts: EspPathParts;
  readonly #plain: Sender;
  readonly #receiver: Receiver;
  readonly #opener: SealedReceiver;
  readonly #v6: boolean;
  /** Sends messages about keys. */
  readonly #messages: ProbeSender;
  /** Room for a packet to explain. */
  readonly #content: number;

  constructor(parts: EspPathParts) {
    const { libc, arena, sums, vtep, counts, senders, recorder, fds, sourcePorts, fd, clear, local, sink } = parts;
    this.#parts = parts;
    this.fd = fd;
    this.#v6 = local.address.includes(':');
    this.#plain = new Sender(libc, arena, fds, this.#v6, counts, parts.events, parts.joins, local.port);
    const portOf = (sourcePort: number): number => sourcePorts[sourcePort % sourcePorts.length]!;
    this.sender = new SealedSender({
      arena,
      sender: this.#plain,
      sourcePorts,
      segmenter: new Segmenter(arena.bytes, sums.sum, MAX_SEGMENTS),
      cut: sums.cut,
      recorder,
      record: ({ address }, sourcePort, offset, end) => {
        if (!recorder.records('sealed')) return;
        const from = { address: local.address, port: portOf(sourcePort) };
        recorder.datagram('out', from, { address, port: local.port }, arena.bytes, offset, end, 'sealed');
      },
    });
    this.#receiver = new Receiver(libc, arena, fd, counts, clear);
    const record = (what: EspForm, from: Remote | string, source: number, at: number, end: number): void => {
      if (!recorder.records(what)) return;
      const address = typeof from === 'string' ? from : from.address;
      const port = arena.view.getUint16(source + abi.SOCKADDR.port);
      const here = what === 'sealed' ? local : { address: local.address, port: vtep.port };
      recorder.datagram('in', { address, port }, here, arena.bytes, at, end, what);
    };
    this.#opener = new SealedReceiver({
      arena,
      vtep,
      v6: this.#v6,
      counts,
      senders,
      coalescer: parts.coalescer,
      sink,
      several: parts.workers > 1,
      events: this.events,
      ...{ recorder, record },
      received: (remote) => parts.received(remote),
    });
    this.#messages = new ProbeSender(libc, arena, [fd], this.#v6, counts, (one) => parts.events.errors(one));
    this.#content = arena.take(MAX_PACKET);
  }

  /** The length of the largest packet to a remote lately. */
  largestTo(remote: Remote): number {
    return this.#plain.largestTo(remote);
  }

  age(): void {
    this.#plain.age();
  }

  /** Receives once. @returns whether there may be more. */
  receive(now: number): boolean {
    this.#opener.begin(now);
    const more = this.#receiver.receive(this.#opener);
    this.#opener.finish();
    return more;
  }

  lookForLosses(): void {
    this.#receiver.lookForLosses();
  }

  // ---- From the control thread ----

  /** Changes the associations. What they carried before is sent first. */
  associate(changes: readonly AssociationChange[], now: number): void {
    this.sender.flush();
    const { vtep, aead, worker, sink } = this.#parts;
    const confirm = (remote: Remote, outbound: Outbound): void => this.sender.confirm(remote, outbound);
    associate({ vtep, aead, worker, sink, confirm }, changes, now);
    this.sender.flush();
  }

  /** Explains a datagram from the port of ESP. */
  explain(datagram: Uint8Array, from: string, now: number): Explanation {
    const { arena, vtep } = this.#parts;
    arena.bytes.set(datagram, this.#content);
    return vtep.associations.explain(arena.bytes, this.#content, this.#content + datagram.length, from, now);
  }

  /** Sends a message about keys. One that the socket does not take is lost, and its sender repeats it. */
  send(address: string, message: Uint8Array): void {
    const marked = new Uint8Array(MARKER + message.length);
    marked.set(message, MARKER);
    this.#messages.send({ address, port: this.#parts.local.port }, marked, 0);
  }

  /** Sends a datagram of the machine in an ESP packet. @returns how many packets it becomes. */
  transmit(remote: Remote, association: Outbound, frame: Frame, sourcePort: number, tos: number): number {
    const { recorder, arena, local, sourcePorts } = this.#parts;
    if (recorder.records('opened')) {
      const from = { address: local.address, port: sourcePorts[sourcePort % sourcePorts.length]! };
      recorder.datagram('out', from, remote, frame.bytes, frame.start, frame.end, 'opened');
    }
    const { superFrame } = frame;
    if (superFrame !== null && frame.bytes === arena.bytes)
      return this.sender.transmitSuper(remote, association, frame, superFrame, sourcePort, tos);
    this.sender.transmit(remote, association, frame, sourcePort, tos);
    // A frame of the machine's own may be the last one for a long time, in which the association may go.
    if (frame.bytes !== arena.bytes) this.sender.flush();
    return 1;
  }
}
