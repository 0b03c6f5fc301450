/**
 * The log of a running VTEP: one line per event that may require action, with its time, its level and the name of the
 * event. A logger only creates records; its sink writes them, and must neither block nor throw.
 */
import { performance } from 'node:perf_hooks';
import { printable } from '../wire/index.js';

/** From the most to the least urgent. */
export const LEVELS = ['error', 'warning', 'info', 'debug'] as const;
export type Level = (typeof LEVELS)[number];

/** Details of an event, for programs. Values are JSON. */
export type LogFields = Readonly<Record<string, unknown>>;

export interface LogRecord {
  /** Milliseconds since 1970 UTC. */
  time: number;
  level: Level;
  /** The kind of event, in kebab case: `peer-unreachable`. Scripts and alerts select lines by it. */
  event: string;
  /** One sentence for people. */
  message: string;
  fields: LogFields;
}

/** Limits the rate of a line. */
export interface Limit {
  /** Lines with the same event and key share a limit. Default: one limit for the event. */
  key?: string;
  /** Milliseconds in which the line is written once. Default 60,000. */
  interval?: number;
}

export interface LoggerOptions {
  /** The least urgent level that is written. Default `info`. */
  level?: Level;
  /** A monotonic clock in milliseconds. */
  now?: () => number;
  /** Milliseconds since 1970 UTC. */
  clock?: () => number;
}

const INTERVAL = 60_000;
/** Most limits to remember; the oldest is forgotten first. */
const MAX_KEYS = 1024;
/** Most lines in a burst, and per second after that, over all events. */
const BURST = 200;
const PER_SECOND = 20;

interface Window {
  start: number;
  interval: number;
  suppressed: number;
}

export class Logger {
  readonly #sink: (record: LogRecord) => void;
  readonly #least: number;
  readonly #now: () => number;
  readonly #clock: () => number;
  readonly #windows = new Map<string, Window>();
  /** Of a logger that `tee` made. */
  #parent: Logger | undefined;
  #listener: ((record: LogRecord) => void) | undefined;
  #tokens = BURST;
  #filled: number;
  #suppressed = 0;

  constructor(sink: (record: LogRecord) => void, options: LoggerOptions = {}) {
    this.#sink = sink;
    this.#least = LEVELS.indexOf(options.level ?? 'info');
    this.#now = options.now ?? (() => performance.now());
    this.#clock = options.clock ?? Date.now;
    this.#filled = this.#now();
  }

  /**
   * A logger of the same log.
   * @param listener Receives its records, also those that are less urgent than what the log has, and those that exceed the
   * limit on all lines together.
   */
  tee(listener: (record: LogRecord) => void): Logger {
    const logger = new Logger(() => undefined, { now: this.#now, clock: this.#clock });
    logger.#parent = this;
    logger.#listener = listener;
    return logger;
  }

  /** Reports that something does not work, and will not without intervention. */
  error(event: string, message: string, fields?: LogFields, limit?: Limit): void {
    this.log('error', event, message, fields, limit);
  }

  /** Reports a problem; everything else works. */
  warning(event: string, message: string, fields?: LogFields, limit?: Limit): void {
    this.log('warning', event, message, fields, limit);
  }

  /** Reports a change: for example, that the cause of a warning is gone. */
  info(event: string, message: string, fields?: LogFields, limit?: Limit): void {
    this.log('info', event, message, fields, limit);
  }

  debug(event: string, message: string, fields?: LogFields, limit?: Limit): void {
    this.log('debug', event, message, fields, limit);
  }

  /**
   * @param limit Absent: the line is written each time, subject to the limit on all lines together. Given: the line is
   * written once per interval; the next one has the number of suppressed lines in `suppressed`.
   */
  log(level: Level, event: string, message: string, fields: LogFields = {}, limit?: Limit): void {
    if (this.#listener === undefined && !this.#isUrgent(level)) return;
    const now = this.#now();
    let suppressed = 0;
    if (limit !== undefined) {
      const before = this.#enter(`${event} ${limit.key ?? ''}`, limit.interval ?? INTERVAL, now);
      if (before < 0) return;
      suppressed = before;
    }
    const text = suppressed > 0 ? `${message} (and ${suppressed} more like it since the last line)` : message;
    const all = suppressed > 0 ? { ...fields, suppressed } : fields;
    this.#listener?.({ time: this.#clock(), level, event, message: text, fields: all });
    this.#writeLimited(level, event, text, all, now);
  }

  #isUrgent(level: Level): boolean {
    return LEVELS.indexOf(level) <= this.#least;
  }

  /** Writes a line, unless there are too many. */
  #writeLimited(level: Level, event: string, message: string, fields: LogFields, now: number): void {
    if (this.#parent !== undefined) return this.#parent.#writeLimited(level, event, message, fields, now);
    if (!this.#isUrgent(level)) return;
    if (!this.#take(now)) {
      this.#suppressed++;
      return;
    }
    if (this.#suppressed > 0) {
      const count = this.#suppressed;
      this.#suppressed = 0;
      this.#write('warning', 'log-limited', `${count} log lines were dropped: too many in a short time`, { count });
    }
    this.#write(level, event, message, fields);
  }

  /** Returns the number of lines suppressed since the last one, or -1 if this one is suppressed as well. */
  #enter(key: string, interval: number, now: number): number {
    const window = this.#windows.get(key);
    if (window !== undefined && now - window.start < window.interval) {
      window.suppressed++;
      return -1;
    }
    this.#windows.delete(key); // moves the entry to the end of the map's order
    if (this.#windows.size >= MAX_KEYS) this.#windows.delete(this.#windows.keys().next().value as string);
    this.#windows.set(key, { start: now, interval, suppressed: 0 });
    return window?.suppressed ?? 0;
  }

  #take(now: number): boolean {
    this.#tokens = Math.min(BURST, this.#tokens + ((now - this.#filled) * PER_SECOND) / 1000);
    this.#filled = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }

  #write(level: Level, event: string, message: string, fields: LogFields): void {
    this.#sink({ time: this.#clock(), level, event, message, fields });
  }
}

/**
 * Formats a record for people, as one line that a terminal shows as it is (`printable`):
 * `2026-11-26T13:46:28.123Z warning: TAP eth0 is lost`.
 */
export function textLine({ time, level, message }: LogRecord): string {
  return printable(`${rfc3339(time)} ${level}: ${message.replace(/\s*\n\s*/g, '; ')}`);
}

/** Formats a record as one JSON object, on one line that a terminal shows as it is. */
export function jsonLine({ time, level, event, message, fields }: LogRecord): string {
  return printable(JSON.stringify({ time: rfc3339(time), level, event, message, ...fields }));
}

/** syslog's priorities; systemd reads a line's level from such a prefix (sd-daemon(3)). */
const PRIORITY: Readonly<Record<Level, number>> = { error: 3, warning: 4, info: 6, debug: 7 };

/** The prefix that gives systemd's journal the level of a line. */
export function journalPrefix(level: Level): string {
  return `<${PRIORITY[level]}>`;
}

/** Formats a time as RFC 3339 in UTC, with milliseconds. */
export function rfc3339(time: number): string {
  return new Date(time).toISOString();
}
