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

/** Entries in a piece of a list within a value, each of which may have dozens of fields. */
const PIECE = 16;

/** The text of a value, in pieces if there are long lists in it: a counter of each of 4000 networks takes 100 ms. */
export function* valueText(value: unknown): Generator<string, undefined> {
  if (!isLong(value)) yield text(value);
  else if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i += PIECE)
      yield (i === 0 ? '[' : ',') + text(value.slice(i, i + PIECE)).slice(1, -1);
    yield ']';
  } else {
    let before = '{';
    for (const [key, field] of Object.entries(value as object)) {
      if (field === undefined) continue;
      yield `${before}${text(key)}:`;
      yield* valueText(field);
      before = ',';
    }
    yield '}';
  }
  return undefined;
}

/** Whether a value is an object with a long list in it, or a long list. Lists in lists count as short. */
function isLong(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || 'toJSON' in value) return false;
  return Array.isArray(value) ? value.length > PIECE : Object.values(value).some(isLong);
}

/** JSON without a character that a terminal would obey. */
export function text(value: unknown): string {
  return printable(JSON.stringify(value) ?? 'null');
}
