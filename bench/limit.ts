/**
 * limit.c and how to run it: a C program that moves the same super-frames as the engine `linux` with the same system
 * calls, and does nothing to them. It shows what the system calls alone allow.
 */
import { join } from 'node:path';
import { missing } from '../test/support/needs.js';
import { must, REPOSITORY, run, waitFor, type Lab, type Running } from '../test/support/lab.js';

/** Without debugging or a target processor, as distributions build. */
const COMPILE = ['cc', '-O3', '-Wall', '-Wextra', '-o'];
/**
 * Most segments of the kernel's super-frames: as many as fit into one send call at an MTU of 1450. The engine sets this
 * on its TAPs.
 */
const SEGMENTS = 44;

/** A program to run, or the reason why there is none. */
export type Built = { program: string } | { reason: string };

/** Compiles limit.c into a directory. */
export async function buildLimit(directory: string): Promise<Built> {
  if (missing(['cc']).length > 0) return { reason: 'there is no C compiler (cc)' };
  const program = join(directory, 'limit');
  const { code, stderr } = await run([...COMPILE, program, join(REPOSITORY, 'bench', 'limit.c')]);
  return code === 0 ? { program } : { reason: `cc does not compile bench/limit.c: ${stderr.trim()}` };
}

export interface LimitOptions {
  /** The namespace of the sockets, and that of the TAP. */
  node: string;
  container: string;
  /** Addresses on the underlay. */
  local: string;
  remote: string;
  vni: string;
  /** The TAP's name and its address with prefix length. */
  tap: string;
  address: string;
  mtu: number;
  /** Whether to compute the checksums of inner frames, which any peer but this program itself requires. */
  sums?: boolean;
  /** Microseconds. */
  busyPoll?: number;
}

/** Starts it in a laboratory and sets its TAP up. */
export async function startLimit(lab: Lab, program: string, options: LimitOptions): Promise<Running> {
  const { node, container, local, remote, vni, tap, address, mtu, sums = false, busyPoll = 0 } = options;
  const flags = [...(sums ? ['-s'] : []), '-b', String(busyPoll), '-n', `/var/run/netns/${container}`];
  const running = lab.spawn([program, ...flags, tap, local, remote, vni], { ns: node });
  await waitFor('limit to be ready', () => running.stdout === 'ready\n' || !running.running);
  if (!running.running) throw new Error(`limit ended: ${(await running.ended).stderr}`);
  const link = (...words: string[]): Promise<string> => must(['ip', '-n', container, ...words]);
  await link('link', 'set', tap, 'mtu', String(mtu), 'gso_max_segs', String(SEGMENTS), 'up');
  await link('addr', 'add', address, 'dev', tap);
  return running;
}

/** What limit.c counts, by the names of the engine's counters. */
export type LimitCounts = Record<string, number>;

/** Reads the counters of a running one. */
export async function limitCounts(running: Running): Promise<LimitCounts> {
  const { length } = running.stderr;
  running.signal('SIGUSR1');
  await waitFor('the counters', () => running.stderr.slice(length).endsWith('\n'));
  return JSON.parse(running.stderr.slice(length)) as LimitCounts;
}
