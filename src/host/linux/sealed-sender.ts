/**
 * Sends VXLAN datagrams in ESP packets in UDP (RFC 4303, RFC 3948), in transport mode: between the IV and the trailer are the
 * UDP header and the datagram. It copies what it sends, because one frame may go to several remotes, and each has a key of its own.
 */
import { backOf, FRONT, NO_NEXT_HEADER, PacketList, type Outbound } from '../../esp/index.js';
import { segmentIntoScratch, segmentsStart, type Segmenter, type SuperFrame } from '../../offload/index.js';
import * as udp from '../../udp/index.js';
import { type Frame, type Remote } from '../../vtep/index.js';
import * as vxlan from '../../vxlan/index.js';
import { getI32, setU32 } from '../../wire/index.js';
import { type Cut } from '../../offload/index.js';
import { type Recorder } from '../recorder.js';
import { type Arena } from './arena.js';
import { EAGAIN, EIO, EMSGSIZE } from './libc.js';
import { MAX_BYTES, MAX_SEGMENTS, NONE, type Sender } from './sender.js';

/** Bytes from the beginning of an ESP packet to its VXLAN header. */
const HEAD = FRONT + udp.HEADER_LENGTH;
/** The most that padding, trailer and ICV take. */
const MAX_BACK = backOf(3, 16) + 3;
/** Bytes for datagrams that wait until they are sealed. */
const ROOM = 1 << 18;
/** The longest datagram that is sealed. */
const LONGEST = MAX_BYTES;

export interface SealedSenderParts {
  arena: Arena;
  /** Sends to the port of ESP, by the same sockets as clear text. */
  sender: Sender;
  /** The ports of its sockets. */
  sourcePorts: readonly number[];
  segmenter: Segmenter;
  cut: Cut;
  recorder: Recorder;
  /** Receives what is sent, while a capture is running. */
  record(remote: Remote, sourcePort: number, offset: number, end: number): void;
}

export class SealedSender {
  readonly #bytes: Uint8Array;
  readonly #sender: Sender;
  readonly #sourcePorts: readonly number[];
  readonly #segmenter: Segmenter;
  readonly #cut: Cut;
  readonly #recorder: Recorder;
  readonly #record: SealedSenderParts['record'];
  readonly #room: number;
  readonly #segmented: number;
  /** The packets of `#association` that are not sealed yet. */
  readonly #packets = new PacketList(MAX_SEGMENTS);
  #association: Outbound | null = null;
  // Where they go.
  readonly #remotes = new Array<Remote | null>(MAX_SEGMENTS).fill(null);
  readonly #offsets = new Int32Array(MAX_SEGMENTS);
  readonly #lengths = new Int32Array(MAX_SEGMENTS);
  readonly #ports = new Int32Array(MAX_SEGMENTS);
  readonly #tos = new Int32Array(MAX_SEGMENTS);
  #count = 0;
  /** Where the next one is copied to. */
  #at: number;

  constructor({ arena, sender, sourcePorts, segmenter, cut, recorder, record }: SealedSenderParts) {
    this.#bytes = arena.bytes;
    this.#sender = sender;
    this.#sourcePorts = sourcePorts;
    this.#segmenter = segmenter;
    this.#cut = cut;
    this.#recorder = recorder;
    this.#record = record;
    this.#room = arena.take(ROOM + LONGEST + MAX_BACK);
    this.#at = this.#room;
    this.#segmented = arena.take(segmentIntoScratch(MAX_BYTES) + MAX_BACK);
  }

  /** The full socket, or `NONE`. */
  get full(): number {
    return this.#sender.full;
  }

  get pending(): boolean {
    return this.#count > 0 || this.#sender.pending;
  }

  /** Queues the datagram of a frame, from its VXLAN header on. The frame may be in another buffer than the arena. */
  transmit(remote: Remote, association: Outbound, frame: Frame, sourcePort: number, tos: number): void {
    const length = frame.end - frame.start;
    if (HEAD + length + MAX_BACK > LONGEST) return this.#sender.lose(remote, EMSGSIZE, 1);
    const place = this.#begin(remote, association, sourcePort, tos);
    if (place < 0) return;
    const { bytes, start, end } = frame;
    if (bytes === this.#bytes) bytes.copyWithin(place + HEAD, start, end);
    else this.#bytes.set(bytes.subarray(start, end), place + HEAD);
    this.#writeUdp(place + FRONT, sourcePort, remote.port, udp.HEADER_LENGTH + length);
    this.#end(association, place, place + HEAD + length, udp.PROTOCOL);
  }

  /** Queues a dummy packet (RFC 4303, section 2.6), by which the receiver learns that the association is in use. */
  confirm(remote: Remote, association: Outbound): void {
    const place = this.#begin(remote, association, 0, 0);
    if (place >= 0) this.#end(association, place, place + FRONT, NO_NEXT_HEADER);
  }

  /** Finds room for a packet, and returns where it begins; -1 if a socket is full, and the packet is lost. */
  #begin(remote: Remote, association: Outbound, sourcePort: number, tos: number): number {
    if (this.#association !== association) this.#seal();
    if (this.#count === MAX_SEGMENTS || this.#at >= this.#room + ROOM) this.flush();
    if (this.#sender.full !== NONE) {
      this.#sender.lose(remote, EAGAIN, 1);
      return -1;
    }
    this.#association = association;
    this.#remotes[this.#count] = remote;
    this.#ports[this.#count] = sourcePort;
    this.#tos[this.#count] = tos;
    return this.#at;
  }

  #end(association: Outbound, place: number, end: number, nextHeader: number): void {
    const stop = association.add(this.#bytes, place, end, nextHeader, this.#packets);
    this.#offsets[this.#count] = place;
    this.#lengths[this.#count] = stop - place;
    this.#count++;
    this.#at = stop;
  }

  /** Seals what waits, and passes it to the sender. */
  #seal(): void {
    const association = this.#association;
    if (association === null || this.#count === 0) return;
    association.seal(this.#packets);
    for (let i = 0; i < this.#count; i++) {
      const [remote, place, length] = [this.#remotes[i]!, this.#offsets[i]!, this.#lengths[i]!];
      if (this.#recorder.active) this.#record(remote, this.#ports[i]!, place, place + length);
      this.#sender.transmit(remote, place, length, this.#ports[i]!, this.#tos[i]!);
    }
    this.#count = 0;
    this.#association = null;
  }

  /** Seals everything that is queued, and passes it to the sender: the control plane may free a key between two turns. */
  settle(): void {
    this.#seal();
  }

  /** Seals and sends everything that is queued. */
  flush(): void {
    this.#seal();
    this.#sender.flush();
    // Datagrams of a full socket still occupy the room.
    if (this.#sender.full === NONE) this.#at = this.#room;
  }

  abandon(): void {
    this.#sender.abandon();
    this.#at = this.#room;
  }

  /**
   * Sends a super-frame as datagrams of equal length, which are sealed where the segmenter builds them. In front of each
   * segment, it leaves room for the end of the ESP packet before and for the headers of its own.
   */
  transmitSuper(
    remote: Remote,
    association: Outbound,
    frame: Frame,
    one: SuperFrame,
    sourcePort: number,
    tos: number,
  ): number {
    this.flush(); // earlier datagrams of the flow
    const segmenter = this.#segmenter;
    const sender = this.#sender;
    const bytes = this.#bytes;
    const { start, end } = frame;
    const inner = start + vxlan.HEADER_LENGTH;
    const payload = udp.HEADER_LENGTH + end - start - frame.excess;
    const back = backOf(payload, association.icv);
    const total = segmenter.open(inner, end, one.gsoType, one.gsoSize, back + HEAD + vxlan.HEADER_LENGTH);
    if (total < 0) {
      sender.lose(remote, EIO, 1);
      return 0;
    }
    const length = FRONT + payload + back;
    const fit = Math.floor(MAX_BYTES / length);
    if (fit === 0) {
      sender.lose(remote, EMSGSIZE, total); // no underlay carries datagrams of this size
      return 0;
    }
    const most = fit < MAX_SEGMENTS ? fit : MAX_SEGMENTS;
    const first = segmentsStart(this.#segmented) + back;
    const [flags, vni] = [getI32(bytes, start), getI32(bytes, start + 4)];
    let left = total;
    while (left > 0 && sender.full === NONE) {
      const count = segmenter.segmentInto(this.#cut, most, this.#segmented);
      const last = segmenter.segmentsEnd;
      let stop = first;
      for (let i = 0; i < count; i++) {
        const place = first + i * length;
        const segmentEnd = i === count - 1 ? last : place + length - back;
        this.#writeUdp(place + FRONT, sourcePort, remote.port, segmentEnd - place - FRONT);
        setU32(bytes, place + HEAD, flags);
        setU32(bytes, place + HEAD + 4, vni);
        stop = association.add(bytes, place, segmentEnd, udp.PROTOCOL, this.#packets);
      }
      association.seal(this.#packets);
      if (this.#recorder.active)
        for (let at = first; at < stop; at += length)
          this.#record(remote, sourcePort, at, stop - at < length ? stop : at + length);
      if (sender.joins) {
        if (!sender.begin(remote, length, sourcePort, tos, 1)) break;
        sender.piece(first, stop - first);
        sender.end(count);
        left -= count;
      } else {
        for (let at = first; at < stop; at += length, left--)
          sender.transmit(remote, at, stop - at < length ? stop - at : length, sourcePort, tos);
      }
      sender.flush();
    }
    if (left > 0) sender.lose(remote, EAGAIN, left);
    return total;
  }

  /** The UDP header inside the ESP packet. Its checksum stays 0: the ICV protects the datagram. */
  #writeUdp(at: number, sourcePort: number, port: number, length: number): void {
    const bytes = this.#bytes;
    udp.setSourcePort(bytes, at, this.#sourcePorts[sourcePort % this.#sourcePorts.length]!);
    udp.setDestinationPort(bytes, at, port);
    udp.setLength(bytes, at, length);
    udp.setChecksum(bytes, at, 0);
  }
}
