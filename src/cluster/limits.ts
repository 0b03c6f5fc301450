/** Limits of what a cluster accepts, and its times in milliseconds. */

export const LIMITS = {
  /** Characters of a name: a label of DNS (RFC 1035, section 2.3.4). */
  name: 63,
  /** Characters of a service's name: those of its tasks have a dot and a slot after it. */
  serviceName: 57,
  /** Characters of a node's name, which is that of a host (RFC 1035, section 2.3.4). */
  nodeName: 253,
  /** Characters of the beginning of an id that may stand for it: with fewer, a wrong name would be that of something else. */
  idBeginning: 6,
  subnets: 16,
  /** Routes of a host that a command has. */
  routes: 256,
  auxiliary: 64,
  labels: 64,
  labelName: 128,
  labelValue: 1024,
  aliases: 16,
  /** Networks of a service. */
  serviceNetworks: 16,
  replicas: 10_000,
  /** Words of a command, and their characters in all. */
  words: 256,
  commandLength: 32_768,
  /** Variables of an environment, and the characters of all names and values. */
  variables: 256,
  environmentLength: 32_768,
  /** Characters of the reason of a failure. */
  reason: 1024,
  /** Lines of output that a task's report has, and the characters of each. */
  outputLines: 20,
  outputLine: 512,
  /** Endings that a task remembers. */
  endings: 4,
  /** Certificates in PEM, and keys. */
  pem: 16_384,
  /** Keys of the gossip: the newest, the one that encrypts, the one before. */
  gossipKeys: 3,
  /** Keys of an encrypted network: as many as a VTEP accepts (`MAX_GROUP_KEYS`). */
  networkKeys: 3,
  /** Certificates of a node that are valid at the same time. */
  fingerprints: 2,
  /** Names that a refusal lists. */
  listed: 5,
  /** Released addresses and VNIs that one transaction forgets. */
  forgotten: 64,
  /** Transactions that one reconciliation returns; the next one continues. */
  batch: 128,
} as const;

export const TIMES = {
  /** How long a released address or VNI is not given to anyone else: until caches and nodes have forgotten it. */
  hold: 60_000,
  /** From one rotation of the gossip keys, or of the keys of a network, to the next. */
  rotation: 12 * 3_600_000,
  /**
   * From one rotation to the next at least. A node that returns may hear the keys from a manager that is behind: it understands the
   * others if that is by one rotation at most.
   */
  rotationPause: 10_000,
  /** How long a task waits that failed once; twice as long with each failure in a row. */
  firstRetry: 1000,
  lastRetry: 300_000,
  /** A task that has run for so long has not failed in a row. */
  healthy: 60_000,
} as const;

/** The UDP port of VXLAN (RFC 7348). */
export const VXLAN_PORT = 4789;
/** The UDP port of encrypted networks, that of ESP in UDP (RFC 3948). */
export const ESP_PORT = 4500;
/** The TCP port of a manager, as Docker's. */
export const MANAGER_PORT = 2377;
