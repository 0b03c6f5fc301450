/**
 * The engine `dgram` sends probes of path MTUs by a socket of their own. With koffi, it neither fragments nor obeys the kernel's
 * cache of path MTUs, which Node cannot set. Without, the kernel fragments probes if it knows a narrower path from ICMP errors,
 * as it does with all datagrams of this engine: nothing is lost then, and probes find the paths that ICMP is silent about.
 */
import { type Socket } from 'node:dgram';
import { Arena } from './linux/arena.js';
import * as abi from './linux/abi.js';
import { loadLibc } from './linux/libc.js';
import { HostError } from './error.js';

/**
 * Sets whether a bound socket sends with DF and never fragments, or without DF and in fragments that every path carries.
 * @returns whether that worked: not without koffi, on other systems than Linux, and in runtimes that hide the descriptor.
 */
export async function setFragmenting(socket: Socket, v6: boolean, fragments: boolean): Promise<boolean> {
  const fd = descriptorOf(socket);
  if (fd < 0 || process.platform !== 'linux') return false;
  try {
    const libc = await loadLibc();
    const arena = new Arena(libc, ARENA);
    const at = arena.take(4);
    const set = (level: number, name: number, value: number): boolean => {
      arena.view.setInt32(at, value, true);
      return libc.setsockopt(fd, level, name, arena.pointer(at), 4) === 0;
    };
    const mode = fragments ? abi.PMTUDISC_DONT : abi.PMTUDISC_PROBE;
    if (!v6) return set(abi.SOL_IP, abi.IP_MTU_DISCOVER, mode);
    if (fragments) set(abi.SOL_IPV6, abi.IPV6_MTU, abi.IPV6_MIN_MTU);
    return set(abi.SOL_IPV6, abi.IPV6_MTU_DISCOVER, mode);
  } catch (error) {
    if (error instanceof HostError) return false; // no koffi
    throw error;
  }
}

const ARENA = 4096;

/** The file descriptor of a socket, which Node keeps in an internal field; -1 if it is not there. */
function descriptorOf(socket: Socket): number {
  const state = Object.getOwnPropertySymbols(socket).find(({ description }) => description === 'state symbol');
  if (state === undefined) return -1;
  const { handle } = (socket as unknown as Record<symbol, { handle?: { fd?: unknown } | null }>)[state] ?? {};
  return typeof handle?.fd === 'number' ? handle.fd : -1;
}
