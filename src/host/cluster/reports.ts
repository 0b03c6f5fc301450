/** What a node reports to its managers. Each report is sent until a manager takes it, or refuses it. */
import { type Command } from '../../cluster/index.js';
import { ClusterError } from './error.js';

export type Report = Extract<Command, { do: 'report-task' | 'report-keys' }>;

/** Milliseconds after which a report that no manager has taken is sent again. */
const RESEND = 1000;
/** Codes of errors after which it is unknown whether a manager has taken a report. */
const UNKNOWN = ['unreachable', 'timeout', 'lost', 'unavailable'];

export class Reports {
  readonly #command: (report: Report) => Promise<unknown>;
  /** By what they are about; a newer one replaces the one before. */
  readonly #waiting = new Map<string, Report>();
  #sending = false;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  /** @param command Sends a report to a manager. @throws ClusterError */
  constructor(command: (report: Report) => Promise<unknown>) {
    this.#command = command;
  }

  /** Reports something. */
  add(about: string, report: Report): void {
    this.#waiting.set(about, report);
    this.send();
  }

  /** Sends what waits now, such as when there is a manager again. */
  send(): void {
    void this.#send();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  /** Sends the reports one after the other. */
  async #send(): Promise<void> {
    if (this.#sending || this.#closed) return;
    this.#sending = true;
    clearTimeout(this.#timer);
    try {
      for (const [about, report] of this.#waiting) {
        if (this.#closed) return;
        try {
          await this.#command(report);
        } catch (error) {
          if (!(error instanceof ClusterError)) throw error;
          // A manager that refuses it has no such task or key any more.
          if (UNKNOWN.includes(error.code)) {
            this.#timer = setTimeout(() => this.send(), RESEND);
            this.#timer.unref();
            return;
          }
        }
        if (this.#waiting.get(about) === report) this.#waiting.delete(about);
      }
    } finally {
      this.#sending = false;
    }
    if (this.#waiting.size > 0) this.send();
  }
}
