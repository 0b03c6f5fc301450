/** Queries a member of a cluster for its state without joining: sends a push/pull request with an empty state. */
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import {
  encodePushPull,
  encodeStream,
  failureOf,
  StreamReader,
  type Keyring,
  type NodeState,
  type Security,
} from '../gossip/memberlist/index.js';
import { gossipMessage, networkPushPull, PUSH_PULL, type NetworkEntry } from '../gossip/networkdb/index.js';
import { WireError } from '../wire/index.js';
import { aesGcm } from './aead.js';
import { HostError } from './error.js';
import { dialError, octets } from './gossip-streams.js';
import { keyTrouble } from './joining.js';

export interface ClusterState {
  members: NodeState[];
  /** The attachments of members to networks. Empty if the cluster does not run NetworkDB. */
  networks: NetworkEntry[];
}

const NOTHING = new Uint8Array(0);

/**
 * Queries a member for its state.
 * @param timeout Milliseconds for the whole exchange.
 * @throws HostError if the member does not answer, or uses other keys.
 */
export async function queryCluster(
  { address, port }: { address: string; port: number },
  keyring: Keyring | undefined,
  timeout = 5000,
): Promise<ClusterState> {
  const security: Security = {
    aead: aesGcm,
    nonce: () => new Uint8Array(randomBytes(12)),
    ...(keyring === undefined ? {} : { keyring }),
  };
  const failed = (reason: string): HostError =>
    new HostError(`${address.includes(':') ? `[${address}]` : address}:${port}: ${keyTrouble(reason) ?? reason}`);
  const question = encodePushPull({ type: 'pushPull', join: false, nodes: [], userState: NOTHING });
  const reader = new StreamReader(security, true);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port });
    const late = setTimeout(() => socket.destroy(new Error('no answer')), timeout);
    socket.on('error', (error) => reject(failed(dialError(error))));
    socket.on('close', () => {
      clearTimeout(late);
      reject(failed('it closed the connection without an answer'));
    });
    socket.on('data', (bytes: Buffer) => {
      try {
        let answer = reader.push(octets(bytes));
        while (reader.paused) answer = reader.resume(); // this process does nothing else
        if (answer === null) return;
        if (answer.type === 'pushPull') resolve({ members: [...answer.nodes], networks: networksOf(answer.userState) });
        else reject(failed(failureOf(answer)));
      } catch (error) {
        reject(failed(error instanceof WireError ? error.detail : (error as Error).message));
      }
      socket.destroy();
    });
    socket.write(encodeStream(question, security, { compressed: true, dialler: true }));
  });
}

function networksOf(state: Uint8Array): NetworkEntry[] {
  if (state.length === 0) return [];
  try {
    const { type, data } = gossipMessage.decode(state);
    return type === PUSH_PULL ? networkPushPull.decode(data).networks.filter(({ leaving }) => !leaving) : [];
  } catch (error) {
    if (error instanceof WireError) return []; // the user state of another application, such as serf
    throw error;
  }
}
