/**
 * Writes docs/commands.md, the reference of all commands, from the output of `vtep COMMAND --help`.
 *
 *     npm run docs
 */
import { writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { COMMANDS } from '../src/cli/commands.js';
import { helpText } from '../src/cli/manual.js';

/** The text of docs/commands.md. */
export async function commandReference(): Promise<string> {
  const parts = [
    '# Commands\n\nThis page is generated from `vtep COMMAND --help` by `npm run docs`.\n',
    ...Object.entries(COMMANDS).map(([name, { text }]) => `- [vtep ${name}](#vtep-${name}): ${text}`),
    '',
  ];
  for (const [name, { load }] of Object.entries(COMMANDS))
    parts.push(`## vtep ${name}\n`, '```', helpText((await load()).manual).trimEnd(), '```\n');
  return parts.join('\n');
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href)
  writeFileSync('docs/commands.md', await commandReference());
