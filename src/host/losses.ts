/**
 * Frames and datagrams that the machine let pass and the engine then lost, by reason. Together with the machine's own
 * drops, these are all losses between a TAP and the wire that this host can detect.
 */
import { type EngineCounters } from './data-plane.js';

/** Every reason with its meaning. Names and order are part of listings and dashboards: only append. */
export const LOSSES = [
  ['no-route', 'datagrams to a VTEP that this host has no route to (ENETUNREACH, EHOSTUNREACH, ENETDOWN)'],
  [
    'no-local-address',
    'datagrams that could not be sent from the VTEP’s address: this host has lost it (EINVAL, EADDRNOTAVAIL)',
  ],
  ['send-refused', 'datagrams that a firewall or a policy of this host refused (EPERM, EACCES)'],
  ['send-too-big', 'datagrams larger than the path or the device carries (EMSGSIZE)'],
  ['send-queue', 'datagrams that did not fit into the queue of the socket or the device (EAGAIN, ENOBUFS, ENOMEM)'],
  ['send-failed', 'datagrams that the kernel did not send, for any other reason'],
  ['undelivered', 'datagrams that a router or the remote host reported as not delivered (ICMP)'],
  ['receive-buffer', 'datagrams that the kernel dropped: the receive buffer was full, or their checksum was wrong'],
  ['receive-failed', 'errors while receiving or reading; each may have lost a packet'],
  ['tap-down', 'frames that a TAP did not take, because its device is down (EIO)'],
  ['tap-gone', 'frames for a TAP whose device is gone (EBADFD, ENXIO)'],
  ['tap-failed', 'frames that a TAP did not take, for any other reason'],
  ['tap-queue', 'frames that the kernel dropped at a TAP: its queue was full, since this VTEP did not read it in time'],
] as const;

export type LossReason = (typeof LOSSES)[number][0];

const SENT: Readonly<Record<string, LossReason>> = {
  ENETUNREACH: 'no-route',
  EHOSTUNREACH: 'no-route',
  ENETDOWN: 'no-route',
  EINVAL: 'no-local-address',
  EADDRNOTAVAIL: 'no-local-address',
  EPERM: 'send-refused',
  EACCES: 'send-refused',
  EMSGSIZE: 'send-too-big',
  EAGAIN: 'send-queue',
  ENOBUFS: 'send-queue',
  ENOMEM: 'send-queue',
  QUEUE: 'send-queue',
};

/** The error codes that ICMP and ICMPv6 errors become (the kernel's `icmp_err_convert` and `icmpv6_err_convert`). */
const REPORTED = [
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOPROTOOPT',
  'EOPNOTSUPP',
  'EHOSTDOWN',
  'ENONET',
  'EPROTO',
  'EACCES',
  'EMSGSIZE',
];

const WRITTEN: Readonly<Record<string, LossReason>> = { EIO: 'tap-down', EBADFD: 'tap-gone', ENXIO: 'tap-gone' };

/** Returns the reason for a failed send, by the system's code. */
export function sendLoss(code: string): LossReason {
  return Object.hasOwn(SENT, code) ? SENT[code]! : 'send-failed';
}

function writeLoss(code: string): LossReason {
  return Object.hasOwn(WRITTEN, code) ? WRITTEN[code]! : 'tap-failed';
}

/** Sums the engine's error counters by reason; includes every reason. */
export function lossesOf({
  sendErrors,
  receiveErrors,
  writeErrors,
  tapDrops = 0,
}: EngineCounters): Record<LossReason, number> {
  const losses = Object.fromEntries(LOSSES.map(([name]) => [name, 0])) as Record<LossReason, number>;
  for (const [code, count] of Object.entries(sendErrors)) losses[sendLoss(code)] += count;
  for (const [code, count] of Object.entries(receiveErrors))
    losses[code === 'OVERFLOW' ? 'receive-buffer' : REPORTED.includes(code) ? 'undelivered' : 'receive-failed'] +=
      count;
  for (const [code, count] of Object.entries(writeErrors)) losses[writeLoss(code)] += count;
  losses['tap-queue'] = tapDrops;
  return losses;
}
