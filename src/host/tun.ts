/** Opening a TAP: `/dev/net/tun` and the one ioctl for which Node has no call of its own. */
import { closeSync, constants, openSync, readFileSync, readlinkSync } from 'node:fs';
import { codeOf, HostError } from './error.js';

const DEVICE = '/dev/net/tun';
const TUNSETIFF = 0x4004_54ca;

// struct ifreq: the name, then the flags.
const NAME_LENGTH = 16;
const FLAGS = 16;
const IFREQ_LENGTH = 40;

/** Frames of Ethernet, not packets of IP. */
const IFF_TAP = 0x0002;
/** No packet information in front of each frame. */
const IFF_NO_PI = 0x1000;
/** Each frame is preceded by a `virtio_net_hdr`. */
export const IFF_VNET_HDR = 0x4000;
/** Fail where the device exists already. */
const IFF_TUN_EXCL = 0x8000;

export interface OpenTap {
  fd: number;
  /** The device's name as the kernel gave it. */
  name: string;
}

type Ioctl = (fd: number, request: number, argument: Buffer) => number;

/**
 * Makes a TAP device, which lives as long as its file descriptor is open: it is gone when the process ends, however that
 * happens.
 *
 * @param name The device's name, or a template such as `weft%d`.
 * @param flags Beside `IFF_TAP` and `IFF_NO_PI`.
 * @throws HostError where koffi or a privilege is missing, or the name is taken.
 */
export async function openTap(name: string, flags = 0): Promise<OpenTap> {
  const { ioctl, errno } = await loadIoctl();
  const fd = openDevice();
  const request = Buffer.alloc(IFREQ_LENGTH);
  request.write(name, 0, NAME_LENGTH - 1);
  request.writeUInt16LE(IFF_TAP | IFF_NO_PI | IFF_TUN_EXCL | flags, FLAGS);
  if (ioctl(fd, TUNSETIFF, request) < 0) {
    const code = errno();
    closeSync(fd);
    throw new HostError(refusal(name, code));
  }
  return { fd, name: request.toString('utf8', 0, request.indexOf(0)) };
}

/**
 * Looks at a TAP that somebody else has opened: that it is one, and that its frames come without a header in front.
 * @returns the device's name.
 * @throws HostError that says what the file descriptor is instead.
 */
export function inspectTap(fd: number): string {
  const passed = `pass an open TAP (IFF_TAP | IFF_NO_PI) to the process, as file descriptor ${fd}`;
  let target: string;
  try {
    target = readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    throw new HostError(`file descriptor ${fd} is not open; ${passed}`);
  }
  const name = /^iff:\s*(\S+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1];
  if (name === undefined)
    throw new HostError(`file descriptor ${fd} is ${target}, and no TAP is attached to it; ${passed}`);
  let flags: number;
  try {
    flags = Number(readFileSync(`/sys/class/net/${name}/tun_flags`, 'utf8'));
  } catch {
    return name; // the device is in another namespace, where its flags cannot be seen
  }
  if ((flags & IFF_TAP) === 0)
    throw new HostError(`${name} on file descriptor ${fd} is a TUN and not a TAP; ${passed}`);
  if ((flags & IFF_NO_PI) === 0 || (flags & IFF_VNET_HDR) !== 0)
    throw new HostError(`${name} on file descriptor ${fd} puts a header in front of each frame; ${passed}`);
  return name;
}

function openDevice(): number {
  try {
    return openSync(DEVICE, constants.O_RDWR | constants.O_NONBLOCK);
  } catch (error) {
    const code = codeOf(error);
    if (code === 'EACCES' || code === 'EPERM')
      throw new HostError(
        `${DEVICE}: permission denied; run as root or give CAP_NET_ADMIN, or pass an open TAP with --tap-fd`,
        { cause: error },
      );
    if (code === 'ENOENT' || code === 'ENODEV' || code === 'ENXIO')
      throw new HostError(
        `${DEVICE} is not there; load the module with "modprobe tun" (in a container: --device ${DEVICE}), or pass an open TAP with --tap-fd`,
        { cause: error },
      );
    throw new HostError(`${DEVICE}: ${(error as Error).message}`, { cause: error });
  }
}

function refusal(name: string, code: string): string {
  if (code === 'EPERM')
    return `${DEVICE}: no permission to make TAP "${name}"; run as root or give CAP_NET_ADMIN, or pass an open TAP with --tap-fd`;
  if (code === 'EBUSY' || code === 'EEXIST')
    return `a device "${name}" exists already ("ip link show ${name}"); choose another name, or pass it, opened, with --tap-fd`;
  if (code === 'EINVAL')
    return `the kernel does not take "${name}" as the name of a TAP, or a device that is none has it`;
  return `making TAP "${name}" failed: ${code}`;
}

async function loadIoctl(): Promise<{ ioctl: Ioctl; errno: () => string }> {
  let koffi: typeof import('koffi');
  try {
    koffi = (await import('koffi')).default as unknown as typeof import('koffi');
  } catch (error) {
    const why =
      codeOf(error) === 'ERR_MODULE_NOT_FOUND' || codeOf(error) === 'MODULE_NOT_FOUND'
        ? 'which is not installed; add it with "npm install koffi"'
        : `which does not load (${(error as Error).message}); try "npm install koffi"`;
    throw new HostError(`making a TAP takes koffi, ${why}, or pass an open TAP with --tap-fd`, { cause: error });
  }
  // The program itself has libc's symbols, whichever libc it is.
  const ioctl = koffi.load(null).func('int ioctl(int fd, ulong request, void *argument)') as unknown as Ioctl;
  const names = new Map(Object.entries(koffi.os.errno).map(([text, number]) => [number, text]));
  return { ioctl, errno: () => names.get(koffi.errno()) ?? `errno ${koffi.errno()}` };
}
