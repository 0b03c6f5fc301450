/** The commands of `vtep`. */
import { type Manual } from './manual.js';

export interface Command {
  manual: Manual;
  /** Runs the command and returns the exit code. */
  run(args: string[]): Promise<number>;
}

/** Each command is loaded on demand: `vtep read` loads no network code. */
export const COMMANDS: Readonly<Record<string, { text: string; load: () => Promise<Command> }>> = {
  up: { text: 'attach containers to a VXLAN network', load: () => import('./up.js') },
  agent: { text: 'the same, and learn remote endpoints by gossip', load: () => import('./agent.js') },
  attach: { text: 'attach a TAP to a running VTEP', load: () => import('./attach.js') },
  detach: {
    text: 'remove a TAP from a running VTEP, or one that a VTEP kept when it ended',
    load: () => import('./detach.js'),
  },
  network: { text: 'list, add and remove the networks of a running VTEP', load: () => import('./network.js') },
  peer: { text: 'add and remove the peers of a running VTEP', load: () => import('./peer.js') },
  endpoint: { text: 'add and remove the endpoints of a running VTEP', load: () => import('./endpoint.js') },
  reload: { text: 'let a running VTEP read its configuration file again', load: () => import('./reload.js') },
  gossip: {
    text: 'members, networks and entries of a cluster of agents, and its keys',
    load: () => import('./gossip.js'),
  },
  show: { text: 'state of a running VTEP: fdb, neighbors, peers, counters', load: () => import('./show.js') },
  explain: { text: 'what a running VTEP would do with a packet, and why', load: () => import('./explain.js') },
  events: { text: 'what changes in a running VTEP', load: () => import('./events.js') },
  capture: { text: 'packets that pass a running VTEP', load: () => import('./capture.js') },
  read: { text: 'packets of a capture file, as text or JSON', load: () => import('./read.js') },
  completion: { text: 'completions for bash, zsh and fish', load: () => import('./completion.js') },
  demo: { text: 'two hosts, two containers and the overlay between them', load: () => import('./demo.js') },
};

/** The manuals of all commands. */
export async function manuals(): Promise<Manual[]> {
  return Promise.all(Object.values(COMMANDS).map(async ({ load }) => (await load()).manual));
}
