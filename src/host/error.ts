/** Something on this host prevents the operation. The message says what, where, and how to fix it. */
export class HostError extends Error {
  /** The value of the configuration that the error is about, by its path: `taps[0].netns`. Empty: about none. */
  path: string | undefined;

  constructor(message: string, options?: ErrorOptions & { path?: string }) {
    super(message, options);
    this.name = 'HostError';
    this.path = options?.path;
  }
}

/**
 * Runs a step that one value of the configuration decides: a HostError that names no value is about this one.
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
