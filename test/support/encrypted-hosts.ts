/**
 * Hosts of an encrypted segment and of one in clear text, with a container on each. Has the requirements of `lab.ts`.
 *
 *     c1 10.1.0.1, 10.2.0.1 -- node1 172.31.1.1 ==== 172.31.1.2 node2 -- 10.1.0.2, 10.2.0.2 c2
 *                                    fd00:9::1  ==== fd00:9::2
 */
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ask, rotateGroupKeyFile, writeGroupKeyFile, type AllCounters, type Results } from '../../src/host/index.js';
import { type Config } from '../../src/schema/index.js';
import { Lab, type Running } from './lab.js';
import { countersOf, quietNamespace, serve, type Container } from './traffic.js';

/** VNI of the encrypted segment, and of the other one. */
export const SEALED = 100;
export const CLEAR = 200;
export const GROUP = `vni-${SEALED}`;

export interface HostOptions {
  engine?: 'linux' | 'dgram';
  /** Replaces fields of the configuration. */
  config?: Partial<Config>;
  /** The other hosts that it knows; absent: all. */
  peers?: readonly number[];
  family?: 4 | 6;
}

export class EncryptedHosts {
  readonly lab: Lab;
  readonly directory = mkdtempSync(join(tmpdir(), 'weft-encrypted-'));
  readonly nodes: string[] = [];
  readonly containers: Container[] = [];
  readonly vteps: (Running | undefined)[] = [];

  private constructor(lab: Lab) {
    this.lab = lab;
  }

  /** Makes the namespaces, and starts the servers in the containers. The underlay is up to the test. */
  static async create(prefix: string, count: number): Promise<EncryptedHosts> {
    const hosts = new EncryptedHosts(new Lab(prefix));
    writeGroupKeyFile(hosts.keyFile(), 256, false);
    for (let i = 1; i <= count; i++) {
      hosts.nodes[i] = await hosts.lab.namespace(`node${i}`);
      const ns = await quietNamespace(hosts.lab, `c${i}`);
      hosts.containers[i] = await serve(hosts.lab, ns, hosts.sealed(i), `c${i}`);
      hosts.copyKeys(i);
    }
    return hosts;
  }

  underlay(i: number, family: 4 | 6 = 4): string {
    return family === 4 ? `172.31.1.${i}` : `fd00:9::${i}`;
  }

  /** The address of a container in the encrypted segment, and in the other one. */
  sealed(i: number): string {
    return `10.1.0.${i}`;
  }

  clear(i: number): string {
    return `10.2.0.${i}`;
  }

  /** The same container at its address in clear text. */
  clearly(i: number): Container {
    return { ...this.containers[i]!, ip: this.clear(i) };
  }

  control(i: number): string {
    return join(this.directory, `control${i}`);
  }

  /** The key file of a host, or the one that the hosts copy. */
  keyFile(i: number | 'all' = 'all'): string {
    return join(this.directory, `keys-${i}`);
  }

  copyKeys(i: number): void {
    copyFileSync(this.keyFile(), this.keyFile(i));
  }

  /** Adds a key to the file that the hosts copy. @returns its number. */
  rotate(): number {
    return rotateGroupKeyFile(this.keyFile(), () => undefined);
  }

  async start(i: number, options: HostOptions = {}): Promise<Running> {
    const { engine = 'linux', config = {}, family = 4 } = options;
    const all = Object.keys(this.nodes).map(Number);
    const peers = (options.peers ?? all).filter((other) => other !== i).map((other) => this.underlay(other, family));
    const mac = (segment: number): string => `02:42:0a:0${segment}:00:0${i}`;
    const netns = this.containers[i]!.ns;
    const written: Config = {
      local: this.underlay(i, family),
      segments: [
        { vni: SEALED, peers, keyFile: this.keyFile(i) },
        { vni: CLEAR, peers },
      ],
      taps: [
        { name: 'sealed', netns, vni: SEALED, address: `${this.sealed(i)}/24`, mac: mac(1) },
        { name: 'clear', netns, vni: CLEAR, address: `${this.clear(i)}/24`, mac: mac(2) },
      ],
      ...config,
    };
    const file = join(this.directory, `config${i}.json`);
    writeFileSync(file, JSON.stringify(written));
    const args = ['up', '--config', file, '--engine', engine, '--control', this.control(i)];
    const vtep = await this.lab.startVtep({ ns: this.nodes[i]!, args });
    this.vteps[i] = vtep;
    return vtep;
  }

  counters(i: number): Promise<AllCounters> {
    return countersOf(this.control(i));
  }

  /** The numbers of the keys by which frames of a group leave a host, by the addresses of the others. */
  async keysOf(i: number, group = GROUP): Promise<Record<string, number | undefined>> {
    const remotes = (await ask(this.control(i), { command: 'remotes' })) as Results['remotes'];
    return Object.fromEntries(
      remotes.map(({ address, encryption = [] }) => [address, encryption.find((one) => one.group === group)?.out?.key]),
    );
  }

  async teardown(): Promise<void> {
    await this.lab.teardown();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
