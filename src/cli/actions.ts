/** Commands that take an action, such as `vtep gossip members`. */
import { closest } from '../schema/index.js';
import { parseFlags, UsageError, type Flag, type Parsed } from './flags.js';
import { type Word } from './manual.js';

export interface Action {
  /** The command line from the action on. */
  usage: string;
  text: string;
  flags: readonly Flag[];
  run: (flags: Parsed) => Promise<number>;
}

export type Actions = Readonly<Record<string, Action>>;

/** The actions as words of a manual. */
export function wordsOf(actions: Actions): Word[] {
  return Object.entries(actions).map(([name, { usage, text }]) => ({ name, usage, text }));
}

/** The flags of all actions, each once, in the order of the actions. */
export function flagsOfAll(actions: Actions): Flag[] {
  return [...new Set(Object.values(actions).flatMap(({ flags }) => flags))];
}

/**
 * Runs the action that the arguments begin with.
 * @param command The name of the command.
 * @throws UsageError for an unknown action, and for a flag that only other actions have.
 */
export async function runAction(command: string, actions: Actions, args: readonly string[]): Promise<number> {
  const [name, ...rest] = args;
  const names = Object.keys(actions);
  if (name === undefined || name.startsWith('-')) throw new UsageError(`missing: ACTION, one of ${names.join(', ')}`);
  const action = Object.hasOwn(actions, name) ? actions[name]! : undefined;
  if (action === undefined) {
    const meant = closest(name, names);
    throw new UsageError(
      `unknown action "${name}"; ${meant === undefined ? `the actions are ${names.join(', ')}` : `did you mean "${meant}"?`}`,
    );
  }
  const end = rest.indexOf('--');
  const own = end < 0 ? rest : rest.slice(0, end);
  for (const other of flagsOfAll(actions)) {
    const given = own.find((arg) => arg === `--${other.name}` || arg.startsWith(`--${other.name}=`));
    if (given !== undefined && !action.flags.includes(other))
      throw new UsageError(`--${other.name} does not go with "${name}"; usage: vtep ${command} ${action.usage}`);
  }
  return action.run(parseFlags(rest, action.flags));
}
