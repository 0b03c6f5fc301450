/**
 * Hides keys that are arguments from `ps` and /proc/PID/cmdline, which every user can read. It imports no module of the
 * program, so that it runs before they load: until then, and in the command line of a parent such as sudo or npx, the key
 * is visible.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

const HIDDEN = '***';

/** Overwrites the keys in the command line of this process, on Linux. Changes no argument that the program sees. */
export function hideKeys(): void {
  const args = process.argv.slice(2);
  const shown = withoutKeys(args);
  if (shown.every((arg, i) => arg === args[i])) return;
  try {
    const comm = readFileSync('/proc/self/comm', 'utf8').trimEnd();
    // `process.argv` does not have the flags of Node. The last words of the command line are the arguments.
    const words = readFileSync('/proc/self/cmdline', 'utf8').split('\0').slice(0, -1);
    process.title = [...words.slice(0, words.length - args.length), ...shown].join(' ');
    writeFileSync('/proc/self/comm', comm); // the name of the process, which the title has replaced
  } catch {
    process.title = 'vtep'; // no /proc
  }
}

/**
 * The arguments of `vtep` with `***` for each key: a value of --key, or the KEY of `vtep gossip install`, `use` and
 * `remove`, that is no existing file.
 */
export function withoutKeys(args: readonly string[]): string[] {
  const takesKey = args[0] === 'gossip' && ['install', 'use', 'remove'].includes(args[1] ?? '');
  let isKey = false;
  return args.map((arg, i) => {
    const attached = /^--key=(.*)$/s.exec(arg)?.[1];
    if (attached !== undefined) return isSecret(attached) ? `--key=${HIDDEN}` : arg;
    if (/^-./.test(arg)) {
      isKey = arg === '--key';
      return arg;
    }
    // Any word of `install`: it may follow the value of a flag.
    return (isKey || (takesKey && i > 1)) && isSecret(arg) ? HIDDEN : arg;
  });
}

/** Whether a text may be a key: not a fingerprint, `-`, or the name of a file. */
function isSecret(text: string): boolean {
  return text.length > 8 && !existsSync(text);
}
