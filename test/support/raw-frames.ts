/** The network devices of a namespace, frame by frame, through raw-frames.py. */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { waitFor } from './lab.js';

const SCRIPT = fileURLToPath(new URL('raw-frames.py', import.meta.url));

/** Sends and receives the frames of devices, in hexadecimal. */
export class RawFrames {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  #pending = '';
  #ready = false;
  /** Takes each frame that arrives. */
  onFrame: (device: string, frame: string) => void = () => undefined;

  private constructor(ns: string, devices: readonly string[]) {
    const command = ['netns', 'exec', ns, 'python3', SCRIPT, ...devices];
    this.#child = spawn('ip', command, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#child.stdout.on('data', (data: Buffer) => this.#read(data.toString()));
  }

  static async open(ns: string, devices: readonly string[]): Promise<RawFrames> {
    const frames = new RawFrames(ns, devices);
    await waitFor('raw-frames.py to listen', () => frames.#ready || frames.#child.exitCode !== null);
    if (!frames.#ready) throw new Error(`raw-frames.py ended with ${frames.#child.exitCode}`);
    return frames;
  }

  #read(text: string): void {
    const lines = (this.#pending + text).split('\n');
    this.#pending = lines.pop()!;
    for (const line of lines) {
      const [device = '', frame] = line.split(' ');
      if (frame === undefined) this.#ready = true;
      else this.onFrame(device, frame);
    }
  }

  send(device: string, frame: string): void {
    this.#child.stdin.write(`${device} ${frame}\n`);
  }

  /** Ends the program. */
  async close(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.stdin.end();
    await ended;
  }
}
