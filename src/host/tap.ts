/** Reads and writes the frames of an open TAP, on Node's event loop. */
import { writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { codeOf, HostError } from './error.js';
import { MAX_FRAME, type TapPoller } from './tap-poller.js';
import { closeFile } from './tun.js';

/** Linux's "file descriptor in bad state": the device behind the TAP has been removed. */
const EBADFD = -77;

export interface TapEvents {
  /**
   * A frame at `[offset, end)` of `bytes`; valid during the call only.
   * @returns how many frames and datagrams it became, if that may be many.
   */
  frame(bytes: Uint8Array, offset: number, end: number): number | void;
  /** The device has been removed, or can no longer be read. */
  lost(reason: string): void;
}

interface PipeHandle {
  open(fd: number): number;
}

/**
 * Reads and writes the frames of an open TAP on Node's event loop. A {@link TapPoller} polls the TAP if there is one,
 * otherwise Node's pipe handle does. `net.Socket` and `tty` refuse a character device, and a blocking read would occupy
 * a thread of the pool forever and keep the process from ending. A pipe handle polls any file descriptor with epoll and
 * reads without blocking, one frame per read. Its class is not public, but has not changed since Node 0.10.
 */
export class TapChannel {
  readonly #fd: number;
  readonly #poller: TapPoller | undefined;
  readonly #socket: Socket | undefined;
  #open = true;
  /** Settles when the file is closed. */
  #closed: Promise<void> | undefined;

  /**
   * Takes ownership of the file descriptor: `close` closes it.
   * @param headroom Bytes to reserve in front of each frame.
   * @param poller Polls the TAP; must outlive the channel.
   */
  constructor(fd: number, headroom: number, events: TapEvents, poller?: TapPoller) {
    this.#fd = fd;
    this.#poller = poller;
    const bytes = new Uint8Array(headroom + MAX_FRAME);
    const lost = (reason: string): void => {
      this.#open = false;
      events.lost(reason);
    };
    if (poller !== undefined) {
      const frame = (read: Uint8Array, length: number): number | void => {
        bytes.set(read, headroom);
        return events.frame(bytes, headroom, headroom + length);
      };
      // Close it at once: the file may keep the namespace of a removed container alive.
      const gone = (reason: string): void => {
        void this.close();
        lost(reason);
      };
      poller.watch(fd, { frame, lost: gone });
      return;
    }
    const callback = (length: number): boolean => {
      events.frame(bytes, headroom, headroom + length);
      return true;
    };
    const handle = pipeHandle();
    const failure = handle.open(fd);
    if (failure !== 0) throw new HostError(`file descriptor ${fd} cannot be polled (error ${-failure})`);
    const options = { handle, onread: { buffer: bytes.subarray(headroom), callback } };
    this.#socket = new Socket(options as object);
    this.#socket.on('error', (error: NodeJS.ErrnoException) =>
      lost(error.errno === EBADFD ? 'the device has been removed' : error.message),
    );
    this.#socket.on('end', () => lost('end of file'));
    this.#socket.resume();
  }

  /** Writes a frame to the device at once. Returns an empty string, or the system's error code. */
  write(bytes: Uint8Array, offset: number, end: number): string {
    if (!this.#open) return 'ENXIO'; // the number may meanwhile belong to another file
    try {
      writeSync(this.#fd, bytes, offset, end - offset);
      return '';
    } catch (error) {
      return codeOf(error) || 'EIO';
    }
  }

  /**
   * Closes the file descriptor, without blocking this thread. When the last one is closed, the kernel removes the device
   * unless the TAP is kept.
   */
  close(): Promise<void> {
    this.#open = false;
    return (this.#closed ??= this.#close());
  }

  #close(): Promise<void> {
    const socket = this.#socket;
    if (socket === undefined) {
      this.#poller?.unwatch(this.#fd);
      return closeFile(this.#fd);
    }
    if (socket.closed) return Promise.resolve();
    return new Promise((resolve) => {
      socket.once('close', () => resolve());
      socket.destroy();
    });
  }
}

function pipeHandle(): PipeHandle {
  interface Binding {
    Pipe: new (type: number) => PipeHandle;
    constants: { SOCKET: number };
  }
  let binding: Binding;
  try {
    binding = (process as unknown as { binding(name: string): Binding }).binding('pipe_wrap');
  } catch (error) {
    throw new HostError(`Node ${process.version} does not have pipe_wrap, which is needed to poll a TAP`, {
      cause: error,
    });
  }
  return new binding.Pipe(binding.constants.SOCKET);
}
