import { isIpv6Text } from '../../address/index.js';

/** An endpoint and its VTEP, with the fields that a `Vtep` takes. */
export interface OverlayEndpoint {
  /** `10.0.0.4`, `fd00::4` */
  ip: string;
  /** `02:42:0a:00:00:04` */
  mac: string;
  /** Underlay address of its VTEP. */
  vtep: string;
}

/** Receives endpoints and peers; `Vtep` implements it. */
export interface OverlaySink {
  /** @param since When it was attached, in milliseconds since 1970; 0 if its record does not say, like Docker's. */
  addEndpoint(vni: number, endpoint: OverlayEndpoint, since: number): void;
  removeEndpoint(vni: number, endpoint: OverlayEndpoint): unknown;
  /** Adds a VTEP that gets a copy of every flooded frame. */
  addPeer(vni: number, address: string): void;
  removePeer(vni: number, address: string): unknown;
}

/** The endpoint that a record describes from now on; `null` for none. */
export interface EndpointChange {
  readonly key: string;
  readonly after: (OverlayEndpoint & { readonly since: number }) | null;
}

/**
 * What a sink contains of one network: an endpoint while at least one record describes it, and a peer while it has at
 * least one endpoint.
 */
export class SinkEndpoints {
  readonly #vni: number;
  readonly #sink: OverlaySink;
  readonly #keysOf: (ip: string) => Iterable<string>;
  /** By record key, the endpoints: the objects of the changes, because there may be very many. */
  readonly #endpoints = new Map<string, OverlayEndpoint>();
  #size6 = 0;
  /** Number of records by VTEP. */
  readonly #peers = new Map<string, number>();

  /** @param keysOf After each `update`, the keys of the records with an IP address: at least those that it stored. */
  constructor(vni: number, sink: OverlaySink, keysOf: (ip: string) => Iterable<string>) {
    this.#vni = vni;
    this.#sink = sink;
    this.#keysOf = keysOf;
  }

  /** Number of records that describe an endpoint. */
  get size(): number {
    return this.#endpoints.size;
  }

  /** The same, with an IPv6 address. */
  get size6(): number {
    return this.#size6;
  }

  peers(): string[] {
    return [...this.#peers.keys()];
  }

  /** Adds before it removes, so that a VTEP with an old and a new endpoint stays in the flood list. */
  update(changes: readonly EndpointChange[]): void {
    /** The records that changed: what they described, by name, and what they describe. */
    const changed = new Set<string>();
    const old = new Map<string, OverlayEndpoint>();
    const oldPeers: string[] = [];
    const added: (OverlayEndpoint & { readonly since: number })[] = [];
    for (const { key, after } of changes) {
      const before = this.#endpoints.get(key);
      if (before !== undefined && after !== null && isSame(before, after)) continue;
      changed.add(key);
      if (before !== undefined) {
        old.set(nameOf(before), before);
        oldPeers.push(before.vtep);
        this.#endpoints.delete(key);
        if (isIpv6Text(before.ip)) this.#size6--;
      }
      if (after === null) continue;
      added.push(after);
      this.#endpoints.set(key, after);
      if (isIpv6Text(after.ip)) this.#size6++;
    }
    const known = new Set(old.keys());
    for (const endpoint of added) {
      const name = nameOf(endpoint);
      if (!known.has(name) && !this.#isDescribed(endpoint, changed)) {
        const { ip, mac, vtep, since } = endpoint;
        this.#sink.addEndpoint(this.#vni, { ip, mac, vtep }, since);
      }
      known.add(name);
      if (count(this.#peers, endpoint.vtep, 1) === 1) this.#sink.addPeer(this.#vni, endpoint.vtep);
    }
    for (const endpoint of old.values()) if (!this.#isDescribed(endpoint)) this.#remove(endpoint);
    for (const vtep of oldPeers) this.#removeFrom(vtep);
  }

  /** Removes every endpoint and peer. */
  clear(): void {
    const all = [...this.#endpoints.values()];
    this.#endpoints.clear();
    this.#size6 = 0;
    for (const endpoint of new Map(all.map((one) => [nameOf(one), one])).values()) this.#remove(endpoint);
    for (const { vtep } of all) this.#removeFrom(vtep);
  }

  /** Whether a record describes an endpoint, apart from some records. */
  #isDescribed(endpoint: OverlayEndpoint, apartFrom?: ReadonlySet<string>): boolean {
    for (const key of this.#keysOf(endpoint.ip)) {
      const other = this.#endpoints.get(key);
      if (other !== undefined && apartFrom?.has(key) !== true && isSame(other, endpoint)) return true;
    }
    return false;
  }

  #remove({ ip, mac, vtep }: OverlayEndpoint): void {
    this.#sink.removeEndpoint(this.#vni, { ip, mac, vtep });
  }

  #removeFrom(vtep: string): void {
    if (count(this.#peers, vtep, -1) === 0) this.#sink.removePeer(this.#vni, vtep);
  }
}

function isSame(a: OverlayEndpoint, b: OverlayEndpoint): boolean {
  return a.ip === b.ip && a.mac === b.mac && a.vtep === b.vtep;
}

function nameOf({ ip, mac, vtep }: OverlayEndpoint): string {
  return `${ip} ${mac} ${vtep}`;
}

/** Adds to a count, removes it at zero, and returns it. */
function count(counts: Map<string, number>, key: string, by: number): number {
  const now = (counts.get(key) ?? 0) + by;
  if (now === 0) counts.delete(key);
  else counts.set(key, now);
  return now;
}
