import type { OverlayEndpoint, OverlaySink } from '../../src/gossip/networkdb/index.js';

/** Records the endpoints and peers of one network. Adding one twice or removing an unknown one is an error. */
export class RecordingVtep implements OverlaySink {
  /** `10.0.0.2 02:42:0a:00:00:02 192.0.2.1` */
  readonly endpoints = new Set<string>();
  /** Addresses of other VTEPs. */
  readonly flood = new Set<string>();
  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
  }

  addEndpoint(_: number, endpoint: OverlayEndpoint): void {
    this.#add(this.endpoints, nameOf(endpoint));
  }

  removeEndpoint(_: number, endpoint: OverlayEndpoint): void {
    this.#remove(this.endpoints, nameOf(endpoint));
  }

  addPeer(_: number, address: string): void {
    this.#add(this.flood, address);
  }

  removePeer(_: number, address: string): void {
    this.#remove(this.flood, address);
  }

  #add(all: Set<string>, one: string): void {
    if (all.has(one)) throw new Error(`${this.#name} received ${one} twice`);
    all.add(one);
  }

  #remove(all: Set<string>, one: string): void {
    if (!all.delete(one)) throw new Error(`${this.#name} must remove ${one}, which it does not have`);
  }
}

export function nameOf({ ip, mac, vtep }: OverlayEndpoint): string {
  return `${ip} ${mac} ${vtep}`;
}
