/** Nodes of a cluster as programs in namespaces, for tests. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { NodeRequest } from './cluster-program.js';
import { REPOSITORY } from './lab.js';

const programs: NodeProgram[] = [];

/** A node in a namespace. */
export class NodeProgram {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #answers: ((line: string) => void)[] = [];
  readonly ready: Promise<unknown>;
  errors = '';
  readonly ns: string;
  /** Its state. */
  readonly directory: string;

  constructor(ns: string, directory: string) {
    this.ns = ns;
    this.directory = directory;
    const words = [
      'netns',
      'exec',
      ns,
      process.execPath,
      '--import',
      'tsx',
      'test/support/cluster-program.ts',
      directory,
    ];
    this.#child = spawn('ip', words, { cwd: REPOSITORY });
    this.#child.stderr.on('data', (data: Buffer) => (this.errors += data.toString()));
    createInterface({ input: this.#child.stdout }).on('line', (line) => this.#answers.shift()?.(line));
    this.ready = this.#answer();
    this.ready.catch(() => undefined);
    programs.push(this);
  }

  #answer(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no answer; it wrote: ${this.errors}`)), 60_000);
      this.#answers.push((line) => {
        clearTimeout(timer);
        const { answer, error } = JSON.parse(line) as { answer?: unknown; error?: { code: string; message: string } };
        if (error === undefined) resolve(answer);
        else reject(Object.assign(new Error(error.message), { code: error.code }));
      });
    });
  }

  async ask<T>(request: NodeRequest): Promise<T> {
    const answer = this.#answer();
    this.#child.stdin.write(`${JSON.stringify(request)}\n`);
    return (await answer) as T;
  }

  command<T>(command: NodeRequest['command']): Promise<T> {
    return this.ask<T>({ command: command! });
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

/** Lets all nodes leave their clusters, also those whose programs were killed, and ends them. */
export async function endPrograms(): Promise<void> {
  const last = new Map(programs.map((program) => [program.directory, program]));
  for (const { ns, directory, isRunning } of last.values()) if (!isRunning) await new NodeProgram(ns, directory).ready;
  for (const program of programs.splice(0)) {
    if (program.isRunning) await program.ask({ leave: true }).catch(() => undefined);
    await program.end(true);
  }
}
