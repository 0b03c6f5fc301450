/** A store in memory without I/O, and a cluster on it, for tests of the cluster's machine. */
import * as assert from 'uvu/assert';
import {
  isRefusal,
  plan,
  State,
  type Actor,
  type Answer,
  type Command,
  type Committed,
  type Context,
  type Item,
  type Refusal,
  type StoreChange,
  type Transaction,
} from '../../src/cluster/index.js';
import { Random } from '../../src/sim/index.js';

/** The semantics of a store, in one step each: what an implementation must agree with. */
export class MemoryStore {
  readonly items = new Map<string, Item>();
  /** The changes of each revision, from 1. */
  readonly log: StoreChange[][] = [[]];

  get revision(): number {
    return this.log.length - 1;
  }

  commit({ conditions, writes }: Transaction): Committed {
    for (const { key, modified } of conditions)
      if ((this.items.get(key)?.modified ?? 0) !== modified) return { conflict: key };
    if (writes.length === 0) return { revision: this.revision };
    const revision = this.revision + 1;
    const changes: StoreChange[] = [];
    const keys = writes.map((write) => ('put' in write ? write.put : write.delete));
    if (new Set(keys).size < keys.length) throw new RangeError('a transaction writes each key once at most');
    for (const write of writes)
      if ('put' in write) {
        const created = this.items.get(write.put)?.created ?? revision;
        const item = { key: write.put, value: write.value, created, modified: revision };
        this.items.set(write.put, item);
        changes.push({ key: write.put, item });
      } else {
        this.items.delete(write.delete);
        changes.push({ key: write.delete, item: null });
      }
    this.log.push(changes);
    return { revision };
  }
}

export const idOf = (number: number): string => number.toString(36).padStart(25, 'n');
export const fingerprintOf = (number: number): string => number.toString(16).padStart(64, 'f');
export const PEM = (what: string): string => `-----BEGIN ${what}-----\nAAAA\n-----END ${what}-----\n`;
export const CA = { certificate: PEM('CERTIFICATE'), key: PEM('PRIVATE KEY') };

/** A node as it introduces itself. */
export const newNode = (number: number): { id: string; name: string; address: string; fingerprint: string } => ({
  id: idOf(number),
  name: `host${number}`,
  address: `172.31.${number >> 8}.${number & 255}`,
  fingerprint: fingerprintOf(number),
});

/** A cluster whose mirror is always up to date. Node 1 is its first manager. */
export class TestCluster {
  readonly store = new MemoryStore();
  readonly state = new State();
  readonly random: Random;
  now = 1_800_000_000_000;

  constructor(seed = 1) {
    this.random = new Random(seed);
  }

  /** A cluster with nodes 1 to `nodes`, of which the first `managers` are managers. */
  static with(nodes: number, managers = 1): TestCluster {
    const cluster = new TestCluster();
    const { tokens } = cluster.must({ do: 'init-cluster', node: newNode(1), ca: CA });
    for (let number = 2; number <= nodes; number++) {
      const secret = number <= managers ? tokens.manager : tokens.worker;
      cluster.must({ do: 'join', node: newNode(number), secret });
    }
    return cluster;
  }

  actor(number: number): Actor {
    const node = idOf(number);
    return { node, role: this.state.nodes.get(node)?.role ?? 'manager' };
  }

  context(actor: Actor, more: Partial<Context> = {}): Context {
    return { now: this.now, random: () => this.random.float(), actor, ...more };
  }

  /** Runs a command as a node. */
  run<C extends Command>(command: C, by = 1, more: Partial<Context> = {}): Answer<C['do']> | Refusal {
    const planned = plan(this.state, command, this.context(this.actor(by), more));
    if (isRefusal(planned)) return planned;
    this.commit(planned.transaction);
    return planned.answer;
  }

  /** Runs a command that must not be refused. */
  must<C extends Command>(command: C, by = 1, more: Partial<Context> = {}): Answer<C['do']> {
    const answer = this.run(command, by, more);
    if ('code' in answer && 'fields' in answer)
      throw new assert.Assertion({ message: `refused: ${answer.message}` } as never);
    return answer as Answer<C['do']>;
  }

  /** Runs a command that must be refused. */
  refused(command: unknown, by = 1, more: Partial<Context> = {}): Refusal {
    const before = this.store.revision;
    const answer = this.run(command as Command, by, more);
    assert.ok('code' in answer && 'fields' in answer, `not refused: ${JSON.stringify(answer)}`);
    assert.is(this.store.revision, before);
    return answer as Refusal;
  }

  commit(transaction: Transaction): void {
    const committed = this.store.commit(transaction);
    assert.ok('revision' in committed, JSON.stringify(committed));
    while (this.state.revision < this.store.revision)
      this.state.apply(this.state.revision + 1, this.store.log[this.state.revision + 1]!);
  }
}
