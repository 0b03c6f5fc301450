/**
 * A Docker engine in a namespace of a lab, with everything of its own: data, runtime files, mounts, cgroups, socket. It is
 * spoken to over its API, so that no client program is needed. Needs root, nsenter and unshare.
 */
import { existsSync, mkdirSync, readdirSync, realpathSync, rmSync, rmdirSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { must, run, waitFor, type Lab, type Running } from './lab.js';

/**
 * The folder that Debian's docker.io, containerd, runc and libdevmapper1.02.1 are unpacked in, or `/` where they are
 * installed; absent where there is no Docker to try.
 */
export const DOCKER = process.env['DOCKER_LAB'];

/** Milliseconds that an engine may take to answer. */
const PATIENCE = 60_000;
/** The engine reads its settings there, and some releases write a key there. */
const SETTINGS = '/etc/docker';
/** What a container sees of this host, so that its image can be empty. */
const HOST_FOLDERS = ['/bin', '/lib', '/lib64', '/usr'].filter((folder) => existsSync(folder));

/** An overlay network. */
export interface DockerNetwork {
  id: string;
  vni: number;
  /** `10.0.1.0/24` */
  subnet: string;
}

/** A container that sleeps. */
export interface DockerContainer {
  id: string;
  /** Of its first process, whose namespaces are the container's. */
  pid: number;
  ip: string;
  mac: string;
}

interface Network {
  Id: string;
  IPAM: { Config: { Subnet: string }[] | null };
  Options: Record<string, string> | null;
  Peers?: { Name: string; IP: string }[];
}

interface Inspected {
  State: { Pid: number };
  NetworkSettings: { Networks: Record<string, { IPAddress: string; MacAddress: string }> };
}

export class DockerEngine {
  readonly #lab: Lab;
  readonly #ns: string;
  readonly #folder: string;
  readonly #cgroups: string;
  #made: string | null = null;
  #program!: Running;

  /** @param folder Becomes the engine's, and is removed with it. */
  private constructor(lab: Lab, ns: string, folder: string) {
    this.#lab = lab;
    this.#ns = ns;
    this.#folder = folder;
    this.#cgroups = `/weft-${process.pid}`;
  }

  /** Starts an engine; `refused` is why it does not run on this host at all, in its own words. */
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

  /** What the engine has logged. */
  get log(): string {
    return this.#program.stderr + this.#program.stdout;
  }

  /** Makes the engine a swarm's manager: a token for workers, and the swarm's certificate authority. */
  async makeSwarm(address: string): Promise<{ token: string; ca: string }> {
    await this.#call('POST', '/swarm/init', { AdvertiseAddr: address, ListenAddr: `${address}:2377` });
    const { JoinTokens, TLSInfo } = (await this.#call('GET', '/swarm')) as {
      JoinTokens: { Worker: string };
      TLSInfo: { TrustRoot: string };
    };
    return { token: JoinTokens.Worker, ca: TLSInfo.TrustRoot };
  }

  async makeNetwork(name: string): Promise<DockerNetwork> {
    await this.#call('POST', '/networks/create', { Name: name, Driver: 'overlay', Attachable: true });
    // The swarm gives it its numbers a little later.
    return waitFor('the network to have its numbers', async () => {
      const { Id, IPAM, Options } = await this.#network(name);
      const vni = Options?.['com.docker.network.driver.overlay.vxlanid_list'];
      const subnet = IPAM.Config?.[0]?.Subnet;
      return vni === undefined || subnet === undefined ? null : { id: Id, vni: Number(vni), subnet };
    });
  }

  /** The members of the gossip that take part in a network, by name. */
  async peers(network: string): Promise<string[]> {
    return ((await this.#network(network)).Peers ?? []).map(({ Name }) => Name);
  }

  /** Starts a container on a network. */
  async start(name: string, network: string): Promise<DockerContainer> {
    const { Id: id } = (await this.#call('POST', `/containers/create?name=${name}`, {
      Image: 'empty',
      Cmd: ['/bin/sleep', '3600'],
      HostConfig: {
        Binds: HOST_FOLDERS.map((folder) => `${folder}:${folder}:ro`),
        NetworkMode: network,
        CgroupParent: this.#cgroups,
      },
    })) as { Id: string };
    await this.#call('POST', `/containers/${id}/start`);
    const { State, NetworkSettings } = (await this.#call('GET', `/containers/${id}/json`)) as Inspected;
    const { IPAddress, MacAddress } = NetworkSettings.Networks[network]!;
    return { id, pid: State.Pid, ip: IPAddress, mac: MacAddress };
  }

  async remove({ id }: DockerContainer): Promise<void> {
    await this.#call('DELETE', `/containers/${id}?force=true`);
  }

  /** Whether all echo requests from a container are answered. */
  async ping({ pid }: DockerContainer, target: string): Promise<boolean> {
    const flags = ['-c3', '-i0.3', '-W2', '-n', '-q', target];
    const { stdout } = await run(['nsenter', `--net=/proc/${pid}/ns/net`, 'ping', ...flags]);
    return / 3 received/.test(stdout);
  }

  /** What the engine has told its own vxlan device of a network: endpoints by MAC address, and by IP address. */
  async programmed(network: string): Promise<{ fdb: string; neighbors: string }> {
    const { Id } = await this.#network(network);
    // As `ip netns` would, but the engine's namespaces are files of its own mounts.
    const sandbox = ['nsenter', '-t', String(this.#program.pid), '-m', 'nsenter'];
    const inside = [...sandbox, `--net=/var/run/docker/netns/1-${Id.slice(0, 10)}`];
    return {
      fdb: await must([...inside, 'bridge', 'fdb', 'show', 'dev', 'vxlan0']),
      neighbors: await must([...inside, 'ip', 'neigh', 'show', 'dev', 'vxlan0']),
    };
  }

  /** Stops the engine as one that hangs stops, and lets it go on. */
  pause(paused: boolean): void {
    this.#program.signal(paused ? 'SIGSTOP' : 'SIGCONT');
  }

  /** Ends the engine, its containers, and whatever else runs in its namespace; removes its files. */
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
    // Where it would leave files it has mounts of its own, which end with it; the containers' namespaces are there too.
    // Not by `ip netns exec`, which hides the cgroups.
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

  /** An image without a file in it. */
  async makeImage(): Promise<void> {
    await this.#call('POST', '/images/create?fromSrc=-&repo=empty', Buffer.alloc(1024));
  }

  /** @throws Error with what the engine says. */
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
