/** The characters that a terminal or a reader of lines obeys or hides, as the tests see them. */

const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** C0, DEL and C1; bidirectional and zero-width characters, separators; tags, unassigned ones, lone surrogates. */
export const BAD: readonly string[] = [
  ...range(0x00, 0x1f),
  ...range(0x7f, 0x9f),
  ...[0xad, 0x34f, 0x61c, 0x115f, 0x1160, 0x17b4, 0x17b5, 0x180e],
  ...range(0x200b, 0x200f),
  ...range(0x2028, 0x202e),
  ...range(0x2060, 0x206f),
  ...[0x3164, 0xfeff, 0xffa0, 0xfff9, 0xfffa, 0xfffb, 0xffff],
  ...[0xe0001, 0xe0020, 0xe0041, 0xe007f, 0xe0100, 0x1bca0, 0x1d173, 0x10ffff],
  ...[0xd800, 0xdc80, 0xdcff, 0xdfff],
].map((code) => String.fromCodePoint(code));

/** Text that stays as it is. */
export const GOOD: readonly string[] = ['grün', '日本語', 'Ωμέγα', 'שלום', '🦊', '❤️', 'a b', 'é', '\u00a0'];

/** What an attacker wants to see at the beginning of a line. */
export const FORGED = 'FORGED ready';

/** Written without `\p{}`: another source than the code under test. */
const RAW =
  /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\uffff\u{1bca0}\u{1d173}\u{e0000}-\u{e01ef}\u{10ffff}\ud800-\udfff]/u;

/** The first character of an output that a terminal would obey, or the first forged line; `undefined` if there is none. */
export function dirt(output: Uint8Array): string | undefined {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(output);
  } catch {
    return 'the output is not UTF-8';
  }
  const raw = RAW.exec(text);
  if (raw !== null)
    return `U+${raw[0].codePointAt(0)!.toString(16)} in ${JSON.stringify(text.slice(Math.max(0, raw.index - 60), raw.index + 40))}`;
  const line = text.split('\n').find((one) => one.trimStart().startsWith('FORGED'));
  return line === undefined ? undefined : `a forged line: ${JSON.stringify(line)}`;
}

/** Texts with every bad character, each at most `most` UTF-16 code units long; each would begin a line. */
export function evilTexts(most = 200): string[] {
  const texts: string[] = [];
  let text = 'x';
  for (const character of BAD) {
    if (text.length + character.length + FORGED.length + 2 > most) {
      texts.push(`${text}\n${FORGED}`);
      text = 'x';
    }
    text += character;
  }
  return [...texts, `${text}\n${FORGED}`, `\r${FORGED}`, `\u2028${FORGED}`, `\u001b[2J\u001b[H${FORGED}`];
}
