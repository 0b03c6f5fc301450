/**
 * The data path between TAPs and the underlay, in both directions, through the machine. The machine forwards a
 * super-frame from a TAP with one decision. The super-frame leaves as one message, which the kernel segments into
 * datagrams. In the other direction, datagrams of one flow are merged, forwarded with one decision, and written to
 * their TAP as one super-frame.
 */
import {
  Coalescer,
  coalesceScratch,
  finishChecksum,
  Segmenter,
  segmentScratch,
  type CoalescerSink,
  joinScratch,
  MAX_RUN,
  segmentsStart,
  segmentIntoScratch,
  SuperFrame,
  type Run,
} from '../../offload/index.js';
import {
  Frame,
  HEADROOM,
  makeRemote,
  type Answered,
  type GatewayDatagram,
  type Learned,
  type ProbeAnswer,
  type ProbePlace,
  type Remote,
  type Vtep,
  type VtepSink,
} from '../../vtep/index.js';
import * as virtio from '../../virtio/index.js';
import * as vxlan from '../../vxlan/index.js';
import { type Recorder } from '../recorder.js';
import * as abi from './abi.js';
import { Senders } from './address.js';
import { type Outbound } from '../../esp/index.js';
import { type Arena } from './arena.js';
import { COUNT, countError } from './counts.js';
import { type EspPath } from './esp-path.js';
import { type PathParts } from './path-parts.js';
import { EAGAIN, EBADFD, EINVAL, EIO, EMSGSIZE } from './libc.js';
import { sendFragmented } from './fragmented.js';
import { type Sums } from '../simd.js';
import { type Receiver, type ReceiverEvents } from './receiver.js';
import { MAX_BYTES, MAX_SEGMENTS, NONE, type Sender } from './sender.js';
import { LOST, MAX_FRAME, type TapQueue } from './tap-queue.js';

/** Most reads of one TAP, and most receive calls, in a turn. */
const TAP_TURN = 128;
const UDP_TURN = 8;
/** Approximate number of bytes to read from a TAP in a turn: super-frames take longer than small frames. */
const TAP_BYTES = 1 << 19;
/**
 * Frames and datagrams out after which a turn ends. One frame may become thousands, by segmentation and by replication to
 * peers, and the other TAPs must not wait for all of a turn's.
 */
const TURN_OUTPUT = 1024;
/** Length of a tag that a trunk adds. */
const VLAN_TAG = 4;
/** Buffer for small frames, in bytes. Frames stay where they were read until they are sent. */
const FRAMES = 1 << 18;
/** Frames start at multiples of this. */
const ALIGN = 64;
/** A frame of this size is sent at once, while it is in the processor cache. */
const LARGE = 16_384;
/** Most flows merged at a time. */
const FLOWS = 16;
const PREFIX = vxlan.HEADER_LENGTH;
/** Buffer size for the longest datagram that the machine builds itself: a packet that waited in the router. */
const OWN_DATAGRAM = MAX_FRAME + PREFIX;

/** Placeholder for a remote that has sent nothing. */
const NO_REMOTE: Remote = makeRemote(-1, '', 0);

export class DataPath implements VtepSink, ReceiverEvents, CoalescerSink {
  readonly #parts: PathParts;
  readonly #arena: Arena;
  readonly #bytes: Uint8Array;
  readonly #vtep: Vtep;
  readonly #counts: Float64Array;
  readonly #taps: (TapQueue | null)[];
  readonly #sender: Sender;
  readonly #receiver: Receiver;
  readonly #recorder: Recorder;
  readonly #senders: Senders;
  readonly #sums: Sums;
  readonly #segmenter: Segmenter;
  /** Scratch space for segments sent to the underlay, and for the headers of segments written to a TAP. */
  readonly #segmented: number;
  readonly #tapHeads: number;
  readonly #coalescer: Coalescer;
  /** Remotes by id, from the last datagram of each. The coalescer's tags refer to them. */
  readonly #remotes: Remote[] = [];
  readonly #frames: number;
  /** Scratch space for frames that the machine built outside the arena. */
  readonly #scratch: number;
  /** Scratch space for datagrams that the machine built outside the arena. */
  readonly #ownDatagram: number;
  /** The virtio header of a frame that goes from one TAP to another. */
  readonly #header: number;
  #place: number;
  #esp: EspPath | null = null;
  #now = 0;
  /** Frames and datagrams out in this turn. */
  #output = 0;
  /** The frame that is passing through the machine, and how it becomes packets if it is a super-frame from a TAP. */
  readonly #frame = new Frame();
  readonly #superFrame = new SuperFrame();
  // Parts of the sink; the last three are absent if this is the only worker.
  readonly request: (what: GatewayDatagram) => void;
  readonly learned?: (what: Learned) => void;
  readonly answered?: (what: Answered) => void;
  readonly probeAnswered?: (answer: ProbeAnswer) => void;

  constructor(parts: PathParts) {
    const { arena, vtep, v6, counts, taps, sender, receiver, recorder } = parts;
    this.#parts = parts;
    this.request = parts.request;
    if (parts.learned !== undefined) {
      this.learned = parts.learned;
      this.answered = parts.learned;
    }
    if (parts.probeAnswered !== undefined) this.probeAnswered = parts.probeAnswered;
    this.#arena = arena;
    this.#bytes = arena.bytes;
    this.#vtep = vtep;
    this.#counts = counts;
    this.#taps = taps;
    this.#sender = sender;
    this.#receiver = receiver;
    this.#recorder = recorder;
    this.#senders = new Senders(arena, vtep, v6);
    this.#sums = parts.sums;
    const { sum, join } = parts.sums;
    this.#segmenter = new Segmenter(arena.bytes, sum, MAX_SEGMENTS);
    this.#segmented = arena.take(segmentIntoScratch(MAX_BYTES));
    this.#tapHeads = arena.take(segmentScratch(MAX_SEGMENTS));
    this.#coalescer = new Coalescer(
      arena.bytes,
      arena.take(coalesceScratch(FLOWS)),
      sum,
      { flows: FLOWS, prefix: PREFIX },
      { join, scratch: arena.take(joinScratch(FLOWS)) },
    );
    this.#frames = arena.take(FRAMES + MAX_FRAME + ALIGN);
    this.#place = this.#frames;
    this.#scratch = arena.take(HEADROOM + MAX_RUN + VLAN_TAG) + HEADROOM;
    this.#ownDatagram = arena.take(OWN_DATAGRAM);
    this.#header = arena.take(virtio.HEADER_LENGTH);
  }

  /** Whether a datagram came from this remote since the last call of `takeReceived` for it, or ever if there was none. */
  hasReceived(remote: Remote): boolean {
    return this.#remotes[remote.id] === remote;
  }

  /** Whether a datagram came from this remote since the last call; adds no cost to the data path. */
  takeReceived(remote: Remote): boolean {
    const received = this.#remotes[remote.id] === remote;
    this.#remotes[remote.id] = NO_REMOTE;
    return received;
  }

  /** Notes that something came from a remote. */
  note(remote: Remote): void {
    this.#remotes[remote.id] = remote;
  }

  /** What encrypted datagrams share with others: where remotes are found, and flows merged. */
  get shared(): { senders: Senders; coalescer: Coalescer } {
    return { senders: this.#senders, coalescer: this.#coalescer };
  }

  /** Moves encrypted datagrams too from now on. */
  secure(esp: EspPath): void {
    this.#esp = esp;
  }

  /** Clears the cache of remotes by address: the remotes may have changed. */
  forget(): void {
    this.#senders.clear();
  }

  /** Writes merged UDP frames to TAPs from now on: the kernel accepts them. */
  mergeUdp(): void {
    this.#coalescer.mergeUdp();
  }

  // ---- From a TAP ----

  /** Moves frames from a TAP, up to a turn's worth. */
  fromTap(port: number, now: number): void {
    this.#now = now;
    let bytes = 0;
    this.#output = 0;
    for (let i = 0; i < TAP_TURN && bytes < TAP_BYTES && this.#output < TURN_OUTPUT && this.full === NONE; i++) {
      const tap = this.#taps[port]!;
      if (tap === null) break;
      const offset = this.#place + HEADROOM;
      const length = tap.read(offset);
      if (length < 0) {
        if (length === LOST) this.#parts.lost(port, tap.errno);
        break;
      }
      bytes += length;
      this.#receive(tap, port, offset, offset + length);
      if (length >= LARGE || offset + length >= this.#frames + FRAMES) this.#flush();
      // Queued frames stay where they are until they are sent.
      else if (this.#sender.pending) this.#place = (offset + length + ALIGN - 1) & -ALIGN;
    }
    this.#flush();
  }

  /** Processes one frame, or one super-frame, from a TAP. */
  #receive(tap: TapQueue, port: number, offset: number, end: number): void {
    const bytes = this.#bytes;
    this.#counts[COUNT.framesRead]! += 1;
    if (tap.header !== 0) {
      const header = offset - tap.header;
      if (virtio.getGsoType(bytes, header) !== virtio.GSO_NONE) return this.#receiveSuper(port, header, offset, end);
      if ((virtio.getFlags(bytes, header) & virtio.FLAG_NEEDS_CSUM) !== 0) {
        const start = virtio.getChecksumStart(bytes, header);
        const field = virtio.getChecksumOffset(bytes, header);
        finishChecksum(bytes, this.#sums.sum, offset, end, start, field);
      }
    }
    if (this.#recorder.active) this.#recorder.frame(port, 'in', bytes, offset, end);
    this.#vtep.receiveFrame(port, this.#frame.set(bytes, offset, end), this.#now, this);
  }

  #receiveSuper(port: number, header: number, offset: number, end: number): void {
    const bytes = this.#bytes;
    const segmenter = this.#segmenter;
    const one = this.#superFrame;
    this.#counts[COUNT.superFramesRead]! += 1;
    one.read(bytes, header, offset);
    const packets = segmenter.open(offset, end, one.gsoType, one.gsoSize);
    if (packets < 0 || !segmenter.isPlausible()) return countError(this.#counts, 'receiveErrors', EINVAL);
    if (this.#recorder.active) this.#recorder.frame(port, 'in', bytes, offset, end);
    const { headLength } = segmenter;
    const wire = end - offset + (packets - 1) * headLength;
    const largest = packets === 1 ? end - offset : headLength + one.gsoSize;
    const frame = this.#frame.setMany(bytes, offset, end, packets, wire, largest);
    frame.superFrame = one;
    this.#vtep.receiveFrame(port, frame, this.#now, this);
  }

  /** The full socket, or `NONE`. Do not read TAPs until it is writable. */
  get full(): number {
    const { full } = this.#sender;
    return full !== NONE || this.#esp === null ? full : this.#esp.sender.full;
  }

  /** Call when a socket that was full may be writable again. */
  resume(): void {
    this.#flush();
  }

  /** Call when a socket has been full for too long: drops and counts the datagrams queued for it. */
  abandon(): void {
    this.#sender.abandon();
    this.#esp?.sender.abandon();
    this.#place = this.#frames;
  }

  #flush(): void {
    this.#sender.flush();
    if (this.#esp !== null && this.#esp.sender.pending) this.#esp.sender.flush();
    // Otherwise queued frames still occupy the buffer.
    if (this.#sender.full === NONE) this.#place = this.#frames;
  }

  // ---- From the underlay ----

  /** Moves datagrams from the underlay, up to a turn's worth. */
  fromUnderlay(now: number): void {
    this.#now = now;
    this.#output = 0;
    for (let i = 0; i < UDP_TURN && this.#output < TURN_OUTPUT; i++) {
      const more = this.#receiver.receive(this);
      this.#coalescer.flush(this); // the buffers are about to be reused
      if (!more) break;
    }
    this.#flushAnswers();
  }

  /** The same for encrypted ones. */
  fromEsp(now: number): void {
    this.#now = now;
    this.#output = 0;
    for (let i = 0; i < UDP_TURN && this.#output < TURN_OUTPUT; i++) if (!this.#esp!.receive(now)) break;
    this.#flushAnswers();
  }

  /** Sends what the machine has sent because of datagrams. */
  #flushAnswers(): void {
    const pending = this.#sender.pending || (this.#esp !== null && this.#esp.sender.pending);
    if (pending && this.full === NONE) this.#flush();
    else this.#esp?.sender.settle();
  }

  arrived(starts: Int32Array, count: number): void {
    const { preparation } = this.#vtep;
    if (preparation.pays) preparation.datagrams(this.#bytes, starts, count);
  }

  datagrams(source: number, offset: number, end: number, size: number, ecn: number): void {
    let from = this.#senders.find(source);
    if (typeof from !== 'string' && !this.#recorder.active) {
      this.#counts[COUNT.datagramsReceived]! += size > 0 ? Math.ceil((end - offset) / size) : 1;
      this.#remotes[from.id] = from;
      return this.#coalescer.addMany(offset, end, size, (from.id << 2) | ecn, this);
    }
    let at = offset;
    do {
      const stop = size > 0 && at + size < end ? at + size : end;
      this.#counts[COUNT.datagramsReceived]! += 1;
      if (this.#recorder.active) this.#recordDatagram(from, source, at, stop);
      if (typeof from === 'string') {
        this.#vtep.receiveDatagram(from, this.#frame.set(this.#bytes, at, stop), this.#now, ecn, this);
        from = this.#senders.find(source); // the machine may just have learned it
      } else {
        this.#remotes[from.id] = from;
        this.#coalescer.add(at, stop, (from.id << 2) | ecn, this);
      }
      at = stop;
    } while (at < end);
  }

  /** Processes a datagram that was not merged. */
  single(offset: number, end: number, tag: number): void {
    const frame = this.#frame.set(this.#bytes, offset, end);
    this.#vtep.receiveDatagram(this.#remotes[tag >> 2]!, frame, this.#now, tag & 3, this);
  }

  /** Processes several merged datagrams. */
  merged(run: Run): void {
    const frame = this.#frame.setMany(this.#bytes, run.head, run.headEnd, run.count, run.wireBytes);
    frame.run = run;
    this.#vtep.receiveDatagram(this.#remotes[run.tag >> 2]!, frame, this.#now, run.tag & 3, this);
  }

  // ---- From the machine ----

  /** Writes a frame to a TAP. */
  deliver(port: number, frame: Frame): void {
    const { bytes, start, end } = frame;
    if (this.#recorder.active) this.#recorder.frame(port, 'out', bytes, start, end);
    const tap = this.#taps[port]!;
    if (tap === null) return countError(this.#counts, 'writeErrors', EBADFD);
    this.#output++;
    if (bytes !== this.#bytes) {
      this.#bytes.set(bytes.subarray(start, end), this.#scratch);
      tap.write(this.#scratch, end - start);
    } else if (frame.run !== null) this.#deliverRun(tap, frame.run, start, end);
    else if (frame.superFrame !== null) this.#deliverSuper(tap, frame.superFrame, start, end);
    else tap.write(start, end - start);
  }

  /** Writes merged frames from the underlay. */
  #deliverRun(tap: TapQueue, run: Run, offset: number, end: number): void {
    const { dataOffset, dataLength } = this.#coalescer;
    if (tap.header === 0) return this.#deliverApart(tap, run, offset, end);
    const header = offset - virtio.HEADER_LENGTH; // overwrites the VXLAN header, which is no longer needed
    run.writeVirtio(this.#bytes, header, run.frame - offset);
    tap.beginWithHeader(header, end - header);
    for (let i = run.first; i < run.first + run.pieces; i++) tap.piece(dataOffset[i]!, dataLength[i]!);
    this.#counts[COUNT.superFramesWritten]! += 1;
    tap.end();
  }

  /** The same for a TAP without super-frames: segments the run again. */
  #deliverApart(tap: TapQueue, run: Run, offset: number, end: number): void {
    const { dataOffset, dataLength } = this.#coalescer;
    // The segmenter requires contiguous bytes.
    const bytes = this.#bytes;
    const start = this.#scratch;
    bytes.copyWithin(start, offset, end);
    let to = start + (end - offset);
    for (let i = run.first; i < run.first + run.pieces; i++) {
      bytes.copyWithin(to, dataOffset[i]!, dataOffset[i]! + dataLength[i]!);
      to += dataLength[i]!;
    }
    this.#writeApart(tap, start, to, run.gsoType, run.gsoSize, run.fixedId);
  }

  /** Writes a super-frame from one TAP to another. */
  #deliverSuper(tap: TapQueue, one: SuperFrame, start: number, end: number): void {
    if (tap.header === 0) return this.#writeApart(tap, start, end, one.gsoType, one.gsoSize);
    one.writeVirtio(this.#bytes, this.#header, start);
    tap.beginWithHeader(this.#header, virtio.HEADER_LENGTH);
    tap.piece(start, end - start);
    this.#counts[COUNT.superFramesWritten]! += 1;
    tap.end();
  }

  #writeApart(tap: TapQueue, offset: number, end: number, type: number, size: number, fixedId = false): void {
    const segmenter = this.#segmenter;
    if (segmenter.open(offset, end, type, size, 0, fixedId) < 0) return countError(this.#counts, 'writeErrors', EINVAL);
    this.#output += segmenter.total;
    for (let count = segmenter.next(MAX_SEGMENTS, this.#tapHeads); count > 0;) {
      for (let i = 0; i < count; i++) {
        tap.begin(segmenter.headOffset[i]!, segmenter.headLength);
        tap.piece(segmenter.dataOffset[i]!, segmenter.dataLength[i]!);
        tap.end();
      }
      count = segmenter.next(MAX_SEGMENTS, this.#tapHeads);
    }
  }

  /** Sends a datagram to a remote. */
  transmit(remote: Remote, frame: Frame, sourcePort: number, tos: number): void {
    const { bytes, start, end } = frame;
    if (this.#recorder.active) {
      const { local, sourcePorts } = this.#parts;
      const port = sourcePorts[sourcePort % sourcePorts.length]!;
      this.#recorder.datagram('out', { address: local.address, port }, remote, bytes, start, end);
    }
    this.#output++;
    if (bytes !== this.#bytes) this.#transmitOwn(remote, bytes.subarray(start, end), sourcePort, tos);
    else if (frame.superFrame === null) this.#sender.transmit(remote, start, end - start, sourcePort, tos);
    else this.#transmitSuper(remote, frame, frame.superFrame, sourcePort, tos);
  }

  /** Sends a datagram to a remote in an ESP packet. */
  transmitSealed(remote: Remote, association: Outbound, frame: Frame, sourcePort: number, tos: number): void {
    this.#output += this.#esp!.transmit(remote, association, frame, sourcePort, tos);
  }

  /** Sends a probe of the path MTU, or an answer to one. */
  probe(to: ProbePlace, bytes: Uint8Array, sourcePort: number): boolean {
    const { local, prober, sourcePorts } = this.#parts;
    if (this.#recorder.active) {
      const port = sourcePorts[sourcePort % sourcePorts.length]!;
      this.#recorder.datagram('out', { address: local.address, port }, to, bytes, 0, bytes.length);
    }
    return prober.send(to, bytes, sourcePort) !== EMSGSIZE;
  }

  transmitFragmented(remote: Remote, frame: Frame): void {
    this.#output += frame.packets;
    const { fragmenter, sender } = this.#parts;
    sendFragmented(fragmenter, this.#segmenter, this.#sums, this.#segmented, remote, frame, (...lost) =>
      sender.lose(...lost),
    );
  }

  largestTo(remote: Remote): number {
    return Math.max(this.#sender.largestTo(remote), this.#esp?.largestTo(remote) ?? 0);
  }

  /**
   * Sends a datagram that the machine built outside the arena: rare, and sent at once, so that one buffer is enough.
   */
  #transmitOwn(remote: Remote, datagram: Uint8Array, sourcePort: number, tos: number): void {
    if (this.#sender.full !== NONE) return this.#sender.lose(remote, EAGAIN, 1);
    if (datagram.length > OWN_DATAGRAM) return this.#sender.lose(remote, EMSGSIZE, 1);
    this.#bytes.set(datagram, this.#ownDatagram);
    this.#sender.transmit(remote, this.#ownDatagram, datagram.length, sourcePort, tos);
    this.#flush();
  }

  /** Sends a super-frame as datagrams, which are built in adjacent memory. */
  #transmitSuper(remote: Remote, frame: Frame, one: SuperFrame, sourcePort: number, tos: number): void {
    const segmenter = this.#segmenter;
    const sender = this.#sender;
    const { gsoType, gsoSize: size } = one;
    const total = segmenter.open(frame.start + PREFIX, frame.end, gsoType, size, PREFIX);
    if (total < 0) return this.#sender.lose(remote, EIO, 1);
    this.#output += total;
    const length = segmenter.headLength + size;
    const fit = Math.floor(MAX_BYTES / length);
    // No underlay carries datagrams of this size.
    if (fit === 0) return sender.lose(remote, EMSGSIZE, total);
    const { cut } = this.#sums;
    const most = fit < MAX_SEGMENTS ? fit : MAX_SEGMENTS;
    const start = segmentsStart(this.#segmented);
    let left = total;
    // A full socket's datagrams still occupy the buffer.
    while (left > 0 && sender.full === NONE) {
      const count = segmenter.segmentInto(cut, most, this.#segmented);
      if (sender.joins) {
        if (!sender.begin(remote, length, sourcePort, tos, 1)) break;
        sender.piece(start, segmenter.segmentsEnd - start);
        sender.end(count);
        left -= count;
      } else {
        // The kernel does not segment here: each datagram is one message, and one call sends many messages.
        for (let at = start; at < segmenter.segmentsEnd; at += length, left--) {
          const rest = segmenter.segmentsEnd - at;
          sender.transmit(remote, at, rest < length ? rest : length, sourcePort, tos);
        }
      }
      sender.flush();
    }
    if (left > 0) sender.lose(remote, EAGAIN, left);
  }

  #recordDatagram(from: Remote | string, source: number, offset: number, end: number): void {
    const address = typeof from === 'string' ? from : from.address;
    const port = this.#arena.view.getUint16(source + abi.SOCKADDR.port);
    this.#recorder.datagram('in', { address, port }, this.#parts.local, this.#bytes, offset, end);
  }
}
