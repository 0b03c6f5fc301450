/**
 * Hosts on one switch, for tests of agents. Each host is a namespace, which also contains its TAP.
 *
 *     h1 172.31.9.1 --+                    +-- h3 172.31.9.3
 *                     +-- west == east ----+
 *     h2 172.31.9.2 --+                    +-- h4 172.31.9.4
 *
 * The switch consists of two bridges; `cut` removes the cable between them.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ask, type MemberListing, type NetworkListing } from '../../src/host/index.js';
import { type Request } from '../../src/schema/index.js';
import { type NeighborListing } from '../../src/vtep/index.js';
import { Lab, must, waitFor, type Outcome, type Running } from './lab.js';

export const NETWORK = 'net1:4097:10.0.0.0/24';

export interface AgentHost {
  /** Number of the host, from 1. */
  number: number;
  ns: string;
  address: string;
  address6: string;
  /** Address and MAC address of the TAP. */
  ip: string;
  mac: string;
  control: string;
}

/** A request to the control socket. */
type Asked = Request | ({ command: string } & Record<string, unknown>);

export class AgentLab {
  readonly lab: Lab;
  readonly hosts: AgentHost[] = [];
  readonly directory = mkdtempSync(join(tmpdir(), 'weft-agent-'));
  #switch = '';

  private constructor(prefix: string) {
    this.lab = new Lab(prefix);
  }

  /** @param count Number of hosts; the first half is on the west bridge. */
  static async create(prefix: string, count: number): Promise<AgentLab> {
    const made = new AgentLab(prefix);
    try {
      await made.#build(count);
      return made;
    } catch (error) {
      await made.teardown();
      throw error;
    }
  }

  async #build(count: number): Promise<void> {
    this.#switch = await this.lab.namespace('sw');
    const ip = (...args: string[]): Promise<string> => must(['ip', '-n', this.#switch, ...args]);
    for (const side of ['west', 'east']) {
      await ip('link', 'add', 'name', side, 'type', 'bridge');
      await ip('link', 'set', 'dev', side, 'up');
    }
    await ip('link', 'add', 'name', 'cable', 'type', 'veth', 'peer', 'name', 'cable2');
    await ip('link', 'set', 'dev', 'cable', 'master', 'west', 'up');
    await ip('link', 'set', 'dev', 'cable2', 'master', 'east', 'up');
    for (let number = 1; number <= count; number++) {
      const ns = await this.lab.namespace(`h${number}`);
      const address = `172.31.9.${number}`;
      const address6 = `fd00:9::${number}`;
      await this.lab.join(
        { ns, device: 'eth0', addresses: [`${address}/24`, `${address6}/64`] },
        { ns: this.#switch, device: `p${number}`, addresses: [] },
      );
      await ip('link', 'set', 'dev', `p${number}`, 'master', number <= count / 2 ? 'west' : 'east');
      const hex = number.toString(16).padStart(2, '0');
      const control = join(this.directory, `h${number}.sock`);
      this.hosts.push({ number, ns, address, address6, ip: `10.0.0.${number}`, mac: `02:42:0a:00:00:${hex}`, control });
    }
  }

  /** The device on which a capture sees all traffic. */
  get switch(): string {
    return this.#switch;
  }

  /** Removes the cable between west and east, or plugs it in again. */
  async cut(away: boolean): Promise<void> {
    await must(['ip', '-n', this.#switch, 'link', 'set', 'dev', 'cable', away ? 'down' : 'up']);
  }

  host(number: number): AgentHost {
    return this.hosts[number - 1]!;
  }

  /** Flags of a host's agent, with a TAP in network net1. */
  flags(host: AgentHost, ...more: string[]): string[] {
    return [
      ...['agent', '--network', NETWORK, '--control', host.control],
      ...['--tap', 'tap0', '--address', `${host.ip}/24`, '--mac', host.mac],
      ...more,
    ];
  }

  /** Starts the agent of a host, and waits until it is ready. */
  start(host: AgentHost, ...more: string[]): Promise<Running> {
    return this.lab.startVtep({ ns: host.ns, args: this.flags(host, '--local', host.address, ...more) });
  }

  /** Runs an agent that exits on its own. */
  run(host: AgentHost, ...args: string[]): Promise<Outcome> {
    return this.lab.runVtep({ ns: host.ns, args });
  }

  ask(host: AgentHost, request: Asked): Promise<unknown> {
    return ask(host.control, request as Request);
  }

  members(host: AgentHost): Promise<MemberListing[]> {
    return this.ask(host, { command: 'members' }) as Promise<MemberListing[]>;
  }

  networks(host: AgentHost): Promise<NetworkListing[]> {
    return this.ask(host, { command: 'networks' }) as Promise<NetworkListing[]>;
  }

  /** Addresses of the remote endpoints that a host's VTEP knows in a network, sorted. */
  async remote(host: AgentHost, vni = 4097): Promise<string[]> {
    const all = (await this.ask(host, { command: 'neighbors', vni })) as NeighborListing[];
    return all
      .filter(({ vtep }) => vtep !== null)
      .map(({ ip }) => ip)
      .sort();
  }

  /** Waits until a host knows exactly these remote endpoints. */
  async knows(host: AgentHost, ips: readonly string[], milliseconds = 60_000, vni = 4097): Promise<void> {
    const wanted = [...ips].sort().join(' ');
    let last = '';
    await waitFor(
      `host ${host.number} to know ${wanted || 'none'}`,
      async () => (last = (await this.remote(host, vni)).join(' ')) === wanted,
      milliseconds,
    ).catch((error: Error) => {
      throw new Error(`${error.message}; it knows ${last || 'none'}`);
    });
  }

  async teardown(): Promise<void> {
    await this.lab.teardown();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
