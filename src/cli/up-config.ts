/** Builds a configuration from the flags of `vtep up`, or from its file. */
import { fileTrouble, HostError, readBounded, RequestError } from '../host/index.js';
import {
  errorField,
  listed,
  plan,
  problemText,
  SchemaError,
  type Place,
  type Plan,
  type Problem,
} from '../schema/index.js';
import { flagName } from './flag-names.js';
import { withoutSecrets } from './hide-keys.js';
import { JsonError, parseJson } from './json.js';
import { noRest, UsageError, type Flag, type Parsed } from './flags.js';

/** Most bytes of a configuration: some 200,000 endpoints. */
const MAX_CONFIG = 16 << 20;

/** Flags that may be combined with `--config`, and override the file. */
export const COMMON: readonly Flag[] = [
  { name: 'local', value: 'IP', text: 'address of this VTEP on the underlay' },
  { name: 'port', value: 'N', text: 'UDP port, here and at the peers (default 4789)' },
  { name: 'esp-port', value: 'N', text: 'UDP port of encrypted segments, here and at the peers (default 4500)' },
  { name: 'source-ports', value: 'N', text: 'number of UDP source ports for flows (default 8; 0: send from --port)' },
  {
    name: 'peers-only',
    negatable: true,
    text: 'accept datagrams only from peers, VTEPs of endpoints and members (default yes)',
  },
  { name: 'workers', value: 'N', text: 'threads that forward frames, 1 to 16 (default 1)' },
  { name: 'busy-poll', value: 'US', text: 'microseconds to poll for the next packet before sleeping (default 0)' },
  { name: 'udp-checksum', negatable: true, text: 'send datagrams with a UDP checksum (default yes)' },
  {
    name: 'zero-checksum',
    negatable: true,
    text: 'accept datagrams without a UDP checksum over IPv6 (default no; over IPv4 always)',
  },
  {
    name: 'engine',
    value: 'auto|dgram|linux',
    text: 'packet I/O engine (default auto: linux where it runs, else dgram)',
  },
  {
    name: 'keep-taps',
    negatable: true,
    text: 'keep TAPs after a crash, for the next run to take over (default: vtep agent yes, vtep up no)',
  },
  {
    name: 'control',
    value: 'PATH',
    text: 'path of the control socket, which "vtep show", "explain" and "capture" use',
  },
];

/** The addresses of a TAP. */
export const ADDRESS: Flag = {
  name: 'address',
  value: 'IP/LENGTH',
  many: true,
  text: 'addresses of the TAP, such as one of IPv4 and one of IPv6',
};

/** Flags that describe one or more segments, and one TAP. */
export const SINGLE: readonly Flag[] = [
  { name: 'vni', value: 'N', text: 'VNI for the frames of the TAP; with --vlan, for its untagged frames' },
  { name: 'vlan', value: 'VID=VNI', many: true, text: 'make the TAP a trunk: the VNI for the frames of a VLAN' },
  { name: 'peer', value: 'IP', many: true, text: 'a VTEP that receives a copy of each flooded frame' },
  {
    name: 'endpoint',
    value: 'IP,MAC,VTEP[,VNI]',
    many: true,
    text: 'addresses of a container and of its VTEP, which may be --local itself',
  },
  {
    name: 'proxy',
    value: 'endpoint|vtep|off',
    text: 'MAC address with which the proxy of ARP and neighbor discovery answers (default endpoint)',
  },
  { name: 'learn', negatable: true, text: 'learn MAC addresses from the underlay (default yes)' },
  { name: 'flood', negatable: true, text: 'send frames for unknown addresses to all peers (default yes)' },
  {
    name: 'clamp-mss',
    negatable: true,
    text: 'lower the maximum segment size of TCP to what fits the path (default no)',
  },
  { name: 'ageing', value: 'SECONDS', text: 'how long a learned address stays (default 300; 0: forever)' },
  {
    name: 'key-file',
    value: 'FILE',
    text: 'encrypt between hosts with the keys in FILE; see "vtep network keygen"',
  },
  { name: 'tap', value: 'NAME', text: 'name of the TAP to create' },
  { name: 'tap-fd', value: 'N', text: 'an open TAP, passed as file descriptor N; needs no privileges' },
  { name: 'netns', value: 'NS', text: 'namespace to move the TAP to: a name, or a path (/proc/PID/ns/net)' },
  ADDRESS,
  { name: 'mac', value: 'MAC', text: 'MAC address of the TAP (default: derived from network and address)' },
  { name: 'mtu', value: 'N', text: 'MTU of the segment and the TAP (default: the largest that fits the underlay)' },
];

/**
 * Returns the plan that flags or a file describe.
 * @throws UsageError with every problem, each with its flag or its path in the file.
 */
export function readPlan(flags: Parsed): Plan {
  noRest(flags);
  const path = flags.value('config');
  const common = commonFields(flags);
  if (path !== undefined) {
    const file = configFile(flags, path);
    if (isFields(file) && file['gossip'] !== undefined)
      throw new UsageError(`${path}: gossip is for "vtep agent --config ${path}"`);
    // The schema reports a file that does not contain an object.
    if (!isFields(file)) return checked(file, inFile(path, flags));
    const config: Record<string, unknown> = { ...file, ...common };
    // Over the control socket, both may come later. The subnets of networks are segments.
    const mayWait = config['control'] !== undefined;
    const defaults = {
      ...(mayWait || file['networks'] !== undefined ? { segments: [] } : {}),
      ...(mayWait ? { taps: [] } : {}),
    };
    return checked({ ...defaults, ...config }, inFile(path, flags));
  }
  const mayWait = flags.given.has('control');
  const hasTap = ofTap(flags).length > 0;
  const isBare = !SINGLE.some(({ name }) => flags.given.has(name));
  const missing = [
    ...(flags.value('local') === undefined ? ['--local IP'] : []),
    ...(flags.given.has('vni') || flags.given.has('vlan') || (mayWait && isBare) ? [] : ['--vni N']),
    ...(hasTap || mayWait ? [] : ['--tap NAME']),
  ];
  const later = hasTap || mayWait ? '' : ', or --control PATH to attach TAPs later';
  if (missing.length > 0) throw new UsageError(`missing: ${missing.join(', ')} (or --config FILE${later})`);
  requireTap(flags);
  return checked({ ...common, ...singleFields(flags) }, fromFlags(flags));
}

/** @throws UsageError if flags describe a TAP, and none names it. */
export function requireTap(flags: Parsed): void {
  const orphan = ['netns', 'address', 'mac', 'vlan'].find((name) => flags.given.has(name));
  if (ofTap(flags).length === 0 && orphan !== undefined)
    throw new UsageError(`missing: --tap NAME, which --${orphan} applies to`);
}

/**
 * Reads the file of `--config`.
 * @throws UsageError if it cannot be read, or if a flag is given that belongs in the file.
 */
export function configFile(flags: Parsed, path: string): unknown {
  const single = SINGLE.find(({ name }) => flags.given.has(name));
  if (single !== undefined)
    throw new UsageError(`--${single.name} does not go with --config; put it into the file (${path})`);
  return readConfig(path);
}

/** Whether a value is an object with fields. */
export function isFields(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Names for the parts of a configuration in error texts. */
export interface Names {
  /** The name of a path: the flag that it came from, or the path itself. */
  place: Place;
  /** How a line about a path begins, if not with `place`. */
  front?: Place;
  /** The file of the configuration. */
  file?: string;
}

/** The command-line text behind a part of the configuration, if one flag describes several fields: `--vlan 10=100`. */
const typed = new WeakMap<object, string>();

/** Records the command-line text behind a part of the configuration. */
export function note<T extends object>(part: T, text: string): T {
  typed.set(part, text);
  return part;
}

/** Names for a configuration built from flags. */
export function fromFlags(flags: Parsed): (config: unknown) => Names {
  return (config) => ({ place: (path) => flagOf(path, flags, config) });
}

/** Names for a configuration read from a file. Fields that a flag overrides have the name of that flag. */
export function inFile(file: string, flags: Parsed): (config: unknown) => Names {
  return (config) => {
    const flagFor = (path: string): string | undefined => {
      const [root = ''] = /^(gossip\.)?\w+/.exec(path) ?? [];
      return flags.given.has(flagName(root)) ? flagOf(path, flags, config) : undefined;
    };
    return {
      file,
      place: (path) => flagFor(path) ?? path,
      front: (path) => flagFor(path) ?? (path === '' ? file : `${file}: ${path}`),
    };
  };
}

const NAMES = new WeakMap<Plan, Names>();

/** The names for the parts of a plan in error texts, and how a line about `path` begins. */
export function namesFor(made: Plan, path: string): [place: Place, front: string] {
  const { place, front = place } = NAMES.get(made) ?? { place: (one: string) => one };
  return [place, front(path)];
}

/**
 * Runs a step of a plan.
 * @throws HostError with the flag or the field that it is about. UsageError if that is a key: the value is wrong, but keys
 * are read only when the VTEP starts.
 */
export async function named<T>(made: Plan, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    if (!(error instanceof HostError) || !error.path) throw error;
    const [, front] = namesFor(made, error.path);
    const text = `${front}: ${error.message}`;
    throw error.path === 'gossip.keys' || error.path.endsWith('.keyFile')
      ? new UsageError(text)
      : new HostError(text, { cause: error });
  }
}

export function commonFields(flags: Parsed): Record<string, unknown> {
  return defined({
    local: flags.value('local'),
    port: integer(flags, 'port'),
    espPort: integer(flags, 'esp-port'),
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
 * Builds the segments and the TAP from flags.
 * @param networks Networks of the gossip; each is also a segment.
 */
export function singleFields(flags: Parsed, networks: readonly { vni: unknown }[] = []): Record<string, unknown> {
  const texts = new Map<unknown, string>();
  const vlans = vlansOf(flags, (vni, text) => texts.set(vni, `--vlan ${text}`));
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
          clampMss: flags.on('clamp-mss'),
          ageing: integer(flags, 'ageing'),
          // A network of the gossip has its own.
          keyFile: networks.some((network) => network.vni === one) ? undefined : flags.value('key-file'),
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
        address: addressOf(flags),
        mac: flags.value('mac'),
        mtu: integer(flags, 'mtu'),
        ...(trunk ? { vlans, native: vni } : { vni }),
      }),
    ),
  };
}

/**
 * Parses the VLANs of a trunk: VLAN ID to VNI.
 * @param each Receives each VNI with its text.
 * @throws UsageError
 */
export function vlansOf(flags: Parsed, each?: (vni: number, text: string) => void): Record<string, number> {
  const vlans: Record<string, number> = {};
  for (const text of flags.values('vlan')) {
    const match = /^(\d{1,5})=(\d{1,15})$/.exec(text);
    if (match === null) throw new UsageError(`--vlan: expected VID=VNI such as 10=4097, got "${text}"`);
    const vid = String(Number(match[1]));
    if (vlans[vid] !== undefined)
      throw new UsageError(`--vlan: VLAN ${vid} has VNI ${vlans[vid]} already, got "${text}"`);
    vlans[vid] = Number(match[2]);
    each?.(vlans[vid], text);
  }
  return vlans;
}

/** The addresses of `--address`; one by itself. */
export function addressOf(flags: Parsed): string | string[] | undefined {
  const all = flags.values('address').flatMap((text) => text.split(','));
  return all.length > 1 ? all : all[0];
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
    throw new UsageError(`--endpoint: expected one of the VNIs ${listed(vnis)}, got ${network} in "${text}"`);
  return { vni: network, fields: note({ ip, mac, vtep }, `--endpoint ${text}`) };
}

/** The flag that a path of a configuration came from, as typed. */
function flagOf(path: string, flags: Parsed, config: unknown): string {
  const vid = /\.vlans\["(.*)"\]$/.exec(path)?.[1];
  if (vid !== undefined) {
    const text = flags.values('vlan').find((one) => Number(one.split('=')[0]) === Number(vid));
    return text === undefined ? '--vlan' : `--vlan ${text}`;
  }
  // The parent object of the field is the part that a flag may describe as a whole.
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
 * Checks a configuration and returns its plan.
 * @throws UsageError with every problem, with the names from `namesFor`.
 */
export function checked(config: unknown, namesFor: (config: unknown) => Names): Plan {
  const names = namesFor(config);
  try {
    const made = plan(config);
    NAMES.set(made, names);
    return made;
  } catch (error) {
    if (!(error instanceof SchemaError)) throw error;
    // A flag may appear in several places of the configuration. On the command line, that is one problem.
    const { place, front = place } = names;
    const lines = new Set(error.problems.map((problem) => problemText(problem, place, front(problem.path))));
    throw new ConfigError([...lines], names.file, error.problems);
  }
}

/** A configuration is wrong. */
class ConfigError extends UsageError {
  /** The file, if it comes from one. */
  readonly file: string | undefined;
  readonly problems: readonly Problem[];

  constructor(lines: readonly string[], file: string | undefined, problems: readonly Problem[]) {
    super(lines);
    this.file = file;
    this.problems = problems;
  }
}

/**
 * Reads a configuration again, for a VTEP that runs.
 * @throws RequestError that names fields and not flags: its message goes to the clients of the control socket.
 */
export async function readAgain(read: () => Plan | Promise<Plan>): Promise<Plan> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof ConfigError) {
      const { file, problems } = error;
      const lines = problems.map((problem) => [...(file === undefined ? [] : [file]), problemText(problem)].join(': '));
      const hidden = (text: string): string => withoutSecrets(text, []);
      const fields = problems.map(errorField).map((field) => ({
        ...field,
        message: hidden(field.message),
        ...(field.given === undefined ? {} : { given: hidden(field.given) }),
      }));
      throw new RequestError('invalid-configuration', lines.map(hidden), { fields });
    }
    if (!(error instanceof UsageError)) throw error;
    const plain = error.lines.map((line) =>
      withoutSecrets(line, []).replace(/^--config: |(?<=vtep \w+) --config [^"]+/g, ''),
    );
    throw new RequestError('invalid-configuration', plain, { cause: error });
  }
}

function readConfig(path: string): unknown {
  const name = path === '-' ? 'standard input' : path;
  let text: string;
  try {
    text = readBounded(path, MAX_CONFIG);
  } catch (error) {
    const trouble = fileTrouble(error, `it has more than ${MAX_CONFIG >> 20} MiB; is it a configuration?`);
    throw new UsageError(`--config: ${name} cannot be read: ${trouble}`);
  }
  try {
    return parseJson(text);
  } catch (error) {
    if (!(error instanceof JsonError)) throw error;
    throw new UsageError(`${name}:${error.line}:${error.column}: ${error.message}`);
  }
}

/** The integer of a flag; text that is not an integer stays text, so that the schema reports what it expects. */
function integer(flags: Parsed, name: string): unknown {
  const text = flags.value(name);
  return text === undefined ? undefined : toInteger(text);
}

/** Like `integer`, for a part of a value. */
export function toInteger(text: string): unknown {
  return /^[-+]?\d{1,15}$/.test(text) ? Number(text) : text;
}

/** Drops the fields that are undefined. */
export function defined(fields: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
