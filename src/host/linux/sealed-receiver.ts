/**
 * Receives ESP packets in UDP: finds their associations, opens them where the kernel wrote them, and passes on the VXLAN datagrams.
 * What is no ESP packet, but a message about keys, is for the control thread (RFC 3948, section 2.2).
 */
import * as esp from '../../esp/index.js';
import { type Coalescer, type CoalescerSink, type Run } from '../../offload/index.js';
import * as udp from '../../udp/index.js';
import { Frame, type InboundAssociation, type Remote, type Vtep, type VtepSink } from '../../vtep/index.js';
import * as vxlan from '../../vxlan/index.js';
import { type EspForm, type Recorder } from '../recorder.js';
import { type KeyingQueue } from '../esp/keying-events.js';
import * as abi from './abi.js';
import { addressText, type Senders } from './address.js';
import { type Arena } from './arena.js';
import { COUNT } from './counts.js';
import { type ReceiverEvents } from './receiver.js';
import { MAX_SEGMENTS } from './sender.js';

/** No datagram begins here. */
const NOWHERE = -1;
/** Length of the non-ESP marker: four octets of zero, where an ESP packet has its SPI (RFC 3948, section 2.2). */
const MARKER = 4;

export interface SealedReceiverParts {
  arena: Arena;
  vtep: Vtep;
  v6: boolean;
  counts: Float64Array;
  senders: Senders;
  coalescer: Coalescer;
  /** Where the machine sends. */
  sink: VtepSink;
  /** Whether several workers receive. Each has its own anti-replay windows, so a flow must not change between them. */
  several: boolean;
  events: KeyingQueue;
  recorder: Recorder;
  /** Receives packets as they arrive, and opened datagrams, while a capture is running. */
  record(form: EspForm, from: Remote | string, source: number, offset: number, end: number): void;
  /** A remote has sent something. */
  received(remote: Remote): void;
}

export class SealedReceiver implements ReceiverEvents, esp.InboundSink, CoalescerSink {
  readonly #parts: SealedReceiverParts;
  readonly #bytes: Uint8Array;
  readonly #recorder: Recorder;
  readonly #packets = new esp.PacketList(MAX_SEGMENTS);
  readonly #frame = new Frame();
  /** The association of the packets in the list. */
  #association: InboundAssociation | null = null;
  // The call of `datagrams` that is running.
  #from: Remote | string = '';
  #source = 0;
  #ecn = 0;
  #now = 0;
  /** Bytes from the beginning of one packet to that of the next one. */
  #stride = 0;
  // Opened datagrams that follow one another at this distance: how many, the first one's place and length, the end of the last one, and
  // where the next one would be.
  #series = 0;
  #first = 0;
  #last = 0;
  #length = 0;
  #next = NOWHERE;
  /** Associations and senders by the coalescer's tag, since the last `finish`. */
  readonly #tagged: { association: InboundAssociation; from: Remote | string; ecn: number }[] = [];

  constructor(parts: SealedReceiverParts) {
    this.#parts = parts;
    this.#bytes = parts.arena.bytes;
    this.#recorder = parts.recorder;
  }

  /** Call before `Receiver.receive`. */
  begin(now: number): void {
    this.#now = now;
  }

  /** Call after it: passes on what the coalescer still has, because the buffers are about to be reused. */
  finish(): void {
    this.#parts.coalescer.flush(this);
    this.#tagged.length = 0;
  }

  arrived(): void {
    // The tables are looked up after decryption.
  }

  datagrams(source: number, offset: number, end: number, size: number, ecn: number): void {
    const { counts, senders, received } = this.#parts;
    this.#from = senders.find(source);
    this.#source = source;
    this.#ecn = ecn;
    this.#stride = size;
    if (typeof this.#from !== 'string') received(this.#from);
    counts[COUNT.datagramsReceived]! += size > 0 && end > offset ? Math.ceil((end - offset) / size) : 1;
    for (let at = offset; at < end || at === offset; at += size) {
      this.#packet(at, size > 0 && at + size < end ? at + size : end);
      if (size <= 0) break;
    }
    this.#open();
  }

  /** Takes one datagram. */
  #packet(offset: number, end: number): void {
    const bytes = this.#bytes;
    if (this.#recorder.active) this.#parts.record('sealed', this.#from, this.#source, offset, end);
    let association = this.#association;
    if (end - offset < esp.HEADER_LENGTH || association?.inbound.spi !== esp.getSpi(bytes, offset)) {
      this.#open();
      association = this.#find(offset, end);
      if (association === null) return;
    }
    const { associations } = this.#parts.vtep;
    if (this.#packets.count === this.#packets.room) {
      this.#open();
      this.#association = association;
    }
    const code = association.inbound.add(bytes, offset, end, this.#packets);
    if (code !== 0) associations.refuse(code === esp.REPLAYED ? 'esp-replay' : 'esp-truncated');
  }

  /** Finds the association of a datagram. @returns `null` if there is none, and nothing remains to be done with the datagram. */
  #find(offset: number, end: number): InboundAssociation | null {
    const { arena, vtep, events, v6 } = this.#parts;
    const { associations } = vtep;
    const bytes = this.#bytes;
    if (end - offset === 1) return null; // a NAT-keepalive (RFC 3948, section 2.3)
    if (end - offset < esp.HEADER_LENGTH) {
      associations.refuse('esp-truncated');
      return null;
    }
    const spi = esp.getSpi(bytes, offset);
    if (spi === 0) {
      events.message(addressText(arena, this.#source, v6), bytes, offset + MARKER, end);
      return null;
    }
    const association = associations.find(spi);
    if (association === undefined) {
      associations.refuse('esp-unknown-spi');
      events.unknownSpi(addressText(arena, this.#source, v6), spi);
      return null;
    }
    if (association.address !== (typeof this.#from === 'string' ? this.#from : this.#from.address)) {
      associations.refuse('esp-source');
      return null;
    }
    this.#association = association;
    return association;
  }

  #open(): void {
    const association = this.#association;
    if (association === null) return;
    const { inbound } = association;
    const { used } = inbound;
    inbound.open(this.#bytes, this.#packets, this);
    this.#endSeries();
    this.#association = null;
    if (!used && inbound.used) this.#parts.events.used(inbound.spi);
  }

  opened(_offset: number, start: number, end: number, nextHeader: number): void {
    const { vtep, several, arena } = this.#parts;
    if (nextHeader === esp.NO_NEXT_HEADER) return;
    const bytes = this.#bytes;
    const datagram = start + udp.HEADER_LENGTH;
    if (
      nextHeader !== udp.PROTOCOL ||
      end - datagram < vxlan.HEADER_LENGTH ||
      udp.getLength(bytes, start) !== end - start
    )
      return vtep.associations.refuse('esp-payload');
    // A copy of a packet with another source port would reach another worker, whose window does not know the packet.
    if (several && udp.getSourcePort(bytes, start) !== arena.view.getUint16(this.#source + abi.SOCKADDR.port))
      return vtep.associations.refuse('esp-source');
    if (this.#recorder.active) this.#parts.record('opened', this.#from, this.#source, datagram, end);
    const length = this.#length;
    if (this.#series > 0 && datagram === this.#next && end - datagram <= length) {
      this.#series++;
      this.#last = end;
      this.#next = end - datagram === length ? datagram + this.#stride : NOWHERE; // a shorter one is the last
      return;
    }
    this.#endSeries();
    this.#series = 1;
    this.#first = datagram;
    this.#last = end;
    this.#length = end - datagram;
    this.#next = datagram + this.#stride;
  }

  /** Passes on the datagrams that follow one another at the same distance. */
  #endSeries(): void {
    const { coalescer } = this.#parts;
    if (this.#series === 1) coalescer.add(this.#first, this.#last, this.#tag(), this);
    else if (this.#series > 1)
      coalescer.addMany(this.#first, this.#last, this.#length, this.#tag(), this, this.#stride - this.#length);
    this.#series = 0;
  }

  refused(_offset: number, why: 'authentication' | 'replay' | 'padding'): void {
    const { associations } = this.#parts.vtep;
    associations.refuse(why === 'padding' ? 'esp-payload' : `esp-${why}`);
  }

  /** A number for the association, the sender and the ECN field. */
  #tag(): number {
    const tagged = this.#tagged;
    const last = tagged.length - 1;
    const known = tagged[last];
    if (known?.association === this.#association && known.from === this.#from && known.ecn === this.#ecn) return last;
    tagged.push({ association: this.#association!, from: this.#from, ecn: this.#ecn });
    return last + 1;
  }

  // ---- From the coalescer ----

  single(offset: number, end: number, tag: number): void {
    this.#deliver(this.#frame.set(this.#bytes, offset, end), tag);
  }

  merged(run: Run): void {
    const frame = this.#frame.setMany(this.#bytes, run.head, run.headEnd, run.count, run.wireBytes);
    frame.run = run;
    this.#deliver(frame, run.tag);
  }

  #deliver(frame: Frame, tag: number): void {
    const { vtep, sink } = this.#parts;
    const { association, from, ecn } = this.#tagged[tag]!;
    vtep.associations.receive(association, from, frame, this.#now, ecn, sink);
  }
}
