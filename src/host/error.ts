import { type ErrorCode, type ErrorField } from '../schema/index.js';

/** Something on this host prevents the operation. The message says what, where, and how to fix it. */
export class HostError extends Error {
  /** Path of the configuration value that the error is about: `taps[0].netns`; empty if it is about none. */
  path: string | undefined;
  /** The message in lines. Texts of other hosts and programs never begin one of their own. */
  readonly lines: readonly string[];

  /** @param message One line, or several. */
  constructor(message: string | readonly string[], options?: ErrorOptions & { path?: string }) {
    const lines = typeof message === 'string' ? [message] : message;
    super(lines.join('\n'), options);
    this.name = 'HostError';
    this.lines = lines;
    this.path = options?.path;
  }
}

/**
 * Why a request to a running VTEP fails, with a code that programs rely on: one of the API, or, of a client, `unreachable`
 * if no VTEP listens, and `timeout` if it does not answer in time.
 */
export class RequestError extends HostError {
  readonly code: ErrorCode | 'unreachable' | 'timeout';
  /** The fields of the request that are wrong. */
  readonly fields: readonly ErrorField[];
  /** Seconds after which the VTEP asks the client to come again. */
  readonly retryAfter: number | undefined;

  constructor(
    code: RequestError['code'],
    message: string | readonly string[],
    options?: ErrorOptions & { path?: string; fields?: readonly ErrorField[]; retryAfter?: number | undefined },
  ) {
    super(message, options);
    this.name = 'RequestError';
    this.code = code;
    this.fields = options?.fields ?? [];
    this.retryAfter = options?.retryAfter;
  }
}

/** A request to a node of a cluster reached a VTEP that is none. */
export class NoNodeError extends RequestError {
  constructor() {
    super(
      'no-node',
      'this VTEP is no node of a cluster; start one with "vtep init", "vtep join" or "vtep agent", which need another socket',
    );
  }
}

/**
 * Runs a step that depends on one value of the configuration, and sets the path of a HostError that has none.
 * @param path The value's path.
 */
export async function about<T>(path: string, step: () => T | Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    if (error instanceof HostError) error.path ??= path;
    throw error;
  }
}

/** Returns the system's code of an error (`EACCES`), or an empty string. */
export function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : '';
}

/** Whether an operation failed because this process or the system has no more files, memory or processes. */
export function isResourceError(error: unknown): boolean {
  return (
    ['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN'].includes(codeOf(error)) ||
    /EMFILE|too many open files|cannot allocate memory/i.test((error as Error | null)?.message ?? '')
  );
}
