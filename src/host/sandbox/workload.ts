/**
 * A command in a sandbox that runs on when the agent ends. A shim supervises it; whichever agent comes next finds both, and
 * the command's exit status, in the workload's directory.
 */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, watch, type FSWatcher } from 'node:fs';
import { link, mkdir, readFile, readlink, realpath, rm, writeFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { join } from 'node:path';
import { codeOf, HostError } from '../error.js';
import { findNamespace } from './namespace.js';
import {
  bootId,
  endProcesses,
  isRunning,
  listProcesses,
  parseIdentity,
  pause,
  send,
  sessionOf,
  type ProcessIdentity,
} from './processes.js';
import { DEFAULT_PATH, requireCommand, requirePrograms } from './programs.js';
import { OutputReader } from './output-reader.js';
import { writeAside } from './record.js';
import { BLOCK, FILES, SHIM, SHIM_PROGRAMS } from './shim.js';

/** A command to run in a sandbox. */
export interface WorkloadPlan {
  /** Letters, digits, `_`, `.` and `-`. */
  readonly id: string;
  /** The program and its arguments; no shell is involved. */
  readonly command: readonly string[];
  /** Its environment, and nothing besides but `PATH` if that is missing here. */
  readonly environment?: Readonly<Record<string, string>>;
  /** The directory it starts in; `/` by default. */
  readonly cwd?: string;
  /**
   * Most bytes of output to keep; 256 KiB by default. At least half of it is kept, or the last `bytes / 1024` pieces if the
   * command writes smaller pieces.
   */
  readonly outputBytes?: number;
}

/** How a command has ended. */
export interface Ended {
  /** Its exit status, or 128 and the number of the signal that ended it; `null` if nobody knows. */
  readonly code: number | null;
  /** The signal that such a status stands for. A command may also exit with such a status by itself. */
  readonly signal: NodeJS.Signals | null;
  /** In words. */
  readonly reason: string;
}

export type WorkloadState =
  { readonly state: 'starting' | 'running'; readonly pid: number | undefined } | ({ readonly state: 'ended' } & Ended);

const RECORD = 'workload.json';
const OUTPUT_BYTES = 256 << 10;
/** Milliseconds between two looks at a workload, beside those that the kernel's notices cause. */
const POLL = 500;
/** Milliseconds between two looks at a workload that is starting or ending. */
const SHORT = 10;
/** Milliseconds that a shim may take until the command runs, also on a loaded machine. */
const STARTING = 30_000;
/** Milliseconds that the last output may take after the end of the command. */
const DRAINING = 2000;
const NOBODY = 'nobody\n';

export class Workload {
  readonly id: string;
  readonly directory: string;
  readonly #netns: string;
  /** Whether this object has started it, so that its shim is on the way. */
  #isOwn = false;
  /** Whether nothing is left of the command's session. No process can join it then. */
  #isSessionGone = false;

  /** @param directory Of the workload. */
  constructor(id: string, directory: string, netns: string) {
    this.id = id;
    this.directory = directory;
    this.#netns = netns;
  }

  /**
   * Starts a command.
   * @param step Called after each step with its name.
   * @throws CommandError if there is no such program or it cannot be executed; HostError if the command cannot be started
   * otherwise.
   */
  async start(plan: WorkloadPlan, step: (done: string) => void): Promise<void> {
    const { command, cwd = '/', outputBytes = OUTPUT_BYTES } = plan;
    requirePrograms(SHIM_PROGRAMS);
    const environment = { PATH: DEFAULT_PATH, ...plan.environment };
    requireCommand({ command, environment, cwd });
    if (existsSync(this.directory))
      throw new HostError(`there is a workload "${this.id}" already; remove it first, or choose another id`);
    this.#isOwn = true;
    try {
      await mkdir(this.directory, { recursive: true, mode: 0o700 });
      step('workload directory');
      await writeFile(this.#path(FILES.shim), SHIM, { mode: 0o600 });
      await writeAside(this.#path(RECORD), `${JSON.stringify({ version: 1, id: this.id, command, cwd }, null, 1)}\n`);
      step('workload record');
      await this.#spawn(Math.max(1, Math.floor(outputBytes / 2 / BLOCK)), command, environment, cwd);
      step('shim');
      await this.#begun();
      step('command');
    } catch (error) {
      this.#isOwn = false;
      await this.remove().catch(() => undefined); // the first error says more
      throw error;
    }
  }

  /** Waits until the command runs. */
  async #begun(): Promise<void> {
    const limit = performance.now() + STARTING;
    while (this.#read(FILES.command) === undefined && this.#read(FILES.exit) === undefined) {
      const { state } = this;
      if (state.state === 'ended' && state.code === null)
        throw new HostError(`workload "${this.id}" has not started: ${state.reason}`);
      if (performance.now() > limit)
        throw new HostError(`workload "${this.id}" has not started after ${STARTING / 1000} s; see ${this.directory}`);
      await pause(SHORT);
    }
  }

  #spawn(
    blocks: number,
    command: readonly string[],
    environment: Readonly<Record<string, string>>,
    cwd: string,
  ): Promise<void> {
    const own = process.env['PATH'] ?? DEFAULT_PATH;
    const words = [this.#path(FILES.shim), 'run', this.directory, this.#netns, String(blocks), own, ...command];
    // The shell is looked for in the command's environment, where it may be missing.
    const shell = requireCommand({ command: ['sh'], environment: { PATH: own }, cwd: '/' });
    const errors = openSync(this.#path(FILES.errors), 'a', 0o600);
    return new Promise((resolve, reject) => {
      const child = spawn(shell, words, {
        cwd,
        env: environment,
        stdio: ['ignore', 'ignore', errors],
        detached: true, // a session of its own: no signal of this process's terminal reaches it
      });
      closeSync(errors);
      child.on('spawn', resolve);
      child.on('error', (error) =>
        reject(
          new HostError(`the shim of workload "${this.id}" cannot be started: ${error.message}`, { cause: error }),
        ),
      );
      child.unref();
    });
  }

  /** The command that it runs; empty if its record is missing. */
  async command(): Promise<readonly string[]> {
    try {
      return (JSON.parse(await readFile(this.#path(RECORD), 'utf8')) as { command: string[] }).command;
    } catch {
      return []; // the agent was killed before it wrote the record, and has started nothing
    }
  }

  /** What it does now. */
  get state(): WorkloadState {
    const command = this.#identity(FILES.command);
    // First: a command that has ended in between is then seen to run, and to have ended the next time.
    const runs = command !== undefined && isRunning(command);
    // Once: between two looks, the shim may claim the workload.
    const claim = this.#read(FILES.claim);
    const shim = claim === undefined ? undefined : parseIdentity(claim);
    const supervised = shim !== undefined && isRunning(shim);
    const code = /^exit (\d+)\n$/.exec(this.#read(FILES.exit) ?? '')?.[1];
    if (code !== undefined) return { state: 'ended', ...endedWith(Number(code)) };
    if (runs) return { state: 'running', pid: command.pid };
    // Between the end of the command and its record, and before the start, the shim is there.
    if (supervised) return { state: command === undefined ? 'starting' : 'running', pid: command?.pid };
    if (claim === undefined) return { state: 'starting', pid: undefined };
    return { state: 'ended', code: null, signal: null, reason: this.#trouble() };
  }

  /**
   * For a workload that an earlier agent has left: decides whether it has started. A shim that has not begun yet, because
   * that agent was killed, then runs no command.
   */
  async adopt(): Promise<void> {
    if (this.#isOwn || this.#read(FILES.claim) !== undefined || !existsSync(this.directory)) return;
    const claim = this.#path(`${FILES.claim}.${process.pid}`);
    await writeFile(claim, NOBODY);
    await link(claim, this.#path(FILES.claim)).catch((error: unknown) => {
      if (codeOf(error) !== 'EEXIST') throw error;
    });
    await rm(claim, { force: true });
  }

  /**
   * Waits for the end of the command. What it has started and left behind ends with it.
   * @param signal Ends the waiting.
   */
  async wait(signal?: AbortSignal): Promise<Ended> {
    for (;;) {
      const { state } = this;
      if (state.state === 'ended') {
        await this.#finish();
        return { code: state.code, signal: state.signal, reason: state.reason };
      }
      signal?.throwIfAborted();
      await this.#change(signal);
    }
  }

  /** Waits until its directory changes, or for some time. */
  #change(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      let watcher: FSWatcher | undefined;
      const done = (): void => {
        clearTimeout(timer);
        watcher?.close();
        signal?.removeEventListener('abort', done);
        resolve();
      };
      const timer = setTimeout(done, POLL);
      signal?.addEventListener('abort', done);
      try {
        watcher = watch(this.directory, (_event, name) => {
          if (name === FILES.exit) done();
        });
        watcher.on('error', () => undefined);
      } catch {
        return; // no more watches, or no such directory: the timer remains
      }
      // It may have changed before the watch began.
      if (this.#read(FILES.exit) !== undefined) done();
    });
  }

  /** Sends a signal to the command alone. @returns false if it does not run. */
  signal(signal: NodeJS.Signals): boolean {
    const command = this.#identity(FILES.command);
    if (command === undefined || !isRunning(command)) return false;
    send(command.pid, signal);
    return true;
  }

  /**
   * Ends the command and what it has started: with SIGTERM, and what remains after a time with SIGKILL.
   * @param grace Milliseconds.
   */
  async stop(grace = 10_000): Promise<Ended> {
    await this.adopt();
    const limit = performance.now() + STARTING;
    while (this.state.state === 'starting' && performance.now() < limit) await pause(SHORT);
    await this.#endSession(grace);
    return this.wait();
  }

  /** Ends what the command has started and left behind, and lets the last of its output arrive. */
  async #finish(): Promise<void> {
    await this.#endSession(0);
    const limit = performance.now() + DRAINING;
    while (this.#supervised() && performance.now() < limit) await pause(SHORT);
  }

  /** Ends the processes of the command's session. */
  async #endSession(grace: number): Promise<void> {
    if (this.#isSessionGone) return;
    const hasBegun = this.#identity(FILES.command) !== undefined;
    await endProcesses(() => this.#groups(), grace);
    this.#isSessionGone = hasBegun;
  }

  #supervised(): boolean {
    const shim = this.#shim();
    return shim !== undefined && isRunning(shim);
  }

  /** The process groups of the command's session, as negative numbers. */
  async #groups(): Promise<number[]> {
    const command = this.#identity(FILES.command);
    if (command === undefined) return [];
    const namespace = findNamespace(this.#netns);
    const session = await sessionOf(command, namespace.kind === 'namespace' ? namespace.inode : undefined);
    return [...new Set(session.map(({ group }) => -group))];
  }

  /** Ends the processes that keep the output: something outside of the session may still have the pipe. */
  async #endKeepers(): Promise<void> {
    const shim = this.#shim();
    const pipe = await realpath(this.#path(FILES.pipe)).catch(() => undefined);
    if (shim === undefined || shim.boot !== bootId() || pipe === undefined) return;
    await endProcesses(async () => {
      const session = (await listProcesses()).filter(({ session: id }) => id === shim.pid);
      const inputs = await Promise.all(session.map(({ pid }) => readlink(`/proc/${pid}/fd/0`).catch(() => '')));
      return session.filter((_, i) => inputs[i] === pipe).map(({ pid }) => pid);
    }, DRAINING);
    while (isRunning(shim)) await pause(SHORT); // it only waits for them
  }

  /**
   * Returns the end of what the command has written to its standard output and error.
   * @param bytes Most bytes of it.
   */
  async output(bytes = OUTPUT_BYTES): Promise<Buffer> {
    const all = await this.follow().next();
    return all.subarray(Math.max(0, all.length - bytes));
  }

  /** Reads the output from the first part on that is kept. */
  follow(): OutputReader {
    return new OutputReader(this.directory);
  }

  /**
   * Removes what is left of a workload that has ended.
   * @throws HostError if it still runs.
   */
  async remove(): Promise<void> {
    await this.adopt();
    if (existsSync(this.directory)) {
      if (this.state.state !== 'ended') throw new HostError(`workload "${this.id}" runs; stop it first`);
      await this.#finish();
      await this.#endKeepers();
    }
    await rm(this.directory, { recursive: true, force: true });
  }

  #shim(): ProcessIdentity | undefined {
    return this.#identity(FILES.claim);
  }

  #identity(file: string): ProcessIdentity | undefined {
    const line = this.#read(file);
    return line === undefined ? undefined : parseIdentity(line);
  }

  /** The text of a small file; `undefined` if it is missing or not written yet. */
  #read(file: string): string | undefined {
    try {
      const text = readFileSync(this.#path(file), 'utf8');
      return text.endsWith('\n') ? text : undefined;
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Says why a command has no exit status. */
  #trouble(): string {
    if (this.#read(FILES.claim) === NOBODY) return 'the agent ended before it had started the command';
    const errors = this.#read(FILES.errors)?.trim().split('\n').at(-1);
    if (errors !== undefined && this.#read(FILES.command) === undefined) return errors;
    return 'its shim was killed, or the system has started again, so its exit status is unknown';
  }

  #path(name: string): string {
    return join(this.directory, name);
  }
}

const SIGNALS = new Map(Object.entries(constants.signals).map(([name, number]) => [number, name as NodeJS.Signals]));

function endedWith(code: number): Ended {
  const signal = code > 128 ? (SIGNALS.get(code - 128) ?? null) : null;
  const reason =
    code === 127
      ? 'there was no such program, or an interpreter of it is missing (exit status 127)'
      : code === 126
        ? 'the program could not be executed (exit status 126)'
        : signal === null
          ? `exit status ${code}`
          : `ended by ${signal} (exit status ${code})`;
  return { code, signal, reason };
}
