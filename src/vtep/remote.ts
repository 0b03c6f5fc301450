import { formatIpv6, parseIpv6 } from '../address/index.js';
import { noLimits, UNLIMITED, type PathLimits } from './path-limits.js';
import { tunnelTo } from './tunnel.js';

/** Another VTEP. */
export interface Remote {
  /** A small integer. It does not change while the remote is known, and may be reused afterwards. */
  readonly id: number;
  /** Underlay address, IPv4 or IPv6, in its canonical text. */
  readonly address: string;
  /** UDP port that datagrams go to. */
  readonly port: number;
  /** Bytes that the tunnel to it adds to an inner IP packet: see `Tunnel.overhead`. */
  readonly overhead: number;
  /**
   * The largest outer IP packet that the path to it carries, in bytes; `UNLIMITED` if no narrower path is known.
   * `limitPath` sets it.
   */
  outerMtu: number;
  /** Datagrams that its host or a router reported as not delivered; the engine counts them. */
  undelivered: number;
  /** The system's code of the last report: `ECONNREFUSED`. */
  reason: string;
  /** What is known about the MTU of the path. */
  readonly limits: PathLimits;
}

/** Most remotes that one call of `forget` looks at: more than a VTEP learns by default. */
const LOOKS = 2048;

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
  /** Those without a reference by the control plane. */
  readonly #unnamed = new Set<Entry>();
  /** Where `forget` continues. */
  #next = this.#unnamed.values();

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

  /** Whether the control plane has a reference to the remote at an address. */
  isNamed(address: string): boolean {
    return (this.#byAddress.get(address)?.named ?? 0) > 0;
  }

  /** Whether another sender of datagrams would be learned. */
  get hasRoom(): boolean {
    return this.#unnamed.size < this.#limit;
  }

  /** Adds a reference by the control plane; `release` removes it. */
  name(address: string, port: number | undefined, fallback: number): Remote {
    const key = canonicalAddress(address);
    let entry = this.#byAddress.get(key);
    if (entry === undefined) entry = this.#add(key, port ?? fallback);
    else if (entry.named === 0) this.#unnamed.delete(entry);
    if (port !== undefined) entry.port = port;
    entry.named++;
    return entry;
  }

  /** Removes references. The remote stays until `forget`, because addresses may be learned behind it. */
  release(id: number, references = 1): void {
    const entry = this.#byId[id]!;
    entry.named -= references;
    if (entry.named === 0) this.#unnamed.add(entry);
  }

  /** The remote that sent a datagram; `null` if the limit is reached. */
  learn(address: string, port: number): Remote | null {
    const known = this.#byAddress.get(address);
    if (known !== undefined) return known;
    if (!this.hasRoom) return null;
    const entry = this.#add(address, port);
    this.#unnamed.add(entry);
    return entry;
  }

  /**
   * Removes the remotes without a reference by the control plane that `inUse` does not report. A call looks at
   * `LOOKS` of them, and the next one continues there.
   * @returns their ids.
   */
  forget(inUse: (id: number) => boolean): number[] {
    const forgotten: number[] = [];
    for (let left = Math.min(LOOKS, this.#unnamed.size); left > 0; left--) {
      let { value: entry } = this.#next.next();
      if (entry === undefined) {
        this.#next = this.#unnamed.values(); // an iterator of a Set continues after changes, until its end
        entry = this.#next.next().value;
      }
      if (entry === undefined || inUse(entry.id)) continue;
      this.#unnamed.delete(entry);
      this.#byAddress.delete(entry.address);
      this.#byId[entry.id] = undefined;
      this.#free.push(entry.id);
      forgotten.push(entry.id);
    }
    return forgotten;
  }

  all(): Iterable<Remote> {
    return this.#byAddress.values();
  }

  #add(address: string, port: number): Entry {
    const id = this.#free.pop() ?? this.#byId.length;
    const entry: Entry = makeEntry(id, address, port);
    this.#byAddress.set(address, entry);
    this.#byId[id] = entry;
    return entry;
  }
}

function makeEntry(id: number, address: string, port: number): Entry {
  return { ...makeRemote(id, address, port), named: 0 };
}

/** A remote whose path MTU is unknown. */
export function makeRemote(id: number, address: string, port: number): Remote {
  const { overhead } = tunnelTo(address);
  return { id, address, port, overhead, outerMtu: UNLIMITED, undelivered: 0, reason: '', limits: noLimits() };
}

/** The largest inner IP packet that the path to a remote carries, in bytes. */
export function innerMtu({ outerMtu, overhead }: Remote): number {
  return outerMtu - overhead;
}

/** Returns IPv6 text in the form of RFC 5952, so that two spellings name one remote; anything else unchanged. */
export function canonicalAddress(address: string): string {
  return address.includes(':') ? formatIpv6(parseIpv6(address)) : address;
}
