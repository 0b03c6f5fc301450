/**
 * A manager learns from the gossip which nodes are alive. It compares what the gossip says with what the store says, again and
 * again: a change may have been missed, because this manager did not run, or could not write.
 */
import { type NodeRecord, type NodeState } from '../../cluster/index.js';
import { type Overlay } from '../overlay.js';
import { type Manager } from './manager.js';

/** Milliseconds that a node may be missing from the gossip before it counts as failed: it may be joining. */
const MISSING = 15_000;

/** A node whose state in the store is wrong. */
export interface WrongState {
  readonly node: string;
  readonly state: Exclude<NodeState, 'left'>;
}

export class NodeStates {
  /** Since when each node has been missing. */
  readonly #missing = new Map<string, number>();

  /**
   * Compares.
   * @param members The members of the gossip by name, which is the id of a node: whether they are alive.
   * @param self The manager's own node, which is alive.
   * @param now Milliseconds of a clock that never goes back.
   * @returns the nodes whose state in the store is wrong.
   */
  compare(nodes: Iterable<NodeRecord>, members: ReadonlyMap<string, boolean>, self: string, now: number): WrongState[] {
    const wrong: WrongState[] = [];
    const known = new Set<string>();
    for (const { id, state } of nodes) {
      if (state === 'left') continue;
      known.add(id);
      const isAlive = id === self ? true : members.get(id);
      const found = isAlive === undefined ? this.#stateOfMissing(id, now) : isAlive ? 'alive' : 'failed';
      if (isAlive !== undefined) this.#missing.delete(id);
      if (found !== undefined && found !== state) wrong.push({ node: id, state: found });
    }
    for (const id of this.#missing.keys()) if (!known.has(id)) this.#missing.delete(id);
    return wrong;
  }

  /** A member that has been dead for long is forgotten, and one that was dead before this manager started never appears. */
  #stateOfMissing(id: string, now: number): 'failed' | undefined {
    const since = this.#missing.get(id) ?? now;
    this.#missing.set(id, since);
    return now - since >= MISSING ? 'failed' : undefined;
  }
}

/** Milliseconds between two comparisons, beside those that follow a change in the gossip. */
const INTERVAL = 5000;

/**
 * Keeps the states of nodes in the store as the gossip has them.
 * @param failed Receives what prevents it; the next comparison tries again.
 */
export function watchStates(
  { gossip }: Pick<Overlay, 'gossip'>,
  manager: Manager,
  failed: (error: unknown) => void,
): { compare(): void; stop(): void } {
  const states = new NodeStates();
  let isBusy = false;
  const compare = async (): Promise<void> => {
    if (isBusy || gossip === undefined) return;
    isBusy = true;
    try {
      const members = new Map(
        gossip.members().map(({ name, state }) => [name, state === 'alive' || state === 'suspect'] as const),
      );
      const { node: self } = manager.self;
      for (const { node, state } of states.compare(manager.state.nodes.values(), members, self, performance.now()))
        await manager.run({ do: 'set-node-state', node, state }, manager.self);
    } finally {
      isBusy = false;
    }
  };
  const start = (): void => void compare().catch(failed);
  const timer = setInterval(start, INTERVAL);
  timer.unref();
  return { compare: () => void setImmediate(start), stop: () => clearInterval(timer) };
}
