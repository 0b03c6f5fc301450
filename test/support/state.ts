/** A naive model of the host state, naive data planes, and what the tests of the state say with them. */
import * as assert from 'uvu/assert';
import {
  SEGMENT_DEFAULTS,
  type Change,
  type Location,
  type NetworkRouter,
  type Rejection,
  type Segment,
} from '../../src/model/index.js';
import { HostState, type Entry } from '../../src/state/index.js';
import { type Vtep } from '../../src/vtep/index.js';

export const VNI = 4097;
export const A = '192.168.1.1';
export const B = '192.168.1.2';
export const C = '192.168.1.3';
export const IP = '10.0.0.4';
export const MAC = '02:42:0a:00:00:04';

export function segmentOf(vni: number, mtu = 1450): Segment {
  return { ...SEGMENT_DEFAULTS, vni, mtu };
}

export function segment(vni: number, mtu?: number): Entry {
  return { kind: 'segment', segment: segmentOf(vni, mtu) };
}

export const ROUTER_MAC = '02:00:00:00:00:fe';

/** A router with a gateway in the subnet 10.0.VNI.0/24 of each VNI. */
export function router(id: string, vnis: readonly number[], mac = ROUTER_MAC): Entry {
  const subnets = vnis.map((vni) => ({ prefix: `10.0.${vni}.0/24`, gateway: `10.0.${vni}.1`, vni }));
  return { kind: 'router', router: { id, mac, subnets } };
}

function routerText({ id, mac, subnets }: NetworkRouter): string {
  return `router ${id} ${mac} ${subnets.map(({ vni }) => vni).join()}`;
}

export function endpoint(ip: string, mac: string, vtep?: string, vni = VNI): Entry {
  return { kind: 'endpoint', vni, endpoint: vtep === undefined ? { ip, mac } : { ip, mac, vtep } };
}

export function peer(address: string, vni = VNI): Entry {
  return { kind: 'peer', vni, address };
}

export function textOf({ ip, mac, vtep }: Location): string {
  return `${ip} ${mac} ${vtep ?? 'here'}`;
}

export function keyOf(entry: Entry): string {
  switch (entry.kind) {
    case 'segment':
      return `segment ${entry.segment.vni}`;
    case 'router':
      return `router ${entry.router.id}`;
    case 'peer':
      return `peer ${entry.vni} ${entry.address}`;
    case 'member':
      return `member ${entry.address}`;
    case 'endpoint':
      return `endpoint ${entry.vni} ${textOf(entry.endpoint)}`;
  }
}

// ---- A naive model of the state: the set of wants, and everything computed from it ----

export interface Want {
  readonly source: string;
  readonly entry: Entry;
  readonly since: number;
}

export class Model {
  readonly wants = new Map<string, Want>();

  want(source: string, entry: Entry, since: number): void {
    this.wants.set(`${source} ${keyOf(entry)}`, { source, entry, since });
  }

  withdraw(source: string, entry: Entry): boolean {
    return this.wants.delete(`${source} ${keyOf(entry)}`);
  }

  withdrawAll(source: string): void {
    for (const [key, want] of this.wants) if (want.source === source) this.wants.delete(key);
  }

  sourcesOf(entry: Entry): string[] {
    return [...this.wants.values()]
      .filter((want) => keyOf(want.entry) === keyOf(entry))
      .map(({ source }) => source)
      .sort();
  }

  /** What must be in effect, as the listing of a `Plane`. */
  result(): string[] {
    const found = new Set<string>();
    for (const vni of this.#vnis()) {
      const [first] = this.#segmentWants(vni).sort((a, b) => a.since - b.since || (a.source < b.source ? -1 : 1));
      if (first === undefined) continue;
      found.add(`segment ${vni} ${(first.entry as { segment: Segment }).segment.mtu}`);
      for (const { entry } of this.wants.values())
        if (entry.kind === 'peer' && entry.vni === vni) found.add(keyOf(entry));
      for (const location of this.locations(vni)) found.add(`endpoint ${vni} ${textOf(location)}`);
    }
    for (const { entry } of this.wants.values()) if (entry.kind === 'member') found.add(keyOf(entry));
    const vnis = this.#vnis();
    for (const router of this.routers())
      if (router.subnets.every(({ vni }) => vnis.has(vni))) found.add(routerText(router));
    return [...found].sort();
  }

  /** The definition that holds of each router. */
  routers(): NetworkRouter[] {
    const wants = [...this.wants.values()].flatMap(({ entry, ...want }) =>
      entry.kind === 'router' ? [{ ...want, router: entry.router }] : [],
    );
    wants.sort((a, b) => a.since - b.since || (a.source < b.source ? -1 : 1));
    return wants.map(({ router }) => router).filter((one, i, all) => all.findIndex(({ id }) => id === one.id) === i);
  }

  /** The locations that hold in a segment, by the rule as it is documented. */
  locations(vni: number): Location[] {
    const wants = [...this.wants.values()].flatMap(({ entry, since }) =>
      entry.kind === 'endpoint' && entry.vni === vni ? [{ ...entry.endpoint, since }] : [],
    );
    const endpoints = [...new Set(wants.map(({ ip, mac }) => `${ip} ${mac}`))].map((name) => {
      const own = wants.filter(({ ip, mac }) => `${ip} ${mac}` === name);
      const newest = Math.max(...own.map(({ since }) => since));
      const [vtep] = own
        .filter(({ since }) => since === newest)
        .map((one) => one.vtep ?? '')
        .sort();
      return { ip: own[0]!.ip, mac: own[0]!.mac, vtep: vtep!, age: Math.min(...own.map(({ since }) => since)) };
    });
    endpoints.sort((a, b) => a.age - b.age || (`${a.mac} ${a.ip}` < `${b.mac} ${b.ip}` ? -1 : 1));
    return endpoints
      .filter((one) => endpoints.find(({ ip }) => ip === one.ip) === one)
      .filter((one) => endpoints.find(({ mac }) => mac === one.mac)!.vtep === one.vtep)
      .map(({ ip, mac, vtep }) => (vtep === '' ? { ip, mac } : { ip, mac, vtep }));
  }

  #segmentWants(vni: number): Want[] {
    return [...this.wants.values()].filter(({ entry }) => entry.kind === 'segment' && entry.segment.vni === vni);
  }

  #vnis(): Set<number> {
    return new Set(
      [...this.wants.values()].flatMap(({ entry }) => (entry.kind === 'segment' ? [entry.segment.vni] : [])),
    );
  }
}

// ---- Two naive data planes, which refuse what is wrong ----

/** Keeps every location until it is removed; the one added last is in effect, as `Change` says. */
export class Plane {
  readonly segments = new Map<number, { mtu: number; peers: Set<string>; locations: Location[] }>();
  readonly members = new Set<string>();
  readonly routers = new Map<string, NetworkRouter>();
  /** Changes that did not fit. A state must never make one. */
  readonly mistakes: string[] = [];

  /** @param refuses Returns the reason to refuse an addition, `null` for none. */
  constructor(readonly refuses: (change: Change, plane: Plane) => string | null = () => null) {}

  apply(changes: readonly Change[], each: () => void = () => undefined): Rejection[] {
    return changes.flatMap((change, index) => {
      const reason = this.#orphan(change) ?? (change.do.startsWith('add-') ? this.refuses(change, this) : null);
      if (reason === null) this.#make(change);
      each();
      return reason === null ? [] : [{ index, reason }];
    });
  }

  /** After a segment was refused, so are the changes in it. */
  #orphan(change: Change): string | null {
    if (change.do === 'add-router') {
      const vni = change.router.subnets.map((subnet) => subnet.vni).find((one) => !this.segments.has(one));
      if (vni !== undefined && !this.refused.has(vni)) this.mistakes.push(JSON.stringify(change));
      return vni === undefined ? null : `no segment ${vni}`;
    }
    const isInside = 'vni' in change && change.do !== 'remove-segment';
    if (!isInside || this.segments.has(change.vni)) return null;
    if (!this.refused.has(change.vni)) this.mistakes.push(JSON.stringify(change));
    return `no segment ${change.vni}`;
  }

  readonly refused = new Set<number>();

  #make(change: Change): void {
    const expect = (isRight: boolean): void => void (isRight || this.mistakes.push(JSON.stringify(change)));
    switch (change.do) {
      case 'add-segment':
        expect(!this.segments.has(change.segment.vni));
        this.segments.set(change.segment.vni, { mtu: change.segment.mtu, peers: new Set(), locations: [] });
        break;
      case 'remove-segment':
        expect([...this.routers.values()].every(({ subnets }) => subnets.every(({ vni }) => vni !== change.vni)));
        expect(this.segments.delete(change.vni));
        break;
      case 'add-router':
        expect(!this.routers.has(change.router.id));
        this.routers.set(change.router.id, change.router);
        break;
      case 'remove-router':
        expect(this.routers.delete(change.id));
        break;
      case 'add-peer':
        expect(!this.segments.get(change.vni)!.peers.has(change.address));
        this.segments.get(change.vni)!.peers.add(change.address);
        break;
      case 'remove-peer':
        expect(this.segments.get(change.vni)!.peers.delete(change.address));
        break;
      case 'add-member':
        expect(!this.members.has(change.address));
        this.members.add(change.address);
        break;
      case 'remove-member':
        expect(this.members.delete(change.address));
        break;
      case 'add-endpoint':
      case 'remove-endpoint': {
        const { locations } = this.segments.get(change.vni)!;
        const at = locations.findIndex((one) => textOf(one) === textOf(change.endpoint));
        if (at >= 0) locations.splice(at, 1);
        if (change.do === 'add-endpoint') locations.push(change.endpoint);
        else expect(at >= 0);
      }
    }
  }

  byIp(vni: number): Map<string, Location> {
    return new Map((this.segments.get(vni)?.locations ?? []).map((one) => [one.ip, one]));
  }

  /** The VTEPs of the MAC addresses. */
  byMac(vni: number): Map<string, string> {
    return new Map((this.segments.get(vni)?.locations ?? []).map(({ mac, vtep }) => [mac, vtep ?? 'here']));
  }

  list(): string[] {
    const found = [...this.members].map((address) => `member ${address}`);
    found.push(...[...this.routers.values()].map(routerText));
    for (const [vni, { mtu, peers, locations }] of this.segments) {
      found.push(`segment ${vni} ${mtu}`);
      for (const address of peers) found.push(`peer ${vni} ${address}`);
      for (const location of locations) found.push(`endpoint ${vni} ${textOf(location)}`);
    }
    return found.sort();
  }
}

/** Has one location for each IP address and one VTEP for each MAC address: a later addition replaces them. */
export class ReplacingPlane {
  readonly #ips = new Map<string, Location>();
  readonly #macs = new Map<string, string>();

  apply(changes: readonly Change[]): void {
    for (const change of changes)
      if (change.do === 'add-endpoint') this.#add(change.vni, change.endpoint);
      else if (change.do === 'remove-endpoint') {
        const { ip } = change.endpoint;
        const known = this.#ips.get(`${change.vni} ${ip}`);
        if (known !== undefined && textOf(known) === textOf(change.endpoint)) this.#remove(change.vni, known);
      } else if (change.do === 'remove-segment')
        for (const [key, location] of this.#ips)
          if (key.startsWith(`${change.vni} `)) this.#remove(change.vni, location);
  }

  #add(vni: number, location: Location): void {
    const { ip, mac, vtep } = location;
    const known = this.#ips.get(`${vni} ${ip}`);
    if (known !== undefined) this.#remove(vni, known);
    this.#ips.set(`${vni} ${ip}`, location);
    this.#macs.set(`${vni} ${mac}`, vtep ?? 'here');
  }

  #remove(vni: number, { ip, mac }: Location): void {
    this.#ips.delete(`${vni} ${ip}`);
    for (const [key, other] of this.#ips) if (key.startsWith(`${vni} `) && other.mac === mac) return;
    this.#macs.delete(`${vni} ${mac}`);
  }

  list(): string[] {
    return [...this.#ips].map(([key, { mac, vtep }]) => {
      const [vni, ip] = key.split(' ') as [string, string];
      const place = this.#macs.get(`${vni} ${mac}`);
      const isRight = place === (vtep ?? 'here');
      return `endpoint ${vni} ${ip} ${mac} ${place}${isRight ? '' : ' wrong'}`;
    });
  }
}

/** Applies batches until nothing is due. @returns the changes. */
export function drain(state: HostState, plane: Plane, limit?: number): Change[] {
  const all: Change[] = [];
  for (let calls = 0; state.isDue; calls++) {
    if (calls > 10_000) throw new Error('the state never comes to rest');
    const changes = state.take(limit);
    all.push(...changes);
    if (changes.length > 0) state.applied(plane.apply(changes));
  }
  return all;
}

// ---- Runs ----

export type Step =
  | { readonly do: 'want'; readonly source: string; readonly entry: Entry; readonly since: number }
  | { readonly do: 'withdraw'; readonly source: string; readonly entry: Entry }
  | { readonly do: 'withdraw-all'; readonly source: string }
  | { readonly do: 'take'; readonly limit: number }
  | { readonly do: 'apply' | 'drain' };

export const want = (source: string, entry: Entry, since: number): Step => ({ do: 'want', source, entry, since });

/** Runs the state and the model side by side. */
export class Run {
  readonly state = new HostState();
  readonly model = new Model();
  readonly plane: Plane;
  readonly replacing = new ReplacingPlane();
  /** A batch that the data plane has not applied yet. */
  #flying: Change[] = [];
  /** Called after each change that the data plane applied. */
  each: () => void = () => undefined;

  constructor(refuses?: (change: Change, plane: Plane) => string | null) {
    this.plane = new Plane(refuses);
  }

  do(step: Step): void {
    const { state, model } = this;
    switch (step.do) {
      case 'want':
        state.want(step.source, step.entry, step.since);
        model.want(step.source, step.entry, step.since);
        break;
      case 'withdraw':
        assert.is(state.withdraw(step.source, step.entry), model.withdraw(step.source, step.entry));
        break;
      case 'withdraw-all':
        state.withdrawAll(step.source);
        model.withdrawAll(step.source);
        break;
      case 'take':
        this.apply();
        this.#flying = state.take(step.limit);
        assert.ok(this.#flying.length <= step.limit);
        break;
      case 'apply':
        this.apply();
        break;
      case 'drain':
        this.drain();
    }
  }

  apply(): void {
    if (this.#flying.length === 0) return;
    this.plane.refused.clear();
    const rejections = this.plane.apply(this.#flying, this.each);
    const refused = new Set(rejections.map(({ index }) => index));
    this.replacing.apply(this.#flying.filter((_, index) => !refused.has(index)));
    this.state.applied(rejections);
    assert.equal(this.plane.mistakes, []);
    this.#flying = [];
  }

  drain(limit = 3): void {
    this.apply();
    for (let calls = 0; this.state.isDue; calls++) {
      if (calls > 10_000) throw new Error('the state never comes to rest');
      this.do({ do: 'take', limit });
      this.apply();
    }
  }
}

/** Makes the changes of a `Vtep`. */
export function applyTo(vtep: Vtep, changes: readonly Change[]): Rejection[] {
  return changes.flatMap((change, index) => {
    try {
      if (change.do === 'add-segment') vtep.addSegment(change.segment);
      else if (change.do === 'remove-segment') vtep.removeSegment(change.vni);
      else if (change.do === 'add-peer') vtep.addPeer(change.vni, change.address);
      else if (change.do === 'remove-peer') assert.ok(vtep.removePeer(change.vni, change.address));
      else if (change.do === 'add-endpoint') vtep.addEndpoint(change.vni, change.endpoint);
      else if (change.do === 'remove-endpoint') {
        const { ip, mac, vtep: place = null } = change.endpoint;
        const known = vtep.neighbors(change.vni).find((one) => one.ip === ip);
        assert.ok(known !== undefined, 'there is no endpoint to remove');
        // Or another one has replaced it.
        assert.is(vtep.removeEndpoint(change.vni, change.endpoint), known.mac === mac && known.vtep === place);
      } else if (change.do === 'add-router') assert.ok(vtep.addRouter(change.router));
      else if (change.do === 'remove-router') assert.ok(vtep.removeRouter(change.id));
      return [];
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      return [{ index, reason: error.message }];
    }
  });
}
