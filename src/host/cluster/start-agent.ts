/**
 * Starts the daemon of a node if it does not run: as a unit of systemd where that runs, else as a process of its own session
 * that writes to a file. Either way it outlives the program that has started it.
 */
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, openSync, readlinkSync, renameSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { join, resolve } from 'node:path';
import { fileTrouble, readBounded } from '../bounded-read.js';
import { HostError } from '../error.js';
import { pause } from '../sandbox/processes.js';

export interface AgentStart {
  /** The state directory of the node. */
  readonly state: string;
  /** The socket of its local API. */
  readonly socket: string;
  /** The words that run `vtep` itself. */
  readonly program: readonly string[];
  /** Further flags of `vtep agent`. */
  readonly flags?: readonly string[];
}

/** What differs in tests. */
export interface AgentPlace {
  /** A directory that exists where systemd is the service manager (sd_booted(3)). */
  readonly booted: string;
  /** The network namespace of systemd, in which it would start the daemon. */
  readonly network: string;
  /** Milliseconds until the daemon has to answer. */
  readonly patience: number;
  /** The node that the unit of contrib/systemd is for, if an administrator has installed it. */
  readonly installed?: { readonly state: string; readonly socket: string };
}

/** The state directory of a node, and the socket of its local API, if nothing else is said. */
export const DEFAULT_STATE = '/var/lib/weft';
export const DEFAULT_SOCKET = '/run/weft/agent.sock';

const PLACE: AgentPlace = {
  booted: '/run/systemd/system',
  network: '/proc/1/ns/net',
  patience: 60_000,
  installed: { state: DEFAULT_STATE, socket: DEFAULT_SOCKET },
};
/** Milliseconds between two looks at the socket. */
const POLL = 50;
/** Size of a log, above which the next start begins another one, and the one before is kept beside it. */
const LOG_BYTES = 1 << 20;
/** Lines of the log in an error, and the octets that they are taken from. */
const LINES = 10;
const TAIL = 16_384;

/**
 * Makes sure that the daemon of a node listens at a socket.
 * @returns whether it was started, and the file that it then writes its log to; none with systemd, whose journal has it.
 * @throws HostError with the last lines of its log if it ends before it answers.
 */
export async function ensureAgent(
  options: AgentStart,
  place: AgentPlace = PLACE,
): Promise<{ started: boolean; log?: string }> {
  const { socket, program, flags = [] } = options;
  if (await listens(socket)) return { started: false };
  const state = resolve(options.state);
  const words = [...program, 'agent', '--state', state, '--socket', resolve(socket), ...flags];
  if (!existsSync(place.booted) || !isInNetwork(place.network)) return startDetached(words, state, socket, place);
  const { installed } = place;
  const isDefault = state === installed?.state && socket === installed.socket && flags.length === 0;
  if (isDefault && (await isInstalled()))
    return startUnit(UNIT, ['systemctl', 'start', `${UNIT}.service`], options, place);
  const suffix = isDefault ? '' : `-${createHash('sha256').update(state).digest('hex').slice(0, 8)}`;
  return startUnit(`${UNIT}${suffix}`, transient(`${UNIT}${suffix}`, words), options, place);
}

/** The unit of the daemon. */
const UNIT = 'weft-agent';

/** Whether the unit has a file. */
function isInstalled(): Promise<boolean> {
  return execute('systemctl', ['cat', `${UNIT}.service`]).then(
    () => true,
    () => false,
  );
}

/** The command that makes a unit until the next reboot, which runs `words`. It has what the unit of contrib/systemd has. */
function transient(unit: string, words: readonly string[]): string[] {
  const properties = [
    'Type=notify',
    'KillMode=process', // commands in sandboxes outlive the daemon
    'Restart=on-failure',
    'RestartSec=1',
    'NotifyAccess=all', // without koffi, the program systemd-notify sends
  ];
  return [
    ...['systemd-run', `--unit=${unit}`, '--description=A node of a weft cluster', '--collect', '--quiet'],
    ...properties.map((property) => `--property=${property}`),
    '--',
    ...words,
  ];
}

/** Whether a process listens at a socket. */
function listens(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const end = (is: boolean): void => {
      socket.destroy();
      resolve(is);
    };
    socket.on('connect', () => end(true)).on('error', () => end(false));
  });
}

function isInNetwork(file: string): boolean {
  try {
    return readlinkSync('/proc/self/ns/net') === readlinkSync(file);
  } catch {
    return false;
  }
}

async function startDetached(
  [program, ...words]: readonly string[],
  state: string,
  socket: string,
  { patience }: AgentPlace,
): Promise<{ started: boolean; log: string }> {
  const log = join(state, 'agent.log');
  const file = openLog(state, log);
  const began = sizeOf(log);
  let ended: string | undefined;
  try {
    const child = spawn(program!, words, { stdio: ['ignore', file, file], detached: true, cwd: '/' });
    child.on('error', (error) => (ended = `it cannot be started: ${error.message}`));
    child.on('exit', (code, signal) => (ended = signal === null ? `exit status ${code}` : `ended by ${signal}`));
    child.unref();
  } finally {
    closeSync(file);
  }
  const limit = performance.now() + patience;
  while (!(await listens(socket))) {
    if (ended !== undefined)
      throw new HostError([
        `the daemon of the node has not started (${ended}); its log ${log}:`,
        ...lastLines(log, began),
      ]);
    if (performance.now() > limit)
      throw new HostError([
        `the daemon of the node does not answer at ${socket} after ${patience / 1000} s; see its log ${log}:`,
        ...lastLines(log, began),
      ]);
    await pause(POLL);
  }
  return { started: true, log };
}

function openLog(state: string, log: string): number {
  try {
    mkdirSync(state, { recursive: true, mode: 0o700 });
    if (sizeOf(log) > LOG_BYTES) renameSync(log, `${log}.1`);
    return openSync(log, 'a', 0o600);
  } catch (error) {
    throw new HostError(
      `the state directory ${state} cannot be used: ${fileTrouble(error)}; run this as root, or choose another directory`,
      { cause: error },
    );
  }
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** What the daemon has written since it was started. */
function lastLines(log: string, began: number): string[] {
  try {
    const text = Buffer.from(readBounded(log, 2 * LOG_BYTES))
      .subarray(began)
      .subarray(-TAIL)
      .toString('utf8')
      .trim();
    return text === '' ? [] : text.split('\n').slice(-LINES);
  } catch {
    return []; // it is too long, or gone
  }
}

async function startUnit(
  unit: string,
  [program, ...words]: readonly string[],
  { socket }: AgentStart,
  { patience }: AgentPlace,
): Promise<{ started: boolean }> {
  // One that has failed keeps its name.
  await execute('systemctl', ['reset-failed', `${unit}.service`]).catch(() => undefined);
  await execute(program!, words).catch(async (error: Error) => {
    throw new HostError(
      [`the daemon of the node has not started: ${error.message}; the journal of ${unit}:`, ...(await journalOf(unit))],
      { cause: error },
    );
  });
  const limit = performance.now() + patience;
  while (!(await listens(socket))) {
    if (performance.now() > limit)
      throw new HostError([
        `the daemon of the node does not answer at ${socket} after ${patience / 1000} s; the journal of ${unit}:`,
        ...(await journalOf(unit)),
      ]);
    await pause(POLL);
  }
  return { started: true };
}

async function journalOf(unit: string): Promise<string[]> {
  const text = await execute('journalctl', [
    `--unit=${unit}.service`,
    `--lines=${LINES}`,
    '--output=cat',
    '--no-pager',
  ]).catch(() => '');
  return text.trim() === '' ? [] : text.trim().split('\n');
}

function execute(program: string, words: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, words, { maxBuffer: 1 << 20 }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout);
      else reject(new Error(stderr.trim().split('\n').at(-1) || error.message, { cause: error }));
    });
  });
}
