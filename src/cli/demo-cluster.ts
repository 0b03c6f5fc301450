/** The demo on real devices: the story of a cluster, told with the program's own commands. */
import { findNamespace, HostError, ipJson, query, queryCapture, UNDERLAY, type Captured } from '../host/index.js';
import { type EndpointEntry, type TaskEntry } from '../schema/index.js';
import { toShown } from './captured.js';
import { echoClient, echoServer } from './demo-echo.js';
import { DemoHosts, type DemoHost } from './demo-hosts.js';
import { encapsulation, heading } from './demo-story.js';
import { print, printError } from './streams.js';

/** Most attempts to resolve the name of a task that has just started. */
const ATTEMPTS = 10;
/** Most packets to look at for the one that is shown. */
const CAPTURED = 200;
/** Hexadecimal digits of the headers of VXLAN, and of Ethernet and IPv4. */
const VXLAN_DIGITS = 2 * 8;
const HEADER_DIGITS = 2 * (14 + 20);

export interface DemoOptions {
  /** Pings to send. */
  readonly count: number;
  readonly engine: string;
  /** Whether everything stays. */
  readonly keep: boolean;
  /** Whether the system has these programs. */
  readonly hasPing: boolean;
  readonly hasTraceroute: boolean;
}

/** A task and its host. */
interface Task {
  readonly name: string;
  readonly host: DemoHost;
  readonly address: string;
}

/** Runs the demo and returns the exit code. */
export async function onDevices(options: DemoOptions): Promise<number> {
  const demo = new DemoHosts();
  const interrupt = (): void => demo.interrupt();
  process.on('SIGINT', interrupt).on('SIGTERM', interrupt);
  let code = 1;
  let failure: unknown;
  try {
    const answered = await new Story(demo, options).tell();
    code = answered === options.count ? 0 : 1;
    if (code === 1) print(['', `${options.count - answered} of ${options.count} pings did not come back.`]);
  } catch (error) {
    if (demo.isInterrupted) code = 130;
    else failure = error;
  }
  const isKept = options.keep && code === 0;
  if (isKept) printManual(demo, options);
  else
    try {
      await demo.remove();
      print(['', 'Everything has been removed.']);
    } catch (error) {
      if (failure === undefined) failure = error;
      else printError(`vtep demo: ${(error as Error).message}`);
    }
  process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  if (failure !== undefined) throw failure;
  return code;
}

class Story {
  readonly #demo: DemoHosts;
  readonly #options: DemoOptions;
  readonly #one: DemoHost;
  readonly #two: DemoHost;

  constructor(demo: DemoHosts, options: DemoOptions) {
    this.#demo = demo;
    this.#options = options;
    [this.#one, this.#two] = demo.hosts;
  }

  /** @returns the number of answered pings. */
  async tell(): Promise<number> {
    await this.#makeHosts();
    await this.#makeCluster();
    await this.#makeNetwork();
    const tasks = await this.#makeService();
    const answered = await this.#ping(...tasks);
    await this.#makeSubnets();
    if (!this.#options.keep && answered === this.#options.count) await this.#removeAll();
    return answered;
  }

  async #makeHosts(): Promise<void> {
    const { router, existing, directory } = this.#demo;
    const [one, two] = [this.#one, this.#two];
    print([
      'weft: a cluster of two hosts, and networks that span them',
      '',
      `   ${one.name} ${one.address} --- router --- ${two.address} ${two.name}`,
    ]);
    heading('Two hosts on different subnets, and a router between them');
    await this.#demo.make();
    print([
      `   The hosts are namespaces: ${one.netns}, ${two.netns}; so are ${router} and ${existing}.`,
      `   Their agents have sockets (VTEP_SOCKET), and state (--state, --name), in ${directory}.`,
    ]);
  }

  async #makeCluster(): Promise<void> {
    heading(`${this.#one.name} makes a cluster, and ${this.#two.name} joins it`);
    const { engine } = this.#options;
    if (engine !== 'auto') for (const host of this.#demo.hosts) await host.startAgent(engine);
    const made = await this.#one.vtep(['init', '--advertise-addr', this.#one.address], ownWords(this.#one));
    const join = /^ *vtep (join --token \S+ \S+)$/m.exec(made)?.[1];
    if (join === undefined) throw new HostError('"vtep init" has printed no command that joins another host');
    await this.#two.vtep(join.split(' '), ownWords(this.#two));
  }

  async #makeNetwork(): Promise<void> {
    heading('A network: a subnet of the pool, a gateway, a VNI; a worker without an endpoint there does not know it');
    await this.#one.vtep(['network', 'create', 'uber-net']);
    await this.#one.vtep(['network', 'ls']);
    await this.#two.vtep(['network', 'ls']);
  }

  /** @returns the tasks. */
  async #makeService(): Promise<[Task, Task]> {
    heading('A service: a task on each host, in a sandbox of its own; now the worker knows the network');
    const words = ['--name', 'test', '--network', 'uber-net', '--replicas', '2', '--', 'sleep', 'infinity'];
    await this.#one.vtep(['service', 'create', ...words]);
    const found = await this.#demo.waitFor('the service has not both tasks', async () => {
      const { tasks } = await query(this.#one.socket, { command: 'service', service: 'test' });
      return tasks.length === 2 && tasks.every(({ state }) => state === 'running') && tasks;
    });
    await this.#one.vtep(['service', 'ps', 'test']);
    await this.#two.vtep(['network', 'ls']);
    const [first, second] = found.map((task) => this.#taskOf(task)) as [Task, Task];
    return [first, second];
  }

  #taskOf({ name, nodeName, addresses: [address] }: TaskEntry): Task {
    const host = this.#demo.hosts.find((one) => one.name === nodeName);
    if (host === undefined || address === undefined) throw new HostError(`task ${name} is on no host`);
    return { name, host, address };
  }

  /** Waits until a host has heard of an endpoint, which the gossip tells. */
  async #heard(host: DemoHost, address: string): Promise<void> {
    await this.#demo.waitFor(`${host.name} has not heard of ${address}`, async () =>
      (await query(host.socket, { command: 'neighbors' })).some(({ ip }) => ip === address),
    );
  }

  /** Pings one task from the other, shows a packet of it, and returns the number of answers. */
  async #ping(from: Task, to: Task): Promise<number> {
    const { count, hasPing } = this.#options;
    const { name, host } = from;
    await this.#heard(host, to.address);
    await this.#heard(to.host, from.address);
    if (hasPing) await this.#resolved(from, to);
    heading(`${name} reaches ${to.name}${hasPing ? '' : ': an echo over UDP, because there is no "ping" here'}`);
    const captured = await this.#capture(host);
    const server = hasPing ? undefined : await this.#serve(to);
    const command = hasPing ? ['ping', '-c', String(count), '-i', '0.2', to.name] : echoClient(to.address, count);
    const output = hasPing
      ? await host.vtep(['exec', name, '--', ...command])
      : await host.vtep(['exec', name, '--'], command);
    server?.kill();
    const packets = await captured();
    const found = carried(packets, to.address);
    if (found === undefined) throw new HostError(`no packet from ${name} to ${to.name} was captured`);
    heading(`One packet, layer by layer, of vtep capture --control ${host.socket}`);
    encapsulation(name, toShown(found.frame).data, toShown(found.datagram).data);
    return Number(/(\d+) (?:packets )?received/.exec(output)?.[1] ?? 0);
  }

  /** Waits until a name has arrived; if it does not, the command that is shown says so. */
  async #resolved({ name, host }: Task, to: Task): Promise<void> {
    for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
      const child = host.spawn(['exec', name, '--', 'ping', '-c', '1', '-W', '1', to.name]);
      for (const stream of [child.stdout!, child.stderr!]) stream.resume();
      if ((await this.#demo.ended(child)) === 0) return;
    }
  }

  /** Starts a capture. @returns a function that ends it and returns its packets. */
  async #capture({ socket }: DemoHost): Promise<() => Promise<Captured[]>> {
    const end = new AbortController();
    const packets: Captured[] = [];
    const request = { command: 'capture', count: CAPTURED, seconds: 60 } as const;
    const running = (async () => {
      for await (const { result } of queryCapture(socket, request, { signal: end.signal })) packets.push(...result);
    })();
    running.catch(() => undefined); // told below
    await query(socket, { command: 'counters' }); // once it has answered, it has also processed the request before
    return async () => {
      await this.#demo.or(
        Promise.race([running, this.#demo.waitFor('no packet was captured', async () => packets.length > 1)]),
      );
      end.abort();
      await running;
      return packets;
    };
  }

  /** Starts an echo server in a sandbox. */
  async #serve({ name, host, address }: Task): Promise<{ kill(): void }> {
    const child = host.spawn(['exec', name, '--', ...echoServer(address)]);
    await this.#demo.or(
      new Promise<void>((resolve, reject) => {
        let output = '';
        const read = (data: Buffer): void => {
          output += data.toString();
          if (/^ready$/m.test(output)) resolve();
        };
        child.stdout!.on('data', read);
        child.stderr!.on('data', read);
        child.on('error', reject);
        child.on('close', () => reject(new HostError(['the echo server has ended:', ...output.trim().split('\n')])));
      }),
    );
    return child;
  }

  async #makeSubnets(): Promise<void> {
    const [one, two] = [this.#one, this.#two];
    heading('A network of two subnets: a command in the one, a namespace that was there before in the other');
    await one.vtep(['network', 'create', 'prod-net', '--subnet', '10.1.1.0/24', '--subnet', '11.1.1.0/24']);
    const p1 = ['--network', 'prod-net', '--ip', '10.1.1.10', '--name', 'p1', '-d', '--', 'sleep', 'infinity'];
    await one.vtep(['run', ...p1]);
    const web = ['--netns', this.#demo.existing, '--ip', '11.1.1.20', '--name', 'web'];
    await two.vtep(['attach', 'prod-net', ...web]);
    await this.#heard(one, '11.1.1.20');
    await this.#heard(two, '10.1.1.10');
    if (this.#options.hasTraceroute)
      await one.vtep(['exec', 'p1', '--', 'traceroute', '-n', '-q', '1', '-w', '2', '11.1.1.20']);
    else print('   (There is no "traceroute" here, which would show the gateway between p1 and web.)');
    await one.vtep(['network', 'inspect', 'prod-net']);
  }

  async #removeAll(): Promise<void> {
    const [one, two] = [this.#one, this.#two];
    heading('Everything is removed, and the hosts leave');
    const sandboxes = [...one.sandboxes(), ...two.sandboxes()];
    await one.vtep(['service', 'rm', 'test']);
    await one.vtep(['detach', 'p1']);
    await two.vtep(['detach', 'web']);
    await this.#demo.waitFor('there are endpoints in the networks still', async () => {
      const all: readonly EndpointEntry[] = await query(one.socket, { command: 'endpoints' });
      return all.length === 0;
    });
    await one.vtep(['network', 'rm', 'uber-net', 'prod-net']);
    await two.vtep(['leave']);
    await one.vtep(['leave', '--force']);
    const left = sandboxes.filter((name) => findNamespace(name).kind !== 'nothing');
    const devices = (await ipJson<{ ifname: string }>(['link'], this.#demo.existing)).filter(
      ({ ifname }) => ifname !== 'lo',
    );
    print(
      `   Left: ${left.length} of ${sandboxes.length} sandboxes, ${devices.length} devices in ${this.#demo.existing}.`,
    );
    if (left.length > 0 || devices.length > 0)
      throw new HostError(`these are left: ${[...left, ...devices.map(({ ifname }) => ifname)].join(', ')}`);
  }
}

/** Words that hosts of their own do not need. */
function ownWords({ name, state }: DemoHost): string[] {
  return ['--name', name, '--state', state];
}

/** The first frame to an address, and the datagram that carries it. */
function carried(packets: readonly Captured[], address: string): { frame: Captured; datagram: Captured } | undefined {
  const digits = address
    .split('.')
    .map((octet) => Number(octet).toString(16).padStart(2, '0'))
    .join('');
  for (const [i, frame] of packets.entries()) {
    const header = frame.data.slice(0, HEADER_DIGITS);
    if (frame.place === UNDERLAY || frame.direction !== 'in' || header.slice(24, 28) !== '0800') continue;
    if (!header.endsWith(digits)) continue;
    const datagram = packets
      .slice(i)
      .find(
        ({ place, direction, data }) =>
          place === UNDERLAY && direction === 'out' && data.startsWith(header, VXLAN_DIGITS),
      );
    if (datagram !== undefined) return { frame, datagram };
  }
  return undefined;
}

function printManual({ hosts: [one, two], existing, router }: DemoHosts, { hasPing }: DemoOptions): void {
  print([
    '',
    'Everything is still running. Some things to try:',
    '',
    `   export VTEP_SOCKET=${one.socket}     # ${two.name}: ${two.socket}`,
    '   npx vtep ps --all',
    ...(hasPing ? ['   npx vtep exec p1 -- ping 11.1.1.20'] : []),
    '   npx vtep service scale test=4',
    `   npx vtep capture --control ${one.socket} --count 6`,
    `   ip netns exec ${existing} ip neigh`,
    `   ip netns exec ${router} tcpdump -ni v1 udp port 4789`,
    '',
    'To remove it: npm start -- --down',
  ]);
}
