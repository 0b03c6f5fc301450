/** What a manager's server has to be told: the cluster itself is elsewhere. */
import { type Actor, type OutputOf, type OutputTask } from '../../cluster/index.js';
import { type CertificateFacts, type Role } from './certificate.js';
import { type Refusal } from './error.js';
import { type Command } from './protocol.js';

export type { Actor };

/** A node that presented the secret of a role. Its certificate is made, and is sent once the cluster has recorded it. */
export interface JoiningNode extends Actor {
  readonly name: string;
  readonly address: string;
  readonly port?: number;
  /** The fingerprint of its certificate, and when that ends. */
  readonly fingerprint: string;
  readonly until: number;
  readonly secret: string;
}

export type Reply = { readonly answer: unknown } | { readonly refusal: Refusal };

/** What a node has to do, and where managers are. */
export interface News {
  readonly assignment: unknown;
  readonly managers: readonly string[];
}

export interface ManagerBackend {
  /** The secrets of the join tokens, as they are now. */
  secrets(): Readonly<Record<Role, string>>;
  /**
   * Records a node, unless the secret has changed in the meantime. A node of this id may have been recorded already: then
   * the answer did not reach it. It has proved that it has the same key, so this is a further certificate of it.
   * @returns what the cluster tells the node: gossip keys, data-path port.
   */
  join(node: JoiningNode): Promise<Reply>;
  /**
   * Records a further certificate of a node, so that `isRevoked` knows it when the node is removed. Refuses if the node is
   * no longer in the cluster.
   */
  renew(actor: Actor, certificate: Pick<CertificateFacts, 'fingerprint' | 'until'>): Promise<Reply>;
  /** The role that a node has now, which its next certificate will have; `undefined` if it is not in the cluster. */
  roleOf(node: string): Role | undefined;
  /** Runs a command, if the actor may. */
  command(actor: Actor, command: Command): Promise<Reply>;
  /** Reports what a node has to do, at once and after each change. It may report within this call. */
  assignments(node: string, on: (news: News) => void): { stop(): void };
  /** What a name stands for whose output is asked for; `undefined`: nothing, or nothing that the node may read. */
  outputCalled(actor: Actor, name: string): OutputOf | undefined;
  /** Its tasks now; `undefined`: it is gone, or the node may no longer read it. */
  outputTasks(actor: Actor, of: OutputOf): readonly OutputTask[] | undefined;
  /** Where managers are: `address:port`. */
  managers(): readonly string[];
  /** Whether the certificate, or its node, has been removed. It looks into memory. */
  isRevoked(certificate: Pick<CertificateFacts, 'node' | 'fingerprint'>): boolean;
  /** Calls back whenever a certificate or a node has been removed. */
  onRevoked(removed: () => void): { stop(): void };
}
