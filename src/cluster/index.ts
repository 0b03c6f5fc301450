/**
 * What the managers of a cluster know and decide: nodes, tokens, gossip keys, networks and their keys, endpoints, services.
 *
 * Managers keep their records in a {@link Store}. Each has a mirror of it in memory, a {@link State}. A command is planned on the
 * mirror (`plan`) and becomes one transaction, whose conditions are what the plan has read: if the mirror was behind,
 * the transaction conflicts, and the command is planned again. `reconcile` returns what the cluster has to do by itself:
 * start tasks, move those of nodes that have failed, end what is not wanted. `assignmentsOf` is what a node has to do.
 *
 * Pure: no I/O, no clock, no randomness of its own.
 */
export { assignmentsOf, viewFor, type AssignedTask, type Assignment, type KeyFacts, type View } from './assignments.js';
export { newId } from './check.js';
export {
  readCommand,
  type Answer,
  type Command,
  type Commands,
  type CreateEndpoint,
  type CreateNetwork,
  type CreateService,
  type HostRoute,
  type InitCluster,
  type Join,
  type Kind,
  type Leave,
  type NewNode,
  type NewSubnet,
  type RemoveEndpoint,
  type RemoveNetwork,
  type RemoveNode,
  type RemoveService,
  type RenewCertificate,
  type ReportKeys,
  type ReportTask,
  type RotateGossipKeys,
  type RotateNetworkKey,
  type RotateToken,
  type ScaleService,
  type SetNodeRole,
  type SetNodeState,
} from './commands.js';
export { KEY } from './keys.js';
export { ESP_PORT, LIMITS, MANAGER_PORT, TIMES, VXLAN_PORT } from './limits.js';
export { encryptingKey } from './nodes.js';
export { outputCalled, outputTasks, type OutputOf, type OutputTask } from './output.js';
export { isRefusal, plan, type Plan } from './plan.js';
export { findRecord, type Actor, type Context } from './planning.js';
export { reconcile, type Reconciliation } from './reconcile.js';
export { readRecord, RecordError } from './record-checks.js';
export {
  type AddressRecord,
  type CaRecord,
  type ClusterRecord,
  type Ending,
  type EndpointRecord,
  type GossipKey,
  type KeyLength,
  type NetworkKey,
  type NetworkRecord,
  type NodeRecord,
  type NodeState,
  type Role,
  type ServiceRecord,
  type SubnetRecord,
  type TaskRecord,
  type TaskReference,
  type TaskState,
  type VniRecord,
} from './records.js';
export { isRefused, type Refusal, type RefusalCode } from './refusal.js';
export { State, type AddressMark } from './state.js';
export {
  type Committed,
  type Condition,
  type Item,
  type Lease,
  type Store,
  type StoreChange,
  type Transaction,
  type Watcher,
  type Write,
} from './store.js';
