/**
 * Compares configurations for a reload: the requests that apply the changes, and the changes that require a restart.
 */
import { isDeepStrictEqual } from 'node:util';
import { type Endpoint, type Plan, type SegmentPlan } from '../schema/index.js';
import { type TableRequest } from './requests.js';

export interface Reload {
  /** In order of application: additions first, so that everything stays reachable in between. */
  requests: TableRequest[];
  /** Paths of the configuration that differ but remain unchanged until a restart: `segments[4097].mtu`, `taps`. */
  restart: string[];
}

/** Compares a running configuration with a new one. Only peers and endpoints of existing segments can change. */
export function compare(running: Plan, next: Plan): Reload {
  const added: TableRequest[] = [];
  const removed: TableRequest[] = [];
  const restart = changed(running, next, ['segments']);
  for (const segment of running.segments) {
    const other = next.segments.find(({ vni }) => vni === segment.vni);
    if (other === undefined) {
      restart.push(`segments[${segment.vni}]`);
      continue;
    }
    restart.push(...changed(segment, other, ['peers', 'endpoints']).map((path) => `segments[${segment.vni}].${path}`));
    compareSegment(segment, other, added, removed);
  }
  for (const { vni } of next.segments)
    if (!running.segments.some((segment) => segment.vni === vni)) restart.push(`segments[${vni}]`);
  return { requests: [...added, ...removed], restart };
}

/** The configuration in effect after `next` was applied as far as possible. */
export function merge(running: Plan, next: Plan): Plan {
  return {
    ...running,
    segments: running.segments.map((segment) => {
      const other = next.segments.find(({ vni }) => vni === segment.vni);
      return other === undefined ? segment : { ...segment, peers: other.peers, endpoints: other.endpoints };
    }),
  };
}

function compareSegment(before: SegmentPlan, after: SegmentPlan, added: TableRequest[], removed: TableRequest[]): void {
  const { vni } = before;
  const [oldPeers, newPeers] = [new Set(before.peers), new Set(after.peers)];
  for (const address of newPeers) if (!oldPeers.has(address)) added.push({ command: 'add-peer', vni, address });
  for (const address of oldPeers) if (!newPeers.has(address)) removed.push({ command: 'remove-peer', vni, address });
  const [oldEnds, newEnds] = [byKey(before.endpoints), byKey(after.endpoints)];
  for (const [key, endpoint] of newEnds)
    if (!oldEnds.has(key)) added.push({ command: 'add-endpoint', vni, ...endpoint });
  for (const [key, endpoint] of oldEnds)
    if (!newEnds.has(key)) removed.push({ command: 'remove-endpoint', vni, ...endpoint });
}

function byKey(endpoints: readonly Endpoint[]): Map<string, Endpoint> {
  return new Map(endpoints.map((endpoint) => [`${endpoint.ip} ${endpoint.mac} ${endpoint.vtep ?? ''}`, endpoint]));
}

/** The names of the fields whose values differ. */
function changed<T extends object>(before: T, after: T, except: readonly (keyof T)[]): string[] {
  const names = new Set([...Object.keys(before), ...Object.keys(after)]) as Set<keyof T & string>;
  return [...names].filter((name) => !except.includes(name) && !isDeepStrictEqual(before[name], after[name]));
}
