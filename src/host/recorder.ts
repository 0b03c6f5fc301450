/**
 * Copies packets for captures, on the thread that moves them: frames at the TAPs and datagrams on the underlay, each
 * with time and direction. Without a capture, this costs the data path one comparison per packet.
 *
 * It writes records into one half of a memory shared with the reader, while the reader has the other half. It never
 * waits: if there is no room because the reader still has the other half, it counts the packet as dropped.
 */
import { performance } from 'node:perf_hooks';

export interface UdpEnd {
  address: string;
  port: number;
}

/** The memory shared by a recorder and its reader. */
export interface RecorderMemory {
  halves: readonly [SharedArrayBuffer, SharedArrayBuffer];
  /** One Float64: number of packets dropped so far for lack of room. */
  dropped: SharedArrayBuffer;
}

/** Size of a half in bytes: some 30 super-frames of 64 KiB. */
const HALF = 2 << 20;

export function newRecorderMemory(): RecorderMemory {
  return {
    halves: [new SharedArrayBuffer(HALF), new SharedArrayBuffer(HALF)],
    dropped: new SharedArrayBuffer(8),
  };
}

/** An ESP packet as it is on the wire, or the datagram in it. */
export type EspForm = 'sealed' | 'opened';

/** Messages to a recorder. */
export type ToRecorder =
  /**
   * Record the next `packets` packets, 0 for none, and at most `snap` bytes of each. `esp`: how to record ESP packets; default:
   * as they are on the wire.
   */
  | { type: 'record'; packets: number; snap: number; esp?: readonly EspForm[]; memory?: RecorderMemory }
  /** The reader has read the half that it had; `again` of its packets must be replaced by further ones. */
  | { type: 'read'; again: number };

/** A half with `records` records in its first `bytes` bytes. */
export interface Records {
  half: 0 | 1;
  bytes: number;
  records: number;
}

/** Offsets in a record, which is little-endian. The remote's address in ASCII and the packet's bytes follow it. */
export const RECORD = {
  seconds: 0,
  nanoseconds: 4,
  /** Original length of the packet, and number of its bytes in the record. */
  length: 8,
  captured: 12,
  /** The number of the TAP's port, or `NO_TAP` for a datagram. */
  tap: 16,
  /** 0: in, 1: out. */
  direction: 20,
  addressLength: 21,
  remotePort: 22,
  localPort: 24,
  /** What of an ESP packet it is: an index of `FORMS`. */
  form: 26,
  size: 28,
} as const;
export const NO_TAP = 0xffff_ffff;
/** What a record is of: of no ESP packet, or of one in a form. */
export const FORMS = ['clear', 'sealed', 'opened'] as const;

export class Recorder {
  /** Whether a capture is running; the data path checks this first. */
  active = false;
  readonly #full: (records: Records) => void;
  readonly #first: () => void;
  #halves: readonly [Half, Half] | undefined;
  #dropped: Float64Array = new Float64Array(1);
  #left = 0;
  #esp: readonly EspForm[] = [];
  #snap = 0;
  #filling: 0 | 1 = 0;
  #at = 0;
  #records = 0;
  /** Whether the reader has the other half. */
  #handedOut = false;

  /**
   * @param full Receives a half to read. The reader answers with `read`.
   * @param first Called on the first record of a half, for an owner that does not call `flush` in every turn.
   */
  constructor(full: (records: Records) => void, first: () => void = () => undefined) {
    this.#full = full;
    this.#first = first;
  }

  /** Whether it records ESP packets in a form. */
  records(form: EspForm): boolean {
    return this.active && this.#esp.includes(form);
  }

  handle(message: ToRecorder): void {
    if (message.type === 'read') {
      this.#handedOut = false;
      this.#left += message.again;
      this.active = this.#left > 0;
      if (this.#records > 0) this.#first();
      return;
    }
    const { packets, snap, memory, esp = ['sealed'] } = message;
    this.#esp = esp;
    if (memory !== undefined) {
      this.#halves = [halfOf(memory.halves[0]), halfOf(memory.halves[1])];
      this.#dropped = new Float64Array(memory.dropped);
    }
    this.#left = packets;
    this.#snap = snap;
    this.active = packets > 0;
    if (!this.active) this.#at = this.#records = 0;
  }

  /** Hands out the records so far, unless the reader still has the other half. Call it at the end of a turn. */
  flush(): void {
    if (this.#records === 0 || this.#handedOut) return;
    const full = { half: this.#filling, bytes: this.#at, records: this.#records };
    this.#handedOut = true;
    this.#filling = this.#filling === 0 ? 1 : 0;
    this.#at = this.#records = 0;
    this.#full(full); // this may call back
  }

  frame(port: number, direction: 'in' | 'out', bytes: Uint8Array, offset: number, end: number): void {
    this.#add(port, direction, '', 0, 0, bytes, offset, end);
  }

  datagram(
    direction: 'in' | 'out',
    source: UdpEnd,
    destination: UdpEnd,
    bytes: Uint8Array,
    offset: number,
    end: number,
    form: (typeof FORMS)[number] = 'clear',
  ): void {
    const [remote, local] = direction === 'in' ? [source, destination] : [destination, source];
    this.#add(NO_TAP, direction, remote.address, remote.port, local.port, bytes, offset, end, FORMS.indexOf(form));
  }

  #add(
    tap: number,
    direction: 'in' | 'out',
    address: string,
    remotePort: number,
    localPort: number,
    bytes: Uint8Array,
    offset: number,
    end: number,
    form = 0,
  ): void {
    const captured = Math.min(end - offset, this.#snap);
    const size = RECORD.size + address.length + captured;
    if (this.#at + size > HALF) this.flush();
    if (this.#at + size > HALF) {
      this.#dropped[0]! += 1;
      return;
    }
    const { view, bytes: to } = this.#halves![this.#filling];
    const at = this.#at;
    const now = performance.timeOrigin + performance.now();
    const seconds = Math.floor(now / 1000);
    view.setUint32(at + RECORD.seconds, seconds, true);
    view.setUint32(at + RECORD.nanoseconds, Math.round((now - seconds * 1000) * 1e6), true);
    view.setUint32(at + RECORD.length, end - offset, true);
    view.setUint32(at + RECORD.captured, captured, true);
    view.setUint32(at + RECORD.tap, tap, true);
    view.setUint8(at + RECORD.direction, direction === 'in' ? 0 : 1);
    view.setUint8(at + RECORD.addressLength, address.length);
    view.setUint16(at + RECORD.remotePort, remotePort, true);
    view.setUint16(at + RECORD.localPort, localPort, true);
    view.setUint8(at + RECORD.form, form);
    let next = at + RECORD.size;
    for (let i = 0; i < address.length; i++) to[next++] = address.charCodeAt(i);
    to.set(bytes.subarray(offset, offset + captured), next);
    this.#at = at + size;
    if (++this.#records === 1 && !this.#handedOut) this.#first();
    if (--this.#left <= 0) this.active = false;
  }
}

interface Half {
  bytes: Uint8Array;
  view: DataView;
}

function halfOf(memory: SharedArrayBuffer): Half {
  return { bytes: new Uint8Array(memory), view: new DataView(memory) };
}
