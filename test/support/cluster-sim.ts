/**
 * A cluster on a virtual clock: managers, each with a mirror that lags behind one store, and agents that run what managers assign
 * to them. Messages between them are late, lost and doubled. Nothing of it does I/O.
 */
import {
  assignmentsOf,
  encryptingKey,
  isRefusal,
  plan,
  reconcile,
  State,
  type Answer,
  type Assignment,
  type Command,
  type GossipKey,
  type NetworkKey,
  type NodeRecord,
  type Refusal,
  type ReportTask,
  type Transaction,
} from '../../src/cluster/index.js';
import { Clock, Random } from '../../src/sim/index.js';
import { MemoryStore } from './cluster.js';
import { type Log } from './seeds.js';

/** How long a node may be silent before a manager says that it has failed. */
const SILENCE = 10_000;
const POLL = 2000;
/** From one rotation of the keys of a network to the next, at least. */
const PAUSE = 10_000;
/** How long a node that has returned may take to hear the keys: its first questions or their answers may be lost. */
const RETURN = 10_000;

type Reply = (answer: Answer | Refusal | 'gone') => void;

export class SimCluster {
  readonly clock = new Clock();
  readonly store = new MemoryStore();
  readonly random: Random;
  readonly managers = new Map<string, SimManager>();
  readonly agents = new Map<string, SimAgent>();
  /** When a manager last heard of a node; in a real cluster the gossip tells. */
  readonly heard = new Map<string, number>();
  /** What must never be. */
  readonly violations: string[] = [];
  /** Which agent has an address, by network and address, in its namespaces. */
  readonly held = new Map<string, SimAgent>();
  readonly log: Log;
  /** Probability that a message is lost, or doubled. */
  loss = 0.1;
  /** Whether tasks may end by themselves. */
  calm = false;
  #nextNumber = 1;

  constructor(seed: number, log: Log) {
    this.random = new Random(seed);
    this.log = (line) => log(`${this.clock.now.toFixed(0)} ${line}`);
  }

  get nextNumber(): number {
    return this.#nextNumber++;
  }

  violate(what: string): void {
    if (this.violations.length < 5) this.violations.push(`at ${this.clock.now.toFixed(0)}: ${what}`);
  }

  /** Delivers a message late, twice, or not at all. */
  send(deliver: () => void): void {
    const copies = this.random.chance(this.loss) ? 0 : this.random.chance(this.loss / 4) ? 2 : 1;
    for (let i = 0; i < copies; i++)
      this.clock.after(this.random.chance(0.05) ? this.random.integer(3000) : 1 + this.random.integer(50), deliver);
  }

  /** Commits, checks what must hold after every transaction, and tells the mirrors. */
  commit(transaction: Transaction): { revision: number } | { conflict: string } {
    const { items } = this.store;
    const before = new Map(
      transaction.writes.flatMap((write) => {
        const key = 'put' in write ? write.put : write.delete;
        return /^(addresses|endpoints|network-keys)\//.test(key) ? [[key, items.get(key)?.value] as const] : [];
      }),
    );
    const revision = this.store.revision;
    const committed = this.store.commit(transaction);
    if (this.store.revision === revision) return committed;
    for (const [key, value] of before) this.#checkWrite(key, value, items.get(key)?.value);
    for (const manager of this.managers.values()) manager.follow();
    return committed;
  }

  /**
   * A rotation adds the next key in front, and pushes out at most the oldest one, which no node needs any more that heard of the keys
   * within the pause: the two that are newer are older than that.
   */
  #checkKeys(key: string, before: string, after: string): void {
    const [old, now] = [before, after].map((value) => JSON.parse(value) as NetworkKey[]) as [
      NetworkKey[],
      NetworkKey[],
    ];
    const numbers = now.map(({ number }) => number).join();
    const wanted = [old[0]!.number + 1, ...old.map(({ number }) => number)].slice(0, 3).join();
    if (numbers !== wanted) this.violate(`${key} has the numbers ${numbers}, not ${wanted}`);
    if (old.length === 3 && now[0]!.created - old[0]!.created < PAUSE)
      this.violate(`${key} pushes out a key ${now[0]!.created - old[0]!.created} ms after a rotation`);
  }

  #checkWrite(key: string, before: string | undefined, after: string | undefined): void {
    const [kind, network] = key.split('/') as [string, string];
    if (kind === 'network-keys') {
      if (before !== undefined && after !== undefined) this.#checkKeys(key, before, after);
      return;
    }
    const ownerOf = (value: string | undefined): string | undefined =>
      value === undefined ? undefined : (JSON.parse(value) as { endpoint?: string }).endpoint;
    if (kind === 'addresses') {
      const [old, owner] = [ownerOf(before), ownerOf(after)];
      if (old !== undefined && owner !== undefined && old !== owner)
        this.violate(`${key} goes from ${old} to ${owner}`);
      if (owner !== undefined && !this.store.items.has(`endpoints/${network}/${owner}`))
        this.violate(`${key} is that of ${owner}, which does not exist`);
      return;
    }
    const read = (value: string): { id: string; addresses: string[] } => JSON.parse(value) as never;
    const addressOwner = (ip: string): string | undefined =>
      ownerOf(this.store.items.get(`addresses/${network}/${ip}`)?.value);
    if (after !== undefined) {
      const { id, addresses } = read(after);
      for (const ip of addresses) if (addressOwner(ip) !== id) this.violate(`${key} has ${ip} without an allocation`);
      if (!this.store.items.has(`networks/${network}`)) this.violate(`${key} is in no network`);
    } else if (before !== undefined) {
      const { id, addresses } = read(before);
      for (const ip of addresses) if (addressOwner(ip) === id) this.violate(`${key} is gone and keeps ${ip}`);
    }
  }

  /** Sends a command to some manager, again and again, until there is an answer, which `done` gets once. */
  command(command: Command, from: string, done: (answer: Answer | Refusal | undefined) => void, tries = 12): void {
    let isDone = false;
    const attempt = (left: number): void => {
      if (isDone) return;
      if (left === 0) {
        isDone = true;
        done(undefined);
        return;
      }
      const managers = [...this.managers.values()].filter(({ up }) => up);
      if (managers.length > 0 && this.agents.get(from)?.up !== false) {
        const manager = this.random.pick(managers);
        this.send(() =>
          manager.serve(command, from, (answer) =>
            this.send(() => {
              if (isDone || answer === 'gone') return;
              isDone = true;
              done(answer);
            }),
          ),
        );
      }
      this.clock.after(2000 + this.random.integer(2000), () => attempt(left - 1));
    };
    attempt(tries);
  }

  /** What the store has of a node. */
  #recordOf(node: string): NodeRecord | undefined {
    const item = this.store.items.get(`nodes/${node}`);
    return item === undefined ? undefined : (JSON.parse(item.value) as NodeRecord);
  }

  /** Whether a node is part of the cluster. */
  has(node: string): boolean {
    return !['left', undefined].includes(this.#recordOf(node)?.state);
  }

  /**
   * No message between living nodes may be unreadable. One that has failed, or seems to, hears of the keys when it asks next, some
   * time after the managers have heard from it.
   */
  checkKeys(): void {
    const isAlive = ({ state, since }: NodeRecord): boolean => state === 'alive' && this.clock.now - since >= RETURN;
    const agents = [...this.agents.values()].filter((agent) => {
      const record = this.#recordOf(agent.id);
      return agent.up && agent.hasTalked && record !== undefined && isAlive(record);
    });
    for (const one of agents)
      for (const other of agents) {
        const key = encryptingKey(one.keys);
        if (key !== undefined && !other.keys.some(({ tag }) => tag === key.tag))
          this.violate(`${other.name} cannot read key ${key.tag} of ${one.name}`);
      }
  }
}

/** A manager: a mirror that follows the store with a delay, and what it serves. */
export class SimManager {
  state = new State();
  /** Whether its process runs and reaches the store and the nodes. */
  up = true;
  /** Its mirror follows the store after up to so many milliseconds. */
  lag = 200;
  readonly #cluster: SimCluster;
  readonly node: string;
  #generation = 0;
  #target = 0;
  #waiting: { revision: number; action: () => void }[] = [];
  #seen = -1;
  #next: number | undefined;

  constructor(cluster: SimCluster, node: string) {
    this.#cluster = cluster;
    this.node = node;
    this.start();
  }

  /** A new process fills its mirror from the store. */
  start(): void {
    const { store, clock, random } = this.#cluster;
    this.up = true;
    this.state = State.of({ revision: store.revision, items: [...store.items.values()] }, Math.floor(clock.now));
    this.#generation++;
    this.#target = this.state.revision;
    this.#waiting = [];
    this.#seen = -1;
    const generation = this.#generation;
    const tick = (): void => {
      if (generation !== this.#generation) return;
      this.#tick();
      clock.after(900 + random.integer(200), tick);
    };
    clock.after(random.integer(1000), tick);
  }

  stop(): void {
    this.up = false;
    this.#generation++;
  }

  /** The store has a new revision. */
  follow(): void {
    const { clock, random, store } = this.#cluster;
    if (!this.up || this.#target === store.revision) return;
    const generation = this.#generation;
    clock.after(random.integer(this.lag) + 1, () => {
      if (generation === this.#generation) this.#catchUp(store.revision);
    });
  }

  #catchUp(revision: number): void {
    const { store } = this.#cluster;
    while (this.state.revision < revision)
      this.state.apply(this.state.revision + 1, store.log[this.state.revision + 1]!);
    this.#target = this.state.revision;
    const ready = this.#waiting.filter((one) => one.revision <= this.state.revision);
    this.#waiting = this.#waiting.filter((one) => one.revision > this.state.revision);
    for (const { action } of ready) action();
  }

  /** Carries a command out, and again if the mirror was behind. */
  serve(command: Command, from: string, reply: Reply): void {
    const { clock, random, store } = this.#cluster;
    if (!this.up) return;
    const generation = this.#generation;
    const again = (): void => {
      if (generation !== this.#generation) return;
      const actor = { node: from, role: this.state.nodes.get(from)?.role ?? 'worker' } as const;
      const planned = plan(this.state, command, { ...this.#context(), actor });
      if (isRefusal(planned)) return reply(planned);
      if (planned.transaction.writes.length === 0) return reply(planned.answer);
      clock.after(random.integer(20), () => {
        if (generation !== this.#generation) return;
        const committed = this.#cluster.commit(planned.transaction);
        if ('revision' in committed) reply(planned.answer);
        else if (this.state.revision >= store.revision) again();
        else this.#waiting.push({ revision: store.revision, action: again });
      });
    };
    again();
  }

  /** Answers a node that asks what to do; `undefined`: nothing new. */
  poll(node: string, revision: number, reply: (assignment: Assignment | 'gone' | undefined) => void): void {
    if (!this.up) return;
    this.#cluster.heard.set(node, this.#cluster.clock.now);
    if (this.state.revision === revision) return reply(undefined);
    const assignment = assignmentsOf(this.state, node);
    if (assignment === undefined) {
      // It may not have heard of a node that has just joined.
      if (this.state.revision >= this.#cluster.store.revision) reply('gone');
      return;
    }
    this.#check(assignment);
    reply(assignment);
  }

  /** A naive reference: what the items of this revision say about the node. */
  #check({ node, networks, networkKeys = [], endpoints, tasks }: Assignment): void {
    const wanted = [...this.state.endpoints.values()].filter((endpoint) => endpoint.node === node);
    const ids = (list: readonly { id: string }[]): string =>
      list
        .map(({ id }) => id)
        .sort()
        .join();
    const of = [...new Set(wanted.map(({ network }) => network))].map((id) => ({ id }));
    if (ids(endpoints) !== ids(wanted)) this.#cluster.violate(`the endpoints of ${node} in its assignment`);
    if (ids(networks) !== ids(of))
      this.#cluster.violate(`${node} is told of networks ${ids(networks)}, not ${ids(of)}`);
    // Keys of encrypted networks, for those alone that have an endpoint there.
    const encrypted = [...new Set(wanted.map(({ network }) => network))].filter(
      (id) => this.state.networks.get(id)?.encrypted !== undefined,
    );
    const told = networkKeys.map(({ network }) => network);
    if (told.sort().join() !== encrypted.sort().join())
      this.#cluster.violate(`${node} is told the keys of ${told.join()}, not of ${encrypted.join()}`);
    for (const { network, keys } of networkKeys)
      if (keys.length === 0) this.#cluster.violate(`${node} is told no key of ${network}`);
    for (const task of tasks)
      for (const { id } of task.endpoints)
        if (this.state.endpoints.get(id)?.node !== node)
          this.#cluster.violate(`${task.name} has an endpoint elsewhere`);
  }

  #context(): { now: number; random: () => number } {
    const { clock, random } = this.#cluster;
    return { now: Math.floor(clock.now), random: () => random.float() };
  }

  #tick(): void {
    const { clock } = this.#cluster;
    this.#declare();
    if (this.#seen === this.state.revision && !(this.#next !== undefined && this.#next <= clock.now)) return;
    this.#seen = this.state.revision;
    const { transactions, next } = reconcile(this.state, this.#context());
    this.#next = next;
    for (const transaction of transactions) this.#cluster.commit(transaction);
  }

  /** Says which nodes answer and which do not. */
  #declare(): void {
    const { heard, clock } = this.#cluster;
    for (const { id, state } of this.state.nodes.values()) {
      if (state === 'left') continue;
      const silent = clock.now - (heard.get(id) ?? 0) > SILENCE;
      if (silent && clock.now - this.state.watching <= SILENCE) continue; // it has just started
      const found = silent ? 'failed' : 'alive';
      if (found !== state) this.serve({ do: 'set-node-state', node: id, state: found }, this.node, () => undefined);
    }
  }
}

/** A task on a node. */
interface Process {
  attempt: number;
  state: 'starting' | 'running' | 'exited' | 'failed';
  code: number;
}

/** The agent of a node: makes the namespaces and processes that its assignment says, and reports. */
export class SimAgent {
  readonly id: string;
  readonly name: string;
  /** Whether its host runs. */
  isRunning = true;
  /** Whether it reaches nobody; what runs goes on. */
  isCut = false;
  /** Whether it has asked a manager since it was last away. */
  hasTalked = false;
  /** Whether it is no part of the cluster any more. */
  isGone = false;
  keys: readonly GossipKey[] = [];
  /** The keys of the encrypted networks that it takes part in. */
  networkKeys = new Map<string, readonly NetworkKey[]>();
  /** Addresses by endpoint. */
  readonly sandboxes = new Map<string, readonly string[]>();
  readonly processes = new Map<string, Process>();
  assignment: Assignment | undefined;
  readonly #cluster: SimCluster;
  #generation = 0;
  /** The tag of the newest key that a manager knows it has. */
  #reported = 0;

  constructor(cluster: SimCluster, { id, name }: Pick<NodeRecord, 'id' | 'name'>) {
    this.#cluster = cluster;
    this.id = id;
    this.name = name;
    cluster.heard.set(id, cluster.clock.now);
    this.start();
  }

  get up(): boolean {
    return this.isRunning && !this.isCut && !this.isGone;
  }

  start(): void {
    const { clock, random } = this.#cluster;
    this.isRunning = true;
    this.hasTalked = false;
    const generation = ++this.#generation;
    const tick = (): void => {
      if (generation !== this.#generation || this.isGone) return;
      this.#poll();
      clock.after(POLL - 100 + random.integer(200), tick);
    };
    clock.after(random.integer(1000), tick);
  }

  /** The host ends: with everything on it, or only its agent. The last assignment stays, on its disk. */
  stop(isReboot: boolean): void {
    this.isRunning = false;
    this.#generation++;
    if (!isReboot) return;
    for (const id of [...this.sandboxes.keys()]) this.#removeSandbox(id);
    this.processes.clear();
  }

  cut(isCut: boolean): void {
    this.isCut = isCut;
    this.hasTalked = false;
  }

  #poll(): void {
    const { managers, random } = this.#cluster;
    const up = [...managers.values()].filter((manager) => manager.up && !this.#cluster.agents.get(manager.node)?.isCut);
    if (this.isCut || up.length === 0) return;
    const manager = random.pick(up);
    const generation = this.#generation;
    const revision = this.assignment?.revision ?? -1;
    this.#cluster.send(() =>
      manager.poll(this.id, revision, (assignment) =>
        this.#cluster.send(() => {
          if (generation !== this.#generation || this.isCut || this.isGone) return;
          if (assignment === 'gone') this.leave();
          else this.#apply(assignment);
        }),
      ),
    );
  }

  /** Ends everything. */
  leave(): void {
    this.stop(true);
    this.isGone = true;
  }

  #apply(given: Assignment | undefined): void {
    if (given !== undefined && given.revision < (this.assignment?.revision ?? -1)) return;
    if (given !== undefined) this.assignment = given;
    const { assignment } = this;
    if (assignment === undefined) return;
    this.hasTalked = true;
    const newest = assignment.gossipKeys[0]!.tag;
    this.keys = assignment.gossipKeys;
    this.networkKeys = new Map((assignment.networkKeys ?? []).map(({ network, keys }) => [network, keys]));
    if (newest !== this.#reported)
      this.#cluster.command(
        { do: 'report-keys', tag: newest },
        this.id,
        (answer) => {
          if (answer !== undefined && 'tag' in answer) this.#reported = newest;
        },
        1, // it reports again with the next poll
      );
    const wanted = new Map(assignment.endpoints.map((endpoint) => [endpoint.id, endpoint]));
    // A command that is repeated after its endpoint was removed makes another one, which may have other addresses.
    const textOf = (id: string): string | undefined =>
      wanted
        .get(id)
        ?.addresses.map((ip) => `${wanted.get(id)!.network}/${ip}`)
        .join();
    for (const [id, addresses] of this.sandboxes) if (textOf(id) !== addresses.join()) this.#removeSandbox(id);
    for (const { id, network, addresses } of wanted.values())
      if (!this.sandboxes.has(id))
        this.#addSandbox(
          id,
          addresses.map((ip) => `${network}/${ip}`),
        );
    const ids = new Set(assignment.tasks.map(({ id }) => id));
    for (const id of [...this.processes.keys()]) if (!ids.has(id)) this.processes.delete(id);
    for (const task of assignment.tasks) this.#run(task);
  }

  #run({ id, service, slot, attempt, state }: Assignment['tasks'][number]): void {
    const { random, clock } = this.#cluster;
    let process = this.processes.get(id);
    if (process === undefined || process.attempt < attempt) {
      // Only a task that runs by the manager’s word and not here was lost, with the host.
      const isLost = state === 'running';
      if (state !== 'assigned' && !isLost) return;
      const code = random.integer(256);
      const started: Process = { attempt, state: isLost ? 'failed' : 'starting', code };
      process = started;
      this.processes.set(id, started);
      if (!isLost)
        clock.after(random.integer(1000), () => {
          if (started.state !== 'starting') return;
          started.state = !this.#cluster.calm && random.chance(0.2) ? 'failed' : 'running';
          if (started.state === 'running' && !this.#cluster.calm && random.chance(0.3))
            clock.after(random.integer(30_000), () => {
              if (!this.#cluster.calm) started.state = 'exited';
            });
        });
    }
    if (process.state === state || process.state === 'starting' || state === 'exited' || state === 'failed') return;
    const about: ReportTask = { do: 'report-task', service, slot, task: id, attempt, state: process.state };
    const detail =
      process.state === 'exited' ? { code: process.code } : process.state === 'failed' ? { reason: 'x' } : {};
    this.#cluster.command({ ...about, ...detail }, this.id, () => undefined, 1);
  }

  #addSandbox(id: string, addresses: readonly string[]): void {
    this.sandboxes.set(id, addresses);
    for (const address of addresses) {
      const other = this.#cluster.held.get(address);
      // A node that was removed while nobody reached it hears of that when it returns. Nobody else has its keys, or listens to it.
      if (other !== undefined && this.#cluster.has(other.id))
        this.#cluster.violate(`${address} is held by ${other.name} and by ${this.name}`);
      this.#cluster.held.set(address, this);
    }
  }

  #removeSandbox(id: string): void {
    for (const address of this.sandboxes.get(id) ?? [])
      if (this.#cluster.held.get(address) === this) this.#cluster.held.delete(address);
    this.sandboxes.delete(id);
  }
}
