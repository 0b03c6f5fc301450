/** Where the commands of a node's endpoints are. */
import { type Assignment, type EndpointRecord } from '../../cluster/index.js';
import { type Sandboxes } from '../sandbox/sandboxes.js';
import { type Workload } from '../sandbox/workload.js';
import { sandboxOf, workloadId } from './node-plan.js';

/** The workload of a command that a request has started. */
export const COMMAND = 'command';

/** What a node has to do, and what is there. */
export interface Workloads {
  readonly assignment: Assignment | undefined;
  readonly sandboxes: Sandboxes | undefined;
}

/** The sandbox of an endpoint, by which its work is ordered: the endpoints of a task share one. */
export function placeOn(endpoint: EndpointRecord): string {
  return endpoint.kind === 'attach' ? endpoint.id : sandboxOf(endpoint);
}

/** The workload of an endpoint on a node; `undefined` if it has none now. */
export async function workloadOn(
  { assignment, sandboxes }: Workloads,
  endpoint: EndpointRecord,
): Promise<Workload | undefined> {
  if (endpoint.kind === 'attach') return undefined;
  const task = assignment?.tasks.find(({ id }) => id === endpoint.of?.task);
  const id = endpoint.kind === 'run' ? COMMAND : task === undefined ? undefined : workloadId(task.attempt);
  const sandbox = await sandboxes?.find(sandboxOf(endpoint));
  return (await sandbox?.workloads())?.find((workload) => workload.id === id);
}
