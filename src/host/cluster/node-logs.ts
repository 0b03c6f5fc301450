/** The output of commands: of this node's, out of its files; of tasks on other nodes, as a manager passes it on. */
import { type EndpointRecord, type View } from '../../cluster/index.js';
import { type NodeRequest, type OutputEvent } from '../../schema/index.js';
import { RequestError } from '../error.js';
import { type Page, PAGE_ENTRIES } from '../pages.js';
import { ClusterError } from './error.js';
import { type LocalEndpoints } from './local-endpoints.js';
import { missedText } from './log-relay.js';
import { endpointsCalled, namesOfView } from './node-listings.js';
import { OutputLines, perCommand } from './output-lines.js';
import { type LogsBody } from './protocol.js';
import { type RemoteOutput } from './remote-output.js';

export type LogsRequest = Extract<NodeRequest, { command: 'logs' }>;

export interface LogSources {
  readonly local: LocalEndpoints;
  /** The id of this node, and its name. */
  readonly node: { readonly id: string; readonly name: string };
  /** The names of services that have tasks here, by id. */
  serviceName(id: string): string | undefined;
  /** What the managers say; `undefined` if none answers. */
  readonly view: View | undefined;
  /** Reads the output of tasks on other nodes. @throws ClusterError */
  remote(wanted: LogsBody): Promise<RemoteOutput>;
}

/** Milliseconds between two looks at what is followed. */
const POLL = 250;
/** Milliseconds after which a page is sent even if nothing was written: the client counts on one a second. */
const KEEPALIVE = 750;

/** What is on other nodes. */
interface Elsewhere {
  readonly remote: RemoteOutput | undefined;
  /** What to say about what is not shown. */
  readonly missing: readonly OutputEvent[];
  /** Whether a manager knows something of this name. */
  readonly isKnown: boolean;
}

/**
 * The output of an endpoint's command, or of the tasks of a service.
 * @throws RequestError if nothing has this name.
 */
export async function logsOf(
  request: LogsRequest,
  sources: LogSources,
  gone: AbortSignal,
): Promise<AsyncGenerator<Page>> {
  const find = (): EndpointRecord[] => localOf(request.name, sources);
  const own = find();
  const elsewhere = await elsewhereOf(request, sources, own);
  if (own.length === 0 && !elsewhere.isKnown) {
    const known = sources.view === undefined ? ' on this node, and no manager answers' : '';
    throw new RequestError('not-found', `name: there is no endpoint and no service ${request.name}${known}`, {
      fields: [{ path: 'name', message: `there is no endpoint and no service ${request.name}${known}` }],
    });
  }
  const attached = own.find(({ kind }) => kind === 'attach');
  if (attached !== undefined && own.length === 1 && !elsewhere.isKnown)
    throw new RequestError(
      'conflict',
      `${attached.name} is a namespace that was attached: this node has started no command in it`,
    );
  return pages(request, sources, find, elsewhere, gone);
}

/** The endpoints on this node that a name stands for, one for each command. */
function localOf(name: string, { local, serviceName }: LogSources): EndpointRecord[] {
  const lower = name.toLowerCase();
  const ofService = local.all.filter(
    ({ of }) => of !== undefined && (of.service === name || serviceName(of.service)?.toLowerCase() === lower),
  );
  return perCommand([...local.called(name), ...ofService]);
}

async function elsewhereOf(
  { name, tail, follow }: LogsRequest,
  { view, node, remote }: LogSources,
  own: readonly EndpointRecord[],
): Promise<Elsewhere> {
  const missed = (reason: string): OutputEvent => ({ event: 'output', name, node: '', line: null, reason });
  const isOfTask = own.some(({ of }) => of !== undefined);
  if (view === undefined) {
    const missing = isOfTask ? [missed('no manager answers: what tasks on other nodes write is missing')] : [];
    return { remote: undefined, missing, isKnown: false };
  }
  const names = namesOfView(view);
  const called = endpointsCalled(name, view.endpoints).filter((endpoint) => endpoint.node !== node.id);
  const missing = called
    .filter(({ kind }) => kind !== 'task')
    .map(({ name: endpoint, node: on }) => {
      const reason = `${endpoint} is on ${names.node(on)}, which has its output; run this there`;
      return { event: 'output' as const, name: endpoint, node: names.node(on), line: null, reason };
    });
  const task = called.find(({ of }) => of !== undefined);
  try {
    const wanted = {
      name: task?.id ?? name,
      ...(tail === undefined ? {} : { tail }),
      ...(follow === undefined ? {} : { follow }),
    };
    return { remote: await remote(wanted), missing, isKnown: true };
  } catch (error) {
    if (!(error instanceof ClusterError)) throw error;
    const isKnown = missing.length > 0;
    const isNone = error.code === 'not-found' || error.code === 'invalid'; // `invalid`: it is no name of a service
    if (isNone && (own.length > 0 || isKnown)) return { remote: undefined, missing, isKnown };
    if (own.length === 0) throw error;
    return { remote: undefined, missing: [...missing, missed(`other nodes: ${error.message}`)], isKnown };
  }
}

async function* pages(
  { tail, follow = false }: LogsRequest,
  { local, node }: LogSources,
  find: () => EndpointRecord[],
  { remote, missing }: Elsewhere,
  gone: AbortSignal,
): AsyncGenerator<Page> {
  const output = new OutputLines((endpoint) => local.workloadOf(endpoint), tail);
  const close = (): void => remote?.close();
  gone.addEventListener('abort', close);
  try {
    let waiting: OutputEvent[] = [...missing];
    let sent = -Infinity;
    for (let isFirst = true; ; isFirst = false) {
      // With `follow`, what is here may be over, and what is elsewhere goes on.
      let isOver = true;
      if (isFirst || follow)
        for (const endpoint of find()) {
          const { name, kind } = endpoint;
          const event = { event: 'output', name, node: node.name } as const;
          const written = await output.next(endpoint, !follow);
          if (written?.missed === true) waiting.push({ ...event, line: null, reason: missedText(name) });
          for (const line of written?.lines ?? []) waiting.push({ ...event, line });
          // A task is started again; a command that a request has started is not.
          isOver &&= written === undefined ? kind === 'attach' : written.hasEnded && kind === 'run';
        }
      for (; waiting.length > PAGE_ENTRIES; waiting = waiting.slice(PAGE_ENTRIES))
        yield { result: waiting.slice(0, PAGE_ENTRIES) };
      const until = performance.now() + POLL;
      for (let more = remote !== undefined; more && !gone.aborted;) {
        if (waiting.length > 0) yield { result: waiting };
        waiting = await remote!.take(PAGE_ENTRIES, Math.max(0, until - performance.now()));
        // What is here has its turn, too.
        more = follow
          ? performance.now() < until && !remote!.isOver
          : waiting.length > 0 || (!remote!.isOver && performance.now() < until);
        if (waiting.length > 0) sent = performance.now();
      }
      const isLast = gone.aborted || ((remote?.isOver ?? true) && (!follow || isOver));
      if (isLast) return yield { result: waiting, last: true };
      if (waiting.length > 0 || performance.now() - sent >= KEEPALIVE) {
        yield { result: waiting };
        sent = performance.now();
      }
      waiting = [];
      const left = until - performance.now();
      if (left > 0 && !gone.aborted) await new Promise((resolve) => setTimeout(resolve, left));
    }
  } finally {
    gone.removeEventListener('abort', close);
    close();
  }
}
