/**
 * Counts the frames that the kernel dropped at TAPs because their queues were full: this VTEP did not read them in time.
 * Only an interface's own namespace shows this count. It is read on request, and for other namespaces on another thread,
 * so that the data path does not wait.
 */
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { listDevices } from './device.js';
import { addressSpaceLimit } from './linux/limits.js';
import { readInNetns } from './netns.js';

/** Milliseconds for which a count is reused: clients of the control socket may ask often. */
const FRESH = 1000;

export interface CountedTap {
  device: string;
  netns?: string;
  /** Frames that were dropped before this VTEP attached it. */
  before: number;
}

/** Packets that the kernel dropped instead of sending them, by device. */
type Drops = ReadonlyMap<string, number>;

/** Returns the drops in each namespace, `undefined` being the process's own; nothing for those that cannot be read. */
type ReadAll = (places: readonly (string | undefined)[]) => Promise<(Drops | undefined)[]>;

export class TapDrops {
  /** The TAPs by port, with the last count of each. */
  readonly #taps = new Map<number, CountedTap & { count: number }>();
  readonly #readAll: ReadAll;
  /** Those at TAPs that were detached. */
  #former = 0;
  #read = -Infinity;
  #reading: Promise<void> | undefined;

  /** @param readAll Tests pass their own. */
  constructor(readAll: ReadAll = readDrops) {
    this.#readAll = readAll;
  }

  add(port: number, tap: CountedTap): void {
    this.#taps.set(port, { ...tap, count: 0 });
  }

  /** Keeps the last count of a TAP, and reads it no more. */
  remove(port: number): void {
    this.#former += this.#taps.get(port)?.count ?? 0;
    this.#taps.delete(port);
  }

  /** Frames dropped since the start, at all TAPs. The count of a TAP that is gone stays as it was. Never fails. */
  async count(): Promise<number> {
    if (performance.now() - this.#read >= FRESH)
      await (this.#reading ??= this.#refresh().finally(() => (this.#reading = undefined)));
    let sum = this.#former;
    for (const { count } of this.#taps.values()) sum += count;
    return sum;
  }

  async #refresh(): Promise<void> {
    const taps = [...this.#taps.values()];
    const places = [...new Set(taps.map(({ netns }) => netns))];
    const found = await this.#readAll(places).catch((): (Drops | undefined)[] => []);
    for (const tap of taps) {
      const now = found[places.indexOf(tap.netns)]?.get(tap.device);
      if (now !== undefined) tap.count = Math.max(tap.count, now - tap.before);
    }
    this.#read = performance.now();
  }
}

/** Packets dropped so far at a device of this namespace; 0 if that is unknown. */
export function droppedHere(device: string): number {
  try {
    return txDropped(readFileSync(OWN, 'utf8')).get(device) ?? 0;
  } catch {
    return 0;
  }
}

/** The statistics of this process's namespace, and of the reading thread's. */
const OWN = '/proc/self/net/dev';
const OF_THREAD = '/proc/thread-self/net/dev';

/** Index of the dropped packets behind the name: after eight columns of received and three of sent packets. */
const TX_DROPPED = 11;

/** Parses proc_net_dev(5): packets dropped while sending, by device. */
export function txDropped(text: string): Map<string, number> {
  const drops = new Map<string, number>();
  for (const line of text.split('\n')) {
    const [, device, rest] = /^\s*([^\s:|]+):\s*(.*)$/.exec(line) ?? [];
    const count = Number(rest?.split(/\s+/)[TX_DROPPED]);
    if (device !== undefined && Number.isInteger(count)) drops.set(device, count);
  }
  return drops;
}

async function readDrops(places: readonly (string | undefined)[]): Promise<(Drops | undefined)[]> {
  const others = places.flatMap((place) => place ?? []);
  const [own, drops] = await Promise.all([
    places.includes(undefined) ? readFile(OWN, 'utf8').then(txDropped, () => undefined) : undefined,
    readOthers(others),
  ]);
  return places.map((place) => (place === undefined ? own : drops[others.indexOf(place)]));
}

/** Reads other namespaces on a thread; if there can be none, with `ip`, which takes two processes for each namespace. */
async function readOthers(netnses: readonly string[]): Promise<(Drops | undefined)[]> {
  // Without address space for another thread, V8 would end the process.
  if (addressSpaceLimit() === undefined)
    try {
      const texts = await readInNetns(OF_THREAD, netnses);
      return texts.map((text) => (text === undefined ? undefined : txDropped(text)));
    } catch {
      // koffi is missing
    }
  const drops: (Drops | undefined)[] = [];
  for (const netns of netnses) {
    const devices = await listDevices(netns).catch(() => []);
    drops.push(new Map(devices.map(({ name, dropped }) => [name, dropped])));
  }
  return drops;
}
