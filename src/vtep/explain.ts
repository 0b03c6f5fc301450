/** The texts of `Vtep.explain`. */
import type { DropReason } from './drops.js';
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
  const addUndelivered = (address: string, undelivered: number, reason: string): void => {
    if (undelivered > 0)
      steps.push({
        stage: 'underlay',
        text: `${undelivered} datagram(s) to ${address} were reported undelivered so far, the last with ${reason}`,
      });
  };
  return {
    deliver(port, { start, end }) {
      delivered.push(nameOf(port));
      steps.push({ stage: 'deliver', text: `${end - start} bytes leave by ${nameOf(port)}` });
    },
    transmit({ address, port, undelivered, reason }, { start, end }, from, tos) {
      transmitted.push(address);
      const ecn = tos === 0 ? '' : `, ECN ${tos}`;
      steps.push({ stage: 'transmit', text: `${end - start} bytes to ${address}:${port} from port ${from}${ecn}` });
      addUndelivered(address, undelivered, reason);
    },
    transmitSealed({ address, undelivered, reason }, { spi }, { start, end }, from, tos) {
      transmitted.push(address);
      const ecn = tos === 0 ? '' : `, ECN ${tos}`;
      steps.push({ stage: 'esp', text: `${end - start} bytes are encrypted, SPI 0x${hex(spi)}` });
      steps.push({ stage: 'transmit', text: `an ESP packet to ${address} from port ${from}${ecn}` });
      addUndelivered(address, undelivered, reason);
    },
  };
}

function hex(spi: number): string {
  return spi.toString(16).padStart(8, '0');
}
