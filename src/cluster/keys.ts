/**
 * The keys under which the records of a cluster are stored. Names are unique without regard to case, as in DNS, so that
 * their keys have them in lower case. That two managers cannot give away one name, address or VNI follows from conditions on these keys.
 */
import { type Role } from './records.js';

export const KEY = {
  cluster: 'cluster',
  ca: 'ca',
  token: (role: Role): string => `tokens/${role}`,
  gossipKeys: 'gossip-keys',
  /** Written by each command that adds a subnet, and a condition of it: two managers cannot add subnets that overlap. */
  subnets: 'subnets',
  node: (id: string): string => `nodes/${id}`,
  revoked: (fingerprint: string): string => `revoked/${fingerprint}`,
  network: (id: string): string => `networks/${id}`,
  /** The keys of an encrypted network: only nodes with endpoints in it hear them. */
  networkKeys: (network: string): string => `network-keys/${network}`,
  networkName: (name: string): string => `network-names/${name.toLowerCase()}`,
  vni: (vni: number): string => `vnis/${vni}`,
  /**
   * Written, without a condition, by each command that begins to use a network, and a condition of its removal: a network cannot
   * be removed while another manager adds an endpoint, and endpoints are added at the same time without conflict.
   */
  uses: (network: string): string => `uses/${network}`,
  endpoint: (network: string, id: string): string => `endpoints/${network}/${id}`,
  endpointName: (network: string, name: string): string => `endpoint-names/${network}/${name.toLowerCase()}`,
  address: (network: string, ip: string): string => `addresses/${network}/${ip}`,
  mac: (network: string, mac: string): string => `macs/${network}/${mac}`,
  service: (id: string): string => `services/${id}`,
  serviceName: (name: string): string => `service-names/${name.toLowerCase()}`,
  task: (service: string, slot: number): string => `tasks/${service}/${slot}`,
} as const;

/** Splits a key at its slashes: its kind, and up to two parts, of which only the last may have slashes. */
export function splitKey(key: string): [kind: string, first: string, second: string] {
  const a = key.indexOf('/');
  if (a < 0) return [key, '', ''];
  const b = key.indexOf('/', a + 1);
  return b < 0 ? [key.slice(0, a), key.slice(a + 1), ''] : [key.slice(0, a), key.slice(a + 1, b), key.slice(b + 1)];
}
