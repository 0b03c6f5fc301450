/** Whose output a node may read, and where it is. */
import { networksOf } from './assignments.js';
import { type NodeState, type Role, type ServiceRecord } from './records.js';
import { type State } from './state.js';

/** What output is asked for: that of all tasks of a service, or of one of them. */
export interface OutputOf {
  /** The id of the service. */
  readonly service: string;
  /** Absent: all of them. */
  readonly slot?: number | undefined;
}

/** A task, with where its output is. */
export interface OutputTask {
  readonly id: string;
  /** `test.1` */
  readonly name: string;
  /** The id of its node; empty: it has none, for `reason`. */
  readonly node: string;
  readonly nodeName: string;
  readonly nodeState: NodeState | undefined;
  readonly reason: string | undefined;
  /** The last lines of its last attempt that has ended. */
  readonly reported: readonly string[];
}

/**
 * What a reference stands for: a service by its name or id, or a task by its name or by the id of an endpoint. `undefined`: there is
 * none, or the node may not read its output.
 */
export function outputCalled(state: State, node: string, role: Role, reference: string): OutputOf | undefined {
  const of = findOutput(state, reference);
  return of !== undefined && outputTasks(state, node, role, of) !== undefined ? of : undefined;
}

function findOutput(state: State, reference: string): OutputOf | undefined {
  const service = state.services.get(reference) ?? state.serviceNamed(reference);
  if (service !== undefined) return { service: service.id };
  const { of } = state.endpoints.get(reference) ?? {};
  if (of !== undefined) return { service: of.service, slot: of.slot };
  const dot = reference.lastIndexOf('.');
  const [named, slot] = [state.serviceNamed(reference.slice(0, Math.max(0, dot))), reference.slice(dot + 1)];
  if (named === undefined || !/^[1-9]\d{0,5}$/.test(slot)) return undefined;
  return state.tasksOf(named.id).has(Number(slot)) ? { service: named.id, slot: Number(slot) } : undefined;
}

/** The tasks whose output is asked for. `undefined`: the service is gone, or the node may not read its output. */
export function outputTasks(
  state: State,
  node: string,
  role: Role,
  { service: id, slot }: OutputOf,
): OutputTask[] | undefined {
  const service = state.services.get(id);
  if (service === undefined || !mayRead(state, node, role, service)) return undefined;
  return [...state.tasksOf(id).values()]
    .filter((task) => slot === undefined || task.slot === slot)
    .sort((a, b) => a.slot - b.slot)
    .map((task) => ({
      ...{ id: task.id, name: `${service.name}.${task.slot}`, node: task.node },
      nodeName: state.nodes.get(task.node)?.name ?? task.node,
      nodeState: state.nodes.get(task.node)?.state,
      reason: task.reason,
      reported: task.endings[0]?.output ?? [],
    }));
}

/** A manager reads everything; a worker the output of services that have a network in which it has an endpoint. */
function mayRead(state: State, node: string, role: Role, { networks }: ServiceRecord): boolean {
  const record = state.nodes.get(node);
  if (record === undefined || record.state === 'left') return false;
  if (record.role === 'manager' && role !== 'worker') return true;
  return networksOf(state, node).some(({ id }) => networks.includes(id));
}
