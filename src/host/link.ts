/** A TAP as a network device: made, moved into its namespace, and given its addresses. */
import { type TapPlan } from '../schema/index.js';
import { HostError } from './error.js';
import { ip, ipJson } from './ip.js';
import { closeTap, IFF_VNET_HDR, inspectTap, openTap, type TapFiles } from './tun.js';

/** A TAP that is open and configured. */
export interface Link extends TapFiles {
  fd: number;
  /** The device's name where it is now. */
  device: string;
  /** The device's MAC address; absent where nobody told. */
  mac?: string;
}

/**
 * Makes a TAP as planned, up and ready, or looks at one that was passed on.
 * @param mtu In bytes, for a TAP whose plan names none.
 * @param queues How many it is to have, where it is made.
 * @throws HostError; then nothing of the device is left.
 */
export async function makeLink(tap: TapPlan, mtu: number, tapFlags: number, queues = 1): Promise<Link> {
  if (tap.fd !== undefined)
    return { ...oneQueue(tap.fd), device: inspectTap(tap.fd), ...(tap.mac === undefined ? {} : { mac: tap.mac }) };
  const { name, netns } = tap;
  // On the way to a namespace the device has a name that nothing here has: only over there NAME is to be free.
  const open = await openTap(netns === undefined ? name : 'weft%d', tapFlags, queues);
  try {
    if (netns !== undefined) await move(open.name, name, netns);
    await ip(
      ['link', 'set', 'dev', name, 'mtu', String(tap.mtu ?? mtu), ...(tap.mac ? ['address', tap.mac] : [])],
      netns,
    );
    if (tap.address !== undefined) await ip(['addr', 'add', tap.address, 'dev', name], netns);
    await ip(['link', 'set', 'dev', name, 'up'], netns);
    if ((tapFlags & IFF_VNET_HDR) !== 0) await limitSuperFrames(name, tap.mtu ?? mtu, netns);
    const [link] = await ipJson<{ address: string }>(['link', 'show', 'dev', name], netns);
    return { fd: open.fd, queues: open.queues, writer: open.writer, device: name, mac: link!.address };
  } catch (error) {
    closeTap(open);
    throw error;
  }
}

function oneQueue(fd: number): TapFiles & { fd: number } {
  return { fd, queues: [fd], writer: fd };
}

/** Bytes, and datagrams, that fit one call on the underlay's socket with `UDP_SEGMENT`. */
const MAX_CALL = 65_487;
const MAX_SEGMENTS = 64;
/** What is around an IP packet of a TAP in such a datagram: Ethernet and VXLAN headers. */
const AROUND = 14 + 8;

/** Lets the kernel make super-frames no longer than what leaves in one call: the rest would take a second one. */
async function limitSuperFrames(name: string, mtu: number, netns: string | undefined): Promise<void> {
  const segments = Math.max(1, Math.min(MAX_SEGMENTS, Math.floor(MAX_CALL / (mtu + AROUND))));
  // An iproute2 that does not know it costs speed and nothing else.
  await ip(['link', 'set', 'dev', name, 'gso_max_segs', String(segments)], netns).catch(() => undefined);
}

async function move(from: string, name: string, netns: string): Promise<void> {
  try {
    await ip(['link', 'set', 'dev', from, 'netns', netns, 'name', name]);
  } catch (error) {
    if (!/File exists/.test((error as Error).message)) throw error;
    throw new HostError(`a device "${name}" exists already in namespace ${netns}; choose another name for the TAP`, {
      cause: error,
    });
  }
}
