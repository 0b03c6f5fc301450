/**
 * The portable engine, and the reference for other engines: `node:dgram` on the underlay, one read or write per frame
 * on the TAPs, all on the event loop.
 *
 * Node's sockets can neither set nor read the outer TOS, so congestion marks do not pass between outer and inner
 * header: outer headers are sent as Not-ECT, which is RFC 6040's compatibility mode (section 4.1).
 */
import { type Socket } from 'node:dgram';
import { performance } from 'node:perf_hooks';
import { type Outbound } from '../esp/index.js';
import { type AssociationChange } from '../keying/index.js';
import { type Change } from '../model/index.js';
import { type CaptureRequest, type ListRequest } from '../schema/index.js';
import {
  Frame,
  HEADROOM,
  namedCounters,
  type Counters,
  type Explanation,
  innerMtu,
  type GatewayDatagram,
  type ProbePlace,
  type Remote,
  type VtepSink,
} from '../vtep/index.js';
import { probe } from '../vxlan/index.js';
import { Batch, Pauses, SLICE } from './batch.js';
import { Captures } from './capture.js';
import {
  type Applied,
  type AttachedLink,
  type DataPlane,
  type EngineCounters,
  type EngineFacts,
  type ExplainRequest,
  type GatewayAnswer,
  type KeyingMessage,
  type LinkPlan,
  type PlaneEvents,
  type Settings,
  type RefusedSenderListing,
} from './data-plane.js';
import { DgramSockets } from './dgram-sockets.js';
import { codeOf, HostError } from './error.js';
import { aeads } from './esp/load.js';
import { EspDgram, ESP_ROOM } from './esp/dgram.js';
import { droppedAt } from './kernel-drops.js';
import { listing, Machine } from './machine.js';
import { pagesOf, type Page } from './pages.js';
import { Recorder } from './recorder.js';
import { RouteMtus } from './route-mtus.js';
import { SentLately } from './sent-lately.js';
import { TapChannel } from './tap.js';
import { attachedLink, Taps } from './taps.js';
import { TapPoller } from './tap-poller.js';
import { Troubles, type EngineReport } from './troubles.js';
import { espBindError } from './underlay.js';

/** Most bytes of datagrams queued for the socket; further datagrams are dropped and counted. */
const MAX_QUEUE = 8 << 20;
/** Milliseconds between two runs of the machine's timers. */
const TICK = 1000;
/** Most datagrams to keep until the first `attach`: Node's sockets cannot be bound without reading. */
const EARLY = 1024;
/** Most sender addresses to remember. */
const MAX_SENDERS = 4096;

export class DgramEngine implements DataPlane, VtepSink {
  readonly name = 'dgram';
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
  #settings!: Settings;
  #machine!: Machine;
  #captures!: Captures;
  #recorder!: Recorder;
  #events!: PlaneEvents;
  readonly #links = new Taps(0, 1);
  /** The TAPs by port; `null` for ports that are detached. */
  readonly #taps: (TapChannel | null)[] = [];
  /** Settles when the batches so far are in effect. */
  #applied: Promise<unknown> = Promise.resolve();
  readonly #pauses = new Pauses();
  #running = false;
  /** Absent without koffi. */
  #poller: TapPoller | undefined;
  #sockets!: DgramSockets;
  readonly #sent = new SentLately();
  #routes!: RouteMtus;
  #timer: NodeJS.Timeout | undefined;
  /** Present if the port of ESP is open, and settles when it is. */
  #esp: EspDgram | undefined;
  #secured: Promise<void> | undefined;
  readonly #troubles = new Troubles(({ address }) => this.#senderAddresses.has(address));
  /** Sender addresses of datagrams since the last tick; filled only while a remote is in trouble. */
  readonly #received = new Set<string>();
  /** Sender addresses of all datagrams so far. */
  readonly #senderAddresses = new Set<string>();
  /** The frame that is passing through the machine. */
  readonly #frame = new Frame();
  /** Frames and datagrams that it has become. */
  #output = 0;
  #looking = false;
  /** Datagrams that came before the first `attach`, up to `EARLY`; `null` after that. */
  #early: (() => void)[] | null = [];
  /** Datagrams received until the last look for losses. */
  #lookedAt = 0;
  /** Requests to services at gateways, for the next turn of the event loop. */
  #requests: GatewayDatagram[] = [];

  async start(settings: Settings, events: PlaneEvents): Promise<EngineFacts> {
    const { local, port, sourcePorts } = settings;
    this.#settings = settings;
    this.#events = events;
    this.#recorder = new Recorder(
      (records) => this.#captures.take(0, records),
      () => setImmediate(() => this.#recorder.flush()),
    );
    const nameOf = (one: number): string => this.#links.nameOf(one);
    this.#captures = new Captures({ local, workers: 1, nameOf }, (_, message) => this.#recorder.handle(message));
    this.#machine = new Machine(settings);
    this.#routes = new RouteMtus(local, (mtus) => this.#machine.vtep.paths.routes(mtus, performance.now()));
    this.#sockets = new DgramSockets(local, (code) => count(this.#counters.receiveErrors, code));
    const receiver = await this.#sockets.open(port, sourcePorts);
    try {
      const here = { address: local, port };
      const { vtep } = this.#machine;
      const receive = (bytes: Buffer, address: string, from: number): void => {
        this.#note(address);
        if (this.#recorder.active) this.#recorder.datagram('in', { address, port: from }, here, bytes, 0, bytes.length);
        vtep.receiveDatagram(address, this.#frame.set(bytes, 0, bytes.length), performance.now(), 0, this);
      };
      receiver.on('message', (bytes, { address, port: from }) => {
        if (this.#early === null) receive(bytes, address, from);
        else if (this.#early.length < EARLY) this.#early.push(() => receive(bytes, address, from));
        else count(this.#counters.receiveErrors, 'OVERFLOW');
      });
      this.#poller = await TapPoller.create();
    } catch (error) {
      await this.#sockets.close();
      throw error;
    }
    this.#timer = setInterval(() => this.#tick(), TICK);
    this.#running = true;
    return {
      receiveBuffer: receiver.getRecvBufferSize(),
      sourcePorts: this.#sockets.senders.map((socket) => socket.address().port),
      senders: 1,
    };
  }

  /** A datagram has arrived. */
  #note(sender: string): void {
    this.#counters.datagramsReceived++;
    if (this.#troubles.any) this.#received.add(sender);
    if (this.#senderAddresses.size < MAX_SENDERS) this.#senderAddresses.add(sender);
  }

  // ---- Changes ----

  apply(changes: readonly Change[]): Promise<Applied> {
    const applied = this.#applied.then(() => this.#make(changes));
    this.#applied = applied.catch(() => undefined);
    return applied;
  }

  async #make(changes: readonly Change[]): Promise<Applied> {
    const batch = new Batch(changes);
    for (;;) {
      this.#requireRunning();
      const end = performance.now() + SLICE / 1000;
      const done = batch.work(this.#machine, () => performance.now() >= end);
      this.#changed();
      if (done) return { rejected: batch.rejected, unchanged: batch.unchanged };
      const { framesRead, framesWritten } = this.#counters;
      const pause = this.#pauses.after(framesRead + framesWritten, performance.now());
      await new Promise((resolve) => (pause > 0 ? setTimeout(resolve, pause) : setImmediate(resolve)));
    }
  }

  async attach(links: readonly LinkPlan[]): Promise<AttachedLink[]> {
    this.#requireRunning();
    const opened = await this.#links.open(links);
    const attached: AttachedLink[] = [];
    try {
      await this.#applied; // a segment may just be coming
      for (const [i, files] of opened.entries()) {
        this.#requireRunning();
        const { device: _device, path: _path, ...plan } = links[i]!;
        const port = this.#machine.attach(plan);
        try {
          while (this.#taps.length < port) this.#taps.push(null);
          this.#taps[port] = this.#watch(port, files.writer);
        } catch (error) {
          this.#machine.detach(port);
          throw error;
        }
        this.#links.add(port, links[i]!, files);
        attached.push(attachedLink(port, files));
      }
      this.#changed();
      const early = this.#early ?? [];
      this.#early = null;
      for (const receive of early) receive();
      return attached;
    } catch (error) {
      await this.detach(attached.map(({ port }) => port));
      await this.#links.close(opened.slice(attached.length));
      throw error;
    }
  }

  #watch(port: number, fd: number): TapChannel {
    const { vtep } = this.#machine;
    const events = {
      frame: (bytes: Uint8Array, offset: number, end: number) => {
        this.#counters.framesRead++;
        if (this.#recorder.active) this.#recorder.frame(port, 'in', bytes, offset, end);
        this.#output = 0;
        vtep.receiveFrame(port, this.#frame.set(bytes, offset, end), performance.now(), this);
        if (vtep.associations.lacks) this.#esp?.report();
        return this.#output;
      },
      lost: (reason: string) => {
        if (this.#links.has(port)) void this.detach([port]).then(() => this.#events.linkLost(port, reason));
      },
    };
    return new TapChannel(fd, HEADROOM, events, this.#poller);
  }

  async detach(ports: readonly number[]): Promise<void> {
    const closed = ports.map((port) => {
      if (this.#links.take(port) === undefined) return undefined;
      const tap = this.#taps[port];
      this.#taps[port] = null;
      this.#machine.detach(port);
      return tap?.close();
    });
    this.#changed();
    await Promise.all(closed);
  }

  keep(ports: readonly number[], on: boolean): Promise<void> {
    return this.#links.keep(ports, on);
  }

  /** The machine has changed: there may be something to announce. */
  #changed(): void {
    this.#machine.vtep.sendAnnouncements(performance.now(), this);
    this.#esp?.report();
  }

  // ---- Encrypted segments ----

  secure(): Promise<void> {
    this.#requireRunning();
    this.#secured ??= this.#openEsp().catch((error: unknown) => {
      this.#secured = undefined;
      throw error;
    });
    return this.#secured;
  }

  async #openEsp(): Promise<void> {
    const { local, espPort } = this.#settings;
    const bytes = new Uint8Array(ESP_ROOM);
    const aead = (await aeads())(bytes);
    const socket = await this.#sockets.bind(espPort, (error) => espBindError(error, this.#settings));
    this.#esp = new EspDgram({
      ...{ vtep: this.#machine.vtep, socket, aead, bytes, local, port: espPort, sink: this, recorder: this.#recorder },
      received: (address) => this.#note(address),
      events: (events) => {
        if (this.#running) this.#events.keying?.(events);
      },
    });
    this.#esp.report();
  }

  async associate(changes: readonly AssociationChange[]): Promise<void> {
    this.#requireRunning();
    this.#esp!.associate(changes, performance.now());
  }

  sendKeying(messages: readonly KeyingMessage[]): void {
    if (this.#running) this.#esp?.send(messages);
  }

  // ---- The data path ----

  /** Writes a frame to a TAP, synchronously. */
  deliver(port: number, { bytes, start, end }: Frame): void {
    this.#output++;
    if (this.#recorder.active) this.#recorder.frame(port, 'out', bytes, start, end);
    // Frames for a port whose device has just gone.
    const code = this.#taps[port]?.write(bytes, start, end) ?? 'ENXIO';
    if (code === '') this.#counters.framesWritten++;
    else count(this.#counters.writeErrors, code);
  }

  /** Sends a copy of a datagram, since the socket may keep it longer than this call lasts. */
  transmit(remote: Remote, { bytes, start, end }: Frame, sourcePort: number): void {
    const socket = this.#senderOf(sourcePort);
    if (socket === undefined) return; // stopped or starting
    this.#output++;
    if (this.#recorder.active) {
      const { port } = socket.address();
      this.#recorder.datagram('out', { address: this.#settings.local, port }, remote, bytes, start, end);
    }
    const copy = Buffer.allocUnsafe(end - start);
    copy.set(bytes.subarray(start, end));
    this.#send(copy, remote, remote.port, socket);
  }

  /** The socket of a flow. */
  #senderOf(sourcePort: number): Socket | undefined {
    const { senders } = this.#sockets;
    return senders[sourcePort % senders.length];
  }

  /** The same in an ESP packet. */
  transmitSealed(remote: Remote, association: Outbound, frame: Frame, sourcePort: number): void {
    const socket = this.#senderOf(sourcePort);
    if (socket === undefined) return;
    this.#output++;
    const packet = this.#esp!.seal(remote, association, frame, socket.address().port);
    if (packet === null) return this.#unsent(remote, 'EMSGSIZE');
    this.#send(packet, remote, this.#settings.espPort, socket);
  }

  /** @param datagram Belongs to the socket from then on. */
  #send(datagram: Buffer, remote: Remote, port: number, socket: Socket): void {
    const { length } = datagram;
    this.#sent.note(remote, length);
    if (this.#counters.sendQueue + length > MAX_QUEUE) return this.#unsent(remote, 'QUEUE');
    this.#counters.sendQueue += length;
    socket.send(datagram, port, remote.address, (error) => {
      this.#counters.sendQueue -= length;
      if (error === null) this.#counters.datagramsSent++;
      else this.#unsent(remote, codeOf(error) || 'UNKNOWN');
    });
  }

  /** Sends a datagram that the path carries in fragments only. */
  transmitFragmented(remote: Remote, { bytes, start, end }: Frame): void {
    this.#output++;
    this.#sockets.fragmenter?.send(Buffer.from(bytes.subarray(start, end)), remote.port, remote.address, (error) => {
      if (error === null) this.#counters.datagramsSent++;
      else this.#unsent(remote, codeOf(error) || 'UNKNOWN');
    });
  }

  /** Sends a probe of the path MTU, or an answer to one. */
  probe(to: ProbePlace, bytes: Uint8Array): boolean {
    const { prober } = this.#sockets;
    if (prober === undefined) return true;
    if (this.#recorder.active) {
      const { port } = prober.address();
      this.#recorder.datagram('out', { address: this.#settings.local, port }, to, bytes, 0, bytes.length);
    }
    prober.send(bytes, to.port, to.address, (error) => {
      if (error === null) this.#counters.datagramsSent++;
      if (error === null || codeOf(error) !== 'EMSGSIZE' || !this.#running) return;
      const { vtep } = this.#machine;
      const remote = vtep.remote(to.address);
      if (remote !== undefined) vtep.paths.routeChanged(remote, probe.getSize(bytes, 0));
    });
    return true;
  }

  largestTo(remote: Remote): number {
    return this.#sent.largestTo(remote);
  }

  /** Collects the requests of a turn: who answers them may take its time. */
  request(what: GatewayDatagram): void {
    if (this.#requests.push(what) > 1) return;
    setImmediate(() => {
      const requests = this.#requests;
      this.#requests = [];
      if (this.#running) this.#events.requests?.(0, requests);
    });
  }

  #unsent(remote: Remote, code: string): void {
    count(this.#counters.sendErrors, code);
    if (code === 'EMSGSIZE') this.#machine.vtep.paths.routeChanged(remote);
    this.#troubles.failed(remote, code, 1, performance.now());
  }

  #tick(): void {
    const now = performance.now();
    const { vtep } = this.#machine;
    vtep.tick(now, this);
    this.#sent.tick(now);
    const report = (one: EngineReport): void => this.#events.report?.(one);
    this.#troubles.tick(now, ({ address }) => this.#received.has(address), report);
    this.#received.clear();
    for (const remote of vtep.paths.takeNarrowed())
      report({ type: 'narrowed', address: remote.address, mtu: innerMtu(remote) });
    this.#routes.look(vtep.paths.takeRoutesToLook());
    for (const finding of vtep.findings(now)) report({ type: 'noticed', finding });
    this.#lookForLosses();
    this.#esp?.events.age();
    this.#esp?.report();
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
    void droppedAt(this.#settings.local, this.#settings.port).then((lost) => {
      this.#looking = false;
      if (lost > 0) this.#counters.receiveErrors['OVERFLOW'] = lost;
    });
  }

  // ---- Requests ----

  async *list(request: ListRequest): AsyncGenerator<Page> {
    this.#requireRunning();
    yield* pagesOf(listing(this.#machine.vtep, request, performance.now()));
  }

  async explain(request: ExplainRequest): Promise<Explanation> {
    this.#requireRunning();
    const now = performance.now();
    if (request.esp !== undefined && this.#esp !== undefined)
      return this.#esp.explain(Buffer.from(request.esp, 'hex'), request.from!, now);
    return this.#machine.answer(request, now) as Explanation;
  }

  capture(request: CaptureRequest, gone: AbortSignal): AsyncIterable<Page> {
    this.#requireRunning();
    return this.#captures.open(request, gone);
  }

  async refusedSenders(): Promise<RefusedSenderListing[]> {
    this.#requireRunning();
    return this.#machine.refusedSenders();
  }

  async machineCounters(): Promise<Counters> {
    this.#requireRunning();
    return namedCounters(this.#machine.counts());
  }

  async serve(port: number, on: boolean): Promise<void> {
    this.#requireRunning();
    this.#machine.answer({ command: 'serve', port, on }, performance.now());
  }

  answer(_worker: number, answers: readonly GatewayAnswer[]): void {
    if (!this.#running) return;
    const { services } = this.#machine.vtep;
    for (const { id, payload } of answers) services.answer(id, payload, performance.now(), this);
  }

  counters(): EngineCounters {
    return structuredClone(this.#counters);
  }

  async stop(): Promise<void> {
    if (!this.#running) return;
    this.#running = false;
    clearInterval(this.#timer);
    this.#routes.close();
    this.#captures.stop();
    await Promise.all([this.#sockets.close(), ...this.#taps.map((tap) => tap?.close())]);
    this.#poller?.close();
  }

  #requireRunning(): void {
    if (!this.#running) throw new HostError('the engine has ended');
  }
}

function count(counters: Record<string, number>, code: string): void {
  counters[code] = (counters[code] ?? 0) + 1;
}
