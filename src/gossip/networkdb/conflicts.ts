/** The conflicts that hosts list and report. `placements.ts` decides which of two contradictory attachments holds. */
import { isSameEndpoint } from '../../state/index.js';
import { contradict, type Placement, type Ruling } from './placements.js';

/** One side of a conflict. */
export interface ConflictParty {
  /** The node's name. */
  node: string;
  /** Underlay address of its VTEP; absent where the conflict is about the network's VNI or subnet. */
  vtep?: string;
  /** When it attached, in milliseconds since 1970; 0 where its record does not say, as Docker's do not. */
  since: number;
}

/** Two hosts with contradictory attachments; one is refused. All hosts of a network list the same conflicts. */
export interface OverlayConflict {
  network: string;
  /**
   * `place`: both hosts have an endpoint with this IP address and the same MAC address, which counts as moved to the one that
   * attached it last. `ip`, `mac`: both hosts have this address. `parameters`: their VNI or subnet differ.
   */
  kind: 'place' | 'ip' | 'mac' | 'parameters';
  /** What the refused host has: `10.0.0.4`, `02:42:0a:00:00:04`, `VNI 5000, subnet 10.0.0.0/24`. */
  value: string;
  /** Address or parameters that hold; for an address the same as `value`. */
  holds: string;
  holder: ConflictParty;
  refused: ConflictParty;
}

/** Called when a conflict begins, and with `over` when it ends. */
type Report = (conflict: OverlayConflict, over: boolean) => void;

/** The conflict between a refused placement and what refuses it. */
export function conflictBetween(network: string, refused: Placement, rival: Placement | Ruling): OverlayConflict {
  const { owner, vtep, ip, mac, parameters, since } = refused;
  const isAddress = 'vtep' in rival && contradict(refused, rival);
  if (!isAddress)
    return {
      network,
      kind: 'parameters',
      value: parameters,
      holds: rival.parameters,
      holder: { node: rival.owner, since: 'vtep' in rival ? rival.since : rival.attached },
      refused: { node: owner, since },
    };
  const kind = isSameEndpoint(refused, rival) ? 'place' : ip === rival.ip ? 'ip' : 'mac';
  const value = kind === 'mac' ? mac : ip;
  return {
    network,
    kind,
    value,
    holds: value,
    holder: { node: rival.owner, vtep: rival.vtep, since: rival.since },
    refused: { node: owner, vtep, since },
  };
}

/**
 * Lists conflicts by kind, value and hosts: two endpoints of one host may cause the same.
 * @param candidates Placements that do not hold, or wait.
 * @param rivalOf Returns what refuses a placement; `null` if nothing does, and its host is about to announce it.
 */
export function listConflicts(
  network: string,
  candidates: Iterable<Placement>,
  rivalOf: (placement: Placement) => Placement | Ruling | null,
): Map<string, OverlayConflict> {
  const found = new Map<string, OverlayConflict>();
  for (const placement of candidates) {
    const rival = rivalOf(placement);
    if (rival === null) continue;
    const conflict = conflictBetween(network, placement, rival);
    found.set(`${conflict.kind} ${conflict.value} ${conflict.refused.node} ${conflict.holder.node}`, conflict);
  }
  return found;
}

/** Reports the differences between one list of conflicts and the next. */
export class ConflictReports {
  readonly #report: Report | undefined;
  #listed = new Map<string, OverlayConflict>();

  constructor(report: Report | undefined) {
    this.#report = report;
  }

  /** The conflicts of the last update. */
  get listed(): Iterable<OverlayConflict> {
    return this.#listed.values();
  }

  get size(): number {
    return this.#listed.size;
  }

  /** @param listed As `listConflicts` returns them. */
  update(listed: Map<string, OverlayConflict>): void {
    const before = this.#listed;
    this.#listed = listed;
    for (const [name, conflict] of before) if (!this.#listed.has(name)) this.#report?.(conflict, true);
    for (const [name, conflict] of this.#listed) if (!before.has(name)) this.#report?.(conflict, false);
  }
}
