/**
 * Endpoints that a request makes on this node: sandboxes with or without a command, and devices in namespaces that are there
 * already. An answer comes when all of it is there; if something fails, nothing of it remains.
 */
import { basename } from 'node:path';
import { newId, type EndpointRecord } from '../../cluster/index.js';
import { type NodeRequest, type ProcessOwner } from '../../schema/index.js';
import { HostError, RequestError } from '../error.js';
import { type Logger } from '../log.js';
import { requireNetns } from '../netns.js';
import { isRunning, bootId, type ProcessIdentity } from '../sandbox/processes.js';
import { DEFAULT_PATH, requireCommand } from '../sandbox/programs.js';
import { type ClusterNode } from './cluster-node.js';
import { ClusterError } from './error.js';
import { hostRoutes } from './host-routes.js';
import { type LocalEndpoints } from './local-endpoints.js';
import { secretRandom } from './manager.js';
import { sandboxOf } from './node-plan.js';
import { COMMAND } from './node-workloads.js';
import { type Runs } from './runs.js';

type Asked<C extends NodeRequest['command']> = Extract<NodeRequest, { command: C }>;

export interface RunParts {
  readonly node: ClusterNode;
  readonly local: LocalEndpoints;
  readonly runs: Runs;
  readonly log: Logger;
}

/** Milliseconds between two looks at the processes that sandboxes belong to. */
const LOOK = 1000;
/** Characters of an id in a name that the node chooses. */
const SHOWN = 8;
/** Attempts to create an endpoint whose answer is lost: the second one finds what the first one has made. */
const ATTEMPTS = 3;

export class NodeRuns {
  readonly #parts: RunParts;
  readonly #timer: NodeJS.Timeout;
  #looking: Promise<void> | undefined;
  #closed = false;

  constructor(parts: RunParts) {
    this.#parts = parts;
    this.#timer = setInterval(() => this.#look(), LOOK);
    this.#timer.unref();
    this.#look();
  }

  /** Makes a sandbox, and starts a command in it. */
  async run(request: Asked<'run'>): Promise<EndpointRecord> {
    const { node, local, runs } = this.#parts;
    const { command: _, name, run, environment = {}, cwd = '/', owner, network, ...wanted } = request;
    if (run !== undefined) requireCommand({ command: run, environment: { PATH: DEFAULT_PATH, ...environment }, cwd });
    const process = owner === undefined ? undefined : requireOwner(owner);
    const id = newId(secretRandom);
    runs.begin(id, { network, owner: process });
    try {
      await this.#create(id, { kind: 'run', name: name ?? `run-${id.slice(0, SHOWN)}`, network, ...wanted });
    } catch (error) {
      // If it is unknown whether it exists, it is removed as soon as a manager answers.
      if (error instanceof ClusterError && error.code === 'lost') runs.abandon(id);
      else runs.forget(id);
      throw error;
    }
    try {
      const endpoint = await local.arrived(id);
      if (run !== undefined) {
        const sandbox = await node.sandboxes?.find(sandboxOf(endpoint));
        if (sandbox === undefined) throw new RequestError('not-started', `the sandbox of ${endpoint.name} is gone`);
        await sandbox.start({ id: COMMAND, command: run, environment, cwd });
      }
      runs.complete(id);
      return endpoint;
    } catch (error) {
      await this.#undo(id, network);
      throw error instanceof HostError && error.constructor === HostError
        ? new RequestError('not-started', error.message, { cause: error })
        : error;
    }
  }

  /** Attaches a namespace that is there already. */
  async attach(request: Asked<'attach-endpoint'>): Promise<EndpointRecord> {
    const { node, local } = this.#parts;
    const { command: _, netns, name = nameOf(netns), ...wanted } = request;
    requireNetns(netns, 'netns');
    const { id } = await node.attach({ netns, name, ...wanted, routes: await hostRoutes() });
    try {
      return await local.arrived(id);
    } catch (error) {
      await this.#remove(id, request.network);
      throw error;
    }
  }

  /** Creates an endpoint; one whose answer is lost, once more. */
  async #create(id: string, wanted: object): Promise<void> {
    const command = { do: 'create-endpoint', id, ...wanted, routes: await hostRoutes() };
    for (let attempt = 1; ; attempt++)
      try {
        return void (await this.#parts.node.command(command));
      } catch (error) {
        if (!(error instanceof ClusterError) || error.code !== 'lost' || attempt === ATTEMPTS) throw error;
      }
  }

  /** Removes what is half made, and waits until it is gone. */
  async #undo(id: string, network: string): Promise<void> {
    const { runs, log } = this.#parts;
    try {
      await this.#remove(id, network);
      runs.forget(id);
    } catch (error) {
      runs.abandon(id);
      log.warning('node', `endpoint ${id}: ${(error as Error).message}; its removal is tried again`);
    }
  }

  async #remove(id: string, network: string): Promise<void> {
    const { node, local } = this.#parts;
    const endpoint = local.all.find((one) => one.id === id);
    try {
      await node.command({ do: 'remove-endpoint', network, endpoint: id });
    } catch (error) {
      if (!(error instanceof ClusterError) || error.code !== 'not-found') throw error;
    }
    node.places?.abandon(id);
    if (endpoint !== undefined) await local.gone(endpoint);
  }

  /** Removes the sandboxes whose processes have ended, and those that an earlier process has not completed. */
  #look(): void {
    this.#looking ??= this.#removeOrphans()
      .catch((error: Error) =>
        this.#parts.log.error('node', `internal error: ${error.message}`, { stack: error.stack }),
      )
      .finally(() => (this.#looking = undefined));
  }

  async #removeOrphans(): Promise<void> {
    const { node, local, runs, log } = this.#parts;
    if (node.identity === undefined) return;
    for (const [id, { network }] of runs.orphans()) {
      if (this.#closed) return;
      try {
        await this.#remove(id, network);
        runs.forget(id);
      } catch (error) {
        if (!(error instanceof HostError)) throw error;
        log.warning('node', `a sandbox whose process has ended is not removed yet: ${error.message}`, {}, { key: id });
      }
    }
    if (node.assignment !== undefined) runs.retain(new Set(local.all.map(({ id }) => id)));
  }

  /** Ends the watch. What runs stays. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    await this.#looking;
  }
}

/** @throws RequestError if the process does not run. */
function requireOwner({ pid, start }: ProcessOwner): ProcessIdentity {
  const owner = { pid, start, boot: bootId() };
  if (isRunning(owner)) return owner;
  const message = `process ${pid} that started ${start} ticks after the boot does not run; give one that does (field 22 of /proc/PID/stat)`;
  throw new RequestError('invalid-request', `owner: ${message}`, { fields: [{ path: 'owner', message }] });
}

/** The name of an endpoint in a namespace: that of the namespace, or of its process. */
function nameOf(netns: string): string {
  const pid = /^\/proc\/(\d+)\//.exec(netns)?.[1];
  const name = pid === undefined ? basename(netns) : `pid-${pid}`;
  const plain = name.replace(/[^a-zA-Z0-9_.-]/g, '-').replace(/^[^a-zA-Z0-9]+/, '');
  return /^$|^\d+(\.\d+){3}$/.test(plain) ? `ns-${plain}` : plain.slice(0, 63);
}
