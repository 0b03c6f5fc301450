/** Names of networks and addresses of endpoints, for agents with many of both. */

export const idOf = (network: number): string => `net${String(network).padStart(3, '0')}${'x'.repeat(19)}`;

/** The MAC address of an endpoint of a host. */
export const macOf = (host: number, network: number, endpoint: number): string =>
  `02:${octet(host)}:${octet(network >> 8)}:${octet(network & 255)}:00:${octet(endpoint)}`;

/** Two hexadecimal digits. */
export function octet(number: number): string {
  return number.toString(16).padStart(2, '0');
}
