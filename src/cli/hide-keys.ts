/**
 * Hides keys and join tokens: those that are arguments, from `ps` and /proc/PID/cmdline, which every user can read; and all in errors and
 * in the output of a dry run, which people log and paste. It imports no module of the program, so that it runs before
 * they load: until then, and in the command line of a parent such as sudo or npx, the key is visible.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';

/** Stands for a key. */
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
 * The arguments of `vtep` with `***` for each key: a value of --key, --key-file or --token, another join token, or the KEY of `vtep gossip install`, `use` and
 * `remove`, that is no existing file.
 */
export function withoutKeys(args: readonly string[]): string[] {
  const takesKey = args[0] === 'gossip' && ['install', 'use', 'remove'].includes(args[1] ?? '');
  let isKey = false;
  return args.map((arg, i) => {
    const [, flag, attached] = /^(--key|--key-file|--token)=(.*)$/s.exec(arg) ?? [];
    if (attached !== undefined) return isSecretOf(flag!, attached) ? `${flag}=${HIDDEN}` : arg;
    if (/^-./.test(arg)) {
      isKey = arg === '--key';
      return arg;
    }
    // A flag with one value: the words behind it are others.
    if (['--token', '--key-file'].includes(args[i - 1] ?? '') && isSecretOf(args[i - 1]!, arg)) return HIDDEN;
    // Any word of `install`: it may follow the value of a flag.
    return (isKey || (takesKey && i > 1) || TOKEN.test(arg)) && isSecret(arg) ? HIDDEN : arg;
  });
}

/** Whether the value of a flag is to be hidden. A key file is there, or has the form of a path; a key there is a mistake. */
function isSecretOf(flag: string, value: string): boolean {
  return flag === '--key-file' ? shownKey(value) === HIDDEN : isSecret(value);
}

/** A join token, wherever it stands. */
const TOKEN = /^WEFT-\d+-/;

/** Whether a text may be a key: not a fingerprint, `-`, or the name of a file. */
function isSecret(text: string): boolean {
  return text.length > 8 && !existsSync(text);
}

/**
 * A key of the gossip as people may see it: a file as it is, and a key as `***`. What is no path, has no extension and
 * names no file counts as a key with a typing error.
 */
export function shownKey(text: string): string {
  const isName = /^[./~]|\.[a-z]{1,8}$/i.test(text);
  return looksLikeKey(text) || (isSecret(text) && !isName) ? HIDDEN : text;
}

/**
 * A line of an error without the keys in it.
 * @param args The arguments of the program, which the line may quote.
 */
export function withoutSecrets(line: string, args: readonly string[]): string {
  const hidden = withoutKeys(args);
  const isKey = (arg: string, i: number): boolean => hidden[i] === HIDDEN && shownKey(arg) === HIDDEN;
  const values = args.flatMap((arg) => [arg, ...arg.split(/[=,](?=[^=])/)]);
  const secrets = [...args.filter(isKey), ...values.filter(looksLikeKey)];
  return secrets.reduce((rest, secret) => rest.replaceAll(secret, HIDDEN), line).replace(WHOLE_KEYS, HIDDEN);
}

/** Whether a text looks like a key in base64, perhaps with a typing error. */
function looksLikeKey(text: string): boolean {
  if (!/^[A-Za-z0-9+/_-]{16,}={0,2}$/.test(text) || existsSync(text)) return false;
  return text.endsWith('=') || [/^[^/]{20}/, /[a-z]/, /[A-Z]/, /[0-9]/].every((part) => part.test(text));
}

/** Keys of 32 and of 16 bytes. */
const WHOLE_KEYS = /(?<![A-Za-z0-9+/_-])(?:[A-Za-z0-9+/_-]{43}=|[A-Za-z0-9+/_-]{22}==)(?!=)/g;
