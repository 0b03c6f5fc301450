import { HostError } from '../error.js';

/** Why a request fails. */
export interface Refusal {
  readonly code: string;
  readonly message: string;
  /** The fields of the request that it is about, as the message names them. */
  readonly fields?: readonly string[] | undefined;
}

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
