/** Distributes the events of a running VTEP to its clients. */
import { type EventsRequest, type Notice, type NoticeFields, type NoticeType } from '../schema/index.js';
import { RequestError } from './error.js';
import { type LogRecord } from './log.js';
import { PAGE_ENTRIES, type Page } from './pages.js';

/** Most clients that follow the events. */
const MOST = 16;
/** Most events that wait for one client; further ones are dropped and counted. Clients share the events themselves. */
const QUEUE = 1 << 14;
/** Most milliseconds between two pages, so that the client knows that the VTEP is alive. */
const HEARTBEAT = 1000;

/** The lines of the log that are events, too, with the same fields. */
const LOGGED: ReadonlySet<string> = new Set<NoticeType>([
  'tap-lost',
  'conflict',
  'conflict-over',
  'peer-unreachable',
  'peer-reachable',
  'path-narrowed',
  'local-address-lost',
  'local-address-back',
  'duplicate-address',
  'mac-flood',
  'loop',
]);

export class Notices {
  readonly #listener: ((notice: Notice) => void) | undefined;
  readonly #followers = new Set<Follower>();
  #closed = false;

  /** @param listener Receives every event, too. It must neither block nor throw. */
  constructor(listener?: (notice: Notice) => void) {
    this.#listener = listener;
  }

  /** Whether somebody listens: otherwise nothing needs to be told. */
  get isHeard(): boolean {
    return this.#listener !== undefined || this.#followers.size > 0;
  }

  tell<T extends NoticeType>(type: T, fields: NoticeFields[T]): void {
    if (this.isHeard) this.#pass({ type, time: new Date().toISOString(), ...fields } as unknown as Notice);
  }

  /** Tells what a line of the log says, if that is an event. */
  logged({ time, level, event, message, fields }: LogRecord): void {
    if (!this.isHeard || !LOGGED.has(event)) return;
    const head = { type: event, time: new Date(time).toISOString(), level, message };
    this.#pass({ ...head, ...fields } as unknown as Notice);
  }

  /**
   * Returns the events from this call on, in pages, until `gone` is aborted or the VTEP stops.
   * @throws RequestError if too many clients follow them.
   */
  follow({ type, vni }: Omit<EventsRequest, 'command'>, gone: AbortSignal): AsyncGenerator<Page> {
    if (this.#followers.size >= MOST)
      throw new RequestError(
        'too-many-requests',
        `${MOST} clients follow the events, which is the limit; end one of them`,
      );
    const follower = new Follower(type, vni);
    if (this.#closed) follower.end();
    else this.#followers.add(follower);
    return this.#pages(follower, gone);
  }

  /** Ends every stream after the events so far. */
  close(): void {
    this.#closed = true;
    for (const follower of this.#followers) follower.end();
  }

  #pass(notice: Notice): void {
    this.#listener?.(notice);
    for (const follower of this.#followers) follower.add(notice);
  }

  async *#pages(follower: Follower, gone: AbortSignal): AsyncGenerator<Page> {
    const end = (): void => follower.end();
    gone.addEventListener('abort', end);
    if (gone.aborted) end();
    try {
      yield { result: [], dropped: 0 };
      for (let last = false; !last;) {
        await follower.ready();
        const page = follower.take();
        last = page.last;
        yield page;
      }
    } finally {
      gone.removeEventListener('abort', end);
      this.#followers.delete(follower);
    }
  }
}

/** One client. */
class Follower {
  readonly #type: NoticeType | undefined;
  readonly #vni: number | undefined;
  #queue: Notice[] = [];
  /** Events of the queue that were taken. */
  #taken = 0;
  #dropped = 0;
  #ended = false;
  #wake: () => void = () => undefined;

  constructor(type: NoticeType | undefined, vni: number | undefined) {
    this.#type = type;
    this.#vni = vni;
  }

  add(notice: Notice): void {
    if (this.#ended || !this.#isWanted(notice)) return;
    if (this.#queue.length - this.#taken >= QUEUE) this.#dropped++;
    else this.#queue.push(notice);
    this.#wake();
  }

  #isWanted(notice: Notice): boolean {
    if (this.#type !== undefined && notice.type !== this.#type) return false;
    if (this.#vni === undefined) return true;
    const { vni, vnis } = notice as { vni?: number; vnis?: readonly number[] };
    return vni === this.#vni || vnis?.includes(this.#vni) === true;
  }

  end(): void {
    this.#ended = true;
    this.#wake();
  }

  /** Resolves when there is something to take, and at the latest after the heartbeat. */
  ready(): Promise<void> {
    if (this.#ended || this.#queue.length > this.#taken) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, HEARTBEAT);
      timer.unref();
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = () => undefined;
        resolve();
      };
    });
  }

  take(): Page & { last: boolean } {
    const result = this.#queue.slice(this.#taken, this.#taken + PAGE_ENTRIES);
    this.#taken += result.length;
    const isEmpty = this.#taken === this.#queue.length;
    // To shift the queue with each page would take quadratic time.
    if (isEmpty || this.#taken >= QUEUE / 2) {
      this.#queue = isEmpty ? [] : this.#queue.slice(this.#taken);
      this.#taken = 0;
    }
    return { result, dropped: this.#dropped, last: this.#ended && isEmpty };
  }
}
