/** Handles signals to `vtep up` and `vtep agent`. */
import { type Logger, type Overlay } from '../host/index.js';

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

/**
 * Keeps the process alive on signals that would otherwise end it, from its start on. SIGHUP comes from `kill -HUP`, and
 * from a terminal or an ssh session that closes.
 */
export class Hangup {
  #overlay: Overlay | undefined;

  /** @param canReload Whether there is a file to read again. */
  constructor(log: Logger, canReload: boolean) {
    process.on('SIGHUP', () => {
      if (!canReload)
        log.info('signal', 'SIGHUP is ignored: there is no --config FILE to read again', { signal: 'SIGHUP' });
      else if (this.#overlay === undefined) log.info('signal', 'SIGHUP is ignored: the VTEP is starting');
      else void this.#overlay.reload().catch(() => undefined); // it is in the log
    });
    // By default, Node starts its debugger on SIGUSR1, and ends on SIGUSR2.
    for (const signal of ['SIGUSR1', 'SIGUSR2'] as const)
      process.on(signal, () => log.info('signal', `${signal} is ignored`, { signal }));
  }

  /** Call when the VTEP runs: SIGHUP reloads its configuration from now on. */
  attach(overlay: Overlay): void {
    this.#overlay = overlay;
  }
}
