/** Commands become transactions. */
import { readCommand, type Answer, type Command, type Kind } from './commands.js';
import { Draft } from './draft.js';
import { createEndpoint, removeEndpoint } from './endpoints.js';
import { createNetwork, removeNetwork } from './networks.js';
import { rotateNetworkKey } from './network-keys.js';
import * as nodes from './nodes.js';
import { type Context, type Planning } from './planning.js';
import { type Refusal, Refused } from './refusal.js';
import { createService, removeService, reportTask, scaleService } from './services.js';
import { type State } from './state.js';
import { type Transaction } from './store.js';

/** What a command does. */
export interface Plan<A> {
  /** Without writes if everything is as the command wants it. */
  readonly transaction: Transaction;
  /** Holds once the transaction is committed. */
  readonly answer: A;
}

/** What a worker may do, each for itself. */
const OF_WORKERS: readonly Kind[] = ['create-endpoint', 'remove-endpoint', 'report-task', 'report-keys', 'leave'];

/**
 * Plans a command: returns the transaction that carries it out and the answer, or why it is refused. Reads nothing but its arguments,
 * and changes nothing. The caller commits the transaction; if it conflicts, the state was older than the store: the caller
 * waits until it has caught up, and plans again.
 */
export function plan<C extends Command>(state: State, command: C, context: Context): Plan<Answer<C['do']>> | Refusal {
  try {
    const read = readCommand(command);
    const draft = new Draft(state);
    const planning: Planning = { ...context, ...routesOf(read), ...actorOf(read.do, state, context), state, draft };
    const answer = carryOut(read, planning) as Answer<C['do']>;
    return { transaction: draft.transaction, answer };
  } catch (error) {
    if (error instanceof Refused) return error.refusal;
    throw error;
  }
}

/** Whether a command was refused. */
export function isRefusal(result: Plan<unknown> | Refusal): result is Refusal {
  return 'code' in result;
}

/** The routes of the node that sends a command. */
function routesOf(command: Command): Pick<Context, 'routes'> {
  if (!('routes' in command) || command.routes === undefined) return {};
  // An endpoint on another node is beside the routes of that one.
  if (command.do === 'create-endpoint' && command.node !== undefined) return {};
  return { routes: command.routes.map(({ prefix, device }) => ({ prefix, owner: `the route by ${device}` })) };
}

/** The node of the actor, with the role that it has now, which its certificate may not say yet. @throws Refused */
function actorOf(kind: Kind, state: State, { actor }: Context): Pick<Planning, 'self' | 'role'> {
  if (kind === 'init-cluster') return { role: 'worker' };
  if (state.cluster === undefined)
    throw new Refused('not-found', 'there is no cluster; create one with init, or join one');
  if (kind === 'join') return { role: 'worker' }; // its token decides
  const self = state.nodes.get(actor?.node ?? '');
  if (actor === undefined || self === undefined || self.state === 'left')
    throw new Refused('forbidden', 'this node is not, or no longer, part of the cluster; it can join it');
  const role = self.role === 'manager' && actor.role === 'manager' ? 'manager' : 'worker';
  if (role === 'worker' && !OF_WORKERS.includes(kind))
    throw new Refused('forbidden', `a worker may not ${kind.replaceAll('-', ' ')}; run this on a manager`);
  return { self, role };
}

function carryOut(command: Command, planning: Planning): Answer {
  switch (command.do) {
    case 'init-cluster':
      return nodes.initCluster(command, planning);
    case 'join':
      return nodes.join(command, planning);
    case 'leave':
      return nodes.leave(command, planning);
    case 'remove-node':
      return nodes.removeNode(command, planning);
    case 'set-node-state':
      return nodes.setNodeState(command, planning);
    case 'set-node-role':
      return nodes.setNodeRole(command, planning);
    case 'renew-certificate':
      return nodes.renewCertificate(command, planning);
    case 'rotate-token':
      return nodes.rotateToken(command, planning);
    case 'rotate-gossip-keys':
      return nodes.rotateGossipKeys(command, planning);
    case 'report-keys':
      return nodes.reportKeys(command, planning);
    case 'create-network':
      return createNetwork(command, planning);
    case 'remove-network':
      return removeNetwork(command, planning);
    case 'rotate-network-key':
      return rotateNetworkKey(command, planning);
    case 'create-endpoint':
      return createEndpoint(command, planning);
    case 'remove-endpoint':
      return removeEndpoint(command, planning);
    case 'create-service':
      return createService(command, planning);
    case 'scale-service':
      return scaleService(command, planning);
    case 'remove-service':
      return removeService(command, planning);
    case 'report-task':
      return reportTask(command, planning);
  }
}
