import { type MemberListing } from '../host/index.js';
import { rowsOf, tableLines } from './table.js';

/** A member from this host's agent, or from a remote one, which does not report `since`. */
type Listed = Omit<MemberListing, 'self' | 'since'> & { self?: boolean; since?: string };

/** The table of members. */
export function membersTable(list: readonly Listed[]): Iterable<string> {
  return tableLines(
    ['NAME', 'ADDRESS', 'PORT', 'STATE', 'INCARNATION'],
    rowsOf(list, ({ name, address, port, state, incarnation, since, self }) => [
      name,
      address,
      port,
      self === true
        ? `${state}, this one`
        : since === undefined || state === 'alive'
          ? state
          : `${state} since ${since}`,
      incarnation,
    ]),
  );
}
