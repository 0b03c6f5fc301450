/**
 * The loop: waits for TAPs, the underlay and the control thread at once, and moves what is ready through the machine.
 * One turn moves a bounded amount from each place, so that none keeps the others waiting.
 */
import { receiveMessageOnPort, type MessagePort } from 'node:worker_threads';
import { SchemaError } from '../../schema/index.js';
import { type Answered, type GatewayDatagram, type Learned, type Remote, type Vtep } from '../../vtep/index.js';
import { Batch, Pauses, SLICE, unpackChanges } from '../batch.js';
import { type BindAead } from '../esp/load.js';
import { Machine, type Query } from '../machine.js';
import { Recorder } from '../recorder.js';
import * as abi from './abi.js';
import { Arena } from './arena.js';
import { Clock } from './clock.js';
import { COUNT } from './counts.js';
import { ErrorQueue } from './error-queue.js';
import { ErrorReports } from './error-reports.js';
import { errorName, type Libc, type Pointer } from './libc.js';
import { Disagreement, type FromLoop, type LoopSockets, type Setup, type Task, type ToLoop } from './protocol.js';
import { narrowed, reportPaths, takeNews, tellers } from './news.js';
import { PathMtus } from './path-mtu.js';
import { EspPath } from './esp-path.js';
import { DataPath } from './path.js';
import { ProbeSender } from './probe-sender.js';
import { Readiness } from './readiness.js';
import { Receiver } from './receiver.js';
import { NONE, Sender, type SenderEvents } from './sender.js';
import { Troubles, type EngineReport } from '../troubles.js';
import { LoopTaps } from './loop-taps.js';
import { sums } from '../simd.js';
import { SocketError, Sockets } from './udp.js';

/** Milliseconds between two runs of the machine's timers. */
const TICK = 1000;
/** Most milliseconds between two refreshes of the other workers' entries, which would otherwise age out there. */
const REFRESH = 30_000;
/** Milliseconds after which a sent datagram may be forgotten. This host reports an unknown neighbor after 3 seconds. */
const SENT = 5000;
/** Milliseconds for which a full socket keeps the TAPs unread; after that, datagrams for it are dropped. */
const PATIENCE = 100;
/**
 * After a turn that moved this many packets, the loop does not busy-poll: more are already queued. A super-frame counts
 * as many.
 */
const MANY = 8;
/** Most messages of the control thread in a turn: a few tens of microseconds, or one page of a listing. */
const MESSAGES = 16;
/** Most file descriptors that one wait reports; the others are reported by the next ones. */
const READY = 1024;
/** Bytes for structures and buffers. The kernel gives memory to what is used only. */
const ARENA = 12 << 20;
/** The place of the socket of ESP in the readiness: no TAP has it. */
const ESP_PLACE = 0x7fff_ffff;

export class Loop implements SenderEvents {
  readonly #libc: Libc;
  readonly #bindAead: BindAead;
  readonly #arena: Arena;
  readonly #setup: Setup;
  readonly #port: MessagePort;
  readonly #machine: Machine;
  readonly #vtep: Vtep;
  readonly #counts: Float64Array;
  readonly #v6: boolean;
  readonly #sockets: Sockets;
  readonly #errors: ErrorQueue;
  readonly #reports: ErrorReports;
  readonly #recorder: Recorder;
  readonly #wake: number;
  readonly #eight: Pointer;
  readonly #clock: Clock;
  readonly #taps: LoopTaps;
  readonly #mtus: PathMtus;
  #sentDue = 0;
  /**
   * In order: the control thread's eventfd, the receiving socket, the sending sockets. In `#readiness`, their indices are
   * their places, and the TAPs follow by port.
   */
  readonly #fds: number[];
  readonly #readiness: Readiness;
  #path!: DataPath;
  #sender!: Sender;
  #receiver!: Receiver;
  /** Present if the port of ESP is open. */
  #esp: EspPath | null = null;
  #sendsFrom: LoopSockets['senders'] = [];
  #sourcePorts: LoopSockets['sourcePorts'] = [];
  readonly #troubles = new Troubles((remote) => this.#path.hasReceived(remote));
  #now = 0;
  #running = true;
  /** Whether it reads the underlay. */
  #receives = false;
  /** Whether messages of the control thread may be left over from the last turn. */
  #unheard = false;
  /** The batch that the machine is making, and the message that brought it. */
  #batch: { batch: Batch; task: Extract<Task, { type: 'apply' }> } | null = null;
  /** When the current turn's slice of a batch began, in microseconds. */
  #sliceStart = 0;
  /** When the next slice may begin. */
  #sliceDue = 0;
  readonly #pauses = new Pauses();
  readonly #late = (): boolean => this.#clock.since(this.#sliceStart) >= SLICE;
  /** Packets moved until the last check. */
  #moved = 0;
  /** Whether this is the only worker. */
  readonly #alone: boolean;
  /** Addresses to send to the other workers, and when to send all recent ones again. */
  readonly #learned: (Learned | Answered)[] = [];
  /** Requests to services at gateways, for the control thread. */
  readonly #requests: GatewayDatagram[] = [];
  #refresh = REFRESH;
  #refreshDue = 0;
  /** The full socket, or `NONE`, and when it became full. */
  #full = NONE;
  #fullSince = 0;

  /** @throws SocketError if a system call fails. */
  constructor(libc: Libc, setup: Setup, port: MessagePort, bindAead: BindAead) {
    this.#bindAead = bindAead;
    const { settings, counts } = setup;
    this.#libc = libc;
    this.#setup = setup;
    this.#port = port;
    this.#counts = counts;
    this.#arena = new Arena(libc, ARENA);
    const arena = this.#arena;
    this.#v6 = settings.local.includes(':');
    this.#alone = settings.workers === 1;
    this.#machine = new Machine(settings, setup.sockets === undefined, settings.workers);
    this.#vtep = this.#machine.vtep;
    this.#errors = new ErrorQueue(libc, arena, this.#v6);
    this.#mtus = new PathMtus(
      this.#v6,
      (remote) => this.#path.largestTo(remote),
      (remote) => this.#post(narrowed(remote)),
    );
    this.#reports = new ErrorReports({
      arena,
      vtep: this.#vtep,
      mtus: this.#mtus,
      troubles: this.#troubles,
      counts,
      espPort: settings.espPort,
      largest: (remote) => this.#path.largestTo(remote),
      now: () => this.#now,
      ...(this.#alone ? {} : tellers((news) => this.#post(news))),
    });
    this.#recorder = new Recorder((records) => this.#post({ type: 'records', records }));
    this.#eight = arena.pointer(arena.take(8));
    this.#clock = new Clock(libc, arena);
    this.#wake = libc.eventfd(0, abi.EFD_NONBLOCK | abi.EFD_CLOEXEC);
    this.#sockets = new Sockets(libc, arena, settings.local, {
      checksum: settings.udpChecksum,
      zeroChecksum: settings.zeroChecksum,
    });
    this.#fds = [this.#wake];
    this.#readiness = new Readiness(libc, arena, READY);
    this.#taps = new LoopTaps({ libc, arena, machine: this.#machine, readiness: this.#readiness, counts });
  }

  /** Datagrams to a remote were dropped on this host. */
  unsent(remote: Remote, errno: number, datagrams: number): void {
    this.#troubles.failed(remote, errorName(errno), datagrams, this.#now);
  }

  /** Opens the sockets. */
  start(): void {
    const { settings } = this.#setup;
    const { all, buffer } = this.#setup.sockets === undefined ? this.#openSockets() : { all: [], buffer: 0 };
    const { receiver, senders, sourcePorts, fragmenter } = this.#setup.sockets ?? all[0]!;
    this.#sendsFrom = senders;
    this.#sourcePorts = sourcePorts;
    this.#sender = new Sender(this.#libc, this.#arena, senders, this.#v6, this.#counts, this, settings.udpChecksum);
    this.#path = new DataPath({
      arena: this.#arena,
      sums: sums(this.#arena.memory),
      vtep: this.#vtep,
      v6: this.#v6,
      counts: this.#counts,
      taps: this.#taps.queues,
      sender: this.#sender,
      prober: new ProbeSender(this.#libc, this.#arena, senders, this.#v6, this.#counts, (fd) => this.errors(fd)),
      fragmenter: new ProbeSender(this.#libc, this.#arena, [fragmenter], this.#v6, this.#counts),
      receiver: (this.#receiver = new Receiver(this.#libc, this.#arena, receiver, this.#counts)),
      recorder: this.#recorder,
      local: { address: settings.local, port: settings.port },
      sourcePorts,
      lost: (port, errno) => this.#lose(port, errno),
      request: (what) => void this.#requests.push(what),
      ...(this.#alone
        ? {}
        : {
            learned: (what) => void this.#learned.push(what),
            probeAnswered: (answer) => this.#post({ type: 'probe-answer', answer }),
          }),
    });
    this.#fds.push(receiver, ...senders.filter((fd) => fd !== receiver));
    for (const [place, fd] of this.#fds.entries()) this.#readiness.add(fd, place, this.#wanted(place));
    this.#taps.firstPlace = this.#fds.length;
    const facts = { receiveBuffer: buffer, sourcePorts: [...sourcePorts], senders: settings.workers };
    this.#post({ type: 'started', facts, wake: this.#wake, sockets: all });
  }

  /** Opens the sockets of all workers: a receiving one for each, and a pool that all send from. */
  #openSockets(): { all: LoopSockets[]; buffer: number } {
    const { port, workers, sourcePorts } = this.#setup.settings;
    const { fds, buffer } = this.#sockets.receivers(port, workers);
    const pool = Array.from({ length: sourcePorts }, () => this.#sockets.sender());
    const fragmenter = this.#sockets.fragmenter();
    const all = fds.map((receiver) => ({
      ...{ receiver, fragmenter },
      senders: pool.length === 0 ? [receiver] : pool.map(({ fd }) => fd),
      sourcePorts: pool.length === 0 ? [port] : pool.map((socket) => socket.port),
    }));
    return { all, buffer };
  }

  /** Runs until the control thread sends `stop`. */
  run(): void {
    const readiness = this.#readiness;
    const firstTap = this.#fds.length;
    this.#now = this.#clock.now();
    let due = this.#now; // at once, for the announcements
    while (this.#running) {
      const until = this.#full === NONE ? due : Math.min(due, this.#fullSince + PATIENCE);
      const ready = this.#wait(this.#unheard ? Math.min(until, Math.max(this.#now, this.#sliceDue)) : until);
      if (this.#unheard) this.#listen();
      if (this.#now >= due) {
        due = this.#now + TICK;
        this.#tick();
      }
      for (let i = 0; i < ready; i++) {
        const place = readiness.place(i);
        const events = readiness.events(i);
        if (place === 0) this.#listen();
        else if (place === ESP_PLACE) this.#fromEsp(events);
        else if (place >= firstTap) this.#path.fromTap(place - firstTap, this.#now);
        else {
          if ((events & abi.POLLERR) !== 0) this.#errors.drain(this.#fds[place]!, this.#reports);
          if (place === 1 && (events & abi.POLLIN) !== 0) this.#path.fromUnderlay(this.#now);
          if ((events & abi.POLLOUT) !== 0) this.#path.resume();
        }
      }
      if (this.#full !== NONE && this.#path.full === this.#full && this.#now - this.#fullSince >= PATIENCE)
        this.#path.abandon();
      if (this.#path.full !== this.#full) this.#hold(this.#path.full);
      if (this.#learned.length > 0) this.#post({ type: 'learned', what: this.#learned.splice(0) });
      if (this.#vtep.associations.lacks) this.#reportWanted();
      if (this.#esp !== null && !this.#esp.events.isEmpty)
        this.#post({ type: 'keying', events: this.#esp.events.take() });
      if (this.#requests.length > 0) this.#post({ type: 'requests', requests: this.#requests.splice(0) });
      this.#recorder.flush();
    }
  }

  /**
   * Waits until a file descriptor is ready or the time is `until`, and updates `#now`.
   * @returns how many file descriptors are ready.
   */
  #wait(until: number): number {
    this.#counts[COUNT.pollCalls]! += 1;
    let ready = this.#look(until);
    if (ready === 0) ready = this.#readiness.wait(Math.max(0, until - this.#now));
    this.#now = this.#clock.now();
    return ready;
  }

  /**
   * Busy-polls for up to `busyPoll` microseconds after a turn that moved few packets. The next packets then need not
   * wait for this thread to wake up, which takes longer than moving them.
   */
  #look(until: number): number {
    const { busyPoll } = this.#setup.settings;
    if (busyPoll === 0) return 0;
    const counts = this.#counts;
    const before = this.#moved;
    this.#moved = counts[COUNT.framesRead]! + counts[COUNT.datagramsReceived]! + MANY * counts[COUNT.superFramesRead]!;
    const moved = this.#moved - before;
    if (moved === 0 || moved >= MANY) return 0;
    const most = Math.min(busyPoll, (until - this.#now) * 1000);
    const start = this.#clock.micros();
    do {
      const ready = this.#readiness.wait(0);
      if (ready > 0) return ready;
      this.#libc.sched_yield(); // gives way to other threads on this processor
    } while (this.#clock.since(start) < most);
    this.#now = this.#clock.now();
    return 0;
  }

  /** Stops reading the TAPs while a socket is full, which slows their senders down; `NONE`: reads them again. */
  #hold(full: number): void {
    this.#full = full;
    this.#fullSince = this.#now;
    for (let place = 1; place < this.#fds.length; place++)
      this.#readiness.change(this.#fds[place]!, place, this.#wanted(place));
    this.#taps.read(full === NONE);
  }

  /** The epoll events to watch for, besides errors: of the control thread's eventfd, or of a socket. */
  #wanted(place: number): number {
    const reads = place === 0 || (place === 1 && this.#receives);
    return (reads ? abi.POLLIN : 0) | (this.#full !== NONE && this.#fds[place] === this.#full ? abi.POLLOUT : 0);
  }

  /** The first worker closes the sockets of all. */
  stop(): void {
    this.closeSockets();
  }

  closeSockets(): void {
    this.#readiness.close();
    this.#sockets.close();
  }

  /** Handles a message from the control thread. */
  handle(message: ToLoop): void {
    if (message.type === 'stop') this.#running = false;
    else if (message.type === 'receive') {
      this.#receives = true;
      this.#readiness.change(this.#fds[1]!, 1, this.#wanted(1));
    } else if (message.type === 'recorder') this.#recorder.handle(message.message);
    else if (message.type === 'keying')
      for (const { address, bytes } of message.messages) this.#esp?.send(address, bytes);
    else if (message.type === 'routes') this.#vtep.paths.routes(message.mtus, this.#clock.now());
    else if (message.type === 'answers')
      for (const { id, payload } of message.answers)
        this.#vtep.services.answer(id, payload, this.#clock.now(), this.#path);
    else if (message.type === 'apply')
      this.#batch = { batch: new Batch(unpackChanges(message.changes)), task: message };
    else if ('id' in message) this.#answer(message.id, () => this.#resultOf(message));
    else takeNews(message, { vtep: this.#vtep, reports: this.#reports, sink: this.#path }, this.#clock.now());
  }

  #resultOf(message: Extract<ToLoop, { id: number }>): unknown {
    switch (message.type) {
      case 'ask':
        return this.#ask(message.request);
      case 'attach':
        return this.#attach(message);
      case 'detach':
        return this.#detach(message.port);
      case 'secure':
        return this.#secure(message.fd);
      case 'associate':
        return this.#esp!.associate(message.changes, this.#clock.now());
    }
  }

  #answer(id: number, make: () => unknown): void {
    try {
      this.#post({ type: 'answer', id, result: make() });
    } catch (error) {
      if (error instanceof Disagreement) throw error;
      const { message: text } = error as Error;
      const problems = error instanceof SchemaError ? { problems: error.problems } : {};
      const code = error instanceof SocketError ? { code: error.code } : {};
      this.#post({ type: 'refusal', id, message: text, ...problems, ...code });
    }
  }

  // ---- Changes ----

  /** Makes the next slice of the batch. @returns whether the batch is done. */
  #work(): boolean {
    const { batch, task } = this.#batch!;
    const done = batch.work(this.#machine, this.#late);
    this.#changed();
    if (!done) return false;
    this.#batch = null;
    const { rejected, unchanged } = batch;
    if (rejected.length > 0 && !task.first) throw new Disagreement(rejected[0]!.reason);
    this.#refresh = Math.max(TICK, Math.min(REFRESH, this.#machine.ageing / 4));
    this.#post({ type: 'answer', id: task.id, result: { rejected, unchanged } });
    return true;
  }

  #ask(request: Query): unknown {
    const now = this.#clock.now();
    if (request.command === 'explain' && request.esp !== undefined && this.#esp !== null)
      return this.#esp.explain(Buffer.from(request.esp, 'hex'), request.from!, now);
    return this.#machine.answer(request, now);
  }

  #attach(task: Extract<Task, { type: 'attach' }>): number {
    const port = this.#taps.attach(task, () => this.#path.mergeUdp());
    this.#changed();
    return port;
  }

  #detach(port: number): void {
    if (this.#taps.detach(port)) this.#changed();
  }

  /** The machine has changed: an address may now belong to another remote, and there may be something to announce. */
  #changed(): void {
    this.#path.forget();
    this.#vtep.sendAnnouncements(this.#clock.now(), this.#path);
  }

  // ---- Encrypted segments ----

  /** Opens the port of ESP. @param fd The socket of a worker other than the first. @returns the sockets of all workers. */
  #secure(fd?: number): readonly number[] {
    const { settings, worker } = this.#setup;
    const { espPort, local, workers } = settings;
    const fds = fd === undefined ? this.#sockets.receivers(espPort, workers).fds : [];
    const own = fd ?? fds[0]!;
    this.#esp = new EspPath({
      ...{ libc: this.#libc, arena: this.#arena, vtep: this.#vtep, counts: this.#counts, recorder: this.#recorder },
      aead: this.#bindAead(this.#arena.bytes, this.#arena.pointer(0)),
      sums: sums(this.#arena.memory),
      ...this.#path.shared,
      fds: this.#sendsFrom,
      sourcePorts: this.#sourcePorts,
      fd: own,
      clear: this.#receiver,
      local: { address: local, port: espPort },
      ...{ worker, workers, joins: settings.udpChecksum },
      sink: this.#path,
      events: this,
      received: (remote) => this.#path.note(remote),
    });
    this.#path.secure(this.#esp);
    this.#readiness.add(own, ESP_PLACE, abi.POLLIN);
    return fds;
  }

  #fromEsp(events: number): void {
    const esp = this.#esp!;
    if ((events & abi.POLLERR) !== 0) this.#errors.drain(esp.fd, this.#reports);
    if ((events & abi.POLLIN) !== 0) this.#path.fromEsp(this.#now);
  }

  // ---- Errors that the kernel reports ----

  errors(fd: number): void {
    this.#errors.drain(fd, this.#reports);
  }

  /** Passes on which associations the machine lacks. */
  #reportWanted(): void {
    for (const { group, address } of this.#vtep.associations.takeWanted()) this.#esp?.events.wanted(group, address);
  }

  // ---- A turn ----

  #tick(): void {
    this.#vtep.tick(this.#now, this.#path);
    this.#path.forget();
    this.#receiver.lookForLosses();
    this.#esp?.lookForLosses();
    this.#esp?.events.age();
    if (this.#troubles.any)
      this.#troubles.tick(
        this.#now,
        (remote) => this.#path.takeReceived(remote),
        (report) => this.#report(report),
      );
    for (const finding of this.#vtep.findings(this.#now)) this.#report({ type: 'noticed', finding });
    if (!this.#alone && this.#now >= this.#refreshDue) {
      for (const what of this.#vtep.fresh(this.#refresh + TICK, this.#now)) this.#learned.push(what);
      this.#refreshDue = this.#now + this.#refresh;
    }
    this.#mtus.expire(this.#now);
    reportPaths(this.#vtep, (message) => this.#post(message));
    if (this.#now >= this.#sentDue) {
      this.#sentDue = this.#now + SENT;
      this.#sender.age();
      this.#esp?.age();
    }
  }

  /** Handles messages of the control thread, a turn's worth; the rest waits for the next turn. */
  #listen(): void {
    this.#libc.read(this.#wake, this.#eight, 8);
    this.#unheard = this.#now < this.#sliceDue;
    if (this.#unheard) return;
    this.#sliceStart = this.#clock.micros();
    for (let i = 0; i < MESSAGES; i++) {
      // Later messages wait for the whole batch.
      if (this.#batch !== null && (!this.#work() || this.#late())) {
        const frames = this.#counts[COUNT.framesRead]! + this.#counts[COUNT.framesWritten]!;
        this.#sliceDue = this.#now + this.#pauses.after(frames, this.#now);
        break;
      }
      const got = receiveMessageOnPort(this.#port);
      if (got === undefined) return;
      this.handle(got.message as ToLoop);
    }
    this.#unheard = true;
  }

  #lose(port: number, errno: number): void {
    this.#post({ type: 'lost', port, reason: this.#taps.lose(port, errno) });
  }

  #report(report: EngineReport): void {
    this.#post({ type: 'report', report });
  }

  #post(message: FromLoop): void {
    this.#port.postMessage(message);
  }
}
