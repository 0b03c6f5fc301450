/**
 * Of a manager: passes the output of tasks on from their nodes to the one that asks. A node that asks has a stream (`POST
 * /v1/logs`). The manager requests the output of each node that has some of it on that node's stream of assignments, and the node
 * sends it in batches (`POST /v1/output`). A batch is refused for now while the reader has not read those before, so that little of
 * what is written is in memory here, and the node waits.
 *
 * A node that does not answer is named to the reader, and nothing waits for it.
 */
import { type ServerResponse } from 'node:http';
import { newId, type OutputOf, type OutputTask } from '../../cluster/index.js';
import { type OutputEvent } from '../../schema/index.js';
import { text } from '../control-text.js';
import { type Actor, type ManagerBackend } from './backend.js';
import { ClusterError } from './error.js';
import { secretRandom } from './manager.js';
import { type LogsBody, type LogsLine, type OutputBatch, type OutputReply, type OutputRequest } from './protocol.js';

export interface RelayLimits {
  /** Most readers in all, and of one node. */
  readers: number;
  readersPerNode: number;
  /** Octets that wait for a reader, beyond which batches are refused for now. */
  waiting: number;
  /** Milliseconds until a node has to have sent its first batch, and from one batch to the next. */
  first: number;
  next: number;
  /** Milliseconds between two looks at what has changed: tasks, the rights of the reader, nodes that do not answer. */
  look: number;
  /** Milliseconds that a reader may take for what was written. */
  stall: number;
}

export const RELAY_LIMITS: RelayLimits = {
  ...{ readers: 64, readersPerNode: 16, waiting: 262_144 },
  ...{ first: 5000, next: 15_000, look: 1000, stall: 60_000 },
};

export interface RelayParts {
  readonly backend: Pick<ManagerBackend, 'outputTasks' | 'outputCalled'>;
  readonly limits: RelayLimits;
  /** Requests output of a node. @returns false if the node has no stream of assignments here that keeps up. */
  request(node: string, request: OutputRequest): boolean;
}

/** The stream that answers a request. */
export interface ReaderStream {
  /** Sends its head. */
  begin(): void;
  /** Whether the certificate of the reader is still valid. */
  isValid(): boolean;
}

/** What one node has to send to one reader. */
interface Source {
  readonly id: string;
  readonly node: string;
  /** The number of the next batch. */
  sequence: number;
  /** When it has sent something last, or was asked. */
  heard: number;
  state: 'asked' | 'open' | 'done' | 'lost';
  /** Whether it was lost before, which the reader knows. */
  readonly isAgain: boolean;
  readonly tail: number | undefined;
}

export class LogRelay {
  readonly #parts: RelayParts;
  readonly #readers = new Set<Reader>();
  readonly #sources = new Map<string, Reader>();

  constructor(parts: RelayParts) {
    this.#parts = parts;
  }

  /** Number of readers. */
  get size(): number {
    return this.#readers.size;
  }

  /**
   * Answers a request for output with a stream.
   * @throws ClusterError if there is nothing of this name that the node may read, or if too much is read already.
   */
  read(actor: Actor, body: LogsBody, response: ServerResponse, { begin, isValid }: ReaderStream): void {
    const { backend, limits } = this.#parts;
    const of = backend.outputCalled(actor, body.name);
    if (of === undefined)
      throw new ClusterError(
        'not-found',
        `name: there is no service and no task ${body.name} whose output this node may read; a worker reads that of ` +
          'services on the networks in which it has an endpoint',
        { fields: ['name'] },
      );
    const own = [...this.#readers].filter((reader) => reader.actor.node === actor.node).length;
    if (this.#readers.size >= limits.readers || own >= limits.readersPerNode)
      throw new ClusterError(
        'unavailable',
        `the manager passes on the output of at most ${limits.readersPerNode} requests of one node and ${limits.readers} in all at a ` +
          'time; end others',
      );
    begin();
    const reader = new Reader({ actor, of, body, response, isValid }, this.#parts, this.#sources);
    this.#readers.add(reader);
    response.on('close', () => {
      this.#readers.delete(reader);
      reader.close();
    });
    reader.look();
  }

  /** A node has begun a stream of assignments. */
  returned(node: string): void {
    for (const reader of this.#readers) reader.returned(node);
  }

  /** Takes a batch of a node. */
  take(node: string, batch: OutputBatch): OutputReply {
    return this.#sources.get(batch.id)?.take(node, batch) ?? { taken: true, more: false };
  }
}

interface Asking extends Pick<ReaderStream, 'isValid'> {
  readonly actor: Actor;
  readonly of: OutputOf;
  readonly body: LogsBody;
  readonly response: ServerResponse;
}

/** A stream to a node that asks. */
class Reader {
  readonly actor: Actor;
  readonly #of: OutputOf;
  readonly #body: LogsBody;
  readonly #response: ServerResponse;
  readonly #isValid: () => boolean;
  readonly #parts: RelayParts;
  /** The readers of all sources, by the id of the request. */
  readonly #all: Map<string, Reader>;
  /** By the id of the node. */
  readonly #sources = new Map<string, Source>();
  /** By the id of the task, those that were there before included. */
  readonly #tasks = new Map<string, OutputTask>();
  /** Tasks without a node of which the reader knows. */
  readonly #homeless = new Set<string>();
  readonly #timer: NodeJS.Timeout;
  #isFirst = true;
  /** When the response began to lag. */
  #behind: number | undefined;
  #written = performance.now();

  constructor({ actor, of, body, response, isValid }: Asking, parts: RelayParts, all: Map<string, Reader>) {
    this.actor = actor;
    this.#of = of;
    this.#body = body;
    this.#response = response;
    this.#isValid = isValid;
    this.#parts = parts;
    this.#all = all;
    response.on('drain', () => (this.#behind = undefined));
    this.#timer = setInterval(() => this.look(), parts.limits.look);
    this.#timer.unref();
  }

  close(): void {
    clearInterval(this.#timer);
    for (const { id } of this.#sources.values()) this.#all.delete(id);
  }

  /** Looks at what has changed: asks nodes that have tasks now, and gives up those that do not answer. */
  look(): void {
    const now = performance.now();
    const { limits, backend } = this.#parts;
    if (this.#response.destroyed || this.#response.writableEnded) return;
    const isStalled = this.#behind !== undefined && now - this.#behind >= limits.stall;
    if (isStalled || !this.#isValid()) return void this.#response.destroy();
    const tasks = backend.outputTasks(this.actor, this.#of);
    if (tasks === undefined) return this.#end();
    for (const task of tasks) this.#tasks.set(task.id, task);
    const byNode = grouped(tasks);
    for (const task of byNode.get('') ?? []) {
      if (this.#homeless.has(task.id)) continue;
      this.#homeless.add(task.id);
      this.#write([
        ...reportedLines(task, this.#body.tail),
        { ...eventOf(task), line: null, reason: `${task.name}: ${task.reason ?? 'it has no node yet'}` },
      ]);
    }
    for (const [node, own] of byNode) if (node !== '' && node !== this.actor.node) this.#see(node, own, now);
    for (const { node } of [...this.#sources.values()]) if (!byNode.has(node)) this.#forget(node);
    this.#isFirst = false;
    if (this.#body.follow !== true && [...this.#sources.values()].every(({ state }) => isOver(state)))
      return this.#end();
    if (now - this.#written >= HEARTBEAT) this.#send({ event: 'heartbeat' });
  }

  /** Looks at one node with tasks. */
  #see(node: string, tasks: readonly OutputTask[], now: number): void {
    const { first, next } = this.#parts.limits;
    const source = this.#sources.get(node);
    const [{ nodeName, nodeState }] = tasks as [OutputTask];
    if (source === undefined) {
      // Of a task that starts here later, everything is new.
      const tail = this.#isFirst ? this.#body.tail : undefined;
      const asked = this.#add({ node, isAgain: false, tail });
      if (nodeState === 'failed') this.#lose(asked, tasks, 'the cluster counts it as failed');
      else if (!this.#ask(asked)) this.#lose(asked, tasks, `${nodeName} has no connection to the manager`);
      return;
    }
    if (source.state === 'lost' && this.#body.follow === true && nodeState !== 'failed') {
      this.#forget(node);
      const asked = this.#add({ node, isAgain: true, tail: 0 });
      if (!this.#ask(asked)) this.#lose(asked, tasks, '');
      return;
    }
    if (isOver(source.state)) return;
    if (now - source.heard < (source.state === 'asked' ? first : next)) return;
    const seconds = Math.round((now - source.heard) / 1000);
    this.#lose(source, tasks, `${nodeName} has sent nothing for ${seconds} s`);
  }

  #add(how: Pick<Source, 'node' | 'isAgain' | 'tail'>): Source {
    const source: Source = { id: newId(secretRandom), sequence: 0, heard: performance.now(), state: 'asked', ...how };
    this.#sources.set(source.node, source);
    this.#all.set(source.id, this);
    return source;
  }

  /** Requests the output of a node, also for a second time. @returns false if it has no connection. */
  #ask({ id, node, sequence, tail }: Source): boolean {
    const { service, slot } = this.#of;
    const before = sequence > 0 ? 0 : tail;
    return this.#parts.request(node, {
      ...{ id, service, sequence, follow: this.#body.follow === true },
      ...(slot === undefined ? {} : { slot }),
      ...(before === undefined ? {} : { tail: before }),
    });
  }

  /** A node has connected again. Its process may be another one, that knows nothing of what was requested. */
  returned(node: string): void {
    const source = this.#sources.get(node);
    if (source !== undefined && !isOver(source.state)) this.#ask(source);
  }

  /** Tells that a node does not answer, with what is known of its tasks. */
  #lose(source: Source, tasks: readonly OutputTask[], why: string): void {
    this.#all.delete(source.id);
    const wasOpen = source.state === 'open';
    source.state = 'lost';
    if (source.isAgain && !wasOpen) return;
    for (const task of tasks) {
      const known = wasOpen ? [] : reportedLines(task, this.#body.tail);
      const last = wasOpen
        ? 'the lines above'
        : known.length === 0
          ? 'none'
          : `the ${known.length} above, of an attempt that has ended`;
      const reason = `node ${task.nodeName}: unreachable: ${why}; last lines known of ${task.name}: ${last}`;
      this.#write([...known, { ...eventOf(task), line: null, reason }]);
    }
  }

  #forget(node: string): void {
    const source = this.#sources.get(node);
    if (source !== undefined) this.#all.delete(source.id);
    this.#sources.delete(node);
  }

  /** See `LogRelay.take`. `undefined`: nothing was asked of this node. */
  take(node: string, batch: OutputBatch): OutputReply | undefined {
    const source = [...this.#sources.values()].find(({ id }) => id === batch.id);
    if (source?.node !== node || isOver(source.state)) return undefined;
    source.heard = performance.now();
    if (batch.sequence < source.sequence) return { taken: true, more: true }; // its answer was lost
    if (batch.sequence > source.sequence) return undefined;
    if (this.#response.writableLength > this.#parts.limits.waiting) return { taken: false, more: true };
    if (source.isAgain && source.sequence === 0)
      this.#write(this.#noted(node, 'answers again; what was written meanwhile is missing here'));
    source.state = batch.last === true ? 'done' : 'open';
    source.sequence++;
    const events = this.#eventsOf(node, batch);
    if (events.length > 0) this.#write(events);
    if (batch.last === true) {
      this.#all.delete(source.id);
      setImmediate(() => this.look());
    }
    return { taken: true, more: batch.last !== true };
  }

  /** The events of a batch. A node writes for its own tasks of what was asked for, and for no others. */
  #eventsOf(node: string, { lines: sent, missed = [], refused }: OutputBatch): OutputEvent[] {
    const own = (id: string): OutputTask[] => {
      const task = this.#tasks.get(id);
      return task?.node === node ? [task] : [];
    };
    return [
      ...missed.flatMap(own).map((task) => ({ ...eventOf(task), line: null, reason: missedText(task.name) })),
      ...sent.flatMap(({ task, line }) => own(task).map((one) => ({ ...eventOf(one), line }))),
      ...(refused === undefined ? [] : this.#noted(node, refused)),
    ];
  }

  /** A notice about the tasks of a node. */
  #noted(node: string, text: string): OutputEvent[] {
    return [...this.#tasks.values()]
      .filter((task) => task.node === node)
      .map((task) => ({ ...eventOf(task), line: null, reason: `${task.name}: node ${task.nodeName} ${text}` }));
  }

  #write(events: readonly OutputEvent[]): void {
    this.#send({ event: 'output', events });
  }

  #send(line: LogsLine): void {
    this.#written = performance.now();
    if (!this.#response.write(`${text(line)}\n`)) this.#behind ??= performance.now();
  }

  #end(): void {
    this.#send({ event: 'end' });
    this.#response.end();
  }
}

/** Milliseconds between two lines to a reader at most. */
const HEARTBEAT = 5000;

/** Of lines that may be missing in the output of a task. */
export function missedText(name: string): string {
  return `${name}: lines may be missing here, since it writes faster than they are read`;
}

const isOver = (state: Source['state']): boolean => state === 'done' || state === 'lost';

const eventOf = ({ name, nodeName }: OutputTask): Pick<OutputEvent, 'event' | 'name' | 'node'> => ({
  ...{ event: 'output', name, node: nodeName },
});

/** The last lines that a node has reported of a task. */
function reportedLines(task: OutputTask, tail?: number): OutputEvent[] {
  const { reported } = task;
  return reported
    .slice(tail === undefined ? 0 : Math.max(0, reported.length - tail))
    .map((line) => ({ ...eventOf(task), line }));
}

function grouped(tasks: readonly OutputTask[]): Map<string, OutputTask[]> {
  const groups = new Map<string, OutputTask[]>();
  for (const task of tasks) groups.set(task.node, [...(groups.get(task.node) ?? []), task]);
  return groups;
}
