/** The output of tasks on other nodes, as a manager passes it on. */
import { type IncomingMessage } from 'node:http';
import { type OutputEvent } from '../../schema/index.js';
import { JsonParts } from '../json-parts.js';
import { checkResult } from '../replies.js';
import { type LogsLine } from './protocol.js';

/** A stream that a manager has begun. */
export interface OpenStream {
  readonly response: IncomingMessage;
  /** `address:port` of the manager. */
  readonly manager: string;
  close(): void;
}

/** Events that wait for the reader, beyond which nothing more is read from the manager. */
const WAITING = 1024;
/** Milliseconds without a line, after which a manager is given up: it sends one in 5 s. */
const SILENCE = 20_000;
/** Of a stream: only its lines are limited. A batch of escapes has less than 2 MiB. */
const LIMITS = { length: Infinity, entries: Infinity, values: Infinity, depth: 8, entry: 1 << 22 };

export class RemoteOutput {
  readonly #stream: OpenStream;
  readonly #name: string;
  #events: OutputEvent[] = [];
  #isOver = false;
  /** Called when something has arrived, and when there is room again. */
  #arrived: () => void = () => undefined;
  #emptied: () => void = () => undefined;

  /** @param name What was asked for. */
  constructor(stream: OpenStream, name: string) {
    this.#stream = stream;
    this.#name = name;
    void this.#read();
  }

  /** Whether everything was taken. */
  get isOver(): boolean {
    return this.#isOver && this.#events.length === 0;
  }

  /** Takes what has arrived; if there is nothing, waits for some milliseconds. */
  async take(most: number, patience: number): Promise<OutputEvent[]> {
    if (this.#events.length === 0 && !this.#isOver)
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, patience);
        this.#arrived = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    const events = this.#events.splice(0, most);
    if (this.#events.length < WAITING) this.#emptied();
    return events;
  }

  close(): void {
    this.#isOver = true;
    this.#stream.close();
    this.#emptied();
    this.#arrived();
  }

  async #read(): Promise<void> {
    const { response, manager } = this.#stream;
    let timer: NodeJS.Timeout | undefined;
    let why = 'the manager has ended the stream';
    const restart = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        why = `nothing arrived in ${SILENCE / 1000} s`;
        response.destroy();
      }, SILENCE);
      timer.unref();
    };
    try {
      const parts = new JsonParts('lines', LIMITS);
      response.setEncoding('utf8');
      restart();
      for await (const piece of response as AsyncIterable<string>) {
        for (const line of parts.push(piece)) if (this.#take(line as LogsLine)) return;
        clearTimeout(timer);
        while (this.#events.length >= WAITING && !this.#isOver)
          await new Promise<void>((resolve) => (this.#emptied = resolve));
        restart();
      }
    } catch (error) {
      if (!response.destroyed || error instanceof SyntaxError) why = (error as Error).message;
    } finally {
      clearTimeout(timer);
      if (!this.#isOver) {
        const reason = `${manager}: ${why}; what other nodes write is missing from here on`;
        this.#events.push({ event: 'output', name: this.#name, node: '', line: null, reason });
      }
      this.#isOver = true;
      this.#stream.close();
      this.#arrived();
    }
  }

  /** @returns whether it is the last one. @throws SyntaxError */
  #take(line: LogsLine): boolean {
    if (line?.event === 'heartbeat') return false;
    if (line?.event === 'end') return (this.#isOver = true);
    const wrong = 'a line is not one of a manager of this version';
    if (line?.event !== 'output') throw new SyntaxError(wrong);
    try {
      this.#events.push(...checkResult('logs', line.events, this.#stream.manager));
    } catch (error) {
      throw new SyntaxError(wrong, { cause: error });
    }
    this.#arrived();
    return false;
  }
}
