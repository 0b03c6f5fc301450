/** Logs the senders of datagrams that are dropped because the sender is not a peer. */
import { networkOf, type Plan } from '../schema/index.js';
import { type DataPlane } from './data-plane.js';
import { HostError } from './error.js';
import { type Logger } from './log.js';

/**
 * Milliseconds between two checks. In that time, a member that sends before this host has its entries becomes known.
 */
const LOOK = 2000;

/** Checks periodically for refused senders, and logs each once a minute. @returns a function that ends it. */
export function watchRefusedSenders(plan: Plan, plane: DataPlane, log: Logger): () => void {
  if (!plan.peersOnly) return () => undefined;
  const timer = setInterval(() => {
    plane.refusedSenders().then(
      (senders) => {
        for (const { vni, address, packets } of senders)
          log.warning(
            'unknown-peer',
            `${packets === 1 ? '1 datagram' : `${packets} datagrams`} from ${address} for VNI ${vni} ${packets === 1 ? 'was' : 'were'} dropped: ${reason(plan, vni)}`,
            { vni, address, packets },
            { key: `${vni} ${address}` },
          );
      },
      (error: Error) => {
        if (!(error instanceof HostError)) throw error; // the engine has ended, which is reported elsewhere
      },
    );
  }, LOOK);
  timer.unref();
  return () => clearInterval(timer);
}

function reason(plan: Plan, vni: number): string {
  const network = plan.gossip === undefined ? undefined : networkOf({ gossip: plan.gossip }, vni);
  const who = network === undefined ? 'no peer of this segment' : `no member of network ${network.id}`;
  const remedy = network === undefined ? 'add it to `peers`, or ' : '';
  return `the sender is ${who}; ${remedy}accept every sender with \`peersOnly: false\``;
}

/** Warns of segments that drop all datagrams, because they have neither peers nor endpoints on other hosts. */
export function warnOfSilence(plan: Plan, log: Logger): void {
  if (!plan.peersOnly || plan.gossip !== undefined) return;
  for (const { vni, peers, endpoints } of plan.segments) {
    if (peers.length > 0 || endpoints.some(({ vtep }) => vtep !== undefined)) continue;
    log.warning(
      'no-peers',
      `segment ${vni} has no peers: datagrams from every VTEP are dropped until one is added; give \`peers\`, or accept every sender with \`peersOnly: false\``,
      { vni },
    );
  }
}
