/**
 * Brings a host to what its node is assigned: networks, sandboxes with their devices, and the commands of tasks. It compares
 * what is with what should be, so it needs no history: an assignment may have been missed, and a process before this one may
 * have been killed at any point. What fails is tried again. It works on several sandboxes at a time, and on each for one
 * assignment at a time; everything that concerns networks is done before them or after them, one after the other.
 */
import { type AssignedTask, type Assignment, type Command, type HostRoute } from '../../cluster/index.js';
import { SchemaError, type Tap, type TapPlan } from '../../schema/index.js';
import { HostError, RequestError } from '../error.js';
import { removeKept } from '../kept.js';
import { type Logger } from '../log.js';
import { type Overlay } from '../overlay.js';
import { type AttachHow } from '../overlay-types.js';
import { findNamespace } from '../sandbox/namespace.js';
import { netnsOf } from '../sandbox/plan.js';
import { AT_ONCE, type Sandboxes } from '../sandbox/sandboxes.js';
import { type Workload } from '../sandbox/workload.js';
import { several, valuesOf } from '../several.js';
import { type AttachedPlaces } from './attached-places.js';
import { overlapWith } from './host-routes.js';
import { ownNames, type NodeNames } from './node-names.js';
import {
  groupOf,
  setNetworkKeys,
  vtepNetwork,
  wantedAttachments,
  wantedSandboxes,
  workloadId,
  workloadOf,
  type Wanted,
} from './node-plan.js';

/** What the work is done with. */
export interface NodeTools {
  readonly overlay: Overlay;
  readonly sandboxes: Sandboxes;
  readonly places: AttachedPlaces;
  /** Answers the questions of endpoints. */
  readonly names: Pick<NodeNames, 'assign'>;
  /** The domains that complete a short name on this host. */
  search(): Promise<readonly string[]>;
  /** The routes of this host. */
  routes(): Promise<readonly HostRoute[]>;
  readonly log: Logger;
  /** Called for each thing that was made or removed. */
  done(): void;
  /** Receives what became of a task, once for each change. */
  report(report: Extract<Command, { do: 'report-task' }>): void;
}

/** Milliseconds before what has failed is tried again: at first, and at most. */
const RETRY = 500;
const LAST_RETRY = 30_000;
/** Lines and bytes of output that the report of a task has. */
const LINES = 10;
const BYTES = 4096;
/** Milliseconds from one announcement of names to the next, while many sandboxes are made. */
const NAMES_PAUSE = 250;

export class NodeWork {
  readonly #tools: NodeTools;
  #wanted: Assignment;
  #done: Assignment | undefined;
  /** Whether the last assignment has not been looked at yet. */
  #isNew = true;
  #doing: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #delay = RETRY;
  #closed = false;
  /** What became of each thing that was tried last: `null`, or why it failed. */
  readonly #outcomes = new Map<string, string | null>();
  /** Tasks whose commands are watched, by the id and the attempt. */
  readonly #watched = new Map<string, AbortController>();
  /** Tasks whose commands run, by the id and the attempt. */
  readonly #running = new Set<string>();
  /** The sandboxes that this process has made or found complete: as what, and the identity of the namespace. */
  readonly #made = new Map<string, { readonly as: string; readonly namespace: string }>();
  /** The assignment whose names are announced, and when that was done last. */
  #named: Assignment | undefined;
  #namesAt = -Infinity;

  constructor(wanted: Assignment, tools: NodeTools) {
    this.#wanted = wanted;
    this.#tools = tools;
  }

  /** Does what an assignment says; the newest one replaces those before. */
  assign(wanted: Assignment): void {
    this.#wanted = wanted;
    this.#delay = RETRY;
    this.#isNew = true;
    this.#start();
  }

  /** See `ClusterNode.outcomeOf`. */
  outcomeOf(what: string): string | null | undefined {
    return this.#outcomes.get(what);
  }

  /** Whether it is bringing the host to what is assigned. */
  get isBusy(): boolean {
    return this.#doing !== undefined;
  }

  /** Resolves when everything is as assigned, or has been tried once. */
  async settled(): Promise<void> {
    this.#start();
    await this.#doing;
  }

  #start(): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#doing ??= this.#run().finally(() => {
      this.#doing = undefined;
      if (this.#isNew) this.#start(); // it came after the last look at it
    });
  }

  async #run(): Promise<void> {
    this.#isNew = false;
    for (let wanted = this.#wanted; wanted !== this.#done && !this.#closed; wanted = this.#wanted) {
      this.#isNew = false;
      const failures = await this.#reach(wanted);
      if (failures === 0) this.#done = wanted;
      if (failures === 0 || wanted !== this.#wanted) continue;
      this.#timer = setTimeout(() => this.#start(), this.#delay);
      this.#timer.unref();
      this.#delay = Math.min(2 * this.#delay, LAST_RETRY);
      return;
    }
  }

  /** @returns how many things have failed. */
  async #reach(assignment: Assignment): Promise<number> {
    const { overlay, names } = this.#tools;
    const wanted = wantedSandboxes(assignment, await this.#tools.search());
    names.assign(assignment);
    this.#named = assignment;
    let failures = 0;
    const tried = new Set<string>();
    const attempt = async (what: string, step: () => Promise<unknown>): Promise<boolean> => {
      if (this.#closed) return false;
      tried.add(what);
      try {
        await step();
        this.#outcomes.set(what, null);
        return true;
      } catch (error) {
        if (!(error instanceof HostError) && !(error instanceof SchemaError)) throw error;
        failures++;
        this.#outcomes.set(what, error.message);
        this.#tools.log.warning('node', `${what}: ${error.message}`, {}, { key: what });
        return false;
      }
    };
    await this.#removeSandboxes(wanted, attempt);
    await this.#removeAttachments(assignment, attempt);
    setNetworkKeys(overlay.groupKeys, assignment);
    for (const network of assignment.networks)
      await attempt(`network ${network.name}`, async () => {
        if (this.#hasNetwork(network.id)) return;
        await overlay.addNetwork(vtepNetwork(network), groupOf(network));
        this.#tools.done();
      });
    let known: Promise<readonly HostRoute[]> | undefined;
    const routes = (): Promise<readonly HostRoute[]> => (known ??= this.#tools.routes());
    const sandboxes = await several(wanted.values(), AT_ONCE, async (one) => {
      const isThere = await attempt(`sandbox ${one.sandbox.name}`, async () => {
        if (one.task !== undefined) await this.#requireFreeRoutes(one.sandbox.name, one.task, assignment, routes);
        await this.#ensure(one);
      });
      if (one.task === undefined) return;
      if (isThere) await attempt(`task ${one.task.name}`, () => this.#runTask(one.sandbox.name, one.task!));
      if (performance.now() - this.#namesAt >= NAMES_PAUSE) this.#announceNames();
    });
    valuesOf(sandboxes);
    for (const [id, tap] of wantedAttachments(assignment, this.#tools.places.all))
      await attempt(`endpoint ${id}`, () => this.#attach(tap));
    this.#announceNames();
    for (const id of this.#networks())
      if (!assignment.networks.some((network) => network.id === id))
        await attempt(`network ${id}`, async () => {
          await overlay.removeNetwork(id);
          overlay.groupKeys.remove(id);
        });
    for (const what of this.#outcomes.keys()) if (!tried.has(what)) this.#outcomes.delete(what);
    return failures;
  }

  #networks(): string[] {
    return this.#tools.overlay.plan.gossip?.networks.map(({ id }) => id) ?? [];
  }

  #hasNetwork(id: string): boolean {
    return this.#networks().includes(id);
  }

  /** Announces the names of the endpoints that are there. */
  #announceNames(): void {
    this.#namesAt = performance.now();
    if (this.#named === undefined || this.#closed) return;
    for (const [network, names] of ownNames(this.#named, (task) => this.#running.has(keyOf(task))))
      this.#tools.overlay.gossip?.announceNames(network, names);
  }

  // ---- Sandboxes ----

  /**
   * Makes a sandbox with its devices; those that are there stay. One that this process has made is looked at, and not made
   * again: with many sandboxes, every change of the assignment would take as long as making all of them.
   */
  async #ensure({ sandbox, taps }: Wanted): Promise<void> {
    const { sandboxes } = this.#tools;
    const { name } = sandbox;
    const netns = netnsOf(name);
    const all = taps.map((tap) => ({ ...tap, netns }));
    const as = JSON.stringify([sandbox, all]);
    const made = this.#made.get(name);
    if (made?.as === as && made.namespace === namespaceOf(netns) && all.every((tap) => this.#isAttached(tap))) return;
    this.#made.delete(name);
    await sandboxes.ensure(sandbox);
    for (const tap of all) await this.#attach(tap, { keepsNeighbors: true });
    await sandboxes.configure(name);
    const namespace = namespaceOf(netns);
    if (namespace !== undefined) this.#made.set(name, { as, namespace });
    this.#tools.done();
  }

  /**
   * Fails for a task whose network overlaps with a route of this host. The managers do not know the routes of a worker, and try
   * the task again. A sandbox that exists stays, also if such a route is added later.
   */
  async #requireFreeRoutes(
    name: string,
    task: AssignedTask,
    { endpoints, networks }: Assignment,
    routes: () => Promise<readonly HostRoute[]>,
  ): Promise<void> {
    if (this.#made.has(name) || (await this.#tools.sandboxes.find(name)) !== undefined) return;
    const own = new Set(task.endpoints.map(({ id }) => endpoints.find((one) => one.id === id)?.network));
    const reason = overlapWith(
      await routes(),
      networks.filter(({ id }) => own.has(id)),
    );
    if (reason === undefined) return;
    if (task.state === 'assigned') this.#report(task, { state: 'failed', reason });
    throw new HostError(reason);
  }

  /** Attaches a TAP, unless it is there as it should be. */
  async #attach(tap: Tap, how: AttachHow = {}): Promise<void> {
    const { overlay } = this.#tools;
    if (this.#isAttached(tap)) return;
    const known = this.#tapLike(tap);
    if (known !== undefined) await overlay.detach(known.name, known.netns);
    await overlay.attach(tap, how);
    this.#tools.done();
  }

  #isAttached(tap: Tap): boolean {
    const known = this.#tapLike(tap);
    return known !== undefined && String(known.address) === String(tap.address) && known.mac === tap.mac;
  }

  /** What is attached at the place of a TAP. */
  #tapLike({ name, netns }: Tap): TapPlan | undefined {
    return this.#tools.overlay.plan.taps.find((one) => one.name === name && one.netns === netns);
  }

  /** Removes the TAPs of endpoints that are gone from the namespaces of others, also those that an earlier process has left. */
  async #removeAttachments(
    { endpoints }: Assignment,
    attempt: (what: string, step: () => Promise<unknown>) => Promise<boolean>,
  ): Promise<void> {
    const { overlay, places } = this.#tools;
    for (const [id, { netns, device }] of places.stale(new Set(endpoints.map((endpoint) => endpoint.id))))
      await attempt(`endpoint ${id}`, async () => {
        if (overlay.plan.taps.some((tap) => tap.name === device && tap.netns === netns))
          await overlay.detach(device, netns);
        else await removeKept(device, netns);
        places.forget(id);
        this.#tools.done();
      });
  }

  /** Removes the sandboxes that are not wanted, also those that an earlier process has left. */
  async #removeSandboxes(
    wanted: ReadonlyMap<string, Wanted>,
    attempt: (what: string, step: () => Promise<unknown>) => Promise<boolean>,
  ): Promise<void> {
    const { overlay, sandboxes } = this.#tools;
    const tasks = new Set([...wanted.values()].flatMap(({ task }) => (task === undefined ? [] : [keyOf(task)])));
    for (const [key, watch] of this.#watched)
      if (!tasks.has(key)) {
        watch.abort();
        this.#watched.delete(key);
        this.#running.delete(key);
      }
    const all = await sandboxes.list();
    const removals = await several(
      all.filter(({ name }) => !wanted.has(name)),
      AT_ONCE,
      ({ name, netns }) =>
        attempt(`sandbox ${name}`, async () => {
          this.#made.delete(name);
          const taps = overlay.plan.taps.filter((one) => one.netns === netns);
          for (const tap of taps) await overlay.detach(tap.name, netns);
          await sandboxes.remove(name);
          this.#tools.done();
        }),
    );
    valuesOf(removals);
    await sandboxes.retain(wanted.keys(), undefined, () => this.#tools.done());
  }

  // ---- Tasks ----

  /** Starts the command of a task, or finds it if an earlier process has started it, and watches it. */
  async #runTask(name: string, task: AssignedTask): Promise<void> {
    if (task.state !== 'assigned' && task.state !== 'running') return;
    const key = keyOf(task);
    if (this.#watched.has(key)) return;
    const sandbox = await this.#tools.sandboxes.find(name);
    if (sandbox === undefined) throw new RequestError('not-found', `there is no sandbox ${name}`);
    const all = await sandbox.workloads();
    for (const old of all)
      if (old.id !== workloadId(task.attempt)) {
        await old.stop();
        await old.remove();
      }
    let workload = all.find(({ id }) => id === workloadId(task.attempt));
    if (workload === undefined) {
      try {
        workload = await sandbox.start(workloadOf(task));
        this.#tools.done();
      } catch (error) {
        if (!(error instanceof HostError)) throw error;
        // The cluster decides when it is tried again.
        this.#report(task, { state: 'failed', reason: error.message });
        return;
      }
    }
    const watch = new AbortController();
    this.#watched.set(key, watch);
    if (workload.state.state !== 'ended') {
      this.#running.add(key);
      this.#report(task, { state: 'running' });
    }
    this.#follow(task, workload, watch.signal).catch((error: unknown) => {
      if (!watch.signal.aborted) this.#tools.log.error('node', `task ${task.name}: ${(error as Error).message}`);
    });
  }

  /** Reports the end of a command. */
  async #follow(task: AssignedTask, workload: Workload, signal: AbortSignal): Promise<void> {
    const { code, reason } = await workload.wait(signal);
    // Its service's name no longer leads here.
    if (this.#running.delete(keyOf(task))) this.#announceNames();
    const text = (await workload.output(BYTES)).toString('utf8').trimEnd();
    const output = text === '' ? [] : text.split('\n').slice(-LINES);
    if (signal.aborted) return;
    if (code === null) this.#report(task, { state: 'failed', reason, output });
    else this.#report(task, { state: 'exited', code, output });
  }

  #report(
    { id: task, service, slot, attempt }: AssignedTask,
    what: Pick<Extract<Command, { do: 'report-task' }>, 'state' | 'code' | 'reason' | 'output'>,
  ): void {
    this.#tools.report({ do: 'report-task', service, slot, task, attempt, ...what });
  }

  /** Ends the work. What runs stays as it is. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const watch of this.#watched.values()) watch.abort();
    await this.#doing;
  }
}

/** The identity of a namespace; `undefined` if there is none. */
function namespaceOf(netns: string): string | undefined {
  const found = findNamespace(netns);
  return found.kind === 'namespace' ? found.identity : undefined;
}

function keyOf({ id, attempt }: AssignedTask): string {
  return `${id} ${attempt}`;
}
