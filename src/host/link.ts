/** A TAP as a network device: made in its namespace, or found there, and given its addresses. */
import { closeSync } from 'node:fs';
import { type Plan, type TapPlan } from '../schema/index.js';
import { canonicalPrefix, inPlace, listDevices, markOf, type Device } from './device.js';
import { about, HostError } from './error.js';
import { ip, IpError, ipReason } from './ip.js';
import { adoptTap, reconcile, requireOrphan } from './kept.js';
import { tapMtu } from './mtu.js';
import { requireNetns } from './netns.js';
import {
  closeTap,
  IFF_VNET_HDR,
  inspectTap,
  openTap,
  openTunFiles,
  type OpenTap,
  type TapFiles,
  type TunPlace,
} from './tun.js';

/** A TAP that is open and configured. */
export interface Link extends TapFiles {
  fd: number;
  /** The device's name where it is now. */
  device: string;
  /** The device's MAC address; absent for a TAP that was passed on without one. */
  mac?: string;
  /** Whether an earlier process had made it. */
  adopted: boolean;
}

/** The lowest MTU that IPv6 works with (RFC 8200, section 5). */
const IPV6_MIN_MTU = 1280;

/**
 * Makes every TAP of a plan, up and ready; looks at those that were passed on, and continues with those that an earlier
 * process kept.
 * @param flags Of the engine's TAPs.
 * @throws HostError naming the field; then nothing is left of a TAP that was made, and kept ones are as they were found.
 */
export async function makeLinks(plan: Plan, flags: number): Promise<Link[]> {
  const makers = plan.taps.map((tap, i) => (tap.fd === undefined ? new Maker(plan, i, flags) : undefined));
  await inTurns(makers, (maker) => maker?.look());
  const found = makers.flatMap((maker) => (maker?.place === undefined ? [] : [maker]));
  // One thread visits the namespaces of all.
  const files = await openTunFiles(found.map(({ place }) => place!));
  found.forEach((maker, i) => (maker.files = files[i]!));
  const links: (Link | undefined)[] = makers.map(() => undefined);
  try {
    await inTurns(makers, async (maker, i) => {
      links[i] = maker === undefined ? await about(`taps[${i}].fd`, () => passedOn(plan.taps[i]!)) : await maker.make();
    });
    return links as Link[];
  } catch (error) {
    for (const link of links) if (link !== undefined) closeTap(link);
    for (const maker of found) maker.files?.forEach((fd) => closeSync(fd));
    throw error;
  }
}

/** TAPs that are made at a time. */
const AT_ONCE = 8;

/** Does something with each item, several at a time; throws the first error once all that had begun has ended. */
async function inTurns<T>(
  items: readonly T[],
  act: (item: T, index: number) => Promise<void> | undefined,
): Promise<void> {
  for (let first = 0; first < items.length; first += AT_ONCE) {
    const turn = items.slice(first, first + AT_ONCE);
    const outcomes = await Promise.allSettled(turn.map((item, i) => act(item, first + i)));
    const failed = outcomes.find((outcome) => outcome.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }
}

function passedOn({ fd, mac }: TapPlan): Link {
  const device = inspectTap(fd!);
  return { fd: fd!, queues: [fd!], writer: fd!, device, adopted: false, ...(mac === undefined ? {} : { mac }) };
}

/** Makes one TAP. */
class Maker {
  readonly #tap: TapPlan;
  readonly #name: string;
  readonly #path: string;
  readonly #mtu: number;
  readonly #flags: number;
  readonly #queues: number;
  readonly #keep: boolean;
  #found: Device | undefined;
  /** For a TAP that was found: open inside of its namespace. */
  files: readonly number[] | undefined;

  constructor(plan: Plan, index: number, flags: number) {
    const tap = plan.taps[index]!;
    this.#tap = tap;
    this.#name = inPlace(tap.name, tap.netns);
    this.#path = `taps[${index}]`;
    this.#mtu = tap.mtu ?? tapMtu(plan, index);
    this.#flags = flags;
    this.#queues = plan.workers;
    this.#keep = plan.keepTaps;
  }

  /** Looks at what is in the namespace already. */
  async look(): Promise<void> {
    const { name, netns } = this.#tap;
    if (netns !== undefined) requireNetns(netns, `${this.#path}.netns`);
    const devices = await this.#try('netns', 'cannot be listed', () => listDevices(netns));
    this.#requireRoom();
    this.#requireFreeAddress(devices);
    this.#found = devices.find((device) => device.name === name);
    const how = { queues: this.#queues, keep: this.#keep };
    if (this.#found !== undefined) await about(`${this.#path}.name`, () => requireOrphan(this.#found!, netns, how));
  }

  /** Where files are to be opened, for a TAP that was found. */
  get place(): TunPlace | undefined {
    const { name, netns } = this.#tap;
    if (this.#found === undefined) return undefined;
    const count = this.#queues;
    return { name, count, path: `${this.#path}.netns`, ...(netns === undefined ? {} : { netns }) };
  }

  async make(): Promise<Link> {
    const { name, netns } = this.#tap;
    const found = this.#found;
    const files = this.files ?? [];
    this.files = undefined; // from here on somebody else closes them
    const open = await about(`${this.#path}.name`, () =>
      found === undefined ? this.#open() : adoptTap(files, found, netns, this.#flags),
    );
    try {
      if (found !== undefined)
        await this.#try('address', 'cannot be changed', () => reconcile(found, this.#tap, this.#mtu));
      else {
        if (netns !== undefined) await this.#move(open.name, netns);
        await this.#configure();
      }
      if ((this.#flags & IFF_VNET_HDR) !== 0) await this.#limitSuperFrames(found?.maxSegments);
      const { fd, queues, writer } = open;
      return { fd, queues, writer, device: name, mac: this.#tap.mac!, adopted: found !== undefined };
    } catch (error) {
      closeTap(open);
      throw error;
    }
  }

  /**
   * Makes a new device. It is made here and then moved: a file that is opened in a container's namespace would keep the
   * namespace, and the device in it, when the container has ended.
   */
  #open(): Promise<OpenTap> {
    const { name, netns } = this.#tap;
    // The number of queues of a kept TAP may change from run to run.
    const multiQueue = this.#keep || this.#queues > 1;
    // On the way the device has a name that nothing here has: only over there NAME is to be free.
    return openTap(netns === undefined ? name : 'weft%d', this.#flags, this.#queues, multiQueue);
  }

  #move(from: string, netns: string): Promise<unknown> {
    const { name } = this.#tap;
    return this.#try('name', 'cannot be moved there', () =>
      ip(['link', 'set', 'dev', from, 'netns', netns, 'name', name]),
    );
  }

  /** Gives a new device what is planned, and brings it up. */
  async #configure(): Promise<void> {
    const { name, netns, mac, address } = this.#tap;
    const set = (...words: string[]) => ip(['link', 'set', 'dev', name, ...words], netns);
    await this.#try('mtu', `does not accept an MTU of ${this.#mtu}`, () => set('mtu', String(this.#mtu)));
    await this.#try('mac', `does not accept the MAC address ${mac}`, () =>
      set('address', mac!, 'alias', markOf(address)),
    );
    if (address !== undefined)
      await this.#try('address', `does not accept the address ${address}`, () =>
        ip(['addr', 'add', address, 'dev', name], netns),
      );
    await this.#try('name', 'cannot be brought up', () => set('up'));
  }

  #requireRoom(): void {
    const { address } = this.#tap;
    if (address?.includes(':') !== true || this.#mtu >= IPV6_MIN_MTU) return;
    throw new HostError(
      `an IPv6 address needs an MTU of ${IPV6_MIN_MTU} bytes or more, and TAP ${this.#name} has ${this.#mtu}; ` +
        'raise the MTU of the underlay, or use IPv4 addresses',
      { path: `${this.#path}.address` },
    );
  }

  /** The same address on two devices of a namespace leaves it open which one answers. */
  #requireFreeAddress(devices: readonly Device[]): void {
    const { name, netns, address } = this.#tap;
    if (address === undefined) return;
    const [wanted] = canonicalPrefix(address).split('/');
    const other = devices.find((one) => one.name !== name && one.addresses.some((own) => own.split('/')[0] === wanted));
    if (other === undefined) return;
    const remove = `ip ${netns === undefined || netns.startsWith('/') ? '' : `-n ${netns} `}addr del`;
    throw new HostError(
      `${wanted} is already on device ${inPlace(other.name, netns)}; choose another address, or remove it there ("${remove} ${other.addresses.find((own) => own.startsWith(`${wanted}/`))} dev ${other.name}")`,
      { path: `${this.#path}.address` },
    );
  }

  /** Lets the kernel make super-frames no longer than what leaves in one call: the rest would take a second one. */
  async #limitSuperFrames(present: number | undefined): Promise<void> {
    const segments = Math.max(1, Math.min(MAX_SEGMENTS, Math.floor(MAX_CALL / (this.#mtu + AROUND))));
    if (segments === present) return;
    // An iproute2 that does not know it costs speed and nothing else.
    const { name, netns } = this.#tap;
    await ip(['link', 'set', 'dev', name, 'gso_max_segs', String(segments)], netns).catch(() => undefined);
  }

  /** Runs a step that uses `ip`, and says in a sentence of our own what failed. */
  async #try<T>(field: string, failed: string, step: () => Promise<T>): Promise<T> {
    try {
      return await step();
    } catch (error) {
      if (!(error instanceof IpError)) throw error;
      const { netns } = this.#tap;
      if (netns !== undefined) requireNetns(netns, `${this.#path}.netns`); // it may have gone in the meantime
      const disabled = error.code === 'EACCES' && field === 'address' && this.#tap.address?.includes(':') === true;
      const reason = disabled ? 'IPv6 is disabled there (sysctl net.ipv6.conf.all.disable_ipv6)' : ipReason(error);
      throw new HostError(`TAP ${this.#name} ${failed}: ${reason}`, { cause: error, path: `${this.#path}.${field}` });
    }
  }
}

/** Bytes, and datagrams, that fit one call on the underlay's socket with `UDP_SEGMENT`. */
const MAX_CALL = 65_487;
const MAX_SEGMENTS = 64;
/** The headers around an IP packet of a TAP in such a datagram: Ethernet and VXLAN. */
const AROUND = 14 + 8;
