/** Runs a command in a namespace in the foreground: with the streams, the terminal and the signals of this process. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { HostError } from '../error.js';
import { requireNetns } from '../netns.js';
import { send, statusOf } from './processes.js';
import { DEFAULT_PATH, requireCommand, requirePrograms } from './programs.js';

/** A command to run in the foreground. */
export interface ForegroundPlan {
  /** The name of a namespace; or its path, whose files of /etc are those of this host. */
  readonly netns: string;
  /** The program and its arguments; no shell is involved. */
  readonly command: readonly string[];
  /** Its environment; that of this process by default. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** The directory it starts in; that of this process by default. */
  readonly cwd?: string;
}

/** The signals that are passed on. The kernel sends those of a terminal's size and of job control to the command itself. */
const FORWARDED = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGUSR1', 'SIGUSR2', 'SIGCONT'] as const;
/** The signals that a terminal sends to every process in its foreground. */
const FROM_TERMINAL: readonly string[] = ['SIGINT', 'SIGQUIT', 'SIGCONT'];

/**
 * Runs a command in a namespace, with its files of /etc as `ip netns exec` binds them, and passes on signals.
 * @returns its exit status, or 128 and the number of the signal that ended it, as shells do.
 * @throws CommandError, with the exit status 126 or 127, if it cannot be started; HostError if there is no such namespace.
 */
export async function runForeground(plan: ForegroundPlan): Promise<number> {
  const { netns, command, environment = process.env, cwd = process.cwd() } = plan;
  const enter = netns.startsWith('/') ? ['nsenter', `--net=${netns}`] : ['ip', 'netns', 'exec', netns];
  requirePrograms([enter[0]!, 'sh']);
  requireNetns(netns);
  requireCommand({ command, environment, cwd });
  // `ip` and nsenter have exit statuses of their own if a program is missing; a shell with 126 or 127, like every command line.
  const script = 'PATH=$1; shift; exec "$@"';
  const words = [...enter.slice(1), 'sh', '-c', script, 'vtep', environment['PATH'] ?? DEFAULT_PATH, ...command];
  const program = requireCommand({ command: enter, environment: process.env, cwd: '/' });
  return new Promise((resolve, reject) => {
    // The shell itself is found there, wherever the command's environment looks.
    const child = spawn(program, words, {
      cwd,
      stdio: 'inherit',
      env: { ...environment, PATH: process.env['PATH'] ?? DEFAULT_PATH },
    });
    const forward = (signal: NodeJS.Signals): void => {
      // A terminal has sent it to the command as well, which would get it twice.
      if (FROM_TERMINAL.includes(signal) && isForeground()) return;
      if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) send(child.pid, signal);
    };
    for (const signal of FORWARDED) process.on(signal, forward);
    const stop = (): void => {
      for (const signal of FORWARDED) process.off(signal, forward);
    };
    child.on('error', (error) => {
      stop();
      reject(new HostError(`"${enter.join(' ')}" cannot be started: ${error.message}`, { cause: error }));
    });
    child.on('exit', (code, signal) => {
      stop();
      resolve(code ?? 128 + constants.signals[signal!]);
    });
  });
}

/** Whether this process belongs to those to which its terminal sends signals. */
function isForeground(): boolean {
  const status = statusOf('self');
  return status !== undefined && status.terminal !== 0 && status.foreground === status.group;
}
