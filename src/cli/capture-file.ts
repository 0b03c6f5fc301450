/** The output file of `vtep read --write`. */
import { open, stat, type FileHandle } from 'node:fs/promises';
import { codeOf, HostError, PRIVATE } from '../host/index.js';
import { PcapngWriter, PcapWriter, type CapturedPacket, type CaptureInterface } from '../pcap/index.js';

/** Most interfaces to remember, over all sections of a pcapng file. */
const MAX_INTERFACES = 65_536;
/** Number of bytes to collect before writing. */
const BATCH = 262_144;

/** Receives the bytes of the capture in order. */
export type Sink = (bytes: Uint8Array) => Promise<void>;

/**
 * Writes packets as they were read: pcap if the name ends with `.pcap` or `.cap`, else pcapng, which also stores
 * interfaces, directions and comments. Times are in nanoseconds.
 */
export class CaptureFile {
  readonly #path: string;
  readonly #input: string;
  readonly #sink: Sink | null;
  readonly #pcapng: PcapngWriter | null;
  #pcap: { writer: PcapWriter; linkType: number } | null = null;
  #file: FileHandle | null = null;
  readonly #interfaces = new Map<string, number>();
  #last: { from: CaptureInterface; id: number } | null = null;
  #chunks: Uint8Array[] = [];
  #size = 0;
  /** Number of packets written. */
  count = 0;
  opened = false;

  /**
   * @param input The capture that is read; must be another file.
   * @param sink Receives the bytes instead of a file.
   */
  constructor(path: string, input: string, sink: Sink | null) {
    this.#path = path;
    this.#input = input;
    this.#sink = sink;
    this.#pcapng = /\.p?cap$/i.test(path) ? null : new PcapngWriter({ application: 'weft' });
  }

  /**
   * Creates the file. Call it once, after the input has been opened: a wrong input name then leaves no empty file.
   * @throws HostError if the file cannot be created, or is the input.
   */
  async open(): Promise<void> {
    this.opened = true;
    if (this.#sink === null) {
      const [output, input] = await Promise.all([identity(this.#path), identity(this.#input)]);
      if (output !== null && output === input)
        throw new HostError(`${this.#path} is the capture that is read; write to another file`);
      this.#file = await this.#trying(() => open(this.#path, 'w', PRIVATE));
    }
    if (this.#pcapng !== null) this.#add(this.#pcapng.header());
  }

  /** @throws HostError if the file cannot hold the packet, or cannot be written. */
  async packet(packet: CapturedPacket): Promise<void> {
    const timestamp = packet.timestamp ?? 0n;
    const length = Math.max(packet.length, packet.captured);
    const { data, direction, comment, linkType } = packet;
    try {
      if (this.#pcapng !== null)
        this.#add(
          this.#pcapng.packet({
            interface: this.#interfaceOf(packet.interface, this.#pcapng),
            timestamp,
            length,
            data,
            ...(direction !== undefined && { direction }),
            ...(comment !== undefined && { comment }),
          }),
        );
      else this.#add(this.#pcapOf(linkType).packet({ timestamp, length, data }));
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new HostError(`${this.#path}: packet ${packet.number} cannot be written: ${error.message}`);
    }
    this.count++;
    if (this.#size >= BATCH) await this.flush();
  }

  async flush(): Promise<void> {
    if (this.#size === 0) return;
    const bytes = Buffer.concat(this.#chunks);
    this.#chunks = [];
    this.#size = 0;
    if (this.#sink !== null) await this.#sink(bytes);
    else await this.#trying(() => this.#file!.appendFile(bytes));
  }

  /** Writes the remaining bytes. A pcap file without packets gets the link type Ethernet. */
  async close(): Promise<void> {
    if (!this.opened) await this.open();
    if (this.#pcapng === null && this.#pcap === null) this.#pcapOf(1);
    await this.flush();
    await this.#trying(async () => this.#file?.close());
  }

  #add(bytes: Uint8Array): void {
    this.#chunks.push(bytes);
    this.#size += bytes.length;
  }

  #pcapOf(linkType: number): PcapWriter {
    if (this.#pcap === null) {
      this.#pcap = { writer: new PcapWriter({ linkType }), linkType };
      this.#add(this.#pcap.writer.header());
    }
    if (this.#pcap.linkType !== linkType)
      throw new RangeError(
        `its link type is ${linkType}, and a pcap file has one, here ${this.#pcap.linkType}; write to a .pcapng file`,
      );
    return this.#pcap.writer;
  }

  /** Returns the output's number of an interface; interfaces with the same name and link type share one. */
  #interfaceOf(from: CaptureInterface, writer: PcapngWriter): number {
    if (this.#last?.from === from) return this.#last.id;
    const { name, linkType } = from;
    const key = JSON.stringify([name, linkType]);
    let id = this.#interfaces.get(key);
    if (id === undefined) {
      id = this.#interfaces.size;
      if (id >= MAX_INTERFACES) throw new RangeError(`its file has more than ${MAX_INTERFACES} interfaces`);
      this.#interfaces.set(key, id);
      this.#add(writer.addInterface({ linkType, ...(name !== undefined && { name }) }));
    }
    this.#last = { from, id };
    return id;
  }

  async #trying<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw new HostError(`${this.#path} cannot be written: ${cause(error)}`, { cause: error });
    }
  }
}

/** Device and inode of a file, or `null` if it does not exist. */
async function identity(path: string): Promise<string | null> {
  const found = await stat(path, { bigint: true }).catch(() => null);
  return found === null || !found.isFile() ? null : `${found.dev}:${found.ino}`;
}

function cause(error: unknown): string {
  switch (codeOf(error)) {
    case 'ENOENT':
      return 'its directory does not exist';
    case 'EISDIR':
      return 'it is a directory; name a file in it';
    case 'EACCES':
    case 'EPERM':
      return 'permission denied';
    case 'ENOSPC':
      return 'no space is left on the device';
    default:
      return (error as Error).message;
  }
}
