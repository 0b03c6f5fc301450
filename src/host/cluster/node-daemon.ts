/** The daemon of a node: one process for each state directory, with a socket for its local API. */
import { mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { serveControl, type Control } from '../control.js';
import { HostError } from '../error.js';
import { type Logger } from '../log.js';
import { requireSocketDirectory } from '../socket-path.js';
import { lockDirectory } from '../store/lock.js';
import { ClusterNode } from './cluster-node.js';
import { NodeApi } from './node-api.js';

export interface NodeDaemonOptions {
  /** The state directory: an absolute path. */
  readonly state: string;
  /** The socket of the local API. Its directory is made, for this user alone, if it is missing. */
  readonly socket: string;
  /** Of a manager: the port for nodes. Default: 2377. */
  readonly port?: number;
  /** Further fields of the VTEP's configuration, such as `engine`. */
  readonly settings?: object;
  readonly log: Logger;
  /** Called when a client wants the daemon to stop. */
  stop(): void;
}

export class NodeDaemon {
  readonly node: ClusterNode;
  readonly #api: NodeApi;
  readonly #control: Control;
  readonly #unlock: () => Promise<void>;

  private constructor(node: ClusterNode, api: NodeApi, control: Control, unlock: () => Promise<void>) {
    this.node = node;
    this.#api = api;
    this.#control = control;
    this.#unlock = unlock;
  }

  /**
   * Starts the daemon. A node that was in a cluster goes on there.
   * @throws HostError if another process uses the state directory, if something in it cannot be used, or if another process
   * listens at the socket.
   */
  static async start({ state, socket, port, settings, log, stop }: NodeDaemonOptions): Promise<NodeDaemon> {
    const ends: (() => Promise<void>)[] = [];
    try {
      makeDirectory(dirname(socket));
      requireSocketDirectory(socket);
      const unlock = await lockDirectory(state, 'the state directory');
      ends.push(unlock);
      const node = await ClusterNode.start({
        ...{ directory: state, log },
        ...(port === undefined ? {} : { port }),
        ...(settings === undefined ? {} : { settings }),
      });
      ends.push(() => node.stop());
      const api = new NodeApi({ node, directory: state, log, stop });
      ends.push(() => api.close());
      const control = await serveControl(socket, (request, gone, goesOn) => api.answer(request, gone, goesOn));
      return new NodeDaemon(node, api, control, unlock);
    } catch (error) {
      for (const end of ends.reverse()) await end();
      throw error;
    }
  }

  /** What the service manager shows. */
  get status(): string {
    const { identity, place, overlay } = this.node;
    if (identity === undefined) return 'in no cluster';
    const taps = overlay?.plan.taps.length ?? 0;
    return `${identity.role} ${place?.name ?? identity.node} of cluster ${identity.cluster}, ${taps} ${taps === 1 ? 'TAP' : 'TAPs'}`;
  }

  /** Resolves if the VTEP works, or there is none. @throws HostError */
  async alive(): Promise<void> {
    await this.node.overlay?.alive();
  }

  /** Ends this process's part. Sandboxes, devices and commands stay for the next process. */
  async stop(): Promise<void> {
    await this.#control.close();
    await this.#api.close();
    await this.node.stop();
    await this.#unlock();
  }
}

function makeDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new HostError(
      `the directory ${directory} of the socket cannot be made: ${(error as Error).message}; run this as root, or choose another path`,
      { cause: error },
    );
  }
}
