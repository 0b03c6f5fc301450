/** From the flags of `vtep up`, or its file, to one configuration. */
import { readFileSync } from 'node:fs';
import { plan, problemText, SchemaError, type Plan } from '../schema/index.js';
import { noRest, UsageError, wholeNumber, type Flag, type Parsed } from './flags.js';

/** Flags that go with `--config` as well, and win over the file. */
export const COMMON: readonly Flag[] = [
  { name: 'local', value: 'IP', text: 'address of this VTEP on the underlay' },
  { name: 'port', value: 'N', text: 'UDP port, here and at the peers (default 4789)' },
  { name: 'source-ports', value: 'N', text: 'UDP ports that flows leave from (default 8; 0: leave from --port)' },
  { name: 'peers-only', negatable: true, text: 'take datagrams from known VTEPs only (default no)' },
  { name: 'workers', value: 'N', text: 'threads that move frames, 1 to 16 (default 1)' },
  { name: 'busy-poll', value: 'US', text: 'microseconds to look for the next packet before sleeping (default 0)' },
  { name: 'udp-checksum', negatable: true, text: 'send datagrams with a UDP checksum (default yes)' },
  {
    name: 'zero-checksum',
    negatable: true,
    text: 'take datagrams without one over IPv6 (default no; over IPv4 always)',
  },
  { name: 'engine', value: 'auto|dgram|linux', text: 'what moves the frames (default auto: linux where it runs)' },
  { name: 'control', value: 'PATH', text: 'Unix socket for "vtep show" and "vtep explain"' },
];

/** Flags that make one segment or more, and one TAP. */
export const SINGLE: readonly Flag[] = [
  { name: 'vni', value: 'N', text: 'network of the TAP’s (untagged) frames' },
  { name: 'vlan', value: 'VID=VNI', many: true, text: 'a trunk: VLAN id to network' },
  { name: 'peer', value: 'IP', many: true, text: 'a VTEP that gets a copy of what is flooded' },
  {
    name: 'endpoint',
    value: 'IP,MAC,VTEP[,VNI]',
    many: true,
    text: 'where a container is; VTEP may be --local itself',
  },
  {
    name: 'proxy',
    value: 'endpoint|vtep|off',
    text: 'who answers ARP for endpoints (default endpoint: with their MAC)',
  },
  { name: 'learn', negatable: true, text: 'learn MAC addresses from the underlay (default yes)' },
  { name: 'flood', negatable: true, text: 'send frames for unknown addresses to all peers (default yes)' },
  { name: 'ageing', value: 'SECONDS', text: 'how long a learned address stays (default 300; 0: for ever)' },
  { name: 'tap', value: 'NAME', text: 'the TAP to make' },
  { name: 'tap-fd', value: 'N', text: 'a TAP that is open already, as file descriptor N; takes no privilege' },
  { name: 'netns', value: 'NS', text: 'namespace to move the TAP to: a name, or a path (/proc/PID/ns/net)' },
  { name: 'address', value: 'IP/LENGTH', text: 'address of the TAP' },
  { name: 'mac', value: 'MAC', text: 'MAC address of the TAP (default: derived from network and address)' },
  { name: 'mtu', value: 'N', text: 'MTU of the segment and the TAP (default: what fits the underlay)' },
];

/**
 * The plan that flags or a file describe.
 * @throws UsageError with every problem, each by the flag or the path in the file that it is about.
 */
export function readPlan(flags: Parsed): Plan {
  noRest(flags);
  const path = flags.value('config');
  const common = commonFields(flags);
  if (path !== undefined) {
    const file = configFile(flags, path);
    if (isFields(file) && file['gossip'] !== undefined)
      throw new UsageError(`${path}: gossip is for "vtep agent --config ${path}"`);
    // What is no object is left as it is for the schema to say so.
    return checked(isFields(file) ? { ...file, ...common } : file, inFile(path));
  }
  const missing = [
    ...(flags.value('local') === undefined ? ['--local IP'] : []),
    ...(flags.value('vni') === undefined && flags.values('vlan').length === 0 ? ['--vni N'] : []),
    ...(flags.value('tap') === undefined && flags.value('tap-fd') === undefined ? ['--tap NAME'] : []),
  ];
  if (missing.length > 0) throw new UsageError(`missing: ${missing.join(', ')} (or --config FILE)`);
  return checked({ ...common, ...singleFields(flags) }, flagOf);
}

/**
 * What the file of `--config` holds.
 * @throws UsageError where it cannot be read, or a flag is given that belongs into it.
 */
export function configFile(flags: Parsed, path: string): unknown {
  const single = SINGLE.find(({ name }) => flags.given.has(name));
  if (single !== undefined)
    throw new UsageError(`--${single.name} does not go with --config; put it into the file (${path})`);
  return readConfig(path);
}

/** Whether a value has fields, as a configuration has. */
export function isFields(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** How a path of the configuration is called that came from a file. */
export function inFile(path: string): (place: string) => string {
  return (place) => (place === '' ? path : `${path}: ${place}`);
}

export function commonFields(flags: Parsed): Record<string, unknown> {
  return defined({
    local: flags.value('local'),
    port: number(flags, 'port'),
    sourcePorts: number(flags, 'source-ports'),
    peersOnly: flags.on('peers-only'),
    workers: number(flags, 'workers'),
    busyPoll: number(flags, 'busy-poll'),
    udpChecksum: flags.on('udp-checksum'),
    zeroChecksum: flags.on('zero-checksum'),
    engine: flags.value('engine'),
    control: flags.value('control'),
  });
}

/**
 * The segments and the TAP that flags describe.
 * @param networks VNIs that are there beside those of the flags.
 */
export function singleFields(flags: Parsed, networks: readonly number[] = []): Record<string, unknown> {
  const vlans: Record<string, number> = {};
  for (const text of flags.values('vlan')) {
    const match = /^(\d{1,5})=(\d{1,15})$/.exec(text);
    if (match === null) throw new UsageError(`--vlan: expected VID=VNI such as 10=4097, got "${text}"`);
    const vid = String(Number(match[1]));
    if (vlans[vid] !== undefined)
      throw new UsageError(`--vlan: VLAN ${vid} has VNI ${vlans[vid]} already, got "${text}"`);
    vlans[vid] = Number(match[2]);
  }
  const trunk = Object.keys(vlans).length > 0;
  const vni = number(flags, 'vni') ?? (trunk || networks.length !== 1 ? undefined : networks[0]);
  const vnis = [...new Set([...(vni === undefined ? [] : [vni]), ...Object.values(vlans), ...networks])];
  const endpoints = flags.values('endpoint').map((text) => endpoint(text, vnis));
  return {
    segments: vnis.map((one) =>
      defined({
        vni: one,
        mtu: number(flags, 'mtu'),
        proxy: flags.value('proxy'),
        learn: flags.on('learn'),
        flood: flags.on('flood'),
        ageing: number(flags, 'ageing'),
        peers: flags.values('peer').flatMap((text) => text.split(',')),
        endpoints: endpoints.filter((entry) => entry.vni === one).map(({ fields }) => fields),
      }),
    ),
    taps: ofTap(flags).map(() =>
      defined({
        name: flags.value('tap'),
        fd: number(flags, 'tap-fd'),
        netns: flags.value('netns'),
        address: flags.value('address'),
        mac: flags.value('mac'),
        mtu: number(flags, 'mtu'),
        ...(trunk ? { vlans, native: vni } : { vni }),
      }),
    ),
  };
}

/** The flag that names the TAP, if there is one. */
function ofTap(flags: Parsed): string[] {
  return ['tap', 'tap-fd'].filter((name) => flags.given.has(name)).slice(0, 1);
}

function endpoint(text: string, vnis: readonly number[]): { vni: number; fields: object } {
  const [ip, mac, vtep, vni, ...more] = text.split(',');
  if (vtep === undefined || more.length > 0)
    throw new UsageError(
      `--endpoint: expected IP,MAC,VTEP such as 10.0.0.4,02:42:0a:00:00:04,192.168.1.25, got "${text}"`,
    );
  if (vni === undefined && vnis.length > 1)
    throw new UsageError(
      `--endpoint: expected IP,MAC,VTEP,VNI, since there are ${vnis.length} networks, got "${text}"`,
    );
  const network = vni === undefined ? vnis[0]! : wholeNumber('endpoint', vni);
  if (!vnis.includes(network))
    throw new UsageError(`--endpoint: expected one of the VNIs ${vnis.join(', ')}, got ${network} in "${text}"`);
  return { vni: network, fields: { ip, mac, vtep } };
}

/** The flag that a path of the configuration came from. */
export function flagOf(path: string): string {
  const field = /(?:^|\.)([a-zA-Z]+)(?:\[[^\]]*\])?$/.exec(path)?.[1] ?? '';
  if (path.includes('.peers')) return '--peer';
  if (path.includes('.endpoints')) return `--endpoint (${field})`;
  if (
    path.includes('.vlans') ||
    (path.endsWith('.vni') && path.startsWith('segments') && !path.startsWith('segments[0]'))
  )
    return '--vlan';
  const names: Record<string, string> = {
    name: 'tap',
    fd: 'tap-fd',
    native: 'vni',
    sourcePorts: 'source-ports',
    peersOnly: 'peers-only',
    busyPoll: 'busy-poll',
    udpChecksum: 'udp-checksum',
    zeroChecksum: 'zero-checksum',
  };
  return field === '' ? path : `--${names[field] ?? field}`;
}

/** @throws UsageError with every problem, by what `place` calls it. */
export function checked(value: unknown, place: (path: string) => string): Plan {
  try {
    return plan(value);
  } catch (error) {
    if (!(error instanceof SchemaError)) throw error;
    // One flag may stand in several places of the configuration, and is to be complained of once.
    const lines = new Set(error.problems.map((problem) => problemText(problem, place(problem.path))));
    throw new UsageError([...lines].join('\n'));
  }
}

function readConfig(path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path === '-' ? 0 : path, 'utf8');
  } catch (error) {
    throw new UsageError(`--config: ${path} cannot be read: ${(error as Error).message}`);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    const { message } = error as Error;
    const at = /at position (\d+)/.exec(message)?.[1];
    const before = text.slice(0, Number(at ?? 0)).split('\n');
    const place = at === undefined ? '' : `:${before.length}:${before.at(-1)!.length + 1}`;
    throw new UsageError(`${path}${place}: expected JSON: ${message}`);
  }
}

function number(flags: Parsed, name: string): number | undefined {
  const text = flags.value(name);
  return text === undefined ? undefined : wholeNumber(name, text);
}

/** The fields that have a value. */
export function defined(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
