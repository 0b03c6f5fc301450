/**
 * Handles every error that no command has caught: prints one sentence instead of a stack trace. It imports no module of
 * the program, since loading such a module may be what failed.
 */
import { writeSync } from 'node:fs';

/** Makes uncaught errors end the process with a sentence and exit code 1. */
export function guard(): void {
  process.on('uncaughtException', fail);
  process.on('unhandledRejection', fail);
}

/** Prints the error and ends the process. */
export function fail(error: unknown): never {
  const command = /^[a-z]+$/.test(process.argv[2] ?? '') ? ` ${process.argv[2]}` : '';
  try {
    const lines = sentences(error).map((line) => `vtep${command}: ${line}`);
    if (process.env['WEFT_DEBUG']) lines.push(...String((error instanceof Error && error.stack) || error).split('\n'));
    writeSync(2, lines.map((line) => `${shown(line)}\n`).join(''));
  } catch {
    // standard error is closed or full: only the exit code is left
  }
  process.exit(1);
}

/**
 * Escapes everything but letters, marks, digits, punctuation, symbols and blanks: an error may quote texts of other
 * hosts. Stricter than `printable` of wire, which this file must not import.
 */
function shown(line: string): string {
  return line.replace(
    /[^ \p{L}\p{M}\p{N}\p{P}\p{S}]|\p{Default_Ignorable_Code_Point}/gu,
    (found) => `\\u{${found.codePointAt(0)!.toString(16)}}`,
  );
}

/** Describes an error for people: its cause if known, else a request to report it. */
export function sentences(error: unknown): string[] {
  const { name = 'Error', code, stack = '' } = (error ?? {}) as { name?: string; code?: unknown; stack?: string };
  const message = error instanceof Error ? error.message.split('\n')[0]! : String(error);
  const remedy = remedyFor(`${String(code ?? '')} ${message}`);
  if (remedy !== undefined) return [message, remedy];
  const place = /^\s+at .*?([^/\s(]+:\d+:\d+)\)?$/m.exec(stack)?.[1];
  return [
    `internal error: ${name === 'Error' ? '' : `${name}: `}${message}${place === undefined ? '' : ` (at ${place})`}`,
    'this is a bug in vtep; please report it with the command line and the output of the same command under WEFT_DEBUG=1',
  ];
}

/** The remedy for a system error that any step may meet; `undefined` for other errors. */
export function remedyFor(text: string): string | undefined {
  if (/EMFILE|ENFILE|too many open files/i.test(text))
    return 'raise the limit of open files: "ulimit -n 1024" before vtep, or LimitNOFILE= in its systemd unit';
  if (
    /ENOMEM|OUT_OF_MEMORY|ALLOCATION_FAILED|could not allocate|allocation failed|cannot allocate|out of memory|memory limit/i.test(
      text,
    )
  )
    return 'free some memory, or raise its limit: "ulimit -v unlimited" before vtep, or MemoryMax= in its systemd unit';
  if ((/EAGAIN/.test(text) && /spawn|fork|thread/i.test(text)) || /ERR_WORKER_INIT_FAILED/.test(text))
    return 'raise the limit of processes and threads: "ulimit -u" before vtep, or TasksMax= in its systemd unit';
  if (/ENOSPC/.test(text)) return 'free some space on the device';
  if (/ERR_MODULE_NOT_FOUND|ERR_DLOPEN_FAILED/.test(text))
    return 'a part of this installation is missing or damaged; install weftnet again';
  return undefined;
}
