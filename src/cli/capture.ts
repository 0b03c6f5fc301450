/** `vtep capture`: captures the packets of a running VTEP, at its TAPs and on the underlay. */
import { open, type FileHandle } from 'node:fs/promises';
import { getSystemErrorMap } from 'node:util';
import { HostError, PRIVATE, queryCapture, type Captured } from '../host/index.js';
import { tree } from '../packet/index.js';
import { PcapngWriter } from '../pcap/index.js';
import { MAX_COUNT, MAX_SECONDS, MAX_SNAP, type CaptureRequest } from '../schema/index.js';
import { withHints } from './call.js';
import { layersOf, lineOf, toShown } from './captured.js';
import { CONTROL, requireControl, TIMEOUT, timeoutOf } from './control-flags.js';
import { EspKeys } from './esp-keys.js';
import { integerOf, noRest, parseFlags, refuseBeside, type Flag, type Parsed } from './flags.js';
import { type Manual } from './manual.js';
import { drained, print, printBytes, printError } from './streams.js';

const FLAGS: readonly Flag[] = [
  CONTROL,
  { name: 'count', letter: 'c', value: 'N', text: 'stop after N packets (default 20)' },
  { name: 'seconds', value: 'N', text: 'stop after N seconds (default 10)' },
  { name: 'snap', letter: 's', value: 'N', text: 'capture the first N bytes of each packet (default: all)' },
  {
    name: 'write',
    letter: 'w',
    value: 'FILE',
    text: 'write a pcapng file with an interface for each TAP and one for the underlay ("-": standard output)',
  },
  { name: 'decrypt', text: 'of encrypted segments, show the datagrams in ESP packets instead of these packets' },
  {
    name: 'esp-keys',
    value: 'FILE',
    text: 'write the keys of ESP packets, in the form of Wireshark (esp_sa), to FILE, which has mode 600',
  },
  { name: 'tree', text: 'print every layer with its fields' },
  { name: 'json', text: 'print each packet as a JSON object on one line' },
  TIMEOUT,
];

export const manual: Manual = {
  name: 'capture',
  summary: 'show the packets that pass a running VTEP, at its TAPs and on the underlay',
  usage: ['capture --control PATH [flags]'],
  flags: [{ flags: FLAGS }],
  sections: [
    {
      title: 'order',
      text: 'A packet that goes through a tunnel is seen twice: as a frame at the TAP, and as a datagram on the underlay.',
    },
    {
      title: 'losses',
      text: `A capture never delays the VTEP. Packets that pass faster than they can be copied or printed are dropped from the
capture, and counted on standard error at the end. Ctrl-C ends a capture and keeps the packets so far.`,
    },
  ],
  examples: `vtep capture --control /run/vtep.sock --count 4
vtep capture --control /run/vtep.sock --count 1000 --seconds 60 --write overlay.pcapng
vtep capture --control /run/vtep.sock --count 1000 --write - | tshark -r -
vtep capture --control /run/vtep.sock --write esp.pcapng --esp-keys ~/.config/wireshark/esp_sa`,
  exit: {
    0: 'packets were captured',
    1: 'no packets were captured, no VTEP answered, or FILE cannot be written',
    2: 'wrong flags',
  },
};

const DEFAULT_COUNT = 20;
const DEFAULT_SECONDS = 10;

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, FLAGS);
  noRest(flags);
  const control = requireControl(flags);
  const snap = integerOf(flags, 'snap', { least: 1, most: MAX_SNAP, what: 'bytes' });
  const request: CaptureRequest = {
    command: 'capture',
    count: integerOf(flags, 'count', { least: 1, most: MAX_COUNT }) ?? DEFAULT_COUNT,
    seconds: integerOf(flags, 'seconds', { least: 1, most: MAX_SECONDS }) ?? DEFAULT_SECONDS,
    ...(snap === undefined ? {} : { snap }),
    ...(flags.on('decrypt') ? { decrypt: true } : {}),
  };
  const timeout = timeoutOf(flags);
  const path = flags.value('write');
  refuseBeside(flags, 'write', ['tree', 'json'], ', which prints no packets');
  refuseBeside(flags, 'json', ['tree']);
  refuseBeside(flags, 'decrypt', ['esp-keys'], ', which leaves no ESP packets');
  const file = path === undefined ? null : await PacketFile.open(path);
  const keys = flags.value('esp-keys') === undefined ? null : new EspKeys(control, timeout, flags.value('esp-keys')!);
  await keys?.write();

  const interrupt = new AbortController();
  const stop = (): void => (interrupt.signal.aborted ? process.exit(130) : interrupt.abort());
  process.on('SIGINT', stop).on('SIGTERM', stop);
  const show = shower(flags);
  let packets = 0;
  let dropped = 0;
  let failure: unknown = null;
  try {
    for await (const page of queryCapture(control, request, { timeout, signal: interrupt.signal })) {
      dropped = page.dropped ?? 0;
      const captured = page.result;
      if (captured.length === 0) continue;
      if (file !== null) await file.write(captured);
      else if (!print(captured.flatMap(show))) await drained();
      packets += captured.length;
    }
  } catch (error) {
    failure = withHints(error, control); // packets so far are written
  }
  await keys?.write(); // further ones were agreed on meanwhile
  await file?.close();
  const name = path === '-' ? 'standard output' : path;
  if (file !== null && (packets > 0 || failure === null)) printError(`${packets} packets written to ${name}`);
  if (dropped > 0) printError(`${dropped} packets dropped by the capture: they passed faster than it could copy them`);
  if (failure !== null) throw failure;
  if (packets > 0) return 0;
  printError(`vtep capture: no packet passed${interrupt.signal.aborted ? '' : ` in ${request.seconds} s`}`);
  return 1;
}

function shower(flags: Parsed): (packet: Captured) => string[] {
  if (flags.on('json')) return (packet) => [JSON.stringify(packet)];
  if (!flags.on('tree')) return (packet) => [lineOf(toShown(packet))];
  return (packet) => {
    const shown = toShown(packet);
    return [lineOf(shown), ...tree(layersOf(shown).layers).split('\n')];
  };
}

/** A pcapng file, or pcapng on standard output. It is valid after each write. */
class PacketFile {
  readonly #path: string;
  /** `null` for standard output. */
  readonly #handle: FileHandle | null;
  readonly #writer = new PcapngWriter({ application: 'weft' });
  readonly #interfaces = new Map<string, number>();
  #packets = 0;

  private constructor(path: string, handle: FileHandle | null) {
    this.#path = path;
    this.#handle = handle;
  }

  /** @throws HostError if the file cannot be created. */
  static async open(path: string): Promise<PacketFile> {
    const handle =
      path === '-' ? null : await open(path, 'w', PRIVATE).catch((error: unknown) => unwritable(path, error));
    const file = new PacketFile(path, handle);
    await file.#append([file.#writer.header()]);
    return file;
  }

  /** @throws HostError if the file cannot be written. */
  async write(captured: readonly Captured[]): Promise<void> {
    const chunks: Uint8Array[] = [];
    for (const { packet, linkType, data, length } of captured.map(toShown)) {
      const key = `${linkType} ${packet.place}`; // a TAP may have the name "underlay"
      let number = this.#interfaces.get(key);
      if (number === undefined) {
        this.#interfaces.set(key, (number = this.#interfaces.size));
        chunks.push(this.#writer.addInterface({ name: packet.place, linkType }));
      }
      chunks.push(
        this.#writer.packet({
          interface: number,
          timestamp: BigInt(packet.time),
          direction: packet.direction === 'in' ? 'inbound' : 'outbound',
          data,
          length,
        }),
      );
    }
    await this.#append(chunks);
    this.#packets += captured.length;
  }

  async close(): Promise<void> {
    await this.#handle?.close().catch((error: unknown) => unwritable(this.#path, error, this.#packets));
  }

  async #append(chunks: readonly Uint8Array[]): Promise<void> {
    const bytes = Buffer.concat(chunks);
    if (this.#handle !== null)
      await this.#handle.appendFile(bytes).catch((error: unknown) => unwritable(this.#path, error, this.#packets));
    else if (!printBytes(bytes)) await drained();
  }
}

/** @throws HostError */
function unwritable(path: string, error: unknown, packets = 0): never {
  const { errno, message } = error as NodeJS.ErrnoException;
  const [, text] = getSystemErrorMap().get(errno ?? 0) ?? ['', message];
  const kept = packets === 0 ? '' : `; its first ${packets} packets are written`;
  throw new HostError(`${path} cannot be written: ${text}${kept}`, { cause: error });
}
