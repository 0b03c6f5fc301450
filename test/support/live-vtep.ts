/**
 * A VTEP that is changed while it runs, in a process of its own: an `Overlay` that takes requests on a Unix socket.
 *
 *     node --import tsx live-vtep.ts CONFIG SOCKET        prints "ready"
 *
 * A request is a line of JSON, [METHOD, ...ARGUMENTS]; so is the answer: {"result"} or {"error", "name", "path"}.
 */
import { readdirSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Logger, Overlay } from '../../src/host/index.js';
import { type Change } from '../../src/model/index.js';
import { type NeighborListing } from '../../src/vtep/index.js';
import { plan, type Config, type Segment, type Tap } from '../../src/schema/index.js';

export const LIVE_VTEP = fileURLToPath(import.meta.url);

type Method =
  'attach' | 'detach' | 'addSegment' | 'removeSegment' | 'counters' | 'facts' | 'change' | 'fill' | 'neighbors';

/** What the process holds. */
export interface LiveFacts {
  files: number;
  /** In bytes, after a garbage collection. */
  heap: number;
  taps: string[];
  segments: number[];
}

/** A client of the process. */
export class LiveVtep {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  attach(tap: Tap): Promise<{ device: string; mac: string }> {
    return this.#ask('attach', tap) as Promise<{ device: string; mac: string }>;
  }

  detach(name: string, netns?: string): Promise<unknown> {
    return this.#ask('detach', name, netns);
  }

  addSegment(segment: Segment): Promise<unknown> {
    return this.#ask('addSegment', segment);
  }

  removeSegment(vni: number): Promise<unknown> {
    return this.#ask('removeSegment', vni);
  }

  counters(): ReturnType<Overlay['counters']> {
    return this.#ask('counters') as ReturnType<Overlay['counters']>;
  }

  change(request: object): Promise<unknown> {
    return this.#ask('change', request);
  }

  /** The endpoints of a segment, as `10.0.0.1 here`. */
  neighbors(vni: number): Promise<string[]> {
    return this.#ask('neighbors', vni) as Promise<string[]>;
  }

  /** Adds that many endpoints to a segment in one batch, or removes them. @returns the milliseconds that it took. */
  fill(vni: number, count: number, what: 'add-endpoint' | 'remove-endpoint'): Promise<number> {
    return this.#ask('fill', vni, count, what) as Promise<number>;
  }

  facts(): Promise<LiveFacts> {
    return this.#ask('facts') as Promise<LiveFacts>;
  }

  #ask(method: Method, ...args: unknown[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const socket = createConnection(this.#path);
      socket.on('error', reject);
      socket.write(`${JSON.stringify([method, ...args])}\n`);
      createInterface(socket).once('line', (line) => {
        socket.destroy();
        const { result, error, name, path } = JSON.parse(line) as Record<string, string>;
        if (error === undefined) resolve(result);
        else reject(Object.assign(new Error(error), { name, path }));
      });
    });
  }
}

async function serve(config: Config, path: string): Promise<void> {
  const log = new Logger(({ level, message }) => void process.stderr.write(`${level}: ${message}\n`));
  // A configuration without a TAP is refused, because nobody could add one to `vtep up`.
  const any: Tap = { name: 'any', vni: config.segments[0]!.vni };
  const made = config.taps.length > 0 ? plan(config) : { ...plan({ ...config, taps: [any] }), taps: [] };
  const overlay = await Overlay.start(made, {
    log,
    end: (reason) => void overlay.stop(reason !== null).then(() => process.exit(reason === null ? 0 : 1)),
  });
  const facts = (): LiveFacts => {
    (globalThis as { gc?: () => void }).gc?.();
    return {
      files: readdirSync('/proc/self/fd').length,
      heap: process.memoryUsage().heapUsed,
      taps: overlay.plan.taps.map(({ name }) => name),
      segments: overlay.plan.segments.map(({ vni }) => vni),
    };
  };
  const methods: Record<Method, (...args: never[]) => unknown> = {
    attach: (tap: Tap) => overlay.attach(tap),
    detach: (name: string, netns: string | null) => overlay.detach(name, netns ?? undefined),
    addSegment: (segment: Segment) => overlay.addSegment(segment),
    removeSegment: (vni: number) => overlay.removeSegment(vni),
    counters: () => overlay.counters(),
    change: (request: never) => overlay.change(request),
    facts,
    neighbors: async (vni: number) => {
      const all: NeighborListing[] = [];
      for await (const { result } of overlay.engine.list({ command: 'neighbors', vni }))
        all.push(...(result as never[]));
      return all.map(({ ip, vtep }) => `${ip} ${vtep ?? 'here'}`).sort();
    },
    fill: (vni: number, count: number, what: 'add-endpoint' | 'remove-endpoint') => fill(overlay, vni, count, what),
  };
  createServer((socket) => {
    socket.on('error', () => undefined);
    createInterface(socket).once('line', (line) => {
      const [method, ...args] = JSON.parse(line) as [Method, ...never[]];
      void Promise.resolve()
        .then(() => methods[method](...args))
        .then(
          (result) => socket.end(`${JSON.stringify({ result: result ?? null })}\n`),
          ({ message, name, path, problems }: Error & { path?: string; problems?: { path: string }[] }) =>
            socket.end(`${JSON.stringify({ error: message, name, path: path ?? problems?.[0]?.path })}\n`),
        );
    });
  }).listen(path, () => process.stdout.write('ready\n'));
  process.on('SIGTERM', () => void overlay.stop().then(() => process.exit(0)));
}

async function fill(
  { engine }: Overlay,
  vni: number,
  count: number,
  what: 'add-endpoint' | 'remove-endpoint',
): Promise<number> {
  const hex = (value: number): string => value.toString(16).padStart(2, '0');
  const changes: Change[] = [];
  for (let i = 0; i < count; i++) {
    const [a, b, c] = [i >> 16, (i >> 8) & 255, i & 255] as const;
    const endpoint = { ip: `10.${1 + a}.${b}.${c}`, mac: `02:00:01:${hex(a)}:${hex(b)}:${hex(c)}`, vtep: '192.0.2.9' };
    changes.push({ do: what, vni, endpoint });
    // To make the batch must not delay the frames of this thread either.
    if (i % 256 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  const start = performance.now();
  const { rejected, unchanged } = await engine.apply(changes);
  if (rejected.length + unchanged.length > 0) throw new Error(`${rejected.length} and ${unchanged.length}`);
  return performance.now() - start;
}

if (process.argv[1] === LIVE_VTEP) await serve(JSON.parse(process.argv[2]!) as Config, process.argv[3]!);
