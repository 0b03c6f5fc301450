/** `vtep reload`: lets a running VTEP read its configuration file again. */
import { reloadedText } from '../host/index.js';
import { call } from './call.js';
import { JSON_FLAG } from './change.js';
import { CONTROL, requireControl, TIMEOUT, timeoutOf } from './control-flags.js';
import { noRest, parseFlags, type Flag } from './flags.js';
import { type Manual } from './manual.js';
import { jsonLines, print, printError } from './streams.js';

const FLAGS: readonly Flag[] = [CONTROL, JSON_FLAG, TIMEOUT];

export const manual: Manual = {
  name: 'reload',
  summary: 'let a running VTEP read its configuration file again',
  usage: ['reload --control PATH [flags]'],
  description: `The VTEP reads the file of its --config again, as on SIGHUP, and applies what can change while it runs:

  - Segments are added and removed. One in which something was added over the control socket stays.
  - Networks are added and removed likewise. One that differs, whose VNIs are in use, or whose segments
    stay without it, needs a restart.
  - TAPs are attached and detached. A TAP with other settings is replaced; all others keep running.
  - Peers and endpoints are added and removed.

Settings of a segment, and everything else, change with a restart; the command names them. What was added over the
control socket, and what the gossip of an agent has added, stays. If the file is wrong, nothing changes.`,
  flags: [{ flags: FLAGS }],
  examples: 'vtep reload --control /run/vtep.sock',
  exit: {
    0: 'the configuration was read again',
    1: 'no VTEP answered, the configuration is wrong, or a part of it was refused',
    2: 'wrong flags',
  },
};

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, FLAGS);
  noRest(flags);
  const done = await call(requireControl(flags), { command: 'reload' }, { timeout: timeoutOf(flags) });
  const { refused, restart } = done;
  if (flags.on('json')) print([...jsonLines(done)]);
  else
    print([
      `the configuration was read again: ${reloadedText(done)}`,
      ...(restart.length === 0 ? [] : [`these changes take effect only after a restart: ${restart.join(', ')}`]),
    ]);
  for (const reason of refused) printError(`vtep reload: an entry was refused: ${reason}`);
  return refused.length === 0 ? 0 : 1;
}
