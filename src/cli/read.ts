/** `vtep read`: prints a capture as text or JSON while it reads it. */
import { createReadStream } from 'node:fs';
import { codeOf, HostError } from '../host/index.js';
import { dissect, hexdump, problemText, summarize, tree, type Dissection } from '../packet/index.js';
import { CaptureReader, LINKTYPE_ETHERNET, type CapturedPacket } from '../pcap/index.js';
import { CaptureFile } from './capture-file.js';
import { integerOf, parseFlags, UsageError, type Flag } from './flags.js';
import { seconds, Totals } from './read-totals.js';
import { type Manual } from './manual.js';
import { BatchOutput, printError } from './streams.js';

const FLAGS: readonly Flag[] = [
  { name: 'read', letter: 'r', value: 'FILE', text: 'the capture file; the same as FILE without a flag' },
  { name: 'count', letter: 'c', value: 'N', text: 'stop after N packets' },
  { name: 'tree', letter: 'v', text: 'print all fields of all layers below each line' },
  { name: 'hex', letter: 'x', text: 'print the bytes below each line, in hexadecimal and ASCII' },
  { name: 'json', text: 'print each packet as a JSON object on one line' },
  {
    name: 'summary',
    text: 'print totals at the end: packets, bytes, time span, protocols, VNIs (with --json, on stderr)',
  },
  { name: 'quiet', letter: 'q', text: 'print only the summary; with --json, as one JSON object' },
  {
    name: 'write',
    letter: 'w',
    value: 'FILE',
    text: 'write the packets to a capture file instead: pcap if its name ends in .pcap, else pcapng ("-": standard output)',
  },
  { name: 'numeric', letter: 'n', text: 'no effect, accepted as in tcpdump: addresses and ports are always numbers' },
];

export const manual: Manual = {
  name: 'read',
  summary: 'print the packets of a capture file, as text or JSON',
  usage: ['read FILE [flags]', 'read -r FILE [flags]'],
  description: `FILE is a pcap or pcapng file, or - for standard input. It is read as a stream, in bounded memory.
Times are in UTC. Brackets after a packet contain the first header that is truncated or malformed, and the reason.
Letters can be combined: -nvx, -c5.`,
  flags: [{ flags: FLAGS }],
  sections: [
    {
      title: 'JSON',
      text: `  {"number":1,"timestamp":"1700000000.123456789","length":148,"captured":148,"layers":[…],"stopped":null}

  timestamp   seconds since 1970, as a string, because a number would lose digits; null if the file has no time
  length      bytes of the packet on the wire; captured: those in the file
  linkType    the LINKTYPE_ number, only if it is not Ethernet
  layers      outermost first; each has its name as "protocol", its "offset" and "size", and its fields. The
              protocol field of an IPv4 header is "protocolNumber". Bytes are hexadecimal strings.
  stopped     null, or why a strict decoder rejects the packet: protocol, reason, offset, needed, available, limitedBy`,
    },
  ],
  examples: `vtep read capture.pcapng
vtep read -nvc 10 capture.pcapng
vtep read -q capture.pcapng
vtep read -r capture.pcapng -c 1000 -w first.pcap
tcpdump -i eth0 -w - udp port 4789 | vtep read -
vtep read capture.pcap --json | jq 'select(.layers[] | .protocol == "vxlan" and .vni == 4097)'`,
  exit: {
    0: 'done',
    1: 'the file is damaged, cannot be read or cannot be written (packets before the damage are shown)',
    2: 'wrong flags',
  },
};

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, FLAGS);
  const [path, another] = [...flags.values('read'), ...flags.rest];
  if (path === undefined || path === '')
    throw new UsageError('missing: FILE, the capture to read, or - for standard input');
  if (another !== undefined) throw new UsageError(`expected one FILE, got "${path}" and "${another}"`);
  const json = flags.on('json') === true;
  for (const other of ['tree', 'hex'])
    if (json && flags.on(other))
      throw new UsageError(`${flags.typed(other)} and --json do not go together; JSON has all fields`);
  const count = integerOf(flags, 'count', {}) ?? Infinity;
  const quiet = flags.on('quiet') === true;
  const target = flags.value('write');
  if (target === '-' && (quiet || flags.on('summary')))
    throw new UsageError(`${flags.typed('write')} - writes the capture to standard output; leave out the summary`);

  const output = new BatchOutput();
  const copy =
    target === undefined
      ? null
      : new CaptureFile(target, path, target === '-' ? (bytes) => output.printBytes(bytes) : null);
  const show =
    quiet || copy !== null
      ? null
      : json
        ? jsonLine
        : (packet: CapturedPacket, dissection: Dissection): string[] =>
            textLines(packet, dissection, flags.on('tree') === true, flags.on('hex') === true);
  const totals = flags.on('summary') || quiet ? new Totals() : null;
  const reader = new CaptureReader();
  const name = path === '-' ? 'standard input' : path;

  if (count > 0) {
    try {
      for await (const chunk of path === '-' ? process.stdin : createReadStream(path)) {
        if (reader.format === null && copy?.opened === false) await copy.open();
        const { buffer, byteOffset, length } = chunk as Buffer;
        // A plain Uint8Array: slicing a Buffer takes several times as long.
        const packets = reader.push(new Uint8Array(buffer, byteOffset, length));
        for (const packet of packets) {
          if (packet.number > count) break;
          await copy?.packet(packet);
          if (show === null && totals === null) continue;
          const dissection = dissect(packet.data, { linkType: packet.linkType, originalLength: packet.length });
          totals?.add(packet, dissection);
          if (show !== null) await output.print(show(packet, dissection));
          if (output.closed) return 0;
        }
        await output.flush();
        if (output.closed) return 0;
        if (reader.count >= count || reader.problem !== null) break;
      }
    } catch (error) {
      throw unreadable(name, error);
    }
  }
  const problem = reader.count >= count ? null : reader.finish();
  if (copy !== null) {
    await copy.close();
    const { count: copied } = copy;
    if (target !== '-') printError(`${copied} packet${copied === 1 ? '' : 's'} written to ${target}`);
  }
  if (totals !== null) {
    if (json && !quiet) printError(totals.lines());
    else await output.print(json ? totals.json() : totals.lines());
  }
  await output.flush();
  if (problem !== null) {
    const { count: shown } = reader;
    const before =
      shown === 0 ? 'no packet is before that' : `${shown} packet${shown === 1 ? ' is' : 's are'} before that`;
    throw new HostError([`${name}: ${problem.message}`, `${before}; ${advice(reader)}`]);
  }
  return 0;
}

/** The remedy for a file that cannot be read to its end. */
function advice(reader: CaptureReader): string {
  const { problem, format } = reader;
  if (problem?.limitedBy === 'end of file')
    return format === null
      ? 'is it a capture?'
      : 'the file was cut, or is still being written: copy it again once it is done';
  if (format === null) return 'name a file that tcpdump -w, Wireshark or vtep wrote';
  return 'the packets behind the damage cannot be found: copy the file again, or remove the damaged part with editcap';
}

function unreadable(name: string, error: unknown): unknown {
  switch (codeOf(error)) {
    case 'ENOENT':
      return new HostError(`${name}: no such file; check the name, or pipe a capture into "vtep read -"`);
    case 'EISDIR':
      return new HostError(`${name}: is a directory; name a file in it`);
    case 'EACCES':
    case 'EPERM':
      return new HostError(`${name}: permission denied; run as its owner, or as root`);
    case '':
      return error;
    default:
      return new HostError(`${name}: ${(error as Error).message}`);
  }
}

const NANOSECONDS = 1_000_000_000n;
const DAY = 86_400n;

/** Formats `HH:MM:SS.ffffff` in UTC. */
function clock(timestamp: bigint | null): string {
  if (timestamp === null) return '--:--:--.------';
  const ofDay = ((timestamp % (DAY * NANOSECONDS)) + DAY * NANOSECONDS) % (DAY * NANOSECONDS);
  const time = Number(ofDay / NANOSECONDS);
  const two = (value: number): string => String(Math.floor(value)).padStart(2, '0');
  const micros = String((ofDay % NANOSECONDS) / 1000n).padStart(6, '0');
  return `${two(time / 3600)}:${two((time / 60) % 60)}:${two(time % 60)}.${micros}`;
}

function textLines(packet: CapturedPacket, dissection: Dissection, asTree: boolean, asHex: boolean): string[] {
  const { layers, stopped } = dissection;
  const why = stopped === null ? '' : ` [${stopped.protocol} ${stopped.reason}: ${problemText(stopped)}]`;
  const lines = [`${clock(packet.timestamp)} ${summarize(layers)}${why}`];
  const indent = (block: string): string[] => block.split('\n').map((line) => `    ${line}`);
  if (asTree && layers.length > 0) lines.push(...indent(tree(layers)));
  if (asHex && packet.data.length > 0) lines.push(...indent(hexdump(packet.data)));
  return lines;
}

function jsonLine(packet: CapturedPacket, { layers, stopped }: Dissection): string[] {
  const { number, timestamp, length, captured, linkType } = packet;
  const object = {
    number,
    timestamp: timestamp === null ? null : seconds(timestamp),
    length,
    captured,
    ...(linkType !== LINKTYPE_ETHERNET && { linkType }),
    layers,
    stopped: stopped && { ...stopped, detail: problemText(stopped) },
  };
  return [JSON.stringify(object, bytesAsHex)];
}

function bytesAsHex(_key: string, value: unknown): unknown {
  return value instanceof Uint8Array
    ? Buffer.from(value.buffer, value.byteOffset, value.length).toString('hex')
    : value;
}
