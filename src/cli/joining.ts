/** What `vtep init`, `vtep join` and `vtep token` share: starting the agent, and the command line that joins a node. */
import { resolve } from 'node:path';
import { DEFAULT_STATE, ensureAgent, query } from '../host/index.js';
import { type JoinToken, type NodeRequest, type NodeResults, type Place } from '../schema/index.js';
import { requireFields } from './change.js';
import { commandText } from './facts.js';
import { type Flag, type Parsed } from './flags.js';
import { absoluteSocket, askNode } from './node-call.js';
import { printError } from './streams.js';

export const STATE: Flag = {
  name: 'state',
  value: 'DIR',
  text: `directory of the state of the agent, if it must be started (default ${DEFAULT_STATE})`,
};

export const ADDRESSES: readonly Flag[] = [
  { name: 'advertise-addr', value: 'IP', text: 'the address at which the other nodes reach this one' },
  { name: 'data-path-addr', value: 'IP', text: 'the address of the VTEP (default: that of --advertise-addr)' },
];

export const NAME: Flag = { name: 'name', value: 'NODE', text: 'the name of this node (default: that of the host)' };

/** Sends the request to the agent. If the agent does not run, it is started, and stopped again if the request fails. */
export async function startWith<C extends 'init' | 'join'>(
  flags: Parsed,
  request: NodeRequest & { command: C },
  place: Place,
): Promise<NodeResults[C]> {
  requireFields(request, place);
  const socket = absoluteSocket(flags);
  const state = resolve(flags.value('state') ?? DEFAULT_STATE);
  const { started, log } = await ensureAgent({ state, socket, program: ownProgram() });
  try {
    const result = await askNode<C>(flags, request, place);
    if (started) printError(`started the agent${log === undefined ? '' : `; its log is ${log}`}`);
    return result;
  } catch (error) {
    if (started) await query(socket, { command: 'stop' }).catch(() => undefined);
    throw error;
  }
}

/** The command line that starts this program, without its arguments. */
function ownProgram(): string[] {
  return [process.execPath, ...process.execArgv, resolve(process.argv[1] ?? 'vtep')];
}

/** The command line with which a node joins. */
export function joinCommand({ token, managers }: JoinToken): string {
  return commandText(['vtep', 'join', '--token', token, ...managers]);
}

/** How to join, as lines. */
export function joinLines(token: JoinToken): string[] {
  return [`To add a ${token.role}, run this on its host:`, '', `    ${joinCommand(token)}`, ''];
}
