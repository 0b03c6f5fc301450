/** Independent predictions for gossip, to compare the machines with: published formulas, and a small model. */
import { Random } from '../../src/sim/index.js';

/** Parameters of gossip; `interval` in milliseconds. */
export interface Gossip {
  nodes: number;
  interval: number;
  fanout: number;
  loss: number;
}

/**
 * The share of nodes that know after a time, by the formula of Serf's convergence simulator: logistic growth in which a
 * contact counts half.
 */
export function serfShare({ nodes, interval, fanout, loss }: Gossip, milliseconds: number): number {
  const rate = fanout * (1 - loss) * 0.5;
  return 1 / (1 + (nodes + 1) * Math.exp((-rate * milliseconds) / interval));
}

/** When a share of the nodes knows, by the same formula. */
export function serfTime({ nodes, interval, fanout, loss }: Gossip, share: number): number {
  const rate = fanout * (1 - loss) * 0.5;
  return (interval / rate) * (Math.log(nodes + 1) + Math.log(share / (1 - share)));
}

/**
 * When each node knows, by a model that shares only the settings with the machines: every node has its own phase; one
 * that knows sends to `fanout` others in each interval, `4 ceil(log10(n + 1))` times.
 */
export function epidemic({ nodes, interval, fanout, loss }: Gossip, latency: number, random: Random): number[] {
  const beats = Array.from({ length: nodes }, (_, node) => ({ node, phase: random.float() * interval })).sort(
    (a, b) => a.phase - b.phase,
  );
  const limit = 4 * Math.ceil(Math.log10(nodes + 1));
  const known = new Float64Array(nodes).fill(Infinity);
  const rounds = new Uint32Array(nodes);
  known[random.integer(nodes)] = 0;
  for (let sending = true, start = 0; sending; start += interval) {
    sending = false;
    for (const { node, phase } of beats) {
      const now = start + phase;
      if (rounds[node]! >= limit) continue;
      if (known[node]! > now) {
        sending ||= known[node]! < Infinity;
        continue;
      }
      rounds[node]!++;
      sending = true;
      const others = new Set<number>();
      while (others.size < Math.min(fanout, nodes - 1)) {
        const other = random.integer(nodes);
        if (other !== node) others.add(other);
      }
      for (const other of others) if (!random.chance(loss)) known[other] = Math.min(known[other]!, now + latency);
    }
  }
  return [...known].sort((a, b) => a - b);
}

/**
 * Expected milliseconds until a stopped node in a large cluster is declared dead, without packet loss: until a first
 * probe of it (SWIM, section 3.1: e / (e - 1) periods), the probe's period, and the shortest suspicion timeout.
 */
export function expectedDeath(probeInterval: number, suspicion: number): number {
  return (Math.E / (Math.E - 1)) * probeInterval + probeInterval + suspicion;
}
