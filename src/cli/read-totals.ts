/** The totals of `vtep read --summary`. */
import { protocolsOf, type Dissection } from '../packet/index.js';
import type { CapturedPacket } from '../pcap/index.js';

/** Most protocols, VNIs and problems that are counted separately: bounds the memory for any capture. */
const MAX_COUNTED = 1000;

const NANOSECONDS = 1_000_000_000n;

/** Formats seconds since 1970 with nine decimals. */
export function seconds(timestamp: bigint): string {
  const sign = timestamp < 0n ? '-' : '';
  const digits = String(timestamp < 0n ? -timestamp : timestamp).padStart(10, '0');
  return `${sign}${digits.slice(0, -9)}.${digits.slice(-9)}`;
}

/** Formats date and time in UTC, if `Date` can represent it. */
function date(timestamp: bigint): string {
  const milliseconds = Number((timestamp * 1000n) / NANOSECONDS);
  return Math.abs(milliseconds) <= 8.64e15 ? new Date(milliseconds).toISOString() : `second ${seconds(timestamp)}`;
}

/** Counts of a capture's packets, by protocol, VNI and problem. */
export class Totals {
  #packets = 0;
  #bytes = 0;
  #first: bigint | null = null;
  #last: bigint | null = null;
  readonly #protocols = new Map<string, number>();
  readonly #vnis = new Map<string, number>();
  readonly #stopped = new Map<string, number>();

  add({ timestamp, length }: CapturedPacket, { layers, stopped }: Dissection): void {
    this.#packets++;
    this.#bytes += length;
    if (timestamp !== null) {
      if (this.#first === null || timestamp < this.#first) this.#first = timestamp;
      if (this.#last === null || timestamp > this.#last) this.#last = timestamp;
    }
    for (const protocol of new Set(protocolsOf(layers))) count(this.#protocols, protocol);
    for (const layer of layers) if (layer.protocol === 'vxlan') count(this.#vnis, String(layer.vni));
    if (stopped !== null) count(this.#stopped, `${stopped.protocol} ${stopped.reason}`);
  }

  /** One line per total; lists are sorted by count, highest first. */
  lines(): string[] {
    const list = (counts: Map<string, number>): string =>
      sorted(counts)
        .map(([name, number]) => `${name} ${number}`)
        .join(', ');
    const lines = [`packets    ${this.#packets}`, `bytes      ${this.#bytes}`];
    if (this.#first !== null && this.#last !== null) {
      lines.push(`time       ${date(this.#first)} to ${date(this.#last)}, ${seconds(this.#last - this.#first)} s`);
    }
    if (this.#protocols.size > 0) lines.push(`protocols  ${list(this.#protocols)}`);
    if (this.#vnis.size > 0) lines.push(`VNIs       ${list(this.#vnis)}`);
    if (this.#stopped.size > 0) lines.push(`stopped    ${list(this.#stopped)}`);
    return lines;
  }

  /** The same as one JSON object on one line. */
  json(): string {
    const object = {
      packets: this.#packets,
      bytes: this.#bytes,
      first: this.#first === null ? null : seconds(this.#first),
      last: this.#last === null ? null : seconds(this.#last),
      protocols: Object.fromEntries(sorted(this.#protocols)),
      vnis: Object.fromEntries(sorted(this.#vnis)),
      stopped: Object.fromEntries(sorted(this.#stopped)),
    };
    return JSON.stringify(object);
  }
}

function sorted(counts: Map<string, number>): [string, number][] {
  return [...counts].sort(([a, one], [b, other]) => other - one || (a < b ? -1 : 1));
}

function count(counts: Map<string, number>, key: string): void {
  const known = counts.has(key) || counts.size < MAX_COUNTED ? key : 'others';
  counts.set(known, (counts.get(known) ?? 0) + 1);
}
