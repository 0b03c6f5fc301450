/** Generates manual pages in man(7) from the commands' manuals: `vtep(1)`, and `vtep-up(1)` for `vtep up`. */
import { COMMANDS, manuals } from './commands.js';
import { HELP, type Flag } from './flags.js';
import { type Manual } from './manual.js';

/**
 * Returns every page by its file name: `vtep-up.1`.
 * @param date The date of the pages, as `2026-01-31`.
 */
export async function manPages(version: string, date: string): Promise<Map<string, string>> {
  const list = await manuals();
  return new Map([
    ['vtep.1', overview(list, version, date)],
    ...list.map((one): [string, string] => [`vtep-${one.name}.1`, page(one, list, version, date)]),
  ]);
}

function overview(list: readonly Manual[], version: string, date: string): string {
  return [
    head('vtep', 'a VXLAN overlay network in TypeScript', version, date),
    '.SH SYNOPSIS',
    '.B vtep',
    '.I COMMAND',
    '.RI [ flags ]',
    '.SH DESCRIPTION',
    'A VXLAN tunnel endpoint (RFC 7348) on TAP devices and UDP, and the tools to look into it.',
    '.SH COMMANDS',
    ...list.flatMap(({ name }) => ['.TP', `.BR vtep\\-${name} (1)`, sentence(COMMANDS[name]!.text)]),
    '.SH OPTIONS',
    '.TP',
    '.B \\-\\-help',
    'Print the commands.',
    '.TP',
    '.B \\-\\-version',
    'Print the version.',
    ...exitStatus({ 0: 'done', 1: 'something failed', 2: 'wrong flags or configuration' }),
    '.SH ENVIRONMENT',
    '.TP',
    '.B WEFT_DEBUG',
    'If set, an internal error prints its stack.',
    '',
  ].join('\n');
}

function page(one: Manual, list: readonly Manual[], version: string, date: string): string {
  const { name, summary, usage, words = [], description, flags, sections = [], examples, exit } = one;
  return [
    head(`vtep-${name}`, summary, version, date),
    '.SH SYNOPSIS',
    ...usage.flatMap((line, i) => [...(i === 0 ? [] : ['.br']), synopsis(`vtep ${line}`)]),
    '.SH DESCRIPTION',
    ...(description === undefined ? [sentence(summary)] : paragraphs(description)),
    ...(words.length === 0 ? [] : ['.SH ARGUMENTS']),
    ...words.flatMap(({ name: word, usage: line = word, text }) => ['.TP', synopsis(line), sentence(text)]),
    '.SH OPTIONS',
    ...flags.flatMap(({ title, flags: group }, i) => [
      ...(title === undefined ? [] : [`.SS ${escape(capital(title))}`]),
      ...[...group, ...(i === flags.length - 1 ? [HELP] : [])].flatMap(option),
    ]),
    ...sections.flatMap(({ title, text }) => [`.SH ${escape(title.toUpperCase())}`, ...paragraphs(text)]),
    '.SH EXAMPLES',
    ...verbatim(examples.split('\n')),
    ...exitStatus(exit),
    '.SH SEE ALSO',
    ['vtep', ...list.map((other) => `vtep\\-${other.name}`)]
      .filter((other) => other !== `vtep\\-${name}`)
      .map((other, i, all) => `.BR ${other} (1)${i === all.length - 1 ? '' : ','}`)
      .join('\n'),
    '',
  ].join('\n');
}

function head(name: string, summary: string, version: string, date: string): string {
  return [
    `.TH ${escape(name.toUpperCase())} 1 ${date} "weftnet ${version}" "User Commands"`,
    '.SH NAME',
    `${escape(name)} \\- ${escape(summary)}`,
  ].join('\n');
}

/** Formats a command line: literal words in bold, placeholders in italics. */
function synopsis(line: string): string {
  const parts = line.split(/([A-Z][A-Z0-9]*|[[\]|: ]+)/).filter((part) => part !== '');
  return parts
    .map((part) => {
      if (/^[A-Z]/.test(part)) return `\\fI${escape(part)}\\fR`;
      return /^[a-z-]/.test(part) && part !== 'flags' ? `\\fB${escape(part)}\\fR` : escape(part);
    })
    .join('');
}

function option({ name, letter, value, many, negatable, text }: Flag): string[] {
  const short = letter === undefined ? '' : `\\fB\\-${letter}\\fR, `;
  const long = `\\fB\\-\\-${negatable ? `\\fR[\\fBno\\-\\fR]\\fB` : ''}${escape(name)}\\fR`;
  const argument = value === undefined ? '' : ` ${synopsis(value)}${many ? ' ...' : ''}`;
  return ['.TP', `${short}${long}${argument}`, sentence(text)];
}

function exitStatus(exit: Readonly<Record<number, string>>): string[] {
  return ['.SH EXIT STATUS', ...Object.entries(exit).flatMap(([code, text]) => ['.TP', `.B ${code}`, sentence(text)])];
}

/** Formats paragraphs; lines that start with a blank are printed verbatim. */
function paragraphs(text: string): string[] {
  const blocks = text.split(/\n\s*\n/);
  return blocks.flatMap((block, i) => {
    const lines = block.split('\n');
    const gap = i === 0 ? [] : ['.PP'];
    if (lines[0]!.startsWith(' ')) return verbatim(lines, gap);
    return [...gap, ...lines.map(escape)];
  });
}

function verbatim(lines: readonly string[], gap: readonly string[] = []): string[] {
  return [...gap, '.in +4n', '.nf', ...lines.map((line) => (line === '' ? '' : escape(line))), '.fi', '.in'];
}

function sentence(text: string): string {
  return escape(`${capital(text)}${/[.!?]$/.test(text) ? '' : '.'}`);
}

function capital(text: string): string {
  return /^[a-z][a-z]/.test(text) || /^a /.test(text) ? text[0]!.toUpperCase() + text.slice(1) : text;
}

/** Escapes text for troff, so that requests, escapes and non-ASCII characters are printed. */
function escape(text: string): string {
  return text
    .replace(/\\/g, '\\e')
    .replace(/-/g, '\\-')
    .replace(/…/g, '...')
    .replace(/’/g, '\\(cq')
    .replace(/[^\u0000-\u007f]/gu, (char) => `\\[u${char.codePointAt(0)!.toString(16).toUpperCase().padStart(4, '0')}]`)
    .replace(/^([.'])/, '\\&$1');
}
