/** Nodes of a cluster as programs in namespaces, for tests. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { NodeRequest } from './cluster-program.js';
import { REPOSITORY } from './lab.js';
import { bundle } from './program.js';

const programs: NodeProgram[] = [];

/** Bundles a program of the tests, which then starts in a fifth of the time that tsx takes. @returns its command line. */
export async function bundled(file: string): Promise<readonly string[]> {
  const made = await bundle(join(REPOSITORY, file));
  process.on('exit', () => made.remove());
  return made.command;
}

/** A program in a namespace that answers each line of its input with a line. */
export class LineProgram<Request extends object> {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #answers: ((line: string) => void)[] = [];
  readonly ready: Promise<unknown>;
  errors = '';
  readonly ns: string;

  /** @param words The command line of the program. */
  constructor(ns: string, words: readonly string[]) {
    this.ns = ns;
    this.#child = spawn('ip', ['netns', 'exec', ns, ...words], { cwd: REPOSITORY });
    this.#child.stderr.on('data', (data: Buffer) => (this.errors += data.toString()));
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#answers.shift()?.(line));
    this.ready = this.#answer();
    this.ready.catch(() => undefined);
  }

  #answer(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no answer; it wrote: ${this.errors}`)), 60_000);
      this.#answers.push((line) => {
        clearTimeout(timer);
        resolve(JSON.parse(line));
      });
    });
  }

  async ask(request: Request): Promise<unknown> {
    const answer = this.#answer();
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    return answer;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Ends it: with SIGKILL, or by the end of its input. */
  async end(kill: boolean): Promise<void> {
    if (!this.isRunning) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    if (kill) this.#child.kill('SIGKILL');
    else this.#child.stdin.end();
    await ended;
  }
}

/** The program of a node of a cluster. */
let nodeProgram: readonly string[] | undefined;

/** A node of a cluster. */
export class NodeProgram {
  /** Makes its program, before the first one starts. */
  static async prepare(): Promise<void> {
    nodeProgram ??= await bundled('test/support/cluster-program.ts');
  }

  readonly #program: LineProgram<NodeRequest>;
  readonly ready: Promise<unknown>;
  readonly ns: string;
  /** Its state. */
  readonly directory: string;

  constructor(ns: string, directory: string) {
    this.ns = ns;
    this.directory = directory;
    this.#program = new LineProgram(ns, [...nodeProgram!, directory]);
    this.ready = this.#program.ready;
    programs.push(this);
  }

  get errors(): string {
    return this.#program.errors;
  }

  get isRunning(): boolean {
    return this.#program.isRunning;
  }

  /** @throws Error with the node's refusal. */
  async ask<T>(request: NodeRequest): Promise<T> {
    const { answer, error } = (await this.#program.ask(request)) as {
      answer?: unknown;
      error?: { code: string; message: string };
    };
    if (error !== undefined) throw Object.assign(new Error(error.message), { code: error.code });
    return answer as T;
  }

  command<T>(command: NodeRequest['command']): Promise<T> {
    return this.ask<T>({ command: command! });
  }

  /** Ends it: with SIGKILL, or by the end of its input. */
  end(kill: boolean): Promise<void> {
    return this.#program.end(kill);
  }
}

/** Lets all nodes leave their clusters, also those whose programs were killed, and ends them. */
export async function endPrograms(): Promise<void> {
  const last = new Map(programs.map((program) => [program.directory, program]));
  for (const { ns, directory, isRunning } of last.values()) if (!isRunning) await new NodeProgram(ns, directory).ready;
  for (const program of programs.splice(0)) {
    if (program.isRunning) await program.ask({ leave: true }).catch(() => undefined);
    await program.end(true);
  }
}
