/** The programs in README.md and docs/: blocks of TypeScript. A comment behind a line gives the line's output. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import * as assert from 'uvu/assert';

export interface Program {
  /** For example `program 2 of README.md`. */
  title: string;
  text: string;
  /** The lines of its output. */
  expected: string[];
}

/** README.md and the files of docs/. */
export function documents(): string[] {
  const guides = existsSync('docs') ? readdirSync('docs').filter((name) => name.endsWith('.md')) : [];
  return ['README.md', ...guides.sort().map((name) => join('docs', name))];
}

/** Every program, in the order of the documents. */
export function programs(): Program[] {
  return documents().flatMap((file) =>
    [...readFileSync(file, 'utf8').matchAll(/^```ts\n(.*?)^```$/gms)].map((match, i) => ({
      title: `program ${i + 1} of ${file}`,
      text: match[1]!,
      expected: [...match[1]!.matchAll(/console\.log\(.*\/\/ (.*)$/gm)].map((line) => line[1]!),
    })),
  );
}

/** A loader for TypeScript that works from any working directory. */
export const TSX = pathToFileURL(join(process.cwd(), 'node_modules/tsx/dist/loader.mjs')).href;

/**
 * Runs a TypeScript program in a directory, with this runtime unless `command` names another.
 * @returns its lines of output.
 */
export function run(
  file: string,
  cwd: string,
  command: readonly string[] = [process.execPath, '--import', TSX],
): string[] {
  const [program, ...args] = command;
  const { stdout, stderr, error } = spawnSync(program!, [...args, file], { cwd, encoding: 'utf8', timeout: 60_000 });
  assert.is(error, undefined, String(error));
  assert.ok(stdout !== '', stderr);
  return stdout.trimEnd().split('\n');
}

/** The indented blocks below a heading of a document: shell commands. */
export function shellBlocks(file: string, heading: string): string[] {
  const text = readFileSync(file, 'utf8');
  const start = text.indexOf(`\n## ${heading}\n`);
  assert.ok(start >= 0, `${file} has no heading "${heading}"`);
  const [section = ''] = text.slice(start + heading.length + 5).split(/^## /m);
  return [...section.matchAll(/(?:^ {4}.*\n|^\n(?= {4}))+/gm)].map(([block]) => block.replace(/^ {4}/gm, '').trim());
}

/** Every `vtep` command line of the documents, split into words. */
export function vtepCommands(): { file: string; words: string[] }[] {
  return documents()
    .filter((file) => !file.endsWith('commands.md'))
    .flatMap((file) =>
      [
        ...readFileSync(file, 'utf8')
          .replace(/\\\n\s+/g, '')
          .matchAll(/^ {4}.*?npx vtep (.*?)(?:\s+#.*|\s*[>&].*)?$/gm),
      ].map((match) => ({ file, words: match[1]!.split(/\s+/) })),
    );
}
