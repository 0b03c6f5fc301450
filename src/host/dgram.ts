/**
 * The portable engine, and the reference for other engines: `node:dgram` on the underlay, one read or write per frame
 * on the TAPs, all on the event loop.
 *
 * Node's sockets can neither set nor read the outer TOS, so congestion marks do not pass between outer and inner
 * header: outer headers are sent as Not-ECT, which is RFC 6040's compatibility mode (section 4.1).
 */
import { createSocket, type Socket } from 'node:dgram';
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
import { codeOf, HostError } from './error.js';
import { aeads } from './esp/load.js';
import { EspDgram, ESP_ROOM } from './esp/dgram.js';
import { droppedAt } from './kernel-drops.js';
import { listing, Machine } from './machine.js';
import { pagesOf, type Page } from './pages.js';
import { setFragmenting } from './probe-socket.js';
import { Recorder } from './recorder.js';
import { RouteMtus } from './route-mtus.js';
import { SentLately } from './sent-lately.js';
import { TapChannel } from './tap.js';
import { attachedLink, Taps } from './taps.js';
import { TapPoller } from './tap-poller.js';
import { Troubles, type EngineReport } from './troubles.js';
import { bindError, espBindError, FIRST_SOURCE_PORT } from './underlay.js';

/** Size of receive and send buffers to request, in bytes; `net.core.rmem_max` and `wmem_max` limit it. */
const SOCKET_BUFFER = 4 << 20;
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
  /** The receiving socket, bound to the VTEP's port. */
  #socket: Socket | undefined;
  /** The sending sockets; each flow uses one. The receiving socket itself if the plan has no source ports. */
  #senders: Socket[] = [];
  /** The socket that probes of path MTUs leave by. */
  #prober: Socket | undefined;
  /** The socket for datagrams that may be fragmented. */
  #fragmenter: Socket | undefined;
  readonly #sent = new SentLately();
  #routes!: RouteMtus;
  #timer: NodeJS.Timeout | undefined;
  /** Present if the port of ESP is open, and settles when it is. */
  #esp: EspDgram | undefined;
  #secured: Promise<void> | undefined;
  #waking = false;
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
    try {
      this.#socket = await this.#bind(port);
      const here = { address: local, port };
      const { vtep } = this.#machine;
      const receive = (bytes: Buffer, address: string, from: number): void => {
        this.#counters.datagramsReceived++;
        if (this.#troubles.any) this.#received.add(address);
        if (this.#senderAddresses.size < MAX_SENDERS) this.#senderAddresses.add(address);
        if (this.#recorder.active) this.#recorder.datagram('in', { address, port: from }, here, bytes, 0, bytes.length);
        vtep.receiveDatagram(address, this.#frame.set(bytes, 0, bytes.length), performance.now(), 0, this);
      };
      this.#socket.on('message', (bytes, { address, port: from }) => {
        if (this.#early === null) receive(bytes, address, from);
        else if (this.#early.length < EARLY) this.#early.push(() => receive(bytes, address, from));
        else count(this.#counters.receiveErrors, 'OVERFLOW');
      });
      for (let i = 0; i < sourcePorts; i++) this.#senders.push(await this.#bindSource());
      if (sourcePorts === 0) this.#senders = [this.#socket];
      this.#prober = await this.#bindSource();
      await setFragmenting(this.#prober, local.includes(':'), false);
      this.#fragmenter = await this.#bindSource();
      await setFragmenting(this.#fragmenter, local.includes(':'), true);
      this.#poller = await TapPoller.create();
    } catch (error) {
      await this.#closeSockets();
      throw error;
    }
    this.#timer = setInterval(() => this.#tick(), TICK);
    this.#running = true;
    return {
      receiveBuffer: this.#socket.getRecvBufferSize(),
      sourcePorts: this.#senders.map((socket) => socket.address().port),
      senders: 1,
    };
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
        if (vtep.associations.lacks) this.#reportWanted();
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
    this.#reportWanted();
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
    const socket = await this.#bind(espPort, (error) => espBindError(error, this.#settings));
    const { vtep } = this.#machine;
    const here = { address: local, port: espPort };
    const esp = new EspDgram({
      ...{ vtep, socket, aead, bytes, port: espPort, sink: this },
      wake: () => this.#wakeKeying(),
      record: (address, port, opened, start, end) => {
        if (this.#recorder.records('opened'))
          this.#recorder.datagram(
            'in',
            { address, port },
            { address: local, port: vtep.port },
            opened,
            start,
            end,
            'opened',
          );
      },
    });
    socket.on('message', (datagram, { address, port }) => {
      this.#counters.datagramsReceived++;
      if (this.#troubles.any) this.#received.add(address);
      if (this.#senderAddresses.size < MAX_SENDERS) this.#senderAddresses.add(address);
      if (this.#recorder.records('sealed'))
        this.#recorder.datagram('in', { address, port }, here, datagram, 0, datagram.length, 'sealed');
      esp.receive(datagram, address, port, performance.now());
    });
    this.#esp = esp;
    this.#reportWanted();
  }

  async associate(changes: readonly AssociationChange[]): Promise<void> {
    this.#requireRunning();
    this.#esp!.associate(changes, performance.now());
  }

  sendKeying(messages: readonly KeyingMessage[]): void {
    if (this.#running) this.#esp?.send(messages);
  }

  /** Passes on which associations the machine lacks. */
  #reportWanted(): void {
    if (this.#esp === undefined) return;
    for (const { group, address } of this.#machine.vtep.associations.takeWanted())
      this.#esp.events.wanted(group, address);
    if (!this.#esp.events.isEmpty) this.#wakeKeying();
  }

  /** Passes events on in the next turn of the event loop. */
  #wakeKeying(): void {
    if (this.#waking) return;
    this.#waking = true;
    setImmediate(() => {
      this.#waking = false;
      if (this.#running) this.#events.keying?.(this.#esp!.events.take());
    });
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
    if (this.#senders.length === 0) return; // stopped or starting
    this.#output++;
    if (this.#recorder.active) {
      const { port } = this.#senders[sourcePort % this.#senders.length]!.address();
      this.#recorder.datagram('out', { address: this.#settings.local, port }, remote, bytes, start, end);
    }
    const copy = Buffer.allocUnsafe(end - start);
    copy.set(bytes.subarray(start, end));
    this.#send(copy, remote, remote.port, this.#senders[sourcePort % this.#senders.length]!);
  }

  /** The same in an ESP packet. */
  transmitSealed(remote: Remote, association: Outbound, frame: Frame, sourcePort: number): void {
    if (this.#senders.length === 0) return;
    this.#output++;
    const socket = this.#senders[sourcePort % this.#senders.length]!;
    const from = { address: this.#settings.local, port: socket.address().port };
    if (this.#recorder.records('opened'))
      this.#recorder.datagram('out', from, remote, frame.bytes, frame.start, frame.end, 'opened');
    const packet = this.#esp!.seal(association, frame, from.port, remote.port);
    if (packet === null) return this.#unsent(remote, 'EMSGSIZE');
    const { espPort } = this.#settings;
    if (this.#recorder.records('sealed'))
      this.#recorder.datagram(
        'out',
        from,
        { address: remote.address, port: espPort },
        packet,
        0,
        packet.length,
        'sealed',
      );
    this.#send(packet, remote, espPort, socket);
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
    this.#fragmenter?.send(Buffer.from(bytes.subarray(start, end)), remote.port, remote.address, (error) => {
      if (error === null) this.#counters.datagramsSent++;
      else this.#unsent(remote, codeOf(error) || 'UNKNOWN');
    });
  }

  /** Sends a probe of the path MTU, or an answer to one. */
  probe(to: ProbePlace, bytes: Uint8Array): boolean {
    const prober = this.#prober;
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
    this.#reportWanted();
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
    await Promise.all([this.#closeSockets(), ...this.#taps.map((tap) => tap?.close())]);
    this.#poller?.close();
  }

  async #closeSockets(): Promise<void> {
    const sockets = new Set(
      [...this.#senders, this.#socket, this.#prober, this.#fragmenter, this.#esp?.socket].filter(
        (one) => one !== undefined,
      ),
    );
    this.#senders = [];
    this.#prober = undefined;
    this.#fragmenter = undefined;
    this.#socket = undefined;
    await Promise.all([...sockets].map((socket) => new Promise<void>((resolve) => socket.close(() => resolve()))));
  }

  #requireRunning(): void {
    if (!this.#running) throw new HostError('the engine has ended');
  }

  /** Opens a socket on the VTEP's own address, never on all addresses. */
  #bind(port: number, failed = (error: Error): Error => bindError(error, this.#settings.local, port)): Promise<Socket> {
    const { local } = this.#settings;
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
        reject(failed(error));
      });
      socket.bind({ address: local, port, exclusive: true }, () => {
        socket.removeAllListeners('error');
        socket.on('error', (error) => count(this.#counters.receiveErrors, codeOf(error) || 'UNKNOWN'));
        resolve(socket);
      });
    });
  }

  /** Opens a socket on a free port of the source range, or on any free port if many are in use. */
  async #bindSource(): Promise<Socket> {
    for (let attempt = 0; attempt < 16; attempt++) {
      const port = FIRST_SOURCE_PORT + Math.floor(Math.random() * (65_536 - FIRST_SOURCE_PORT));
      try {
        return await this.#bind(port);
      } catch (error) {
        if (codeOf((error as Error).cause) !== 'EADDRINUSE') throw error;
      }
    }
    return this.#bind(0);
  }
}

function count(counters: Record<string, number>, code: string): void {
  counters[code] = (counters[code] ?? 0) + 1;
}
