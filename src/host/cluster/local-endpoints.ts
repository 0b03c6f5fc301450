/** The endpoints on this node, and what runs in them. All of it is known without a manager. */
import { type EndpointRecord } from '../../cluster/index.js';
import { RequestError } from '../error.js';
import { netnsOf } from '../sandbox/plan.js';
import { pause } from '../sandbox/processes.js';
import { type Workload } from '../sandbox/workload.js';
import { type ClusterNode } from './cluster-node.js';
import { ELSEWHERE, endpointsCalled, type LocalState } from './node-listings.js';
import { sandboxOf } from './node-plan.js';
import { placeOn, workloadOn } from './node-workloads.js';
import { type Runs } from './runs.js';

/**
 * Milliseconds until the device of a new endpoint has to be there, and that an error may last, because it may go away. The time
 * begins again with each thing that the node makes or removes: it may have hundreds to do before this one.
 */
const PATIENCE = 30_000;
const TROUBLE = 2500;
/** Milliseconds until what belongs to a removed endpoint has to be gone: its command has ten seconds to end. */
const ENDING = 30_000;
const POLL = 25;

export class LocalEndpoints {
  readonly #node: ClusterNode;
  readonly #runs: () => Runs;

  constructor(node: ClusterNode, runs: () => Runs) {
    this.#node = node;
    this.#runs = runs;
  }

  get all(): readonly EndpointRecord[] {
    return this.#node.assignment?.endpoints ?? [];
  }

  /** The endpoints on this node with this name, id, or beginning of an id. */
  called(reference: string): readonly EndpointRecord[] {
    return endpointsCalled(reference, this.all);
  }

  /** See `placeOn`. */
  placeOf(endpoint: EndpointRecord): string {
    return placeOn(endpoint);
  }

  /** The workload of an endpoint; `undefined` if it has none now. */
  workloadOf(endpoint: EndpointRecord): Promise<Workload | undefined> {
    return workloadOn(this.#node, endpoint);
  }

  async stateOf(endpoint: EndpointRecord): Promise<LocalState> {
    if (endpoint.node !== this.#node.identity?.node) return ELSEWHERE;
    const netns = this.#netnsOf(endpoint);
    const is = (state: LocalState['state'], reason: string | null = null, code: number | null = null): LocalState => ({
      ...{ state, code, reason, netns },
    });
    if (netns === null) return is('failed', 'its namespace is not known any more; detach it');
    const outcome = this.#outcomeOf(endpoint);
    if (typeof outcome === 'string') return is('failed', outcome);
    if (endpoint.kind === 'attach') return is(outcome === null ? 'ready' : 'starting');
    const workload = await this.workloadOf(endpoint);
    if (workload === undefined) {
      const task = this.#node.assignment?.tasks.find(({ id }) => id === endpoint.of?.task);
      if (task?.state === 'failed' || task?.state === 'exited')
        return is('failed', 'its command is to be started again');
      return is(
        outcome === undefined || task !== undefined || this.#runs().isMaking(endpoint.id) ? 'starting' : 'ready',
      );
    }
    const { state } = workload;
    if (state.state !== 'ended') return is(state.state);
    return state.code === null ? is('failed', state.reason) : is('exited', state.reason, state.code);
  }

  #netnsOf(endpoint: EndpointRecord): string | null {
    if (endpoint.kind !== 'attach') return netnsOf(sandboxOf(endpoint));
    return this.#node.places?.all.get(endpoint.id)?.netns ?? null;
  }

  /** What became of the device of an endpoint: `null` if it is there, or why it is not. */
  #outcomeOf(endpoint: EndpointRecord): string | null | undefined {
    const network = this.#node.assignment?.networks.find(({ id }) => id === endpoint.network);
    const ofNetwork = network === undefined ? undefined : this.#node.outcomeOf(`network ${network.name}`);
    if (typeof ofNetwork === 'string') return ofNetwork;
    if (endpoint.kind !== 'attach') return this.#node.outcomeOf(`sandbox ${sandboxOf(endpoint)}`);
    const outcome = this.#node.outcomeOf(`endpoint ${endpoint.id}`);
    if (outcome !== null) return outcome;
    const place = this.#node.places?.all.get(endpoint.id);
    const isThere = this.#node.overlay?.plan.taps.some(
      ({ name, netns }) => name === place?.device && netns === place?.netns,
    );
    return isThere === true ? null : 'its device is gone, with the namespace or without it';
  }

  /**
   * Waits until the device of an endpoint is there.
   * @throws RequestError that names what has failed.
   */
  async arrived(id: string): Promise<EndpointRecord> {
    const patience = new Patience(this.#node, PATIENCE);
    let since: number | undefined;
    for (;;) {
      const endpoint = this.all.find((one) => one.id === id);
      const outcome = endpoint === undefined ? undefined : this.#outcomeOf(endpoint);
      if (endpoint !== undefined && outcome === null) return endpoint;
      const now = performance.now();
      since = typeof outcome === 'string' ? (since ?? now) : undefined;
      if (typeof outcome === 'string' && now > since! + TROUBLE) throw new RequestError('not-started', outcome);
      if (patience.isOver)
        throw new RequestError(
          'not-started',
          typeof outcome === 'string'
            ? outcome
            : endpoint === undefined
              ? `no manager has assigned the endpoint to this node within ${PATIENCE / 1000} s; see "vtep node ls" and the log of this node`
              : `the device has not appeared within ${PATIENCE / 1000} s; see the log of this node`,
        );
      await pause(POLL);
    }
  }

  /** Waits until nothing of an endpoint on this node is left. @throws RequestError if something is. */
  async gone({ id, kind, ...rest }: EndpointRecord): Promise<void> {
    const patience = new Patience(this.#node, ENDING);
    const endpoint = { id, kind, ...rest };
    const isLeft = async (): Promise<boolean> => {
      if (this.#node.identity === undefined) return false;
      // It may be making what it then removes.
      if (this.all.some((one) => one.id === id) || this.#node.isBusy) return true;
      if (kind === 'attach') return this.#node.places?.all.has(id) === true;
      return (await this.#node.sandboxes?.find(sandboxOf(endpoint))) !== undefined;
    };
    while (await isLeft()) {
      if (patience.isOver)
        throw new RequestError(
          'unavailable',
          `the endpoint ${rest.name} is removed, and this node has not removed its device yet; see the log of this node`,
        );
      await pause(POLL);
    }
  }
}

/** How long to wait for a node that may have much to do. */
export class Patience {
  readonly #node: Pick<ClusterNode, 'done'>;
  readonly #time: number;
  #done: number;
  #limit: number;

  /** @param time Milliseconds without anything that the node makes or removes. */
  constructor(node: Pick<ClusterNode, 'done'>, time: number) {
    this.#node = node;
    this.#time = time;
    this.#done = node.done;
    this.#limit = performance.now() + time;
  }

  get isOver(): boolean {
    const now = performance.now();
    if (this.#node.done !== this.#done) this.#limit = now + this.#time;
    this.#done = this.#node.done;
    return now > this.#limit;
  }
}
