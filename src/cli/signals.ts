/** Handles signals to `vtep up` and `vtep agent`. */
import { compare, HostError, merge, type Logger, type Overlay } from '../host/index.js';
import { SchemaError, type Plan } from '../schema/index.js';
import { UsageError } from './flags.js';
import { withoutSecrets } from './hide-keys.js';
import { type Service } from './service.js';

/** Waits for the first reason to stop; a second signal ends the process at once. */
export class Stopping {
  readonly ended: Promise<string | null>;
  #resolve!: (reason: string | null) => void;
  #begun = false;

  constructor() {
    this.ended = new Promise((resolve) => (this.#resolve = resolve));
    for (const [signal, number] of [
      ['SIGINT', 2],
      ['SIGTERM', 15],
    ] as const)
      process.on(signal, () => {
        if (this.#begun) process.exit(128 + number);
        this.end(null);
      });
  }

  end(reason: string | null): void {
    this.#begun = true;
    this.#resolve(reason);
  }
}

/** Reads the configuration again; absent if it comes from flags alone. */
export type Reread = (() => Plan | Promise<Plan>) | undefined;

/**
 * Keeps the process alive on signals that would otherwise end it, from its start on. SIGHUP comes from `kill -HUP`, and
 * from a terminal or an ssh session that closes.
 */
export class Hangup {
  readonly #log: Logger;
  readonly #reread: Reread;
  #running: Plan;
  #overlay: Overlay | undefined;
  #service: Service | undefined;
  #busy = Promise.resolve();

  /** @param plan The configuration at the start. */
  constructor(log: Logger, plan: Plan, reread: Reread) {
    this.#log = log;
    this.#running = plan;
    this.#reread = reread;
    process.on('SIGHUP', () => {
      if (this.#overlay === undefined) log.info('signal', 'SIGHUP is ignored: the VTEP is starting');
      else if (reread === undefined)
        log.info('signal', 'SIGHUP is ignored: there is no --config FILE to read again', { signal: 'SIGHUP' });
      else this.#busy = this.#busy.then(() => this.#tellAndReload());
    });
    // By default, Node starts its debugger on SIGUSR1, and ends on SIGUSR2.
    for (const signal of ['SIGUSR1', 'SIGUSR2'] as const)
      process.on(signal, () => log.info('signal', `${signal} is ignored`, { signal }));
  }

  /** Call when the VTEP runs: SIGHUP reloads its configuration from now on. */
  attach(overlay: Overlay, service: Service): void {
    this.#overlay = overlay;
    this.#service = service;
  }

  async #tellAndReload(): Promise<void> {
    this.#service?.reloading();
    await this.#reload();
    this.#service?.ready();
  }

  /** Never fails: if the configuration cannot be read or applied, it logs that, and the VTEP continues. */
  async #reload(): Promise<void> {
    const log = this.#log;
    let next: Plan;
    try {
      next = await this.#reread!();
    } catch (error) {
      const known = error instanceof UsageError || error instanceof SchemaError || error instanceof HostError;
      const { message, stack } = error as Error;
      log.error(
        'reload',
        `SIGHUP: the configuration stays as it was: ${withoutSecrets(message, [])}`,
        known ? {} : { stack },
      );
      return;
    }
    const { requests, restart } = compare(this.#running, next);
    const applied: typeof requests = [];
    for (const request of requests)
      try {
        await this.#overlay!.change(request);
        applied.push(request);
      } catch (error) {
        log.error('reload', `SIGHUP: ${request.command} failed: ${(error as Error).message}`, { request });
      }
    if (applied.length === requests.length) this.#running = merge(this.#running, next);
    const changes = applied.length === 1 ? '1 change was applied' : `${applied.length} changes were applied`;
    log.info(
      'reload',
      `SIGHUP: the configuration was read again, and ${requests.length === 0 ? 'no peer or endpoint changed' : changes}`,
      {
        applied: applied.map(({ command, ...rest }) => ({ command, ...rest })),
      },
    );
    if (restart.length > 0)
      log.warning('reload', `SIGHUP: these changes take effect only after a restart: ${restart.join(', ')}`, {
        restart,
      });
  }
}
