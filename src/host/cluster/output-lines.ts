/** What the commands of this node write, as lines: for clients of this node, and for managers that pass them on. */
import { StringDecoder } from 'node:string_decoder';
import { type EndpointRecord } from '../../cluster/index.js';
import { MAX_LINE } from '../../schema/index.js';
import { type OutputReader } from '../sandbox/output-reader.js';
import { type Workload } from '../sandbox/workload.js';
import { placeOn } from './node-workloads.js';

/** What a command has written since the last look. */
export interface Written {
  readonly lines: readonly string[];
  /** Whether lines before these may be missing. */
  readonly missed: boolean;
  /** Whether the command has ended, and all of its output is here. */
  readonly hasEnded: boolean;
}

/** A command whose output is read. */
interface Followed {
  readonly directory: string;
  readonly reader: OutputReader;
  readonly lines: Lines;
  isFirst: boolean;
  hasEnded: boolean;
}

export class OutputLines {
  readonly #workloadOf: (endpoint: EndpointRecord) => Promise<Workload | undefined>;
  readonly #tail: number | undefined;
  /** By the sandbox. */
  readonly #followed = new Map<string, Followed>();

  /** @param tail Most lines of each command that were written before the first look at it. */
  constructor(workloadOf: (endpoint: EndpointRecord) => Promise<Workload | undefined>, tail: number | undefined) {
    this.#workloadOf = workloadOf;
    this.#tail = tail;
  }

  /**
   * What the command of an endpoint has written since the last call; `undefined` if it has no command now.
   * @param isLast Whether a last line without an end counts.
   */
  async next(endpoint: EndpointRecord, isLast: boolean): Promise<Written | undefined> {
    const workload = await this.#workloadOf(endpoint);
    if (workload === undefined) return undefined;
    const place = placeOn(endpoint);
    let one = this.#followed.get(place);
    if (one?.directory !== workload.directory) {
      // Of a command that is started again, everything is new.
      const isFirst = one === undefined;
      one = { directory: workload.directory, reader: workload.follow(), lines: new Lines(), isFirst, hasEnded: false };
      this.#followed.set(place, one);
    }
    if (one.hasEnded) return { lines: [], missed: false, hasEnded: true };
    const hasEnded = workload.state.state === 'ended'; // first: what it writes after this comes the next time
    const lines = one.lines.push(await one.reader.next(), hasEnded || isLast);
    const { isFirst } = one;
    Object.assign(one, { isFirst: false, hasEnded });
    const cut = isFirst && this.#tail !== undefined ? Math.max(0, lines.length - this.#tail) : 0;
    return { lines: lines.slice(cut), missed: one.reader.missed, hasEnded };
  }
}

/** One endpoint for each command, in the order of their names. */
export function perCommand(endpoints: readonly EndpointRecord[]): EndpointRecord[] {
  const byPlace = new Map(endpoints.map((endpoint) => [placeOn(endpoint), endpoint]));
  return [...byPlace.values()].sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }));
}

/** Text as lines. */
class Lines {
  readonly #decoder = new StringDecoder('utf8');
  #rest = '';

  /** @param ended Whether a last line without an end counts. */
  push(octets: Buffer, ended: boolean): string[] {
    const lines = (this.#rest + this.#decoder.write(octets) + (ended ? this.#decoder.end() : '')).split('\n');
    this.#rest = lines.pop()!;
    if ((ended && this.#rest !== '') || this.#rest.length > MAX_LINE) {
      lines.push(this.#rest);
      this.#rest = '';
    }
    return lines.map((line) => line.replace(/\r$/, '')).flatMap(parts);
  }
}

function parts(line: string): string[] {
  if (line.length <= MAX_LINE) return [line];
  return Array.from({ length: Math.ceil(line.length / MAX_LINE) }, (_, i) =>
    line.slice(i * MAX_LINE, (i + 1) * MAX_LINE),
  );
}
