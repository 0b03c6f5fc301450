/** Most keys of a group that a host has at a time. Associations under any of them are accepted; new ones use the newest. */
export const MAX_GROUP_KEYS = 3;
