import { formatIpv6, parseIpv6 } from '../address/index.js';

/** Another VTEP. */
export interface Remote {
  /** A small integer. It does not change while the remote is known, and may be reused afterwards. */
  readonly id: number;
  /** Underlay address, IPv4 or IPv6, in its canonical text. */
  readonly address: string;
  /** UDP port that datagrams go to. */
  readonly port: number;
  /** The largest inner IP packet that the path to it carries, in bytes; `UNLIMITED` if no narrower path is known. */
  mtu: number;
  /** Datagrams that its host or a router reported as not delivered; the engine counts them. */
  undelivered: number;
  /** The system's code of the last report: `ECONNREFUSED`. */
  reason: string;
}

/** `Remote.mtu` if the path MTU is unknown. */
export const UNLIMITED = 65_535;

interface Entry extends Remote {
  port: number;
  /** Number of references by the control plane; 0 for a remote learned from a datagram. */
  named: number;
}

/**
 * The remotes by address and by id. Remotes with a reference by the control plane stay. The number of remotes learned
 * from datagrams is bounded, and they are removed when no address is learned behind them.
 */
export class Remotes {
  readonly #byAddress = new Map<string, Entry>();
  readonly #byId: (Entry | undefined)[] = [];
  readonly #free: number[] = [];
  readonly #limit: number;
  #learned = 0;

  /** @param limit Most remotes learned from datagrams. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get(id: number): Remote {
    return this.#byId[id]!;
  }

  find(address: string): Remote | undefined {
    return this.#byAddress.get(address);
  }

  /** Whether another sender of datagrams would be learned. */
  get hasRoom(): boolean {
    return this.#learned < this.#limit;
  }

  /** Adds a reference by the control plane; `release` removes it. */
  name(address: string, port: number | undefined, fallback: number): Remote {
    const key = canonicalAddress(address);
    let entry = this.#byAddress.get(key);
    if (entry === undefined) entry = this.#add(key, port ?? fallback);
    else if (entry.named === 0) this.#learned--;
    if (port !== undefined) entry.port = port;
    entry.named++;
    return entry;
  }

  /** Removes a reference. The remote stays until `forget`, because addresses may be learned behind it. */
  release(id: number): void {
    const entry = this.#byId[id]!;
    if (--entry.named === 0) this.#learned++;
  }

  /** The remote that sent a datagram; `null` if the limit is reached. */
  learn(address: string, port: number): Remote | null {
    const known = this.#byAddress.get(address);
    if (known !== undefined) return known;
    if (!this.hasRoom) return null;
    this.#learned++;
    return this.#add(address, port);
  }

  /** Removes the remotes without a reference by the control plane that `inUse` does not report. */
  forget(inUse: (id: number) => boolean): void {
    if (this.#learned === 0) return;
    for (const entry of this.#byAddress.values()) {
      if (entry.named > 0 || inUse(entry.id)) continue;
      this.#byAddress.delete(entry.address);
      this.#byId[entry.id] = undefined;
      this.#free.push(entry.id);
      this.#learned--;
    }
  }

  all(): Iterable<Remote> {
    return this.#byAddress.values();
  }

  #add(address: string, port: number): Entry {
    const id = this.#free.pop() ?? this.#byId.length;
    const entry: Entry = { id, address, port, mtu: UNLIMITED, undelivered: 0, reason: '', named: 0 };
    this.#byAddress.set(address, entry);
    this.#byId[id] = entry;
    return entry;
  }
}

/** Returns IPv6 text in the form of RFC 5952, so that two spellings name one remote; anything else unchanged. */
export function canonicalAddress(address: string): string {
  return address.includes(':') ? formatIpv6(parseIpv6(address)) : address;
}
