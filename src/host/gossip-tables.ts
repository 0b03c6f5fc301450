/** Between the tables of the gossip and an engine, which has what either the configuration or the gossip says. */
import { type OverlayEndpoint, type OverlaySink } from '../gossip/networkdb/index.js';
import { canonicalEndpoint, canonicalIp, type Plan } from '../schema/index.js';
import { type Engine } from './engine.js';
import { HostError } from './error.js';
import { type MachineRequest } from './machine.js';

/** A request that adds or removes what the gossip may add or remove too. */
type Change = Extract<MachineRequest, { command: 'add-peer' | 'remove-peer' | 'add-endpoint' | 'remove-endpoint' }>;

/**
 * Programs the FDB, the neighbours and the flood lists of an engine's machine. What was configured stays when the gossip
 * withdraws it, and the other way round.
 */
export class GossipTables implements OverlaySink {
  readonly #local: string;
  readonly #engine: Engine;
  readonly #refused: (message: string) => void;
  readonly #configured = new Set<string>();
  readonly #told = new Set<string>();

  /** @param refused Is told what the machine did not take, and why. */
  constructor(plan: Plan, engine: Engine, refused: (message: string) => void) {
    this.#local = plan.local;
    this.#engine = engine;
    this.#refused = refused;
    for (const { vni, peers, endpoints } of plan.segments) {
      for (const address of peers) this.#configured.add(peerName(vni, address));
      for (const endpoint of endpoints) this.#configured.add(endpointName(vni, endpoint));
    }
  }

  // ---- What the gossip tells ----

  addEndpoint(vni: number, endpoint: OverlayEndpoint): void {
    this.#told.add(endpointName(vni, endpoint));
    this.#ask({ command: 'add-endpoint', vni, ...endpoint });
  }

  removeEndpoint(vni: number, endpoint: OverlayEndpoint): void {
    const name = endpointName(vni, endpoint);
    this.#told.delete(name);
    if (!this.#configured.has(name)) this.#ask({ command: 'remove-endpoint', vni, ...endpoint });
  }

  addPeer(vni: number, address: string): void {
    this.#told.add(peerName(vni, address));
    this.#ask({ command: 'add-peer', vni, address });
  }

  removePeer(vni: number, address: string): void {
    const name = peerName(vni, address);
    this.#told.delete(name);
    if (!this.#configured.has(name)) this.#ask({ command: 'remove-peer', vni, address });
  }

  // ---- What somebody asks over the control socket ----

  /**
   * Lets the engine do as it was asked to.
   * @throws HostError where only the gossip says what is to be removed; SchemaError, RangeError as the engine does.
   */
  async change(request: Change): Promise<unknown> {
    const name = this.#nameOf(request);
    if (request.command === 'add-peer' || request.command === 'add-endpoint') {
      const result = await this.#engine.ask(request);
      this.#configured.add(name);
      return result;
    }
    const configured = this.#configured.delete(name);
    if (!this.#told.has(name)) return this.#engine.ask(request);
    if (configured) return { removed: true };
    throw new HostError('it was told of by the gossip, and goes when its host withdraws it');
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
