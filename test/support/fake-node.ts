/**
 * A node of a cluster that answers by the contract of the local API: with results that a test gives, and a record of what
 * was asked. The program runs within the test, on the same code as `vtep`.
 */
import { program } from '../../src/cli/program.js';
import { serveControl, type Control } from '../../src/host/index.js';
import {
  type ControlRequest,
  type EndpointEntry,
  type NetworkDetails,
  type NodeEntry,
  type NodeRequest,
  type NodeResults,
  type ServiceDetails,
} from '../../src/schema/index.js';

/** The answer to each command: what it returns, or throws. */
export type Answers = {
  [C in NodeRequest['command']]?: (
    request: Extract<NodeRequest, { command: C }>,
  ) => NodeResults[C] | Promise<NodeResults[C]>;
};

export class FakeNode {
  readonly asked: ControlRequest[] = [];
  readonly #control: Control;

  private constructor(control: Control) {
    this.#control = control;
  }

  static async start(path: string, answers: Answers): Promise<FakeNode> {
    const node: FakeNode = new FakeNode(
      await serveControl(path, async (request) => {
        node.asked.push(request);
        const answer = answers[request.command as NodeRequest['command']] as
          ((request: ControlRequest) => unknown) | undefined;
        if (answer === undefined) throw new Error(`the test has no answer to "${request.command}"`);
        return answer(request);
      }),
    );
    return node;
  }

  close(): Promise<void> {
    return this.#control.close();
  }
}

export interface Printed {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs a command line of `vtep` in this process. */
export async function runProgram(args: readonly string[]): Promise<Printed> {
  const { stdout, stderr } = process;
  const texts = { stdout: '', stderr: '' };
  const before = { stdout: stdout.write, stderr: stderr.write };
  const catching = (name: 'stdout' | 'stderr') =>
    ((text: string | Uint8Array): boolean => {
      texts[name] += typeof text === 'string' ? text : Buffer.from(text).toString();
      return true;
    }) as typeof stdout.write;
  stdout.setMaxListeners(0);
  stderr.setMaxListeners(0);
  stdout.write = catching('stdout');
  stderr.write = catching('stderr');
  try {
    const code = await program([...args], () => undefined);
    return { code, ...texts };
  } finally {
    stdout.write = before.stdout;
    stderr.write = before.stderr;
  }
}

/** When everything of the examples was created. */
export const CREATED = Date.UTC(2026, 0, 31, 12, 0, 0, 7);

export const NODE: NodeEntry = {
  ...{ id: '0node1aaaaaaaaaaaaaaaaaaa', name: 'host1', role: 'manager', address: '172.31.1.5', dataPath: '172.31.1.6' },
  ...{ state: 'alive', since: CREATED, joined: CREATED, self: true, endpoints: 2 },
};

export const ENDPOINT: EndpointEntry = {
  ...{ id: '0endpoint1aaaaaaaaaaaaaaa', name: 'p1', network: 'prod-net', networkId: '0network1aaaaaaaaaaaaaaaa' },
  ...{ addresses: ['10.1.1.10', 'fd01::10'], mac: '02:42:0a:01:01:0a', node: 'host1', nodeId: NODE.id, kind: 'run' },
  ...{
    service: null,
    aliases: ['www'],
    created: CREATED,
    state: 'running',
    code: null,
    reason: null,
    netns: 'weft-p1',
  },
};

/** An endpoint of another node. */
export const REMOTE: EndpointEntry = {
  ...ENDPOINT,
  ...{ id: '0endpoint2aaaaaaaaaaaaaaa', name: 'web', addresses: ['11.1.1.20'], mac: '02:42:0b:01:01:14' },
  ...{ node: 'host2', nodeId: '0node2aaaaaaaaaaaaaaaaaaa', kind: 'attach', aliases: [], state: null, netns: null },
};

export const NETWORK: NetworkDetails = {
  ...{ id: '0network1aaaaaaaaaaaaaaaa', name: 'prod-net', created: CREATED, ipv6: true, internal: false, mtu: 1400 },
  labels: { stage: 'test' },
  subnets: [
    {
      ...{ prefix: '10.1.1.0/24', gateway: '10.1.1.1', vni: 4098, range: '10.1.1.128/25' },
      auxiliary: { printer: '10.1.1.9' },
    },
    { prefix: '11.1.1.0/24', gateway: '11.1.1.254', vni: 4099, auxiliary: {} },
    { prefix: 'fd01::/64', gateway: 'fd01::1', vni: 4098, auxiliary: {} },
  ],
  endpoints: [ENDPOINT, REMOTE],
  peers: [
    { node: NODE.id, name: 'host1', address: '172.31.1.6' },
    { node: REMOTE.nodeId, name: 'host2', address: '192.168.1.25' },
  ],
};

export const SERVICE: ServiceDetails = {
  ...{ id: '0service1aaaaaaaaaaaaaaaa', name: 'test', replicas: 2, running: 1, networks: ['prod-net'] },
  run: ['sleep', 'a b'],
  tasks: [
    {
      ...{ id: '0task1aaaaaaaaaaaaaaaaaaa', service: '0service1aaaaaaaaaaaaaaaa', slot: 1, node: NODE.id, attempt: 1 },
      ...{ state: 'running', since: CREATED, failures: 0, endings: [], name: 'test.1', nodeName: 'host1' },
      ...{ endpoints: [{ network: NETWORK.id, id: '0endpoint3aaaaaaaaaaaaaaa' }], addresses: ['10.1.1.129'] },
    },
    {
      ...{ id: '0task2aaaaaaaaaaaaaaaaaaa', service: '0service1aaaaaaaaaaaaaaaa', slot: 2, node: REMOTE.nodeId },
      ...{ attempt: 3, state: 'exited', since: CREATED, failures: 3, name: 'test.2', nodeName: 'host2' },
      ...{ endpoints: [{ network: NETWORK.id, id: '0endpoint4aaaaaaaaaaaaaaa' }], addresses: ['10.1.1.130'] },
      endings: [
        {
          ...{ at: CREATED, node: REMOTE.nodeId, state: 'exited', code: 3 },
          output: ['cannot open\u001b[31m it', 'giving up'],
        },
      ],
    },
  ],
};
