/**
 * A node of a cluster as a program: `cluster-program.ts DIRECTORY`. Each line of its standard input is a request,
 * `{"init":{…}}`, `{"join":{…}}`, `{"token":"worker"}`, `{"command":{…}}`, `{"settled":true}`, `{"leave":true}`, `{"state":true}`;
 * each line of its standard output the answer, `{"answer":…}` or `{"error":{…}}`.
 */
import { createInterface } from 'node:readline';
import { TIMES } from '../../src/cluster/index.js';
import {
  ClusterNode,
  Logger,
  type ClusterError,
  type NewCluster,
  type NodeAttachment,
  type NodeJoin,
  type Role,
} from '../../src/host/index.js';

export interface NodeRequest {
  init?: NewCluster;
  join?: NodeJoin;
  attach?: NodeAttachment;
  token?: Role;
  command?: { do: string; [field: string]: unknown };
  settled?: boolean;
  leave?: boolean;
  state?: boolean;
}

// Three rotations, each after a pause, end what a removed node can read. The pause itself is tested on the virtual clock.
Object.assign(TIMES, { rotationPause: 1000 });

const log = new Logger(({ level, event, message }) => void process.stderr.write(`${level} ${event}: ${message}\n`));
const node = await ClusterNode.start({ directory: process.argv[2]!, log });
process.stdout.write('{"answer":"ready"}\n');

async function answer(request: NodeRequest): Promise<unknown> {
  if (request.init !== undefined) return (await node.init(request.init)).node;
  if (request.join !== undefined) return (await node.join(request.join)).node;
  if (request.attach !== undefined) return node.attach(request.attach);
  if (request.token !== undefined) return node.token(request.token);
  if (request.command !== undefined) return node.command(request.command);
  if (request.settled === true) return node.settled();
  if (request.leave === true) return node.leave(true);
  const { networks = [], taps = [] } = { networks: node.overlay?.plan.gossip?.networks, taps: node.overlay?.plan.taps };
  return {
    networks: networks.map(({ id }) => id),
    taps: taps.map(({ name, netns }) => `${netns} ${name}`),
    gossipKeys: node.assignment?.gossipKeys.map(({ key }) => key) ?? [],
  };
}

for await (const line of createInterface({ input: process.stdin })) {
  try {
    const done = await answer(JSON.parse(line) as NodeRequest);
    process.stdout.write(`${JSON.stringify({ answer: done ?? null })}\n`);
  } catch (error) {
    const { code, message } = error as ClusterError;
    process.stdout.write(`${JSON.stringify({ error: { code, message } })}\n`);
  }
}
await node.stop();
process.exit(0);
