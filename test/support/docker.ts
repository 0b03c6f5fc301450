/**
 * A Docker engine in a namespace of a lab, with its own data, runtime files, mounts, cgroups and socket. Uses the
 * engine's API, so that no client program is needed. Needs root, nsenter and unshare.
 */
import { existsSync, mkdirSync, readdirSync, realpathSync, rmSync, rmdirSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { hopsIn, must, run, TRACEROUTE, waitFor, type Lab, type Running } from './lab.js';

/**
 * The directory with Debian's docker.io, containerd, runc and libdevmapper1.02.1 unpacked, or `/` if they are
 * installed; undefined without Docker.
 */
export const DOCKER = process.env['DOCKER_LAB'];

/** Most milliseconds until an engine answers. */
const PATIENCE = 60_000;
/** Directory of the engine's settings, where some releases also write a key. */
const SETTINGS = '/etc/docker';
/** Directories of this host that containers mount, so that their image can be empty. */
const HOST_FOLDERS = ['/bin', '/lib', '/lib64', '/usr'].filter((folder) => existsSync(folder));

/** A subnet of an overlay network. */
export interface DockerSubnet {
  vni: number;
  /** `10.0.1.0/24` */
  subnet: string;
  gateway: string;
}

/** An overlay network, with its first subnet. */
export interface DockerNetwork extends DockerSubnet {
  id: string;
  subnets: DockerSubnet[];
}

/** A container that sleeps. */
export interface DockerContainer {
  id: string;
  /** Pid of its first process, whose namespaces are the container's. */
  pid: number;
  ip: string;
  mac: string;
}

interface Network {
  Id: string;
  IPAM: { Config: { Subnet: string; Gateway: string }[] | null };
  Options: Record<string, string> | null;
  Peers?: { Name: string; IP: string }[];
  Services?: Record<string, { Tasks: { Name: string; EndpointIP: string }[] }>;
}

interface Inspected {
  State: { Pid: number };
  NetworkSettings: { Networks: Record<string, { IPAddress: string; MacAddress: string }> };
}

/** Engines that this process has started. */
let started = 0;

export class DockerEngine {
  readonly #lab: Lab;
  readonly #ns: string;
  readonly #folder: string;
  readonly #cgroups: string;
  #made: string | null = null;
  #program!: Running;

  /** @param folder The engine's directory; removed with the engine. */
  private constructor(lab: Lab, ns: string, folder: string) {
    this.#lab = lab;
    this.#ns = ns;
    this.#folder = folder;
    this.#cgroups = `/weft-${process.pid}-${started++}`;
  }

  /** Starts an engine. `refused` is its own message if it cannot run on this host. */
  static async start(lab: Lab, ns: string, folder: string): Promise<DockerEngine | { refused: string }> {
    const engine = new DockerEngine(lab, ns, folder);
    engine.#start();
    const answers = (): Promise<boolean> =>
      engine.#call('GET', '/_ping').then(
        () => true,
        () => false,
      );
    await waitFor('the Docker engine', async () => !engine.#program.running || (await answers()), PATIENCE);
    if (engine.#program.running) return engine;
    const lines = engine.log.trim().split('\n');
    await engine.stop();
    return { refused: lines.at(-1)! };
  }

  /** The engine's log. */
  get log(): string {
    return this.#program.stderr + this.#program.stdout;
  }

  /** Makes the engine the manager of a new swarm. Returns a join token for workers and the swarm's CA certificate. */
  async makeSwarm(address: string): Promise<{ token: string; ca: string }> {
    await this.#call('POST', '/swarm/init', { AdvertiseAddr: address, ListenAddr: `${address}:2377` });
    const { JoinTokens, TLSInfo } = (await this.#call('GET', '/swarm')) as {
      JoinTokens: { Worker: string };
      TLSInfo: { TrustRoot: string };
    };
    return { token: JoinTokens.Worker, ca: TLSInfo.TrustRoot };
  }

  /** Makes the engine a worker of the swarm of another one. */
  async joinSwarm(address: string, manager: string, token: string): Promise<void> {
    const listen = { AdvertiseAddr: address, ListenAddr: `${address}:2377` };
    await this.#call('POST', '/swarm/join', { ...listen, RemoteAddrs: [`${manager}:2377`], JoinToken: token });
  }

  /**
   * @param prefixes Of the subnets. Default: one that the swarm chooses.
   * @param more Further fields of the request.
   */
  async makeNetwork(name: string, prefixes: readonly string[] = [], more: object = {}): Promise<DockerNetwork> {
    await this.createNetwork(name, prefixes, more);
    // The swarm assigns its VNIs and subnets a little later.
    return waitFor('the network to have its numbers', async () => {
      const { Id, IPAM, Options } = await this.#network(name);
      const vnis = Options?.['com.docker.network.driver.overlay.vxlanid_list']?.split(',').map(Number) ?? [];
      const subnets = (IPAM.Config ?? []).map(({ Subnet, Gateway }, i) => ({
        vni: vnis[i]!,
        subnet: Subnet,
        gateway: Gateway,
      }));
      const [first] = subnets;
      return first === undefined || vnis.length < subnets.length ? null : { id: Id, ...first, subnets };
    });
  }

  /** Like `makeNetwork`, and does not wait for its numbers. */
  async createNetwork(name: string, prefixes: readonly string[] = [], more: object = {}): Promise<void> {
    const chosen = prefixes.length === 0 ? {} : { IPAM: { Config: prefixes.map((Subnet) => ({ Subnet })) } };
    const fields = { Name: name, Driver: 'overlay', Attachable: true, ...chosen, ...more };
    await this.#call('POST', '/networks/create', fields);
  }

  /** A network as `docker network inspect` prints it. */
  async inspect(network: string): Promise<Record<string, unknown>> {
    return (await this.#call('GET', `/networks/${network}`)) as Record<string, unknown>;
  }

  async removeNetwork(network: string): Promise<void> {
    await this.#call('DELETE', `/networks/${network}`);
  }

  /** Names of the gossip members that are attached to a network. */
  async peers(network: string): Promise<string[]> {
    return ((await this.#network(network)).Peers ?? []).map(({ Name }) => Name);
  }

  /** Starts a container on a network, with an address that the engine or the caller chooses. */
  async start(name: string, network: string, address?: string): Promise<DockerContainer> {
    const { Id: id } = (await this.#call('POST', `/containers/create?name=${name}`, {
      Image: 'empty',
      Cmd: ['/bin/sleep', '3600'],
      HostConfig: {
        Binds: HOST_FOLDERS.map((folder) => `${folder}:${folder}:ro`),
        NetworkMode: network,
        CgroupParent: this.#cgroups,
      },
      ...(address === undefined
        ? {}
        : { NetworkingConfig: { EndpointsConfig: { [network]: { IPAMConfig: { IPv4Address: address } } } } }),
    })) as { Id: string };
    await this.#call('POST', `/containers/${id}/start`);
    const { State, NetworkSettings } = (await this.#call('GET', `/containers/${id}/json`)) as Inspected;
    const { IPAddress, MacAddress } = NetworkSettings.Networks[network]!;
    return { id, pid: State.Pid, ip: IPAddress, mac: MacAddress };
  }

  async remove({ id }: DockerContainer): Promise<void> {
    await this.#call('DELETE', `/containers/${id}?force=true`);
  }

  /** The addresses on the way from a container to another address. */
  async trace({ pid }: DockerContainer, target: string): Promise<string[]> {
    return hopsIn(await must(['nsenter', `--net=/proc/${pid}/ns/net`, ...TRACEROUTE, target]));
  }

  /** Whether all echo requests from a container get a reply. */
  async ping({ pid }: DockerContainer, target: string): Promise<boolean> {
    const flags = ['-c3', '-i0.3', '-W2', '-n', '-q', target];
    const { stdout } = await run(['nsenter', `--net=/proc/${pid}/ns/net`, 'ping', ...flags]);
    return / 3 received/.test(stdout);
  }

  /** What the engine reads in `endpoint_table`: the service, name and address of each endpoint of a network. */
  async services(network: string): Promise<string[]> {
    const { Services } = (await this.#call('GET', `/networks/${network}?verbose=true`)) as Network;
    return Object.entries(Services ?? {}).flatMap(([service, { Tasks }]) =>
      Tasks.map(({ Name, EndpointIP }) => `${service} ${Name} ${EndpointIP}`),
    );
  }

  /** The beginning of a command that runs in the sandbox of a network. */
  async #inSandbox(network: string): Promise<string[]> {
    const { Id } = await this.#network(network);
    // `ip netns` cannot do this: the files of the engine's namespaces are in its own mounts.
    const mounts = ['nsenter', '-t', String(this.#program.pid), '-m'];
    return [...mounts, 'nsenter', `--net=/var/run/docker/netns/1-${Id.slice(0, 10)}`];
  }

  /**
   * Lets the engine route between the subnets of a network that has a container. Elsewhere its sandboxes inherit this from
   * the initial namespace, where it switches forwarding on; here, the engine runs in another namespace.
   */
  async forward(network: string): Promise<void> {
    await must([...(await this.#inSandbox(network)), 'sysctl', '-qw', 'net.ipv4.ip_forward=1']);
  }

  /** The entries that the engine has added to its vxlan device of a network: fdb and neighbours. */
  async programmed(network: string): Promise<{ fdb: string; neighbors: string }> {
    const inside = await this.#inSandbox(network);
    return {
      fdb: await must([...inside, 'bridge', 'fdb', 'show', 'dev', 'vxlan0']),
      neighbors: await must([...inside, 'ip', 'neigh', 'show', 'dev', 'vxlan0']),
    };
  }

  /** Pauses the engine with SIGSTOP, or resumes it. */
  pause(paused: boolean): void {
    this.#program.signal(paused ? 'SIGSTOP' : 'SIGCONT');
  }

  /** Ends the engine, its containers and everything else in its namespace; removes its files. */
  async stop(): Promise<void> {
    if (this.#program.running) {
      for (const { Id } of (await this.#call('GET', '/containers/json?all=true')) as { Id: string }[])
        await this.#call('DELETE', `/containers/${Id}?force=true`);
      await this.#program.stop();
    }
    for (const pid of (await must(['ip', 'netns', 'pids', this.#ns])).split('\n').filter((pid) => pid !== ''))
      process.kill(Number(pid), 'SIGKILL');
    for (const hierarchy of ['.', ...readdirSync('/sys/fs/cgroup')]) {
      const cgroup = join('/sys/fs/cgroup', hierarchy, this.#cgroups);
      if (existsSync(cgroup)) rmdirSync(cgroup);
    }
    rmSync(this.#folder, { recursive: true });
    if (this.#made !== null) rmdirSync(this.#made);
  }

  #start(): void {
    mkdirSync(this.#folder, { recursive: true });
    const flags = [
      ...['-H', `unix://${this.#socket}`, '--data-root', join(this.#folder, 'data'), '-p', join(this.#folder, 'pid')],
      ...['--iptables=false', '--ip6tables=false', '--bridge=none', '--storage-driver=vfs', '--exec-opt'],
      'native.cgroupdriver=cgroupfs',
    ];
    // Private mounts, which end with the engine, hide the directories where it would leave files. `ip netns exec` would
    // hide the cgroups.
    if (!existsSync(SETTINGS)) mkdirSync((this.#made = SETTINGS));
    const script = `for place in /run /opt ${SETTINGS}; do mount -t tmpfs tmpfs $place || exit; done; exec dockerd "$@"`;
    const unshared = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', script, 'dockerd', ...flags];
    const root = realpathSync(DOCKER!);
    const libraries = ['lib', 'usr/lib']
      .map((folder) => join(root, folder))
      .filter((folder) => existsSync(folder))
      .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)));
    this.#program = this.#lab.spawn(['nsenter', `--net=/var/run/netns/${this.#ns}`, ...unshared], {
      env: {
        PATH: [join(root, 'usr/sbin'), join(root, 'usr/bin'), process.env['PATH']].join(':'),
        ...(root === '/' ? {} : { LD_LIBRARY_PATH: libraries.join(':') }),
      },
    });
  }

  get #socket(): string {
    return join(this.#folder, 'socket');
  }

  async #network(name: string): Promise<Network> {
    return (await this.#call('GET', `/networks/${name}`)) as Network;
  }

  /** An image without files. */
  async makeImage(): Promise<void> {
    await this.#call('POST', '/images/create?fromSrc=-&repo=empty', Buffer.alloc(1024));
  }

  /** @throws Error with the engine's message. */
  #call(method: string, path: string, body?: object): Promise<unknown> {
    const binary = body instanceof Buffer;
    const type = binary ? 'application/x-tar' : 'application/json';
    return new Promise((done, failed) => {
      const headers = body === undefined ? {} : { 'content-type': type };
      const sent = httpRequest({ socketPath: this.#socket, method, path, headers, agent: false }, (answer) => {
        let text = '';
        answer.setEncoding('utf8').on('data', (data: string) => (text += data));
        answer.on('end', () => {
          if (answer.statusCode! >= 400) failed(new Error(`${method} ${path}: ${text}`));
          else done(/json/.test(answer.headers['content-type'] ?? '') && !binary ? JSON.parse(text) : text);
        });
      });
      sent.on('error', failed);
      sent.end(body === undefined || binary ? body : JSON.stringify(body));
    });
  }
}
