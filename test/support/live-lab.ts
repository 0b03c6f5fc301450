/**
 * Two hosts: a VTEP that changes while it runs on the first one, with containers 1, 3 and 4, and one with container 2 on the
 * second one. Has the requirements of `lab.ts`.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type Config, type Tap } from '../../src/schema/index.js';
import { devices, Lab, waitFor, type Running } from './lab.js';
import { LIVE_VTEP, LiveVtep } from './live-vtep.js';
import { bundle, type Bundle } from './program.js';

export const VNI = 4097;
export const OTHER = 4098;
type Which = 1 | 2 | 3 | 4;
const address = (which: 1 | 2): string => `172.31.1.${which}`;

export class LiveLab {
  readonly lab: Lab;
  readonly node: Record<1 | 2, string> = { 1: '', 2: '' };
  readonly container: Record<Which, string> = { 1: '', 2: '', 3: '', 4: '' };
  readonly #directory = mkdtempSync(join(tmpdir(), 'weft-live-'));
  #program!: Bundle;
  #next = 0;

  private constructor(prefix: string) {
    this.lab = new Lab(prefix);
  }

  static async create(prefix: string): Promise<LiveLab> {
    const made = new LiveLab(prefix);
    made.#program = await bundle(LIVE_VTEP);
    for (const which of [1, 2] as const) made.node[which] = await made.lab.namespace(`node${which}`);
    for (const which of [1, 2, 3, 4] as const) made.container[which] = await made.lab.namespace(`c${which}`);
    const end = (which: 1 | 2) => ({ ns: made.node[which], device: 'eth0', addresses: [`${address(which)}/24`] });
    await made.lab.join(end(1), end(2));
    return made;
  }

  /** Ends the VTEPs of a test. */
  async end(): Promise<void> {
    await this.lab.killAll();
    for (const ns of Object.values(this.container))
      await waitFor(`the devices of ${ns} to go`, async () => (await devices(ns)).join() === 'lo');
  }

  async teardown(): Promise<void> {
    await this.lab.teardown();
    this.#program.remove();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  tap(which: Which, more: Partial<Tap> = {}): Tap {
    return {
      ...{ name: 'eth0', netns: this.container[which], address: `10.0.0.${which}/24`, vni: VNI },
      ...more,
    };
  }

  /** Starts the VTEP under test on node 1, which changes, and one on node 2 with two TAPs. */
  async start(engine: 'linux' | 'dgram', config: Partial<Config> = {}): Promise<{ vtep: LiveVtep; program: Running }> {
    const peers = (which: 1 | 2): string[] => [address(which)];
    const path = join(this.#directory, `live${this.#next++}`);
    const changing: Config = {
      ...{ local: address(1), engine, segments: [{ vni: VNI, peers: peers(2) }], taps: [this.tap(1)] },
      ...config,
    };
    const there: Config = {
      local: address(2),
      segments: [VNI, OTHER].map((vni) => ({ vni, peers: peers(1) })),
      taps: [this.tap(2), this.tap(2, { name: 'eth1', address: '10.0.1.2/24', vni: OTHER })],
    };
    const run = async (which: 1 | 2, what: Config, socket: string): Promise<Running> => {
      const [node, file] = this.#program.command as [string, string];
      const program = this.lab.spawn([node, '--expose-gc', file, JSON.stringify(what), socket], {
        ns: this.node[which],
      });
      await waitFor('the VTEP', () => program.stdout.includes('ready') || !program.running);
      assert.ok(program.running, program.stderr);
      return program;
    };
    const program = await run(1, changing, path);
    await run(2, there, join(this.#directory, `there${this.#next++}`));
    return { vtep: new LiveVtep(path), program };
  }

  /** The devices in the namespaces of node 1 and of the containers. */
  things(): Promise<string[][]> {
    return Promise.all([this.node[1], ...Object.values(this.container)].map(devices));
  }
}
