/** One running VTEP: creates TAPs, engine and control socket from a plan, and removes them when it stops. */
import { ownEndpoint, type Plan, type Request, type TapPlan } from '../schema/index.js';
import { type Counters, type Explanation } from '../vtep/index.js';
import { serveControl, type Control, type Handler } from './control.js';
import { inPlace } from './device.js';
import { chooseEngine, type Engine, type EngineCounters, type EngineFacts } from './engine.js';
import { about, HostError } from './error.js';
import { isChange, isGossipRequest, OverlayGossip, type GossipCounters, type GossipEvent } from './overlay-gossip.js';
import { requireKeys } from './gossip-keys.js';
import { Health } from './health.js';
import { forgetUnresolved, keepNeighbors, keepTaps } from './kept.js';
import { lossesOf, type LossReason } from './losses.js';
import { type Logger } from './log.js';
import { watchRefusedSenders, warnOfSilence } from './refused-senders.js';
import { makeLinks, type Link } from './link.js';
import { segmentMtus, tapMtu, type SegmentMtu } from './mtu.js';
import { requireNetns } from './netns.js';
import { NetnsWatch } from './netns-watch.js';
import { requireSocketDirectory } from './socket-path.js';
import { TapDrops } from './tap-drops.js';
import { closeTap } from './tun.js';
import { requireLocal } from './underlay.js';

/** All counters of a running VTEP. */
export interface AllCounters {
  vtep: Counters;
  engine: EngineCounters;
  /** Losses of the engine, after the machine let a frame or datagram pass. */
  losses?: Record<LossReason, number>;
  /** For an agent. */
  gossip?: GossipCounters;
}

export interface OverlayEvents {
  /** Receives problems that do not stop the VTEP. */
  log: Logger;
  /** The VTEP must stop: a client requested it (`null`), or the last TAP is lost. The caller calls `stop`. */
  end(reason: string | null): void;
  /** Receives events of the gossip. */
  report?(event: GossipEvent): void;
}

export class Overlay {
  /** The completed plan: with MTUs, the TAPs' MAC addresses, and the TAPs' own endpoints. */
  readonly plan: Plan;
  readonly mtus: readonly SegmentMtu[];
  readonly links: readonly Link[];
  readonly engine: Engine;
  readonly facts: EngineFacts;
  /** For an agent. */
  readonly gossip: OverlayGossip | undefined;
  readonly #drops: TapDrops;
  readonly #health: Health;
  readonly #control: Control | undefined;
  readonly #handle: Handler;
  /** Functions that end the periodic checks of the engine. */
  readonly #ends: (() => void)[] = [];

  private constructor(
    plan: Plan,
    mtus: readonly SegmentMtu[],
    links: readonly Link[],
    engine: Engine,
    facts: EngineFacts,
    gossip: OverlayGossip | undefined,
    drops: TapDrops,
    health: Health,
    control: Control | undefined,
    handle: Handler,
  ) {
    this.plan = plan;
    this.mtus = mtus;
    this.links = links;
    this.engine = engine;
    this.facts = facts;
    this.gossip = gossip;
    this.#drops = drops;
    this.#health = health;
    this.#control = control;
    this.#handle = handle;
    const watch = new NetnsWatch(
      plan.taps.flatMap(({ netns }, port) =>
        netns === undefined || !links[port]!.adopted ? [] : [{ netns, device: links[port]!.device }],
      ),
    );
    this.#ends.push(() => watch.stop());
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
    for (const [i, { netns }] of plan.taps.entries())
      if (netns !== undefined) await about(`taps[${i}].netns`, () => requireNetns(netns));
    const { engine, note } = await chooseEngine(plan);
    const mtus = await applyMtus(plan, events.log);
    let links: Link[] = [];
    const health = new Health(plan.local, events.log);
    let started = false;
    let gossip: OverlayGossip | undefined;
    try {
      links = await makeLinks(plan, engine.tapFlags);
      links.forEach((link, port) => {
        if (link.mac !== undefined) plan.taps[port]!.mac = link.mac;
        warnOfOverlaps(plan.taps[port]!, link, events.log);
      });
      addOwnEndpoints(plan);
      let taps = links.length;
      const neighbors = plan.keepTaps ? neighborsKept(plan, links) : undefined;
      started = true;
      const facts = await engine.start(plan, links, {
        tapLost: (port, reason) => {
          const { name } = plan.taps[port]!;
          events.log.warning('tap-lost', `TAP ${name} is lost: ${reason}`, { tap: name, reason });
          if (--taps === 0) events.end('no TAP is left');
        },
        failed: (reason) => events.end(reason),
        report: (report) => health.report(report),
      });
      if (note !== undefined) events.log.warning('engine', note, { engine: engine.name });
      if (plan.gossip !== undefined) gossip = await OverlayGossip.start(plan, engine, events);
      const drops = tapDrops(plan, links);
      const serves: Handler = (request, gone) => handle(request, gone, engine, gossip, drops, health, events);
      const control =
        plan.control === undefined ? undefined : await about('control', () => serveControl(plan.control!, serves));
      // Only now: if the start fails, no TAP that it created remains.
      if (plan.keepTaps) await keepTaps(ownTaps(plan, links), true);
      await neighbors;
      warnOfSilence(plan, events.log);
      const overlay = new Overlay(plan, mtus, links, engine, facts, gossip, drops, health, control, serves);
      overlay.#ends.push(watchRefusedSenders(plan, engine, events.log));
      return overlay;
    } catch (error) {
      health.close();
      gossip?.close();
      if (started) await engine.stop();
      else links.forEach(closeTap);
      throw error;
    }
  }

  counters(): Promise<AllCounters> {
    return allCounters(this.engine, this.gossip, this.#drops);
  }

  /** Resolves if the engine answers. @throws HostError if it has ended. */
  async alive(): Promise<void> {
    await this.engine.machineCounters();
  }

  /**
   * Adds or removes a peer or an endpoint, like a request over the control socket.
   * @throws SchemaError, RangeError or HostError with what is wrong with the request.
   */
  change(request: Request): Promise<unknown> {
    return this.#handle(request, new AbortController().signal);
  }

  /**
   * Leaves the gossip; closes the control socket, the underlay's sockets and the TAPs, which removes the devices.
   * @param failed Whether it stops because of a failure: kept TAPs then stay for the next process.
   */
  async stop(failed = false): Promise<void> {
    // First, so that no device remains if a second signal ends the process at once.
    if (this.plan.keepTaps && !failed) await keepTaps(ownTaps(this.plan, this.links), false);
    this.#health.close();
    for (const end of this.#ends) end();
    await Promise.all([this.#control?.close(), this.gossip?.leave()]);
    await this.engine.stop();
  }
}

/** The TAPs that this process created or adopted, not those passed as file descriptors. */
function ownTaps(plan: Plan, links: readonly Link[]): Link[] {
  return links.filter((_, port) => plan.taps[port]!.fd === undefined);
}

/** Lets containers keep their neighbors while no process reads their TAPs. Without this, a restart takes longer. */
async function neighborsKept(plan: Plan, links: readonly Link[]): Promise<void> {
  const kept = links.map(({ device }, port) => ({ device, netns: plan.taps[port]!.netns }));
  const own = kept.filter((_, port) => plan.taps[port]!.fd === undefined);
  await Promise.allSettled([
    keepNeighbors(own),
    ...kept.map(({ device, netns }, port) => (links[port]!.adopted ? forgetUnresolved(device, netns) : undefined)),
  ]);
}

function tapDrops(plan: Plan, links: readonly Link[]): TapDrops {
  return new TapDrops(
    links.map(({ device, dropped }, port) => {
      const { netns } = plan.taps[port]!;
      return { device, before: dropped, ...(netns === undefined ? {} : { netns }) };
    }),
  );
}

/** Logs a warning for each interface that has addresses of a TAP's subnet. */
function warnOfOverlaps({ name, netns }: TapPlan, { overlaps }: Link, log: Logger): void {
  for (const { subnet, device, other } of overlaps)
    log.warning(
      'subnet-overlap',
      `TAP ${inPlace(name, netns)} has subnet ${subnet}, and interface "${device}" in the same namespace has ${other}: ` +
        'the kernel sends packets for addresses of both subnets to one of the two interfaces; ' +
        `use another subnet, or put the TAP in a namespace without it (--netns)`,
      { tap: name, netns: netns ?? null, subnet, device, other },
    );
}

/** Sets the MTUs that the plan leaves open, and logs a warning for those that do not fit the underlay. */
export async function applyMtus(plan: Plan, log: Logger): Promise<SegmentMtu[]> {
  const mtus = await segmentMtus(plan);
  for (const [i, { mtu, warning }] of mtus.entries()) {
    plan.segments[i]!.mtu = mtu;
    if (warning !== undefined) log.warning('mtu', warning, { vni: plan.segments[i]!.vni, mtu });
  }
  for (const [port, { name, mtu }] of plan.taps.entries()) {
    const room = tapMtu(plan, port);
    if (mtu !== undefined && mtu > room)
      log.warning('mtu', `TAP ${name}: MTU ${mtu} is larger than its segment carries (${room})`, {
        tap: name,
        mtu,
        room,
      });
  }
  return mtus;
}

async function handle(
  request: Request,
  gone: AbortSignal,
  engine: Engine,
  gossip: OverlayGossip | undefined,
  drops: TapDrops,
  health: Health,
  events: OverlayEvents,
): Promise<unknown> {
  if (request.command === 'stop') {
    setImmediate(() => events.end(null)); // after the reply has been sent
    return {};
  }
  if (isGossipRequest(request)) {
    if (gossip === undefined) throw new HostError('this VTEP has no gossip; start it with "vtep agent"');
    return gossip.answer(request);
  }
  switch (request.command) {
    case 'counters':
      return allCounters(engine, gossip, drops);
    case 'fdb':
    case 'neighbors':
    case 'peers':
    case 'remotes':
      return engine.list(request);
    case 'capture':
      return engine.capture(request, gone);
    case 'explain':
      return health.explain((await engine.ask(request)) as Explanation);
  }
  return gossip !== undefined && isChange(request) ? gossip.change(request) : engine.ask(request);
}

async function allCounters(engine: Engine, gossip: OverlayGossip | undefined, drops: TapDrops): Promise<AllCounters> {
  const tapDrops = await drops.count(); // first, so that the others are of one moment
  const vtep = await engine.machineCounters();
  const counters = { ...engine.counters(), tapDrops };
  return {
    vtep,
    engine: counters,
    losses: lossesOf(counters),
    ...(gossip === undefined ? {} : { gossip: gossip.counters() }),
  };
}

/** Adds an endpoint of this host for each TAP with an address. */
function addOwnEndpoints(plan: Plan): void {
  for (const tap of plan.taps) {
    const own = ownEndpoint(tap);
    const segment = plan.segments.find((candidate) => candidate.vni === (tap.vni ?? tap.native));
    if (own === undefined || segment === undefined) continue;
    const known = segment.endpoints.find((endpoint) => endpoint.ip === own.ip);
    if (known === undefined) segment.endpoints.push(own);
    else if (known.mac !== own.mac)
      throw new HostError(
        `segment ${segment.vni}: endpoint ${own.ip} is configured with ${known.mac}, but TAP ${tap.name} with that address has ${own.mac}; give the TAP that MAC address, or leave the endpoint out`,
      );
  }
}
