/** The machine of a plan, with the ports that a data plane would attach. */
import { Machine } from '../../src/host/machine.js';
import { changesOf, linkOf } from '../../src/host/plan-changes.js';
import { routersOf, type Plan } from '../../src/schema/index.js';

/** @param announce See `Machine`. The MTUs of segments without one are 1450. */
export function machineOf(plan: Plan, announce = true): Machine {
  const machine = new Machine(plan, announce);
  for (const segment of plan.segments)
    for (const change of changesOf({ ...segment, mtu: segment.mtu ?? 1450 })) machine.apply(change);
  for (const router of routersOf(plan)) machine.apply({ do: 'add-router', router });
  for (const tap of plan.taps) machine.attach(linkOf(plan, tap, ''));
  return machine;
}
