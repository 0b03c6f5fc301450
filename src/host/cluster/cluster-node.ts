/**
 * A node of a cluster: its identity, its manager if it is one, its connection to managers, its VTEP, and the sandboxes and
 * commands that it is assigned. What runs goes on without a manager, and without this process: the next one finds it.
 *
 *     DIRECTORY/node.pem, managers.json    who it is, and where managers are
 *     DIRECTORY/place.json                 its addresses
 *     DIRECTORY/assignment.json            what it has to do, as it heard last
 *     DIRECTORY/store/                     of a manager: what the managers know
 *     DIRECTORY/sandboxes/                 the records of its sandboxes
 *     DIRECTORY/attached.json              which endpoints are in namespaces of others
 *     DIRECTORY/runs.json                  which processes sandboxes belong to
 */
import { X509Certificate } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { newId, type Assignment, type EndpointRecord, type Role } from '../../cluster/index.js';
import { HostError } from '../error.js';
import { type Logger } from '../log.js';
import { HostResolvConf } from '../names/resolv-conf.js';
import { requireNetns } from '../netns.js';
import { Overlay } from '../overlay.js';
import { pause } from '../sandbox/processes.js';
import { AT_ONCE, Sandboxes } from '../sandbox/sandboxes.js';
import { several } from '../several.js';
import { Turns } from '../turns.js';
import { AttachedPlaces } from './attached-places.js';
import { type Identity } from './certificate.js';
import { ClusterError, inClusterAlready, NO_CLUSTER } from './error.js';
import { damagedCopy } from './id-file.js';
import { hostRoutes } from './host-routes.js';
import { joinCluster } from './join.js';
import { secretRandom } from './manager.js';
import { Managing, type NewCluster } from './managing.js';
import { NodeClient } from './node-client.js';
import { workloadOn } from './node-workloads.js';
import { keepAssignment, keepPlace, readAssignment, readPlace } from './node-files.js';
import { NAME_PORT, NodeNames } from './node-names.js';
import { setKeys, vtepPlan, type NodeAttachment, type NodeJoin, type NodePlace } from './node-plan.js';
import { watchStates } from './node-states.js';
import { NodeWork } from './node-work.js';
import { OutputSender } from './output-sender.js';
import { type LogsBody } from './protocol.js';
import { RemoteOutput } from './remote-output.js';
import { Reports } from './reports.js';
import { StateFiles } from './state-files.js';
import { digestOf, printToken } from './token.js';

export interface ClusterNodeOptions {
  /** The state directory: an absolute path. One process at a time may use it. */
  readonly directory: string;
  /** Of a manager: the port for nodes. Default: 2377. */
  readonly port?: number;
  /** Further fields of the VTEP's configuration, such as `engine`. */
  readonly settings?: object;
  readonly log: Logger;
}

/** Attempts to tell a manager that the node leaves: the first one may end the connection before its answer. */
const LEAVES = 5;
/** Milliseconds between two of them. */
const LEAVE_PAUSE = 250;
/** Milliseconds after which a VTEP that could not be started is started again. */
const RESTART = 2000;

/** What exists while the node is in a cluster. */
interface Member {
  readonly identity: Identity;
  readonly place: NodePlace;
  readonly managing: Managing | undefined;
  readonly client: NodeClient;
  readonly reports: Reports;
  readonly sender: OutputSender;
  readonly sandboxes: Sandboxes;
  readonly places: AttachedPlaces;
  overlay: Overlay | undefined;
  names: NodeNames | undefined;
  work: NodeWork | undefined;
  assignment: Assignment | undefined;
  /** Of a manager: keeps the states of the nodes. */
  states: ReturnType<typeof watchStates> | undefined;
  /** Whether there is a stream of assignments. */
  connected: boolean;
  /** Why there is no VTEP. */
  trouble: string | undefined;
}

export class ClusterNode {
  readonly #directory: string;
  readonly #port: number | undefined;
  readonly #settings: object;
  readonly #log: Logger;
  readonly #files: StateFiles;
  readonly #turns = new Turns();
  #member: Member | undefined;
  #again: NodeJS.Timeout | undefined;
  #done = 0;

  private constructor({ directory, port, settings = {}, log }: ClusterNodeOptions) {
    this.#directory = directory;
    this.#port = port;
    this.#settings = settings;
    this.#log = log;
    this.#files = new StateFiles(directory, (warning) => log.warning('state', warning));
  }

  /**
   * Starts a node: one that was in a cluster goes on there.
   * @throws HostError if its state cannot be read, or its VTEP or its manager cannot be started.
   */
  static async start(options: ClusterNodeOptions): Promise<ClusterNode> {
    const node = new ClusterNode(options);
    const identity = node.#files.identity();
    if (identity === undefined) return node;
    const place = readPlace(options.directory);
    let managing: Managing | undefined;
    if (existsSync(join(options.directory, 'store'))) managing = await Managing.start(identity, node.#managingOptions);
    await node.#begin(identity, place, managing);
    return node;
  }

  /** The cluster that it is in. */
  get identity(): Identity | undefined {
    return this.#member?.client.identity;
  }

  /** Its VTEP, once it has heard what it has to do. */
  get overlay(): Overlay | undefined {
    return this.#member?.overlay;
  }

  /** What it has to do. */
  get assignment(): Assignment | undefined {
    return this.#member?.assignment;
  }

  get sandboxes(): Sandboxes | undefined {
    return this.#member?.sandboxes;
  }

  /** Where the endpoints are that are in namespaces of others. */
  get places(): AttachedPlaces | undefined {
    return this.#member?.places;
  }

  /** Its addresses and its name. */
  get place(): NodePlace | undefined {
    return this.#member?.place;
  }

  /** Whether it has a connection to a manager. */
  get isConnected(): boolean {
    return this.#member?.connected === true;
  }

  /** Where managers are: `address:port`. */
  get managers(): readonly string[] {
    return this.#member?.managing?.manager.managers() ?? this.#member?.client.managers ?? [];
  }

  /** Whether it is bringing the host to what it is assigned. */
  get isBusy(): boolean {
    return this.#member?.work?.isBusy === true;
  }

  /** The number of things that the node has made or removed. It increases while the work makes progress. */
  get done(): number {
    return this.#done;
  }

  /**
   * What became of something that it is assigned: `network NAME`, `sandbox NAME`, `endpoint ID`. `null`: it is there; a text says why it is
   * not; `undefined`: it has not been tried yet.
   */
  outcomeOf(what: string): string | null | undefined {
    return this.#member?.trouble ?? this.#member?.work?.outcomeOf(what);
  }

  /**
   * Creates a cluster. This node is its first manager.
   * @throws ClusterError if it is in a cluster already, or for a wrong field; HostError if its manager cannot be started.
   */
  init(wanted: NewCluster): Promise<Identity> {
    return this.#turns.run(async () => {
      this.requireNone();
      const place = keepPlace(this.#directory, wanted);
      const { managing, identity } = await this.#orForget(() => Managing.create(wanted, this.#managingOptions));
      await this.#begin(identity, place, managing);
      return identity;
    });
  }

  /**
   * Joins a cluster.
   * @throws ClusterError if it is in a cluster already; HostError and ClusterError of `joinCluster`.
   */
  join(how: NodeJoin): Promise<Identity> {
    return this.#turns.run(async () => {
      this.requireNone();
      const { token, managers, name, address } = how;
      const place = keepPlace(this.#directory, how);
      const { identity } = await this.#orForget(() =>
        joinCluster({ token, managers, files: this.#files, name, address }),
      );
      await this.#begin(identity, place, undefined);
      return identity;
    });
  }

  /** The token with which nodes join, of a manager. @throws ClusterError if this node is none. */
  token(role: Role): string {
    const { managing, identity } = this.#require();
    if (managing === undefined)
      throw new ClusterError('forbidden', 'this node is no manager; print the token on a manager');
    const digest = digestOf(new X509Certificate(identity.ca).raw);
    return printToken({ digest, secret: managing.manager.secrets()[role] });
  }

  /**
   * Sends a command of the cluster, or `{ do: 'view' }` to read what this node may.
   * @throws ClusterError with the refusal, or because no manager answers.
   */
  command(command: { readonly do: string; readonly [field: string]: unknown }): Promise<unknown> {
    return this.#require().client.command(command);
  }

  /**
   * Reads the output of tasks on other nodes. The caller closes it.
   * @throws ClusterError with the refusal, or because no manager answers.
   */
  async remoteOutput(wanted: LogsBody): Promise<RemoteOutput> {
    return new RemoteOutput(await this.#require().client.logs(wanted), wanted.name);
  }

  /**
   * Attaches a namespace of somebody else to a network: creates an endpoint, whose device appears there. To detach it, remove the
   * endpoint.
   * @throws HostError if there is no such namespace; ClusterError with the refusal, or because no manager answers.
   */
  async attach({ netns, device = 'eth0', ...wanted }: NodeAttachment): Promise<EndpointRecord> {
    const { places, client } = this.#require();
    requireNetns(netns);
    const id = newId(secretRandom);
    places.begin(id, { netns, device });
    try {
      return (await client.command({ do: 'create-endpoint', kind: 'attach', id, ...wanted })) as EndpointRecord;
    } catch (error) {
      // If it is unknown whether it exists, an assignment has it, or the next process forgets it.
      if (!(error instanceof ClusterError) || error.code !== 'lost') places.abandon(id);
      throw error;
    }
  }

  /** Resolves when everything is as assigned, or has been tried once. */
  async settled(): Promise<void> {
    await this.#turns.run(() => undefined);
    await this.#member?.work?.settled();
  }

  /**
   * Leaves the cluster: ends everything that runs here, and forgets the cluster.
   * @param force Also if no manager answers, or if it is the last manager.
   */
  leave(force = false): Promise<void> {
    return this.#turns.run(async () => {
      const member = this.#require();
      await this.#tellLeave(member, force);
      await this.#end(member);
    });
  }

  /** Ends everything that runs here, and forgets the cluster. */
  async #end(member: Member): Promise<void> {
    member.sender.close();
    await member.client.close();
    await member.work?.close();
    member.states?.stop();
    member.names?.close();
    const taps = [...(member.overlay?.plan.taps ?? [])];
    await several(taps, AT_ONCE, async ({ name, netns }) => {
      await member.overlay!.detach(name, netns).catch((error: unknown) => this.#noteProblem(error));
      this.#done++;
    });
    await member.sandboxes.retain([], undefined, () => this.#done++);
    this.#member = undefined;
    member.reports.close();
    clearTimeout(this.#again);
    await member.overlay?.stop();
    await member.managing?.close();
    for (const name of ['assignment.json', 'attached.json', 'place.json', 'runs.json', 'store', 'sandboxes'])
      for (const path of [join(this.#directory, name), damagedCopy(join(this.#directory, name))])
        rmSync(path, { recursive: true, force: true });
    this.#files.remove();
  }

  /** A manager says that the node was removed. Its addresses become those of others, so nothing here may use them any longer. */
  #removed(identity: Identity): Promise<void> {
    return this.#turns.run(async () => {
      const member = this.#member;
      if (member?.identity !== identity) return;
      this.#log.warning('removed', 'this node has been removed from the cluster: everything that it runs ends here');
      await this.#end(member);
    });
  }

  /** Tells a manager that this node leaves. */
  async #tellLeave({ client }: Member, force: boolean): Promise<void> {
    for (let attempt = 1; ; attempt++)
      try {
        return void (await client.command({ do: 'leave', force }));
      } catch (error) {
        if (!(error instanceof ClusterError)) throw error;
        // The managers have removed this node, and its connection may have ended before the answer.
        if (error.code === 'revoked') return;
        if (error.code === 'lost' && attempt < LEAVES) {
          await pause(LEAVE_PAUSE);
          continue;
        }
        if (!force) throw error;
        this.#log.warning('leave', `no manager knows that this node has left: ${error.message}`);
        return;
      }
  }

  /** Ends this process's part. Sandboxes, devices and commands stay for the next process. */
  stop(): Promise<void> {
    return this.#turns.run(async () => {
      const member = this.#member;
      this.#member = undefined;
      member?.reports.close();
      member?.sender.close();
      clearTimeout(this.#again);
      await member?.client.close();
      await member?.work?.close();
      member?.states?.stop();
      member?.names?.close();
      await member?.overlay?.stop(true);
      await member?.managing?.close();
    });
  }

  // ---- What it is assigned ----

  async #begin(identity: Identity, place: NodePlace, managing: Managing | undefined): Promise<void> {
    const sandboxes = new Sandboxes({
      directory: join(this.#directory, 'sandboxes'),
      problem: (error) => this.#noteProblem(error),
    });
    const client = new NodeClient({
      ...{ files: this.#files, identity },
      ...(managing === undefined ? {} : { managers: managing.manager.managers() }),
      events: {
        assignment: (assignment) => void this.#turns.run(() => this.#assign(assignment as Assignment)),
        connected: (manager) => {
          this.#setConnected(true);
          this.#log.info('manager', `connected to manager ${manager}`, { manager });
          reports.send();
        },
        disconnected: (error, delay) => {
          this.#setConnected(false);
          if (error.code === 'revoked') void this.#removed(identity);
          else
            this.#log.warning('manager', `${error.message}; trying again in ${Math.round(delay)} ms`, {}, { key: '' });
        },
        output: (request) => sender.begin(request),
        renewed: (renewed) => managing?.server.renewed(renewed),
        notRenewed: (error) => this.#log.warning('certificate', `the certificate was not renewed: ${error.message}`),
        notKept: (error) => this.#log.warning('state', error.message),
      },
    });
    const reports = new Reports((report) => client.command({ ...report }));
    const sender = new OutputSender({
      endpoints: () => this.assignment?.endpoints ?? [],
      workloadOf: (endpoint) => workloadOn(this, endpoint),
      send: (batch) => client.output(batch),
      failed: (error) => this.#noteProblem(error),
    });
    const known = readAssignment(this.#directory, identity);
    this.#member = {
      ...{ identity, place, managing, client, sandboxes, reports, sender },
      places: new AttachedPlaces(join(this.#directory, 'attached.json'), (message) =>
        this.#log.warning('state', message),
      ),
      ...{ overlay: undefined, names: undefined, work: undefined, assignment: undefined, states: undefined },
      ...{ connected: false, trouble: undefined },
    };
    // What ran before goes on, whether or not a manager answers.
    if (known !== undefined) await this.#assign(known);
    client.start();
  }

  async #assign(assignment: Assignment): Promise<void> {
    const member = this.#member;
    if (member === undefined) return;
    if (member.assignment !== undefined && assignment.revision < member.assignment.revision) return;
    const reportedTag = member.work === undefined ? undefined : member.assignment?.gossipKeys[0]?.tag;
    member.assignment = assignment;
    try {
      keepAssignment(this.#directory, assignment);
    } catch (error) {
      this.#noteProblem(error); // the next process would do what the assignment before says, until a manager answers
    }
    clearTimeout(this.#again);
    try {
      if (member.overlay === undefined) await this.#startVtep(member, assignment);
      else setKeys(member.overlay, assignment);
      member.trouble = undefined;
    } catch (error) {
      this.#noteProblem(error);
      member.trouble = (error as Error).message;
      // Whatever prevents the VTEP may go away, such as another program at its port.
      this.#again = setTimeout(() => void this.#turns.run(() => this.#assign(assignment)), RESTART);
      this.#again.unref();
      return;
    }
    member.work!.assign(assignment);
    const tag = assignment.gossipKeys[0]?.tag;
    // It has the keys: a rotation may go on.
    if (tag !== undefined && tag !== reportedTag) member.reports.add('keys', { do: 'report-keys', tag });
  }

  async #startVtep(member: Member, assignment: Assignment): Promise<void> {
    const { place, places, sandboxes, managing } = member;
    const known = managing === undefined ? [] : [...managing.manager.state.nodes.values()];
    const members = [...assignment.managers, ...known].map(({ address }) => address);
    const overlay = await Overlay.start(
      vtepPlan(assignment, { ...place, settings: this.#settings }, [...new Set(members)]),
      {
        log: this.#log,
        end: (reason) => {
          if (reason !== null) this.#log.error('vtep', `the VTEP has ended: ${reason}`);
        },
        report: ({ event }) => {
          if (event === 'member') member.states?.compare();
        },
      },
    );
    const host = new HostResolvConf();
    const names = new NodeNames(overlay, host);
    try {
      await overlay.serveGateway(NAME_PORT, (request) => names.answer(request));
    } catch (error) {
      await overlay.stop(true);
      throw error;
    }
    member.overlay = overlay;
    member.names = names;
    if (managing !== undefined)
      member.states = watchStates(overlay, managing.manager, (error) => this.#noteProblem(error));
    const search = async (): Promise<readonly string[]> => (await host.read()).search;
    member.work = new NodeWork(assignment, {
      ...{ overlay, sandboxes, places, names, search, routes: hostRoutes, log: this.#log },
      report: (report) => member.reports.add(report.task, report),
      done: () => this.#done++,
    });
  }

  // ---- State ----

  get #managingOptions(): Parameters<typeof Managing.start>[1] {
    return {
      files: this.#files,
      ...(this.#port === undefined ? {} : { port: this.#port }),
      notice: (text) => this.#log.info('store', text),
      failed: (error) => this.#noteProblem(error),
    };
  }

  /** Runs a step by which the node gets an identity. If it fails, nothing of it remains but the key of a request to join. */
  async #orForget<T>(step: () => Promise<T>): Promise<T> {
    try {
      return await step();
    } catch (error) {
      for (const name of ['place.json', 'store']) rmSync(join(this.#directory, name), { recursive: true, force: true });
      throw error;
    }
  }

  #setConnected(connected: boolean): void {
    if (this.#member !== undefined) this.#member.connected = connected;
  }

  #noteProblem(error: unknown): void {
    const { message, stack } = error as Error;
    if (error instanceof HostError) this.#log.warning('node', message, {}, { key: message });
    else this.#log.error('node', `internal error: ${message}`, { stack }, { key: message });
  }

  /** @throws ClusterError if the node is in a cluster. */
  requireNone(): void {
    const known = this.#member?.identity;
    if (known !== undefined) throw inClusterAlready(known.cluster, this.#directory);
  }

  #require(): Member {
    if (this.#member === undefined) throw new ClusterError('no-cluster', NO_CLUSTER);
    return this.#member;
  }
}
