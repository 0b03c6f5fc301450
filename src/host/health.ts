/** Writes a running VTEP's log about the underlay and the traffic, from its engine's reports. */
import { type NoticePlace } from '../schema/index.js';
import { type Explanation, type Finding, type FindingPlace } from '../vtep/index.js';
import { AddressWatch } from './address-watch.js';
import { inPlace } from './device.js';
import { type Logger } from './log.js';
import { Reachability } from './reachability.js';
import { type EngineReport } from './troubles.js';
import { NoRouteError, pathTo } from './underlay.js';

const TICK = 1000;
/** Milliseconds between two checks for missing routes, and the number of remotes checked each time. */
const ROUTES = 5000;
const ROUTES_AT_A_TIME = 4;
/** Number of remotes whose routes `explain` looks up. */
const EXPLAINED = 8;

export class Health {
  readonly #local: string;
  readonly #log: Logger;
  readonly #tapOf: TapOf;
  readonly #reachability: Reachability;
  readonly #address: AddressWatch;
  /** Runs only while there are failures, because each wakeup costs an idle VTEP processor time. */
  #timer: NodeJS.Timeout | undefined;
  #routesDue = 0;
  #looking = false;
  #closed = false;

  constructor(local: string, log: Logger, tapOf: TapOf) {
    this.#local = local;
    this.#log = log;
    this.#tapOf = tapOf;
    this.#reachability = new Reachability(log);
    this.#address = new AddressWatch(local, log, (fault) => (this.#reachability.muted = fault !== ''));
  }

  close(): void {
    this.#closed = true;
    clearInterval(this.#timer);
    this.#address.close();
  }

  report(report: EngineReport): void {
    const now = performance.now();
    switch (report.type) {
      case 'failed':
        // Without the local address every datagram fails, whatever the remote.
        void this.#address.recheck().then(() => {
          this.#reachability.failed(report.address, report.code, report.count, report.known, now);
          if (!this.#closed) this.#timer ??= setInterval(() => this.#tick(), TICK).unref();
        });
        return;
      case 'received':
        return this.#reachability.back(report.address, now);
      case 'narrowed': {
        const { address, mtu } = report;
        const text = `the MTU of the path to VTEP ${address} has become smaller: inner packets may have at most ${mtu} bytes; senders of larger packets receive an ICMP error`;
        return this.#log.warning('path-narrowed', text, { address, mtu }, { key: address });
      }
      case 'noticed':
        return logFinding(this.#log, report.finding, this.#tapOf);
    }
  }

  /** Adds the state of this host's address, and of the routes to the remotes that the packet would go to. */
  async explain(explanation: Explanation): Promise<Explanation> {
    const { steps, transmitted } = explanation;
    if (transmitted.length === 0) return explanation;
    const { fault } = this.#address;
    if (fault !== '') {
      const text = fault === 'gone' ? 'is gone from this host' : 'is on a device that is down';
      steps.push({ stage: 'underlay', text: `${this.#local}, the address of this VTEP, ${text}: nothing can be sent` });
      return explanation;
    }
    await Promise.all(
      [...new Set(transmitted)].slice(0, EXPLAINED).map(async (address) => {
        if (await this.#hasRoute(address)) return;
        steps.push({ stage: 'underlay', text: `this host has no route to ${address}: datagrams to it are dropped` });
      }),
    );
    return explanation;
  }

  #tick(): void {
    const now = performance.now();
    this.#reachability.tick(now);
    if (!this.#reachability.any) {
      clearInterval(this.#timer);
      this.#timer = undefined;
      return;
    }
    if (now < this.#routesDue || this.#looking) return;
    const addresses = this.#reachability.withoutRoute();
    if (addresses.length === 0 || this.#address.fault !== '') return;
    this.#routesDue = now + ROUTES;
    void this.#lookForRoutes(addresses.slice(0, ROUTES_AT_A_TIME));
  }

  async #lookForRoutes(addresses: readonly string[]): Promise<void> {
    this.#looking = true;
    for (const address of addresses)
      this.#reachability.route(address, await this.#hasRoute(address), performance.now());
    this.#looking = false;
  }

  async #hasRoute(address: string): Promise<boolean> {
    try {
      await pathTo(address, this.#local);
      return true;
    } catch (error) {
      return !(error instanceof NoRouteError); // without `ip`, the route is unknown
    }
  }
}

/** Returns the TAP of a port; `undefined` if it has been detached. */
type TapOf = (port: number) => { name: string; netns?: string } | undefined;

function placeOf({ port, vtep }: FindingPlace, tapOf: TapOf): NoticePlace {
  const tap = port === null ? undefined : tapOf(port);
  return { tap: tap?.name ?? null, netns: tap?.netns ?? null, vtep };
}

function placeText({ tap, netns, vtep }: NoticePlace): string {
  if (vtep !== null) return `VTEP ${vtep}`;
  return tap === null ? 'an unknown place' : `TAP ${inPlace(tap, netns ?? undefined)}`;
}

/** Logs a finding of a machine, once a minute for each network and address. */
function logFinding(log: Logger, finding: Finding, tapOf: TapOf): void {
  const { vni } = finding;
  switch (finding.kind) {
    case 'mac-flood': {
      const { learned, refused } = finding;
      const place = placeOf(finding.place, tapOf);
      const text =
        refused > 0
          ? `${refused} MAC addresses were not learned: the table, or the share of ${placeText(place)}, is full`
          : `${learned} new MAC addresses in about a second`;
      return log.warning(
        'mac-flood',
        `network ${vni}: MAC flood: ${text}; the last came from ${placeText(place)}`,
        { vni, learned, refused, place },
        { key: String(vni) },
      );
    }
    case 'mac-moves': {
      const { mac, moves } = finding;
      const places = finding.places.map((one) => placeOf(one, tapOf));
      return log.warning(
        'loop',
        `network ${vni}: MAC address ${mac} moved ${moves} times in about a second, between ${places.map(placeText).join(' and ')}: a loop, or two hosts with this address`,
        { vni, mac, moves, places },
        { key: `${vni} ${mac}` },
      );
    }
    case 'duplicate-address': {
      const { ip, macs, known } = finding;
      const place = placeOf(finding.place, tapOf);
      return log.warning(
        'duplicate-address',
        known
          ? `network ${vni}: duplicate address ${ip}: the endpoint with this address has ${macs[0]}, but ${macs[1]} behind ${placeText(place)} also claims it`
          : `network ${vni}: duplicate address ${ip}: ${macs[0]} and ${macs[1]}, the latter behind ${placeText(place)}, both claim it`,
        { vni, ip, macs, place },
        { key: `${vni} ${ip}` },
      );
    }
  }
}
