/** The texts of `Vtep.explain`. */
import type { DropReason } from './drops.js';
import { narrowestOf, SOURCE_TEXTS } from './path-limits.js';
import type { Remote } from './remote.js';
import type { VtepSink } from './sink.js';

/** One step of `explain`. */
export interface Step {
  /** The part of the VTEP that decided. */
  stage:
    | 'port'
    | 'vlan'
    | 'underlay'
    | 'vxlan'
    | 'esp'
    | 'ecn'
    | 'fdb'
    | 'arp'
    | 'nd'
    | 'neighbor'
    | 'router'
    | 'flood'
    | 'size'
    | 'drop'
    | 'deliver'
    | 'transmit';
  text: string;
}

/** What would happen to a frame, and why. */
export interface Explanation {
  steps: Step[];
  /** Names of the ports that would send the frame, or an answer to it. */
  delivered: string[];
  /** Addresses of the remotes that would receive a datagram. */
  transmitted: string[];
  dropped: DropReason | null;
  /** The UDP port of the service at a gateway that would get the datagram. */
  service?: number;
}

/** Texts for what the proxies of ARP and neighbor discovery decide, by number. */
export const VERDICTS = [
  '',
  'neither an ARP request nor a neighbor solicitation: the bridge forwards it',
  'an announcement, or a request for the sender’s own address: forwarded, so that all neighbors receive it',
  'the control plane knows no endpoint with the target address',
  'the endpoint with the target address is on this host and answers itself',
];

/** A sink that records what it receives as the last steps of an explanation. */
export function explaining(
  { steps, delivered, transmitted }: Pick<Explanation, 'steps' | 'delivered' | 'transmitted'>,
  nameOf: (port: number) => string,
): VtepSink {
  const addPath = (remote: Remote): void => {
    const { address, undelivered, reason, outerMtu } = remote;
    const source = narrowestOf(remote);
    if (source !== null)
      steps.push({
        stage: 'underlay',
        text: `the path to ${address} carries packets of up to ${outerMtu} bytes, outer headers included, according to ${SOURCE_TEXTS[source]}`,
      });
    if (undelivered > 0)
      steps.push({
        stage: 'underlay',
        text: `${undelivered} datagram(s) to ${address} were reported undelivered so far, the last with ${reason}`,
      });
  };
  const sink: VtepSink = {
    deliver(port, { start, end }) {
      delivered.push(nameOf(port));
      steps.push({ stage: 'deliver', text: `${end - start} bytes leave by ${nameOf(port)}` });
    },
    transmit(remote, { start, end }, from, tos) {
      const { address, port } = remote;
      transmitted.push(address);
      const ecn = tos === 0 ? '' : `, ECN ${tos}`;
      steps.push({ stage: 'transmit', text: `${end - start} bytes to ${address}:${port} from port ${from}${ecn}` });
      addPath(remote);
    },
    transmitSealed(remote, { spi }, { start, end }, from, tos) {
      const { address } = remote;
      transmitted.push(address);
      const ecn = tos === 0 ? '' : `, ECN ${tos}`;
      steps.push({ stage: 'esp', text: `${end - start} bytes are encrypted, SPI 0x${hex(spi)}` });
      steps.push({ stage: 'transmit', text: `an ESP packet to ${address} from port ${from}${ecn}` });
      addPath(remote);
    },
  };
  return { ...sink, transmitFragmented: sink.transmit };
}

function hex(spi: number): string {
  return spi.toString(16).padStart(8, '0');
}
