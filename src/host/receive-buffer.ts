/** Enlarges the receive buffer of a Node UDP socket as far as the process's privileges allow. */
import { type Socket } from 'node:dgram';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { isIpv6Text, parseIpv4, parseIpv6 } from '../address/index.js';
import * as abi from './linux/abi.js';
import { loadLibc } from './linux/libc.js';

/**
 * Requests a receive buffer: beyond the limit `net.core.rmem_max` if the process may (SO_RCVBUFFORCE requires
 * CAP_NET_ADMIN and koffi), otherwise up to the limit.
 * @param socket A bound socket.
 * @returns the number of bytes that the system granted.
 */
export async function enlargeReceiveBuffer(socket: Socket, octets: number): Promise<number> {
  const granted = (): number => socket.getRecvBufferSize() / 2; // Linux reports twice the size, including its own overhead
  try {
    socket.setRecvBufferSize(octets);
    if (granted() < octets) await force(socket, octets);
  } catch {
    // Keep the buffer as it is; the caller reports its size.
  }
  return granted();
}

async function force(socket: Socket, octets: number): Promise<void> {
  const { address, port } = socket.address();
  const fd = findUdpSocket(address, port);
  if (fd === null) return;
  const libc = await loadLibc();
  const value = Int32Array.of(octets);
  libc.setsockopt(fd, abi.SOL_SOCKET, abi.SO_RCVBUFFORCE, libc.address(value.buffer), value.byteLength);
}

/** The file descriptor of this process's socket on an address, which Node does not expose; `null` if there is none. */
export function findUdpSocket(address: string, port: number): number | null {
  const table = `/proc/self/net/${isIpv6Text(address) ? 'udp6' : 'udp'}`;
  const local = `${kernelAddress(address)}:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const line = readFileSync(table, 'utf8')
    .split('\n')
    .map((one) => one.trim().split(/\s+/))
    .find(([, at]) => at === local);
  if (line === undefined) return null;
  const wanted = `socket:[${line[9]}]`;
  const fd = readdirSync('/proc/self/fd').find((name) => linkOf(`/proc/self/fd/${name}`) === wanted);
  return fd === undefined ? null : Number(fd);
}

/** An address as in /proc/net: 32-bit words in host byte order, which is little-endian. */
function kernelAddress(address: string): string {
  const hex = (octets: ArrayLike<number>): string =>
    Array.from(octets, (octet) => octet.toString(16).padStart(2, '0'))
      .join('')
      .toUpperCase();
  if (!isIpv6Text(address)) {
    const number = parseIpv4(address);
    return hex([number & 255, (number >>> 8) & 255, (number >>> 16) & 255, number >>> 24]);
  }
  const bytes = parseIpv6(address);
  return [0, 4, 8, 12].map((at) => hex([...bytes.subarray(at, at + 4)].reverse())).join('');
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ''; // closed meanwhile
  }
}
