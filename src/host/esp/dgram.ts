/** The part of the portable engine that moves encrypted datagrams. It exists as soon as a segment is encrypted. */
import { type Socket } from 'node:dgram';
import { performance } from 'node:perf_hooks';
import * as esp from '../../esp/index.js';
import { type AssociationChange } from '../../keying/index.js';
import * as udp from '../../udp/index.js';
import {
  Frame,
  ICV,
  type Explanation,
  type InboundAssociation,
  type Remote,
  type Vtep,
  type VtepSink,
} from '../../vtep/index.js';
import * as vxlan from '../../vxlan/index.js';
import { type KeyingMessage } from '../data-plane.js';
import { type Recorder } from '../recorder.js';
import { associate } from './associate.js';
import { KeyingQueue, type KeyingEvent } from './keying-events.js';

/** The longest UDP payload. */
const LONGEST = 65_507;
const HEAD = esp.FRONT + udp.HEADER_LENGTH;
/** Length of the non-ESP marker (RFC 3948, section 2.2). */
const MARKER = 4;

/** The buffer that packets are sealed and opened in, to which the AEAD is bound. */
export const ESP_ROOM = 1 << 16;

export interface EspDgramParts {
  vtep: Vtep;
  socket: Socket;
  /** Bound to `bytes`. */
  aead: esp.Aead;
  bytes: Uint8Array;
  /** This VTEP's address, and the port of ESP. */
  local: string;
  port: number;
  sink: VtepSink;
  recorder: Recorder;
  /** A datagram has arrived. */
  received(address: string): void;
  /** Receives what the agreement on keys needs to know. */
  events(events: readonly KeyingEvent[]): void;
}

export class EspDgram implements esp.InboundSink {
  readonly events = new KeyingQueue();
  readonly socket: Socket;
  #waking = false;
  readonly #parts: EspDgramParts;
  readonly #packets = new esp.PacketList(1);
  readonly #frame = new Frame();
  // The datagram that is being received.
  #association: InboundAssociation | null = null;
  #from = '';
  #port = 0;
  #now = 0;

  constructor(parts: EspDgramParts) {
    const { socket, received, recorder, local, port: espPort } = parts;
    this.#parts = parts;
    this.socket = socket;
    const here = { address: local, port: espPort };
    socket.on('message', (datagram, { address, port }) => {
      received(address);
      if (recorder.records('sealed'))
        recorder.datagram('in', { address, port }, here, datagram, 0, datagram.length, 'sealed');
      this.receive(datagram, address, port, performance.now());
    });
  }

  /** Passes on which associations the machine lacks, and other events. */
  report(): void {
    for (const { group, address } of this.#parts.vtep.associations.takeWanted()) this.events.wanted(group, address);
    if (!this.events.isEmpty) this.#wake();
  }

  /** Passes events on in the next turn of the event loop. */
  #wake(): void {
    if (this.#waking) return;
    this.#waking = true;
    setImmediate(() => {
      this.#waking = false;
      this.#parts.events(this.events.take());
    });
  }

  receive(datagram: Uint8Array, address: string, port: number, now: number): void {
    const { vtep, bytes } = this.#parts;
    const { associations } = vtep;
    const { length } = datagram;
    if (length === 1) return; // a NAT-keepalive (RFC 3948, section 2.3)
    if (length < esp.HEADER_LENGTH) return associations.refuse('esp-truncated');
    const spi = esp.getSpi(datagram, 0);
    if (spi === 0) {
      this.events.message(address, datagram, MARKER, length);
      return this.#wake();
    }
    const association = associations.find(spi);
    if (association === undefined) {
      associations.refuse('esp-unknown-spi');
      this.events.unknownSpi(address, spi);
      return this.#wake();
    }
    if (association.address !== address) return associations.refuse('esp-source');
    bytes.set(datagram);
    const { inbound } = association;
    const code = inbound.add(bytes, 0, length, this.#packets);
    if (code !== 0) return associations.refuse(code === esp.REPLAYED ? 'esp-replay' : 'esp-truncated');
    const { used } = inbound;
    this.#association = association;
    this.#from = address;
    this.#port = port;
    this.#now = now;
    inbound.open(bytes, this.#packets, this);
    if (used || !inbound.used) return;
    this.events.used(spi);
    this.#wake();
  }

  opened(_offset: number, start: number, end: number, nextHeader: number): void {
    const { vtep, bytes, sink, recorder, local } = this.#parts;
    if (nextHeader === esp.NO_NEXT_HEADER) return;
    const datagram = start + udp.HEADER_LENGTH;
    const isWhole = end - datagram >= vxlan.HEADER_LENGTH && udp.getLength(bytes, start) === end - start;
    if (nextHeader !== udp.PROTOCOL || !isWhole) return vtep.associations.refuse('esp-payload');
    if (recorder.records('opened')) {
      const from = { address: this.#from, port: this.#port };
      recorder.datagram('in', from, { address: local, port: vtep.port }, bytes, datagram, end, 'opened');
    }
    // The machine may send what it receives, which would be sealed in the same buffer.
    const copy = bytes.slice(datagram, end);
    vtep.associations.receive(
      this.#association!,
      this.#from,
      this.#frame.set(copy, 0, copy.length),
      this.#now,
      0,
      sink,
    );
  }

  refused(_offset: number, why: 'authentication' | 'replay' | 'padding'): void {
    this.#parts.vtep.associations.refuse(why === 'padding' ? 'esp-payload' : `esp-${why}`);
  }

  /**
   * Seals a datagram of the machine.
   * @param sourcePort That of the socket by which it leaves.
   * @returns the packet, or `null` if it is too long.
   */
  seal(remote: Remote, association: esp.Outbound, frame: Frame, sourcePort: number): Buffer | null {
    const { bytes: to, recorder, local, port } = this.#parts;
    const { bytes, start, end } = frame;
    const from = { address: local, port: sourcePort };
    if (recorder.records('opened')) recorder.datagram('out', from, remote, bytes, start, end, 'opened');
    const length = end - start;
    if (HEAD + length + esp.backOf(udp.HEADER_LENGTH + length, ICV) > LONGEST) return null;
    to.set(bytes.subarray(start, end), HEAD);
    udp.setSourcePort(to, esp.FRONT, sourcePort);
    udp.setDestinationPort(to, esp.FRONT, remote.port);
    udp.setLength(to, esp.FRONT, udp.HEADER_LENGTH + length);
    udp.setChecksum(to, esp.FRONT, 0); // the ICV protects the datagram
    const packet = this.#complete(association, HEAD + length, udp.PROTOCOL);
    if (recorder.records('sealed'))
      recorder.datagram('out', from, { address: remote.address, port }, packet, 0, packet.length, 'sealed');
    return packet;
  }

  #complete(association: esp.Outbound, end: number, nextHeader: number): Buffer {
    const { bytes } = this.#parts;
    const stop = association.add(bytes, 0, end, nextHeader, this.#packets);
    association.seal(this.#packets);
    return Buffer.from(bytes.subarray(0, stop)); // a copy
  }

  /** Explains a datagram from the port of ESP. */
  explain(datagram: Uint8Array, from: string, now: number): Explanation {
    const { vtep, bytes } = this.#parts;
    bytes.set(datagram);
    return vtep.associations.explain(bytes, 0, datagram.length, from, now);
  }

  // ---- From the agreement on keys ----

  associate(changes: readonly AssociationChange[], now: number): void {
    const { vtep, aead, sink } = this.#parts;
    const confirm = (remote: Remote, outbound: esp.Outbound): void =>
      this.#send(this.#complete(outbound, esp.FRONT, esp.NO_NEXT_HEADER), remote);
    associate({ vtep, aead, worker: 0, sink, confirm }, changes, now);
  }

  send(messages: readonly KeyingMessage[]): void {
    for (const { address, bytes } of messages) this.#send(Buffer.concat([Buffer.alloc(MARKER), bytes]), { address });
  }

  #send(datagram: Buffer, { address }: Pick<Remote, 'address'>): void {
    this.socket.send(datagram, this.#parts.port, address, () => undefined); // what is lost is repeated
  }
}
