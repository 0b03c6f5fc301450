/** The TAPs of a running VTEP: attaches and detaches them, with everything that belongs to them. */
import { type Plan, type TapPlan } from '../schema/index.js';
import { type AttachedLink, type DataPlane } from './data-plane.js';
import { inPlace } from './device.js';
import { forgetUnresolved, keepNeighbors } from './kept.js';
import { type Logger } from './log.js';
import { vnisOf } from './machine.js';
import { NetnsWatch } from './netns-watch.js';
import { type Notices } from './notices.js';
import { linkOf, segmentsOf, type OwnEndpoint } from './plan-changes.js';
import { type PlannedTap } from './reload.js';
import { TapDrops } from './tap-drops.js';

/** A TAP that is attached. */
export interface OverlayTap {
  readonly tap: TapPlan;
  readonly link: AttachedLink;
  /** The endpoints that were added for it, and are withdrawn with it. */
  own: readonly OwnEndpoint[];
}

export interface OverlayTapsEvents {
  readonly notices: Notices;
  /** Receives a TAP whose device has gone; it is detached. */
  lost(tap: OverlayTap, reason: string): void;
}

export class OverlayTaps {
  readonly drops = new TapDrops();
  readonly #plan: Plan;
  readonly #plane: DataPlane;
  readonly #log: Logger;
  readonly #watch = new NetnsWatch();
  readonly #taps: OverlayTap[] = [];
  /** Ports that were lost before `attach` had added them, each with the reason. */
  readonly #lostEarly = new Map<number, string>();
  readonly #events: OverlayTapsEvents;

  /** @param plan Its `taps` become those that are attached. */
  constructor(plan: Plan, plane: DataPlane, log: Logger, events: OverlayTapsEvents) {
    this.#plan = plan;
    this.#plane = plane;
    this.#log = log;
    this.#events = events;
  }

  get size(): number {
    return this.#taps.length;
  }

  /** In the order of the plan's TAPs. */
  get links(): AttachedLink[] {
    return this.#taps.map(({ link }) => link);
  }

  get all(): readonly OverlayTap[] {
    return this.#taps;
  }

  find(name: string, netns: string | undefined): OverlayTap | undefined {
    return this.#taps.find(({ tap }) => tap.name === name && tap.netns === netns);
  }

  /** The TAP of a port. */
  at(port: number): OverlayTap | undefined {
    return this.#taps.find(({ link }) => link.port === port);
  }

  /**
   * Attaches TAPs, all or none.
   * @throws HostError with the field.
   */
  async attach(taps: readonly PlannedTap[]): Promise<{ added: OverlayTap[]; settled: Promise<void> }> {
    const links = await this.#plane.attach(taps.map(({ tap, path }) => linkOf(this.#plan, tap, path)));
    const added = links.map((link, i) => ({ tap: taps[i]!.tap, own: taps[i]!.own, link }));
    for (const one of added) this.#add(one);
    this.#plan.taps = this.#taps.map(({ tap }) => tap);
    for (const { link } of added) {
      const reason = this.#lostEarly.get(link.port);
      if (reason !== undefined) this.lost(link.port, reason);
    }
    this.#lostEarly.clear();
    const kept = added.filter((_, i) => taps[i]!.keepsNeighbors !== true);
    return { added, settled: this.#plan.keepTaps ? settle(added, kept) : Promise.resolve() };
  }

  #add(one: OverlayTap): void {
    const { tap, link } = one;
    const { port, device, dropped, adopted } = link;
    const { netns } = tap;
    this.#taps.push(one);
    this.drops.add(port, { device, before: dropped, ...(netns === undefined ? {} : { netns }) });
    if (netns !== undefined && adopted) this.#watch.add(port, device, netns);
    this.#warnOfOverlaps(one);
    this.#events.notices.tell('tap-attached', { ...nameOf(tap), device });
  }

  /** Detaches a TAP, and removes its device unless another program opened it. */
  async detach(one: OverlayTap): Promise<void> {
    const { port } = one.link;
    this.#remove(one);
    if (this.#plan.keepTaps) await this.#plane.keep([port], false);
    await this.#plane.detach([port]);
    this.#events.notices.tell('tap-detached', nameOf(one.tap));
  }

  /** The data plane has lost the device of a port, and detached it. */
  lost(port: number, reason: string): void {
    const one = this.at(port);
    if (one === undefined) {
      this.#lostEarly.set(port, reason);
      return;
    }
    this.#remove(one);
    this.#events.lost(one, reason);
  }

  #remove(one: OverlayTap): void {
    this.#taps.splice(this.#taps.indexOf(one), 1);
    this.#plan.taps = this.#taps.map(({ tap }) => tap);
    this.drops.remove(one.link.port);
    this.#watch.remove(one.link.port);
  }

  /** Makes the TAPs outlive the process, or not. */
  keep(on: boolean): Promise<void> {
    return this.#plane.keep(
      this.#taps.map(({ link }) => link.port),
      on,
    );
  }

  stop(): void {
    this.#watch.stop();
  }

  /** Logs a warning for each interface that has addresses of a TAP's subnet. */
  #warnOfOverlaps({ tap: { name, netns }, link }: OverlayTap): void {
    for (const { subnet, device, other } of link.overlaps)
      this.#log.warning(
        'subnet-overlap',
        `TAP ${inPlace(name, netns)} has subnet ${subnet}, and interface "${device}" in the same namespace has ${other}: ` +
          'the kernel sends packets for addresses of both subnets to one of the two interfaces; ' +
          `use another subnet, or put the TAP in a namespace without it (\`netns\`)`,
        { tap: name, netns: netns ?? null, subnet, device, other },
      );
  }
}

/** What names a TAP in an event. */
export function nameOf(tap: TapPlan): { tap: string; netns: string | null; vnis: number[] } {
  return { tap: tap.name, netns: tap.netns ?? null, vnis: vnisOf(segmentsOf(tap)) };
}

/**
 * Lets containers keep their neighbors while no process reads their TAPs. Without this, a restart takes longer.
 * @param unkept Those whose namespaces do not see to it.
 */
async function settle(taps: readonly OverlayTap[], unkept: readonly OverlayTap[]): Promise<void> {
  const own = unkept.filter(({ tap }) => tap.fd === undefined);
  await Promise.allSettled([
    keepNeighbors(own.map(({ tap, link }) => ({ device: link.device, netns: tap.netns }))),
    ...taps.map(({ tap, link }) => (link.adopted ? forgetUnresolved(link.device, tap.netns) : undefined)),
  ]);
}
