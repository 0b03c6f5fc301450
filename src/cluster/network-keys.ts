/**
 * The keys of encrypted networks. Managers make them, and give them to the nodes that have endpoints in the network, and to no
 * other ones. A VTEP accepts all keys that it has, and sends under the newest one that the receiver has too, which it finds out by a
 * handshake: so a rotation needs no agreement of the nodes. It must only not push out a key while a node has no newer one. With
 * three keys, and `TIMES.rotationPause` between two rotations, a node may hear of a new key twice that pause later than others, and
 * is understood all the time. A report of each node about each network would say it exactly, for many writes to the store. A node
 * that is cut off from the managers for three rotations, 36 h, gets the keys with its next assignment.
 */
import { type RotateNetworkKey, type Answer } from './commands.js';
import { KEY } from './keys.js';
import { LIMITS, TIMES } from './limits.js';
import { findNetwork, seconds, type Context, type Planning } from './planning.js';
import { type KeyLength, type NetworkKey, type NetworkRecord } from './records.js';
import { Refused } from './refusal.js';

export function rotateNetworkKey(
  { network: reference }: RotateNetworkKey,
  planning: Planning,
): Answer<'rotate-network-key'> {
  const { state, now } = planning;
  const network = findNetwork(state, reference);
  const { id, name } = network;
  if (network.encrypted === undefined)
    throw new Refused('conflict', `network: ${name} is not encrypted, so it has no key`, 'network');
  const wait = mayRotate(state.networkKeys.get(id) ?? []) - now;
  if (wait > 0 && wait <= TIMES.rotationPause)
    throw new Refused(
      'in-use',
      `network: the key of ${name} was rotated a short time ago; try again in ${seconds(wait)}: nodes may not have it yet`,
      'network',
    );
  const { number, created } = addNetworkKey(network, planning);
  return { id, name, number, created };
}

/** Gives an encrypted network a further key. The newest ones stay. */
export function addNetworkKey(
  { id, encrypted }: NetworkRecord,
  planning: Pick<Planning, 'state' | 'draft' | 'now' | 'random'>,
): NetworkKey {
  const { state, draft } = planning;
  const keys = state.networkKeys.get(id) ?? [];
  const key = newNetworkKey(encrypted!, (keys[0]?.number ?? 0) + 1, planning);
  draft.put(KEY.networkKeys(id), [key, ...keys].slice(0, LIMITS.networkKeys));
  return key;
}

/** When the keys of a network may be rotated again. Its first key has pushed out none. */
export function mayRotate([newest]: readonly NetworkKey[]): number {
  return newest === undefined || newest.number === 1 ? 0 : newest.created + TIMES.rotationPause;
}

const BASE64 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/** Random bits in base64. @param bits 128 or 256. */
export function randomKey(bits: KeyLength, random: () => number): string {
  let key = '';
  for (let i = Math.floor(bits / 6); i > 0; i--) key += BASE64[Math.floor(random() * 64)]!;
  // The last digit has two bits of 128, or four of 256.
  const rest = bits % 6;
  key += BASE64[Math.floor(random() * 2 ** rest) << (6 - rest)]!;
  return key + (rest === 2 ? '==' : '=');
}

export function newNetworkKey(
  bits: KeyLength,
  number: number,
  { random, now }: Pick<Context, 'random' | 'now'>,
): NetworkKey {
  return { number, key: randomKey(bits, random), created: now };
}
