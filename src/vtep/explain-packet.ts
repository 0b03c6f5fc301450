/** Explains what would happen to a datagram from the port of ESP. */
import * as esp from '../esp/index.js';
import * as udp from '../udp/index.js';
import type { Context } from './context.js';
import { DROP, DROPS, type DropReason } from './drops.js';
import { dryRun } from './dry-run.js';
import type { Explanation, Step } from './explain.js';
import type { Group } from './groups.js';

/**
 * See `Associations.explain`.
 * @param find The association of an SPI.
 * @param bytes The datagram begins at `offset`, and ends with it.
 */
export function explainPacket(
  context: Context,
  find: (spi: number) => { inbound: esp.Inbound; group: Group; address: string } | undefined,
  bytes: Uint8Array,
  offset: number,
  from: string,
  now: number,
): Explanation {
  const end = bytes.length;
  const steps: Step[] = [];
  const ended = (dropped: DropReason | null): Explanation => ({ steps, delivered: [], transmitted: [], dropped });
  const refuse = (reason: DropReason): Explanation => {
    steps.push({ stage: 'drop', text: `${reason}: ${DROPS[DROP[reason]]![1]}` });
    return ended(reason);
  };
  const say = (text: string): void => void steps.push({ stage: 'esp', text });
  if (end - offset === 1) {
    say('a NAT-keepalive (RFC 3948, section 2.3)');
    return ended(null);
  }
  if (end - offset < esp.HEADER_LENGTH) return refuse('esp-truncated');
  const spi = esp.getSpi(bytes, offset);
  if (spi === 0) {
    say('no ESP packet, but a message about keys (RFC 3948, section 2.2)');
    return ended(null);
  }
  const sequence = esp.getSequence(bytes, offset);
  say(`SPI 0x${spi.toString(16).padStart(8, '0')}, sequence number ${sequence}, from ${from}`);
  const association = find(spi);
  if (association === undefined) return refuse('esp-unknown-spi');
  const { inbound, group, address } = association;
  say(`the association is with ${address}, for ${group.id}`);
  if (address !== from) return refuse('esp-source');
  const found = inbound.test(bytes, offset, end, new esp.PacketList(1));
  if (typeof found === 'string') {
    if (found === 'replay') say(`the highest sequence number so far is ${inbound.window.top}`);
    return refuse(DROP_OF[found]);
  }
  const { start, end: stop, nextHeader } = found;
  if (nextHeader === esp.NO_NEXT_HEADER) {
    say('it is authentic, and a dummy packet (RFC 4303, section 2.6)');
    return ended(null);
  }
  const datagram = start + udp.HEADER_LENGTH;
  if (nextHeader !== udp.PROTOCOL || datagram > stop || udp.getLength(bytes, start) !== stop - start)
    return refuse('esp-payload');
  say(`it is authentic, and has a UDP datagram of ${stop - start} bytes in it`);
  const inner = dryRun(context, { from, datagram: bytes.slice(datagram, stop), group }, now);
  return { ...inner, steps: [...steps, ...inner.steps] };
}

const DROP_OF = {
  length: 'esp-truncated',
  replay: 'esp-replay',
  authentication: 'esp-authentication',
  padding: 'esp-payload',
} as const;
