import { type MemberListing } from '../host/index.js';
import { table } from './table.js';

/** Members as people read them. */
export function membersTable(list: readonly (Omit<MemberListing, 'self'> & { self?: boolean })[]): string {
  return table(
    ['NAME', 'ADDRESS', 'PORT', 'STATE', 'INCARNATION'],
    list.map(({ name, address, port, state, incarnation, self }) => [
      name,
      address,
      port,
      self === true ? `${state}, this one` : state,
      incarnation,
    ]),
  );
}
