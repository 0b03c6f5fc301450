/** The stream of assignments to one node, and of what its manager requests besides. */
import { type ServerResponse } from 'node:http';
import { text } from '../control-text.js';
import { type News } from './backend.js';
import { type OutputRequest, type StreamLine } from './protocol.js';

/**
 * Writes one line for each assignment. While a reader does not keep up, only the newest assignment is kept, and it is
 * formatted once there is room for it.
 */
export class AssignmentStream {
  readonly #response: ServerResponse;
  readonly #stall: number;
  #waiting: News | undefined;
  /** When the reader began to lag. */
  #behind: number | undefined;

  /** @param stall Milliseconds that a reader may take for what was written. */
  constructor(response: ServerResponse, stall: number) {
    this.#response = response;
    this.#stall = stall;
    response.on('drain', () => {
      this.#behind = undefined;
      const news = this.#waiting;
      this.#waiting = undefined;
      if (news !== undefined) this.push(news);
    });
  }

  push(news: News): void {
    if (this.#behind !== undefined) this.#waiting = news;
    else this.#write({ event: 'assignment', ...news });
  }

  /** Requests the output of tasks. @returns false if the reader does not keep up: then nothing is written. */
  request(request: OutputRequest): boolean {
    if (this.#behind !== undefined) return false;
    this.#write({ event: 'logs', request });
    return true;
  }

  /** Writes a heartbeat, if there is room. @returns false if the reader has taken too long. */
  beat(now: number): boolean {
    if (this.#behind !== undefined) return now - this.#behind < this.#stall;
    this.#write({ event: 'heartbeat' });
    return true;
  }

  #write(line: StreamLine): void {
    if (!this.#response.write(`${text(line)}\n`)) this.#behind = performance.now();
  }
}
