/** `vtep capture`: what passes a running VTEP, at its TAPs and on the underlay. */
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { ask, HostError, type Captured } from '../host/index.js';
import { tree } from '../packet/index.js';
import { PcapngWriter } from '../pcap/index.js';
import { layersOf, lineOf, toShown, type Shown } from './captured.js';
import { noRest, parseFlags, UsageError, wholeNumber, type Flag } from './flags.js';
import { type Manual } from './manual.js';
import { requireControl } from './show.js';

const FLAGS: readonly Flag[] = [
  { name: 'control', value: 'PATH', text: 'the control socket that "vtep up" was given' },
  { name: 'count', value: 'N', text: 'packets to wait for, at most 10000 (default 20)' },
  { name: 'seconds', value: 'N', text: 'how long to wait for them (default 10)' },
  { name: 'write', value: 'FILE', text: 'into a pcapng file, an interface for each TAP and one for the underlay' },
  { name: 'tree', text: 'every layer with its fields' },
  { name: 'json', text: 'as JSON, one packet a line' },
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
  ],
  examples: `vtep capture --control /run/vtep.sock --count 4
vtep capture --control /run/vtep.sock --count 1000 --seconds 60 --write overlay.pcapng`,
  exit: {
    0: 'there were packets',
    1: 'there were none, no VTEP answered or FILE cannot be written',
    2: 'wrong flags',
  },
};

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, FLAGS);
  noRest(flags);
  const control = requireControl(flags.value('control'));
  const count = wholeNumber('count', flags.value('count') ?? '20');
  if (count < 1 || count > 10_000) throw new UsageError(`--count: expected 1 to 10000, got ${count}`);
  const seconds = wholeNumber('seconds', flags.value('seconds') ?? '10');
  if (seconds < 1 || seconds > 3600) throw new UsageError(`--seconds: expected 1 to 3600, got ${seconds}`);
  const packets = (await ask(control, { command: 'capture', count, seconds })) as Captured[];
  const shown = packets.map(toShown);
  const file = flags.value('write');
  if (file !== undefined) {
    await writeFile(file, shown);
    process.stderr.write(`${packets.length} packets written to ${file}\n`);
  } else if (flags.on('json')) for (const packet of packets) process.stdout.write(`${JSON.stringify(packet)}\n`);
  else
    for (const one of shown)
      process.stdout.write(`${lineOf(one)}\n${flags.on('tree') ? `${tree(layersOf(one).layers)}\n` : ''}`);
  if (packets.length > 0) return 0;
  process.stderr.write(`vtep capture: nothing passed in ${seconds} s\n`);
  return 1;
}

async function writeFile(path: string, shown: readonly Shown[]): Promise<void> {
  const writer = new PcapngWriter({ application: 'weft' });
  const places = new Map<string, number>();
  const chunks = [writer.header()];
  for (const { packet, linkType, data } of shown) {
    if (!places.has(packet.place)) {
      places.set(packet.place, places.size);
      chunks.push(writer.addInterface({ name: packet.place, linkType }));
    }
    chunks.push(
      writer.packet({
        interface: places.get(packet.place)!,
        timestamp: BigInt(packet.time),
        direction: packet.direction === 'in' ? 'inbound' : 'outbound',
        data,
      }),
    );
  }
  const stream = createWriteStream(path);
  try {
    for (const chunk of chunks) if (!stream.write(chunk)) await once(stream, 'drain');
    stream.end();
    await once(stream, 'finish');
  } catch (error) {
    throw new HostError(`${path} cannot be written: ${(error as Error).message}`, { cause: error });
  }
}
