/** Reads JSON that arrives in pieces: one value, the entries of one array, or one value per line. */

/** Limits of a whole text: UTF-16 code units, entries, and values of any kind, which take some 60 bytes each. */
export interface PartLimits {
  length: number;
  entries: number;
  values: number;
  /** Most code units of one entry, or of the text that is one value. */
  entry: number;
  /** Most lists and objects inside one another. */
  depth: number;
}

/** A text is larger than its limits. */
export class TooMuch extends Error {
  readonly what: 'entry' | 'result';

  constructor(what: 'entry' | 'result', message: string) {
    super(message);
    this.what = what;
  }
}

/** Reads the pieces of one text. Its methods throw SyntaxError for what is no such text, and `TooMuch`. */
export class JsonParts {
  readonly #form: 'value' | 'list' | 'lines';
  readonly #limits: PartLimits;
  /** The beginning of the next entry, in pieces: to join them for each piece would copy it each time. */
  #pieces: string[] = [];
  #held = 0;
  #length = 0;
  #entries = 0;
  #values = 0;
  /** Lists and objects that are open. */
  #depth = 0;
  #inString = false;
  #escaped = false;
  /** For a list: it has begun; the last character outside an entry was a comma; it has ended. */
  #begun = false;
  #comma = false;
  #ended = false;

  constructor(form: 'value' | 'list' | 'lines', limits: PartLimits) {
    this.#form = form;
    this.#limits = limits;
  }

  /** Whether a list has ended. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Takes a piece, and returns the entries that it completes. */
  push(piece: string): unknown[] {
    this.#length += piece.length;
    if (this.#length > this.#limits.length) throw tooLong('result', this.#limits.length);
    if (this.#ended && piece.trim() !== '') throw new SyntaxError('there is something behind the list');
    const entries = this.#ended ? [] : this.#scan(piece);
    if (this.#held > this.#limits.entry) throw tooLong('entry', this.#limits.entry);
    this.#entries += entries.length;
    if (this.#entries > this.#limits.entries)
      throw new TooMuch('result', `longer than ${this.#limits.entries} entries`);
    return entries;
  }

  /** Ends the text. @returns its value, if it is one value. */
  end(): unknown {
    if (this.#form === 'list' && !this.#ended) throw new SyntaxError('the list has no end');
    const rest = this.#take('');
    if (this.#form === 'value') return JSON.parse(rest);
    if (rest.trim() !== '') throw new SyntaxError('the last line has no end');
    return undefined;
  }

  /** Looks at each character once, and cuts the piece after the last entry that it completes. */
  #scan(piece: string): unknown[] {
    const inner = this.#form === 'list' ? 1 : 0;
    /** Where the text that is not parsed yet begins, and where its last entry ends. */
    let start = 0;
    let end = -1;
    for (let i = 0; i < piece.length; i++) {
      const char = piece.charCodeAt(i);
      if (this.#inString) {
        if (this.#escaped) this.#escaped = false;
        else if (char === BACKSLASH) this.#escaped = true;
        else if (char === QUOTE) this.#inString = false;
        else if (char === FEED && inner === 0) throw new SyntaxError('a line ends in a string');
        continue;
      }
      if (char === QUOTE) {
        this.#requireOpen(inner);
        this.#inString = true;
      } else if (char === OPEN_LIST || char === OPEN_OBJECT) {
        if (inner === 1 && !this.#begun && char === OPEN_LIST) {
          this.#begun = true;
          if (this.#pieces.length > 0 || piece.slice(0, i).trim() !== '') throw new SyntaxError('this is no list');
          start = i + 1;
          this.#depth = 1;
          continue;
        }
        this.#requireOpen(inner);
        if (++this.#depth > this.#limits.depth) throw new SyntaxError('too many levels');
        this.#count();
      } else if (char === CLOSE_LIST || char === CLOSE_OBJECT) {
        if (--this.#depth < 0) throw new SyntaxError('a bracket too many');
        if (inner === 1 && this.#depth === 0) {
          if (char === CLOSE_OBJECT) throw new SyntaxError('the list ends with a brace');
          this.#ended = true;
          end = i;
          break;
        }
      } else if (char === COMMA) {
        this.#count();
        if (inner === 1 && this.#depth === 1) end = i;
      } else if (char === FEED && inner === 0 && this.#form === 'lines') end = i;
    }
    if (end < 0) {
      this.#hold(piece.slice(start));
      return [];
    }
    const text = this.#take(piece.slice(start, end));
    const rest = piece.slice(end + 1);
    if (this.#ended && rest.trim() !== '') throw new SyntaxError('there is something behind the list');
    if (!this.#ended) this.#hold(rest);
    return this.#form === 'list' ? this.#listed(text) : linesOf(text);
  }

  /** The entries in a text between two commas of a list. */
  #listed(text: string): unknown[] {
    const isBlank = text.trim() === '';
    if (isBlank && (this.#comma || !this.#ended)) throw new SyntaxError('an entry is missing');
    this.#comma = true;
    return isBlank ? [] : (JSON.parse(`[${text}]`) as unknown[]);
  }

  #requireOpen(inner: 0 | 1): void {
    if (inner === 1 && !this.#begun) throw new SyntaxError('this is no list');
  }

  #count(): void {
    if (++this.#values > this.#limits.values) throw new TooMuch('result', `longer than ${this.#limits.values} values`);
  }

  #hold(text: string): void {
    if (text === '') return;
    if (this.#ended || (this.#form === 'list' && !this.#begun)) {
      if (text.trim() !== '') throw new SyntaxError('this is no list');
      return;
    }
    this.#pieces.push(text);
    this.#held += text.length;
  }

  #take(text: string): string {
    const whole = this.#pieces.length === 0 ? text : this.#pieces.join('') + text;
    this.#pieces = [];
    this.#held = 0;
    return whole;
  }
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const COMMA = 0x2c;
const FEED = 0x0a;

function linesOf(text: string): unknown[] {
  return text.split('\n').flatMap((line) => (line.trim() === '' ? [] : [JSON.parse(line) as unknown]));
}

function tooLong(what: 'entry' | 'result', most: number): TooMuch {
  return new TooMuch(what, `longer than ${most >> 20} MiB`);
}
