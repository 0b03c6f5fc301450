/** What the benchmark `overlay` compares: ways to connect a container on one host with a container on another. */
import { randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { countersOf } from '../test/support/traffic.js';
import { exec, must, type Lab, type Running } from '../test/support/lab.js';
import { limitCounts, startLimit } from './limit.js';

export const VNI = '4097';
/** Of the containers' devices; WireGuard's is smaller. */
export const MTU = 1450;
/**
 * With encryption in an underlay of 1500: 28 bytes of IP and UDP, 16 of ESP and IV, and 16 of ICV leave 1440, of which 30 are
 * the headers inside and 2 the trailer.
 */
const ENCRYPTED_MTU = 1408;
/** Of the containers' addresses, which are in one subnet of that length, and in two of 24 bits if they are routed. */
export const PREFIX = 16;

/** One host and its container, whose device is `eth0`. */
export interface Side {
  node: string;
  container: string;
  /** Addresses on the underlay and in the overlay. */
  underlay: string;
  address: string;
}

export type Sides = readonly [Side, Side];

export interface Site {
  lab: Lab;
  sides: Sides;
  /** For files of running programs. */
  directory: string;
}

/** Both ends of a running overlay. */
export interface Up {
  /** The programs that move packets; none for the kernel. */
  vteps: Running[];
  /** Whether the underlay's offloads must stay off. */
  bare?: boolean;
  /** System calls of both ends so far that move or await packets. */
  calls?(): Promise<number>;
  down(): Promise<void>;
}

export interface Layout {
  name: string;
  /** Whether it moves a packet per call: fewer rounds then give the figures. */
  slow?: boolean;
  /** Whether to measure only what is compared with other programs. */
  brief?: boolean;
  up(site: Site): Promise<Up>;
}

/** Counters of calls, which the engine and limit.c have in common. */
const CALLS = ['sendCalls', 'receiveCalls', 'readCalls', 'writeCalls', 'pollCalls'] as const;

const callsIn = (counts: Readonly<Record<string, unknown>>): number =>
  CALLS.reduce((sum, name) => sum + Number(counts[name] ?? 0), 0);

/** Adds up what `count` returns for both ends. */
async function total<T>(ends: readonly T[], count: (end: T) => Promise<number>): Promise<number> {
  return (await Promise.all(ends.map(count))).reduce((sum, calls) => sum + calls, 0);
}

/** @param flags Of `vtep up`. */
export function engine(name: 'linux' | 'dgram', flags: readonly string[] = []): Layout {
  return { name, slow: name === 'dgram', up: (site) => vteps(site, name, { flags, mtu: MTU }) };
}

/**
 * The engine `linux` with an encrypted segment.
 * @param aead The name of the implementation of AES-GCM; absent: the fastest.
 */
export function encrypted(name: string, flags: readonly string[], aead?: string): Layout {
  const up = (site: Site): Promise<Up> => {
    const file = join(site.directory, 'key');
    writeFileSync(file, `1 ${randomBytes(16).toString('base64')}\n`, { mode: 0o600 });
    const env = aead === undefined ? {} : { WEFT_AEAD: aead };
    return vteps(site, 'linux', { flags: [...flags, '--key-file', file], mtu: ENCRYPTED_MTU, env });
  };
  return { name, up };
}

interface VtepSettings {
  /** Of `vtep up`. */
  flags: readonly string[];
  mtu: number;
  env?: Readonly<Record<string, string>>;
}

async function vteps({ lab, sides, directory }: Site, name: string, settings: VtepSettings): Promise<Up> {
  const { flags, mtu, env = {} } = settings;
  const controls = sides.map((_, i) => join(directory, `control${i}`));
  const running: Running[] = [];
  for (const [i, { node, container, underlay: local, address }] of sides.entries())
    running.push(
      await lab.startVtep({
        ns: node,
        args: [
          ...['up', '--engine', name, '--vni', VNI, '--local', local, '--peer', sides[1 - i]!.underlay],
          ...['--tap', 'eth0', '--netns', container, '--address', `${address}/${PREFIX}`, '--mtu', String(mtu)],
          ...['--control', controls[i]!],
          ...flags,
        ],
        env,
      }),
    );
  const calls = (): Promise<number> =>
    total(controls, async (control) => callsIn({ ...(await countersOf(control)).engine }));
  return {
    vteps: running,
    ...(name === 'linux' ? { calls } : {}),
    down: async () => void (await Promise.all(running.map((one) => one.stop()))),
  };
}

/** The engine `linux` with a network of two subnets, one on each host: every packet passes a router. */
export const ROUTED: Layout = { name: 'linux routed', brief: true, up: routed };

async function routed({ lab, sides, directory }: Site): Promise<Up> {
  const networks = sides.map(({ address }, i) => ({
    prefix: address.replace(/\d+$/, '0/24'),
    gateway: address.replace(/\d+$/, '254'),
    vni: Number(VNI) + i,
  }));
  const running: Running[] = [];
  for (const [i, { node, container, underlay: local, address }] of sides.entries()) {
    const peers = [sides[1 - i]!.underlay];
    const file = join(directory, `routed${i}.json`);
    const config = {
      local,
      engine: 'linux',
      segments: networks.map(({ vni }) => ({ vni, mtu: MTU, peers })),
      networks: [{ name: 'bench', subnets: networks }],
      taps: [{ name: 'eth0', netns: container, vni: networks[i]!.vni, address: `${address}/24`, mtu: MTU }],
    };
    writeFileSync(file, JSON.stringify(config));
    running.push(await lab.startVtep({ ns: node, args: ['up', '--config', file] }));
    await must(['ip', '-n', container, 'route', 'replace', 'default', 'via', networks[i]!.gateway]);
  }
  return { vteps: running, down: async () => void (await Promise.all(running.map((one) => one.stop()))) };
}

/** The kernel's vxlan with a bridge and a veth pair, as Docker sets it up. */
export const KERNEL: Layout = { name: 'kernel', up: ({ sides }) => kernel(sides) };

async function kernel(sides: Sides): Promise<Up> {
  for (const [i, { node, container, underlay: local, address }] of sides.entries()) {
    const link = (...words: string[]): Promise<string> => must(['ip', '-n', node, 'link', ...words]);
    const tunnel = ['id', VNI, 'dstport', '4789', 'local', local, 'remote', sides[1 - i]!.underlay];
    await link('add', 'br0', 'type', 'bridge');
    await link('add', 'vx0', 'type', 'vxlan', ...tunnel);
    await link('add', 'v0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', container);
    for (const device of ['vx0', 'v0']) await link('set', device, 'mtu', String(MTU), 'master', 'br0', 'up');
    await link('set', 'br0', 'up');
    await must(['ip', '-n', container, 'link', 'set', 'eth0', 'mtu', String(MTU), 'up']);
    await must(['ip', '-n', container, 'addr', 'add', `${address}/${PREFIX}`, 'dev', 'eth0']);
  }
  const down = async (): Promise<void> => {
    for (const { node } of sides)
      for (const device of ['vx0', 'v0', 'br0']) await must(['ip', '-n', node, 'link', 'del', device]);
  };
  return { vteps: [], down };
}

/** @param program From `buildLimit`. @param busyPoll Microseconds. */
export function limit(program: string, busyPoll: number): Layout {
  const up = async ({ lab, sides }: Site): Promise<Up> => {
    const running: Running[] = [];
    for (const [i, { node, container, underlay: local, address }] of sides.entries()) {
      const remote = sides[1 - i]!.underlay;
      const place = {
        node,
        container,
        local,
        remote,
        vni: VNI,
        tap: 'eth0',
        address: `${address}/${PREFIX}`,
        mtu: MTU,
      };
      running.push(await startLimit(lab, program, { ...place, busyPoll }));
    }
    return {
      vteps: running,
      calls: () => total(running, async (one) => callsIn(await limitCounts(one))),
      down: async () => void (await Promise.all(running.map((one) => one.stop()))),
    };
  };
  return { name: 'limit', up };
}

/** Switches the offloads of an underlay device on or off. */
export async function offloads(ns: string, device: string, state: 'on' | 'off'): Promise<void> {
  // In this order: some depend on those before.
  const features = ['tx', 'sg', 'tso', 'gso', 'gro'].flatMap((feature) => [feature, state]);
  await exec(ns, ['ethtool', '-K', device, ...features]);
}
