/** Formats counters as tables and in the text format of Prometheus. */
import { LOSSES, lossesOf, type AllCounters, type EngineCounters, type GossipCounters } from '../host/index.js';
import { COUNTS, DROPS } from '../vtep/index.js';
import { table } from './table.js';

/** Engine counters and their meaning. */
const ENGINE = [
  ['framesRead', 'frames read from TAPs'],
  ['framesWritten', 'frames written to TAPs'],
  ['datagramsReceived', 'datagrams received'],
  ['datagramsSent', 'datagrams handed to the underlay'],
  ['superFramesRead', 'super-frames among those read'],
  ['superFramesWritten', 'super-frames among those written'],
  ['readCalls', 'system calls that read TAPs'],
  ['writeCalls', 'system calls that write TAPs'],
  ['receiveCalls', 'system calls that receive'],
  ['sendCalls', 'system calls that send'],
  ['pollCalls', 'system calls that wait for packets'],
] as const satisfies readonly (readonly [keyof EngineCounters, string])[];
const ERRORS = [
  ['writeErrors', 'frames that a TAP refused'],
  ['sendErrors', 'datagrams that the underlay refused'],
  ['receiveErrors', 'receive errors'],
] as const satisfies readonly (readonly [keyof EngineCounters, string])[];

/** Tables of the counts by segment, as lines. Omits drops and errors that are zero. */
export function countersTable({ vtep, engine, gossip }: AllCounters): string[] {
  const { segments } = vtep;
  const losses = lossesOf(engine);
  const head = ['counter', ...segments.map(({ vni }) => `vni ${vni}`), ...(segments.length > 1 ? ['all'] : [])];
  const total = (all: number): number[] => (segments.length > 1 ? [all] : []);
  // Where no segment has a gateway, the counts of gateways only take space.
  const routes = COUNTS.some(([name]) => isOfGateway(name) && vtep.counts[name] > 0);
  const counts = COUNTS.filter(([name]) => routes || !isOfGateway(name)).map(([name]) => [
    name,
    ...segments.map(({ counts: own }) => own[name]),
    ...total(vtep.counts[name]),
  ]);
  const drops = [
    ...DROPS.filter(([name]) => vtep.drops[name] > 0).map(([name, text]) => [name, vtep.drops[name], text]),
    ...LOSSES.filter(([name]) => losses[name] > 0).map(([name, text]) => [name, losses[name], text]),
  ];
  const moved = ENGINE.flatMap(([name, text]) => (engine[name] === undefined ? [] : [[text, engine[name]]]));
  const errors = ERRORS.flatMap(([name, text]) =>
    Object.entries(engine[name]).map(([code, count]) => [`${text}: ${code}`, count]),
  );
  return [
    ...table(head, counts),
    '',
    ...(drops.length === 0 ? ['nothing was dropped'] : table(['drop', 'count', 'meaning'], drops)),
    '',
    ...table(['engine', 'count'], [...moved, ...errors]),
    ...(gossip === undefined ? [] : ['', ...table(['gossip', 'count'], gossipRows(gossip))]),
  ];
}

function isOfGateway(name: string): boolean {
  return name === 'routed' || name.startsWith('gateway-');
}

/** Members by state, table sizes, and the non-zero counters. */
function gossipRows({
  members,
  awareness,
  entries,
  queued,
  conflicts,
  conflictsSeen,
  memberlist,
  networkdb,
}: GossipCounters): [string, number][] {
  const happened = Object.entries({ ...memberlist, ...prefixed('tables: ', networkdb) }).filter(
    ([, count]) => count > 0,
  );
  return [
    ...Object.entries(prefixed('members ', members)),
    ['health score', awareness],
    ['entries', entries],
    ['queued messages', queued],
    ['conflicts now', conflicts],
    ['conflicts since the start', conflictsSeen],
    ...happened,
  ];
}

function prefixed(prefix: string, counts: Record<string, number>): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).map(([name, count]) => [prefix + name, count]));
}

/** Prometheus' text format, version 0.0.4, as lines. Drops outside any segment have `vni="none"`. */
export function prometheus({ vtep, engine, gossip }: AllCounters): string[] {
  const lines: string[] = [];
  const family = (type: string, name: string, help: string, samples: Samples): void => {
    lines.push(`# HELP weft_${name} ${help}`, `# TYPE weft_${name} ${type}`);
    for (const [labels, value] of samples) lines.push(`weft_${name}${labels} ${value}`);
  };
  const metric = (name: string, help: string, samples: Samples): void =>
    family('counter', `${name}_total`, help, samples);
  const gauge = (name: string, help: string, samples: Samples): void => family('gauge', name, help, samples);
  for (const [name, text] of COUNTS)
    metric(
      name.replace(/-/g, '_'),
      text,
      vtep.segments.map(({ vni, counts }) => [`{vni="${vni}"}`, counts[name]]),
    );
  metric('dropped', 'frames and datagrams dropped, by reason', [
    ...DROPS.flatMap(([reason]) => {
      const nowhere = vtep.segments.reduce((rest, { drops }) => rest - drops[reason], vtep.drops[reason]);
      return [
        ...vtep.segments.map(({ vni, drops }) => [`{vni="${vni}",reason="${reason}"}`, drops[reason]] as const),
        [`{vni="none",reason="${reason}"}`, nowhere] as const,
      ];
    }),
    ...Object.entries(lossesOf(engine)).map(([reason, count]) => [`{vni="none",reason="${reason}"}`, count] as const),
  ]);
  for (const [name, text] of ENGINE)
    if (engine[name] !== undefined) metric(`engine_${snake(name)}`, text, [['', engine[name]]]);
  for (const [name, text] of ERRORS)
    metric(
      `engine_${snake(name)}`,
      `${text}, by the system's code`,
      Object.entries(engine[name]).map(([code, value]) => [`{code="${labelValue(code)}"}`, value]),
    );
  gauge('engine_send_queue_bytes', 'bytes of datagrams queued for the socket', [['', engine.sendQueue]]);
  if (gossip !== undefined) {
    const by = (label: string, counts: Record<string, number>): Samples =>
      Object.entries(counts).map(([name, count]) => [`{${label}="${labelValue(name)}"}`, count]);
    gauge('gossip_members', 'members of the gossip, by state', by('state', gossip.members));
    gauge('gossip_awareness', 'local health score: 0 is healthy', [['', gossip.awareness]]);
    gauge('gossip_entries', 'entries of the tables', [['', gossip.entries]]);
    gauge('gossip_queued', 'messages queued for gossip', [['', gossip.queued]]);
    gauge('gossip_conflicts', 'conflicts between hosts now', [['', gossip.conflicts]]);
    metric('gossip_conflicts_seen', 'conflicts between hosts since the start', [['', gossip.conflictsSeen]]);
    metric('gossip_memberlist', 'events of the membership layer', by('what', gossip.memberlist));
    metric('gossip_networkdb', 'events of the tables', by('what', gossip.networkdb));
  }
  return lines;
}

/** Escapes the value of a label, as the format prescribes. */
function labelValue(text: string): string {
  return text.replace(/[\\"]/g, '\\$&').replace(/\n/g, '\\n');
}

type Samples = readonly (readonly [labels: string, value: number])[];

function snake(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
