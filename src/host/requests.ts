/** Requests of the control socket and of the gossip that change a data plane, or that only its machine can answer. */
import { type Change, type Rejection } from '../model/index.js';
import {
  canonicalEndpoint,
  canonicalIp,
  SchemaError,
  type CaptureRequest,
  type GossipRequest,
  type ListRequest,
  type Plan,
  type Request,
} from '../schema/index.js';
import { type Applied, type DataPlane } from './data-plane.js';

/** A request that changes a data plane, or that its machine answers at once. */
export type MachineRequest =
  | Exclude<Request, { command: 'stop' | 'counters' } | GossipRequest | ListRequest | CaptureRequest>
  /** Datagrams from a member of the cluster are accepted before its endpoints are known. */
  | { command: 'add-member' | 'remove-member'; address: string };

/** A change that waits for the others of its batch. */
interface Waiting {
  change: Change;
  resolve(outcome: { rejection: Rejection | undefined; unchanged: boolean }): void;
  reject(error: Error): void;
}

export class Requests {
  readonly #plane: DataPlane;
  readonly #plan: Plan;
  #waiting: Waiting[] = [];

  /** @param plan The plan of the data plane, with the segments that it has now. */
  constructor(plane: DataPlane, plan: Plan) {
    this.#plane = plane;
    this.#plan = plan;
  }

  /** @throws SchemaError or RangeError with what is wrong with the request; HostError if the data plane has ended. */
  async ask(request: MachineRequest): Promise<unknown> {
    if (request.command === 'explain') return this.#plane.explain(request);
    const { rejection, unchanged } = await this.#apply(this.#changeOf(request));
    if (rejection !== undefined) throw new RangeError(rejection.reason);
    return request.command.startsWith('remove-') ? { removed: !unchanged } : {};
  }

  #changeOf(request: Exclude<MachineRequest, { command: 'explain' }>): Change {
    switch (request.command) {
      case 'add-member':
      case 'remove-member':
        return { do: request.command, address: canonicalIp(request.address) };
      case 'add-peer':
      case 'remove-peer':
        this.#requireSegment(request.vni);
        return { do: request.command, vni: request.vni, address: this.#remote('address', request.address) };
      case 'add-endpoint':
      case 'remove-endpoint': {
        this.#requireSegment(request.vni);
        const endpoint = canonicalEndpoint(request, this.#plan.local);
        if (endpoint.vtep !== undefined) this.#remote('vtep', endpoint.vtep);
        return { do: request.command, vni: request.vni, endpoint };
      }
    }
  }

  /** The gossip makes many changes at once: those of one turn of the event loop travel in one batch. */
  #apply(change: Change): Promise<{ rejection: Rejection | undefined; unchanged: boolean }> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.length === 0) queueMicrotask(() => void this.#send());
      this.#waiting.push({ change, resolve, reject });
    });
  }

  async #send(): Promise<void> {
    const batch = this.#waiting;
    this.#waiting = [];
    let applied: Applied;
    try {
      applied = await this.#plane.apply(batch.map(({ change }) => change));
    } catch (error) {
      for (const { reject } of batch) reject(error as Error);
      return;
    }
    const rejected = new Map(applied.rejected.map((rejection) => [rejection.index, rejection]));
    const unchanged = new Set(applied.unchanged);
    for (const [i, { resolve }] of batch.entries())
      resolve({ rejection: rejected.get(i), unchanged: unchanged.has(i) });
  }

  #requireSegment(vni: number): void {
    const { segments } = this.#plan;
    if (segments.some((segment) => segment.vni === vni)) return;
    throw wrong('vni', `the VNI of a segment (${segments.map((segment) => segment.vni).join(', ')})`, vni);
  }

  #remote(path: string, text: string): string {
    const { local } = this.#plan;
    const address = canonicalIp(text);
    if (address === local) throw wrong(path, 'the address of another VTEP, not its own', text);
    if (address.includes(':') !== local.includes(':'))
      throw wrong(path, `an IPv${local.includes(':') ? 6 : 4} address, like the VTEP's own address`, text);
    return address;
  }
}

function wrong(path: string, expected: string, given: unknown): SchemaError {
  return new SchemaError([{ path, expected, given }]);
}
