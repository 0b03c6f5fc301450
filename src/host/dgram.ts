/**
 * The portable engine, and the reference for other engines: `node:dgram` on the underlay, one read or write per frame
 * on the TAPs, all on the event loop.
 *
 * Node's sockets can neither set nor read the outer TOS, so congestion marks do not pass between outer and inner
 * header: outer headers are sent as Not-ECT, which is RFC 6040's compatibility mode (section 4.1).
 */
import { createSocket, type Socket } from 'node:dgram';
import { performance } from 'node:perf_hooks';
import { type CaptureRequest, type ListRequest, type Plan } from '../schema/index.js';
import { HEADROOM, type Counters, type Remote, type Vtep, type VtepSink } from '../vtep/index.js';
import { Captures } from './capture.js';
import { type Engine, type EngineCounters, type EngineEvents, type EngineFacts } from './engine.js';
import { codeOf } from './error.js';
import { droppedAt } from './kernel-drops.js';
import { answer, buildVtep, listing, type MachineRequest } from './machine.js';
import { pagesOf, type Page } from './pages.js';
import { Recorder } from './recorder.js';
import { TapChannel } from './tap.js';
import { TapPoller } from './tap-poller.js';
import { Troubles, type EngineReport } from './troubles.js';
import { type TapFiles } from './tun.js';
import { bindError, FIRST_SOURCE_PORT } from './underlay.js';

/** Size of receive and send buffers to request, in bytes; `net.core.rmem_max` and `wmem_max` limit it. */
const SOCKET_BUFFER = 4 << 20;
/** Most bytes of datagrams queued for the socket; further datagrams are dropped and counted. */
const MAX_QUEUE = 8 << 20;
/** Milliseconds between two runs of the machine's timers. */
const TICK = 1000;
/** Most sender addresses to remember. */
const MAX_SENDERS = 4096;

export class DgramEngine implements Engine, VtepSink {
  readonly name = 'dgram';
  readonly tapFlags = 0;
  readonly #counters: EngineCounters = {
    framesRead: 0,
    framesWritten: 0,
    datagramsReceived: 0,
    datagramsSent: 0,
    sendQueue: 0,
    writeErrors: {},
    sendErrors: {},
    receiveErrors: {},
  };
  #plan!: Plan;
  #vtep!: Vtep;
  #captures!: Captures;
  #recorder!: Recorder;
  #taps: TapChannel[] = [];
  /** Absent without koffi. */
  #poller: TapPoller | undefined;
  /** The receiving socket, bound to the VTEP's port. */
  #socket: Socket | undefined;
  /** The sending sockets; each flow uses one. The receiving socket itself if the plan has no source ports. */
  #senders: Socket[] = [];
  #timer: NodeJS.Timeout | undefined;
  readonly #troubles = new Troubles(({ address }) => this.#senderAddresses.has(address));
  /** Sender addresses of datagrams since the last tick; filled only while a remote is in trouble. */
  readonly #received = new Set<string>();
  /** Sender addresses of all datagrams so far. */
  readonly #senderAddresses = new Set<string>();
  /** Frames and datagrams that the current frame has become. */
  #output = 0;
  #looking = false;
  /** Datagrams received until the last look for losses. */
  #lookedAt = 0;

  async start(plan: Plan, taps: readonly TapFiles[], events: EngineEvents): Promise<EngineFacts> {
    this.#plan = plan;
    this.#recorder = new Recorder(
      (records) => this.#captures.take(0, records),
      () => setImmediate(() => this.#recorder.flush()),
    );
    this.#captures = new Captures(plan, (_worker, message) => this.#recorder.handle(message));
    this.#poller = await TapPoller.create();
    this.#taps = taps.map(
      ({ writer }, port) =>
        new TapChannel(
          writer,
          HEADROOM,
          {
            frame: (bytes, offset, end) => {
              this.#counters.framesRead++;
              if (this.#recorder.active) this.#recorder.frame(port, 'in', bytes, offset, end);
              this.#output = 0;
              this.#vtep.receiveFrame(port, bytes, offset, end, performance.now(), this);
              return this.#output;
            },
            lost: (reason) => {
              this.#vtep.forgetPort(port);
              events.tapLost(port, reason);
            },
          },
          this.#poller,
        ),
    );
    this.#vtep = buildVtep(plan); // before the event loop turns, so before any frame
    this.#socket = await this.#bind(plan, plan.port);
    const here = { address: plan.local, port: plan.port };
    this.#socket.on('message', (bytes, { address, port }) => {
      this.#counters.datagramsReceived++;
      if (this.#troubles.any) this.#received.add(address);
      if (this.#senderAddresses.size < MAX_SENDERS) this.#senderAddresses.add(address);
      if (this.#recorder.active) this.#recorder.datagram('in', { address, port }, here, bytes, 0, bytes.length);
      this.#vtep.receiveDatagram(address, bytes, 0, bytes.length, performance.now(), 0, this);
    });
    for (let i = 0; i < plan.sourcePorts; i++) this.#senders.push(await this.#bindSource(plan));
    if (plan.sourcePorts === 0) this.#senders = [this.#socket];
    this.#timer = setInterval(() => this.#tick(events), TICK);
    this.#vtep.sendAnnouncements(performance.now(), this);
    return {
      receiveBuffer: this.#socket.getRecvBufferSize(),
      sourcePorts: this.#senders.map((socket) => socket.address().port),
    };
  }

  /** Writes a frame to a TAP, synchronously. */
  deliver(port: number, bytes: Uint8Array, offset: number, end: number): void {
    this.#output++;
    if (this.#recorder.active) this.#recorder.frame(port, 'out', bytes, offset, end);
    const code = this.#taps[port]!.write(bytes, offset, end);
    if (code === '') this.#counters.framesWritten++;
    else count(this.#counters.writeErrors, code);
  }

  /** Sends a copy of a datagram, since the socket may keep it longer than this call lasts. */
  transmit(remote: Remote, bytes: Uint8Array, offset: number, end: number, sourcePort: number): void {
    if (this.#senders.length === 0) return; // stopped or starting
    this.#output++;
    if (this.#recorder.active) {
      const { port } = this.#senders[sourcePort % this.#senders.length]!.address();
      this.#recorder.datagram('out', { address: this.#plan.local, port }, remote, bytes, offset, end);
    }
    const length = end - offset;
    if (this.#counters.sendQueue + length > MAX_QUEUE) return this.#unsent(remote, 'QUEUE');
    const copy = Buffer.allocUnsafe(length);
    copy.set(bytes.subarray(offset, end));
    this.#counters.sendQueue += length;
    this.#senders[sourcePort % this.#senders.length]!.send(copy, remote.port, remote.address, (error) => {
      this.#counters.sendQueue -= length;
      if (error === null) this.#counters.datagramsSent++;
      else this.#unsent(remote, codeOf(error) || 'UNKNOWN');
    });
  }

  #unsent(remote: Remote, code: string): void {
    count(this.#counters.sendErrors, code);
    this.#troubles.failed(remote, code, 1, performance.now());
  }

  #tick(events: EngineEvents): void {
    const now = performance.now();
    this.#vtep.tick(now, this);
    const report = (one: EngineReport): void => events.report?.(one);
    this.#troubles.tick(now, ({ address }) => this.#received.has(address), report);
    this.#received.clear();
    for (const finding of this.#vtep.findings(now)) report({ type: 'noticed', finding });
    this.#lookForLosses();
  }

  /**
   * Reads how many datagrams the kernel has dropped at the receiving socket; Node does not report it. A socket that
   * drops some also delivers some, so an idle one needs no look.
   */
  #lookForLosses(): void {
    const { datagramsReceived } = this.#counters;
    if (this.#looking || datagramsReceived === this.#lookedAt) return;
    this.#lookedAt = datagramsReceived;
    this.#looking = true;
    void droppedAt(this.#plan.local, this.#plan.port).then((lost) => {
      this.#looking = false;
      if (lost > 0) this.#counters.receiveErrors['OVERFLOW'] = lost;
    });
  }

  async ask(request: MachineRequest): Promise<unknown> {
    const result = answer(this.#vtep, this.#plan, request, performance.now());
    this.#vtep.sendAnnouncements(performance.now(), this); // the MAC address of an endpoint may have changed
    return result;
  }

  async *list(request: ListRequest): AsyncGenerator<Page> {
    yield* pagesOf(listing(this.#vtep, request, performance.now()));
  }

  capture(request: CaptureRequest, gone: AbortSignal): AsyncIterable<Page> {
    return this.#captures.open(request, gone);
  }

  async machineCounters(): Promise<Counters> {
    return this.#vtep.counters();
  }

  counters(): EngineCounters {
    return structuredClone(this.#counters);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#captures.stop();
    const sockets = new Set([...this.#senders, ...(this.#socket === undefined ? [] : [this.#socket])]);
    this.#senders = [];
    this.#socket = undefined;
    await Promise.all([
      ...[...sockets].map((socket) => new Promise<void>((resolve) => socket.close(() => resolve()))),
      ...this.#taps.map((tap) => tap.close()),
    ]);
    this.#poller?.close();
  }

  /** Opens a socket on the VTEP's own address, never on all addresses. */
  #bind({ local }: Plan, port: number): Promise<Socket> {
    const v6 = local.includes(':');
    const socket = createSocket({
      type: v6 ? 'udp6' : 'udp4',
      ipv6Only: v6,
      recvBufferSize: SOCKET_BUFFER,
      sendBufferSize: SOCKET_BUFFER,
      // Remotes are already addresses; Node's own lookup would delay each datagram to the next tick.
      lookup: (address, _options, done) => done(null, address, v6 ? 6 : 4),
    });
    return new Promise((resolve, reject) => {
      socket.once('error', (error) => {
        socket.close();
        reject(bindError(error, local, port));
      });
      socket.bind({ address: local, port, exclusive: true }, () => {
        socket.removeAllListeners('error');
        socket.on('error', (error) => count(this.#counters.receiveErrors, codeOf(error) || 'UNKNOWN'));
        resolve(socket);
      });
    });
  }

  /** Opens a socket on a free port of the source range, or on any free port if many are in use. */
  async #bindSource(plan: Plan): Promise<Socket> {
    for (let attempt = 0; attempt < 16; attempt++) {
      const port = FIRST_SOURCE_PORT + Math.floor(Math.random() * (65_536 - FIRST_SOURCE_PORT));
      try {
        return await this.#bind(plan, port);
      } catch (error) {
        if (codeOf((error as Error).cause) !== 'EADDRINUSE') throw error;
      }
    }
    return this.#bind(plan, 0);
  }
}

function count(counters: Record<string, number>, code: string): void {
  counters[code] = (counters[code] ?? 0) + 1;
}
