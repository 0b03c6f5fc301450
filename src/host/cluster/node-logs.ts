/** The output of commands, as far as a node has it: that of its own workloads, and the last lines that other nodes have reported. */
import { StringDecoder } from 'node:string_decoder';
import { type EndpointRecord, type TaskRecord, type View } from '../../cluster/index.js';
import { MAX_LINE, type NodeRequest, type OutputEvent } from '../../schema/index.js';
import { RequestError } from '../error.js';
import { type Page, PAGE_ENTRIES } from '../pages.js';
import { type OutputReader } from '../sandbox/output-reader.js';
import { pause } from '../sandbox/processes.js';
import { type Workload } from '../sandbox/workload.js';
import { type LocalEndpoints } from './local-endpoints.js';
import { endpointsCalled, namesOfView } from './node-listings.js';

export type LogsRequest = Extract<NodeRequest, { command: 'logs' }>;

export interface LogSources {
  readonly local: LocalEndpoints;
  /** The id of this node, and its name. */
  readonly node: { readonly id: string; readonly name: string };
  /** The names of services that have tasks here, by id. */
  serviceName(id: string): string | undefined;
  /** What the managers say; `undefined` if none answers. */
  readonly view: View | undefined;
}

/** Milliseconds between two looks at what is followed. */
const POLL = 250;
/** Looks after which a page is sent even if nothing was written: the client counts on one a second. */
const LOOKS = 3;

/** Text as lines. */
class Lines {
  readonly #decoder = new StringDecoder('utf8');
  #rest = '';

  /** @param ended Whether a last line without an end counts. */
  push(octets: Buffer, ended: boolean): string[] {
    const lines = (this.#rest + this.#decoder.write(octets) + (ended ? this.#decoder.end() : '')).split('\n');
    this.#rest = lines.pop()!;
    if ((ended && this.#rest !== '') || this.#rest.length > MAX_LINE) {
      lines.push(this.#rest);
      this.#rest = '';
    }
    return lines.map((line) => line.replace(/\r$/, '')).flatMap(parts);
  }
}

function parts(line: string): string[] {
  if (line.length <= MAX_LINE) return [line];
  return Array.from({ length: Math.ceil(line.length / MAX_LINE) }, (_, i) =>
    line.slice(i * MAX_LINE, (i + 1) * MAX_LINE),
  );
}

/** A command whose output is read. */
interface Followed {
  readonly reader: OutputReader;
  readonly lines: Lines;
  isFirst: boolean;
  hasEnded: boolean;
}

/**
 * The output of an endpoint's command, or of the tasks of a service.
 * @throws RequestError if nothing has this name.
 */
export function logsOf(request: LogsRequest, sources: LogSources, gone: AbortSignal): AsyncGenerator<Page> {
  const find = (): EndpointRecord[] => localOf(request.name, sources);
  const elsewhere = elsewhereOf(request, sources);
  const own = find();
  if (own.length === 0 && elsewhere === undefined) {
    const known = sources.view === undefined ? ' on this node, and no manager answers' : '';
    throw new RequestError('not-found', `name: there is no endpoint and no service ${request.name}${known}`, {
      fields: [{ path: 'name', message: `there is no endpoint and no service ${request.name}${known}` }],
    });
  }
  const attached = own.find(({ kind }) => kind === 'attach');
  if (attached !== undefined && own.length === 1 && elsewhere === undefined)
    throw new RequestError(
      'conflict',
      `${attached.name} is a namespace that was attached: this node has started no command in it`,
    );
  return pages(request, sources, find, elsewhere ?? [], gone);
}

/** The endpoints on this node that a name stands for, one for each command. */
function localOf(name: string, { local, serviceName }: LogSources): EndpointRecord[] {
  const called = local.called(name);
  const lower = name.toLowerCase();
  const ofService = local.all.filter(
    ({ of }) => of !== undefined && (of.service === name || serviceName(of.service)?.toLowerCase() === lower),
  );
  const byPlace = new Map([...called, ...ofService].map((endpoint) => [local.placeOf(endpoint), endpoint]));
  return [...byPlace.values()].sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
}

/** What is known of commands on other nodes; `undefined` if the name stands for nothing that the managers know. */
function elsewhereOf({ name, tail }: LogsRequest, { view, node }: LogSources): OutputEvent[] | undefined {
  if (view === undefined) return undefined;
  const names = namesOfView(view);
  const endpoints = endpointsCalled(name, view.endpoints);
  const service = view.services.find(({ id, name: own }) => id === name || own.toLowerCase() === name.toLowerCase());
  if (endpoints.length === 0 && service === undefined) return undefined;
  const ids = new Set(endpoints.map(({ of }) => of?.task));
  const tasks = view.tasks.filter((task) => ids.has(task.id) || task.service === service?.id);
  const runs = endpoints.filter((endpoint) => endpoint.kind === 'run' && endpoint.node !== node.id);
  return [
    ...tasks
      .filter((task) => task.node !== node.id)
      .flatMap((task) => reported(task, `${names.service(task.service)}.${task.slot}`, names.node(task.node), tail)),
    ...runs.map((endpoint) => unknown(endpoint.name, names.node(endpoint.node))),
  ];
}

/** The last lines that a node has reported of a task. */
function reported({ node, endings, reason }: TaskRecord, name: string, host: string, tail?: number): OutputEvent[] {
  if (node === '') return [{ ...event(name, ''), line: null, reason: reason ?? 'it has no node yet' }];
  const lines = (endings[0]?.output ?? []).slice(tail === 0 ? Infinity : -(tail ?? 0));
  return [...lines.map((line) => ({ ...event(name, host), line })), unknown(name, host)];
}

const event = (name: string, node: string): Pick<OutputEvent, 'event' | 'name' | 'node'> => ({
  event: 'output',
  name,
  node,
});
const unknown = (name: string, node: string): OutputEvent => ({
  ...event(name, node),
  line: null,
  reason: `${name} is on ${node}, which has the rest of its output; run this there`,
});

async function* pages(
  { tail, follow = false }: LogsRequest,
  sources: LogSources,
  find: () => EndpointRecord[],
  elsewhere: readonly OutputEvent[],
  gone: AbortSignal,
): AsyncGenerator<Page> {
  const followed = new Map<string, Followed>();
  let waiting: OutputEvent[] = [...elsewhere];
  for (let look = 0; ; look++) {
    let isOver = true;
    for (const endpoint of find()) {
      const workload = await sources.local.workloadOf(endpoint);
      if (workload === undefined) {
        isOver &&= endpoint.kind === 'attach';
        continue;
      }
      const one = followed.get(workload.directory) ?? begin(workload);
      followed.set(workload.directory, one);
      for (const line of await linesOf(one, workload, tail, !follow))
        waiting.push({ ...event(endpoint.name, sources.node.name), line });
      // A task is started again; a command that a request has started is not.
      isOver &&= one.hasEnded && endpoint.kind === 'run';
    }
    const isLast = !follow || isOver || gone.aborted;
    for (; waiting.length > PAGE_ENTRIES; waiting = waiting.slice(PAGE_ENTRIES))
      yield { result: waiting.slice(0, PAGE_ENTRIES) };
    if (isLast) return yield { result: waiting, last: true };
    if (waiting.length > 0 || look % LOOKS === 0) yield { result: waiting };
    waiting = [];
    if (!gone.aborted) await pause(POLL);
  }
}

function begin(workload: Workload): Followed {
  return { reader: workload.follow(), lines: new Lines(), isFirst: true, hasEnded: false };
}

async function linesOf(
  one: Followed,
  workload: Workload,
  tail: number | undefined,
  isLast: boolean,
): Promise<readonly string[]> {
  if (one.hasEnded) return [];
  const hasEnded = workload.state.state === 'ended'; // first: what it writes after this comes the next time
  const lines = one.lines.push(await one.reader.next(), hasEnded || isLast);
  const { isFirst } = one;
  Object.assign(one, { isFirst: false, hasEnded });
  return isFirst && tail !== undefined ? lines.slice(Math.max(0, lines.length - tail)) : lines;
}
