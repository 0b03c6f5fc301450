/** `vtep up`: runs one VTEP with a static configuration until it is stopped. */
import {
  applyMtus,
  HostError,
  LEVELS,
  Overlay,
  readKeyFiles,
  requireKeys,
  tapMtu,
  type AllCounters,
  type Logger,
} from '../host/index.js';
import {
  addressesOf,
  configOf,
  findWarnings,
  problemText,
  routersOf,
  type GossipPlan,
  type HostPort,
  type Plan,
} from '../schema/index.js';
import { countersTable } from './counters.js';
import { parseFlags, type Flag, type Parsed } from './flags.js';
import { shownKey } from './hide-keys.js';
import { keyWarnings } from './key-warnings.js';
import { type Manual, type Section } from './manual.js';
import { servedBy, Service } from './service.js';
import { jsonLines, printAll } from './streams.js';
import { Hangup, Stopping } from './signals.js';
import { ServiceOutput } from './service-output.js';
import { COMMON, named, namesFor, readAgain, readPlan, SINGLE } from './up-config.js';

export const RUN: readonly Flag[] = [
  { name: 'config', value: 'FILE', text: 'JSON file with segments and TAPs ("-": standard input)' },
  { name: 'dry-run', text: 'check the configuration, print it as JSON, and exit' },
  { name: 'json', text: 'print events, log lines and the final counters as JSON, one object per line' },
  {
    name: 'log-level',
    value: LEVELS.join('|'),
    text: 'least urgent level that is logged on standard error (default info)',
  },
];

/** What the engines of --engine can do. */
export const ENGINES: Section = {
  title: 'engines',
  text: `"linux" moves super-frames and batches of packets on threads of its own, and needs koffi. "dgram" is portable, with one
system call per packet. Only "linux" has --workers, --busy-poll and the checksum flags, copies congestion marks between
inner and outer headers, and receives ICMP errors. With "dgram", a peer whose host or VTEP is down is neither logged nor
counted. Both find out the MTU of the path to a peer that is weft, by probes.`,
};

export const manual: Manual = {
  name: 'up',
  summary: 'attach containers to a VXLAN network',
  usage: [
    'up --vni N --local IP --tap NAME [flags]',
    'up --local IP --control PATH [flags]',
    'up --config FILE [flags]',
  ],
  description: `With --control, segments, networks and TAPs may also come while the VTEP runs: see "vtep network" and "vtep attach". Then
--vni and --tap, and "segments" and "taps" of the configuration, may be absent.`,
  flags: [{ flags: SINGLE }, { title: 'with or without --config', flags: [...COMMON, ...RUN] }],
  sections: [
    {
      title: 'configuration file',
      text: `The configuration file is JSON, with the same fields as the flags. --dry-run prints the configuration that the flags
describe.

  { "local": "172.31.1.5", "control": "/run/vtep.sock",
    "segments": [{ "vni": 4097, "peers": ["192.168.1.25"],
                   "endpoints": [{ "ip": "10.0.0.4", "mac": "02:42:0a:00:00:04", "vtep": "192.168.1.25" }] }],
    "taps": [{ "name": "eth0", "netns": "c1", "address": "10.0.0.3/24", "vni": 4097 }] }

"networks" has networks of several subnets, each with a VNI, which is a segment, and a gateway (default: the first address
of the subnet). Every host has the gateways, and TAPs get routes to the other subnets of their network:

  "networks": [{ "name": "prod-net", "subnets": [{ "prefix": "10.1.1.0/24", "vni": 4097 },
                                                 { "prefix": "11.1.1.0/24", "gateway": "11.1.1.254", "vni": 4098 }] }]`,
    },
    {
      title: 'output and signals',
      text: `vtep prints "ready" when it forwards frames. SIGINT or SIGTERM stops it: it prints its counters and removes everything
that it created. A second signal ends it immediately. On SIGHUP, vtep reads the file of --config again, as with
"vtep reload": it adds and removes segments, networks, TAPs, peers and endpoints, and logs the changes that need a
restart. Without --config, it ignores SIGHUP.

The log goes to standard error, one line for each event, with its time and level. If the log cannot be written (a full
disk, a closed terminal, an unread pipe), log lines are dropped and counted; frames are not affected.`,
    },
    ENGINES,
    {
      title: 'crashes and upgrades',
      text: `With --keep-taps, a TAP stays in its namespace when the process is killed or fails. It keeps its address, its routes
and the connections of the container. The next "vtep up" with the same TAP takes it over. A regular stop removes the
TAP; so does "vtep detach" while no process uses it.`,
    },
  ],
  examples: `# container namespace c1 on 172.31.1.5 joins network 4097, whose other VTEP is 192.168.1.25
vtep up --vni 4097 --local 172.31.1.5 --peer 192.168.1.25 \\
        --tap eth0 --netns c1 --address 10.0.0.3/24 --mac 02:42:0a:00:00:03

# the same without flooding of ARP: the proxy answers for 10.0.0.4
vtep up --vni 4097 --local 172.31.1.5 --tap eth0 --netns c1 --address 10.0.0.3/24 \\
        --endpoint 10.0.0.4,02:42:0a:00:00:04,192.168.1.25 --no-learn --no-flood

# a trunk: VLAN 10 is network 100, VLAN 20 is network 200
vtep up --local 172.31.1.5 --peer 192.168.1.25 --tap trunk0 --vlan 10=100 20=200`,
  exit: { 0: 'stopped', 1: 'something failed', 2: 'wrong flags or configuration' },
};

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, [...SINGLE, ...COMMON, ...RUN]);
  return serve(readPlan(flags), flags, readsFile(flags) ? () => readPlan(flags) : undefined);
}

/** Whether there is a file that a reload can read. */
export function readsFile(flags: Parsed): boolean {
  return flags.given.has('config') && flags.value('config') !== '-';
}

/** Reads the configuration again; absent if it comes from flags alone. */
type Reread = (() => Plan | Promise<Plan>) | undefined;

/** The name of the configuration's file. */
function fileOf(flags: Parsed): { file?: string } {
  const file = flags.value('config');
  return file === undefined ? {} : { file };
}

/** Runs a VTEP until a signal, a request to stop, or the loss of its last TAP. */
export async function serve(plan: Plan, flags: Parsed, reread: Reread): Promise<number> {
  const output = new ServiceOutput(flags);
  const { log } = output;
  for (const oddity of findWarnings(plan))
    log.warning('configuration', problemText(oddity, ...namesFor(plan, oddity.path)));
  for (const warning of keyWarnings(plan, flags)) log.warning('key', warning);
  if (flags.on('dry-run')) return dryRun(plan, log);
  if (plan.gossip?.keys.length === 0)
    log.warning(
      'no-key',
      `the gossip has no key: everybody who reaches ${place(plan.gossip.bind)} can join; see --key`,
    );

  const stopping = new Stopping();
  const hangup = new Hangup(log, reread !== undefined);
  let service: Service | undefined;
  const overlay = await named(plan, () =>
    Overlay.start(plan, {
      log,
      end: (reason) => stopping.end(reason),
      ...(reread === undefined ? {} : { reread: () => readAgain(reread), ...fileOf(flags) }),
      reloading: (begins) => (begins ? service?.reloading() : service?.ready()),
      report: ({ event, fields, line }) => output.event(event, fields, [line]),
    }),
  );
  output.event('ready', describe(overlay), [...summary(overlay), 'ready']);
  service = await Service.start(servedBy(overlay));
  hangup.attach(overlay);
  logInternalErrors(log);
  const reason = await stopping.ended;
  service.stopping();
  const counters = await lastCounters(overlay);
  await overlay.stop(reason !== null);
  output.event('stopped', { reason, counters }, [
    'stopped',
    ...(counters === null ? [] : ['', ...countersTable(counters)]),
  ]);
  if (reason !== null) output.fail(reason);
  return output.close(reason === null ? 0 : 1);
}

/**
 * From here on, an internal error outside the data path is logged and does not stop forwarding. This replaces the handlers that
 * end the program (last-resort.ts).
 */
export function logInternalErrors(log: Logger): void {
  process.removeAllListeners('unhandledRejection').removeAllListeners('uncaughtException');
  process.on('uncaughtException', (error) =>
    log.error('internal-error', `internal error: ${error.message}`, { stack: error.stack }, { key: error.message }),
  );
}

/** The final counters; `null` if the engine has failed, which loses its counters. */
async function lastCounters(overlay: Overlay): Promise<AllCounters | null> {
  try {
    return await overlay.counters();
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    return null;
  }
}

async function dryRun(plan: Plan, log: Logger): Promise<number> {
  const warn = (warning: string): void => log.warning('key-file', warning);
  await named(plan, () => requireKeys(plan, warn));
  await named(plan, async () => readKeyFiles(plan, warn));
  try {
    await named(plan, () => applyMtus(plan, log));
  } catch (error) {
    if (!(error instanceof HostError)) throw error;
    log.warning('mtu', error.message); // the plan may be meant for another machine
  }
  await printAll(jsonLines(configOf(withoutItsKeys(plan))));
  return 0;
}

/** The plan with `***` for each key that is not in a file: a dry run may be logged, or pasted into a question. */
function withoutItsKeys({ gossip, ...plan }: Plan): Plan {
  return {
    ...plan,
    keyFiles: plan.keyFiles.map(({ group, path }) => ({ group, path: shownKey(path) })),
    ...(gossip === undefined ? {} : { gossip: { ...gossip, keys: gossip.keys.map(shownKey) } }),
  };
}

/** Describes the running VTEP for programs. */
function describe({ plan, mtus, links, engine, facts }: Overlay): object {
  return {
    pid: process.pid,
    engine: engine.name,
    local: plan.local,
    port: plan.port,
    ...facts,
    control: plan.control ?? null,
    ...(plan.gossip === undefined ? {} : { gossip: { ...plan.gossip, keys: plan.gossip.keys.length } }),
    ...(plan.networks.length === 0 ? {} : { networks: plan.networks }),
    segments: mtus,
    taps: links.map((link, i) => ({ ...plan.taps[i], device: link.device })),
  };
}

/** Describes the running VTEP for people. */
function summary({ plan, mtus, links, engine, facts }: Overlay): string[] {
  const lines = [
    `vtep ${plan.local}:${plan.port} (pid ${process.pid}), engine ${engine.name}${plan.workers > 1 ? ` with ${plan.workers} workers` : ''}, receive buffer ${facts.receiveBuffer >> 10} KiB`,
  ];
  for (const [i, { vni, proxy, learn, flood, group, peers, endpoints }] of plan.segments.entries()) {
    const habits = [
      ...(group === undefined ? [] : ['encrypted']),
      ...[learn ? 'learning' : 'no learning', ...(flood ? [] : ['no flooding']), `ARP proxy ${proxy}`],
    ];
    lines.push(
      `segment ${vni}: MTU ${mtus[i]!.mtu} (${mtus[i]!.why}), ${habits.join(', ')}`,
      `  peers: ${list(peers)}`,
      `  endpoints: ${list(endpoints.map(({ ip, mac, vtep }) => `${ip} ${mac} ${vtep ?? 'here'}`))}`,
    );
  }
  for (const { id, mac, subnets } of routersOf(plan)) {
    const gateways = subnets.map(({ prefix, gateway, vni }) => `${gateway} of ${prefix} (segment ${vni})`);
    lines.push(`network ${id}: gateways ${mac}, ${gateways.join(', ')}`);
  }
  for (const [i, { device, mac }] of links.entries()) {
    const tap = plan.taps[i]!;
    const place = tap.fd === undefined ? (tap.netns === undefined ? '' : ` in ${tap.netns}`) : `, fd ${tap.fd}`;
    const mtu = tap.mtu ?? tapMtu(plan, i);
    const facts = [
      ...(mac === undefined ? [] : [mac]),
      ...addressesOf(tap),
      tap.fd === undefined ? `MTU ${mtu}` : `its opener sets the MTU, at most ${mtu}`,
      tap.vlans === undefined ? `segment ${tap.vni}` : trunk(tap.vlans, tap.native),
    ];
    lines.push(`tap ${device}${place}: ${facts.join(', ')}`);
  }
  if (plan.gossip !== undefined) lines.push(...gossipSummary(plan.gossip));
  if (plan.control !== undefined) lines.push(`control ${plan.control}`);
  return lines;
}

function gossipSummary({ name, bind, advertise, tunnel, keys, networks }: GossipPlan): string[] {
  const habits = [
    ...(advertise.host === bind.host && advertise.port === bind.port ? [] : [`others reach it at ${place(advertise)}`]),
    keys.length === 0 ? 'not encrypted (see --key)' : 'encrypted',
    `endpoints here are behind ${tunnel}`,
  ];
  return [
    `gossip ${place(bind)} as ${name}: ${habits.join(', ')}`,
    ...networks.flatMap(({ id, vni, subnet }) =>
      vni === undefined ? [] : [`network ${id}: segment ${vni}, ${subnet}`],
    ),
  ];
}

function place({ host, port }: HostPort): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`;
}

function trunk(vlans: Readonly<Record<string, number>>, native: number | undefined): string {
  const tags = Object.entries(vlans).map(([vid, vni]) => `VLAN ${vid} is segment ${vni}`);
  return [...tags, ...(native === undefined ? [] : [`untagged is segment ${native}`])].join(', ');
}

function list(items: readonly string[]): string {
  if (items.length === 0) return 'none';
  return items.slice(0, 8).join('; ') + (items.length > 8 ? `; and ${items.length - 8} more` : '');
}
