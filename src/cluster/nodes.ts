/** Commands about the cluster itself: its nodes, tokens and gossip keys. */
import { planPools } from '../ipam/index.js';
import { newId } from './check.js';
import {
  type InitCluster,
  type Join,
  type Leave,
  type NewNode,
  type RemoveNode,
  type RenewCertificate,
  type ReportKeys,
  type RotateGossipKeys,
  type RotateToken,
  type SetNodeRole,
  type SetNodeState,
  type Answer,
} from './commands.js';
import { KEY } from './keys.js';
import { ESP_PORT, LIMITS, MANAGER_PORT, TIMES, VXLAN_PORT } from './limits.js';
import { randomKey } from './network-keys.js';
import { findNode, seconds, type Planning } from './planning.js';
import { type ClusterRecord, type GossipKey, type NodeRecord, type Role } from './records.js';
import { Refused, refusing, some } from './refusal.js';

export function initCluster(command: InitCluster, planning: Planning): Answer<'init-cluster'> {
  const { state, draft, now, random } = planning;
  if (state.cluster !== undefined)
    throw new Refused(
      'conflict',
      `this store has a cluster already, ${state.cluster.id}; its nodes can leave it first`,
    );
  const pools = refusing({ pools: 'pools', maskLength: 'maskLength' }, () => planPools(command));
  const id = command.id ?? newId(random);
  const { dataPathPort = VXLAN_PORT, espPort } = command;
  if (espPort === dataPathPort)
    throw new Refused('invalid', `espPort: expected another port than dataPathPort, got ${espPort}`, 'espPort');
  const ports = { dataPathPort, ...(espPort === undefined || espPort === ESP_PORT ? {} : { espPort }) };
  const cluster: ClusterRecord = { id, created: now, pools, ...ports };
  const tokens = { worker: newId(random), manager: newId(random) };
  const keys = [newGossipKey(planning, 1 + Math.floor(random() * 0x1_0000))];
  draft.put(KEY.cluster, cluster);
  draft.put(KEY.ca, command.ca);
  draft.put(KEY.token('worker'), tokens.worker);
  draft.put(KEY.token('manager'), tokens.manager);
  draft.put(KEY.gossipKeys, keys);
  addNode(command.node, 'manager', keys, planning);
  return { cluster: id, tokens };
}

export function join({ node, secret }: Join, planning: Planning): NodeRecord {
  const { state, draft } = planning;
  // Both are compared, each to its end, so that the time says nothing about either.
  const isWorker = isSame(secret, state.tokens.get('worker') ?? '');
  const isManager = isSame(secret, state.tokens.get('manager') ?? '');
  if (!isWorker && !isManager)
    throw new Refused(
      'forbidden',
      'secret: this token is not, or no longer, valid; print the present one on a manager',
      'secret',
    );
  const role = isManager ? 'manager' : 'worker';
  draft.expect(KEY.token(role));
  draft.expect(KEY.gossipKeys);
  const before = state.nodes.get(node.id);
  // The command is repeated if its answer was lost.
  if (before !== undefined && before.fingerprints.includes(node.fingerprint)) return before;
  return addNode(node, role, state.gossipKeys, planning);
}

function addNode(node: NewNode, role: Role, keys: readonly GossipKey[], { state, draft, now }: Planning): NodeRecord {
  if (state.nodes.has(node.id)) throw new Refused('conflict', `node.id: there is a node ${node.id} already`, 'node.id');
  if (state.revoked.has(node.fingerprint))
    throw new Refused(
      'forbidden',
      'node.fingerprint: this certificate was revoked; make another one',
      'node.fingerprint',
    );
  const record: NodeRecord = {
    id: node.id,
    name: node.name,
    role,
    address: node.address,
    port: node.port ?? MANAGER_PORT,
    ...(node.dataPath === undefined ? {} : { dataPath: node.dataPath }),
    fingerprints: [node.fingerprint],
    joined: now,
    state: 'alive',
    since: now,
    keyTag: keys[0]?.tag ?? 0,
  };
  draft.put(KEY.node(node.id), record);
  return record;
}

export function leave({ force = false }: Leave, planning: Planning): NodeRecord {
  const { draft, now } = planning;
  const node = planning.self!;
  requireOtherManager(node, force, planning);
  const record: NodeRecord = { ...node, state: 'left', since: now, fingerprints: [] };
  revoke(node.id, node.fingerprints, planning);
  draft.put(KEY.node(node.id), record);
  return record;
}

export function removeNode({ node: reference, force = false }: RemoveNode, planning: Planning): NodeRecord {
  const { state, draft } = planning;
  const node = findNode(state, reference);
  if (node.state === 'alive' && !force)
    throw new Refused(
      'in-use',
      `node: ${node.name} is alive; let it leave first, or remove it by force, which locks it out and ends its endpoints`,
      'node',
      'force',
    );
  if (node.state !== 'left') requireOtherManager(node, force, planning);
  revoke(node.id, node.fingerprints, planning);
  draft.delete(KEY.node(node.id));
  return node;
}

export function setNodeState(
  { node: reference, state: found }: SetNodeState,
  { state, draft, now }: Planning,
): NodeRecord {
  const node = findNode(state, reference);
  if (node.state === 'left')
    throw new Refused(
      'conflict',
      `node: ${node.name} has left the cluster; it can join again under another id`,
      'node',
    );
  if (node.state === found) return node;
  const record: NodeRecord = { ...node, state: found, since: now };
  draft.put(KEY.node(node.id), record);
  return record;
}

export function setNodeRole({ node: reference, role }: SetNodeRole, planning: Planning): NodeRecord {
  const { state, draft } = planning;
  const node = findNode(state, reference);
  if (node.state === 'left') throw new Refused('conflict', `node: ${node.name} has left the cluster`, 'node');
  if (node.role === role) return node;
  if (role === 'worker') requireOtherManager(node, false, planning);
  const record: NodeRecord = { ...node, role };
  draft.put(KEY.node(node.id), record);
  return record;
}

export function renewCertificate({ node: id, fingerprint }: RenewCertificate, planning: Planning): NodeRecord {
  const { state, draft } = planning;
  const node = findNode(state, id);
  if (node.state === 'left') throw new Refused('forbidden', `node: ${node.name} has left the cluster`, 'node');
  if (node.fingerprints.includes(fingerprint)) return node;
  const fingerprints = [fingerprint, ...node.fingerprints].slice(0, LIMITS.fingerprints);
  for (const old of node.fingerprints) if (!fingerprints.includes(old)) revoke(node.id, [old], planning);
  const record: NodeRecord = { ...node, fingerprints };
  draft.put(KEY.node(id), record);
  return record;
}

/** A node must not be the only manager that is left: nobody could command the cluster any more. */
function requireOtherManager(node: NodeRecord, force: boolean, { state, draft }: Planning): void {
  if (node.role !== 'manager') return;
  const others = [...state.nodes.values()].filter(
    (other) => other.role === 'manager' && other.state === 'alive' && other.id !== node.id,
  );
  if (others.length === 0 && !force)
    throw new Refused('in-use', `node: ${node.name} is the last manager; promote another node first`, 'node');
  for (const other of others) draft.expect(KEY.node(other.id)); // nor may the others leave at the same time
}

function revoke(node: string, fingerprints: readonly string[], { draft, now }: Planning): void {
  for (const fingerprint of fingerprints) draft.touch(KEY.revoked(fingerprint), { node, at: now });
}

// ---- Tokens and keys ----

export function rotateToken({ role }: RotateToken, { draft, random }: Planning): Answer<'rotate-token'> {
  const secret = newId(random);
  draft.put(KEY.token(role), secret);
  return { secret };
}

/**
 * Nodes have up to three keys: the newest, the one that encrypts, and the one before. All decrypt. A rotation makes a new key
 * and lets the formerly newest one encrypt, which every node has by then. So a node that hears of a rotation later than others
 * understands them, and is understood, until the next one. Therefore each node says which keys it has, and the next
 * rotation waits for the living ones; one that has failed is told the keys before it talks to others again.
 */
export function rotateGossipKeys(
  { force = false }: RotateGossipKeys,
  planning: Planning,
): Answer<'rotate-gossip-keys'> {
  const { state, draft } = planning;
  const [newest] = state.gossipKeys;
  if (newest === undefined)
    throw new Refused('conflict', 'the store has no gossip keys, so it is damaged; restore it from a copy');
  const behind = [...state.nodes.values()].filter((node) => node.state === 'alive' && node.keyTag < newest.tag);
  if (behind.length > 0 && !force) {
    const names = some(behind.map(({ name }) => name));
    throw new Refused(
      'in-use',
      `these nodes do not have the newest key yet, and could not read messages after another rotation: ${names}; try again when they have it`,
      'force',
    );
  }
  const wait = newest.created + TIMES.rotationPause - planning.now;
  if (state.gossipKeys.length > 1 && wait > 0 && wait <= TIMES.rotationPause && !force)
    throw new Refused(
      'in-use',
      `the keys were rotated a short time ago; try again in ${seconds(wait)}: a node that a slow manager informs could not read messages`,
      'force',
    );
  const key = newGossipKey(planning, newest.tag + 1);
  draft.put(KEY.gossipKeys, [key, ...state.gossipKeys].slice(0, LIMITS.gossipKeys));
  return { tag: key.tag };
}

export function reportKeys({ tag }: ReportKeys, { state, draft, self }: Planning): Answer<'report-keys'> {
  if (!state.gossipKeys.some((key) => key.tag === tag))
    throw new Refused('invalid', `tag: there is no gossip key with the tag ${tag}`, 'tag');
  if (tag > self!.keyTag) draft.put(KEY.node(self!.id), { ...self!, keyTag: tag });
  return { tag: Math.max(tag, self!.keyTag) };
}

/** The key that encrypts: the second newest, or the only one. */
export function encryptingKey(keys: readonly GossipKey[]): GossipKey | undefined {
  return keys[1] ?? keys[0];
}

function newGossipKey({ random, now }: Planning, tag: number): GossipKey {
  return { key: randomKey(128, random), tag, created: now };
}

/** Compares secrets in a time that does not depend on where they differ. An empty one is never right. */
function isSame(given: string, right: string): boolean {
  let difference = given.length ^ right.length;
  for (let i = 0; i < given.length; i++)
    difference |= given.charCodeAt(i) ^ right.charCodeAt(i % Math.max(1, right.length));
  return right !== '' && difference === 0;
}
