/** Checks every few seconds that this host still has the VTEP's address, on a device that is up. */
import { networkInterfaces } from 'node:os';
import { canonicalIp } from '../schema/index.js';
import { ipJson } from './ip.js';
import { type Logger } from './log.js';

/** The fault, or an empty string. */
export type Fault = '' | 'gone' | 'down';

/** Milliseconds between two checks: the check costs more than everything else that an idle VTEP does. */
const INTERVAL = 3000;
/** The same while the address is missing, and between checks because datagrams fail. */
const RETRY = 1000;

export class AddressWatch {
  readonly #local: string;
  readonly #log: Logger;
  readonly #changed: (fault: Fault) => void;
  readonly #look: () => Promise<Fault>;
  #timer: NodeJS.Timeout | undefined;
  #fault: Fault = '';
  #since = 0;
  #busy = false;
  #checked = -Infinity;
  #closed = false;

  /**
   * @param changed Called on each change.
   * @param look Returns the current fault; tests pass their own.
   */
  constructor(
    local: string,
    log: Logger,
    changed: (fault: Fault) => void = () => undefined,
    look = (): Promise<Fault> => faultOf(local),
  ) {
    this.#local = local;
    this.#log = log;
    this.#changed = changed;
    this.#look = look;
    this.#arm();
  }

  get fault(): Fault {
    return this.#fault;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #arm(): void {
    if (this.#closed) return;
    const delay = this.#fault === '' ? INTERVAL : RETRY;
    this.#timer = setTimeout(() => void this.check().then(() => this.#arm()), delay).unref();
  }

  /** Checks again, unless the last check is recent: many remotes may fail at once. */
  async recheck(): Promise<void> {
    if (performance.now() - this.#checked >= RETRY) await this.check();
  }

  async check(): Promise<void> {
    if (this.#busy) return;
    this.#busy = true;
    this.#checked = performance.now();
    try {
      const fault = await this.#look();
      if (fault !== this.#fault) this.#change(fault);
    } catch {
      // the check itself failed: keep the last known state
    } finally {
      this.#busy = false;
    }
  }

  #change(fault: Fault): void {
    const address = this.#local;
    const now = performance.now();
    if (this.#fault === '') this.#since = now;
    this.#fault = fault;
    if (fault === '') {
      const seconds = Math.round((now - this.#since) / 1000);
      this.#log.info('local-address-back', `${address}, the address of this VTEP, is back after ${seconds} s`, {
        address,
        seconds,
      });
    } else
      this.#log.error(
        'local-address-lost',
        fault === 'gone'
          ? `${address}, the address of this VTEP, is gone from this host: nothing is sent or received until it is back ("ip addr add")`
          : `the device that has ${address}, the address of this VTEP, is down or has no carrier: nothing is sent or received until it is up ("ip link")`,
        { address, fault },
      );
    this.#changed(fault);
  }
}

async function faultOf(local: string): Promise<Fault> {
  if (local.startsWith('127.')) return '';
  // Lists addresses of devices that are up and have a carrier: one cheap call in the good case.
  const up = Object.values(networkInterfaces()).some((list) =>
    list?.some(({ address }) => address === local || (!address.includes('%') && canonicalIp(address) === local)),
  );
  if (up) return '';
  interface Device {
    flags?: string[];
    addr_info?: { local?: string }[];
  }
  const devices = await ipJson<Device>(['addr']);
  const device = devices.find(({ addr_info: list = [] }) => list.some((entry) => entry.local === local));
  if (device === undefined) return 'gone';
  const flags = device.flags ?? [];
  return flags.includes('UP') && !flags.includes('NO-CARRIER') ? '' : 'down';
}
