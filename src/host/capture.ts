/**
 * Captures: distributes copies of the packets that an engine moves, on the thread that serves clients. The recorders
 * make the copies, one recorder per worker, on the threads that move the packets; see recorder.ts.
 */
import { MAX_SNAP, type CaptureRequest } from '../schema/index.js';
import { RequestError } from './error.js';
import { PAGE_ENTRIES, type Page } from './pages.js';
import {
  FORMS,
  newRecorderMemory,
  NO_TAP,
  RECORD,
  type EspForm,
  type RecorderMemory,
  type Records,
  type ToRecorder,
  type UdpEnd,
} from './recorder.js';

export interface Captured {
  /** Nanoseconds since 1970 UTC, as decimal digits. */
  time: string;
  /** A TAP's name, or `underlay`. */
  place: string;
  /** From the VTEP's point of view: `in` from the TAP or from the underlay. */
  direction: 'in' | 'out';
  /** Original length of the packet in bytes; `data` may be shorter if the request limits it. */
  length: number;
  /** The frame, or the datagram from its VXLAN header on, in hexadecimal. */
  data: string;
  /** On the underlay: source and destination of the datagram. */
  source?: UdpEnd;
  destination?: UdpEnd;
  /** Whether the datagram is in the port of ESP, and not VXLAN: an ESP packet, or a message about keys. */
  esp?: boolean;
}

/** The `place` of datagrams. A device may have this name too; its packets have no `source`. */
export const UNDERLAY = 'underlay';

/** Most concurrent captures. */
const MOST = 8;
/** Approximate limit of bytes of records queued for one client; further packets are dropped and counted. */
const QUEUE = 4 << 20;
/** Approximate number of bytes of packets in a page. */
const PAGE_BYTES = 64 << 10;
/** Most milliseconds between two pages, so that the client knows that the VTEP is alive. */
const HEARTBEAT = 1000;
/** Milliseconds that packets of one worker wait for those of other workers, so that they can be sorted by time. */
const MERGE = 50;

/** What captures tell about their packets. */
export interface CaptureContext {
  /** This VTEP's underlay address. */
  readonly local: string;
  /** Number of recorders. */
  readonly workers: number;
  /** The name of a port, which may be detached. */
  nameOf(port: number): string;
}

/** Distributes the packets of all recorders to all captures. */
export class Captures {
  readonly #context: CaptureContext;
  readonly #post: (worker: number, message: ToRecorder) => void;
  readonly #open = new Set<Capture>();
  /** Memory of each worker's recorder; allocated for the first capture, then kept. */
  #memories: RecorderMemory[] = [];
  /** Workers whose recorders wait until a capture has room again, with the number of packets dropped here. */
  readonly #waiting = new Map<number, number>();

  /** @param post Sends a message to a worker's recorder. */
  constructor(context: CaptureContext, post: (worker: number, message: ToRecorder) => void) {
    this.#context = context;
    this.#post = post;
  }

  /**
   * Starts a capture, which ends after `count` packets or `seconds`, when `gone` is aborted, or when the engine stops.
   * @throws RequestError if too many captures are running.
   */
  open({ count, seconds, snap = MAX_SNAP, decrypt = false }: CaptureRequest, gone: AbortSignal): AsyncGenerator<Page> {
    if (this.#open.size >= MOST)
      throw new RequestError('too-many-requests', `${MOST} captures are running, which is the limit; end one of them`);
    const capture = new Capture(this.#context, { count, snap, form: decrypt ? 'opened' : 'sealed' }, () =>
      this.#dropped(),
    );
    this.#open.add(capture);
    this.#record();
    this.#release();
    return this.#pages(capture, seconds, gone);
  }

  /** Handles records that a worker's recorder has handed out. */
  take(worker: number, { half, bytes, records }: Records): void {
    let again = 0;
    if (this.#open.size > 0) {
      const copy = Buffer.allocUnsafeSlow(bytes);
      copy.set(new Uint8Array(this.#memories[worker]!.halves[half], 0, bytes));
      const isMixed = this.#forms().length > 1;
      for (const capture of this.#open) {
        const own = isMixed ? ofForm(copy, capture.form) : { bytes: copy, records };
        // What it does not get must be replaced by further packets.
        if (!capture.add(worker, own.bytes, own.records)) again = records;
        else again = Math.max(again, records - own.records);
      }
    }
    this.#waiting.set(worker, again);
    this.#release();
  }

  /** Ends every capture with the packets that it has. */
  stop(): void {
    for (const capture of this.#open) capture.close();
  }

  async *#pages(capture: Capture, seconds: number, gone: AbortSignal): AsyncGenerator<Page> {
    const close = (): void => capture.close();
    const timer = setTimeout(close, seconds * 1000);
    gone.addEventListener('abort', close);
    try {
      if (gone.aborted) close();
      yield { result: [], dropped: 0 };
      for (let last = false; !last;) {
        await capture.ready();
        const result = capture.next();
        if (capture.closed) this.#close(capture);
        last = capture.finished;
        this.#release();
        yield { result, dropped: capture.dropped, last };
      }
    } finally {
      clearTimeout(timer);
      gone.removeEventListener('abort', close);
      capture.close();
      this.#close(capture);
      this.#release();
    }
  }

  #close(capture: Capture): void {
    if (this.#open.delete(capture)) this.#record();
  }

  /** The forms of ESP packets that the captures want. */
  #forms(): EspForm[] {
    return [...new Set([...this.#open].map(({ form }) => form))];
  }

  /** Requests the recorders to record as much as the captures need now. */
  #record(): void {
    const open = [...this.#open];
    const packets = Math.max(0, ...open.map(({ wanted }) => wanted));
    const snap = Math.max(0, ...open.map((capture) => capture.snap));
    const isNew = this.#memories.length === 0;
    if (isNew) this.#memories = Array.from({ length: this.#context.workers }, newRecorderMemory);
    for (const [worker, memory] of this.#memories.entries())
      this.#post(worker, { type: 'record', packets, snap, esp: this.#forms(), ...(isNew ? { memory } : {}) });
  }

  /** Resumes the recorders, unless no capture has room. */
  #release(): void {
    const open = [...this.#open];
    if (open.length > 0 && !open.some((capture) => capture.hasRoom)) return;
    for (const [worker, again] of this.#waiting) this.#post(worker, { type: 'read', again });
    this.#waiting.clear();
  }

  /** Number of packets that the recorders have dropped. */
  #dropped(): number {
    return this.#memories.reduce((sum, { dropped }) => sum + new Float64Array(dropped)[0]!, 0);
  }
}

/** Records from a recorder, and the position up to which they have been read. */
interface Batch {
  bytes: Buffer;
  at: number;
  /** Milliseconds, of `performance.now()`. */
  arrived: number;
}

/** Offsets of the parts of the next record. */
function layoutOf({ bytes, at }: Batch): { address: number; data: number; end: number } {
  const address = at + RECORD.size;
  const data = address + bytes.readUInt8(at + RECORD.addressLength);
  return { address, data, end: data + bytes.readUInt32LE(at + RECORD.captured) };
}

/** The records of a batch without those of ESP packets in another form. */
function ofForm(bytes: Buffer, form: EspForm): { bytes: Buffer; records: number } {
  const parts: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const { end } = layoutOf({ bytes, at, arrived: 0 });
    const own = FORMS[bytes.readUInt8(at + RECORD.form)];
    if (own === 'clear' || own === form) parts.push(bytes.subarray(at, end));
    at = end;
  }
  return { bytes: Buffer.concat(parts), records: parts.length };
}

/** Time of the next record in nanoseconds since 1970, as precise as the clock that it was taken from. */
function timeOf({ bytes, at }: Batch): number {
  return bytes.readUInt32LE(at + RECORD.seconds) * 1e9 + bytes.readUInt32LE(at + RECORD.nanoseconds);
}

/** One capture, and the records queued for its client. */
class Capture {
  readonly snap: number;
  /** What it records of ESP packets. */
  readonly form: EspForm;
  closed = false;
  readonly #context: CaptureContext;
  readonly #count: number;
  readonly #lost: () => number;
  /** The recorders' number of dropped packets when this capture began. */
  readonly #lostBefore: number;
  /** Start of this capture in milliseconds since 1970; earlier packets do not belong to it. */
  readonly #since = performance.timeOrigin + performance.now();
  /** Workers whose records are all later than the start. */
  readonly #current = new Set<number>();
  /** Batches by worker, each worker's in order of time. */
  readonly #batches: Batch[][];
  #bytes = 0;
  #accepted = 0;
  #delivered = 0;
  #dropped = 0;
  #wake: () => void = () => undefined;

  /** @param lost Returns how many packets the recorders have dropped. */
  constructor(
    context: CaptureContext,
    { count, snap, form }: { count: number; snap: number; form: EspForm },
    lost: () => number,
  ) {
    this.#context = context;
    this.#count = count;
    this.snap = snap;
    this.form = form;
    this.#lost = lost;
    this.#lostBefore = lost();
    this.#batches = Array.from({ length: context.workers }, () => []);
  }

  /** Number of packets still missing. */
  get wanted(): number {
    return Math.max(0, this.#count - this.#accepted);
  }

  get hasRoom(): boolean {
    return !this.closed && this.#bytes < QUEUE;
  }

  /** Number of packets so far that were dropped, here or by the recorders. */
  get dropped(): number {
    return this.#dropped + (this.closed ? 0 : this.#lost() - this.#lostBefore);
  }

  /** Whether everything has been delivered. */
  get finished(): boolean {
    return this.closed && (this.#bytes === 0 || this.#delivered === this.#count);
  }

  /** @returns false if it drops the records because the client is slow. */
  add(worker: number, bytes: Buffer, records: number): boolean {
    if (this.closed) return true;
    if (!this.hasRoom) {
      this.#dropped += records;
      return false;
    }
    const batch = { bytes, at: 0, arrived: performance.now() };
    const earlier = this.#current.has(worker) ? 0 : this.#skipEarlier(batch);
    if (earlier === records) return true;
    this.#current.add(worker);
    this.#batches[worker]!.push(batch);
    this.#bytes += bytes.length - batch.at;
    this.#accepted += records - earlier;
    if (this.#accepted >= this.#count) this.close();
    this.#wake();
    return true;
  }

  /** Skips records from before this capture, and returns how many. */
  #skipEarlier(batch: Batch): number {
    let count = 0;
    for (; batch.at < batch.bytes.length && timeOf(batch) < this.#since * 1e6; count++) batch.at = layoutOf(batch).end;
    return count;
  }

  /** Accepts no more packets; queued packets are still delivered. */
  close(): void {
    this.#dropped = this.dropped;
    this.closed = true;
    this.#wake();
  }

  /** Waits for packets, for the end, or until a page without packets is due. */
  async ready(): Promise<void> {
    if (this.#bytes === 0 && !this.closed) await this.#news(HEARTBEAT);
    if (this.#batches.length > 1 && this.#bytes > 0 && this.#batches.some((own) => own.length === 0)) {
      const oldest = Math.min(...this.#batches.map(([batch]) => batch?.arrived ?? Infinity));
      const wait = oldest + MERGE - performance.now();
      if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }

  /** Returns the next packets, up to a page. */
  next(): Captured[] {
    const packets: Captured[] = [];
    for (let bytes = 0; bytes < PAGE_BYTES && packets.length < PAGE_ENTRIES && this.#delivered < this.#count;) {
      const own = this.#earliest();
      if (own === null) break;
      const batch = own[0]!;
      const start = batch.at;
      const packet = this.#read(batch);
      packets.push(packet);
      bytes += packet.data.length / 2;
      this.#bytes -= batch.at - start;
      this.#delivered++;
      if (batch.at === batch.bytes.length) own.shift();
    }
    return packets;
  }

  /** Returns the batches of the worker whose next packet is the earliest. */
  #earliest(): Batch[] | null {
    let earliest: Batch[] | null = null;
    let least = Infinity;
    for (const own of this.#batches) {
      const [batch] = own;
      if (batch === undefined) continue;
      const time = timeOf(batch);
      if (time >= least) continue;
      least = time;
      earliest = own;
    }
    return earliest;
  }

  #read(batch: Batch): Captured {
    const { bytes, at } = batch;
    const { address, data, end } = layoutOf(batch);
    batch.at = end;
    const tap = bytes.readUInt32LE(at + RECORD.tap);
    const seconds = BigInt(bytes.readUInt32LE(at + RECORD.seconds));
    const packet: Captured = {
      time: String(seconds * 1_000_000_000n + BigInt(bytes.readUInt32LE(at + RECORD.nanoseconds))),
      place: tap === NO_TAP ? UNDERLAY : this.#context.nameOf(tap),
      direction: bytes.readUInt8(at + RECORD.direction) === 0 ? 'in' : 'out',
      length: bytes.readUInt32LE(at + RECORD.length),
      data: bytes.toString('hex', data, Math.min(end, data + this.snap)),
    };
    if (tap !== NO_TAP) return packet;
    const remote = {
      address: bytes.toString('latin1', address, data),
      port: bytes.readUInt16LE(at + RECORD.remotePort),
    };
    const local = { address: this.#context.local, port: bytes.readUInt16LE(at + RECORD.localPort) };
    const [source, destination] = packet.direction === 'in' ? [remote, local] : [local, remote];
    const isEsp = FORMS[bytes.readUInt8(at + RECORD.form)] === 'sealed';
    return { ...packet, source, destination, ...(isEsp ? { esp: true } : {}) };
  }

  #news(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const settle = (): void => {
        clearTimeout(timer);
        this.#wake = () => undefined;
        resolve();
      };
      const timer = setTimeout(settle, milliseconds);
      this.#wake = settle;
    });
  }
}
