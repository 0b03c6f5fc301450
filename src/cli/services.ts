/** `vtep service`: commands that run on the nodes of the cluster, as often as wanted. */
import { type ServiceDetails, type ServiceEntry, type TaskEntry } from '../schema/index.js';
import { flagsOfAll, runAction, wordsOf, type Action, type Actions } from './actions.js';
import { age, shortId } from './age.js';
import { given, JSON_FLAG, numberOf, oneArgument } from './change.js';
import { beforeWords, environmentOf, ENVIRONMENT, pairsOf, requireWords } from './command-words.js';
import { commandText, factLines, shortCommand } from './facts.js';
import { noRest, refuseBeside, UsageError, type Parsed } from './flags.js';
import { LOG_FLAGS, printLogs } from './logs.js';
import { type Manual } from './manual.js';
import { QUIET } from './node.js';
import { askNode, tellNodeEach, placesOf, show, SOCKET, someArguments, tellNode } from './node-call.js';
import { rowsOf, tableLines } from './table.js';

const ONE: Action['flags'] = [SOCKET, JSON_FLAG];

const ACTIONS: Actions = {
  create: {
    usage: 'create --name NAME --network NETWORK … [flags] -- COMMAND [ARGUMENT …]',
    text: 'create a service',
    flags: [
      { name: 'name', value: 'NAME', text: 'name of the service; its tasks are NAME.1, NAME.2 and so on' },
      { name: 'network', value: 'NETWORK', many: true, text: 'a network; every task has an endpoint in each' },
      { name: 'replicas', value: 'N', text: 'number of tasks (default 1)' },
      { ...ENVIRONMENT, letter: 'e' },
      { name: 'label', value: 'K=V', many: true, text: 'a label' },
      ...ONE,
    ],
    run: create,
  },
  ls: { usage: 'ls', text: 'list the services', flags: [QUIET, ...ONE], run: list },
  ps: {
    usage: 'ps SERVICE …',
    text: 'the tasks of services: node, state, attempt, and why they failed, with their last lines',
    flags: ONE,
    run: tasks,
  },
  inspect: { usage: 'inspect SERVICE …', text: 'all that is known of services', flags: ONE, run: inspect },
  scale: { usage: 'scale SERVICE=N …', text: 'change the number of tasks', flags: ONE, run: scale },
  logs: {
    usage: 'logs SERVICE [--tail N] [--follow]',
    text: 'the output of its tasks, on whichever nodes they run',
    flags: LOG_FLAGS,
    run: logs,
  },
  rm: { usage: 'rm SERVICE …', text: 'remove services, and end their tasks', flags: ONE, run: remove },
};

export const manual: Manual = {
  name: 'service',
  summary: 'run a command on the nodes of the cluster, as often as wanted',
  usage: ['service ACTION [flags]'],
  words: wordsOf(ACTIONS),
  description: `A service is a command that the cluster keeps running: each task has a sandbox of its own on one of the nodes, with an
endpoint in every network of the service. A task whose command ends is started again, after a pause that grows; a task
whose node fails is started on another one.

"vtep service logs" reads the output of all tasks: a manager gets it from their nodes. A node that does not answer is named on
standard error, with the last lines that it has reported. A worker reads the output of services that have a network in
which it has an endpoint.`,
  flags: [{ flags: flagsOfAll(ACTIONS) }],
  examples: `vtep service create --name test --network uber-net --replicas 2 -- sleep infinity
vtep service ps test
vtep service scale test=5
vtep service logs test --follow
vtep service rm test`,
  exit: { 0: 'done', 1: 'no agent answered, or it refused the request', 2: 'wrong flags' },
};

const SERVICE = placesOf({ service: 'SERVICE', replicas: 'SERVICE=N' });

export async function run(args: string[]): Promise<number> {
  return runAction(manual.name, ACTIONS, args);
}

async function create(flags: Parsed): Promise<number> {
  noRest(beforeWords(flags));
  const name = flags.value('name');
  if (name === undefined) throw new UsageError('missing: --name NAME, the name of the service');
  const networks = flags.values('network').flatMap((text) => text.split(','));
  if (networks.length === 0) throw new UsageError('missing: --network NETWORK; "vtep network ls" lists them');
  const request = {
    ...{ command: 'create-service' as const, name, run: requireWords(flags), networks },
    ...given({
      replicas: numberOf(flags.value('replicas')),
      environment: flags.given.has('env') ? environmentOf(flags) : undefined,
      labels: pairsOf(flags, 'label', 'a label such as stage=test'),
    }),
  };
  const place = placesOf({
    ...{ name: '--name', run: 'COMMAND', networks: '--network', replicas: '--replicas' },
    ...{ environment: '--env', labels: '--label' },
  });
  return tellNode(flags, request, place, (made) => `created service ${made.name} (${countText(made)})`);
}

function countText({ replicas }: ServiceEntry): string {
  return `${replicas} ${replicas === 1 ? 'task' : 'tasks'}`;
}

async function list(flags: Parsed): Promise<number> {
  noRest(flags);
  refuseBeside(flags, 'quiet', ['json']);
  const services = await askNode(flags, { command: 'services' });
  await show(flags, services, () =>
    flags.on('quiet')
      ? services.map(({ id }) => id)
      : tableLines(
          ['ID', 'NAME', 'REPLICAS', 'NETWORKS', 'COMMAND'],
          rowsOf(services, ({ id, name, replicas, running, networks, run: command }) => [
            ...[shortId(id), name, `${running}/${replicas}`, networks.join(' '), shortCommand(command)],
          ]),
        ),
  );
  return 0;
}

/** The services that the arguments name. */
async function named(flags: Parsed, what: string): Promise<ServiceDetails[]> {
  const found: ServiceDetails[] = [];
  for (const service of someArguments(flags, 'SERVICE', what))
    found.push(await askNode(flags, { command: 'service', service }, SERVICE));
  return found;
}

async function tasks(flags: Parsed): Promise<number> {
  const services = await named(flags, 'the service whose tasks to list');
  const all = services.flatMap((service) => service.tasks);
  await show(flags, all, () => taskLines(all));
  return 0;
}

function* taskLines(all: readonly TaskEntry[]): Generator<string> {
  const now = Date.now();
  yield* tableLines(
    ['NAME', 'NODE', 'ADDRESS', 'STATE', 'SINCE', 'ATTEMPT', 'REASON'],
    rowsOf(all, (task) => [
      ...[task.name, task.nodeName ?? '-', task.addresses.join(' ') || '-', stateOf(task), age(task.since, now)],
      ...[task.attempt, reasonOf(task, now)],
    ]),
  );
  for (const { name, endings } of all) {
    const [last] = endings;
    if (last?.output === undefined || last.output.length === 0) continue;
    yield '';
    yield `${name} ended ${age(last.at, now)} ago; its last lines:`;
    for (const line of last.output) yield `    ${line}`;
  }
}

function stateOf({ state, endings }: TaskEntry): string {
  const code = endings[0]?.code;
  return state === 'exited' && code !== undefined ? `exited (${code})` : state;
}

/** Why a task does not run, or why it was started more than once. */
function reasonOf({ reason, retry, endings }: TaskEntry, now: number): string {
  const [last] = endings;
  const why = reason ?? last?.reason ?? (last?.code === undefined ? undefined : `exited with ${last.code}`);
  const again = retry === undefined || retry <= now ? undefined : `again in ${age(now, retry)}`;
  return [why, again].filter((text) => text !== undefined).join('; ');
}

async function inspect(flags: Parsed): Promise<number> {
  const services = await named(flags, 'the service to inspect');
  await show(flags, services, () =>
    services.flatMap((service, i) => [...(i === 0 ? [] : ['']), ...detailLines(service)]),
  );
  return 0;
}

function detailLines(service: ServiceDetails): string[] {
  const { id, name, replicas, running, networks, run: command } = service;
  return [
    ...factLines([
      ['service', name],
      ['id', id],
      ['replicas', `${running} of ${replicas} running`],
      ['networks', networks.join(', ')],
      ['command', commandText(command)],
    ]),
    '',
    ...taskLines(service.tasks),
  ];
}

async function scale(flags: Parsed): Promise<number> {
  const requests = someArguments(flags, 'SERVICE=N', 'the service and its number of tasks').map((text) => {
    const [, service, replicas] = /^(.+)=(\d{1,9})$/.exec(text) ?? [];
    if (service === undefined)
      throw new UsageError(`SERVICE=N: expected a service and a number such as test=5, got "${text}"`);
    return { command: 'scale-service' as const, service, replicas: Number(replicas) };
  });
  return tellNodeEach(flags, requests, SERVICE, (made) => `service ${made.name} is to have ${countText(made)}`);
}

async function logs(flags: Parsed): Promise<number> {
  const name = oneArgument(flags, 'SERVICE', 'the service whose output to print');
  return printLogs(flags, name, 'SERVICE', (event) => `${event.name}@${event.node} | ${event.line}`);
}

async function remove(flags: Parsed): Promise<number> {
  const names = someArguments(flags, 'SERVICE', 'the service to remove');
  return tellNodeEach(
    flags,
    names.map((service) => ({ command: 'remove-service' as const, service })),
    SERVICE,
    ({ id, name }) => `removed service ${name} (${shortId(id)})`,
  );
}
