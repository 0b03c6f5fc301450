/**
 * Two hosts with a container on each. An engine of ours or the kernel connects them, chosen for each end. Has the
 * requirements of `lab.ts`.
 *
 *     c1 10.0.0.1 -- node1 172.31.1.1 ==== 172.31.1.2 node2 -- 10.0.0.2 c2
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AllCounters } from '../../src/host/index.js';
import { Lab, must, ping, waitFor, type End, type Running } from './lab.js';
import { Relay, type Faults } from './relay.js';
import { countersOf, quietNamespace } from './traffic.js';

export const VNI = 4097;
/** Bytes of the outer headers. */
export const OVERHEAD = 50;
const DEVICE = 'eth0';

export type Kind = 'linux' | 'dgram' | 'kernel';
export type Which = 1 | 2;

/** A running VTEP; the kernel's has no program. */
export interface Side {
  vtep?: Running;
  stop(): Promise<unknown>;
}

/** One host and its container. */
interface PairHost {
  node: string;
  container: string;
}

export class Pair {
  readonly lab: Lab;
  readonly #places: Record<Which, PairHost>;
  readonly #directory = mkdtempSync(join(tmpdir(), 'weft-pair-'));
  #relay: Relay | undefined;
  #sides: Side[] = [];

  private constructor(lab: Lab, places: Record<Which, PairHost>) {
    this.lab = lab;
    this.#places = places;
  }

  static async create(prefix: string): Promise<Pair> {
    const lab = new Lab(prefix);
    const place = async (which: Which): Promise<PairHost> => ({
      node: await quietNamespace(lab, `node${which}`),
      container: await quietNamespace(lab, `c${which}`),
    });
    return new Pair(lab, { 1: await place(1), 2: await place(2) });
  }

  address(which: Which): string {
    return `10.0.0.${which}`;
  }

  underlay(which: Which): string {
    return `172.31.1.${which}`;
  }

  node(which: Which): string {
    return this.#places[which].node;
  }

  container(which: Which): string {
    return this.#places[which].container;
  }

  /** Connects the hosts with a veth pair. */
  async cable(mtu: number): Promise<void> {
    await this.lab.join(this.#end(1), this.#end(2), mtu);
  }

  /** Connects the hosts with a wire that drops, duplicates and reorders. */
  async relay(mtu: number, faults: Faults, seed: number): Promise<Relay> {
    this.#relay = await Relay.create([this.#end(1), this.#end(2)], mtu, faults, seed);
    return this.#relay;
  }

  /** Starts both ends, and waits until their containers reach each other. */
  async up(one: Kind, two: Kind, mtu: number, command?: readonly string[]): Promise<[Side, Side]> {
    const sides: [Side, Side] = [await this.start(1, one, mtu, command), await this.start(2, two, mtu, command)];
    await waitFor('the overlay', async () => (await ping(this.container(1), this.address(2), { count: 1 })) === 1);
    return sides;
  }

  /**
   * @param mtu Of the overlay.
   * @param command Replaces `VTEP`.
   */
  async start(which: Which, kind: Kind, mtu: number, command?: readonly string[]): Promise<Side> {
    const side = await (kind === 'kernel' ? this.#kernel(which, mtu) : this.#vtep(which, kind, mtu, command));
    this.#sides.push(side);
    return side;
  }

  counters(which: Which): Promise<AllCounters> {
    return countersOf(this.control(which));
  }

  /** Stops and removes programs, devices and the wire. */
  async down(): Promise<void> {
    for (const side of this.#sides.splice(0)) await side.stop();
    await this.lab.killAll();
    if (this.#relay !== undefined) await this.#relay.close();
    else await must(['ip', '-n', this.node(1), 'link', 'del', DEVICE]);
    this.#relay = undefined;
  }

  async teardown(): Promise<void> {
    await this.#relay?.close();
    await this.lab.teardown();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** The path of a VTEP's control socket. */
  control(which: Which): string {
    return join(this.#directory, `control${which}`);
  }

  #end(which: Which): End {
    return { ns: this.node(which), device: DEVICE, addresses: [`${this.underlay(which)}/24`] };
  }

  async #vtep(which: Which, kind: Kind, mtu: number, command: readonly string[] | undefined): Promise<Side> {
    const local = this.underlay(which);
    const peer = this.underlay(which === 1 ? 2 : 1);
    const vtep = await this.lab.startVtep({
      ns: this.node(which),
      ...(command === undefined ? {} : { command }),
      args: [
        ...['up', '--engine', kind, '--vni', String(VNI), '--local', local, '--peer', peer],
        ...['--tap', DEVICE, '--netns', this.container(which), '--address', `${this.address(which)}/24`],
        ...['--mac', `02:42:0a:00:00:0${which}`, '--mtu', String(mtu), '--control', this.control(which)],
      ],
    });
    return { vtep, stop: () => vtep.stop() };
  }

  /** A vxlan device and a veth pair in a bridge, as Docker sets them up. */
  async #kernel(which: Which, mtu: number): Promise<Side> {
    const node = this.node(which);
    const inside = ['ip', '-n', this.container(which)];
    const link = (...words: string[]): Promise<string> => must(['ip', '-n', node, 'link', ...words]);
    const [local, remote] = which === 1 ? [this.underlay(1), this.underlay(2)] : [this.underlay(2), this.underlay(1)];
    await link('add', 'br0', 'type', 'bridge');
    const tunnel = ['id', String(VNI), 'dstport', '4789', 'local', local, 'remote', remote];
    await link('add', 'vx0', 'type', 'vxlan', ...tunnel);
    await link('add', 'v0', 'type', 'veth', 'peer', 'name', DEVICE, 'netns', this.container(which));
    for (const device of ['vx0', 'v0']) await link('set', device, 'mtu', String(mtu), 'master', 'br0', 'up');
    await link('set', 'br0', 'up');
    await must([...inside, 'link', 'set', DEVICE, 'address', `02:42:0a:00:00:0${which}`, 'mtu', String(mtu), 'up']);
    await must([...inside, 'addr', 'add', `${this.address(which)}/24`, 'dev', DEVICE]);
    const stop = async (): Promise<void> => {
      for (const device of ['vx0', 'v0', 'br0']) await link('del', device);
    };
    return { stop };
  }
}
