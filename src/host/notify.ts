/**
 * Readiness for systemd and compatible service managers: sd_notify(3), datagrams to the Unix socket in NOTIFY_SOCKET.
 * Node has no Unix datagram sockets: koffi sends them through the C library, or else the program `systemd-notify` does.
 */
import { spawn } from 'node:child_process';
import { printable } from '../wire/index.js';

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
/** Bytes of `sun_path`. */
const MAX_PATH = 108;
/** Number of attempts to send a datagram while the socket is full, and milliseconds between them. */
const TRIES = 100;
const PAUSE = 50;

/** Sends one datagram; returns false to try again. */
type Send = (datagram: string) => boolean;

export class ServiceManager {
  /** Milliseconds between keep-alives, half the manager's timeout; 0 if it expects none. */
  readonly watchdog: number;
  readonly #send: Send;

  private constructor(send: Send, watchdog: number) {
    this.#send = send;
    this.watchdog = watchdog;
  }

  /**
   * Finds the service manager that started this process; `undefined` if there is none, or it expects no notifications.
   * @param koffi Whether to send through koffi if it is available.
   */
  static async find(env: NodeJS.ProcessEnv = process.env, koffi = true): Promise<ServiceManager | undefined> {
    const { NOTIFY_SOCKET: path, WATCHDOG_USEC: microseconds, WATCHDOG_PID: pid } = env;
    if (path === undefined || !/^[/@]./.test(path)) return undefined;
    const isOurs = pid === undefined || Number(pid) === process.pid;
    const watchdog = isOurs && /^\d+$/.test(microseconds ?? '') ? Number(microseconds) / 2000 : 0;
    return new ServiceManager((koffi ? await throughLibc(path) : undefined) ?? throughProgram(env), watchdog);
  }

  /** Reports that the VTEP forwards frames, or that a new configuration is in effect. */
  ready(status: string): void {
    this.#notify(`READY=1\nSTATUS=${oneLine(status)}`);
  }

  /** Reports that the configuration is being reloaded; `ready` follows. */
  reloading(): void {
    this.#notify(`RELOADING=1\nMONOTONIC_USEC=${process.hrtime.bigint() / 1000n}`);
  }

  stopping(): void {
    this.#notify('STOPPING=1');
  }

  /** Sets the line that "systemctl status" shows. */
  status(text: string): void {
    this.#notify(`STATUS=${oneLine(text)}`);
  }

  /** Sends a keep-alive, due every `watchdog` milliseconds. */
  alive(): void {
    this.#notify('WATCHDOG=1');
  }

  #notify(datagram: string, tries = TRIES): void {
    if (this.#send(datagram) || tries === 0) return;
    setTimeout(() => this.#notify(datagram, tries - 1), PAUSE).unref();
  }
}

/** The assignments of a notification are lines, so no status may contain a line feed. */
function oneLine(text: string): string {
  return printable(text.replace(/\s+/g, ' ').trim());
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
      // Other errors mean that the manager is gone: do not try again.
      return sent >= 0 || ![EAGAIN, EINTR, ENOBUFS].includes(koffi.errno());
    };
  } catch {
    return undefined; // no koffi, or a C library without these functions
  }
}

/** Builds a `struct sockaddr_un`; a name that starts with "@" is abstract. */
function sockaddr(path: string): Buffer | undefined {
  const name = Buffer.from(path.startsWith('@') ? `\0${path.slice(1)}` : `${path}\0`);
  if (name.length > MAX_PATH) return undefined;
  const family = Buffer.alloc(2);
  if (new Uint8Array(new Uint16Array([AF_UNIX]).buffer)[0] === AF_UNIX) family.writeUInt16LE(AF_UNIX);
  else family.writeUInt16BE(AF_UNIX);
  return Buffer.concat([family, name]);
}

/**
 * Sends through `systemd-notify`: another process than the service's main one, so systemd requires NotifyAccess=all.
 */
function throughProgram(env: NodeJS.ProcessEnv): Send {
  let previous = Promise.resolve();
  return (datagram) => {
    previous = previous.then(
      () =>
        new Promise((resolve) => {
          const child = spawn('systemd-notify', datagram.split('\n'), { stdio: 'ignore', env });
          child.on('error', () => resolve()); // no such program: the notification is dropped
          child.on('close', () => resolve());
        }),
    );
    return true;
  };
}
