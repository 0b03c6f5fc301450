/** Opening a TAP: `/dev/net/tun` and the one ioctl for which Node has no call of its own. */
import { closeSync, constants, openSync, readFileSync, readlinkSync } from 'node:fs';
import { codeOf, HostError } from './error.js';

const DEVICE = '/dev/net/tun';
const TUNSETIFF = 0x4004_54ca;
const TUNGETFEATURES = 0x8004_54cf;

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
/** The device may have several queues, each a file descriptor of its own. */
const IFF_MULTI_QUEUE = 0x0100;
const TUNSETQUEUE = 0x4004_54d9;
const IFF_DETACH_QUEUE = 0x0400;
/** Fail where the device exists already. */
const IFF_TUN_EXCL = 0x8000;

/** The file descriptors of a TAP. */
export interface TapFiles {
  /** To read from: the kernel keeps the packets of a flow in one queue. */
  queues: readonly number[];
  /** To write to; with one queue this is it. */
  writer: number;
}

export interface OpenTap extends TapFiles {
  /** The first queue. */
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
 * @param count Queues.
 * @throws HostError where koffi or a privilege is missing, or the name is taken.
 */
export async function openTap(name: string, flags = 0, count = 1): Promise<OpenTap> {
  const { ioctl, errno } = await loadIoctl();
  const common = IFF_TAP | IFF_NO_PI | flags | (count > 1 ? IFF_MULTI_QUEUE : 0);
  const open: number[] = [];
  let given = name;
  /** One more file descriptor of the device, which the first one makes. */
  const attach = (more: number): number => {
    const fd = openDevice();
    open.push(fd);
    const request = Buffer.alloc(IFREQ_LENGTH);
    request.write(given, 0, NAME_LENGTH - 1);
    request.writeUInt16LE(common | more, FLAGS);
    if (ioctl(fd, TUNSETIFF, request) < 0) {
      const code = errno();
      throw new HostError(refusal(given, code), code === 'EPERM' ? { path: '' } : {});
    }
    given = request.toString('utf8', 0, request.indexOf(0));
    return fd;
  };
  try {
    const fd = attach(IFF_TUN_EXCL);
    if (count === 1) return { fd, name: given, queues: [fd], writer: fd };
    const queues = [fd, ...Array.from({ length: count - 1 }, () => attach(0))];
    // A flow's packets come by the queue that the answers to them were written to last: written to the queues, flows would
    // change from one to another on their way. What is written to a detached one leaves them where their hash has put them.
    const writer = attach(0);
    const request = Buffer.alloc(IFREQ_LENGTH);
    request.writeUInt16LE(IFF_DETACH_QUEUE, FLAGS);
    if (ioctl(writer, TUNSETQUEUE, request) < 0)
      throw new HostError(`TAP "${given}" takes no queues (${errno()}); do with one worker`);
    return { fd, name: given, queues, writer };
  } catch (error) {
    for (const fd of open) closeSync(fd);
    throw error;
  }
}

/** Closes every file descriptor of a TAP, and with them the device. */
export function closeTap({ queues, writer }: TapFiles): void {
  for (const fd of new Set([...queues, writer])) closeSync(fd);
}

/**
 * The flags that the kernel knows for its TAPs; all of them where it does not let itself be asked, which whoever opens a
 * TAP will hear the reason of.
 * @throws HostError where koffi is missing.
 */
export async function tunFeatures(): Promise<number> {
  const { ioctl } = await loadIoctl();
  let fd: number;
  try {
    fd = openDevice();
  } catch {
    return 0xffff_ffff;
  }
  const flags = Buffer.alloc(4);
  const answered = ioctl(fd, TUNGETFEATURES, flags) >= 0;
  closeSync(fd);
  return answered ? flags.readUInt32LE() : 0xffff_ffff;
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
        { cause: error, path: '' },
      );
    if (code === 'ENOENT' || code === 'ENODEV' || code === 'ENXIO')
      throw new HostError(
        `${DEVICE} is not there; load the module with "modprobe tun" (in a container: --device ${DEVICE}), or pass an open TAP with --tap-fd`,
        { cause: error, path: '' },
      );
    throw new HostError(`${DEVICE}: ${(error as Error).message}`, { cause: error, path: '' });
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
