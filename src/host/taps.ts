/** The TAPs of an engine that moves frames itself: opens them with its flags, and closes them. */
import { type AttachedLink, type LinkPlan } from './data-plane.js';
import { keepTaps } from './kept.js';
import { makeLinks, type Link } from './link.js';
import { closeTap } from './tun.js';

/** Number of detached ports whose names are remembered, for captures that still have packets of them. */
const REMEMBERED = 1024;

/** An attached TAP. */
export interface AttachedTap {
  readonly port: number;
  readonly plan: LinkPlan;
  readonly files: Link;
}

export class Taps {
  readonly #flags: number;
  readonly #queues: number;
  readonly #attached = new Map<number, AttachedTap>();
  readonly #former = new Map<number, string>();

  /**
   * @param flags Flags for the TAPs, in addition to `IFF_TAP | IFF_NO_PI`.
   * @param queues Number of queues of each.
   */
  constructor(flags: number, queues: number) {
    this.#flags = flags;
    this.#queues = queues;
  }

  /**
   * Opens the TAPs of links, or none. The caller adds them when they have ports, or closes them.
   * @throws HostError with the field.
   */
  open(links: readonly LinkPlan[]): Promise<Link[]> {
    const attached = [...this.#attached.values()].map(({ plan }) => plan);
    return makeLinks(links, { flags: this.#flags, queues: this.#queues, attached });
  }

  add(port: number, plan: LinkPlan, files: Link): void {
    this.#attached.set(port, { port, plan, files });
  }

  has(port: number): boolean {
    return this.#attached.has(port);
  }

  /** Removes a TAP, which the caller then closes; `undefined` if there is none (any more). */
  take(port: number): AttachedTap | undefined {
    const tap = this.#attached.get(port);
    if (tap === undefined) return undefined;
    this.#attached.delete(port);
    this.#former.set(port, tap.plan.name);
    if (this.#former.size > REMEMBERED) this.#former.delete(this.#former.keys().next().value!);
    return tap;
  }

  /** The name of a port, attached or detached. */
  nameOf(port: number): string {
    return this.#attached.get(port)?.plan.name ?? this.#former.get(port) ?? `port ${port}`;
  }

  /** Makes TAPs outlive the process, or not; not those that were passed as file descriptors. */
  async keep(ports: readonly number[], on: boolean): Promise<void> {
    const own = ports.flatMap((port) => this.#attached.get(port) ?? []).filter(({ plan }) => !('fd' in plan.device));
    await keepTaps(
      own.map(({ files }) => files),
      on,
    );
  }

  /** Closes TAPs, without blocking this thread. */
  async close(taps: readonly Link[]): Promise<void> {
    await Promise.all(taps.map(closeTap));
  }

  /** Closes all attached TAPs. */
  async closeAll(): Promise<void> {
    const all = [...this.#attached.values()];
    this.#attached.clear();
    await this.close(all.map(({ files }) => files));
  }
}

/** What a data plane tells about an open link. */
export function attachedLink(port: number, { device, mac, adopted, dropped, overlaps }: Link): AttachedLink {
  return { port, device, adopted, dropped, overlaps, ...(mac === undefined ? {} : { mac }) };
}
