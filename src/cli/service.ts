/** Notifies the service manager that started a running VTEP or the daemon of a node, if there is one. */
import { ServiceManager, type Overlay } from '../host/index.js';

/** What runs. */
export interface Served {
  /** What the service manager shows. */
  status(): string;
  /** Resolves if it answers. @throws HostError if it has ended. */
  alive(): Promise<void>;
}

export class Service {
  readonly #manager: ServiceManager | undefined;
  readonly #served: Served;
  readonly #watchdog: NodeJS.Timeout | undefined;

  private constructor(manager: ServiceManager | undefined, served: Served) {
    this.#manager = manager;
    this.#served = served;
    this.#watchdog = manager?.watchdog ? setInterval(() => void this.#alive(), manager.watchdog) : undefined;
    this.#watchdog?.unref();
    this.ready();
  }

  /** Reports that it does its work, and sends keep-alives from then on. */
  static async start(served: Served): Promise<Service> {
    return new Service(await ServiceManager.find(), served);
  }

  /** Reports that a configuration is in effect. */
  ready(): void {
    this.#manager?.ready(this.#served.status());
  }

  reloading(): void {
    this.#manager?.reloading();
  }

  stopping(): void {
    clearInterval(this.#watchdog);
    this.#manager?.stopping();
  }

  /**
   * Sends a keep-alive if the engine answers. If its threads hang it does not, and the manager restarts the service.
   */
  async #alive(): Promise<void> {
    await this.#served.alive().then(
      () => this.#manager?.alive(),
      () => undefined,
    );
  }
}

/** A VTEP as a service. */
export function servedBy(overlay: Overlay): Served {
  const { plan, engine } = overlay;
  return {
    status: () =>
      `${plan.local}:${plan.port}, engine ${engine.name}, ${count(plan.segments.length, 'segment')}, ${count(plan.taps.length, 'TAP')}`,
    alive: () => overlay.alive(),
  };
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}
