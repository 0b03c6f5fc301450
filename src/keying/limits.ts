/** Most keys of a group that a host has at a time. Associations under any of them are accepted; new ones use the newest. */
export const MAX_GROUP_KEYS = 3;

/** Times in milliseconds. */
export const TIMES = {
  /** From the first request to the second; the pause doubles each time. */
  retry: 200,
  /** The longest pause, and the pause after `patience`, when the other host probably is not there. */
  slowest: 5000,
  rare: 30_000,
  patience: 60_000,
  /** After this, a request that is not answered is given up until a frame needs it. */
  giveUp: 3_600_000,
  /**
   * From one association to the next. It bounds what one key encrypts: 2^32 packets at a million a second, a small part of what
   * AES-GCM allows with 64-bit sequence numbers.
   */
  life: 3_600_000,
  /** After this, an association under an older key is replaced, because the other host may have the newest by now. */
  older: 10_000,
  /** How long packets of a replaced association are still accepted, and how long a removed key is still in use. */
  grace: 30_000,
  /** How long an association that is not used yet gives way to no other. */
  confirm: 5000,
  /** From one hint of a host that is believed to the next. */
  hint: 1000,
} as const;

/**
 * Most associations of a host in one group that it has not used yet. They are more than the old requests that an attacker is likely to
 * have recorded: the same request, repeated, makes no second one.
 */
export const MAX_UNCONFIRMED = 8;
