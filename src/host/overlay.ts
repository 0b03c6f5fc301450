/** One running VTEP: a data plane with segments and TAPs, a control socket, and the gossip of an agent. */
import {
  isNodeRequest,
  listed,
  planTap,
  type NewNetwork,
  type NodeRequest,
  type Plan,
  type Reloaded,
  type Request,
  type Segment,
  type Tap,
  type TapPlan,
} from '../schema/index.js';
import { serveControl, type Control } from './control.js';
import { settingsOf, type AttachedLink, type DataPlane, type EngineFacts } from './data-plane.js';
import { inPlace } from './device.js';
import { chooseEngine } from './engine.js';
import { about, HostError, NoNodeError, RequestError } from './error.js';
import { GatewayServices, type GatewayHandler } from './gateway-service.js';
import { isGossipRequest, OverlayGossip } from './overlay-gossip.js';
import { OverlayKeys } from './overlay-keys.js';
import { OverlayNetworks, type AddedNetwork, type RemovedNetwork } from './overlay-networks.js';
import { nameOf, OverlayTaps, type OverlayTap } from './overlay-taps.js';
import { type AllCounters, type AttachedTap, type AttachHow, type OverlayEvents } from './overlay-types.js';
import { requireKeys } from './gossip-keys.js';
import { type EncryptionListing } from './esp/key-agreement.js';
import { type GroupKeyring } from './group-keys.js';
import { Health } from './health.js';
import { Intent, type Changed } from './intent.js';
import { lossesOf } from './losses.js';
import { watchRefusedSenders, warnOfSilence } from './refused-senders.js';
import { applyMtus, warnOfMtu, type SegmentMtu } from './mtu.js';
import { requireNetns } from './netns.js';
import { Notices } from './notices.js';
import { eventsOf } from './pages.js';
import {
  answerPart,
  isPartRequest,
  segmentListing,
  tapListing,
  type SegmentListing,
  type TapListing,
} from './parts.js';
import { addOwnEndpoints, endpointsOf, type OwnEndpoint } from './plan-changes.js';
import { logReload, merge, reload, type PlannedTap } from './reload.js';
import { withoutNetwork } from './reload-networks.js';
import { configure } from './reload-tables.js';
import { type TableRequest } from './requests.js';
import { requireSocketDirectory } from './socket-path.js';
import { Turns } from './turns.js';
import { requireLocal } from './underlay.js';

export class Overlay {
  /**
   * The completed plan: with MTUs, the TAPs' MAC addresses, and the TAPs' own endpoints. Its segments, networks and TAPs
   * are those that the VTEP has now.
   */
  readonly plan: Plan;
  /** The configuration that is in effect. */
  #configured: Plan;
  /** The MTUs of the plan's segments, in their order. */
  readonly mtus: SegmentMtu[];
  readonly engine: DataPlane;
  #facts!: EngineFacts;
  #gossip: OverlayGossip | undefined;
  readonly #events: OverlayEvents;
  readonly #notices: Notices;
  readonly #taps: OverlayTaps;
  #intent!: Intent;
  #keys!: OverlayKeys;
  #networks!: OverlayNetworks;
  readonly #services: GatewayServices;
  readonly #health: Health;
  #control: Control | undefined;
  /** What attaches, adds and removes runs one after the other. */
  readonly #turns = new Turns();
  /** Whether it ends when the last TAP is lost. */
  #endsWithTaps: boolean;
  #stopping = false;
  /** Functions that end the periodic checks of the engine. */
  readonly #ends: (() => void)[] = [];

  private constructor(given: Plan, plan: Plan, mtus: SegmentMtu[], engine: DataPlane, events: OverlayEvents) {
    this.plan = plan;
    this.#configured = given;
    this.mtus = mtus;
    this.engine = engine;
    this.#notices = new Notices(events.notice);
    this.#events = { ...events, log: events.log.tee((record) => this.#notices.logged(record)) };
    this.#health = new Health(plan.local, this.#events.log, (port) => this.#taps.at(port)?.tap);
    this.#services = new GatewayServices(engine, this.#events.log);
    this.#endsWithTaps = plan.taps.length > 0 && plan.gossip === undefined;
    this.#taps = new OverlayTaps(plan, engine, this.#events.log, {
      notices: this.#notices,
      lost: (tap, reason) => this.#lost(tap, reason),
    });
  }

  /**
   * Starts a VTEP.
   * @throws HostError; nothing of the VTEP remains then.
   */
  static async start(given: Plan, events: OverlayEvents): Promise<Overlay> {
    const plan = structuredClone(given);
    await about('local', () => requireLocal(plan.local));
    if (plan.control !== undefined) await about('control', () => requireSocketDirectory(plan.control!));
    // The gossip reads them again, and warns of files that other users can read.
    await requireKeys(plan, () => undefined);
    const keys = new OverlayKeys(plan, events.log);
    for (const [i, { netns }] of plan.taps.entries())
      if (netns !== undefined) await about(`taps[${i}].netns`, () => requireNetns(netns));
    const { engine, note } = await chooseEngine(plan);
    const mtus = await applyMtus(plan, events.log);
    const overlay = new Overlay(given, plan, mtus, engine, events);
    overlay.#keys = keys;
    try {
      await overlay.#start(note);
      return overlay;
    } catch (error) {
      await overlay.#abandon();
      throw error;
    }
  }

  async #start(note: string | undefined): Promise<void> {
    const { plan, engine } = this;
    const { log } = this.#events;
    const owns = addOwnEndpoints(plan);
    this.#facts = await engine.start(settingsOf(plan), {
      linkLost: (port, reason) => this.#taps.lost(port, reason),
      failed: (reason) => this.#events.end(reason),
      report: (report) => this.#health.report(report),
      requests: (worker, requests) => this.#services.take(worker, requests),
      keying: (events) => this.#keys.take(events),
    });
    this.#keys.start(engine, this.#facts);
    if (note !== undefined) log.warning('engine', note, { engine: engine.name });
    this.#intent = new Intent(plan, (changes) => this.#keys.apply(engine, changes), this.#notices);
    await this.#intent.start();
    this.#networks = new OverlayNetworks({
      ...{ plan, mtus: this.mtus, intent: this.#intent, gossip: () => this.#gossip, log, notices: this.#notices },
      keys: this.#keys,
    });
    this.#networks.announce();
    const taps = plan.taps.map((tap, i) => ({ tap, own: owns[i]!, path: `taps[${i}]` }));
    const { settled } = await this.#taps.attach(taps);
    if (plan.gossip !== undefined)
      this.#gossip = await OverlayGossip.start(plan, this.#intent, this.#events, this.#notices);
    if (plan.control !== undefined)
      this.#control = await about('control', () =>
        serveControl(plan.control!, (request, gone) => this.answer(request, gone)),
      );
    // Only now: if the start fails, no TAP that it created remains.
    if (plan.keepTaps) await this.#taps.keep(true);
    await settled;
    warnOfSilence(plan, log);
    this.#ends.push(watchRefusedSenders(plan, engine, log));
  }

  async #abandon(): Promise<void> {
    this.#health.close();
    this.#keys.close();
    this.#taps.stop();
    this.#gossip?.close();
    await this.engine.stop();
  }

  get facts(): EngineFacts {
    return this.#facts;
  }

  /** By the addresses of other hosts, how frames to and from them are encrypted. */
  encryption(): ReadonlyMap<string, readonly EncryptionListing[]> {
    return this.#keys.encryption();
  }

  /** The keys of its encrypted segments. */
  get groupKeys(): GroupKeyring {
    return this.#keys.ring;
  }

  /** For an agent. */
  get gossip(): OverlayGossip | undefined {
    return this.#gossip;
  }

  /** The links of the plan's TAPs, in their order. */
  get links(): readonly AttachedLink[] {
    return this.#taps.links;
  }

  async counters(): Promise<AllCounters> {
    const tapDrops = await this.#taps.drops.count(); // first, so that the others are of one moment
    const vtep = await this.engine.machineCounters();
    const engine = { ...this.engine.counters(), tapDrops };
    const gossip = this.#gossip === undefined ? {} : { gossip: this.#gossip.counters() };
    return { vtep, engine, losses: lossesOf(engine), ...gossip };
  }

  /** Resolves if the engine answers. @throws HostError if it has ended. */
  async alive(): Promise<void> {
    await this.engine.machineCounters();
  }

  /** The TAPs that are attached now. */
  tapListings(): TapListing[] {
    return this.plan.taps.map((tap, i) => tapListing(this.plan, tap, this.links[i]!));
  }

  /** The segments that the VTEP has now. */
  segmentListings(): SegmentListing[] {
    return this.plan.segments.map((segment) => segmentListing(this.plan, segment, this.groupKeys));
  }

  // ---- Changes ----

  /**
   * Adds or removes a peer or an endpoint of the configuration.
   * @throws SchemaError or HostError with what is wrong with the request.
   */
  change(request: TableRequest): Promise<Changed> {
    return this.#change(request, 'configuration');
  }

  #change(request: TableRequest, source: 'configuration' | 'api'): Promise<Changed> {
    return (this.#gossip ?? this.#intent).change(request, source);
  }

  /**
   * Attaches a TAP while the VTEP runs, as `start` attaches those of the configuration: creates it in its namespace with
   * its addresses, announces it, and adds its endpoints. If this fails, nothing of it remains.
   * @throws SchemaError with the fields that are wrong; HostError with the `path` of the field that cannot be applied.
   */
  attach(value: Tap, how: AttachHow = {}): Promise<AttachedTap> {
    return this.#turns.run(async () => {
      this.#requireRunning();
      const tap = planTap(value, this.#intent.planWithPeers());
      const brought = await about('mac', () => endpointsOf(this.plan, tap));
      // One that somebody added before stays when the TAP is detached.
      const own = brought.filter((one) => !this.#intent.wants(one.vni, one));
      const [added] = await this.#attach([{ tap, own, path: '', ...how }], 'api');
      return { ...tap, device: added!.link.device };
    });
  }

  /** Attaches TAPs with their endpoints, all or none. */
  async #attach(taps: readonly PlannedTap[], source: 'configuration' | 'api'): Promise<OverlayTap[]> {
    const claimed: OwnEndpoint[] = [];
    try {
      for (const { tap, own } of taps) {
        warnOfMtu(this.plan, tap, this.#events.log);
        // First: another host may have the address, and must not hear that it is here.
        for (const one of own) {
          await this.#claim(one, source);
          claimed.push(one);
        }
      }
      const { added, settled } = await this.#taps.attach(taps);
      const kept = added.filter(({ tap }) => this.plan.keepTaps && tap.fd === undefined).map(({ link }) => link.port);
      if (kept.length > 0) await this.engine.keep(kept, true);
      await settled;
      if (taps.length > 0) this.#endsWithTaps = false;
      return added;
    } catch (error) {
      await this.#withdraw(claimed);
      throw error;
    }
  }

  /**
   * Detaches a TAP, withdraws its endpoints, and removes its device unless another program opened it. The last TAP may be
   * detached: the VTEP goes on.
   * @param netns As in the configuration.
   * @throws HostError if there is no such TAP.
   */
  detach(name: string, netns?: string): Promise<TapPlan> {
    return this.#turns.run(async () => {
      this.#requireRunning();
      const one = this.#taps.find(name, netns);
      if (one === undefined) {
        const others = this.plan.taps.map((tap) => inPlace(tap.name, tap.netns));
        const there = others.length === 0 ? 'this VTEP has no TAP' : `this VTEP has ${listed(others)}`;
        throw new RequestError('not-found', `there is no TAP ${inPlace(name, netns)}; ${there}`, { path: 'name' });
      }
      await this.#detach(one);
      return one.tap;
    });
  }

  async #detach(one: OverlayTap): Promise<void> {
    this.#endsWithTaps = false;
    await this.#withdraw(one.own);
    await this.#taps.detach(one);
  }

  /**
   * Adds a segment with its peers and endpoints. If this fails, nothing of it remains.
   * @throws SchemaError with the fields that are wrong; HostError if there is no route to a peer.
   */
  addSegment(value: Segment): Promise<SegmentMtu> {
    return this.#inTurn(() => this.#networks.addSegment(value));
  }

  /**
   * Removes a segment with its peers and endpoints.
   * @throws HostError if there is none, if a TAP is attached to it, or if it belongs to a network.
   */
  removeSegment(vni: number): Promise<void> {
    return this.#inTurn(() => this.#networks.removeSegment(vni));
  }

  /**
   * Adds a network: the segments of its subnets and the router between them. An agent announces the endpoints of this
   * host there, and takes those of other hosts. If this fails, nothing of it remains.
   * @param group The key group of its segments, whose keys are in `groupKeys`; with a key file, it is the network.
   * @throws SchemaError with the fields that are wrong; HostError with the `path` of what the VTEP or its host does not
   * allow.
   */
  addNetwork(value: NewNetwork, group?: string): Promise<AddedNetwork> {
    return this.#inTurn(() => this.#networks.add(value, group));
  }

  /**
   * Removes a network with its segments, peers, and endpoints of other hosts, also one of the configuration. An agent
   * leaves it.
   * @throws RequestError if there is none, or if TAPs or endpoints of this host are in it.
   */
  removeNetwork(name: string): Promise<RemovedNetwork> {
    return this.#inTurn(async () => {
      const removed = await this.#networks.remove(name);
      // It is new if the configuration still has it when it is read again.
      this.#configured = withoutNetwork(this.#configured, name);
      return removed;
    });
  }

  /**
   * Serves a UDP port at the addresses of all gateways, for the stations of this host.
   * @returns a function that ends the service.
   * @throws RangeError for a number that is no port; HostError if the port is served already.
   */
  async serveGateway(port: number, handle: GatewayHandler): Promise<() => Promise<void>> {
    this.#requireRunning();
    return this.#services.serve(port, handle);
  }

  #inTurn<T>(step: () => Promise<T>): Promise<T> {
    return this.#turns.run(() => {
      this.#requireRunning();
      return step();
    });
  }

  /**
   * Reads the configuration again, and applies what can change while the VTEP runs; see reload.ts. It logs the outcome.
   * @throws RequestError with the fields that are wrong; the configuration stays as it was then.
   */
  reload(): Promise<Reloaded> {
    return this.#turns.run(async () => {
      this.#requireRunning();
      const { log, reread, reloading } = this.#events;
      if (reread === undefined)
        throw new RequestError('no-configuration', 'there is no configuration file to read again');
      reloading?.(true);
      try {
        return await logReload(log, this.#events.file, async () => {
          const next = structuredClone(await reread());
          const done = await this.#keys.reloading(next, () => this.#apply(next));
          this.#notices.tell('reloaded', done);
          return done;
        });
      } finally {
        reloading?.(false);
      }
    });
  }

  async #apply(next: Plan): Promise<Reloaded> {
    const done = await reload(this.#configured, next, {
      plan: this.plan,
      addSegment: async (segment, path) =>
        void (await this.#networks.addPlannedSegment(structuredClone(segment), path, 'configuration')),
      removeSegment: (vni) => this.#networks.removePlannedSegment(vni),
      addNetwork: (network) => this.#networks.addPlanned(network, [], '', 'configuration'),
      removeNetwork: (id) => this.#networks.removePlanned(id, []),
      leaveNetwork: (id) => this.#networks.leave(id),
      isOfApi: (vni) => this.#intent.isOfApi(vni),
      leaveSegment: (vni) => this.#intent.leaveSegment(vni),
      attach: async (taps) => void (await this.#attach(taps, 'configuration')),
      detach: ({ name, netns }) => this.#detach(this.#taps.find(name, netns)!),
      configure: (entries) =>
        configure(entries, this.#intent, this.#gossip && ((request) => this.#change(request, 'configuration'))),
    });
    this.#configured = merge(this.#configured, this.plan, next);
    for (const segment of this.plan.segments) {
      const { peers, endpoints } = next.segments.find(({ vni }) => vni === segment.vni) ?? { peers: [], endpoints: [] };
      Object.assign(segment, { peers: [...peers], endpoints: [...endpoints] });
    }
    for (const one of this.#taps.all) {
      if (next.taps.some(({ name, netns }) => name === one.tap.name && netns === one.tap.netns))
        one.own = endpointsOf(next, one.tap);
      for (const own of one.own) this.#list(own);
    }
    return done;
  }

  #lost({ tap, own }: OverlayTap, reason: string): void {
    const { name } = tap;
    this.#events.log.warning('tap-lost', `TAP ${name} is lost: ${reason}`, { ...nameOf(tap), reason });
    void this.#withdraw(own);
    if (this.#taps.size === 0 && this.#endsWithTaps) this.#events.end('no TAP is left');
  }

  /** Adds an endpoint of a TAP. @throws RequestError if another endpoint holds one of its addresses. */
  async #claim(own: OwnEndpoint, source: 'configuration' | 'api'): Promise<void> {
    const { held } = await this.#change({ command: 'add-endpoint', ...own }, source);
    // What holds the address of a configuration may be an entry that the same configuration removes.
    if (held !== undefined && source === 'api') {
      await this.#withdraw([own]);
      throw new RequestError('conflict', held);
    }
    this.#list(own);
  }

  /** Adds an endpoint of a TAP to the plan. */
  #list({ vni, ...endpoint }: OwnEndpoint): void {
    this.plan.segments.find((segment) => segment.vni === vni)?.endpoints.push(endpoint);
  }

  /** Withdraws endpoints of TAPs. */
  async #withdraw(all: readonly OwnEndpoint[]): Promise<void> {
    for (const own of all) {
      if (this.#stopping) return;
      const segment = this.plan.segments.find(({ vni }) => vni === own.vni);
      if (segment !== undefined)
        segment.endpoints = segment.endpoints.filter(
          ({ ip, mac, vtep }) => ip !== own.ip || mac !== own.mac || vtep !== undefined,
        );
      // It fails if the gossip announces the same address now, or if the data plane has ended.
      await this.#change({ command: 'remove-endpoint', ...own }, 'api').catch(() => undefined);
    }
  }

  #requireRunning(): void {
    if (this.#stopping) throw new HostError('the VTEP is stopping');
  }

  // ---- Requests ----

  /**
   * Answers a request, as the control socket does.
   * @param gone Ends a stream.
   * @throws SchemaError, HostError
   */
  async answer(request: Request | NodeRequest, gone: AbortSignal): Promise<unknown> {
    const [gossip, engine] = [this.#gossip, this.engine];
    if (isNodeRequest(request)) throw new NoNodeError();
    if (request.command === 'stop') {
      setImmediate(() => this.#events.end(null)); // after the reply has been sent
      return {};
    }
    if (isGossipRequest(request)) {
      if (gossip === undefined) throw new RequestError('no-gossip', 'this VTEP has no gossip: it is no agent');
      return gossip.answer(request);
    }
    if (isPartRequest(request)) return answerPart(request, this);
    if (request.command === 'networks') return this.#networks.list();
    switch (request.command) {
      case 'counters':
        return this.counters();
      case 'fdb':
        return engine.list(request);
      case 'remotes':
        return this.#keys.remotes(engine.list(request));
      case 'association-keys':
        return this.#keys.secrets();
      case 'neighbors':
      case 'peers':
        return this.#intent.list(request, engine.list(request));
      case 'capture':
        return eventsOf('packet', engine.capture(request, gone));
      case 'events':
        return eventsOf('notice', this.#notices.follow(request, gone));
      case 'explain':
        return this.#health.explain(await engine.explain(request));
    }
    return this.#change(request, 'api');
  }

  /**
   * Leaves the gossip; closes the control socket, the underlay's sockets and the TAPs, which removes the devices.
   * @param failed Whether it stops because of a failure: kept TAPs then stay for the next process.
   */
  async stop(failed = false): Promise<void> {
    this.#stopping = true;
    this.#notices.tell('stopping', { failed });
    // First, so that no device remains if a second signal ends the process at once.
    if (this.plan.keepTaps && !failed) await this.#taps.keep(false);
    await this.#turns.run(() => undefined); // an attachment under way
    if (this.plan.keepTaps && !failed) await this.#taps.keep(false);
    this.#health.close();
    this.#taps.stop();
    for (const end of this.#ends) end();
    this.#keys.close();
    this.#notices.close();
    await Promise.all([this.#control?.close(), this.#gossip?.leave()]);
    await this.engine.stop();
  }
}
