/** Runs iproute2's `ip`, in any network namespace and without a shell. */
import { execFile } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { codeOf, HostError, isResourceError } from './error.js';

/** `ip` failed. The message never quotes the output of `ip`, which names neither the flag nor the remedy. */
export class IpError extends HostError {
  /** The kernel's error code: `EEXIST`; empty if unknown. */
  readonly code: string;
  /** Of `ipBatch`: the index of the command that failed, if that is known. */
  readonly failed: number | undefined;

  constructor(message: string, code: string, options?: ErrorOptions & { failed?: number }) {
    super(message, options);
    this.code = code;
    this.failed = options?.failed;
  }
}

/** Error texts of strerror(3), of the kernel and of `ip`, with the error code that each stands for. */
const REASONS: readonly (readonly [text: RegExp, code: string])[] = [
  [/Operation not permitted/, 'EPERM'],
  [/Permission denied/, 'EACCES'],
  [/File exists|already (assigned|exists)/, 'EEXIST'],
  [/Cannot find device|does not exist|No such device/, 'ENODEV'],
  [/Cannot open network namespace|cannot open \S+:|No such process|No such file/, 'ENOENT'],
  [/Network is (unreachable|down)/, 'ENETUNREACH'],
  [/No route to host/, 'EHOSTUNREACH'],
  [/Cannot assign requested address/, 'EADDRNOTAVAIL'],
  [/Device or resource busy/, 'EBUSY'],
  [/[Nn]ot supported/, 'EOPNOTSUPP'],
  [/No buffer space/, 'ENOBUFS'],
  [/Invalid argument|mtu (less|greater) than/, 'EINVAL'],
];

const WORDS: Readonly<Record<string, string>> = {
  EPERM: 'no permission; run as root or give CAP_NET_ADMIN and CAP_SYS_ADMIN',
  EACCES: 'no permission; run as root or give CAP_NET_ADMIN and CAP_SYS_ADMIN',
  EEXIST: 'it exists already',
  ENODEV: 'there is no such device',
  ENOENT: 'it does not exist',
  ENETUNREACH: 'the network is unreachable',
  EHOSTUNREACH: 'there is no route to that host',
  EADDRNOTAVAIL: 'the kernel does not accept that address',
  EBUSY: 'the device is busy',
  EOPNOTSUPP: 'this kernel does not support it',
  ENOBUFS: 'the kernel has no memory for it',
  EINVAL: 'the kernel does not accept that value',
  EMFILE: 'this process has too many open files (EMFILE)',
  ENFILE: 'the system has too many open files (ENFILE)',
  ENOMEM: 'the system has too little memory (ENOMEM)',
};

/** Describes why `ip` failed, with the remedy if it is always the same. */
export function ipReason(error: unknown): string {
  return reasonOf(error instanceof IpError ? error.code : '');
}

function reasonOf(code: string): string {
  return WORDS[code] ?? 'the kernel refused it';
}

/**
 * Runs `ip` with `args`, in a namespace if one is given, and returns its output.
 * @throws IpError with the kernel's reason; HostError if the program is missing.
 */
export function ip(args: readonly string[], netns?: string): Promise<string> {
  return start(command(args, netns));
}

/**
 * Runs `ip` with the mounts of another mount namespace, where it makes and removes the names of network namespaces.
 * @param mounts The file of the mount namespace.
 */
export function ipInMounts(args: readonly string[], mounts: string): Promise<string> {
  return start(['nsenter', `--mount=${mounts}`, 'ip', ...args]);
}

/**
 * Runs commands of `ip` in one process, in order and up to the first that fails. To start a process stops this thread for
 * a millisecond or more, and with it the frames of an engine that runs here.
 * @throws IpError as `ip` does, with the command that failed.
 */
export async function ipBatch(commands: readonly (readonly string[])[], netns?: string): Promise<void> {
  // `ip` has no escape for these characters.
  const isPlain = commands.every((words) => words.every((word) => /^[^"'#\\\n]+$/.test(word)));
  if (isPlain) {
    const lines = commands.map((words) => words.map((word) => (/\s/.test(word) ? `"${word}"` : word)).join(' '));
    await start(command(['-batch', '-'], netns), `${lines.join('\n')}\n`);
    return;
  }
  for (const [failed, words] of commands.entries())
    await ip(words, netns).catch((error: unknown) => {
      if (!(error instanceof IpError)) throw error;
      throw new IpError(error.message, error.code, { cause: error.cause, failed });
    });
}

/** Descriptors that it takes to start a process: a pair of sockets for each of its streams, and a pipe for errors. */
const FILES = 8;

/**
 * Fails as starting a process does without descriptors. Then Node 20 never closes those that it has already opened for it,
 * so every attempt would leave less.
 */
function requireFiles(): void {
  const files: number[] = [];
  try {
    while (files.length < FILES) files.push(openSync('/dev/null', 'r'));
  } finally {
    for (const file of files) closeSync(file);
  }
}

function start([program, ...rest]: readonly string[], input?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    try {
      requireFiles();
    } catch (error) {
      return reject(notStarted(program!, error as Error));
    }
    const child = execFile(program!, rest, { maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else if (codeOf(error) === 'ENOENT') reject(new HostError(notFound(program!), { cause: error }));
      else if (isResourceError(error)) reject(notStarted(program!, error));
      else {
        const code = REASONS.find(([text]) => text.test(stderr))?.[1] ?? '';
        const line = /Command failed -:(\d+)/.exec(stderr)?.[1];
        const what = line === undefined ? rest.join(' ') : (input?.split('\n')[Number(line) - 1] ?? rest.join(' '));
        reject(
          new IpError(`"${program} ${what}" failed: ${reasonOf(code)}`, code, {
            cause: error,
            ...(line === undefined ? {} : { failed: Number(line) - 1 }),
          }),
        );
      }
    });
    if (input === undefined) return;
    child.stdin?.on('error', () => undefined); // it has ended early, which is reported above
    child.stdin?.end(input);
  });
}

/** Like `ip`, for commands with JSON output (`-j`). */
export async function ipJson<T>(args: readonly string[], netns?: string): Promise<T[]> {
  const text = (await ip(['-j', ...args], netns)).trim();
  return text === '' ? [] : (JSON.parse(text) as T[]);
}

// `ip -n` accepts names only. A path, as container engines provide it, requires nsenter.
function command(args: readonly string[], netns: string | undefined): string[] {
  if (netns === undefined) return ['ip', ...args];
  return netns.startsWith('/') ? ['nsenter', `--net=${netns}`, 'ip', ...args] : ['ip', '-n', netns, ...args];
}

function notStarted(program: string, cause: Error): IpError {
  const code = codeOf(cause);
  return new IpError(`"${program}" cannot be started: ${WORDS[code] ?? cause.message}`, code, { cause });
}

function notFound(program: string): string {
  return program === 'ip'
    ? 'the program "ip" is not installed; install iproute2 (apt-get install iproute2), or pass open TAPs as `fd`'
    : `the program "${program}" is not installed; install util-linux, or name the namespace with "ip netns attach"`;
}
