/** Opens TAPs: `/dev/net/tun` and its ioctls, which Node has no calls for. */
import { closeSync, constants, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { codeOf, HostError } from './error.js';
import { openInNetns } from './netns.js';

const DEVICE = '/dev/net/tun';
const TUNSETIFF = 0x4004_54ca;
const TUNGETFEATURES = 0x8004_54cf;
const TUNSETPERSIST = 0x4004_54cb;
const TUNSETOFFLOAD = 0x4004_54d0;
const TUNSETVNETHDRSZ = 0x4004_54d8;
/** `struct virtio_net_hdr` without its count of buffers: what engines expect. */
const VIRTIO_LENGTH = 10;

// struct ifreq: the name, then the flags.
const NAME_LENGTH = 16;
const FLAGS = 16;
const IFREQ_LENGTH = 40;

/** Ethernet frames, not IP packets. */
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

/**
 * Makes a TAP device that lives as long as its file descriptors are open: the kernel removes it when the process ends.
 *
 * @param name The device's name, or a template such as `weft%d`.
 * @param flags Beside `IFF_TAP` and `IFF_NO_PI`.
 * @param count Queues.
 * @param multiQueue Whether the device may get several queues, now or later.
 * @throws HostError where koffi or a privilege is missing, or the name is taken.
 */
export async function openTap(name: string, flags = 0, count = 1, multiQueue = count > 1): Promise<OpenTap> {
  const [files] = await openTunFiles([{ name, count }]);
  return attachTap(files!, name, { flags, multiQueue, exclusive: true });
}

/** A TAP that is to be opened. */
export interface TunPlace {
  name: string;
  /** The namespace of the device, by name or path; absent: this process's. */
  netns?: string;
  /** Queues. */
  count: number;
  /** The field of the configuration that names the namespace, for errors. */
  path?: string;
}

/**
 * Opens `/dev/net/tun` for each TAP, once a queue and once more to write to where there are several. A file that is
 * opened in a namespace attaches to devices of that namespace, whatever thread uses it.
 * @returns the file descriptors, by TAP.
 * @throws HostError where koffi, the device or a privilege is missing; then nothing stays open.
 */
export async function openTunFiles(places: readonly TunPlace[]): Promise<number[][]> {
  if (places.length === 0) return [];
  await loadIoctl();
  const filesOf = ({ count }: TunPlace): number => (count > 1 ? count + 1 : 1);
  const elsewhere = places.flatMap(({ netns, path, ...place }) =>
    netns === undefined ? [] : [{ netns, count: filesOf({ ...place }), ...(path === undefined ? {} : { path }) }],
  );
  let entered: number[][];
  try {
    entered = await openInNetns(DEVICE, elsewhere);
  } catch (error) {
    throw error instanceof HostError ? error : deviceError(error);
  }
  const files: number[][] = [];
  let next = 0;
  try {
    for (const place of places) {
      const own: number[] = place.netns === undefined ? [] : entered[next++]!;
      files.push(own);
      if (place.netns === undefined) for (let i = 0; i < filesOf(place); i++) own.push(openDevice());
    }
    return files;
  } catch (error) {
    for (const fd of new Set([...files.flat(), ...entered.flat()])) closeSync(fd);
    throw error;
  }
}

/** How to attach to a TAP. */
export interface Attachment {
  /** Beside `IFF_TAP` and `IFF_NO_PI`. */
  flags: number;
  /** Whether the device has, or is to get, several queues: an existing device accepts no other answer than its own. */
  multiQueue: boolean;
  /** Makes the device, and fails where it exists; otherwise attaches to the one that exists. */
  exclusive: boolean;
}

/**
 * Attaches the files of a TAP to its device, and makes it first where that is asked for.
 * @param files Of `openTunFiles`: the TAP's from then on, and closed after an error.
 * @throws HostError naming the device and the reason; `cause` has the system's code.
 */
export async function attachTap(
  files: readonly number[],
  name: string,
  { flags, multiQueue, exclusive }: Attachment,
): Promise<OpenTap> {
  const { ioctl, ioctlNumber, errno } = await loadIoctl();
  const common = IFF_TAP | IFF_NO_PI | flags | (multiQueue ? IFF_MULTI_QUEUE : 0);
  let given = name;
  const attach = (fd: number, more: number): void => {
    const request = Buffer.alloc(IFREQ_LENGTH);
    request.write(given, 0, NAME_LENGTH - 1);
    request.writeUInt16LE(common | more, FLAGS);
    if (ioctl(fd, TUNSETIFF, request) < 0) {
      const code = errno();
      const cause = Object.assign(new Error(code), { code });
      throw new HostError(refusal(given, code), { cause, ...(code === 'EPERM' ? { path: '' } : {}) });
    }
    given = request.toString('utf8', 0, request.indexOf(0));
  };
  try {
    const [fd, ...others] = files as [number, ...number[]];
    attach(fd, exclusive ? IFF_TUN_EXCL : 0);
    if (!exclusive) {
      // What an earlier process asked for holds until this one's engine asks for its own: super-frames and checksums
      // that are left to the reader, headers of another length.
      ioctlNumber(fd, TUNSETOFFLOAD, 0);
      const length = Buffer.alloc(4);
      length.writeInt32LE(VIRTIO_LENGTH);
      ioctl(fd, TUNSETVNETHDRSZ, length);
    }
    if (others.length === 0) return { fd, name: given, queues: [fd], writer: fd };
    for (const other of others) attach(other, 0);
    // A flow's packets come by the queue that the answers to them were written to last: written to the queues, flows would
    // change from one to another on their way. What is written to a detached one leaves them where their hash has put them.
    const writer = others.at(-1)!;
    const request = Buffer.alloc(IFREQ_LENGTH);
    request.writeUInt16LE(IFF_DETACH_QUEUE, FLAGS);
    if (ioctl(writer, TUNSETQUEUE, request) < 0)
      throw new HostError(`TAP "${given}" does not support several queues (${errno()}); use one worker`);
    return { fd, name: given, queues: files.slice(0, -1), writer };
  } catch (error) {
    for (const fd of files) closeSync(fd);
    throw error;
  }
}

/**
 * Makes the device outlive the process, or lets it go with the last file descriptor again.
 * @returns false where the kernel does not do it: the device is gone.
 */
export async function persistTap({ writer }: TapFiles, on: boolean): Promise<boolean> {
  const { ioctlNumber } = await loadIoctl();
  return ioctlNumber(writer, TUNSETPERSIST, on ? 1 : 0) >= 0;
}

/** The processes that have a TAP of that name open, in whatever namespace, as far as this one may see them. */
export function tapHolders(name: string): number[] {
  const list = (path: string): string[] => {
    try {
      return readdirSync(path);
    } catch {
      return []; // it has ended, or is somebody else's
    }
  };
  const holds = (pid: string): boolean =>
    list(`/proc/${pid}/fd`).some((fd) => {
      try {
        if (readlinkSync(`/proc/${pid}/fd/${fd}`) !== DEVICE) return false;
        return /^iff:\s*(\S+)/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))?.[1] === name;
      } catch {
        return false;
      }
    });
  return list('/proc')
    .filter((entry) => /^\d+$/.test(entry) && holds(entry))
    .map(Number);
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
    throw deviceError(error);
  }
}

function deviceError(cause: unknown): HostError {
  const code = codeOf(cause);
  if (code === 'EACCES' || code === 'EPERM')
    return new HostError(
      `${DEVICE}: permission denied; run as root or give CAP_NET_ADMIN, or pass an open TAP with --tap-fd`,
      { cause, path: '' },
    );
  if (code === 'ENOENT' || code === 'ENODEV' || code === 'ENXIO')
    return new HostError(
      `${DEVICE} does not exist; load the module with "modprobe tun" (in a container: --device ${DEVICE}), or pass an open TAP with --tap-fd`,
      { cause, path: '' },
    );
  if (code === 'EMFILE' || code === 'ENFILE')
    return new HostError(`${DEVICE}: too many open files; raise the limit ("ulimit -n 1024")`, { cause, path: '' });
  return new HostError(`${DEVICE} cannot be opened: ${code || (cause as Error).message}`, { cause, path: '' });
}

function refusal(name: string, code: string): string {
  if (code === 'EPERM')
    return `${DEVICE}: no permission to make TAP "${name}"; run as root or give CAP_NET_ADMIN, or pass an open TAP with --tap-fd`;
  if (code === 'EBUSY' || code === 'EEXIST')
    return `a device "${name}" exists already; choose another name, or pass it, opened, with --tap-fd`;
  if (code === 'EINVAL') return `the kernel does not accept "${name}" as the name of a TAP; choose another name`;
  return `making TAP "${name}" failed (${code})`;
}

interface Ioctls {
  ioctl: (fd: number, request: number, argument: Buffer) => number;
  ioctlNumber: (fd: number, request: number, argument: number) => number;
  /** The code of the last call's error. */
  errno: () => string;
}

let loaded: Ioctls | undefined;

async function loadIoctl(): Promise<Ioctls> {
  if (loaded !== undefined) return loaded;
  let koffi: typeof import('koffi');
  try {
    koffi = (await import('koffi')).default as unknown as typeof import('koffi');
  } catch (error) {
    const why =
      codeOf(error) === 'ERR_MODULE_NOT_FOUND' || codeOf(error) === 'MODULE_NOT_FOUND'
        ? 'which is not installed; add it with "npm install koffi"'
        : `which does not load (${(error as Error).message}); try "npm install koffi"`;
    throw new HostError(`making a TAP needs koffi, ${why}, or pass an open TAP with --tap-fd`, { cause: error });
  }
  // The program itself has libc's symbols, whichever libc it is.
  const library = koffi.load(null);
  const names = new Map(Object.entries(koffi.os.errno).map(([text, number]) => [number, text]));
  loaded = {
    ioctl: library.func('int ioctl(int fd, ulong request, void *argument)') as unknown as Ioctls['ioctl'],
    ioctlNumber: library.func('int ioctl(int fd, ulong request, ulong argument)') as unknown as Ioctls['ioctlNumber'],
    errno: () => names.get(koffi.errno()) ?? `errno ${koffi.errno()}`,
  };
  return loaded;
}
