/** The part of the portable engine that moves encrypted datagrams. It exists as soon as a segment is encrypted. */
import { type Socket } from 'node:dgram';
import * as esp from '../../esp/index.js';
import { type AssociationChange, type AssociationKey } from '../../keying/index.js';
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
import { KeyingQueue } from './keying-events.js';

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
  /** The port of ESP. */
  port: number;
  sink: VtepSink;
  /** Receives the events as soon as there are some. */
  wake(): void;
  /** Receives opened datagrams, if a capture wants them. */
  record(from: string, port: number, bytes: Uint8Array, start: number, end: number): void;
}

export class EspDgram implements esp.InboundSink {
  readonly events = new KeyingQueue();
  readonly socket: Socket;
  readonly #parts: EspDgramParts;
  readonly #packets = new esp.PacketList(1);
  readonly #frame = new Frame();
  // The datagram that is being received.
  #association: InboundAssociation | null = null;
  #from = '';
  #port = 0;
  #now = 0;

  constructor(parts: EspDgramParts) {
    this.#parts = parts;
    this.socket = parts.socket;
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
      return this.#parts.wake();
    }
    const association = associations.find(spi);
    if (association === undefined) {
      associations.refuse('esp-unknown-spi');
      this.events.unknownSpi(address, spi);
      return this.#parts.wake();
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
    this.#parts.wake();
  }

  opened(_offset: number, start: number, end: number, nextHeader: number): void {
    const { vtep, bytes, sink, record } = this.#parts;
    if (nextHeader === esp.NO_NEXT_HEADER) return;
    const datagram = start + udp.HEADER_LENGTH;
    const isWhole = end - datagram >= vxlan.HEADER_LENGTH && udp.getLength(bytes, start) === end - start;
    if (nextHeader !== udp.PROTOCOL || !isWhole) return vtep.associations.refuse('esp-payload');
    record(this.#from, this.#port, bytes, datagram, end);
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
  seal(association: esp.Outbound, { bytes, start, end }: Frame, sourcePort: number, port: number): Buffer | null {
    const to = this.#parts.bytes;
    const length = end - start;
    if (HEAD + length + esp.backOf(udp.HEADER_LENGTH + length, ICV) > LONGEST) return null;
    to.set(bytes.subarray(start, end), HEAD);
    udp.setSourcePort(to, esp.FRONT, sourcePort);
    udp.setDestinationPort(to, esp.FRONT, port);
    udp.setLength(to, esp.FRONT, udp.HEADER_LENGTH + length);
    udp.setChecksum(to, esp.FRONT, 0); // the ICV protects the datagram
    return this.#complete(association, HEAD + length, udp.PROTOCOL);
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
    const { vtep, sink, aead } = this.#parts;
    const { associations } = vtep;
    const keyOf = ({ key, salt }: AssociationKey): esp.AeadKey => aead.key({ key, salt, icv: ICV, extended: true });
    for (const change of changes)
      switch (change.do) {
        case 'forget':
          for (const spi of change.spis) associations.removeInbound(spi);
          break;
        case 'accept':
          for (const key of change.keys)
            associations.addInbound(change.group, change.address, new esp.Inbound(key.spi, ICV, keyOf(key)));
          break;
        case 'stop':
          associations.removeOutbound(change.group, change.address);
          break;
        case 'send': {
          const { group, address, keys } = change;
          const outbound = new esp.Outbound(keys[0]!.spi, ICV, keyOf(keys[0]!));
          if (!associations.setOutbound(group, address, outbound, now, sink)) break;
          // A dummy packet (RFC 4303, section 2.6), by which the receiver learns that the association is in use.
          this.#send(this.#complete(outbound, esp.FRONT, esp.NO_NEXT_HEADER), vtep.remote(address)!);
        }
      }
  }

  send(messages: readonly KeyingMessage[]): void {
    for (const { address, bytes } of messages) this.#send(Buffer.concat([Buffer.alloc(MARKER), bytes]), { address });
  }

  #send(datagram: Buffer, { address }: Pick<Remote, 'address'>): void {
    this.socket.send(datagram, this.#parts.port, address, () => undefined); // what is lost is repeated
  }
}
