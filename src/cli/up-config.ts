/** From the flags of `vtep up`, or its file, to one configuration. */
import { readFileSync } from 'node:fs';
import { codeOf, HostError } from '../host/index.js';
import { plan, problemText, SchemaError, type Place, type Plan } from '../schema/index.js';
import { JsonError, parseJson } from './json.js';
import { noRest, UsageError, type Flag, type Parsed } from './flags.js';

/** Flags that go with `--config` as well, and win over the file. */
export const COMMON: readonly Flag[] = [
  { name: 'local', value: 'IP', text: 'address of this VTEP on the underlay' },
  { name: 'port', value: 'N', text: 'UDP port, here and at the peers (default 4789)' },
  { name: 'source-ports', value: 'N', text: 'UDP ports that flows leave from (default 8; 0: leave from --port)' },
  {
    name: 'peers-only',
    negatable: true,
    text: 'accept datagrams only from peers, VTEPs of endpoints and members (default yes)',
  },
  { name: 'workers', value: 'N', text: 'threads that move frames, 1 to 16 (default 1)' },
  { name: 'busy-poll', value: 'US', text: 'microseconds to look for the next packet before sleeping (default 0)' },
  { name: 'udp-checksum', negatable: true, text: 'send datagrams with a UDP checksum (default yes)' },
  {
    name: 'zero-checksum',
    negatable: true,
    text: 'take datagrams without one over IPv6 (default no; over IPv4 always)',
  },
  { name: 'engine', value: 'auto|dgram|linux', text: 'what moves the frames (default auto: linux where it runs)' },
  {
    name: 'keep-taps',
    negatable: true,
    text: 'TAPs outlive a crash, and the next run continues with them (default: vtep agent yes, vtep up no)',
  },
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
    // The schema reports a file that is not an object.
    return checked(isFields(file) ? { ...file, ...common } : file, inFile(path, flags));
  }
  const missing = [
    ...(flags.value('local') === undefined ? ['--local IP'] : []),
    ...(flags.value('vni') === undefined && flags.values('vlan').length === 0 ? ['--vni N'] : []),
    ...(flags.value('tap') === undefined && flags.value('tap-fd') === undefined ? ['--tap NAME'] : []),
  ];
  if (missing.length > 0) throw new UsageError(`missing: ${missing.join(', ')} (or --config FILE)`);
  return checked({ ...common, ...singleFields(flags) }, fromFlags(flags));
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

/** What error texts call the parts of a configuration. */
export interface Names {
  /** A path: the flag that it came from, or the path itself. */
  place: Place;
  /** The front of a line about a path, where it is not the place. */
  front?: Place;
}

/** What the command line called a part of the configuration, where one flag describes several fields: `--vlan 10=100`. */
const typed = new WeakMap<object, string>();

/** Notes what a part of the configuration was on the command line. */
export function note<T extends object>(part: T, text: string): T {
  typed.set(part, text);
  return part;
}

/** Names of a configuration that was made of flags. */
export function fromFlags(flags: Parsed): (config: unknown) => Names {
  return (config) => ({ place: (path) => flagOf(path, flags, config) });
}

/** Names of a configuration that was read from a file; flags that override a field of it keep their own. */
export function inFile(file: string, flags: Parsed): (config: unknown) => Names {
  return (config) => {
    const flagFor = (path: string): string | undefined => {
      const [root = ''] = /^(gossip\.)?\w+/.exec(path) ?? [];
      return flags.given.has(flagName(root)) ? flagOf(path, flags, config) : undefined;
    };
    return {
      place: (path) => flagFor(path) ?? path,
      front: (path) => flagFor(path) ?? (path === '' ? file : `${file}: ${path}`),
    };
  };
}

const NAMES = new WeakMap<Plan, Names>();

/** What texts about a path of a plan call its parts, and what stands at the front of such a line. */
export function namesFor(made: Plan, path: string): [place: Place, front: string] {
  const { place, front = place } = NAMES.get(made) ?? { place: (one: string) => one };
  return [place, front(path)];
}

/**
 * Runs a step of a plan.
 * @throws HostError whose message names the flag or the field that it is about.
 */
export async function named<T>(made: Plan, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    if (!(error instanceof HostError) || !error.path) throw error;
    const [, front] = namesFor(made, error.path);
    throw new HostError(`${front}: ${error.message}`, { cause: error });
  }
}

export function commonFields(flags: Parsed): Record<string, unknown> {
  return defined({
    local: flags.value('local'),
    port: integer(flags, 'port'),
    sourcePorts: integer(flags, 'source-ports'),
    peersOnly: flags.on('peers-only'),
    keepTaps: flags.on('keep-taps'),
    workers: integer(flags, 'workers'),
    busyPoll: integer(flags, 'busy-poll'),
    udpChecksum: flags.on('udp-checksum'),
    zeroChecksum: flags.on('zero-checksum'),
    engine: flags.value('engine'),
    control: flags.value('control'),
  });
}

/**
 * The segments and the TAP that flags describe.
 * @param networks Networks of the gossip, each of which is a segment too.
 */
export function singleFields(flags: Parsed, networks: readonly { vni: unknown }[] = []): Record<string, unknown> {
  const vlans: Record<string, number> = {};
  const texts = new Map<unknown, string>();
  for (const text of flags.values('vlan')) {
    const match = /^(\d{1,5})=(\d{1,15})$/.exec(text);
    if (match === null) throw new UsageError(`--vlan: expected VID=VNI such as 10=4097, got "${text}"`);
    const vid = String(Number(match[1]));
    if (vlans[vid] !== undefined)
      throw new UsageError(`--vlan: VLAN ${vid} has VNI ${vlans[vid]} already, got "${text}"`);
    vlans[vid] = Number(match[2]);
    texts.set(vlans[vid], `--vlan ${text}`);
  }
  for (const one of networks) texts.set(one.vni, `${typed.get(one)} (VNI)`);
  const trunk = Object.keys(vlans).length > 0;
  const vni = integer(flags, 'vni') ?? (trunk || networks.length !== 1 ? undefined : networks[0]!.vni);
  const vnis = [
    ...new Set([...(vni === undefined ? [] : [vni]), ...Object.values(vlans), ...networks.map((one) => one.vni)]),
  ];
  const endpoints = flags.values('endpoint').map((text) => endpoint(text, vnis));
  return {
    segments: vnis.map((one) =>
      note(
        defined({
          vni: one,
          mtu: integer(flags, 'mtu'),
          proxy: flags.value('proxy'),
          learn: flags.on('learn'),
          flood: flags.on('flood'),
          ageing: integer(flags, 'ageing'),
          peers: flags.values('peer').flatMap((text) => text.split(',')),
          endpoints: endpoints.filter((entry) => entry.vni === one).map(({ fields }) => fields),
        }),
        texts.get(one) ?? '--vni',
      ),
    ),
    taps: ofTap(flags).map(() =>
      defined({
        name: flags.value('tap'),
        fd: integer(flags, 'tap-fd'),
        netns: flags.value('netns'),
        address: flags.value('address'),
        mac: flags.value('mac'),
        mtu: integer(flags, 'mtu'),
        ...(trunk ? { vlans, native: vni } : { vni }),
      }),
    ),
  };
}

/** The flag that names the TAP, if there is one. */
function ofTap(flags: Parsed): string[] {
  return ['tap', 'tap-fd'].filter((name) => flags.given.has(name)).slice(0, 1);
}

function endpoint(text: string, vnis: readonly unknown[]): { vni: unknown; fields: object } {
  const [ip, mac, vtep, vni, ...more] = text.split(',');
  if (vtep === undefined || more.length > 0)
    throw new UsageError(
      `--endpoint: expected IP,MAC,VTEP such as 10.0.0.4,02:42:0a:00:00:04,192.168.1.25, got "${text}"`,
    );
  if (vni === undefined && vnis.length > 1)
    throw new UsageError(
      `--endpoint: expected IP,MAC,VTEP,VNI, since there are ${vnis.length} networks, got "${text}"`,
    );
  const network = vni === undefined ? vnis[0] : toInteger(vni);
  if (!vnis.includes(network))
    throw new UsageError(`--endpoint: expected one of the VNIs ${vnis.join(', ')}, got ${network} in "${text}"`);
  return { vni: network, fields: note({ ip, mac, vtep }, `--endpoint ${text}`) };
}

/** Flags whose name is not that of the field. */
const FLAG_NAMES: Readonly<Record<string, string>> = {
  name: 'tap',
  fd: 'tap-fd',
  native: 'vni',
  peers: 'peer',
  sourcePorts: 'source-ports',
  peersOnly: 'peers-only',
  keepTaps: 'keep-taps',
  busyPoll: 'busy-poll',
  udpChecksum: 'udp-checksum',
  zeroChecksum: 'zero-checksum',
  'gossip.name': 'name',
  'gossip.networks': 'network',
  'gossip.keys': 'key',
};

/** The flag that a path of a configuration stands for, without dashes. */
function flagName(path: string): string {
  const plain = path.replace(/\[[^\]]*\]/g, '');
  const field = plain.slice(plain.lastIndexOf('.') + 1);
  return FLAG_NAMES[plain] ?? FLAG_NAMES[field] ?? field;
}

/** The flag that a path of a configuration came from, as it was typed. */
function flagOf(path: string, flags: Parsed, config: unknown): string {
  const vid = /\.vlans\["(.*)"\]$/.exec(path)?.[1];
  if (vid !== undefined) {
    const text = flags.values('vlan').find((one) => Number(one.split('=')[0]) === Number(vid));
    return text === undefined ? '--vlan' : `--vlan ${text}`;
  }
  // A part that one flag describes is the last object on the way to the field.
  const [, parent = '', field = ''] = /^(.*?)\.?(\w*)$/.exec(path)!;
  const part = valueAt(config, parent);
  const text = typeof part === 'object' && part !== null ? typed.get(part) : undefined;
  if (text !== undefined && (parent.startsWith('segments') === false || /endpoints/.test(parent)))
    return `${text} (${field.length > 3 && field !== 'vtep' ? field : field.toUpperCase()})`;
  if (text !== undefined && field === 'vni') return text;
  return path === '' ? '' : flags.typed(flagName(path));
}

function valueAt(root: unknown, path: string): unknown {
  let value = root;
  for (const key of path.match(/[^.[\]]+/g) ?? [])
    value = isFields(value) || Array.isArray(value) ? (value as never)[key] : undefined;
  return value;
}

/**
 * The plan of a configuration.
 * @throws UsageError with every problem, by the names of `namesFor`.
 */
export function checked(config: unknown, namesFor: (config: unknown) => Names): Plan {
  const names = namesFor(config);
  try {
    const made = plan(config);
    NAMES.set(made, names);
    return made;
  } catch (error) {
    if (!(error instanceof SchemaError)) throw error;
    // One flag may stand in several places of the configuration, which is one problem of the command line.
    const { place, front = place } = names;
    const lines = new Set(error.problems.map((problem) => problemText(problem, place, front(problem.path))));
    throw new UsageError([...lines].join('\n'));
  }
}

function readConfig(path: string): unknown {
  const name = path === '-' ? 'standard input' : path;
  let text: string;
  try {
    text = readFileSync(path === '-' ? 0 : path, 'utf8');
  } catch (error) {
    throw new UsageError(`--config: ${name} cannot be read: ${fileTrouble(error)}`);
  }
  try {
    return parseJson(text);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new UsageError(`${name}:${error.line}:${error.column}: ${error.message}`);
  }
}

/** Why a file cannot be read, in words. */
function fileTrouble(error: unknown): string {
  switch (codeOf(error)) {
    case 'ENOENT':
      return 'there is no such file';
    case 'ENOTDIR':
      return 'a part of its path is not a directory';
    case 'EISDIR':
      return 'it is a directory';
    case 'EACCES':
    case 'EPERM':
      return 'permission denied';
    case 'ELOOP':
      return 'its symbolic links go round in a circle';
    case 'ENAMETOOLONG':
      return 'its name is too long';
    case 'EAGAIN':
      return 'nothing has been written to it yet';
    default:
      return (error as Error).message;
  }
}

/** The number that a flag holds; what is not an integer stays text, for the schema to say what it should be. */
function integer(flags: Parsed, name: string): unknown {
  const text = flags.value(name);
  return text === undefined ? undefined : toInteger(text);
}

/** As `integer`, for a part of a value. */
export function toInteger(text: string): unknown {
  return /^[-+]?\d{1,15}$/.test(text) ? Number(text) : text;
}

/** The fields that have a value. */
export function defined(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
