/** Opens TAPs: `/dev/net/tun` and its ioctls, for which Node has no calls. */
import { close, closeSync, constants, openSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { codeOf, HostError, isResourceError } from './error.js';
import { openInNetns } from './netns.js';

const DEVICE = '/dev/net/tun';
const TUNSETIFF = 0x4004_54ca;
const TUNGETFEATURES = 0x8004_54cf;
const TUNSETPERSIST = 0x4004_54cb;
const TUNSETOFFLOAD = 0x4004_54d0;
const TUNSETVNETHDRSZ = 0x4004_54d8;
/** Length of `struct virtio_net_hdr` without `num_buffers`, as the engines expect it. */
const VIRTIO_LENGTH = 10;

// struct ifreq: the name, then the flags.
const NAME_LENGTH = 16;
const FLAGS = 16;
const IFREQ_LENGTH = 40;

/** Ethernet frames, not IP packets. */
const IFF_TAP = 0x0002;
/** No packet information header in front of each frame. */
const IFF_NO_PI = 0x1000;
/** A `virtio_net_hdr` precedes each frame. */
export const IFF_VNET_HDR = 0x4000;
/** The device may have several queues, each with its own file descriptor. */
const IFF_MULTI_QUEUE = 0x0100;
const TUNSETQUEUE = 0x4004_54d9;
const IFF_DETACH_QUEUE = 0x0400;
/** Fail if the device already exists. */
const IFF_TUN_EXCL = 0x8000;

export interface TapFiles {
  /** Read from these: the kernel keeps the packets of a flow in one queue. */
  queues: readonly number[];
  /** Write to this; the queue itself if there is only one. */
  writer: number;
}

export interface OpenTap extends TapFiles {
  /** The first queue. */
  fd: number;
  /** The device's name as the kernel gave it. */
  name: string;
}

/**
 * Creates a TAP device that lives as long as its file descriptors are open: the kernel removes it when the process
 * ends.
 *
 * @param name The device's name, or a template such as `weft%d`.
 * @param flags In addition to `IFF_TAP` and `IFF_NO_PI`.
 * @param count Number of queues.
 * @param multiQueue Whether the device may have several queues, now or later.
 * @throws HostError if koffi or a privilege is missing, or the name is taken.
 */
export async function openTap(name: string, flags = 0, count = 1, multiQueue = count > 1): Promise<OpenTap> {
  const [files] = await openTunFiles([{ name, count }]);
  return attachTap(files!, name, { flags, multiQueue, exclusive: true });
}

/** A TAP to open files for. */
export interface TunPlace {
  name: string;
  /** The device's namespace, by name or path; absent: the namespace of this process. */
  netns?: string;
  /** Number of queues. */
  count: number;
  /** The field of the configuration that names the namespace, for errors. */
  path?: string;
}

/**
 * Opens `/dev/net/tun` for each TAP: once per queue, and once more for writing if there are several queues. A file that
 * is opened in a namespace attaches to devices of that namespace, whichever thread uses it.
 * @returns the file descriptors, by TAP.
 * @throws HostError if koffi, the device or a privilege is missing; all files are closed then.
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
  /** In addition to `IFF_TAP` and `IFF_NO_PI`. */
  flags: number;
  /** Whether the device supports several queues; must match an existing device. */
  multiQueue: boolean;
  /** Whether to create the device, and fail if it exists; otherwise attaches to the existing device. */
  exclusive: boolean;
}

/**
 * Attaches the files of a TAP to its device; creates the device first if `exclusive` is set.
 * @param files From `openTunFiles`. Takes ownership: closes them on error.
 * @throws HostError with the device and the reason; `cause` has the system's code.
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
      // Settings of an earlier process stay in effect until this engine sets its own: super-frames, checksums left to
      // the reader, another header length. Reset them.
      ioctlNumber(fd, TUNSETOFFLOAD, 0);
      const length = Buffer.alloc(4);
      length.writeInt32LE(VIRTIO_LENGTH);
      ioctl(fd, TUNSETVNETHDRSZ, length);
    }
    if (others.length === 0) return { fd, name: given, queues: [fd], writer: fd };
    for (const other of others) attach(other, 0);
    // The kernel delivers a flow's packets to the queue that last wrote packets of the reverse direction. Writing to
    // the queues would therefore move flows between them; writing to a detached queue keeps each flow on its queue.
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
 * Makes the device persist after the process ends, or removes it with the last file descriptor again.
 * @returns false if the kernel refuses: the device is gone.
 */
export async function persistTap({ writer }: TapFiles, on: boolean): Promise<boolean> {
  const { ioctlNumber } = await loadIoctl();
  return ioctlNumber(writer, TUNSETPERSIST, on ? 1 : 0) >= 0;
}

/** Returns the processes that have a TAP of this name open, in any namespace, as far as this process may see them. */
export function tapHolders(name: string): number[] {
  const list = (path: string): string[] => {
    try {
      return readdirSync(path);
    } catch {
      return []; // the process has ended, or belongs to another user
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

/**
 * Closes every file descriptor of a TAP, which removes the device unless it persists. The kernel takes milliseconds to
 * remove a device, so this happens on a thread of the pool.
 */
export async function closeTap({ queues, writer }: TapFiles): Promise<void> {
  for (const fd of new Set([...queues, writer])) await closeFile(fd);
}

/** Closes a file descriptor on a thread of the pool. */
export function closeFile(fd: number): Promise<void> {
  return new Promise((resolve) => {
    // Deno's function takes only descriptors that Deno opened on the same thread.
    if (loaded !== undefined) loaded.closeAsync(fd, () => resolve());
    else close(fd, () => resolve());
  });
}

/**
 * Returns the TAP flags that the kernel supports. If it cannot be asked, returns all flags: opening a TAP then fails
 * with the reason.
 * @throws HostError if koffi is missing.
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
 * Checks a TAP that another program opened: that it is a TAP, and that its frames have no header in front.
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
    return name; // the device is in another namespace, where this process cannot read its flags
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
      `${DEVICE}: permission denied; run as root or give CAP_NET_ADMIN, or pass an open TAP as \`fd\``,
      { cause, path: '' },
    );
  if (code === 'ENOENT' || code === 'ENODEV' || code === 'ENXIO')
    return new HostError(
      `${DEVICE} does not exist; load the module with "modprobe tun" (in a container: pass the device into it), or pass an open TAP as \`fd\``,
      { cause, path: '' },
    );
  if (code === 'EMFILE' || code === 'ENFILE')
    return new HostError(`${DEVICE}: too many open files; raise the limit ("ulimit -n 1024")`, { cause, path: '' });
  return new HostError(`${DEVICE} cannot be opened: ${code || (cause as Error).message}`, { cause, path: '' });
}

function refusal(name: string, code: string): string {
  if (code === 'EPERM')
    return `${DEVICE}: no permission to make TAP "${name}"; run as root or give CAP_NET_ADMIN, or pass an open TAP as \`fd\``;
  if (code === 'EBUSY' || code === 'EEXIST')
    return `a device "${name}" exists already; choose another name, or open it and pass it as \`fd\``;
  if (code === 'EINVAL') return `the kernel does not accept "${name}" as the name of a TAP; choose another name`;
  return `making TAP "${name}" failed (${code})`;
}

interface Ioctls {
  ioctl: (fd: number, request: number, argument: Buffer) => number;
  ioctlNumber: (fd: number, request: number, argument: number) => number;
  /** The error code of the last call. */
  errno: () => string;
  /** Calls close(2) on a thread of the pool. */
  closeAsync: (fd: number, done: () => void) => void;
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
        : `which does not load (${(error as Error).message})${isResourceError(error) ? '' : '; try "npm install koffi"'}`;
    throw new HostError(`making a TAP needs koffi, ${why}, or pass an open TAP as \`fd\``, { cause: error });
  }
  // The program itself exports libc's symbols, whichever libc it is.
  const library = koffi.load(null);
  const names = new Map(Object.entries(koffi.os.errno).map(([text, number]) => [number, text]));
  loaded = {
    ioctl: library.func('int ioctl(int fd, ulong request, void *argument)') as unknown as Ioctls['ioctl'],
    ioctlNumber: library.func('int ioctl(int fd, ulong request, ulong argument)') as unknown as Ioctls['ioctlNumber'],
    errno: () => names.get(koffi.errno()) ?? `errno ${koffi.errno()}`,
    closeAsync: (library.func('int close(int fd)') as unknown as { async: Ioctls['closeAsync'] }).async,
  };
  return loaded;
}
