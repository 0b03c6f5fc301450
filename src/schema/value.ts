/** Checks a single value, such as that of a flag, as the configuration and the control socket would. */
import { type TSchema } from '@sinclair/typebox';
import { EngineChoice } from './config.js';
import { Bind, DeviceName, Host, Ip, MemberName, Netns, NetworkId, SocketPath } from './formats.js';
import { findProblems, problemText } from './problem.js';

/** What a text stands for. */
export type ValueKind = 'ip' | 'host' | 'bind' | 'device' | 'netns' | 'socket' | 'engine' | 'member' | 'network';

const KINDS: Readonly<Record<ValueKind, TSchema>> = {
  ip: Ip,
  host: Host,
  bind: Bind,
  device: DeviceName,
  netns: Netns,
  socket: SocketPath,
  engine: EngineChoice,
  member: MemberName,
  network: NetworkId,
};

/**
 * Returns what is wrong with a text, as words that follow the name of its flag or field: `expected a unicast IP address
 * such as 192.168.1.25, got "x"`; `undefined` if it fits.
 */
export function valueProblem(kind: ValueKind, text: string): string | undefined {
  const [problem] = findProblems(KINDS[kind], text);
  return problem === undefined ? undefined : problemText(problem);
}
