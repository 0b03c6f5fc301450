/**
 * Sandboxes: network namespaces with a device, and the commands that run in them. All of it outlives this process. A record
 * on disk comes before everything else that is made for a sandbox and goes after it, so that a process that finds the
 * record can complete the sandbox or remove it, wherever the one before it was killed.
 *
 *     DIRECTORY/NAME/sandbox.json        the record
 *     DIRECTORY/NAME/workloads/ID/       a command: its shim, process, output and exit status
 *     /run/netns/weft-NAME               the namespace
 *     /etc/netns/weft-NAME/              resolv.conf and hosts, as `ip netns exec` binds them
 *
 * One process at a time uses a directory; the caller sees to that.
 */
import { existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { isAbsolute, join } from 'node:path';
import { inPlace, listDevices, readMark } from '../device.js';
import { HostError } from '../error.js';
import { detachTap } from '../kept.js';
import { requireNetns } from '../netns.js';
import { several, valuesOf } from '../several.js';
import { Turns } from '../turns.js';
import { etcOf, removeEtc, writeEtc } from './etc.js';
import { addNamespace, findNamespace, prepareNamespace, removeNamespace } from './namespace.js';
import { addedBy, configureDevice, staleOf } from './network.js';
import { isSandboxName, netnsOf, requirePlan, type SandboxPlan } from './plan.js';
import { endProcesses, processesIn } from './processes.js';
import { requirePrograms } from './programs.js';
import { namesIn, readRecord, writeRecord, type Added, type SandboxRecord } from './record.js';
import { Workload, type WorkloadPlan } from './workload.js';

export interface SandboxesOptions {
  /** An absolute path; made if it is missing. */
  readonly directory: string;
  /** Receives what concerns one sandbox and does not keep the others from being listed or removed. */
  readonly problem?: (error: HostError) => void;
  /** Called after each step that changes the system or a file, with its name. Tests end the process here. */
  readonly step?: (done: string) => void;
}

/** Milliseconds that processes in a sandbox have to end before they are killed. */
const GRACE = 10_000;
/** Sandboxes that are made or removed at a time. Most of the time, each waits for the kernel or for other programs. */
export const AT_ONCE = 8;
const WORKLOADS = 'workloads';
const NOTHING: Added = { addresses: [], routes: [] };

/** A sandbox that exists. */
export class Sandbox {
  readonly name: string;
  /** The name of its namespace, as `ip netns` lists it. */
  readonly netns: string;
  readonly #directory: string;
  readonly #step: (done: string) => void;
  readonly #turns = new Turns();
  readonly #workloads = new Map<string, Workload>();

  /** @param directory The sandbox's own. */
  constructor(name: string, directory: string, step: (done: string) => void) {
    this.name = name;
    this.netns = netnsOf(name);
    this.#directory = directory;
    this.#step = step;
  }

  /** Its record; `undefined` if it has been removed. */
  record(): Promise<SandboxRecord | undefined> {
    return readRecord(this.#directory);
  }

  /** See `Sandboxes.ensure`. */
  ensure(plan: SandboxPlan): Promise<void> {
    return this.#turns.run(async () => {
      let record = await this.record();
      if (record?.state === 'removing') {
        await this.#remove(record, 0);
        record = undefined;
      }
      if (record === undefined) record = await this.#begin(plan);
      const stale = unite(record.stale ?? NOTHING, addedBy(record.plan));
      record = { ...(await this.#complete(record)), plan, state: 'ready', stale: staleOf(stale, addedBy(plan)) };
      await writeEtc(this.netns, plan);
      this.#step('files');
      await this.#write(record);
      this.#step('ready');
    });
  }

  /** Writes the first record. @throws HostError if something of another program has the sandbox's name. */
  async #begin(plan: SandboxPlan): Promise<SandboxRecord> {
    const foreign = (what: string, remove: string): never => {
      throw new HostError(
        `${what} exists already, and this VTEP has no record of it; choose another name, or remove it ("${remove}")`,
        { path: 'name' },
      );
    };
    const { netns } = this;
    if (findNamespace(netns).kind !== 'nothing') foreign(`a network namespace ${netns}`, `ip netns del ${netns}`);
    if (existsSync(etcOf(netns))) foreign(`a directory ${etcOf(netns)}`, `rm -r ${etcOf(netns)}`);
    await rm(this.#directory, { recursive: true, force: true }); // what a removal has left
    const record: SandboxRecord = { version: 1, state: 'creating', plan };
    await this.#write(record);
    this.#step('record');
    return record;
  }

  /** Makes the namespace if it is not there. */
  async #complete(record: SandboxRecord): Promise<SandboxRecord> {
    const { netns } = this;
    const found = findNamespace(netns);
    if (found.kind === 'namespace') {
      if (!(await this.#isOurs(record)))
        throw new HostError(
          `the network namespace ${netns} is not the one that this VTEP has made; remove it ("ip netns del ${netns}")`,
        );
    } else {
      if (found.kind === 'file') await removeNamespace(netns);
      await addNamespace(netns);
      this.#step('namespace');
    }
    const now = findNamespace(netns);
    const identified = now.kind === 'namespace' ? { ...record, namespace: now.identity } : record;
    if (record.state === 'ready' && record.namespace === identified.namespace) return record;
    await this.#write({ ...identified, state: 'creating' });
    this.#step('identity');
    await prepareNamespace(netns);
    this.#step('loopback');
    return identified;
  }

  /** Whether the namespace of this name is the one that the record is about. */
  async #isOurs({ namespace, state }: SandboxRecord): Promise<boolean> {
    const found = findNamespace(this.netns);
    if (found.kind !== 'namespace') return false;
    if (namespace !== undefined) return namespace === found.identity;
    // The process before this one was killed after it had made the namespace, and before it wrote what identifies it.
    return state !== 'ready' && (await processesIn(found.inode)).length === 0;
  }

  /** See `Sandboxes.configure`. */
  configure(): Promise<void> {
    return this.#turns.run(async () => {
      const record = await this.#ready();
      await configureDevice(this.netns, record.plan, record.stale ?? NOTHING);
      this.#step('device');
      const { stale, ...rest } = record;
      if (stale !== undefined && stale.addresses.length + stale.routes.length > 0) await this.#write(rest);
    });
  }

  async #ready(): Promise<SandboxRecord> {
    const record = await this.record();
    if (record?.state !== 'ready') throw new HostError(`there is no sandbox "${this.name}"; create it first`);
    return record;
  }

  /**
   * Starts a command in it, which outlives this process.
   * @throws CommandError, with the exit status 126 or 127, if there is no such program or it cannot be executed; HostError.
   */
  start(plan: WorkloadPlan): Promise<Workload> {
    return this.#turns.run(async () => {
      await this.#ready();
      if (!isSandboxName(plan.id))
        throw new HostError(`"${plan.id}" cannot name a workload; use letters, digits, "_", "." and "-"`, {
          path: 'id',
        });
      requireNetns(this.netns);
      const workload = this.#workload(plan.id);
      await workload.start(plan, this.#step);
      return workload;
    });
  }

  /** Its commands, also those that have ended and those that an earlier process has started. */
  workloads(): Promise<Workload[]> {
    return this.#turns.run(() => this.#list());
  }

  async #list(): Promise<Workload[]> {
    const all = (await namesIn(join(this.#directory, WORKLOADS))).map((id) => this.#workload(id));
    for (const id of this.#workloads.keys()) if (!all.some((one) => one.id === id)) this.#workloads.delete(id);
    for (const one of all) await one.adopt();
    return all;
  }

  #workload(id: string): Workload {
    let workload = this.#workloads.get(id);
    if (workload === undefined || !existsSync(workload.directory)) {
      workload = new Workload(id, join(this.#directory, WORKLOADS, id), this.netns);
      this.#workloads.set(id, workload);
    }
    return workload;
  }

  /** See `Sandboxes.remove`. */
  remove(grace: number): Promise<void> {
    return this.#turns.run(async () => this.#remove(await this.record(), grace));
  }

  async #remove(record: SandboxRecord | undefined, grace: number): Promise<void> {
    const { netns } = this;
    if (record !== undefined) {
      await this.#write({ ...record, state: 'removing' });
      this.#step('removal');
      // No shim starts a command after this.
      const workloads = await this.#list();
      this.#step('adopted');
      const found = findNamespace(netns);
      const isOurs = await this.#isOurs({ ...record, state: 'removing' });
      if (found.kind === 'namespace' && isOurs) {
        await endProcesses(() => processesIn(found.inode), grace);
        this.#step('processes');
      }
      for (const workload of workloads) {
        await workload.stop(0);
        await workload.remove();
        this.#step(`workload ${workload.id}`);
      }
      // A command that was about to start may have left something outside of its session.
      if (found.kind === 'namespace' && isOurs) await endProcesses(() => processesIn(found.inode), 0);
      if (isOurs) {
        await this.#removeTaps();
        this.#step('devices');
      }
      if (isOurs || found.kind === 'file') {
        await removeNamespace(netns);
        this.#step('namespace');
      }
      await removeEtc(netns);
      this.#step('files');
    }
    await rm(this.#directory, { recursive: true, force: true });
    this.#step('removed');
  }

  /** Removes the TAPs now: the kernel would do so some time after it has removed the namespace. */
  async #removeTaps(): Promise<void> {
    for (const { name, alias, tun } of await listDevices(this.netns)) {
      if (tun?.tap !== true || readMark(alias) === undefined) continue;
      await detachTap(name, this.netns).catch((error: unknown) => {
        const reason = (error as Error).message;
        throw new HostError(`TAP ${inPlace(name, this.netns)} of the sandbox cannot be removed: ${reason}`, {
          cause: error,
        });
      });
    }
  }

  #write(record: SandboxRecord): Promise<void> {
    return writeRecord(this.#directory, record);
  }
}

function unite(a: Added, b: Added): Added {
  return { addresses: [...a.addresses, ...b.addresses], routes: [...a.routes, ...b.routes] };
}

/** The sandboxes of one node. */
export class Sandboxes {
  readonly #directory: string;
  readonly #problem: (error: HostError) => void;
  readonly #step: (done: string) => void;
  readonly #known = new Map<string, Sandbox>();

  constructor({ directory, problem = () => undefined, step = () => undefined }: SandboxesOptions) {
    if (!isAbsolute(directory))
      throw new HostError(`the directory of sandboxes needs an absolute path, not ${directory}`);
    this.#directory = directory;
    this.#problem = problem;
    this.#step = step;
  }

  /**
   * Creates a sandbox, completes one that was begun, or changes one to a new plan: its namespace, with the loopback up, and
   * its files. Its device is attached afterwards by `Overlay.attach`, with the sandbox's `netns`, and then configured.
   * @throws HostError with the field of the plan, or what prevents it.
   */
  async ensure(plan: SandboxPlan): Promise<Sandbox> {
    requirePlan(plan);
    requirePrograms(['ip', 'sh']);
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    const sandbox = this.#sandbox(plan.name);
    await sandbox.ensure(plan);
    return sandbox;
  }

  /**
   * Completes the device of a sandbox: its addresses, MTU, default routes and routes, as its plan has them. Removes what an
   * earlier plan had; leaves what others have added.
   * @throws HostError if the device is not there, or what the kernel did not accept.
   */
  configure(name: string): Promise<void> {
    return this.#sandbox(name).configure();
  }

  /** The sandbox of this name; `undefined` if there is none, or it is being removed. */
  async find(name: string): Promise<Sandbox | undefined> {
    if (!isSandboxName(name)) return undefined;
    const sandbox = this.#sandbox(name);
    return (await sandbox.record())?.state === 'ready' ? sandbox : undefined;
  }

  /** The sandboxes that are complete. Those that are half made or half removed wait for `ensure` or `retain`. */
  async list(): Promise<Sandbox[]> {
    const found: Sandbox[] = [];
    for (const name of await this.#names()) {
      const sandbox = await this.#attempt(() => this.find(name));
      if (sandbox !== undefined) found.push(sandbox);
    }
    return found;
  }

  /**
   * Removes a sandbox: ends every process in its namespace, also those that other programs have started, and leaves nothing behind. Does nothing
   * if there is none.
   * @param grace Milliseconds between SIGTERM and SIGKILL.
   * @throws HostError if a process does not end, or another process has its TAP; call it again afterwards.
   */
  async remove(name: string, grace = GRACE): Promise<void> {
    if (!isSandboxName(name)) return;
    await this.#sandbox(name).remove(grace);
    this.#known.delete(name);
  }

  /**
   * Removes every sandbox but these, and what is left of those that were half removed; several at a time.
   * @param removed Called with the name of each that is gone.
   * @returns the names of those that are gone; `problem` has received why others are not.
   */
  async retain(
    names: Iterable<string>,
    grace = GRACE,
    removed: (name: string) => void = () => undefined,
  ): Promise<string[]> {
    const wanted = new Set(names);
    const all = await this.#names();
    const outcomes = await several(all, AT_ONCE, (name) =>
      this.#attempt(async () => {
        const record = await this.#sandbox(name).record();
        if (wanted.has(name) && record !== undefined && record.state !== 'removing') return false;
        await this.remove(name, grace);
        removed(name);
        return true;
      }),
    );
    const gone = valuesOf(outcomes);
    return all.filter((_, i) => gone[i] === true);
  }

  async #names(): Promise<string[]> {
    return (await namesIn(this.#directory)).filter(isSandboxName);
  }

  async #attempt<T>(step: () => Promise<T>): Promise<T | undefined> {
    try {
      return await step();
    } catch (error) {
      if (!(error instanceof HostError)) throw error;
      this.#problem(error);
      return undefined;
    }
  }

  #sandbox(name: string): Sandbox {
    let sandbox = this.#known.get(name);
    if (sandbox === undefined) {
      sandbox = new Sandbox(name, join(this.#directory, name), this.#step);
      this.#known.set(name, sandbox);
    }
    return sandbox;
  }
}
