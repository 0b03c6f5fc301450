/** Notifies the service manager that started a running VTEP, if there is one. */
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

  /** Reports that the VTEP forwards frames, and sends keep-alives from then on. */
  static async start(overlay: Overlay): Promise<Service> {
    return new Service(await ServiceManager.find(), overlay);
  }

  /** Reports that a configuration is in effect. */
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

  /**
   * Sends a keep-alive if the engine answers. If its threads hang it does not, and the manager restarts the service.
   */
  async #alive(): Promise<void> {
    await this.#overlay.alive().then(
      () => this.#manager?.alive(),
      () => undefined,
    );
  }
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`;
}
