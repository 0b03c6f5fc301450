import { ipv4ToText, isIpv6Text, macToText, parseIpv4 } from '../address/index.js';
import { type RoutedSubnet } from '../model/index.js';
import type { NewSegment } from '../model/index.js';
import { Vtep } from '../vtep/index.js';
import { PORT } from '../vxlan/index.js';
import { uint } from '../wire/index.js';
import { Alarm, Clock } from './clock.js';
import type { LinkOptions } from './link.js';
import { Network, type Node } from './network.js';
import type { PingOptions, PingResult } from './ping.js';
import { Random } from './random.js';
import { SimHost } from './sim-host.js';
import { Station } from './station.js';
import { type StationOptions } from './station-types.js';
import type { Trace } from './trace.js';

/** A container of a plan. */
export interface StationPlan {
  name: string;
  /** Address and prefix: `10.0.0.3/24`. */
  ip: string;
  /** IPv6 address and prefix: `fd00::3/64`. Default: none. */
  ip6?: string;
  mac: string;
  /** Its segment. Default: that of the overlay. */
  vni?: number;
}

/** The gateways of an overlay, the same on every host. */
export interface GatewayPlan {
  mac: string;
  /**
   * A subnet of each family, at most, for each segment; its stations have the gateway as their route to the others. `mtu` is that of the segment in
   * bytes.
   */
  subnets: readonly (RoutedSubnet & { mtu?: number })[];
}

/** A host of a plan, and the containers on it. */
export interface HostPlan {
  name: string;
  /** Underlay address. */
  address: string;
  stations: readonly StationPlan[];
}

/** Two hosts on different subnets, with a container each: the standard set-up. */
export const TWO_HOSTS: readonly HostPlan[] = [
  {
    name: 'h1',
    address: '172.31.1.5',
    stations: [{ name: 'c1', ip: '10.0.0.3/24', mac: '02:42:0a:00:00:03' }],
  },
  {
    name: 'h2',
    address: '192.168.1.25',
    stations: [{ name: 'c2', ip: '10.0.0.4/24', mac: '02:42:0a:00:00:04' }],
  },
];

/**
 * A plan of many hosts: `h1` at 172.31.0.1 and so on, with containers `c1` at 10.0.0.3/16 and so on.
 * @param hosts 1 to 65,534.
 */
export function planHosts(hosts: number, stationsEach = 1): HostPlan[] {
  uint('hosts', hosts, 65_534);
  uint('stations', hosts * stationsEach, 65_531);
  return Array.from({ length: hosts }, (_, host) => ({
    name: `h${host + 1}`,
    address: ipv4ToText(parseIpv4('172.31.0.1') + host),
    stations: Array.from({ length: stationsEach }, (_, station) => {
      const number = host * stationsEach + station;
      const ip = parseIpv4('10.0.0.3') + number;
      // Docker derives them the same way: 02:42 and the IP address.
      return { name: `c${number + 1}`, ip: `${ipv4ToText(ip)}/16`, mac: macToText(0x0242_0000_0000 + ip) };
    }),
  }));
}

export interface OverlayOptions {
  /** Whether the VTEPs probe the MTUs of the paths to each other (RFC 8899). Default false. */
  probes?: boolean;
  /** A plan, or the number of hosts of one by `planHosts`. */
  hosts: number | readonly HostPlan[];
  /** Containers on each host, where `hosts` is a number. Default 1. */
  stationsEach?: number;
  /** Seed of all random numbers. Default 1. */
  seed?: number;
  /**
   * What the control plane announces: all `endpoints`, so that the proxy answers; all other VTEPs, so that they `flood` and
   * learn; or `both`. Default `endpoints`.
   */
  control?: 'endpoints' | 'flood' | 'both';
  /** Default VNI 4097. */
  segment?: Partial<NewSegment>;
  /** Routers between segments. Default: none. */
  gateways?: GatewayPlan;
  /** Options of the underlay's links. */
  link?: LinkOptions;
  /** Options of all stations. By default they do not probe for their addresses, so that all are up at once. */
  station?: Partial<Omit<StationOptions, 'ip' | 'mac' | 'name' | 'random'>>;
  trace?: Trace;
}

/** A host of an overlay, with its node in the underlay. */
export interface OverlayHost {
  readonly name: string;
  readonly address: string;
  readonly host: SimHost;
  readonly node: Node;
}

/** Hosts with their containers over one underlay, on one clock. */
export class Overlay {
  readonly clock = new Clock();
  readonly random: Random;
  readonly network: Network;
  readonly vni: number;
  readonly hosts: readonly OverlayHost[];
  readonly stations: readonly Station[];
  readonly #options: OverlayOptions;
  readonly #hosts = new Map<Station, OverlayHost>();
  readonly #vnis = new Map<Station, number>();

  constructor(options: OverlayOptions) {
    this.#options = options;
    this.random = new Random(options.seed ?? 1);
    this.network = new Network(this.clock, this.random.fork(), options.link ?? {}, options.trace ?? null);
    this.vni = options.segment?.vni ?? 4097;
    const plans = typeof options.hosts === 'number' ? planHosts(options.hosts, options.stationsEach) : options.hosts;
    this.hosts = plans.map((plan) => this.#addHost(plan));
    for (const [at, plan] of plans.entries())
      for (const station of plan.stations) this.#addStation(station, this.hosts[at]!);
    this.stations = [...this.#hosts.keys()];
    for (const { host } of this.hosts) host.start(this.clock.now);
  }

  /** @throws RangeError if no host has that name. */
  host(name: string): OverlayHost {
    const found = this.hosts.find((host) => host.name === name);
    if (found === undefined) throw new RangeError(`there is no host ${name}`);
    return found;
  }

  /** @throws RangeError if no station has that name. */
  station(name: string): Station {
    const found = this.stations.find((station) => station.name === name);
    if (found === undefined) throw new RangeError(`there is no station ${name}`);
    return found;
  }

  /** The host that a station is on. */
  hostOf(station: Station): OverlayHost {
    return this.#hosts.get(station)!;
  }

  /** The segment that a station is in. */
  vniOf(station: Station): number {
    return this.#vnis.get(station)!;
  }

  /** Moves a running station to another host. The control plane knows at once, other stations by its announcement. */
  move(station: Station, to: OverlayHost, announce = true): void {
    const from = this.hostOf(station);
    const { now } = this.clock;
    from.host.detach(station, now);
    this.#hosts.set(station, to);
    const vni = this.vniOf(station);
    to.host.attach(station, vni, now);
    if (this.#options.control !== 'flood') {
      const mac = macToText(station.mac);
      for (const { host, address } of this.hosts) {
        if (host.vtep === null) continue; // it learns everything when it starts
        for (const ip of addressesOf(station)) {
          host.vtep.removeEndpoint(vni, { ip, mac, ...behind(from, address) });
          host.vtep.addEndpoint(vni, { ip, mac, ...behind(to, address) });
        }
      }
    }
    if (announce) station.announce(now);
  }

  /** Stops a host with all its stations and, after a while, starts it again, with empty tables. */
  restart(host: OverlayHost, downtime: number): void {
    this.stop(host);
    this.clock.after(downtime, () => this.start(host));
  }

  /** Stops a host at once, as a power failure does. */
  stop({ host, node }: OverlayHost): void {
    node.up = false;
    host.stop(this.clock.now);
  }

  start({ host, node }: OverlayHost): void {
    node.up = true;
    host.start(this.clock.now);
  }

  /** Splits the underlay: each group of hosts hears only itself, and so do all hosts in no group. */
  partition(...groups: readonly (readonly OverlayHost[])[]): void {
    this.network.partition(...groups.map((group) => group.map(({ address }) => address)));
  }

  heal(): void {
    this.network.heal();
  }

  /**
   * Runs pings between pairs of stations at the same time, until all are done. The results have the order of the pairs.
   * @param family Which addresses to ping. With 6, the stations must have IPv6.
   */
  ping(pairs: readonly (readonly [Station, Station])[], options: PingOptions = {}, family: 4 | 6 = 4): PingResult[] {
    const results: PingResult[] = [];
    let open = pairs.length;
    for (const [at, [from, to]] of pairs.entries())
      from.ping(family === 4 ? to.ip : to.ip6!, options, this.clock.now, (result) => {
        results[at] = result;
        open--;
      });
    while (open > 0 && this.clock.step());
    return results;
  }

  #addHost({ name, address }: HostPlan): OverlayHost {
    const { clock } = this;
    const node = this.network.join(address);
    const seed = this.random.next();
    const alarm = new Alarm(clock, () => host.wake(clock.now));
    const host: SimHost = new SimHost({
      name,
      makeVtep: () => this.#makeVtep(address, seed),
      port: {
        send: (to, port, sourcePort, bytes, offset, end, tos) =>
          node.send(to, port, sourcePort, bytes, offset, end, tos),
        wake: (at) => alarm.set(at),
      },
      trace: this.#options.trace ?? null,
    });
    node.bind(PORT, ({ source, payload, tos }) => host.receive(source, payload, tos & 3, clock.now));
    node.onTooBig = (to, mtu) => host.tooBig(to, mtu);
    return { name, address, host, node };
  }

  #addStation({ vni = this.vni, ...plan }: StationPlan, at: OverlayHost): void {
    const gateways: Pick<StationOptions, 'gateway' | 'gateway6'> = {};
    for (const { gateway, ...subnet } of this.#options.gateways?.subnets ?? [])
      if (subnet.vni === vni) gateways[isIpv6Text(gateway) ? 'gateway6' : 'gateway'] = gateway;
    const options = { probe: false, ...gateways, ...this.#options.station, ...plan };
    const station = new Station({ ...options, random: this.random.fork() });
    this.#hosts.set(station, at);
    this.#vnis.set(station, vni);
    at.host.attach(station, vni, this.clock.now);
  }

  /** A VTEP with everything that the control plane knows. */
  #makeVtep(address: string, seed: number): Vtep {
    const { control = 'endpoints', gateways, segment } = this.#options;
    const random = new Random(seed);
    const vtep = new Vtep({
      ...{ local: address, seed },
      ...(this.#options.probes
        ? { random: (octets) => void octets.forEach((_, i) => (octets[i] = random.next())) }
        : {}),
    });
    const subnets = gateways?.subnets ?? [];
    for (const vni of new Set([this.vni, ...this.#vnis.values(), ...subnets.map((one) => one.vni)])) {
      const mtu = subnets.find((one) => one.vni === vni)?.mtu;
      vtep.addSegment({ ...segment, vni, ...(mtu === undefined ? {} : { mtu }) });
      if (control !== 'endpoints')
        for (const other of this.hosts) if (other.address !== address) vtep.addPeer(vni, other.address);
    }
    if (control !== 'flood')
      for (const [station, host] of this.#hosts)
        for (const ip of addressesOf(station))
          vtep.addEndpoint(this.vniOf(station), { ip, mac: macToText(station.mac), ...behind(host, address) });
    if (gateways !== undefined) vtep.addRouter({ id: 'overlay', mac: gateways.mac, subnets });
    return vtep;
  }
}

function addressesOf({ ip, ip6 }: Station): string[] {
  return ip6 === null ? [ip] : [ip, ip6];
}

/** Where an endpoint is, as announced to the VTEP at `address`. */
function behind(host: OverlayHost, address: string): { vtep?: string } {
  return host.address === address ? {} : { vtep: host.address };
}
