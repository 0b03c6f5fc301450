/** Tells clients what becomes of the segments, peers and endpoints that somebody wants. */
import { type Change, type Location, type Rejection } from '../model/index.js';
import { type NoticeFields, type NoticeRival } from '../schema/index.js';
import { type Entry, type HostState, type Rival } from '../state/index.js';
import { type Notices } from './notices.js';

/** Does nothing while nobody listens. */
export class ChangeNotices {
  readonly #state: HostState;
  readonly #notices: Notices;
  /** Endpoints that a source has begun to want: another one may hold their address. */
  #fresh: (Entry & { kind: 'endpoint' })[] = [];
  /** Those of them that were in effect meanwhile, and that are told to be held already. */
  readonly #told = new Set<string>();

  constructor(state: HostState, notices: Notices) {
    this.#state = state;
    this.#notices = notices;
  }

  /** Whether `settle` has something to do. */
  get isDue(): boolean {
    return this.#fresh.length > 0;
  }

  /** A source wants an entry. */
  wanted(entry: Entry): void {
    if (entry.kind === 'endpoint' && this.#notices.isHeard) this.#fresh.push(entry);
  }

  /** Runs the withdrawal of an entry. The data plane does not hear of one that was held. */
  withdraw(entry: Entry, step: () => boolean): boolean {
    const wasHeld = entry.kind === 'endpoint' && this.#notices.isHeard && this.#state.wanted(entry)?.outcome === 'held';
    const done = step();
    if (wasHeld && !this.#state.isWanted(entry))
      this.#notices.tell('endpoint-removed', this.#endpointOf(entry.vni, entry.endpoint));
    return done;
  }

  /** The data plane has made changes, except some. */
  applied(changes: readonly Change[], rejections: readonly Rejection[]): void {
    if (!this.#notices.isHeard) return;
    const rejected = new Set(rejections.map(({ index }) => index));
    for (const [i, change] of changes.entries()) if (!rejected.has(i)) this.#tell(change);
  }

  #tell(change: Change): void {
    const notices = this.#notices;
    switch (change.do) {
      case 'add-segment': {
        const { vni } = change.segment;
        return notices.tell('segment-added', { vni, sources: this.#state.sourcesOf({ kind: 'segment', ...change }) });
      }
      case 'remove-segment':
        return notices.tell('segment-removed', { vni: change.vni });
      case 'add-peer':
      case 'remove-peer': {
        const { vni, address } = change;
        const sources = this.#state.sourcesOf({ kind: 'peer', vni, address });
        return notices.tell(change.do === 'add-peer' ? 'peer-added' : 'peer-removed', { vni, address, sources });
      }
      case 'add-endpoint':
        return notices.tell('endpoint-added', this.#endpointOf(change.vni, change.endpoint));
      case 'remove-endpoint':
        if (!this.#tellHeld(change.vni, change.endpoint))
          return notices.tell('endpoint-removed', this.#endpointOf(change.vni, change.endpoint));
        if (this.isDue) this.#told.add(keyOf(change.vni, change.endpoint));
    }
  }

  /**
   * Tells which of the new endpoints are held. Call it when the data plane is up to date: all others are in effect then.
   * @param limit Most endpoints to examine.
   */
  settle(limit: number): void {
    const some = this.#fresh.splice(0, limit);
    if (!this.#notices.isHeard) this.#fresh = [];
    else for (const { vni, endpoint } of some) if (!this.#told.has(keyOf(vni, endpoint))) this.#tellHeld(vni, endpoint);
    if (!this.isDue) this.#told.clear();
  }

  /** @returns whether the endpoint is held. */
  #tellHeld(vni: number, endpoint: Location): boolean {
    const wanted = this.#state.wanted({ kind: 'endpoint', vni, endpoint });
    if (wanted?.outcome !== 'held') return false;
    this.#notices.tell('endpoint-held', { ...this.#endpointOf(vni, endpoint), by: rivalOf(wanted.by) });
    return true;
  }

  #endpointOf(vni: number, endpoint: Location): NoticeFields['endpoint-added'] {
    const { ip, mac, vtep } = endpoint;
    return { vni, ip, mac, vtep: vtep ?? null, sources: this.#state.sourcesOf({ kind: 'endpoint', vni, endpoint }) };
  }
}

function keyOf(vni: number, { ip, mac, vtep }: Location): string {
  return `${vni} ${ip} ${mac} ${vtep}`;
}

/** What holds instead of an endpoint, as clients get it. */
export function rivalOf({ kind, holder: { ip, mac, vtep } }: Rival): NoticeRival {
  return { kind, ip, mac, vtep: vtep ?? null };
}
