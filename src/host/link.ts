/** A TAP as a network device: creates or finds it in its namespace, and configures its addresses. */
import { closeSync } from 'node:fs';
import { isIpv6Text } from '../address/index.js';
import { type SubnetRoute } from '../schema/index.js';
import { type DevicePlan, type LinkPlan } from './data-plane.js';
import { canonicalPrefix, inPlace, listDevices, markOf, type Device } from './device.js';
import { completeRoutes, routeWords } from './device-routes.js';
import { about, HostError } from './error.js';
import { ipBatch, IpError, ipReason } from './ip.js';
import { addressWords, adoptTap, reconcile, requireOrphan, type DeviceIdentity } from './kept.js';
import { requireNetns } from './netns.js';
import { overlapsOf, type Overlap } from './overlap.js';
import { droppedHere } from './tap-drops.js';
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
  /** The device's current name. */
  device: string;
  /** The device's MAC address; absent for an inherited TAP without one. */
  mac?: string;
  /** Whether an earlier process created it. */
  adopted: boolean;
  /** Frames that the kernel dropped at the device before. */
  dropped: number;
  /** Other interfaces of its namespace, not of this data plane, that have addresses of its subnet. */
  overlaps: readonly Overlap[];
}

/** The lowest MTU that IPv6 works with (RFC 8200, section 5). */
const IPV6_MIN_MTU = 1280;

/** How to make the TAPs of a data plane. */
export interface Making {
  /** Flags of the engine's TAPs. */
  flags: number;
  /** Number of queues of each. */
  queues: number;
  /** The links that the data plane already has. */
  attached: readonly LinkPlan[];
}

/**
 * Creates the TAPs of links and brings them up; checks TAPs that were passed as file descriptors; attaches to TAPs that
 * an earlier process kept.
 * @throws HostError with the field. It then has removed the TAPs that it created, and left kept ones as they were.
 */
export async function makeLinks(plans: readonly LinkPlan[], making: Making): Promise<Link[]> {
  const all = [...making.attached, ...plans];
  const makers = plans.map((plan) =>
    'fd' in plan.device ? undefined : new Maker(plan, plan.device, making, namesBeside(plan.device, all)),
  );
  await inTurns(makers, (maker) => maker?.look());
  const found = makers.flatMap((maker) => (maker?.place === undefined ? [] : [maker]));
  // One thread visits all namespaces.
  const files = await openTunFiles(found.map(({ place }) => place!));
  found.forEach((maker, i) => (maker.files = files[i]!));
  const links: (Link | undefined)[] = makers.map(() => undefined);
  try {
    await inTurns(makers, async (maker, i) => {
      links[i] =
        maker === undefined ? await about(pathOf(plans[i]!, 'fd'), () => passedOn(plans[i]!)) : await maker.make();
    });
    return links as Link[];
  } catch (error) {
    for (const link of links) if (link !== undefined) await closeTap(link);
    for (const maker of found) maker.files?.forEach((fd) => closeSync(fd));
    throw error;
  }
}

/** The path of a field of a link's configuration. */
function pathOf({ path }: LinkPlan, field: string): string {
  return path === '' ? field : `${path}.${field}`;
}

/** Names of the data plane's own devices in the same namespace. */
function namesBeside(device: OwnDevice, all: readonly LinkPlan[]): string[] {
  return all.flatMap((one) => ('fd' in one.device || one.device.netns !== device.netns ? [] : [one.name]));
}

/** Number of TAPs to create concurrently. */
const AT_ONCE = 8;

/** Runs a function for each item, several at a time. Throws the first error after all running calls have ended. */
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

function passedOn({ device, mac }: LinkPlan): Link {
  const { fd } = device as { fd: number };
  const name = inspectTap(fd);
  const files = { fd, queues: [fd], writer: fd };
  const facts = { device: name, adopted: false, dropped: droppedHere(name), overlaps: [] };
  return { ...files, ...facts, ...(mac === undefined ? {} : { mac }) };
}

type OwnDevice = Exclude<DevicePlan, { fd: number }>;

/** Creates or adopts one TAP. */
class Maker {
  readonly #plan: LinkPlan;
  readonly #tap: DeviceIdentity;
  readonly #name: string;
  readonly #mtu: number;
  readonly #isEncrypted: boolean;
  readonly #routes: readonly SubnetRoute[];
  readonly #flags: number;
  readonly #queues: number;
  readonly #keep: boolean;
  /** Names of the data plane's devices in the same namespace. */
  readonly #siblings: readonly string[];
  #found: Device | undefined;
  #overlaps: readonly Overlap[] = [];
  /** For an existing TAP: its files, opened inside its namespace. */
  files: readonly number[] | undefined;

  constructor(plan: LinkPlan, device: OwnDevice, { flags, queues }: Making, siblings: readonly string[]) {
    const { name, mac, addresses = [] } = plan;
    const { netns } = device;
    this.#plan = plan;
    this.#tap = {
      name,
      addresses,
      ...(netns === undefined ? {} : { netns }),
      ...(mac === undefined ? {} : { mac }),
    };
    this.#name = inPlace(name, netns);
    this.#mtu = device.mtu;
    this.#isEncrypted = device.encrypted === true;
    this.#routes = device.routes ?? [];
    this.#flags = flags;
    this.#queues = queues;
    this.#keep = device.keep;
    this.#siblings = siblings;
  }

  /** Looks for an existing device in the namespace. */
  async look(): Promise<void> {
    const { name, netns } = this.#tap;
    if (netns !== undefined) requireNetns(netns, this.#path('netns'));
    const devices = await this.#try('netns', 'cannot be listed', () => listDevices(netns));
    this.#requireRoom();
    for (const address of this.#tap.addresses) this.#requireFreeAddress(address, devices);
    const { addresses } = this.#tap;
    const others = devices.filter((device) => !this.#siblings.includes(device.name));
    this.#overlaps = overlapsOf({ name, addresses }, others);
    this.#found = devices.find((device) => device.name === name);
    const how = { queues: this.#queues, keep: this.#keep };
    if (this.#found !== undefined) await about(this.#path('name'), () => requireOrphan(this.#found!, netns, how));
  }

  /** For an existing TAP: where to open files. */
  get place(): TunPlace | undefined {
    const { name, netns } = this.#tap;
    if (this.#found === undefined) return undefined;
    const count = this.#queues;
    return { name, count, path: this.#path('netns'), ...(netns === undefined ? {} : { netns }) };
  }

  async make(): Promise<Link> {
    const { name, netns, mac } = this.#tap;
    const found = this.#found;
    const files = this.files ?? [];
    this.files = undefined; // from here on they belong to `adoptTap`
    const open = await about(this.#path('name'), async () =>
      found === undefined ? { ...(await this.#open()), dropped: 0 } : adoptTap(files, found, netns, this.#flags),
    );
    try {
      if (found === undefined) await this.#configure(open.name);
      else {
        await this.#try('address', 'cannot be changed', () => reconcile(found, this.#tap, this.#mtu));
        const { addresses } = this.#tap;
        await this.#try('address', 'cannot get its routes', () => completeRoutes(name, netns, addresses, this.#routes));
        const limit = this.#limitSuperFrames(found.maxSegments);
        if (limit.length > 0) await ipBatch(limit, netns).catch(() => undefined);
      }
      const { fd, queues, writer, dropped } = open;
      const facts = { device: name, ...(mac === undefined ? {} : { mac }), adopted: found !== undefined, dropped };
      return { fd, queues, writer, ...facts, overlaps: this.#overlaps };
    } catch (error) {
      await closeTap(open);
      throw error;
    }
  }

  /**
   * Creates a new device in this namespace, which is then moved: a file that was opened in a container's namespace
   * would keep that namespace and the device in it after the container has ended.
   */
  #open(): Promise<OpenTap> {
    const { name, netns } = this.#tap;
    // A later run may use a kept TAP with another number of queues.
    const multiQueue = this.#keep || this.#queues > 1;
    // Until it is moved, the device has a name that is unused here: the planned name must be free only over there.
    return openTap(netns === undefined ? name : 'weft%d', this.#flags, this.#queues, multiQueue);
  }

  /** Configures a new device as planned, moves it to its namespace, and brings it up: with one process in each of the two. */
  async #configure(created: string): Promise<void> {
    const { name, netns, mac, addresses } = this.#tap;
    const first = (device: string): Step[] => [
      {
        words: ['link', 'set', 'dev', device, 'mtu', String(this.#mtu)],
        field: 'mtu',
        failed: `does not accept an MTU of ${this.#mtu}`,
      },
      {
        words: [
          'link',
          'set',
          'dev',
          device,
          ...(mac === undefined ? [] : ['address', mac]),
          'alias',
          markOf(addresses),
        ],
        field: 'mac',
        failed: `does not accept the MAC address ${mac}`,
      },
    ];
    const then: Step[] = [];
    for (const address of addresses)
      then.push({
        words: addressWords(address, name),
        field: 'address',
        failed: `does not accept the address ${address}`,
      });
    then.push({ words: ['link', 'set', 'dev', name, 'up'], field: 'name', failed: 'cannot be brought up' });
    for (const route of this.#routes)
      then.push({
        words: routeWords('add', route, name, addresses),
        field: 'address',
        failed: `cannot get a route to ${route.to}, a subnet of its network`,
      });
    // Last: an iproute2 without this option only costs speed.
    for (const words of this.#limitSuperFrames()) then.push({ words, field: 'name', failed: '' });
    if (netns === undefined) return this.#run([...first(name), ...then]);
    const words = ['link', 'set', 'dev', created, 'netns', netns, 'name', name];
    await this.#run([...first(created), { words, field: 'name', failed: 'cannot be moved there' }]);
    await this.#run(then, netns);
  }

  /** Runs steps up to the first that fails. */
  async #run(steps: readonly Step[], netns?: string): Promise<void> {
    try {
      await ipBatch(
        steps.map(({ words }) => words),
        netns,
      );
    } catch (error) {
      const step = steps[(error instanceof IpError ? error.failed : undefined) ?? 0]!;
      if (step.failed === '') return;
      await this.#try(step.field, step.failed, () => Promise.reject(error as Error));
    }
  }

  #requireRoom(): void {
    if (!this.#tap.addresses.some(isIpv6Text) || this.#mtu >= IPV6_MIN_MTU) return;
    throw new HostError(
      `an IPv6 address needs an MTU of ${IPV6_MIN_MTU} bytes or more, and TAP ${this.#name} has ${this.#mtu}; ` +
        'raise the MTU of the underlay, or use IPv4 addresses',
      { path: this.#path('address') },
    );
  }

  /** Fails if another device in the namespace has an address of this one: it would be undefined which of them answers. */
  #requireFreeAddress(address: string, devices: readonly Device[]): void {
    const { name, netns } = this.#tap;
    const [wanted] = canonicalPrefix(address).split('/');
    const other = devices.find((one) => one.name !== name && one.addresses.some((own) => own.split('/')[0] === wanted));
    if (other === undefined) return;
    const ip = netns === undefined ? 'ip' : netns.startsWith('/') ? `nsenter --net=${netns} ip` : `ip -n ${netns}`;
    const remove = `${ip} addr del`;
    throw new HostError(
      `${wanted} is already on device ${inPlace(other.name, netns)}; choose another address, or remove it there ("${remove} ${other.addresses.find((own) => own.startsWith(`${wanted}/`))} dev ${other.name}")`,
      { path: this.#path('address') },
    );
  }

  /**
   * Returns the command that limits the kernel's super-frames to what fits into one send call: the rest would require a
   * second call.
   */
  #limitSuperFrames(present?: number): string[][] {
    const around = this.#isEncrypted ? AROUND_SEALED : AROUND;
    const segments = Math.max(1, Math.min(MAX_SEGMENTS, Math.floor(MAX_CALL / (this.#mtu + around))));
    if ((this.#flags & IFF_VNET_HDR) === 0 || segments === present) return [];
    return [['link', 'set', 'dev', this.#tap.name, 'gso_max_segs', String(segments)]];
  }

  #path(field: string): string {
    return pathOf(this.#plan, field);
  }

  /** Runs a step that uses `ip`, and turns an error into a sentence about the field. */
  async #try<T>(field: string, failed: string, step: () => Promise<T>): Promise<T> {
    try {
      return await step();
    } catch (error) {
      if (!(error instanceof IpError)) throw error;
      const { netns } = this.#tap;
      if (netns !== undefined) requireNetns(netns, this.#path('netns')); // the namespace may have been removed meanwhile
      const disabled = error.code === 'EACCES' && field === 'address' && this.#tap.addresses.some(isIpv6Text);
      const reason = disabled ? 'IPv6 is disabled there (sysctl net.ipv6.conf.all.disable_ipv6)' : ipReason(error);
      throw new HostError(`TAP ${this.#name} ${failed}: ${reason}`, { cause: error, path: this.#path(field) });
    }
  }
}

/** A command of `ip`, and what its failure means. */
interface Step {
  words: string[];
  /** The field of the configuration that it applies. */
  field: string;
  /** What to say of the TAP if it fails; empty if the failure does not matter. */
  failed: string;
}

/** Most bytes, and most datagrams, in one send call with `UDP_SEGMENT`. */
const MAX_CALL = 65_487;
const MAX_SEGMENTS = 64;
/** Bytes of headers around a TAP's IP packet in such a datagram: Ethernet and VXLAN. */
const AROUND = 14 + 8;
/** The same in an ESP packet: UDP, ESP header, IV, the least padding with its trailer, and ICV too. */
const AROUND_SEALED = AROUND + 8 + 8 + 8 + 2 + 16;
