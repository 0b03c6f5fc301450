/**
 * The C library's functions as the fast path calls them: synchronous, with numbers as arguments. Pointers are `bigint`s
 * into the one arena that holds all structures. Passing a stored bigint does not allocate; a number of that size does.
 */
import { constants } from 'node:os';
import { codeOf, HostError, isResourceError } from '../error.js';

/** An address in memory. */
export type Pointer = bigint;

export interface Libc {
  ioctl(fd: number, request: number, argument: number | Pointer): number;
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: Pointer, length: number): number;
  getsockname(fd: number, address: Pointer, length: Pointer): number;
  setsockopt(fd: number, level: number, name: number, value: Pointer, length: number): number;
  getsockopt(fd: number, level: number, name: number, value: Pointer, length: Pointer): number;
  poll(fds: Pointer, count: number, timeout: number): number;
  epoll_create1(flags: number): number;
  epoll_ctl(epoll: number, operation: number, fd: number, event: Pointer): number;
  epoll_wait(epoll: number, events: Pointer, most: number, timeout: number): number;
  read(fd: number, buffer: Pointer, length: number): number;
  write(fd: number, buffer: Pointer, length: number): number;
  readv(fd: number, vector: Pointer, count: number): number;
  writev(fd: number, vector: Pointer, count: number): number;
  recvmsg(fd: number, message: Pointer, flags: number): number;
  recvmmsg(fd: number, messages: Pointer, count: number, flags: number, timeout: Pointer): number;
  sendmmsg(fd: number, messages: Pointer, count: number, flags: number): number;
  eventfd(initial: number, flags: number): number;
  close(fd: number): number;
  sched_yield(): number;
  clock_gettime(clock: number, time: Pointer): number;
  madvise(address: Pointer, length: number, advice: number): number;
  /** The `errno` of the last call. */
  errno(): number;
  /** The address of a buffer's first byte. */
  address(buffer: ArrayBuffer): Pointer;
}

// Result and parameter types. Every `ssize_t` here fits an int.
const SIGNATURES: Readonly<Record<Exclude<keyof Libc, 'errno' | 'address'>, readonly [string, readonly string[]]>> = {
  ioctl: ['int', ['int', 'ulong', 'ulong']],
  socket: ['int', ['int', 'int', 'int']],
  bind: ['int', ['int', 'size_t', 'uint']],
  getsockname: ['int', ['int', 'size_t', 'size_t']],
  setsockopt: ['int', ['int', 'int', 'int', 'size_t', 'uint']],
  getsockopt: ['int', ['int', 'int', 'int', 'size_t', 'size_t']],
  poll: ['int', ['size_t', 'ulong', 'int']],
  epoll_create1: ['int', ['int']],
  epoll_ctl: ['int', ['int', 'int', 'int', 'size_t']],
  epoll_wait: ['int', ['int', 'size_t', 'int', 'int']],
  read: ['int', ['int', 'size_t', 'size_t']],
  write: ['int', ['int', 'size_t', 'size_t']],
  readv: ['int', ['int', 'size_t', 'int']],
  writev: ['int', ['int', 'size_t', 'int']],
  recvmsg: ['int', ['int', 'size_t', 'int']],
  recvmmsg: ['int', ['int', 'size_t', 'uint', 'int', 'size_t']],
  sendmmsg: ['int', ['int', 'size_t', 'uint', 'int']],
  eventfd: ['int', ['uint', 'int']],
  close: ['int', ['int']],
  sched_yield: ['int', []],
  clock_gettime: ['int', ['int', 'size_t']],
  madvise: ['int', ['size_t', 'size_t', 'int']],
};

/** @throws HostError if koffi is missing, does not load, or does not find these functions. */
export async function loadLibc(): Promise<Libc> {
  let koffi: typeof import('koffi');
  try {
    koffi = (await import('koffi')).default as unknown as typeof import('koffi');
  } catch (error) {
    const why =
      codeOf(error) === 'ERR_MODULE_NOT_FOUND' || codeOf(error) === 'MODULE_NOT_FOUND'
        ? 'which is not installed; add it with "npm install koffi"'
        : `which does not load (${(error as Error).message})${isResourceError(error) ? '' : '; try "npm install koffi"'}`;
    throw new HostError(`engine "linux" needs koffi, ${why}`, { cause: error });
  }
  try {
    const library = koffi.load(null); // the program itself exports libc's symbols, whichever libc it is
    const calls = Object.entries(SIGNATURES).map(([name, [result, parameters]]) => [
      name,
      library.func(name, result, [...parameters]),
    ]);
    return {
      ...(Object.fromEntries(calls) as Omit<Libc, 'errno' | 'address'>),
      errno: () => koffi.errno(),
      address: (buffer) => BigInt(koffi.address(buffer)),
    };
  } catch (error) {
    throw new HostError(
      `engine "linux" needs functions that this system's C library does not have (${(error as Error).message})`,
      { cause: error },
    );
  }
}

// If one number has two names, the first is the usual one: EAGAIN, not EWOULDBLOCK.
const NAMES = new Map(
  Object.entries(constants.errno)
    .reverse()
    .map(([name, number]) => [number as number, name]),
);
// Error names that Node does not have.
NAMES.set(77, 'EBADFD');
NAMES.set(112, 'EHOSTDOWN');

/** An error's name: `ENETUNREACH`. */
export function errorName(errno: number): string {
  return NAMES.get(errno) ?? `errno ${errno}`;
}

export const { EAGAIN, EINTR, EINVAL, EIO, EMSGSIZE, ENOBUFS, ENOMEM, EPERM, EACCES, ENOPROTOOPT, EADDRINUSE } =
  constants.errno;
/** The device behind a TAP is gone. */
export const EBADFD = 77;
