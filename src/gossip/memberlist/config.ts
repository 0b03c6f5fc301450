/** The settings of memberlist's protocol, and its three sets of defaults. Times are milliseconds. */

/** All members of a cluster should use the same values. */
export interface Timing {
  /** How often to probe a member, and how long to wait for an answer before asking others to probe it. */
  probeInterval: number;
  probeTimeout: number;
  /** Number of members to ask for an indirect probe. */
  indirectChecks: number;
  /** See `suspicionTimes`. */
  suspicionMult: number;
  suspicionMaxTimeoutMult: number;
  /** See `retransmitLimit`. */
  retransmitMult: number;
  /** How often to send broadcasts, and to how many members. */
  gossipInterval: number;
  gossipNodes: number;
  /** How long a dead member still gets broadcasts and stays in the list. */
  gossipToTheDeadTime: number;
  /** How often to exchange the whole state with a member; 0 for never. See `pushPullScale`. */
  pushPullInterval: number;
  /** Timeout of a stream. */
  streamTimeout: number;
  /** The awareness score stays below this. */
  awarenessMax: number;
}

/** For members in one data centre. */
export const LAN: Readonly<Timing> = {
  probeInterval: 1000,
  probeTimeout: 500,
  indirectChecks: 3,
  suspicionMult: 4,
  suspicionMaxTimeoutMult: 6,
  retransmitMult: 4,
  gossipInterval: 200,
  gossipNodes: 3,
  gossipToTheDeadTime: 30_000,
  pushPullInterval: 30_000,
  streamTimeout: 10_000,
  awarenessMax: 8,
};

/** For members far from each other. */
export const WAN: Readonly<Timing> = {
  ...LAN,
  probeInterval: 5000,
  probeTimeout: 3000,
  suspicionMult: 6,
  gossipInterval: 500,
  gossipNodes: 4,
  gossipToTheDeadTime: 60_000,
  pushPullInterval: 60_000,
  streamTimeout: 30_000,
};

/** For members on one host. */
export const LOCAL: Readonly<Timing> = {
  ...LAN,
  probeTimeout: 200,
  indirectChecks: 1,
  suspicionMult: 3,
  retransmitMult: 2,
  gossipInterval: 100,
  gossipToTheDeadTime: 15_000,
  pushPullInterval: 15_000,
  streamTimeout: 1000,
};
