/** Commands about services, and what nodes report about their tasks. The scheduler makes the tasks (`reconcile.ts`). */
import { newId } from './check.js';
import { type Answer, type CreateService, type RemoveService, type ReportTask, type ScaleService } from './commands.js';
import { KEY } from './keys.js';
import { LIMITS, TIMES } from './limits.js';
import { findNetwork, findService, type Planning } from './planning.js';
import { type Ending, type ServiceRecord, type TaskRecord } from './records.js';
import { Refused } from './refusal.js';

export function createService(command: CreateService, { state, draft, now, random }: Planning): ServiceRecord {
  const { name, networks: references, environment = {}, replicas = 1, labels = {} } = command;
  const other = state.serviceNamed(name);
  if (other !== undefined)
    throw new Refused('conflict', `name: there is a service ${other.name} already; choose another name`, 'name');
  const networks = references.map((reference, i) => findNetwork(state, reference, `networks[${i}]`));
  const twice = networks.find((network, i) => networks.indexOf(network) < i);
  if (twice !== undefined) throw new Refused('invalid', `networks: ${twice.name} is there twice`, 'networks');
  for (const network of networks) {
    const endpoint = state.endpointNamed(network.id, name);
    if (endpoint !== undefined)
      throw new Refused(
        'conflict',
        `name: network ${network.name} has an endpoint ${endpoint.name}; choose another name`,
        'name',
      );
    draft.expect(KEY.network(network.id));
    draft.touch(KEY.uses(network.id), {});
  }
  const service: ServiceRecord = {
    id: newId(random),
    name,
    command: command.command,
    environment,
    networks: networks.map(({ id }) => id),
    replicas,
    labels,
    created: now,
  };
  draft.put(KEY.service(service.id), service);
  draft.put(KEY.serviceName(name), service.id);
  return service;
}

export function scaleService(
  { service: reference, replicas }: ScaleService,
  { state, draft }: Planning,
): ServiceRecord {
  const service = findService(state, reference);
  if (service.replicas === replicas) return service;
  const record: ServiceRecord = { ...service, replicas };
  draft.put(KEY.service(service.id), record);
  return record;
}

export function removeService({ service: reference }: RemoveService, { state, draft }: Planning): ServiceRecord {
  const service = findService(state, reference);
  draft.delete(KEY.service(service.id));
  draft.delete(KEY.serviceName(service.name));
  return service;
}

export function reportTask(command: ReportTask, { state, draft, now, self }: Planning): Answer<'report-task'> {
  const { service, slot, state: found, code, reason, output } = command;
  if (found === 'exited' && code === undefined)
    throw new Refused('invalid', 'code: expected with state exited', 'code');
  if (found === 'failed' && reason === undefined)
    throw new Refused('invalid', 'reason: expected with state failed', 'reason');
  const task = state.tasksOf(service).get(slot);
  if (task === undefined || task.id !== command.task) return { stale: true }; // it has moved, or ended
  if (task.node !== self!.id) throw new Refused('forbidden', 'task: it runs on another node', 'task');
  const isOver = task.state === 'exited' || task.state === 'failed';
  if (task.attempt !== command.attempt || isOver || task.state === found) return { stale: true };
  const key = KEY.task(service, slot);
  if (found === 'running') {
    draft.put(key, { ...task, state: 'running', since: now } satisfies TaskRecord);
    return { stale: false };
  }
  const wasHealthy = task.state === 'running' && now - task.since >= TIMES.healthy;
  const failures = wasHealthy ? 1 : task.failures + 1;
  const ending: Ending = {
    at: now,
    node: task.node,
    state: found,
    ...(found === 'exited' ? { code: code! } : { reason: reason! }),
    ...(output === undefined ? {} : { output }),
  };
  draft.put(key, {
    ...task,
    state: found,
    since: now,
    failures,
    retry: now + retryAfter(failures),
    endings: [ending, ...task.endings].slice(0, LIMITS.endings),
  } satisfies TaskRecord);
  return { stale: false };
}

/** How long a task waits that has ended so often in a row. */
export function retryAfter(failures: number): number {
  return Math.min(TIMES.lastRetry, TIMES.firstRetry * 2 ** Math.min(failures - 1, 30));
}
