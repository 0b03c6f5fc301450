/** `vtep peer`: adds and removes the peers of a running VTEP. */
import { runAction, wordsOf, type Actions } from './actions.js';
import { change, JSON_FLAG, oneArgument, removedLine, requireVni, VNI } from './change.js';
import { CONTROL } from './control-flags.js';
import { type Parsed } from './flags.js';
import { type Manual } from './manual.js';

const FLAGS = [CONTROL, VNI, JSON_FLAG];

const ACTIONS: Actions = {
  add: { usage: 'add IP --vni N --control PATH', text: 'add a peer to a network', flags: FLAGS, run: add },
  rm: { usage: 'rm IP --vni N --control PATH', text: 'remove a peer from a network', flags: FLAGS, run: remove },
};

export const manual: Manual = {
  name: 'peer',
  summary: 'add and remove the peers of a running VTEP',
  usage: ['peer ACTION IP --vni N --control PATH [flags]'],
  words: wordsOf(ACTIONS),
  description: `A peer is a VTEP that receives a copy of each flooded frame. "vtep show peers" lists them. What is added stays until it is
removed, or until the VTEP ends. A peer that the gossip of an agent has added stays as long as the gossip wants it.`,
  flags: [{ flags: FLAGS }],
  examples: `vtep peer add 192.168.1.26 --vni 4097 --control /run/vtep.sock
vtep peer rm 192.168.1.26 --vni 4097 --control /run/vtep.sock`,
  exit: { 0: 'done', 1: 'no VTEP answered, it refused the request, or there is no such peer', 2: 'wrong flags' },
};

export async function run(args: string[]): Promise<number> {
  return runAction(manual.name, ACTIONS, args);
}

async function add(flags: Parsed): Promise<number> {
  const address = oneArgument(flags, 'IP', 'the address of the peer to add');
  const vni = requireVni(flags);
  return change(flags, { command: 'add-peer', vni, address }, placeOf, () => `added peer ${address} to network ${vni}`);
}

async function remove(flags: Parsed): Promise<number> {
  const address = oneArgument(flags, 'IP', 'the address of the peer to remove');
  const vni = requireVni(flags);
  return change(flags, { command: 'remove-peer', vni, address }, placeOf, (result) =>
    removedLine(`peer ${address} of network ${vni}`, result),
  );
}

/** The flag or the argument that a field came from. */
function placeOf(path: string): string {
  return path === 'address' ? 'IP' : `--${path}`;
}
