/** What machines with the same segments and ports tell each other, each on a thread of its own. */
import { parseMac } from '../address/index.js';
import type { Context } from './context.js';
import { portDestination, remoteDestination } from './destination.js';
import { mayAdopt } from './learning.js';
import type { Learned } from './sink.js';

/** See `Vtep.adopt`. */
export function adopt(context: Context, learned: Learned, now: number): void {
  const { vni, mac, location, age } = learned;
  const { segments, remotes } = context;
  const segment = segments.get(vni);
  if (segment === undefined) return;
  if (typeof location === 'number') {
    const to = portDestination(location);
    if (segment.hasMember(location) && mayAdopt(context, segment, learned, to, now))
      segment.fdb.adopt(mac, to, age, now);
    return;
  }
  const remote = remotes.learn(location, context.port);
  if (remote === null) return;
  const to = remoteDestination(remote.id);
  if (mayAdopt(context, segment, learned, to, now)) segment.fdb.adopt(mac, to, age, now);
}

/** See `Vtep.fresh`. */
export function fresh(context: Context, age: number, now: number): Learned[] {
  const found: Learned[] = [];
  for (const { vni, fdb } of context.segments.values())
    for (const entry of fdb.entries(now))
      if (!entry.static && entry.age <= age)
        found.push({
          vni,
          mac: parseMac(entry.mac),
          location: context.locationOf(entry.destination),
          age: entry.age,
        });
  return found;
}
