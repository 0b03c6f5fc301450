/** What the control socket writes: a list as one JSON array, a stream as one JSON object on each line. */
import { type ErrorCode } from '../schema/index.js';
import { printable } from '../wire/index.js';
import { type Page } from './pages.js';

/** An error of the API, as it is sent. */
export interface Failure {
  code: ErrorCode;
  status: number;
  body: string;
}

/**
 * Between two objects of a list. It is never within a string: a quote there is escaped, and behind the quote that ends one
 * is no letter.
 */
const BETWEEN = /\},\{"(?=\w)/g;

/** A JSON array with an entry on each line, in parts. A page is formatted at once, which takes half the time. */
export class ListText {
  #isEmpty = true;

  add({ result }: Page): string {
    if (result.length === 0) return '';
    const lines = text(result).slice(1, -1).replace(BETWEEN, '},\n{"');
    const before = this.#isEmpty ? '[\n' : ',\n';
    this.#isEmpty = false;
    return before + lines;
  }

  end(): string {
    return this.#isEmpty ? '[]\n' : '\n]\n';
  }

  /** Nothing: the array stays open. */
  failed(): string {
    return '';
  }
}

/** Events, one on each line. */
export class EventText {
  #dropped: number | undefined;
  #isFirst = true;

  add({ result, dropped }: Page): string {
    const lines = result.map(text);
    if (result.length === 0 || dropped !== this.#dropped || this.#isFirst)
      lines.unshift(text({ event: 'status', ...(dropped === undefined ? {} : { dropped }) }));
    this.#dropped = dropped;
    this.#isFirst = false;
    return `${lines.join('\n')}\n`;
  }

  end(): string {
    return `${text({ event: 'end', ...(this.#dropped === undefined ? {} : { dropped: this.#dropped }) })}\n`;
  }

  failed({ body }: Failure): string {
    return `{"event":"error",${body.slice(1)}`;
  }
}

/** JSON without a character that a terminal would obey. */
export function text(value: unknown): string {
  return printable(JSON.stringify(value) ?? 'null');
}
