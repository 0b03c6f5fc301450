/** The part of a node that makes it a manager: its store, the manager itself, and the server for other nodes. */
import { createPublicKey, randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { MANAGER_PORT, type InitCluster } from '../../cluster/index.js';
import { HostError } from '../error.js';
import { FileStore } from '../store/file-store.js';
import { Authority, newKey, nodeIdOf } from './authority.js';
import { identityOf, type Identity } from './certificate.js';
import { ClusterError, inClusterAlready } from './error.js';
import { Manager } from './manager.js';
import { serveManager, type ManagerLimits, type ManagerServer } from './manager-server.js';
import { type StateFiles } from './state-files.js';

/** What a new cluster is to be. */
export interface NewCluster extends Pick<InitCluster, 'pools' | 'maskLength' | 'dataPathPort' | 'espPort'> {
  /** The name of the node, for people. */
  readonly name: string;
  /** The address at which other nodes reach this one. */
  readonly address: string;
  /** The underlay address of its VTEP; absent: `address`. */
  readonly dataPath?: string | undefined;
}

export interface ManagingOptions {
  /** Has the node's key and certificate; the store is in a directory `store` beside them. */
  readonly files: StateFiles;
  /** Where the server listens; absent: at every address. */
  readonly host?: string;
  /** Default: 2377. */
  readonly port?: number;
  readonly limits?: Partial<ManagerLimits>;
  /** Receives what an operator should know. */
  readonly notice?: (text: string) => void;
  /** Receives defects. */
  readonly failed?: (error: unknown) => void;
}

/** Every address of the host, of both families. */
const ANYWHERE = '::';
/** The directory of the store in the state directory. */
const STORE = 'store';

export class Managing {
  readonly manager: Manager;
  readonly server: ManagerServer;
  readonly #store: FileStore;

  private constructor(store: FileStore, manager: Manager, server: ManagerServer) {
    this.#store = store;
    this.manager = manager;
    this.server = server;
  }

  /**
   * Creates a cluster, whose first manager this node becomes. If this fails, nothing of it remains.
   * @throws HostError if the node is in a cluster already, or cannot listen; ClusterError with what is wrong with the request.
   */
  static async create(
    wanted: NewCluster,
    options: ManagingOptions,
  ): Promise<{ managing: Managing; identity: Identity }> {
    const { files, port = MANAGER_PORT } = options;
    const before = files.identity();
    if (before !== undefined) throw inClusterAlready(before.cluster, files.directory);
    // Of an attempt that was interrupted: no node has heard of it, because the identity is written last.
    await rm(join(files.directory, STORE), { recursive: true, force: true });
    const cluster = newClusterId();
    const ca = await Authority.create(cluster);
    const authority = await Authority.open(ca);
    const key = await newKey();
    const publicKey = createPublicKey(key);
    const node = nodeIdOf(publicKey);
    const { certificate, fingerprint } = await authority.issue(publicKey, { node, role: 'manager' });
    const identity = identityOf(key, certificate, ca.certificate);
    const { name, address, dataPath, pools, maskLength, dataPathPort, espPort } = wanted;
    const managing = await Managing.#open(identity, options, async (manager) => {
      const self = { id: node, name, address, port, dataPath, fingerprint };
      const reply = await manager.run({
        do: 'init-cluster',
        id: cluster,
        node: self,
        ca,
        pools,
        maskLength,
        dataPathPort,
        espPort,
      });
      if ('refusal' in reply)
        throw new ClusterError(reply.refusal.code, reply.refusal.message, { fields: reply.refusal.fields });
    });
    try {
      files.write(identity);
    } catch (error) {
      await managing.close();
      throw error;
    }
    return { managing, identity };
  }

  /**
   * Starts the manager of a cluster that this node has created.
   * @throws HostError if its store is missing, damaged or in use, or if it cannot listen.
   */
  static async start(identity: Identity, options: ManagingOptions): Promise<Managing> {
    const directory = join(options.files.directory, STORE);
    if (!existsSync(directory))
      throw new HostError(
        `${directory} is missing, in which this manager keeps what it knows; restore it, or let the node leave by force`,
      );
    return Managing.#open(identity, options, ({ state }) => {
      if (state.cluster?.id === identity.cluster) return Promise.resolve();
      const found = state.cluster === undefined ? 'no cluster' : `cluster ${state.cluster.id}`;
      throw new HostError(`${directory} has ${found}, and the certificate is one of ${identity.cluster}; restore it`);
    });
  }

  static async #open(
    identity: Identity,
    { files, host = ANYWHERE, port = MANAGER_PORT, limits, notice, failed = () => undefined }: ManagingOptions,
    prepare: (manager: Manager) => Promise<void>,
  ): Promise<Managing> {
    const directory = join(files.directory, STORE);
    const store = await FileStore.open({ directory, ...(notice === undefined ? {} : { notice }) });
    let manager: Manager | undefined;
    try {
      manager = await Manager.open({ store, node: identity.node, alone: true, failed });
      await prepare(manager);
      const authority = await Authority.open(manager.state.ca!);
      const given = { host, port, identity, authority, backend: manager, failed };
      const server = await serveManager(limits === undefined ? given : { ...given, limits });
      return new Managing(store, manager, server);
    } catch (error) {
      manager?.close();
      await store.close();
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.server.close();
    this.manager.close();
    await this.#store.close();
  }
}

/** 25 digits of base 36, like the ids of a cluster's records. */
function newClusterId(): string {
  return BigInt(`0x${randomBytes(16).toString('hex')}`)
    .toString(36)
    .padStart(25, '0');
}
