import { HostError } from '../error.js';

/** Why a request fails. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
  /** The fields of the request that it is about, as the message names them. */
  readonly fields?: readonly string[] | undefined;
}

/** What to do on a node without a cluster. */
export const NO_CLUSTER = 'this node is in no cluster; create one with "vtep init", or join one with "vtep join"';

/** Why a manager and a node do not get on, with a code that programs rely on. */
export class ClusterError extends HostError {
  readonly code: string;
  readonly fields: readonly string[];

  constructor(code: string, message: string, options: ErrorOptions & { fields?: Refusal['fields'] } = {}) {
    super(message, options);
    this.name = 'ClusterError';
    this.code = code;
    this.fields = options.fields ?? [];
  }
}

/** The error of a node that is to enter a cluster, and is in one. */
export function inClusterAlready(cluster: string, directory: string): ClusterError {
  return new ClusterError(
    'conflict',
    `this node is in cluster ${cluster} already (${directory}); run "vtep leave" first`,
  );
}
