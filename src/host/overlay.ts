/** One running VTEP: TAPs, engine and control socket, from a plan to the last counter. */
import { closeSync } from 'node:fs';
import { ownEndpoint, type Plan, type Request } from '../schema/index.js';
import { type Counters } from '../vtep/index.js';
import { serveControl, type Control } from './control.js';
import { createEngine, type Engine, type EngineCounters, type EngineFacts } from './engine.js';
import { HostError } from './error.js';
import { requireNetns } from './ip.js';
import { makeLink, type Link } from './link.js';
import { segmentMtus, tapMtu, type SegmentMtu } from './mtu.js';
import { requireLocal } from './underlay.js';

/** Everything that a running VTEP counts. */
export interface AllCounters {
  vtep: Counters;
  engine: EngineCounters;
}

export interface OverlayEvents {
  /** Something that somebody may want to know, and that is no reason to stop. */
  warn(message: string): void;
  /** It is to stop: asked to over the control socket (`null`), or for want of any TAP. The caller calls `stop`. */
  end(reason: string | null): void;
}

export class Overlay {
  /** The plan with what was found out on the way: MTUs, MAC addresses of the TAPs, their own endpoints. */
  readonly plan: Plan;
  readonly mtus: readonly SegmentMtu[];
  readonly links: readonly Link[];
  readonly engine: Engine;
  readonly facts: EngineFacts;
  readonly #control: Control | undefined;

  private constructor(
    plan: Plan,
    mtus: readonly SegmentMtu[],
    links: readonly Link[],
    engine: Engine,
    facts: EngineFacts,
    control: Control | undefined,
  ) {
    this.plan = plan;
    this.mtus = mtus;
    this.links = links;
    this.engine = engine;
    this.facts = facts;
    this.#control = control;
  }

  /**
   * Brings a VTEP up.
   * @throws HostError; then nothing of it is left.
   */
  static async start(given: Plan, events: OverlayEvents): Promise<Overlay> {
    const plan = structuredClone(given);
    requireLocal(plan.local);
    for (const { netns } of plan.taps) if (netns !== undefined) await requireNetns(netns);
    const engine = createEngine(plan.engine);
    const mtus = await applyMtus(plan, events);
    const links: Link[] = [];
    let started = false;
    try {
      for (const [port, tap] of plan.taps.entries())
        links.push(await makeLink(tap, tapMtu(plan, port), engine.tapFlags));
      links.forEach((link, port) => {
        if (link.mac !== undefined) plan.taps[port]!.mac = link.mac;
      });
      addOwnEndpoints(plan);
      let taps = links.length;
      started = true;
      const facts = await engine.start(
        plan,
        links.map((link) => link.fd),
        {
          tapLost: (port, reason) => {
            events.warn(`TAP ${plan.taps[port]!.name} is lost: ${reason}`);
            if (--taps === 0) events.end('no TAP is left');
          },
        },
      );
      const control =
        plan.control === undefined
          ? undefined
          : await serveControl(plan.control, (request) => meet(request, engine, events));
      return new Overlay(plan, mtus, links, engine, facts, control);
    } catch (error) {
      if (started) await engine.stop();
      else for (const { fd } of links) closeSync(fd);
      throw error;
    }
  }

  counters(): Promise<AllCounters> {
    return allCounters(this.engine);
  }

  /** Closes the control socket, the underlay's sockets and the TAPs, whose devices go with them. */
  async stop(): Promise<void> {
    await this.#control?.close();
    await this.engine.stop();
  }
}

/** Fills in the MTUs that a plan leaves open, and warns of those that do not fit. */
export async function applyMtus(plan: Plan, events: Pick<OverlayEvents, 'warn'>): Promise<SegmentMtu[]> {
  const mtus = await segmentMtus(plan);
  for (const [i, { mtu, warning }] of mtus.entries()) {
    plan.segments[i]!.mtu = mtu;
    if (warning !== undefined) events.warn(warning);
  }
  for (const [port, { name, mtu }] of plan.taps.entries()) {
    const room = tapMtu(plan, port);
    if (mtu !== undefined && mtu > room)
      events.warn(`TAP ${name}: MTU ${mtu} is more than its segment carries, ${room}`);
  }
  return mtus;
}

async function meet(request: Request, engine: Engine, events: OverlayEvents): Promise<unknown> {
  if (request.command === 'stop') {
    setImmediate(() => events.end(null)); // after the answer
    return {};
  }
  return request.command === 'counters' ? allCounters(engine) : engine.ask(request);
}

async function allCounters(engine: Engine): Promise<AllCounters> {
  return { vtep: (await engine.ask({ command: 'counters' })) as Counters, engine: engine.counters() };
}

/** What the TAPs' own addresses say: that these endpoints are here. */
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
