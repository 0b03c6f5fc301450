/** A manager on the loopback, whose cluster is a few maps in memory, and nodes that join it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type OutputOf, type OutputTask } from '../../src/cluster/index.js';
import {
  Authority,
  certificateRequest,
  digestOf,
  identityOf,
  joinCluster,
  newKey,
  newSecret,
  NodeClient,
  printToken,
  serveManager,
  StateFiles,
  type Actor,
  type Command,
  type Identity,
  type JoiningNode,
  type JoinOptions,
  type ManagerBackend,
  type ManagerOptions,
  type ManagerServer,
  type News,
  type NodeEvents,
  type NodeOptions,
  type Reply,
  type Role,
} from '../../src/host/index.js';
import { X509Certificate } from 'node:crypto';

export const LOOPBACK = '127.0.0.1';

const folder = mkdtempSync(join(tmpdir(), 'weft-cluster-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
let states = 0;

/** A state directory of its own. */
export function stateFiles(): StateFiles {
  return new StateFiles(join(folder, `state-${++states}`), (warning) => {
    throw new Error(warning);
  });
}

/** What a cluster's machine does with commands, as far as these tests need it. */
export class Backend implements ManagerBackend {
  readonly tokens: Record<Role, string> = { worker: newSecret(), manager: newSecret() };
  readonly nodes = new Map<string, JoiningNode & { fingerprints: string[] }>();
  readonly commands: { actor: Actor; command: Command }[] = [];
  readonly watchers = new Map<string, Set<(news: News) => void>>();
  places: string[] = [];
  refusal: Reply | undefined;
  /** The tasks of services whose output may be read, by the id of the service. */
  readonly outputs = new Map<string, OutputTask[]>();
  #revoked = new Set<string>();
  #listeners = new Set<() => void>();

  secrets(): Record<Role, string> {
    return this.tokens;
  }

  async join(node: JoiningNode): Promise<Reply> {
    if (this.refusal !== undefined) return this.refusal;
    const fingerprints = [...(this.nodes.get(node.node)?.fingerprints ?? []), node.fingerprint];
    this.nodes.set(node.node, { ...node, fingerprints });
    return { answer: { gossipKeys: ['a key'] } };
  }

  async renew({ node }: Actor, { fingerprint }: { fingerprint: string }): Promise<Reply> {
    const record = this.nodes.get(node);
    if (record === undefined) return { refusal: { code: 'not-found', message: 'no such node' } };
    record.fingerprints.push(fingerprint);
    return { answer: null };
  }

  roleOf(node: string): Role | undefined {
    return this.nodes.get(node)?.role;
  }

  async command(actor: Actor, command: Command): Promise<Reply> {
    this.commands.push({ actor, command });
    if (command.do === 'break') throw new Error('a secret of the manager');
    if (command.do === 'create-network' && actor.role !== 'manager')
      return { refusal: { code: 'forbidden', message: 'a worker may not create a network' } };
    return { answer: { done: command.do, by: actor.node } };
  }

  assignments(node: string, on: (news: News) => void): { stop(): void } {
    const watchers = this.watchers.get(node) ?? new Set();
    this.watchers.set(node, watchers.add(on));
    on({ assignment: { for: node, version: 0 }, managers: this.places });
    return {
      stop: () => {
        watchers.delete(on);
        if (watchers.size === 0) this.watchers.delete(node);
      },
    };
  }

  /** Tells a node what it has to do. */
  assign(node: string, assignment: unknown): void {
    for (const on of this.watchers.get(node) ?? []) on({ assignment, managers: this.places });
  }

  outputCalled(_actor: Actor, name: string): OutputOf | undefined {
    return this.outputs.has(name) ? { service: name } : undefined;
  }

  outputTasks(_actor: Actor, { service }: OutputOf): readonly OutputTask[] | undefined {
    return this.outputs.get(service);
  }

  managers(): string[] {
    return this.places;
  }

  isRevoked({ node, fingerprint }: { node: string; fingerprint: string }): boolean {
    return this.#revoked.has(fingerprint) || !this.nodes.has(node);
  }

  onRevoked(removed: () => void): { stop(): void } {
    this.#listeners.add(removed);
    return { stop: () => this.#listeners.delete(removed) };
  }

  remove(node: string): void {
    for (const fingerprint of this.nodes.get(node)?.fingerprints ?? []) this.#revoked.add(fingerprint);
    this.nodes.delete(node);
    for (const removed of this.#listeners) removed();
  }
}

/** Makes a node of a cluster without a manager. */
export async function issue(authority: Authority, node: string, role: Role, lifetime?: number): Promise<Identity> {
  const key = await newKey();
  const subject = { node, role, ...(lifetime === undefined ? {} : { lifetime }) };
  const { certificate } = await authority.sign(await certificateRequest(key), subject);
  return identityOf(key, certificate, authority.certificate);
}

export interface Lab {
  authority: Authority;
  backend: Backend;
  server: ManagerServer;
  identity: Identity;
  /** `127.0.0.1:port`. */
  place: string;
  token(role?: Role): string;
  join(options?: Partial<JoinOptions>): Promise<{ identity: Identity; files: StateFiles; cluster: unknown }>;
  /** Starts a client of a node, which `close` ends. */
  client(files: StateFiles, identity: Identity, events?: Partial<NodeEvents>, more?: Partial<NodeOptions>): NodeClient;
  /** Connects as a program of any kind would. */
  connect(options?: ConnectionOptions): Promise<TLSSocket>;
  close(): Promise<void>;
}

let clusters = 0;

/** Starts a manager. */
export async function startLab(options: Partial<ManagerOptions> & { lifetime?: number } = {}): Promise<Lab> {
  const authority = options.authority ?? (await Authority.open(await Authority.create(`cluster${++clusters}`)));
  const backend = (options.backend as Backend | undefined) ?? new Backend();
  const identity = options.identity ?? (await issue(authority, `manager${clusters}`, 'manager'));
  backend.nodes.set(identity.node, {
    ...identity,
    name: 'first',
    address: LOOPBACK,
    fingerprints: [identity.fingerprint],
    secret: '',
  });
  const failed = (error: unknown): void => {
    throw error;
  };
  const server = await serveManager({ host: LOOPBACK, port: 0, failed, ...options, identity, authority, backend });
  const place = `${LOOPBACK}:${server.port}`;
  backend.places = [...backend.places, place];
  const clients: NodeClient[] = [];
  const token = (role: Role = 'worker'): string =>
    printToken({ digest: digestOf(new X509Certificate(authority.certificate).raw), secret: backend.tokens[role] });
  return {
    authority,
    backend,
    server,
    identity,
    place,
    token,
    async join(more = {}) {
      const files = more.files ?? stateFiles();
      const joined = await joinCluster({ token: token(), managers: [place], name: 'host2', ...more, files });
      return { identity: joined.identity, files, cluster: joined.joined.cluster };
    },
    client(files, identity, events = {}, more = {}) {
      const client = new NodeClient({
        files,
        identity,
        events: { assignment: () => undefined, ...events },
        ...more,
        times: { first: 20, last: 100, ...more.times },
      });
      clients.push(client);
      client.start();
      return client;
    },
    connect: (more = {}) =>
      new Promise((resolve, reject) => {
        const socket = connect({ host: LOOPBACK, port: server.port, rejectUnauthorized: false, ...more });
        socket.on('secureConnect', () => resolve(socket)).on('error', reject);
      }),
    async close() {
      await Promise.all(clients.map((client) => client.close()));
      await server.close();
    },
  };
}

/** Everything that a connection receives, until its end. */
export function received(socket: TLSSocket): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    socket.on('data', (data: Buffer) => (text += data.toString('latin1')));
    socket.on('close', () => resolve(text));
  });
}

/** A request in full, with the length of its body. The connection ends behind the answer, unless `more` is to follow. */
export function httpText(method: string, path: string, body = '', more = false): string {
  const end = more ? '' : 'Connection: close\r\n';
  return `${method} ${path} HTTP/1.1\r\nHost: manager\r\n${end}Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
}

/** The status and the error's code of a response. */
export function refused(text: string): { status: number; code: string | undefined; message: string | undefined } {
  const status = Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]);
  const body = text.slice(text.indexOf('\r\n\r\n') + 4);
  const { error } = (body === '' ? {} : JSON.parse(body)) as { error?: { code: string; message: string } };
  return { status, code: error?.code, message: error?.message };
}
