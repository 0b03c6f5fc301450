/** The machine of a cluster with its records in memory: what a manager decides, for hosts in this process. */
import { createPublicKey, randomInt } from 'node:crypto';
import {
  assignmentsOf,
  isRefusal,
  newId,
  plan,
  reconcile,
  State,
  type Actor,
  type Answer,
  type Assignment,
  type Command,
  type NewNode,
  type Transaction,
} from '../cluster/index.js';
import { Authority, HostError, newKey, nodeIdOf, type Role } from '../host/index.js';

const random = (): number => randomInt(2 ** 32) / 2 ** 32;

export class DemoManager {
  readonly state = new State();
  /** Signs the certificates of the nodes. */
  readonly #authority: Authority;
  readonly #self: Actor;

  /** Makes a cluster, whose first node is its manager. */
  static async create(name: string, address: string): Promise<DemoManager> {
    const cluster = newId(random);
    const ca = await Authority.create(cluster);
    const authority = await Authority.open(ca);
    const node = await newNode(authority, name, address, 'manager');
    const manager = new DemoManager(authority, { node: node.id, role: 'manager' });
    manager.run({ do: 'init-cluster', id: cluster, node, ca });
    return manager;
  }

  private constructor(authority: Authority, self: Actor) {
    this.#authority = authority;
    this.#self = self;
  }

  /** The node of the manager. */
  get node(): string {
    return this.#self.node;
  }

  /** Adds a worker, by the token of workers. @returns its node. */
  async join(name: string, address: string): Promise<string> {
    const node = await newNode(this.#authority, name, address, 'worker');
    return this.run({ do: 'join', node, secret: this.state.tokens.get('worker')! }).id;
  }

  /** Carries out a command, and what follows from it. @throws HostError if it is refused. */
  run<C extends Command>(command: C): Answer<C['do']> {
    const planned = plan(this.state, command, { now: Date.now(), random, actor: this.#self });
    if (isRefusal(planned)) throw new HostError(`${command.do} is refused: ${planned.message}`);
    this.#commit(planned.transaction);
    for (;;) {
      const { transactions } = reconcile(this.state, { now: Date.now(), random });
      if (transactions.length === 0) return planned.answer;
      this.#commit(transactions[0]!); // the next ones may depend on what this one has changed
    }
  }

  /** Its conditions hold: there is no other writer. */
  #commit({ writes }: Transaction): void {
    const revision = this.state.revision + 1;
    const changes = writes.map((write) =>
      'put' in write
        ? { key: write.put, item: { key: write.put, value: write.value, created: revision, modified: revision } }
        : { key: write.delete, item: null },
    );
    this.state.apply(revision, changes);
  }

  /** What a node has to do. */
  assignment(node: string): Assignment {
    return assignmentsOf(this.state, node)!;
  }
}

/** A node with a certificate of its own. */
async function newNode(authority: Authority, name: string, address: string, role: Role): Promise<NewNode> {
  const publicKey = createPublicKey(await newKey());
  const id = nodeIdOf(publicKey);
  const { fingerprint } = await authority.issue(publicKey, { node: id, role });
  return { id, name, address, fingerprint };
}
