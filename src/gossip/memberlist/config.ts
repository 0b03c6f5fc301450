/** The settings of memberlist's protocol, with the three sets of defaults that its users know. Times are milliseconds. */

/** What every member of a cluster should have alike. */
export interface Timing {
  /** How often a member is probed, and how long an answer may take before others are asked to probe it. */
  probeInterval: number;
  probeTimeout: number;
  /** Members that are asked to probe one that did not answer. */
  indirectChecks: number;
  /** See `suspicionTimes`. */
  suspicionMult: number;
  suspicionMaxTimeoutMult: number;
  /** See `retransmitLimit`. */
  retransmitMult: number;
  /** How often broadcasts go out, and to how many members. */
  gossipInterval: number;
  gossipNodes: number;
  /** How long a member that is gone is still told what happens, and stays in the list. */
  gossipToTheDeadTime: number;
  /** How often the whole state is exchanged with one member; 0 for never. See `pushPullScale`. */
  pushPullInterval: number;
  /** How long a stream may take. */
  streamTimeout: number;
  /** The awareness score stays below it. */
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
