import * as icmpv6 from '../icmpv6/index.js';
import type { Icmpv6Layer, Layer } from './layers.js';
import { icmpv6Name, protocolName } from './names.js';

const UNREACHABLE: readonly ((about: icmpv6.Quoted) => string)[] = [
  ({ header }) => `unreachable route ${header.destination}`,
  ({ header }) => `unreachable prohibited ${header.destination}`,
  ({ header }) => `beyond scope ${header.destination}, source address ${header.source}`,
  ({ header }) => `unreachable address ${header.destination}`,
  ({ header, protocol, destinationPort }) =>
    destinationPort === undefined
      ? `unreachable port, ${header.destination}`
      : `unreachable port, ${header.destination} ${protocolName(protocol!)} port ${destinationPort}`,
];
const PROBLEMS: readonly string[] = ['erroneous', 'next header', 'option', 'incomplete header chain'];

/**
 * An ICMPv6 message in tcpdump's format: `ICMP6, echo request, id 1, seq 1, length 64`.
 * @param length Bytes of the message, according to the IP header.
 */
export function icmpv6Text(layer: Icmpv6Layer, next: Layer | undefined, length: number): string {
  const payload = next?.protocol === 'payload' ? next.bytes : new Uint8Array(0);
  const text = details(layer, icmpv6.quoted({ ...layer, payload }));
  return `ICMP6, ${icmpv6Name(layer.type)}${text}, length ${length}`;
}

/** What follows the name of a message. A message that is cut may have no fields. */
function details(layer: Icmpv6Layer, about: icmpv6.Quoted | null): string {
  const { type, code, target } = layer;
  switch (type) {
    case icmpv6.ECHO_REQUEST:
    case icmpv6.ECHO_REPLY:
      return layer.identifier === undefined ? '' : `, id ${layer.identifier}, seq ${layer.sequence}`;
    case icmpv6.UNREACHABLE: {
      const text = about === null ? undefined : UNREACHABLE[code]?.(about);
      return `, ${text ?? `unknown unreach code (${code})`}`;
    }
    case icmpv6.PACKET_TOO_BIG:
      return layer.mtu === undefined ? '' : `, mtu ${layer.mtu}`;
    case icmpv6.TIME_EXCEEDED:
      if (code === 0) return ` in-transit${about === null ? '' : ` for ${about.header.destination}`}`;
      return code === 1 ? ' in-transit (reassembly)' : ` in-transit, unknown code (${code})`;
    case icmpv6.PARAMETER_PROBLEM: {
      const problem = PROBLEMS[code];
      return problem === undefined ? `, code-#${code}` : `, ${problem} - octet ${layer.pointer ?? '?'}`;
    }
    case icmpv6.NEIGHBOR_SOLICITATION:
      return target === undefined ? '' : `, who has ${target}`;
    case icmpv6.NEIGHBOR_ADVERTISEMENT:
      return target === undefined ? '' : `, tgt is ${target}`;
    case icmpv6.REDIRECT:
      return target === undefined ? '' : `, ${layer.destination} to ${target}`;
    default:
      return '';
  }
}
