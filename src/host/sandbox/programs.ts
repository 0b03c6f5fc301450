/** Looks for programs before they are started, and says which one is missing. */
import { accessSync, constants, statSync } from 'node:fs';
import { join } from 'node:path';
import { codeOf, HostError } from '../error.js';

/** A command cannot be started. */
export class CommandError extends HostError {
  /** What a shell exits with: 127 if there is no such program, 126 if it cannot be executed. */
  readonly exitCode: 126 | 127;

  constructor(message: string, exitCode: 126 | 127) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** The search path of a command whose environment has none. */
export const DEFAULT_PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** A command, and where it is to run. */
export interface CommandPlace {
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
}

/**
 * Checks that a command can be started.
 * @returns the path of its program.
 * @throws CommandError that says why it cannot.
 */
export function requireCommand({ command, environment, cwd }: CommandPlace): string {
  const [program] = command;
  if (program === undefined || program === '')
    throw new CommandError('there is no command to run; name a program, such as sh', 127);
  const zero = command.find((word) => word.includes('\0'));
  if (zero !== undefined)
    throw new CommandError('a word of the command has a NUL character, which no command can take', 126);
  requireDirectory(cwd);
  if (program.includes('/')) return requireExecutable(program, join(program.startsWith('/') ? '/' : cwd, program));
  if (program.startsWith('-')) throw new CommandError(`"${program}" is not the name of a program; give its path`, 127);
  const path = environment['PATH'] ?? DEFAULT_PATH;
  let refused: CommandError | undefined;
  for (const directory of path.split(':')) {
    const file = join(directory === '' ? cwd : directory, program);
    try {
      return requireExecutable(program, file);
    } catch (error) {
      if ((error as CommandError).exitCode === 126) refused ??= error as CommandError;
    }
  }
  throw (
    refused ?? new CommandError(`there is no program "${program}" in PATH (${path}); install it, or give its path`, 127)
  );
}

function requireDirectory(cwd: string): void {
  try {
    if (statSync(cwd).isDirectory()) return;
  } catch {
    // said below
  }
  throw new CommandError(`there is no directory ${cwd} to run the command in`, 126);
}

function requireExecutable(program: string, file: string): string {
  try {
    const status = statSync(file);
    if (status.isDirectory()) throw new CommandError(`"${program}" cannot be executed: ${file} is a directory`, 126);
    // root may access everything, but executes only what somebody may execute.
    if ((status.mode & 0o111) === 0)
      throw new CommandError(
        `"${program}" cannot be executed: ${file} has no permission for it; run: chmod +x ${file}`,
        126,
      );
    accessSync(file, constants.X_OK);
    return file;
  } catch (error) {
    if (error instanceof CommandError) throw error;
    const code = codeOf(error);
    if (code === 'ENOENT' || code === 'ENOTDIR')
      throw new CommandError(`there is no program ${file}; install it, or give another path`, 127);
    throw new CommandError(`"${program}" cannot be executed: ${file}: permission denied`, 126);
  }
}

/** The packages of Debian that have the programs which a sandbox needs. */
const PACKAGES: Readonly<Record<string, string>> = {
  ip: 'iproute2',
  nsenter: 'util-linux',
  setsid: 'util-linux',
  sh: 'dash',
};

/**
 * Checks that programs of the system are installed.
 * @throws HostError naming the first that is missing, and its package.
 */
export function requirePrograms(names: readonly string[]): void {
  for (const name of names) {
    try {
      requireCommand({ command: [name], environment: process.env, cwd: '/' });
    } catch {
      const from = PACKAGES[name] ?? 'coreutils';
      throw new HostError(`a sandbox needs the program "${name}", which is not in PATH; install ${from}`);
    }
  }
}
