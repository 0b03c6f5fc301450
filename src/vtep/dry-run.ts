/** Lets a frame or a datagram pass without a trace but its explanation: see `Vtep.explain`. */
import type { Group } from './groups.js';
import type { Context } from './context.js';
import { explaining, type Explanation } from './explain.js';
import { Frame } from './frame.js';
import { receiveDatagram, receiveFrame } from './ingress.js';
import { HEADROOM } from './tunnel.js';

/**
 * What is explained: a frame from a local port, or a datagram (a UDP payload) from an underlay address. `group`: that of the
 * association by which it came.
 */
export type DryInput =
  { port: number; frame: Uint8Array } | { from: string; datagram: Uint8Array; ecn?: number; group?: Group };

/** Everything that the data path changes while `trace` is set is as before when it returns. */
export function dryRun(context: Context, input: DryInput, now: number): Explanation {
  const { ports, common, counters } = context;
  const explanation: Explanation = { steps: [], delivered: [], transmitted: [], dropped: null };
  const unrouted = counters.slice();
  const restore = common.rows.save();
  const errors = 'frame' in input ? ports.get(input.port).errors : undefined;
  const tokens = errors?.tokens;
  context.begin(
    now,
    explaining(explanation, (port) => ports.get(port).name),
  );
  context.trace = explanation;
  try {
    const data = 'frame' in input ? input.frame : input.datagram;
    const bytes = new Uint8Array(HEADROOM + data.length);
    bytes.set(data, HEADROOM);
    const frame = new Frame(bytes, HEADROOM);
    if ('frame' in input) receiveFrame(context, input.port, frame);
    else receiveDatagram(context, input.from, frame, input.ecn ?? 0, input.group);
    return explanation;
  } finally {
    context.trace = null;
    if (errors !== undefined) errors.tokens = tokens!;
    counters.set(unrouted);
    restore();
  }
}
