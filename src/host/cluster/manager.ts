/**
 * A manager: keeps the records of the cluster in a store and a mirror of them in memory, carries out commands, and does what
 * the cluster has to do by itself. Several managers may work on one store: a transaction whose conditions do not hold any
 * more is planned again.
 */
import {
  assignmentsOf,
  isRefusal,
  outputCalled,
  outputTasks,
  plan,
  readRecord,
  reconcile,
  RecordError,
  State,
  viewFor,
  type Actor,
  type Answer,
  type Assignment,
  type Command,
  type Kind,
  type OutputOf,
  type OutputTask,
  type Store,
  type StoreChange,
  type Transaction,
  type View,
} from '../../cluster/index.js';
import { HostError } from '../error.js';
import { type JoiningNode, type ManagerBackend, type News, type Reply } from './backend.js';
import { type CertificateFacts, type Role } from './certificate.js';
import { ClusterError } from './error.js';
import { placeText } from './manager-connection.js';

/** Attempts of a command whose transaction conflicts, before it is refused. */
const ATTEMPTS = 32;
/** Most milliseconds that a command waits for the mirror to catch up with the store. */
const PATIENCE = 5000;
/** Least and most milliseconds between two reconciliations that have nothing to wait for. */
const SOON = 5;
const LATER = 60_000;
/** Milliseconds after which a store that could not be read is read again. */
const AGAIN = 5000;
/**
 * After the assignment of a node was computed, the next one waits so many times as long as that took. With thousands of endpoints,
 * an assignment has megabytes; one for each of many changes would keep the manager and the node from everything else.
 */
const PAUSE = 8;

export interface ManagerOptions {
  readonly store: Store;
  /** The id of its own node. */
  readonly node: string;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
  /** From 0 up to but not including 1, with 32 bits that are fit for secrets. */
  readonly random?: () => number;
  /** Whether the store is on one host, so that the cluster has one manager. */
  readonly alone?: boolean;
  /** Milliseconds after which a store with a record that could not be read is read again. Default: 5000. */
  readonly again?: number;
  /** Receives what keeps the manager from its work: a defect, or a store that does not answer. */
  readonly failed?: (error: unknown) => void;
}

/** What a command of a person or a program does, or why it is refused. */
type Outcome<K extends Kind> = { readonly answer: Answer<K> } | Extract<Reply, { refusal: unknown }>;

export class Manager implements ManagerBackend {
  readonly #store: Store;
  /** The manager itself, as the one who gives a command. */
  readonly self: Actor;
  readonly #now: () => number;
  readonly #random: () => number;
  readonly #alone: boolean;
  readonly #again: number;
  readonly #failed: (error: unknown) => void;
  #state = new State();
  #watch: { stop(): void } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #reading: NodeJS.Timeout | undefined;
  #reconciling = false;
  #closed = false;
  /** Why the store cannot be read: then the mirror is behind, and nothing is decided by it. */
  #trouble: RecordError | undefined;
  /** Called after each change of the mirror. */
  readonly #listeners = new Set<() => void>();

  private constructor({
    store,
    node,
    now = Date.now,
    random = secretRandom,
    alone = false,
    again = AGAIN,
    failed = () => undefined,
  }: ManagerOptions) {
    this.#store = store;
    this.self = { node, role: 'manager' };
    this.#now = now;
    this.#random = random;
    this.#alone = alone;
    this.#again = again;
    this.#failed = failed;
  }

  /**
   * Reads the store, and begins to work.
   * @throws HostError that names a record that cannot be read.
   */
  static async open(options: ManagerOptions): Promise<Manager> {
    const manager = new Manager(options);
    try {
      await manager.#read();
    } catch (error) {
      throw toHostError(error);
    }
    manager.#schedule(SOON);
    return manager;
  }

  /** What the store says. */
  get state(): State {
    return this.#state;
  }

  async #read(): Promise<void> {
    const listing = await this.#store.list('');
    if (this.#closed) return;
    this.#state = State.of(listing, this.#now());
    this.#trouble = undefined;
    this.#watch = this.#store.watch('', listing.revision, {
      changed: (revision, changes) => this.#changed(revision, changes),
      lost: () => this.#readAgain(0),
    });
    this.#tell();
  }

  /** Reads the whole store, as often as needed. */
  #readAgain(delay: number): void {
    this.#watch?.stop();
    this.#watch = undefined;
    clearTimeout(this.#reading);
    if (this.#closed) return;
    this.#reading = setTimeout(() => {
      this.#read().then(
        () => this.#schedule(SOON),
        (error: unknown) => {
          if (error instanceof RecordError) this.#trouble = error;
          this.#failed(toHostError(error));
          this.#readAgain(this.#again);
        },
      );
    }, delay);
    this.#reading.unref();
  }

  #changed(revision: number, changes: readonly StoreChange[]): void {
    if (this.#trouble !== undefined) return;
    try {
      this.#state.apply(revision, changes);
    } catch (error) {
      // What it decided by the mirror from now on would be wrong. Nodes keep what they have been assigned.
      if (error instanceof RecordError) this.#trouble = error;
      this.#failed(toHostError(error));
      this.#readAgain(this.#again);
      this.#tell();
      return;
    }
    this.#schedule(SOON);
    this.#tell();
  }

  #tell(): void {
    for (const listener of [...this.#listeners]) listener();
  }

  #listen(listener: () => void): { stop(): void } {
    this.#listeners.add(listener);
    return { stop: () => void this.#listeners.delete(listener) };
  }

  // ---- Commands ----

  /**
   * Carries out a command. Its effect is in the mirror when this resolves.
   * @param actor Absent: nobody, which only `init-cluster` and `join` allow.
   */
  async run<C extends Command>(command: C, actor?: Actor): Promise<Outcome<C['do']>> {
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      if (this.#trouble !== undefined) throw new ClusterError('unavailable', this.#trouble.message);
      const planned = plan(this.#state, command, { now: this.#now(), random: this.#random, actor });
      if (isRefusal(planned)) return { refusal: planned };
      const { transaction, answer } = planned;
      if (transaction.writes.length === 0) return { answer };
      const done = await this.#commit(transaction);
      if ('revision' in done) {
        await this.#reach(done.revision);
        return { answer };
      }
      await this.#reach((await this.#store.list(done.conflict)).revision);
    }
    throw new ClusterError('unavailable', 'other managers change the same records all the time; try again');
  }

  /** @throws RecordError, before anything is written, for a record that no manager could read: a defect of this program. */
  #commit(transaction: Transaction): ReturnType<Store['commit']> {
    for (const write of transaction.writes) if ('put' in write) readRecord(write.put, write.value);
    return this.#store.commit(transaction);
  }

  /** Waits until the mirror shows a revision of the store. */
  async #reach(revision: number): Promise<void> {
    if (this.#state.revision >= revision) return;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        listening.stop();
        reject(new ClusterError('unavailable', `the store has not reported its changes for ${PATIENCE / 1000} s`));
      }, PATIENCE);
      const listening = this.#listen(() => {
        if (this.#state.revision < revision && !this.#closed && this.#trouble === undefined) return;
        clearTimeout(timer);
        listening.stop();
        resolve();
      });
    });
  }

  // ---- What a manager's server asks ----

  secrets(): Readonly<Record<Role, string>> {
    const { tokens } = this.#state;
    return { worker: tokens.get('worker') ?? '', manager: tokens.get('manager') ?? '' };
  }

  async join({ node: id, role, name, address, port, fingerprint, secret }: JoiningNode): Promise<Reply> {
    if (role === 'manager' && this.#alone && this.roleOf(id) !== 'manager') {
      const message =
        'secret: this cluster keeps its records in files of its first manager, so it cannot have another one; join as a ' +
        'worker, with the token that "vtep token worker" prints on the manager';
      return { refusal: { code: 'conflict', message, fields: ['secret'] } };
    }
    const reply = this.#state.nodes.has(id)
      ? await this.run({ do: 'renew-certificate', node: id, fingerprint }, this.self)
      : await this.run({ do: 'join', node: { id, name, address, port, fingerprint }, secret });
    return 'answer' in reply ? { answer: assignmentsOf(this.#state, id) } : reply;
  }

  roleOf(node: string): Role | undefined {
    const record = this.#state.nodes.get(node);
    return record === undefined || record.state === 'left' ? undefined : record.role;
  }

  renew(actor: Actor, { fingerprint }: Pick<CertificateFacts, 'fingerprint'>): Promise<Reply> {
    return this.run({ do: 'renew-certificate', node: actor.node, fingerprint }, this.self);
  }

  command(actor: Actor, command: { readonly do: string }): Promise<Reply> {
    if (command.do === 'view') {
      const view = viewFor(this.#state, actor.node, actor.role);
      const refusal = { code: 'forbidden', message: 'this node is not, or no longer, part of the cluster' };
      return Promise.resolve(view === undefined ? { refusal } : { answer: view });
    }
    if (RESERVED.has(command.do)) {
      const message = `do: ${command.do} is no command that a node may send`;
      return Promise.resolve({ refusal: { code: 'forbidden', message, fields: ['do'] } });
    }
    return this.run(command as Command, actor);
  }

  /** What a node may read; see `viewFor`. */
  view(node: string): View | undefined {
    return viewFor(this.#state, node);
  }

  assignments(node: string, on: (news: News) => void): { stop(): void } {
    let last = '';
    let isDue = false;
    let isStopped = false;
    let timer: NodeJS.Timeout | undefined;
    /** When the next assignment may be computed. */
    let next = 0;
    const report = (): void => {
      isDue = false;
      const began = performance.now();
      compute();
      const now = performance.now();
      next = now + PAUSE * (now - began);
    };
    const compute = (): void => {
      const assignment: Assignment | undefined = assignmentsOf(this.#state, node);
      if (assignment === undefined || isStopped) return;
      const { revision: _, ...content } = assignment; // it changes with every command
      const text = JSON.stringify(content);
      if (text === last) return;
      last = text;
      on({ assignment, managers: this.managers() });
    };
    report();
    const listening = this.#listen(() => {
      // Many changes of one moment are one assignment.
      if (isDue) return;
      isDue = true;
      const wait = next - performance.now();
      if (wait < 1) setImmediate(report);
      else timer = setTimeout(report, wait);
    });
    return {
      stop: () => {
        isStopped = true;
        clearTimeout(timer);
        listening.stop();
      },
    };
  }

  outputCalled({ node, role }: Actor, name: string): OutputOf | undefined {
    return outputCalled(this.#state, node, role, name);
  }

  outputTasks({ node, role }: Actor, of: OutputOf): readonly OutputTask[] | undefined {
    return outputTasks(this.#state, node, role, of);
  }

  managers(): readonly string[] {
    return [...this.#state.nodes.values()]
      .filter(({ role, state }) => role === 'manager' && state !== 'left')
      .map(({ address, port }) => placeText({ host: address, port }));
  }

  isRevoked({ node, fingerprint }: Pick<CertificateFacts, 'node' | 'fingerprint'>): boolean {
    const record = this.#state.nodes.get(node);
    return record === undefined || record.state === 'left' || !record.fingerprints.includes(fingerprint);
  }

  onRevoked(removed: () => void): { stop(): void } {
    return this.#listen(removed);
  }

  // ---- What the cluster does by itself ----

  #schedule(delay: number): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#reconcile().catch(this.#failed), Math.min(delay, LATER));
    this.#timer.unref();
  }

  async #reconcile(): Promise<void> {
    if (this.#reconciling || this.#closed || this.#trouble !== undefined) return;
    this.#reconciling = true;
    let delay = LATER;
    try {
      const { transactions, next } = reconcile(this.#state, { now: this.#now(), random: this.#random });
      for (const transaction of transactions) {
        const done = await this.#commit(transaction);
        if ('revision' in done) await this.#reach(done.revision);
      }
      delay = transactions.length > 0 ? SOON : Math.max(SOON, (next ?? Infinity) - this.#now());
    } catch (error) {
      delay = 1000;
      this.#failed(error);
    } finally {
      this.#reconciling = false;
      this.#schedule(delay);
    }
  }

  /** Ends its work. The caller closes the store. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#reading);
    this.#watch?.stop();
    this.#tell();
    this.#listeners.clear();
  }
}

/** A record that cannot be read is no defect of this program. */
function toHostError(error: unknown): unknown {
  return error instanceof RecordError ? new HostError(error.message, { cause: error }) : error;
}

/** Commands that only the manager itself gives: they need what it alone has checked. */
const RESERVED: ReadonlySet<string> = new Set(['init-cluster', 'join', 'renew-certificate']);

/** From 0 up to but not including 1, with 32 bits that nobody can guess. */
export function secretRandom(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0]! / 2 ** 32;
}
