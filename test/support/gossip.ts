/** Members of a cluster on simulated time and a simulated network. */
import {
  Memberlist,
  type Delegate,
  type Member,
  type MemberlistOptions,
  type MemberlistSink,
  type Security,
} from '../../src/gossip/memberlist/index.js';
import {
  Alarm,
  Clock,
  Network,
  Random,
  Streams,
  type Datagram,
  type LinkOptions,
  type Node,
  type StreamEnd,
} from '../../src/sim/index.js';

export const PORT = 7946;

/** An event that a member reported, such as `joined b`. */
export interface Reported {
  time: number;
  what: string;
}

export class SimMember {
  name: string;
  readonly address: string;
  readonly reported: Reported[] = [];
  readonly messages: string[] = [];
  readonly merged: string[] = [];
  readonly node: Node;
  machine: Memberlist;
  /** Start time of its process. */
  since = 0;
  /** Whether its process runs. A stopped one has lost all state. */
  running = true;
  #paused = false;
  readonly #cluster: SimCluster;
  readonly #delegate: Delegate;
  #alarm: Alarm;
  #life = 0;
  /** The process's own clock: its reading at time 0, and its rate. */
  #offset = 0;
  #rate = 1;

  constructor(cluster: SimCluster, name: string, address: string, delegate: Delegate) {
    this.#cluster = cluster;
    this.name = name;
    this.address = address;
    this.#delegate = delegate;
    this.node = cluster.network.join(address);
    this.node.bind(PORT, (datagram) => {
      if (!this.running) return;
      cluster.received?.(datagram);
      this.machine.receivePacket(datagram.source, datagram.sourcePort, datagram.payload, this.now);
      this.#rearm();
    });
    this.#alarm = new Alarm(cluster.clock, () => this.#wake());
    this.machine = this.#start();
  }

  /** The time by its own clock. */
  get now(): number {
    return this.#offset + this.#rate * this.#cluster.clock.now;
  }

  get clock(): Clock {
    return this.#cluster.clock;
  }

  /** Whether its process is paused, with its state. */
  get paused(): boolean {
    return this.#paused;
  }

  /** Names of the members that it considers alive or suspect, sorted. */
  sees(): string[] {
    return this.machine
      .members()
      .filter((member) => member.state === 'alive' || member.state === 'suspect')
      .map((member) => member.name)
      .sort();
  }

  state(name: string): Member['state'] | undefined {
    return this.machine.member(name)?.state;
  }

  /** Time of the first event of this kind after `since`. */
  when(what: string, since = 0): number | undefined {
    return this.reported.find((one) => one.what === what && one.time >= since)?.time;
  }

  /** Whether its process ever reported a member. */
  knew(name: string): boolean {
    return this.when(`joined ${name}`, this.since) !== undefined;
  }

  join(...others: readonly SimMember[]): void {
    this.machine.join(
      others.map(({ address }) => ({ address, port: PORT })),
      this.now,
    );
    this.#rearm();
  }

  /** Runs an action on the machine. */
  act(what: (machine: Memberlist, now: number) => void): void {
    what(this.machine, this.now);
    this.#rearm();
  }

  /** Stops without leaving. */
  kill(): void {
    this.running = false;
    this.node.up = false;
    this.machine.stop();
  }

  /** Leaves and stops. */
  leave(): void {
    this.act((machine, now) => machine.leave(now, 1000, () => this.#cluster.clock.after(0, () => this.kill())));
  }

  /** Starts a new process without state in place of the last one. */
  restart(name = this.name): void {
    if (this.running) this.kill();
    this.name = name;
    this.running = true;
    this.#paused = false;
    this.node.up = true;
    this.machine = this.#start();
  }

  /** Like SIGSTOP: incoming messages are lost, timers do not run. */
  pause(): void {
    this.#paused = true;
    this.node.up = false;
  }

  resume(): void {
    if (!this.#paused || !this.running) return;
    this.#paused = false;
    this.node.up = true;
    this.#wake();
  }

  #wake(): void {
    if (this.#paused || !this.running) return;
    this.machine.wake(this.now);
    this.#rearm();
  }

  #rearm(): void {
    const { due } = this.machine;
    if (!this.running || due === Infinity) return;
    const time = (due - this.#offset) / this.#rate;
    // Without this, rounding could wake it a little too early, when nothing is due.
    this.#alarm.set(this.#offset + this.#rate * time < due ? time + 1e-6 : time);
  }

  #start(): Memberlist {
    const { clock, streams, options, traits } = this.#cluster;
    const life = ++this.#life;
    this.since = clock.now;
    const ends = new Map<number, StreamEnd>();
    const alive = (): boolean => this.running && life === this.#life && !this.#paused;
    const note = (what: string): void => void this.reported.push({ time: clock.now, what });
    const random = this.#cluster.random.fork();
    if (traits.skewed === true) {
      this.#offset = random.integer(1_000_000_000);
      this.#rate = 0.98 + 0.04 * random.float();
    }
    const events = (id: number) => ({
      data: (bytes: Uint8Array): void => {
        if (!alive()) return;
        machine.streamData(id, bytes, this.now);
        this.#rearm();
      },
      closed: (): void => {
        if (!alive()) return;
        machine.streamClosed(id, this.now);
        this.#rearm();
      },
    });
    const sink: MemberlistSink = {
      sendPacket: (address, port, bytes) => this.node.send(address, port, PORT, bytes),
      openStream: (id, address, port, bytes, answered) => {
        const end = streams.dial(this.address, address, port, answered ? events(id) : { data() {}, closed() {} });
        end.write(bytes);
        if (answered) ends.set(id, end);
        else end.close();
      },
      writeStream: (id, bytes) => ends.get(id)!.write(bytes),
      closeStream: (id) => {
        ends.get(id)!.close();
        ends.delete(id);
      },
    };
    const machine = new Memberlist(
      {
        ...options,
        ...(traits.security === undefined ? {} : { security: traits.security(this) }),
        name: this.name,
        address: this.address,
        port: PORT,
        random: () => random.float(),
      },
      sink,
      {
        receive: (message) => void this.messages.push(Buffer.from(message).toString()),
        mergeState: (state) => void this.merged.push(Buffer.from(state).toString()),
        nodeJoined: (member) => note(`joined ${member.name}`),
        nodeUpdated: (member) => note(`updated ${member.name}`),
        nodeLeft: (name, _, member) => note(`${member.state} ${name}`),
        ...this.#delegate,
      },
      this.now,
    );
    streams.listen(this.address, PORT, (end, source) => {
      const id = alive() ? machine.acceptStream(this.now, source) : 0;
      if (id === 0) end.close();
      else ends.set(id, end);
      this.#rearm();
      return events(id);
    });
    this.#alarm.clear();
    this.#alarm.set(clock.now); // reads the machine's due time then
    return machine;
  }
}

/** Options of a simulated cluster. */
export interface Traits {
  /** Gives each process a clock of its own, with another offset and up to 2 % fast or slow. */
  skewed?: boolean;
  /** Initial keys of each process. */
  security?: (member: SimMember) => Security;
}

export class SimCluster {
  readonly clock = new Clock();
  readonly random: Random;
  readonly network: Network;
  readonly streams: Streams;
  readonly options: Partial<MemberlistOptions>;
  readonly traits: Traits;
  readonly members: SimMember[] = [];
  /** Called for every packet that a process receives. */
  received: ((datagram: Datagram) => void) | undefined;

  constructor(seed: number, link: LinkOptions = {}, options: Partial<MemberlistOptions> = {}, traits: Traits = {}) {
    this.random = new Random(seed);
    this.network = new Network(this.clock, this.random.fork(), link);
    this.streams = new Streams(this.clock, this.network, this.random.fork());
    this.options = options;
    this.traits = traits;
  }

  add(name: string, delegate: Delegate = {}): SimMember {
    const member = new SimMember(this, name, `10.0.0.${this.members.length + 1}`, delegate);
    this.members.push(member);
    return member;
  }

  /** Members `a`, `b` and so on, which have joined the first one. */
  grow(count: number): SimMember[] {
    for (let i = 0; i < count; i++) {
      const member = this.add(String.fromCharCode(97 + i));
      if (i > 0) member.join(this.members[0]!);
    }
    return this.members;
  }

  /** Errors: every running member must see all running members, and no others. */
  disagreements(): string[] {
    const running = this.members.filter((member) => member.running);
    const wanted = running.map((member) => member.name).sort();
    return running
      .filter(
        (member) => member.sees().join() !== wanted.join() || wanted.some((name) => member.state(name) !== 'alive'),
      )
      .map(
        (member) =>
          `${member.name} sees ${member.machine
            .members()
            .map((one) => `${one.name}:${one.state}:${one.incarnation}`)
            .sort()
            .join(' ')}`,
      );
  }
}
