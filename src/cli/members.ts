import { type MemberListing } from '../host/index.js';
import { table } from './table.js';

/** A member that was asked for at this host, or at another one, which does not say since when. */
type Listed = Omit<MemberListing, 'self' | 'since'> & { self?: boolean; since?: string };

/** The table of members. */
export function membersTable(list: readonly Listed[]): string {
  return table(
    ['NAME', 'ADDRESS', 'PORT', 'STATE', 'INCARNATION'],
    list.map(({ name, address, port, state, incarnation, since, self }) => [
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
