/**
 * Text from outside for a terminal or a log. Everything that a terminal or a reader of lines obeys or hides instead of
 * showing it is written as JSON writes it, `\u001b`, so that the result may also be part of a JSON document.
 *
 * These code points are escaped:
 *
 *  - Cc: C0 with line feed and tab, DEL, and C1 (ECMA-48), which begin escape sequences and end lines
 *  - Zl and Zp: the line and the paragraph separator
 *  - Cf: bidirectional marks, overrides and isolates (UAX #9), zero-width joiners and spaces, tags
 *  - other ignorable ones (Default_Ignorable_Code_Point), such as the Hangul fillers, which look like nothing
 *  - Cs, Co and Cn: lone surrogates, private use, and unassigned ones, whose effect is unknown
 *
 * Two of them stay, the variation selectors U+FE0E and U+FE0F, which occur in emoji. Letters, marks, digits,
 * punctuation, symbols and blanks of every script stay as well.
 */
const OUTSIDE = /(?![\ufe0e\ufe0f])[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/u;
/** Most texts are plain ASCII: a test without character classes of Unicode is much faster. */
const PLAIN = /^[ -~]*$/;

/** Whether every character of a text is shown as itself. */
export function isPrintable(text: string): boolean {
  return PLAIN.test(text) || !OUTSIDE.test(text);
}

/** Escapes a text that is one line or a part of one: a line feed in it is escaped too. */
export function printable(text: string): string {
  return PLAIN.test(text) ? text : text.replace(new RegExp(OUTSIDE, 'gu'), escapeUnits);
}

/**
 * Describes the first character that `printable` escapes, in words that follow the name of the text: `has the control
 * character U+001B at position 3`; `undefined` if there is none. Positions count code points from 1.
 */
export function unprintable(text: string): string | undefined {
  if (PLAIN.test(text)) return undefined;
  const found = OUTSIDE.exec(text);
  if (found === null) return undefined;
  const position = [...text.slice(0, found.index)].length + 1;
  const code = found[0].codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0');
  const kind = /\p{Cc}/u.test(found[0]) ? 'control' : 'invisible';
  return `has the ${kind} character U+${code} at position ${position}`;
}

/**
 * Why a text may not name a host, in words that follow the name; `undefined` if it may. Names stand beside other words, in
 * columns and within sentences, so that white space and slashes in them could pass for a column, a sentence or an address.
 */
export function nameTrouble(name: string): string | undefined {
  const trouble = unprintable(name);
  if (trouble !== undefined) return trouble;
  const space = name.search(/\s/);
  if (space >= 0) return `has white space at position ${[...name.slice(0, space)].length + 1}`;
  return name.includes('/') ? 'has a slash' : undefined;
}

/** Escapes each UTF-16 code unit, as JSON does. */
function escapeUnits(text: string): string {
  let escaped = '';
  for (let i = 0; i < text.length; i++) escaped += `\\u${text.charCodeAt(i).toString(16).padStart(4, '0')}`;
  return escaped;
}
