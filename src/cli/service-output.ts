/**
 * The output of `vtep up` and `vtep agent`. Standard output has the events that scripts wait for (`ready`, `joined`,
 * `stopped`); standard error has the log, one line per record. Neither can stop or delay forwarding.
 */
import { fstatSync } from 'node:fs';
import {
  journalPrefix,
  jsonLine,
  LEVELS,
  Logger,
  Output,
  rfc3339,
  textLine,
  type Level,
  type LogRecord,
} from '../host/index.js';
import { withFlags } from './flag-names.js';
import { UsageError, type Parsed } from './flags.js';

/** Milliseconds to wait for a slow reader at the end. */
const FAREWELL = 500;

export class ServiceOutput {
  readonly log: Logger;
  readonly #json: boolean;
  readonly #out: Output;
  readonly #err: Output;

  /** @throws UsageError if the level of `--log-level` is unknown. */
  constructor(flags: Parsed) {
    this.#json = flags.on('json') === true;
    const format = this.#json ? jsonLine : textLine;
    const line = (record: LogRecord): string => format({ ...record, message: withFlags(record.message) });
    const journal = inJournal();
    // With this handler, a file that has reached `ulimit -f` causes an error instead of ending the process.
    process.on('SIGXFSZ', () => undefined);
    this.#out = new Output(1);
    this.#err = new Output(2, (count, code) =>
      line({
        time: Date.now(),
        level: 'warning',
        event: 'log-lost',
        message: `${count} log lines were lost: they could not be written (${code})`,
        fields: { count, code },
      }),
    );
    this.log = new Logger((record) => this.#err.write(`${journal ? journalPrefix(record.level) : ''}${line(record)}`), {
      level: levelOf(flags.value('log-level')),
    });
  }

  /** Prints an event on standard output: with `--json` as a JSON object, else as `lines`. */
  event(name: string, fields: object, lines: readonly string[]): void {
    this.#out.write(
      this.#json ? JSON.stringify({ event: name, time: rfc3339(Date.now()), level: 'info', ...fields }) : lines,
    );
  }

  /** Prints the reason why the program ends. */
  fail(reason: string): void {
    if (this.#json) this.log.error('failed', reason);
    else this.#err.write(`vtep: ${withFlags(reason)}`);
  }

  /** Waits briefly for slow readers, then ends the process: unread output would keep it alive. Returns `code`. */
  async close(code: number): Promise<number> {
    await Promise.all([this.#out.drain(FAREWELL), this.#err.drain(FAREWELL)]);
    if (this.#out.waits || this.#err.waits) process.exit(code);
    return code;
  }
}

function levelOf(text = 'info'): Level {
  const level = LEVELS.find((one) => one === text || (one === 'warning' && text === 'warn'));
  if (level === undefined) throw new UsageError(`--log-level: expected ${LEVELS.join(', ')}, got "${text}"`);
  return level;
}

/** Whether standard error is connected to systemd's journal (systemd.exec(5), JOURNAL_STREAM). */
function inJournal(): boolean {
  try {
    const { dev, ino } = fstatSync(2);
    return process.env['JOURNAL_STREAM'] === `${dev}:${ino}`;
  } catch {
    return false;
  }
}
