/**
 * Readiness for systemd and its relatives: sd_notify(3), datagrams to the Unix socket that NOTIFY_SOCKET names. Node has
 * no Unix datagram sockets: the C library sends them through koffi, or the program `systemd-notify` where that is missing.
 */
import { spawn } from 'node:child_process';

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** Bytes of `sun_path`. */
const MAX_PATH = 108;
/** How often a datagram is tried that the socket has no room for, and the milliseconds between. */
const TRIES = 100;
const PAUSE = 50;

/** Sends one datagram; returns whether it is gone. */
type Send = (datagram: string) => boolean;

export class ServiceManager {
  /** Milliseconds between signs of life, half of what the manager waits for one; 0: it wants none. */
  readonly watchdog: number;
  readonly #send: Send;

  private constructor(send: Send, watchdog: number) {
    this.#send = send;
    this.watchdog = watchdog;
  }

  /**
   * The service manager that started this process; `undefined` where none wants to know.
   * @param koffi Whether to send through koffi where it is present.
   */
  static async find(env: NodeJS.ProcessEnv = process.env, koffi = true): Promise<ServiceManager | undefined> {
    const { NOTIFY_SOCKET: path, WATCHDOG_USEC: microseconds, WATCHDOG_PID: pid } = env;
    if (path === undefined || !/^[/@]./.test(path)) return undefined;
    const isOurs = pid === undefined || Number(pid) === process.pid;
    const watchdog = isOurs && /^\d+$/.test(microseconds ?? '') ? Number(microseconds) / 2000 : 0;
    return new ServiceManager((koffi ? await throughLibc(path) : undefined) ?? throughProgram(env), watchdog);
  }

  /** Frames flow, or a new configuration is in effect. */
  ready(status: string): void {
    this.#notify(`READY=1\nSTATUS=${oneLine(status)}`);
  }

  /** A configuration is being read again; `ready` follows. */
  reloading(): void {
    this.#notify(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
  }

  stopping(): void {
    this.#notify('STOPPING=1');
  }

  /** A line for "systemctl status". */
  status(text: string): void {
    this.#notify(`STATUS=${oneLine(text)}`);
  }

  /** A sign of life, due every `watchdog` milliseconds. */
  alive(): void {
    this.#notify('WATCHDOG=1');
  }

  #notify(datagram: string, tries = TRIES): void {
    if (this.#send(datagram) || tries === 0) return;
    setTimeout(() => this.#notify(datagram, tries - 1), PAUSE).unref();
  }
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim();
}

async function throughLibc(path: string): Promise<Send | undefined> {
  try {
    const koffi = (await import('koffi')).default as unknown as typeof import('koffi');
    const library = koffi.load(null);
    const socket = library.func('socket', 'int', ['int', 'int', 'int']);
    const sendto = library.func('sendto', 'int', ['int', 'uint8_t *', 'size_t', 'int', 'uint8_t *', 'uint']);
    const address = sockaddr(path);
    const fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0) as number;
    if (fd < 0 || address === undefined) return undefined;
    const { EAGAIN, EINTR, ENOBUFS } = koffi.os.errno;
    return (datagram) => {
      const bytes = Buffer.from(datagram);
      const sent = sendto(fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL, address, address.length) as number;
      // Where the manager is gone there is nobody to tell.
      return sent >= 0 || ![EAGAIN, EINTR, ENOBUFS].includes(koffi.errno());
    };
  } catch {
    return undefined; // no koffi, or a C library without these
  }
}

/** `struct sockaddr_un`; a name that starts with "@" is an abstract one. */
function sockaddr(path: string): Buffer | undefined {
  const name = Buffer.from(path.startsWith('@') ? `\0${path.slice(1)}` : `${path}\0`);
  if (name.length > MAX_PATH) return undefined;
  const family = Buffer.alloc(2);
  if (new Uint8Array(new Uint16Array([AF_UNIX]).buffer)[0] === AF_UNIX) family.writeUInt16LE(AF_UNIX);
  else family.writeUInt16BE(AF_UNIX);
  return Buffer.concat([family, name]);
}

/** The messages come from another process than the service's own then, which takes NotifyAccess=all. */
function throughProgram(env: NodeJS.ProcessEnv): Send {
  let previous = Promise.resolve();
  return (datagram) => {
    previous = previous.then(
      () =>
        new Promise((resolve) => {
          const child = spawn('systemd-notify', datagram.split('\n'), { stdio: 'ignore', env });
          child.on('error', () => resolve()); // there is no such program: the manager hears nothing
          child.on('close', () => resolve());
        }),
    );
    return true;
  };
}
