/** A process that opens many TCP connections and misbehaves on them, and what a test needs to judge the result. */
import { spawn, type ChildProcess } from 'node:child_process';
import { readdirSync } from 'node:fs';

export interface Strangers {
  /** Where they connect to. */
  port: number;
  host?: string;
  /** The address they connect from; the last octet of every further one is one more. */
  from: string;
  addresses?: number;
  count: number;
  /** What each connection sends first, in base64. Default nothing. */
  first?: Uint8Array;
  /** Milliseconds between two single octets that follow; 0, the default, for none. */
  trickle?: number;
  /** Whether they read what the other side sends. Default true. */
  reads?: boolean;
}

/** What the strangers count. */
export interface Tally {
  /** Connections that are open, as far as they know. */
  open: number;
  /** Longest life of a connection so far, in milliseconds. */
  longest: number;
  /** Connections that were accepted or refused. */
  tried: number;
}

const PROGRAM = `
  const { connect } = require('node:net');
  const { port, host = '127.0.0.1', from, addresses = 1, count, first, trickle = 0, reads = true } = JSON.parse(process.argv[1]);
  const base = from.slice(0, from.lastIndexOf('.') + 1);
  const last = Number(from.slice(base.length));
  const tally = { open: 0, longest: 0, tried: 0 };
  const since = new Map();
  for (let i = 0; i < count; i++) {
    const socket = connect({ port, host, localAddress: base + (last + (i % addresses)), allowHalfOpen: true });
    if (!reads) socket.pause(); else socket.resume();
    socket.on('error', () => undefined);
    socket.on('connect', () => {
      tally.tried++;
      tally.open++;
      since.set(socket, performance.now());
      if (first) socket.write(Buffer.from(first, 'base64'));
      if (trickle > 0) setInterval(() => socket.writable && socket.write('\\x06'), trickle);
    });
    socket.on('close', () => {
      if (!since.has(socket)) return void tally.tried++;
      tally.open--;
      tally.longest = Math.max(tally.longest, performance.now() - since.get(socket));
      since.delete(socket);
    });
  }
  setInterval(() => console.log(JSON.stringify(tally)), 50);
  process.stdin.on('end', () => process.exit()).resume();
`;

export class StrangerProcess {
  tally: Tally = { open: 0, longest: 0, tried: 0 };
  readonly #child: ChildProcess;
  readonly #ended: Promise<unknown>;

  constructor({ first, ...rest }: Strangers) {
    const options = { ...rest, ...(first === undefined ? {} : { first: Buffer.from(first).toString('base64') }) };
    this.#child = spawn(process.execPath, ['-e', PROGRAM, JSON.stringify(options)], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#ended = new Promise((resolve) => this.#child.on('exit', resolve));
    let text = '';
    this.#child.stdout!.on('data', (data: Buffer) => {
      text += data.toString();
      const lines = text.split('\n');
      text = lines.pop()!;
      if (lines.length > 0) this.tally = JSON.parse(lines.at(-1)!) as Tally;
    });
  }

  async end(): Promise<void> {
    this.#child.stdin!.end();
    await this.#ended;
  }
}

/** Number of open file descriptors of a process. */
export function descriptors(pid: number | 'self' = 'self'): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}
