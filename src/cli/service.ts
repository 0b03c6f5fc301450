/** What a running VTEP tells the service manager that started it, if one did. */
import { ServiceManager, type Overlay } from '../host/index.js';

export class Service {
  readonly #manager: ServiceManager | undefined;
  readonly #overlay: Overlay;
  readonly #watchdog: NodeJS.Timeout | undefined;

  private constructor(manager: ServiceManager | undefined, overlay: Overlay) {
    this.#manager = manager;
    this.#overlay = overlay;
    this.#watchdog = manager?.watchdog ? setInterval(() => void this.#alive(), manager.watchdog) : undefined;
    this.#watchdog?.unref();
    this.ready();
  }

  /** Reports that frames flow, and gives signs of life from then on. */
  static async start(overlay: Overlay): Promise<Service> {
    return new Service(await ServiceManager.find(), overlay);
  }

  /** A configuration is in effect. */
  ready(): void {
    const { plan, engine } = this.#overlay;
    this.#manager?.ready(
      `${plan.local}:${plan.port}, engine ${engine.name}, ${count(plan.segments.length, 'segment')}, ${count(plan.taps.length, 'TAP')}`,
    );
  }

  reloading(): void {
    this.#manager?.reloading();
  }

  stopping(): void {
    clearInterval(this.#watchdog);
    this.#manager?.stopping();
  }

  /** An engine whose threads hang does not answer, so that the manager starts the service again. */
  async #alive(): Promise<void> {
    await this.#overlay.counters().then(
      () => this.#manager?.alive(),
      () => undefined,
    );
  }
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}
