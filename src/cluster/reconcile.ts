/**
 * The scheduler: compares what is with what should be, and returns the transactions that bring them together. It looks at the
 * state alone, never at events, so that nothing is missed if it did not run for a time, and so that two managers may
 * run it at once: one of two transactions about the same task conflicts.
 */
import { newId } from './check.js';
import { Draft } from './draft.js';
import { addEndpoint, endEndpoint, Given } from './endpoints.js';
import { KEY } from './keys.js';
import { LIMITS, TIMES } from './limits.js';
import { heldUntil } from './networks-index.js';
import { addNetworkKey, mayRotate } from './network-keys.js';
import { rotateGossipKeys } from './nodes.js';
import { nodeName, type Context } from './planning.js';
import { type Ending, type EndpointRecord, type NodeRecord, type ServiceRecord, type TaskRecord } from './records.js';
import { Refused } from './refusal.js';
import { type State } from './state.js';
import { type Transaction } from './store.js';

export interface Reconciliation {
  /** Independent of each other: those that conflict are left out. */
  readonly transactions: readonly Transaction[];
  /** When there may be more to do although nothing changes; absent: never. */
  readonly next?: number;
}

/** How long a rotation of the gossip keys waits for nodes that do not have the newest one. */
const ROTATION_RETRY = 60_000;

/** What is to be done now. With many things to do, it returns a part of them; the next call continues. */
export function reconcile(state: State, context: Pick<Context, 'now' | 'random'>): Reconciliation {
  if (state.cluster === undefined) return { transactions: [] };
  const scheduler = new Scheduler(state, context);
  scheduler.run();
  const { transactions, next } = scheduler;
  return { transactions, ...(next === Infinity ? {} : { next }) };
}

class Scheduler {
  readonly transactions: Transaction[] = [];
  next = Infinity;
  readonly #state: State;
  readonly #now: number;
  readonly #random: () => number;
  readonly #given = new Given();
  /** How many tasks each living node has, with those that were just placed. */
  readonly #loads = new Map<NodeRecord, number>();

  constructor(state: State, { now, random }: Pick<Context, 'now' | 'random'>) {
    this.#state = state;
    this.#now = now;
    this.#random = random;
    for (const node of state.nodes.values())
      if (node.state === 'alive') this.#loads.set(node, state.tasksOn(node.id).size);
  }

  get #isFull(): boolean {
    return this.transactions.length >= LIMITS.batch;
  }

  run(): void {
    const state = this.#state;
    for (const service of state.servicesWithTasks())
      if (!state.services.has(service))
        for (const task of state.tasksOf(service).values()) if (!this.#isFull) this.#end(task);
    for (const service of state.services.values()) if (!this.#isFull) this.#reconcileService(service);
    this.#endOrphans();
    this.#forgetReleased();
    const exposed = this.#exposed();
    this.#rotateKeys(exposed);
    this.#rotateNetworkKeys(exposed);
  }

  #reconcileService(service: ServiceRecord): void {
    const tasks = this.#state.tasksOf(service.id);
    const loads = new Map<NodeRecord, number>();
    for (const { slot, node: id } of tasks.values()) {
      const node = this.#state.nodes.get(id);
      if (slot <= service.replicas && node !== undefined) loads.set(node, (loads.get(node) ?? 0) + 1);
    }
    for (const task of tasks.values()) if (task.slot > service.replicas && !this.#isFull) this.#end(task);
    for (let slot = 1; slot <= service.replicas && !this.#isFull; slot++) {
      const task = tasks.get(slot);
      if (this.#state.nodes.get(task?.node ?? '')?.state === 'alive') this.#restart(task!);
      else this.#place(service, slot, task, loads);
    }
  }

  /** Starts a task again that has ended, when its time has come. */
  #restart(task: TaskRecord): void {
    const { retry, reason: _, ...rest } = task;
    if (retry === undefined) return;
    if (retry > this.#now) {
      this.next = Math.min(this.next, retry);
      return;
    }
    const draft = new Draft(this.#state);
    // Not if its service or its node is gone meanwhile: then there is something else to do.
    draft.expect(KEY.service(task.service));
    draft.expect(KEY.node(task.node));
    this.#put(draft, { ...rest, attempt: task.attempt + 1, state: 'assigned', since: this.#now });
  }

  /** Gives a slot without a task, or whose task has no living node, a task on a living node. */
  #place(service: ServiceRecord, slot: number, before: TaskRecord | undefined, loads: Map<NodeRecord, number>): void {
    const node = this.#leastLoaded(loads);
    let reason = 'no node is alive';
    if (node !== undefined) {
      try {
        this.#put(...this.#draftTask(service, slot, before, node));
        loads.set(node, (loads.get(node) ?? 0) + 1);
        this.#loads.set(node, this.#loads.get(node)! + 1);
        return;
      } catch (error) {
        if (!(error instanceof Refused)) throw error;
        reason = error.message;
      }
    }
    // A node that has failed may return with the task; one that is gone does not.
    if (
      before?.state === 'pending'
        ? before.reason === reason
        : this.#state.nodes.get(before?.node ?? '')?.state === 'failed'
    )
      return;
    const draft = new Draft(this.#state);
    draft.expect(KEY.service(service.id));
    this.#endEndpoints(before, draft);
    this.#put(draft, { ...this.#newTask(service, slot, before), state: 'pending', reason });
  }

  #draftTask(
    service: ServiceRecord,
    slot: number,
    before: TaskRecord | undefined,
    node: NodeRecord,
  ): [Draft, TaskRecord] {
    const state = this.#state;
    const draft = new Draft(state);
    draft.expect(KEY.service(service.id));
    this.#endEndpoints(before, draft);
    const task = this.#newTask(service, slot, before);
    const endpoints = service.networks.map((id) => {
      const network = state.networks.get(id);
      if (network === undefined) throw new Refused('not-found', `network ${id} does not exist`);
      const endpoint = addEndpoint(
        {
          id: newId(this.#random),
          name: `${service.name}.${slot}`,
          kind: 'task',
          of: { service: service.id, slot, task: task.id },
          aliases: [],
          ...{ network, node, replaces: before?.endpoints.find((one) => one.network === id)?.id },
        },
        draft,
        this.#given,
        { state, now: this.#now },
      );
      return { network: id, id: endpoint.id };
    });
    return [draft, { ...task, node: node.id, endpoints }];
  }

  /** A new task for a slot, without a node; it remembers how the ones before ended. */
  #newTask({ id: service }: ServiceRecord, slot: number, before: TaskRecord | undefined): TaskRecord {
    const endings = [...(before?.endings ?? [])];
    if (before !== undefined && before.node !== '' && (before.state === 'running' || before.state === 'assigned')) {
      const node = this.#state.nodes.get(before.node);
      const what = node === undefined ? 'was removed' : node.state === 'left' ? 'has left' : 'has failed';
      const reason = `its node ${nodeName(this.#state, before.node)} ${what}`;
      endings.unshift({ at: this.#now, node: before.node, state: 'failed', reason } satisfies Ending);
    }
    return {
      id: newId(this.#random),
      service,
      slot,
      node: '',
      endpoints: [],
      attempt: 1,
      state: 'assigned',
      since: this.#now,
      failures: before?.failures ?? 0,
      endings: endings.slice(0, LIMITS.endings),
    };
  }

  /** The living node with the fewest tasks of a service, then of all; of several the one that joined first, for every manager alike. */
  #leastLoaded(loads: ReadonlyMap<NodeRecord, number>): NodeRecord | undefined {
    let best: NodeRecord | undefined;
    let least: readonly [number, number] = [Infinity, Infinity];
    for (const [node, all] of this.#loads) {
      const own = loads.get(node) ?? 0;
      const isLess =
        own - least[0] || all - least[1] || node.joined - (best?.joined ?? 0) || (node.id < best!.id ? -1 : 1);
      if (best === undefined || isLess < 0) [best, least] = [node, [own, all]];
    }
    return best;
  }

  #put(draft: Draft, task: TaskRecord): void {
    draft.put(KEY.task(task.service, task.slot), task);
    this.transactions.push(draft.transaction);
  }

  /** Removes a task that is not wanted any more, with its endpoints. Its node then stops it. */
  #end(task: TaskRecord): void {
    const draft = new Draft(this.#state);
    draft.expect(KEY.service(task.service));
    this.#endEndpoints(task, draft);
    draft.delete(KEY.task(task.service, task.slot));
    this.transactions.push(draft.transaction);
  }

  #endEndpoints(task: TaskRecord | undefined, draft: Draft): void {
    for (const { id } of task?.endpoints ?? []) {
      const endpoint = this.#state.endpoints.get(id);
      if (endpoint !== undefined) endEndpoint(endpoint, draft, this.#now);
    }
  }

  /** Removes the endpoints of nodes that have left or were removed; those of tasks end with their tasks. */
  #endOrphans(): void {
    const orphans: EndpointRecord[] = [];
    for (const id of this.#state.nodesWithEndpoints()) {
      const node = this.#state.nodes.get(id);
      if (node !== undefined && node.state !== 'left') continue;
      for (const endpoint of this.#state.endpointsOn(id).values())
        if (endpoint.of === undefined) orphans.push(endpoint);
    }
    for (const endpoint of orphans) {
      if (this.#isFull) return;
      const draft = new Draft(this.#state);
      draft.expect(KEY.node(endpoint.node));
      endEndpoint(endpoint, draft, this.#now);
      this.transactions.push(draft.transaction);
    }
  }

  /** Deletes what is remembered of addresses and VNIs that were released long enough ago. */
  #forgetReleased(): void {
    let draft = new Draft(this.#state);
    const forget = (key: string, until: number): void => {
      if (until > this.#now) {
        this.next = Math.min(this.next, until);
        return;
      }
      draft.delete(key);
      if (draft.size < LIMITS.forgotten) return;
      this.transactions.push(draft.transaction);
      draft = new Draft(this.#state);
    };
    for (const [key, mark] of this.#state.addressMarks) {
      if (this.#given.has(key)) continue;
      const node = this.#state.nodes.get(mark.node);
      if (!this.#state.networks.has(mark.network)) forget(key, 0);
      else if (node?.state !== 'failed') forget(key, heldUntil(mark, this.#state));
    }
    for (const [vni, released] of this.#state.vniMarks) forget(KEY.vni(vni), released + TIMES.hold);
    if (draft.size > 0) this.transactions.push(draft.transaction);
  }

  /** Until when a node had keys that is no longer part of the cluster. */
  #exposed(): number {
    const { nodes, gone } = this.#state;
    let exposed = -Infinity;
    for (const [id, at] of gone) {
      const isPart = nodes.has(id) && nodes.get(id)!.state !== 'left'; // then it has only renewed its certificate
      if (!isPart && at > exposed) exposed = at;
    }
    return exposed;
  }

  /**
   * Whether keys are to be rotated: in time, and until none is left that was exposed. If not yet, it notes when.
   * @param soon When those that are exposed are to be rotated.
   */
  #isDue(keys: readonly { readonly created: number }[], exposed: number, soon: number): boolean {
    const isExposed = keys.some((key) => key.created <= exposed);
    const { created } = keys[0]!;
    const due = isExposed ? soon : created + TIMES.rotation;
    if (due <= this.#now) return true;
    this.next = Math.min(this.next, due);
    return false;
  }

  /** Rotates the keys of the gossip. */
  #rotateKeys(exposed: number): void {
    const { gossipKeys } = this.#state;
    if (gossipKeys.length === 0) return; // a store that is damaged
    const { created } = gossipKeys[0]!;
    // A key of the same millisecond could be one that the node had.
    const soon = created <= exposed ? exposed + 1 : created + TIMES.rotationPause;
    if (!this.#isDue(gossipKeys, exposed, soon)) return;
    const draft = new Draft(this.#state);
    try {
      const context = { now: this.#now, random: this.#random };
      rotateGossipKeys({ do: 'rotate-gossip-keys' }, { ...context, state: this.#state, draft, role: 'manager' });
      this.transactions.push(draft.transaction);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      this.next = Math.min(this.next, this.#now + ROTATION_RETRY);
    }
  }

  /**
   * Rotates the keys of encrypted networks. A node that is gone may have had endpoints in any of them at some time, which no
   * record says any more: all keys of its time count as exposed.
   */
  #rotateNetworkKeys(exposed: number): void {
    for (const [id, keys] of this.#state.networkKeys) {
      const network = this.#state.networks.get(id);
      if (network?.encrypted === undefined) continue;
      // No report says which nodes have a key: the pause is kept however many nodes go.
      const soon = Math.max(exposed + 1, mayRotate(keys));
      if (!this.#isDue(keys, exposed, soon) || this.#isFull) continue;
      const draft = new Draft(this.#state);
      addNetworkKey(network, { state: this.#state, draft, now: this.#now, random: this.#random });
      this.transactions.push(draft.transaction);
    }
  }
}
