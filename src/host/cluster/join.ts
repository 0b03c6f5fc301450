/** Joins a cluster: gets a certificate for a new key with the secret of a token. */
import { certificateRequest } from './authority.js';
import { identityOf, type Identity } from './certificate.js';
import { ClusterError, inClusterAlready } from './error.js';
import {
  ask,
  authorityOf,
  CLIENT_LIMITS,
  connectManager,
  managerPlace,
  placeText,
  unreadable,
  type ClientLimits,
} from './manager-connection.js';
import { HostError } from '../error.js';
import { type JoinBody, type Joined } from './protocol.js';
import { isManagers, StateFiles } from './state-files.js';
import { parseToken } from './token.js';

export interface JoinOptions {
  /** A token, as text. */
  token: string;
  /** Managers, each as `address` or `address:port`. The first one that answers decides. */
  managers: readonly string[];
  files: StateFiles;
  /** The node's name, for people. */
  name: string;
  /** The address at which other nodes reach this one; absent: that from which it connects. */
  address?: string;
  /** For a manager: the port at which it will serve nodes. */
  port?: number;
  limits?: Partial<ClientLimits>;
}

/**
 * Joins a cluster, and writes key and certificate into the state directory.
 * @throws HostError that says what is wrong with the token, the managers or the directory; ClusterError if the managers
 * cannot be reached, or refuse.
 */
export async function joinCluster(options: JoinOptions): Promise<{ identity: Identity; joined: Joined }> {
  const { token, managers, files, name, address, port } = options;
  const limits = { ...CLIENT_LIMITS, ...options.limits };
  const { digest, secret } = parseToken(token);
  const places = managers.map(managerPlace);
  const old = files.identity();
  if (old !== undefined) throw inClusterAlready(old.cluster, files.directory);
  const key = await files.joiningKey();
  const body: JoinBody = {
    secret,
    csr: await certificateRequest(key),
    name,
    ...(address === undefined ? {} : { address }),
    ...(port === undefined ? {} : { port }),
  };
  const troubles: ClusterError[] = [];
  for (const place of places) {
    try {
      const trust = await authorityOf(place, digest, limits);
      const socket = await connectManager(place, trust, undefined, limits);
      const joined = joinedOf(await ask(socket, place, 'join', body, limits));
      const identity = joined === null ? undefined : identityOf(key, joined.certificate, trust.ca);
      if (joined === null || identity?.cluster !== trust.cluster)
        throw unreadable(place, 'it has no certificate of this cluster');
      files.writeManagers(joined.managers.length > 0 ? joined.managers : [placeText(place)]);
      files.write(identity);
      return { identity, joined };
    } catch (error) {
      // What a manager of the cluster has said, all of them say.
      if (!(error instanceof ClusterError) || !RETRIED.includes(error.code)) throw error;
      troubles.push(error);
    }
  }
  if (troubles.length === 1) throw troubles[0]!;
  if (troubles.length === 0) throw new HostError('no manager to join is given');
  const { code } = troubles.find((one) => one.code === 'digest') ?? troubles[0]!;
  throw new ClusterError(code, troubles.map(({ message }) => message).join('; '));
}

/** After which the next manager is tried: the one that failed has admitted nobody, or this node with this very key. */
const RETRIED = [
  'unreachable',
  'timeout',
  'lost',
  'not-a-manager',
  'wrong-cluster',
  'digest',
  'expired',
  'clock',
  'unavailable',
];

function joinedOf(answer: unknown): Joined | null {
  const { certificate, managers, cluster } = (answer ?? {}) as Record<string, unknown>;
  return typeof certificate === 'string' && isManagers(managers) ? { certificate, managers, cluster } : null;
}
