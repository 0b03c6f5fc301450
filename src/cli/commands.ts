/** The commands of `vtep`. */
import { type Manual } from './manual.js';

export interface Command {
  manual: Manual;
  /** Runs the command and returns the exit code. */
  run(args: string[]): Promise<number>;
}

interface Entry {
  text: string;
  load: () => Promise<Command>;
}

/** Each command is loaded on demand: `vtep read` loads no network code. */
export const GROUPS: readonly { title: string; commands: Readonly<Record<string, Entry>> }[] = [
  {
    title: 'hosts as one cluster',
    commands: {
      init: { text: 'create a cluster with this host as its first manager', load: () => import('./init.js') },
      join: { text: 'make this host a node of a cluster', load: () => import('./join.js') },
      leave: { text: 'take this host out of its cluster', load: () => import('./leave.js') },
      token: { text: 'print the command that joins a node, with its token', load: () => import('./token.js') },
      node: { text: 'list, inspect and remove the nodes', load: () => import('./node.js') },
      network: {
        text: 'create, list, inspect and remove networks; with --control, those of one VTEP',
        load: () => import('./network.js'),
      },
      run: { text: 'run a command in a sandbox with an endpoint in a network', load: () => import('./run.js') },
      exec: { text: 'run a command in a sandbox that is there', load: () => import('./exec.js') },
      ps: { text: 'list the endpoints of this node, or of all', load: () => import('./ps.js') },
      logs: { text: 'the output of a command in the background', load: () => import('./logs.js') },
      attach: {
        text: 'attach a namespace to a network; with --control, a TAP to one VTEP',
        load: () => import('./attach.js'),
      },
      detach: {
        text: 'remove an endpoint, a TAP of one VTEP, or one that a VTEP kept when it ended',
        load: () => import('./detach.js'),
      },
      service: { text: 'run a command on the nodes, as often as wanted', load: () => import('./services.js') },
    },
  },
  {
    title: 'one VTEP, with or without a cluster',
    commands: {
      up: { text: 'attach containers to a VXLAN network', load: () => import('./up.js') },
      agent: { text: 'the same, and learn remote endpoints by gossip', load: () => import('./agent.js') },
      peer: { text: 'add and remove the peers of a running VTEP', load: () => import('./peer.js') },
      endpoint: { text: 'add and remove the endpoints of a running VTEP', load: () => import('./endpoint.js') },
      reload: { text: 'let a running VTEP read its configuration file again', load: () => import('./reload.js') },
      gossip: {
        text: 'members, networks and entries of a cluster of agents, and its keys',
        load: () => import('./gossip.js'),
      },
      show: { text: 'state of a running VTEP: fdb, neighbors, peers, counters', load: () => import('./show.js') },
    },
  },
  {
    title: 'packets',
    commands: {
      explain: { text: 'what a running VTEP would do with a packet, and why', load: () => import('./explain.js') },
      events: { text: 'what changes in a running VTEP', load: () => import('./events.js') },
      capture: { text: 'packets that pass a running VTEP', load: () => import('./capture.js') },
      read: { text: 'packets of a capture file, as text or JSON', load: () => import('./read.js') },
    },
  },
  {
    title: 'this program',
    commands: {
      completion: { text: 'completions for bash, zsh and fish', load: () => import('./completion.js') },
      demo: {
        text: 'a cluster of two hosts, its networks, and a packet layer by layer',
        load: () => import('./demo.js'),
      },
    },
  },
];

export const COMMANDS: Readonly<Record<string, Entry>> = Object.assign({}, ...GROUPS.map(({ commands }) => commands));

/** The manuals of all commands. */
export async function manuals(): Promise<Manual[]> {
  return Promise.all(Object.values(COMMANDS).map(async ({ load }) => (await load()).manual));
}
