/** The results of `Fdb.lookup` and `Fdb.learn`. */

/** No destination is known. */
export const NONE = -1;

/** `learn`: the entry existed and has been refreshed. */
export const REFRESHED = 0;
/** `learn`: a new entry. */
export const LEARNED = 1;
/** `learn`: the address moved here from another destination. */
export const MOVED = 2;
/** `learn`: a static entry names the same destination. */
export const CONFIRMED = 3;
/** `learn`: a static entry names another destination, and stays. */
export const CONTRADICTED = 4;
/** `learn`: not learned, because the table holds `capacity` learned entries. */
export const FULL = 5;
/** `learn`: not learned, because `perDestination` entries are learned behind this destination. */
export const QUOTA = 6;

/** `learn`: not learned, because no station has a group address or all zeros. */
export const INVALID = 7;
