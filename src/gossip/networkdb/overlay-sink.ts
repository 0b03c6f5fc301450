/** An endpoint and its VTEP, with the fields that a `Vtep` takes. */
export interface OverlayEndpoint {
  /** `10.0.0.4` */
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
  /** The endpoints by record key. */
  readonly #endpoints = new Map<string, OverlayEndpoint>();
  /** Number of endpoints by VTEP. */
  readonly #peers = new Map<string, number>();
  /** Number of records by endpoint. */
  readonly #recordCounts = new Map<string, number>();

  constructor(vni: number, sink: OverlaySink) {
    this.#vni = vni;
    this.#sink = sink;
  }

  /** Number of records that describe an endpoint. */
  get size(): number {
    return this.#endpoints.size;
  }

  peers(): string[] {
    return [...this.#peers.keys()];
  }

  /** Adds before it removes, so that a VTEP with an old and a new endpoint stays in the flood list. */
  update(changes: readonly EndpointChange[]): void {
    const old: OverlayEndpoint[] = [];
    for (const { key, after } of changes) {
      const before = this.#endpoints.get(key);
      if (before !== undefined && after !== null && nameOf(before) === nameOf(after)) continue;
      if (before !== undefined) {
        old.push(before);
        this.#endpoints.delete(key);
      }
      if (after === null) continue;
      const endpoint = { ip: after.ip, mac: after.mac, vtep: after.vtep };
      this.#endpoints.set(key, endpoint);
      if (count(this.#recordCounts, nameOf(endpoint), 1) === 1)
        this.#sink.addEndpoint(this.#vni, endpoint, after.since);
      if (count(this.#peers, endpoint.vtep, 1) === 1) this.#sink.addPeer(this.#vni, endpoint.vtep);
    }
    for (const endpoint of old) this.#remove(endpoint);
  }

  /** Removes every endpoint and peer. */
  clear(): void {
    for (const [key, endpoint] of [...this.#endpoints]) {
      this.#endpoints.delete(key);
      this.#remove(endpoint);
    }
  }

  #remove(endpoint: OverlayEndpoint): void {
    if (count(this.#recordCounts, nameOf(endpoint), -1) === 0) this.#sink.removeEndpoint(this.#vni, endpoint);
    if (count(this.#peers, endpoint.vtep, -1) === 0) this.#sink.removePeer(this.#vni, endpoint.vtep);
  }
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
