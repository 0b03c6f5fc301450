/** `vtep node`: the nodes of the cluster. */
import { HostError } from '../host/index.js';
import { type NodeEntry } from '../schema/index.js';
import { flagsOfAll, runAction, wordsOf, type Actions } from './actions.js';
import { age, shortId, timestamp } from './age.js';
import { given, JSON_FLAG, oneArgument } from './change.js';
import { factLines } from './facts.js';
import { noRest, refuseBeside, type Flag, type Parsed } from './flags.js';
import { type Manual } from './manual.js';
import { askNode, placesOf, show, SOCKET, someArguments, tellNode } from './node-call.js';
import { rowsOf, tableLines } from './table.js';

export const QUIET: Flag = { name: 'quiet', letter: 'q', text: 'print only the ids' };

const ACTIONS: Actions = {
  ls: { usage: 'ls', text: 'list the nodes; * is this one', flags: [QUIET, SOCKET, JSON_FLAG], run: list },
  inspect: {
    usage: 'inspect NODE …',
    text: 'all that is known of nodes; "self" is this one',
    flags: [SOCKET, JSON_FLAG],
    run: inspect,
  },
  rm: {
    usage: 'rm NODE [--force]',
    text: 'remove a node from the cluster, and revoke its certificate',
    flags: [{ name: 'force', text: 'also while it answers: its endpoints are lost to the cluster' }, SOCKET, JSON_FLAG],
    run: remove,
  },
};

const place = placesOf({ node: 'NODE', force: '--force' });

export const manual: Manual = {
  name: 'node',
  summary: 'list, inspect and remove the nodes of the cluster',
  usage: ['node ACTION [flags]'],
  words: wordsOf(ACTIONS),
  description: `A node is named by its name, its id, or the beginning of its id. Its state is "alive"; "failed" if it does not answer, and may
come back with everything that it runs; or "left".`,
  flags: [{ flags: flagsOfAll(ACTIONS) }],
  examples: `vtep node ls
vtep node inspect host2
vtep node rm host2`,
  exit: { 0: 'done', 1: 'no agent answered, it refused the request, or there is no such node', 2: 'wrong flags' },
};

export async function run(args: string[]): Promise<number> {
  return runAction(manual.name, ACTIONS, args);
}

async function list(flags: Parsed): Promise<number> {
  noRest(flags);
  refuseBeside(flags, 'quiet', ['json']);
  const nodes = await askNode(flags, { command: 'nodes' });
  const now = Date.now();
  await show(flags, nodes, () =>
    flags.on('quiet')
      ? nodes.map(({ id }) => id)
      : tableLines(
          ['ID', 'NAME', 'ROLE', 'STATE', 'SINCE', 'ADDRESS', 'ENDPOINTS'],
          rowsOf(nodes, ({ id, name, role, state, since, address, self, endpoints }) => [
            `${shortId(id)}${self ? ' *' : ''}`,
            ...[name, role, state, age(since, now), address, endpoints],
          ]),
        ),
  );
  return 0;
}

async function inspect(flags: Parsed): Promise<number> {
  const names = someArguments(flags, 'NODE', 'the node to inspect, such as "self"');
  const nodes = await askNode(flags, { command: 'nodes' });
  const found = names.map((name) => nodeNamed(nodes, name));
  await show(flags, found, () => found.flatMap((node, i) => [...(i === 0 ? [] : ['']), ...nodeLines(node)]));
  return 0;
}

/** @throws HostError if there is none, or more than one. */
function nodeNamed(nodes: readonly NodeEntry[], name: string): NodeEntry {
  const choices = [
    nodes.filter(({ self }) => self && name === 'self'),
    nodes.filter(({ id }) => id === name),
    nodes.filter((node) => node.name === name),
    nodes.filter(({ id }) => id.startsWith(name)),
  ];
  const found = choices.find(({ length }) => length > 0) ?? [];
  if (found.length === 0) throw new HostError(`NODE: there is no node "${name}"; "vtep node ls" lists them`);
  if (found.length > 1)
    throw new HostError(
      `NODE: "${name}" is ${found.length} nodes; give one of the ids ${found.map(({ id }) => id).join(', ')}`,
    );
  return found[0]!;
}

function nodeLines({ id, name, role, state, since, joined, address, dataPath, self, endpoints }: NodeEntry): string[] {
  return factLines([
    ['id', id],
    ['name', `${name}${self ? ' (this node)' : ''}`],
    ['role', role],
    ['state', `${state} since ${timestamp(since)}`],
    ['address', address],
    ['data path', dataPath],
    ['joined', timestamp(joined)],
    ['endpoints', endpoints],
  ]);
}

async function remove(flags: Parsed): Promise<number> {
  const node = oneArgument(flags, 'NODE', 'the node to remove');
  const request = { command: 'remove-node' as const, node, ...given({ force: flags.on('force') }) };
  return tellNode(flags, request, place, ({ id, name }) => `removed node ${name} (${id})`);
}
