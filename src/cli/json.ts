/**
 * A parser for JSON that people write: errors have a position, a duplicate key is an error, and nothing is silently
 * dropped.
 */

/** Text that is not JSON. */
export class JsonError extends Error {
  /** Line of the error, from 1. */
  readonly line: number;
  readonly column: number;
  constructor(message: string, text: string, at: number) {
    super(message);
    this.name = 'JsonError';
    const before = text.slice(0, at).split('\n');
    this.line = before.length;
    this.column = before.at(-1)!.length + 1;
  }
}

const LITERALS: readonly (readonly [string, unknown])[] = [
  ['true', true],
  ['false', false],
  ['null', null],
];
const ESCAPES: Readonly<Record<string, string>> = {
  '"': '"',
  '\\': '\\',
  '/': '/',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
};
/** Deepest nesting of lists and objects; a configuration has four levels. */
const MAX_DEPTH = 64;

/**
 * Parses JSON (RFC 8259). Unlike `JSON.parse`, whose messages differ between versions of Node, it always reports where
 * the error is.
 * @throws JsonError
 */
export function parseJson(text: string): unknown {
  let at = text.startsWith('\ufeff') ? 1 : 0; // a byte order mark
  const fail = (message: string, where = at): never => {
    throw new JsonError(message, text, where);
  };
  const found = (): string =>
    at >= text.length ? 'the end of the file' : `"${String.fromCodePoint(text.codePointAt(at)!)}"`;
  const blanks = (): void => {
    while (/[ \t\n\r]/.test(text[at] ?? '')) at++;
    if (text[at] === '/' || text[at] === '#') fail('JSON has no comments');
  };
  const expect = (char: string, what: string): void => {
    if (text[at] !== char) fail(`expected ${what}, found ${found()}`);
    at++;
  };

  const string = (): string => {
    const start = at++;
    let value = '';
    for (;;) {
      // In pieces, because a string that grows by one character at a time takes 32 bytes for each.
      const from = at;
      while (at < text.length && text[at]! >= ' ' && text[at] !== '"' && text[at] !== '\\') at++;
      value += text.slice(from, at);
      const char = text[at];
      if (char === undefined || char === '\n') return fail('this string has no closing quotation mark', start);
      at++;
      if (char === '"') return value;
      if (char < ' ') fail('a control character in a string must be an escape sequence, such as \\t', at - 1);
      if (text[at] === 'u' && /^[0-9a-fA-F]{4}$/.test(text.slice(at + 1, at + 5))) {
        value += String.fromCharCode(parseInt(text.slice(at + 1, at + 5), 16));
        at += 5;
      } else {
        const escape = ESCAPES[text[at] ?? ''];
        if (escape === undefined) fail('unknown escape sequence; write a backslash as \\\\', at - 1);
        value += escape;
        at++;
      }
    }
  };

  const list = (depth: number): unknown[] => {
    at++;
    const items: unknown[] = [];
    blanks();
    if (text[at] === ']') return (at++, items);
    for (;;) {
      items.push(value(depth));
      blanks();
      if (text[at] === ']') return (at++, items);
      const comma = at;
      expect(',', '"," or "]"');
      blanks();
      if (text[at] === ']') fail('a comma before the closing bracket', comma);
    }
  };

  const object = (depth: number): Record<string, unknown> => {
    at++;
    const fields: Record<string, unknown> = {};
    blanks();
    if (text[at] === '}') return (at++, fields);
    for (;;) {
      const start = at;
      if (text[at] !== '"') fail(`expected a field's name in quotation marks, found ${found()}`);
      const key = string();
      if (Object.hasOwn(fields, key)) fail(`the field ${JSON.stringify(key.slice(0, 80))} is given twice`, start);
      blanks();
      expect(':', '":" after the name of a field');
      // A plain assignment to "__proto__" would set the prototype.
      Object.defineProperty(fields, key, { value: value(depth), enumerable: true, writable: true, configurable: true });
      blanks();
      if (text[at] === '}') return (at++, fields);
      const comma = at;
      expect(',', '"," or "}"');
      blanks();
      if (text[at] === '}') fail('a comma before the closing brace', comma);
    }
  };

  const value = (depth: number): unknown => {
    blanks();
    if (depth > MAX_DEPTH) fail('lists and objects are nested too deeply');
    const char = text[at];
    if (char === '{') return object(depth + 1);
    if (char === '[') return list(depth + 1);
    if (char === '"') return string();
    if (char === "'") fail('strings must be in double quotation marks');
    for (const [word, meaning] of LITERALS) if (text.startsWith(word, at)) return ((at += word.length), meaning);
    const number = /^-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?/.exec(text.slice(at, at + 400))?.[0];
    if (number === undefined) return fail(`expected a value, found ${found()}`);
    at += number.length;
    return Number(number);
  };

  const result = value(0);
  blanks();
  if (at < text.length) fail(`expected the end of the file, found ${found()}`);
  return result;
}
