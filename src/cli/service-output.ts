/**
 * What `vtep up` and `vtep agent` print. Standard output carries what scripts wait for (`ready`, `joined`, `stopped`);
 * standard error carries the log, one line a record, with its time and level. Neither can stop or delay forwarding.
 */
import { fstatSync } from 'node:fs';
import { journalPrefix, jsonLine, LEVELS, Logger, Output, rfc3339, textLine, type Level } from '../host/index.js';
import { UsageError, type Parsed } from './flags.js';

/** Milliseconds that a slow reader gets at the end. */
const FAREWELL = 500;

export class ServiceOutput {
  readonly log: Logger;
  readonly #json: boolean;
  readonly #out: Output;
  readonly #err: Output;

  /** @throws UsageError where `--log-level` names no level. */
  constructor(flags: Parsed) {
    this.#json = flags.on('json') === true;
    const line = this.#json ? jsonLine : textLine;
    const journal = inJournal();
    // A file that has reached `ulimit -f` gives an error instead of the end of the process.
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

  /** Prints an event on standard output: as a JSON object with `--json`, else as `lines`. */
  say(event: string, fields: object, lines: readonly string[]): void {
    this.#out.write(
      this.#json ? JSON.stringify({ event, time: rfc3339(Date.now()), level: 'info', ...fields }) : lines.join('\n'),
    );
  }

  /** Prints the reason for which the program ends. */
  fail(reason: string): void {
    if (this.#json) this.log.error('failed', reason);
    else this.#err.write(`vtep: ${reason}`);
  }

  /** Gives slow readers a moment; then ends the process, since what they never read would keep it. Returns `code`. */
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

/** Whether standard error is a stream of the journal of systemd (systemd.exec(5), JOURNAL_STREAM). */
function inJournal(): boolean {
  try {
    const { dev, ino } = fstatSync(2);
    return process.env['JOURNAL_STREAM'] === `${dev}:${ino}`;
  } catch {
    return false;
  }
}
