/** `vtep explain`: prints step by step what a running VTEP would do with a frame or a datagram, and why. */
import { MAX_PACKET } from '../schema/index.js';
import { type Explanation } from '../vtep/index.js';
import { call } from './call.js';
import { CONTROL, requireControl, TIMEOUT, timeoutOf } from './control-flags.js';
import { noRest, parseFlags, requireValues, UsageError, type Flag, type Parsed } from './flags.js';
import { type Manual } from './manual.js';
import { jsonLines, printAll } from './streams.js';

const FLAGS: readonly Flag[] = [
  CONTROL,
  { name: 'port', value: 'NAME', text: 'the TAP that the frame comes from' },
  { name: 'frame', value: 'HEX', text: 'an Ethernet frame' },
  { name: 'from', value: 'IP', text: 'the VTEP that the datagram or the ESP packet comes from' },
  { name: 'datagram', value: 'HEX', text: 'a UDP payload: a VXLAN header and the frame behind it' },
  { name: 'esp', value: 'HEX', text: 'a UDP payload in the port of ESP, of an encrypted segment' },
  { name: 'json', text: 'print JSON' },
  TIMEOUT,
];

export const manual: Manual = {
  name: 'explain',
  summary: 'show what a running VTEP would do with a packet, and why; nothing is sent or learned',
  usage: [
    'explain --control PATH --port NAME --frame HEX',
    'explain --control PATH --from IP --datagram HEX | --esp HEX',
  ],
  flags: [{ flags: FLAGS }],
  sections: [
    { title: 'HEX', text: 'Hexadecimal digits, two for each octet; blanks and colons between octets are ignored.' },
  ],
  examples: `vtep explain --control /run/vtep.sock --port eth0 \\
     --frame 'ffffffffffff 02420a000003 0806 0001080006040001 02420a000003 0a000003 000000000000 0a000004'`,
  exit: {
    0: 'the packet would be forwarded',
    1: 'no VTEP answered, or it refused the request',
    2: 'wrong flags',
    3: 'the packet would be dropped, with or without an answer to its sender, or would wait at a gateway',
  },
};

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, FLAGS);
  noRest(flags);
  const control = requireControl(flags);
  const given = ['port', 'frame', 'from', 'datagram', 'esp']
    .filter((name) => flags.value(name) !== undefined)
    .join(' ');
  if (!['port frame', 'from datagram', 'from esp'].includes(given))
    throw new UsageError('give either --port NAME --frame HEX, or --from IP with --datagram HEX or --esp HEX');
  const [port, from] = [flags.value('port'), flags.value('from')];
  requireValues(flags, 'port', 'device');
  requireValues(flags, 'from', 'ip');
  const timeout = timeoutOf(flags);
  const explanation = await call(
    control,
    port !== undefined
      ? { command: 'explain', port, frame: octets(flags, 'frame') }
      : given === 'from esp'
        ? { command: 'explain', from: from!, esp: octets(flags, 'esp') }
        : { command: 'explain', from: from!, datagram: octets(flags, 'datagram') },
    { timeout },
  );
  await printAll(flags.on('json') ? jsonLines(explanation) : readable(explanation));
  return exitCode(explanation, (port ?? from)!);
}

/**
 * The exit code: whether a packet is forwarded or answered as it asks.
 * @param from The port or the VTEP that the packet comes from: what of a dropped packet goes there is an error message.
 * @internal
 */
export function exitCode({ delivered, transmitted, dropped, service }: Explanation, from: string): 0 | 3 {
  if (service !== undefined && dropped === null) return 0;
  const receivers = [...delivered, ...transmitted];
  return receivers.some((receiver) => dropped === null || receiver !== from) ? 0 : 3;
}

function octets(flags: Parsed, name: string): string {
  const text = flags.value(name)!;
  const hex = text.replace(/[\s:]/g, '');
  const wanted = `1 to ${MAX_PACKET} octets, two hexadecimal digits for each`;
  const refuse = (given: string): UsageError =>
    new UsageError(`${flags.typed(name)}: expected ${wanted}, got ${given}`);
  if (!/^[0-9a-f]+$/i.test(hex)) throw refuse(`"${text.slice(0, 60)}"`);
  if (hex.length % 2 !== 0) throw refuse(`${hex.length} digits, which is an odd number`);
  if (hex.length > 2 * MAX_PACKET) throw refuse(`${hex.length / 2}`);
  return hex;
}

/** @internal */
export function readable({ steps, delivered, transmitted, dropped, service }: Explanation): string[] {
  const width = Math.max(...steps.map(({ stage }) => stage.length), 0);
  const lines = steps.map(({ stage, text }, i) => `${String(i + 1).padStart(2)}. ${stage.padEnd(width)}  ${text}`);
  const outcome = [
    ...(delivered.length > 0 ? [`leaves by ${delivered.join(', ')}`] : []),
    ...(transmitted.length > 0 ? [`goes to ${transmitted.join(', ')}`] : []),
    ...(service === undefined ? [] : [`goes to UDP port ${service} of this host's gateway`]),
    ...(dropped === null ? [] : [`dropped: ${dropped}`]),
  ];
  // A packet for a gateway without a drop waits, or was for the gateway itself.
  const nothing = steps.at(-1)?.stage === 'router' ? 'goes no further than the gateway' : 'no effect';
  return [...lines, `=> ${outcome.length === 0 ? nothing : outcome.join('; ')}`];
}
