/** Programs an engine with the endpoints and peers from the gossip, in addition to those of the configuration. */
import { type OverlayEndpoint, type OverlaySink } from '../gossip/networkdb/index.js';
import { canonicalEndpoint, canonicalIp, type Plan } from '../schema/index.js';
import { type MachineRequest, type Requests } from './requests.js';
import { RequestError } from './error.js';

/** A request to add or remove a peer or an endpoint. The gossip makes the same changes. */
type Change = Extract<MachineRequest, { command: 'add-peer' | 'remove-peer' | 'add-endpoint' | 'remove-endpoint' }>;

/**
 * Programs the FDB, the neighbor table and the flood lists of an engine's machine. An entry stays until both the
 * configuration and the gossip have withdrawn it.
 */
export class GossipTables implements OverlaySink {
  readonly #local: string;
  readonly #engine: Requests;
  readonly #refused: (message: string) => void;
  readonly #configured = new Set<string>();
  readonly #announced = new Set<string>();
  /** Announced peers that the machine rejected, by VNI: its flood list is full. Each waits until another is removed. */
  readonly #waiting = new Map<number, Set<string>>();

  /** @param refused Called with the reason when the machine rejects an entry from the gossip. */
  constructor(plan: Plan, engine: Requests, refused: (message: string) => void) {
    this.#local = plan.local;
    this.#engine = engine;
    this.#refused = refused;
    for (const { vni, peers, endpoints } of plan.segments) {
      for (const address of peers) this.#configured.add(peerName(vni, address));
      for (const endpoint of endpoints) this.#configured.add(endpointName(vni, endpoint));
    }
  }

  // ---- Announcements ----

  addEndpoint(vni: number, endpoint: OverlayEndpoint): void {
    this.#announced.add(endpointName(vni, endpoint));
    this.#ask({ command: 'add-endpoint', vni, ...endpoint });
  }

  removeEndpoint(vni: number, endpoint: OverlayEndpoint): void {
    const name = endpointName(vni, endpoint);
    this.#announced.delete(name);
    if (!this.#configured.has(name)) this.#ask({ command: 'remove-endpoint', vni, ...endpoint });
  }

  addPeer(vni: number, address: string): void {
    this.#announced.add(peerName(vni, address));
    this.#engine.ask({ command: 'add-peer', vni, address }).catch((error: Error) => {
      if (!this.#announced.has(peerName(vni, address))) return;
      const waiting = this.#waiting.get(vni) ?? new Set();
      this.#waiting.set(vni, waiting.add(address));
      this.#refused(error.message);
    });
  }

  removePeer(vni: number, address: string): void {
    const name = peerName(vni, address);
    this.#announced.delete(name);
    const waiting = this.#waiting.get(vni);
    if (waiting?.delete(address) || this.#configured.has(name)) return;
    this.#ask({ command: 'remove-peer', vni, address });
    const [next] = waiting ?? [];
    if (next === undefined) return;
    waiting!.delete(next);
    this.addPeer(vni, next);
  }

  // ---- Requests over the control socket ----

  /**
   * Passes a request to the engine.
   * @throws RequestError if it removes an entry that the gossip announces; SchemaError, RangeError like the engine.
   */
  async change(request: Change): Promise<unknown> {
    const name = this.#nameOf(request);
    if (request.command === 'add-peer' || request.command === 'add-endpoint') {
      const result = await this.#engine.ask(request);
      this.#configured.add(name);
      return result;
    }
    const configured = this.#configured.delete(name);
    if (!this.#announced.has(name)) return this.#engine.ask(request);
    if (configured) return { removed: true };
    throw new RequestError('conflict', 'the gossip announces it; it is removed when its host withdraws it');
  }

  #nameOf(request: Change): string {
    return request.command === 'add-peer' || request.command === 'remove-peer'
      ? peerName(request.vni, canonicalIp(request.address))
      : endpointName(request.vni, canonicalEndpoint(request, this.#local));
  }

  #ask(request: Change): void {
    this.#engine.ask(request).catch((error: Error) => this.#refused(error.message));
  }
}

function endpointName(vni: number, { ip, mac, vtep }: { ip: string; mac: string; vtep?: string }): string {
  return `${vni} ${ip} ${mac} ${vtep ?? ''}`;
}

function peerName(vni: number, address: string): string {
  return `${vni} ${address}`;
}
