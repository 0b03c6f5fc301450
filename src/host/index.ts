/** A VTEP on a Linux host: TAPs, the underlay's sockets, namespaces, the control socket. */
export { aesGcm } from './aead.js';
export { fileTrouble, readBounded } from './bounded-read.js';
export { Authority, certificateRequest, newKey, NODE_LIFETIME, nodeIdOf, type Issued } from './cluster/authority.js';
export { type Actor, type JoiningNode, type ManagerBackend, type News, type Reply } from './cluster/backend.js';
export { identityOf, type CertificateFacts, type Identity, type Role } from './cluster/certificate.js';
export { ClusterError, type Refusal } from './cluster/error.js';
export { joinCluster, type JoinOptions } from './cluster/join.js';
export { type ClientLimits } from './cluster/manager-connection.js';
export {
  serveManager,
  type ManagerCounts,
  type ManagerLimits,
  type ManagerOptions,
  type ManagerServer,
} from './cluster/manager-server.js';
export { ClusterNode, type ClusterNodeOptions } from './cluster/cluster-node.js';
export { Manager, type ManagerOptions as ManagerParts } from './cluster/manager.js';
export { Managing, type ManagingOptions, type NewCluster } from './cluster/managing.js';
export { type NodeAttachment, type NodeJoin, type NodePlace } from './cluster/node-plan.js';
export { NodeApi, type NodeApiOptions } from './cluster/node-api.js';
export { NodeDaemon, type NodeDaemonOptions } from './cluster/node-daemon.js';
export { NodeClient, type NodeEvents, type NodeOptions, type NodeTimes } from './cluster/node-client.js';
export { MANAGER_PORT, type Command, type Joined } from './cluster/protocol.js';
export { DEFAULT_SOCKET, DEFAULT_STATE, ensureAgent, type AgentStart } from './cluster/start-agent.js';
export { StateFiles } from './cluster/state-files.js';
export { digestOf, newSecret, parseToken, printToken, type JoinToken } from './cluster/token.js';
export { Intent } from './intent.js';
export { Machine } from './machine.js';
export { ask, follow, type AskOptions } from './ask.js';
export { query, queryCapture, queryEvents, queryLogs } from './query.js';
export { type Question, type Results } from './replies.js';
export { UNDERLAY, type Captured } from './capture.js';
export { serveControl, type Control } from './control.js';
export { type ControlLimits, type Handler } from './control-client.js';
export {
  settingsOf,
  type Applied,
  type AttachedLink,
  type DataPlane,
  type DevicePlan,
  type EngineCounters,
  type EngineFacts,
  type GatewayAnswer,
  type LinkPlan,
  type PlaneEvents,
  type PortPlan,
  type PortSegments,
  type Settings,
} from './data-plane.js';
export { chooseEngine, createEngine } from './engine.js';
export { about, codeOf, HostError, RequestError } from './error.js';
export { type GatewayHandler, type GatewayRequest } from './gateway-service.js';
export { GossipHost, type GossipOptions, type Companion } from './gossip.js';
export {
  fingerprint,
  isKeyText,
  keyringOf,
  readKeys,
  requireKeys,
  writeKeyFile,
  type KeyListing,
} from './gossip-keys.js';
export {
  GroupKeyring,
  newGroupKeyText,
  readGroupKeys,
  rotateGroupKeyFile,
  writeGroupKeyFile,
  type GroupListener,
} from './group-keys.js';
export { readKeyFiles } from './overlay-keys.js';
export { exposureOf, PRIVATE, tamperingOf, writePrivate } from './private-file.js';
export {
  GossipObserver,
  type Change,
  type EntryChange,
  type ObserverEvents,
  type ObserverOptions,
} from './gossip-observer.js';
export { queryCluster, type ClusterState } from './gossip-query.js';
export { resolveHost, sourceTowards, underlayOf, type Underlay } from './gossip-address.js';
export { ip, ipJson } from './ip.js';
export { detachTap, type Detached } from './kept.js';
export {
  journalPrefix,
  jsonLine,
  LEVELS,
  Logger,
  rfc3339,
  textLine,
  type Level,
  type Limit,
  type LogFields,
  type LoggerOptions,
  type LogRecord,
} from './log.js';
export { applyMtus, segmentMtus, tapMtu, type SegmentMtu } from './mtu.js';
export {
  OverlayGossip,
  type GossipCounters,
  type GossipEvent,
  type GossipEvents,
  type MemberListing,
} from './overlay-gossip.js';
export { type GossipNetworkListing } from './gossip-networks.js';
export { LOSSES, lossesOf, type LossReason } from './losses.js';
export { Output } from './output.js';
export { type DetachedTap, type SegmentListing, type TapListing } from './parts.js';
export { Overlay } from './overlay.js';
export { type AddedNetwork, type NetworkListing, type RemovedNetwork } from './overlay-networks.js';
export { type AllCounters, type AttachedTap, type OverlayEvents } from './overlay-types.js';
export { changesOf, linkOf } from './plan-changes.js';
export { type Page } from './pages.js';
export { type UdpEnd } from './recorder.js';
export { reloadedText, type Reloadable } from './reload.js';
export { ServiceManager } from './notify.js';
export { netnsOf, type HostsEntry, type Resolver, type SandboxPlan } from './sandbox/plan.js';
export { findNamespace, removeNamespace } from './sandbox/namespace.js';
export { endProcesses, processesIn, processIdentity, isRunning, type ProcessIdentity } from './sandbox/processes.js';
export { CommandError } from './sandbox/programs.js';
export { type Added, type SandboxRecord } from './sandbox/record.js';
export { runForeground, type ForegroundPlan } from './sandbox/run.js';
export { Sandboxes, type Sandbox, type SandboxesOptions } from './sandbox/sandboxes.js';
export { type Ended, type Workload, type WorkloadPlan, type WorkloadState } from './sandbox/workload.js';
export { sums, type Sums } from './simd.js';
export { TapChannel, type TapEvents } from './tap.js';
export { type EngineReport } from './troubles.js';
export { IFF_VNET_HDR, inspectTap, openTap, type OpenTap } from './tun.js';
export { pathTo, requireLocal, type Path } from './underlay.js';
export { version } from './version.js';
