/** Names of networks, tables and keys. */
import { unprintable } from '../../wire/index.js';
import { MAX_NAME } from './types.js';

/**
 * Why no network, table or key may have a name, in words that follow it; `undefined` for a valid name. Names contain no
 * slash, because peers store an entry under the path of its names, and nothing that terminals and logs obey or hide.
 */
export function nameProblem(name: string): string | undefined {
  if (name === '') return 'is empty';
  if (name.length > MAX_NAME) return `has more than ${MAX_NAME} characters`;
  return name.includes('/') ? 'has a slash' : unprintable(name);
}

/** @throws RangeError for an invalid name. */
export function checkName(field: string, name: string): void {
  const problem = nameProblem(name);
  if (problem !== undefined)
    throw new RangeError(
      `${field} must have 1 to ${MAX_NAME} printable characters and no slash, and "${name.slice(0, 40)}" ${problem}`,
    );
}
