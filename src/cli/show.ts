/** `vtep show`: prints the state of a running VTEP. */
import { type AllCounters, type MemberListing, type NetworkListing, type Results } from '../host/index.js';
import { closest, type NoticeRival } from '../schema/index.js';
import { type FdbListing } from '../vtep/index.js';
import { MAX_VNI } from '../vxlan/index.js';
import { age } from './age.js';
import { call } from './call.js';
import { countersTable, prometheus } from './counters.js';
import { encryptionText } from './encryption-text.js';
import { CONTROL, requireControl, TIMEOUT, timeoutOf } from './control-flags.js';
import { integerOf, noRest, parseFlags, refuseBeside, UsageError, type Flag } from './flags.js';
import { type Manual } from './manual.js';
import { membersTable } from './members.js';
import { networksTables } from './networks.js';
import { jsonLines, printAll } from './streams.js';
import { rowsOf, tableLines } from './table.js';

const FLAGS: readonly Flag[] = [
  CONTROL,
  { name: 'vni', value: 'N', text: 'only the network with this VNI' },
  { name: 'json', text: 'print JSON' },
  { name: 'prometheus', text: 'print counters in the text format of Prometheus' },
  TIMEOUT,
];

export const manual: Manual = {
  name: 'show',
  summary: 'print the state of a running VTEP',
  usage: ['show WHAT --control PATH [flags]'],
  words: [
    { name: 'fdb', text: 'MAC addresses, learned and static, and the TAP or VTEP that each one is behind' },
    { name: 'neighbors', text: 'endpoints: IP address, MAC address, VTEP, and who wants them' },
    { name: 'peers', text: 'VTEPs that receive a copy of flooded frames, and who wants them' },
    { name: 'remotes', text: 'known VTEPs, their path MTUs, if narrow, and datagrams reported undelivered' },
    { name: 'counters', text: 'frames forwarded, and frames dropped by reason' },
    { name: 'members', text: 'of an agent: the members of its cluster' },
    { name: 'networks', text: 'networks with subnets; of an agent, the members of each, and conflicts' },
  ],
  flags: [{ flags: FLAGS }],
  examples: `vtep show fdb --control /run/vtep.sock
vtep show neighbors --vni 4097 --json --control /run/vtep.sock
vtep show counters --prometheus --control /run/vtep.sock`,
  exit: { 0: 'done', 1: 'no VTEP answered, or it refused the request', 2: 'wrong flags' },
};

type Listed<T> = T & { vni: number };

/** Formats each listing as lines of text. */
export const VIEWS = {
  fdb: (result: unknown): Iterable<string> =>
    tableLines(
      ['VNI', 'MAC', 'BEHIND', 'TYPE', 'AGE (s)'],
      rowsOf(result as Listed<FdbListing>[], (entry) => [
        entry.vni,
        entry.mac,
        entry.vtep === null ? `port ${entry.port}` : `VTEP ${entry.vtep}`,
        entry.static ? 'static' : 'learned',
        entry.static ? '-' : String(Math.round(entry.age / 1000)),
      ]),
    ),
  neighbors: (result: unknown): Iterable<string> =>
    tableLines(
      ['VNI', 'IP', 'MAC', 'VTEP', 'STATE', 'SOURCES'],
      rowsOf(result as Results['neighbors'], ({ vni, ip, mac, vtep, hidden, by, sources = [] }) => [
        vni,
        ip,
        mac,
        vtep ?? 'this host',
        hidden ? `not in effect${by === undefined ? '' : `: ${reasonOf(by)}`}` : 'in effect',
        sources.join(', ') || '-',
      ]),
    ),
  peers: (result: unknown): Iterable<string> =>
    tableLines(
      ['VNI', 'ADDRESS', 'PORT', 'SOURCES'],
      rowsOf(result as Results['peers'], ({ vni, address, port, sources = [] }) => [
        vni,
        address,
        port,
        sources.join(', ') || '-',
      ]),
    ),
  members: (result: unknown): Iterable<string> => membersTable(result as MemberListing[]),
  networks: (result: unknown): Iterable<string> => networksTables(result as NetworkListing[]),
  remotes: (result: unknown): Iterable<string> =>
    tableLines(
      ['ADDRESS', 'PORT', 'MTU', 'FROM', 'SINCE', 'PROBES', 'UNDELIVERED', 'LAST', 'ENCRYPTED'],
      rowsOf(result as Results['remotes'], ({ address, port, mtu, from, age: since, probes, ...one }) => [
        address,
        port,
        mtu ?? '-',
        from ?? '-',
        since === null || since === undefined ? '-' : age(0, since),
        PROBES.get(probes ?? '') ?? '-',
        one.undelivered,
        one.reason || '-',
        (one.encryption ?? []).map((way) => `${way.group}: ${encryptionText(way)}`).join('; ') || '-',
      ]),
    ),
  counters: (result: unknown): Iterable<string> => countersTable(result as AllCounters),
} as const;
/** What `show remotes` says of the search for a path MTU. */
const PROBES: ReadonlyMap<string, string> = new Map([
  ['base', 'asking'],
  ['search', 'searching'],
  ['complete', 'answered'],
  ['error', 'no answer now'],
  ['disabled', 'no answer'],
]);
type View = keyof typeof VIEWS;
/** Listings that --vni can restrict to one network. */
const OF_NETWORKS: readonly View[] = ['fdb', 'neighbors', 'peers'];

export async function run(args: string[]): Promise<number> {
  const flags = parseFlags(args, FLAGS);
  const [view, ...more] = flags.rest;
  const views = Object.keys(VIEWS);
  if (view === undefined) throw new UsageError(`missing: WHAT, one of ${views.join(', ')}`);
  if (!views.includes(view)) {
    const meant = closest(view, views);
    throw new UsageError(
      `cannot show "${view}"; ${meant === undefined ? `expected one of ${views.join(', ')}` : `did you mean "${meant}"?`}`,
    );
  }
  noRest({ ...flags, rest: more });
  const control = requireControl(flags);
  const command = view as View;
  if (command !== 'counters' && flags.on('prometheus')) throw new UsageError('--prometheus goes only with counters');
  refuseBeside(flags, 'prometheus', ['json']);
  const vni = integerOf(flags, 'vni', { most: MAX_VNI, what: 'a VNI' });
  if (vni !== undefined && !OF_NETWORKS.includes(command))
    throw new UsageError(`--vni does not go with ${command}; use it with ${OF_NETWORKS.join(', ')}`);
  const timeout = timeoutOf(flags);
  const result: unknown = await call(control, { command, ...(vni === undefined ? {} : { vni }) }, { timeout });
  await printAll(
    flags.on('prometheus')
      ? prometheus(result as AllCounters)
      : flags.on('json')
        ? jsonLines(result)
        : VIEWS[command](result),
  );
  return 0;
}

/** Why an endpoint is not in effect. */
function reasonOf({ kind, ip, mac, vtep }: NoticeRival): string {
  const place = vtep === null ? 'this host' : `VTEP ${vtep}`;
  if (kind === 'place') return `attached later at ${place}`;
  return kind === 'ip' ? `${mac} at ${place} is older` : `${ip} at ${place} is older`;
}
