/**
 * Of a node: sends the output of its tasks to the manager that requests it, one batch at a time. While the manager has no room,
 * nothing more is read here; what the commands write meanwhile is kept by their shims, as far as these keep it.
 */
import { type EndpointRecord } from '../../cluster/index.js';
import { pause } from '../sandbox/processes.js';
import { type Workload } from '../sandbox/workload.js';
import { ClusterError } from './error.js';
import { OutputLines, perCommand } from './output-lines.js';
import { BATCH_LINES, BATCH_SIZE, type OutputBatch, type OutputReply, type OutputRequest } from './protocol.js';

export interface SenderParts {
  /** The endpoints on this node. */
  endpoints(): readonly EndpointRecord[];
  workloadOf(endpoint: EndpointRecord): Promise<Workload | undefined>;
  /** Sends a batch to a manager. @throws ClusterError */
  send(batch: OutputBatch): Promise<OutputReply>;
  /** Receives what keeps it from reading an output. */
  failed(error: unknown): void;
}

/** Most requests that are answered at a time; a manager passes on as many. */
const REQUESTS = 64;
/** Milliseconds between two looks at what is followed, and before a batch is sent again. */
const POLL = 250;
/** Milliseconds after which a batch is sent even if nothing was written: the manager counts on one in 15 s. */
const KEEPALIVE = 3000;
/** Milliseconds after which a batch that no manager has answered is given up, with the request. */
const PATIENCE = 15_000;
/** Codes of errors after which a batch is sent again. */
const UNKNOWN = ['unreachable', 'timeout', 'lost', 'unavailable'];

export class OutputSender {
  readonly #parts: SenderParts;
  readonly #running = new Set<string>();
  #closed = false;

  constructor(parts: SenderParts) {
    this.#parts = parts;
  }

  /** Begins to answer a request; one that is being answered goes on. */
  begin(request: OutputRequest): void {
    if (this.#closed || this.#running.has(request.id)) return;
    const { id, sequence } = request;
    if (this.#running.size >= REQUESTS) {
      const refused = `sends the output for ${REQUESTS} requests already`;
      void this.#send({ id, sequence, lines: [], last: true, refused });
      return;
    }
    this.#running.add(id);
    this.#answer(request)
      .catch(async (error: unknown) => {
        this.#parts.failed(error);
        // The reader hears of it by the silence.
      })
      .finally(() => this.#running.delete(id));
  }

  close(): void {
    this.#closed = true;
  }

  async #answer({ id, service, slot, tail, follow, sequence }: OutputRequest): Promise<void> {
    const output = new OutputLines((endpoint) => this.#parts.workloadOf(endpoint), tail);
    const batches = new Batches(id, sequence);
    const own = (): EndpointRecord[] =>
      perCommand(
        this.#parts.endpoints().filter(({ of }) => of?.service === service && (slot === undefined || of.slot === slot)),
      );
    // This may be another process than the one that has sent those before.
    if (sequence > 0) for (const { of } of own()) batches.miss(of!.task);
    let sent = -Infinity;
    for (;;) {
      for (const endpoint of own()) {
        const written = await output.next(endpoint, !follow);
        if (written === undefined) continue;
        if (written.missed) batches.miss(endpoint.of!.task);
        batches.add(endpoint.of!.task, written.lines);
        // One after the other: what waits here is the output of one command at most.
        while (batches.hasMore) {
          if (!(await this.#send(batches.take()))) return;
          sent = performance.now();
        }
      }
      if (!follow) return void (await this.#send(batches.end()));
      if (performance.now() - sent >= KEEPALIVE) {
        if (!(await this.#send(batches.take()))) return;
        sent = performance.now();
      }
      await pause(POLL);
      if (this.#closed) return;
    }
  }

  /** Sends a batch until a manager takes it. @returns whether more is wanted. */
  async #send(batch: OutputBatch): Promise<boolean> {
    let limit = performance.now() + PATIENCE;
    while (!this.#closed) {
      try {
        const { taken, more } = await this.#parts.send(batch);
        if (!more || taken) return more;
        limit = performance.now() + PATIENCE; // it answers
      } catch (error) {
        if (!(error instanceof ClusterError)) throw error;
        if (!UNKNOWN.includes(error.code) || performance.now() > limit) return false;
      }
      await pause(POLL);
    }
    return false;
  }
}

/** Lines that wait, in batches. */
class Batches {
  readonly #id: string;
  #sequence: number;
  #lines: OutputBatch['lines'][number][] = [];
  #at = 0;
  readonly #missed = new Set<string>();

  constructor(id: string, sequence: number) {
    this.#id = id;
    this.#sequence = sequence;
  }

  get hasMore(): boolean {
    return this.#at < this.#lines.length || this.#missed.size > 0;
  }

  miss(task: string): void {
    this.#missed.add(task);
  }

  add(task: string, lines: readonly string[]): void {
    if (this.#at === this.#lines.length) [this.#lines, this.#at] = [[], 0];
    for (const line of lines) this.#lines.push({ task, line });
  }

  /** The next batch, which may be empty. */
  take(): OutputBatch {
    const from = this.#at;
    for (let size = 0; this.#at < this.#lines.length && this.#at - from < BATCH_LINES && size < BATCH_SIZE; this.#at++)
      size += Buffer.byteLength(JSON.stringify(this.#lines[this.#at]));
    const missed = [...this.#missed];
    this.#missed.clear();
    return {
      ...{ id: this.#id, sequence: this.#sequence++, lines: this.#lines.slice(from, this.#at) },
      ...(missed.length === 0 ? {} : { missed }),
    };
  }

  end(): OutputBatch {
    return { id: this.#id, sequence: this.#sequence++, lines: [], last: true };
  }
}
