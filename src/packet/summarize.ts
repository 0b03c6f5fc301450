import * as arp from '../arp/index.js';
import * as icmp from '../icmp/index.js';
import * as ipv6 from '../ipv6/index.js';
import * as tcp from '../tcp/index.js';
import * as vxlan from '../vxlan/index.js';
import { getU32, OPTION_END, OPTION_NOP, type Option } from '../wire/index.js';
import type { ArpLayer, EthernetLayer, IcmpLayer, Ipv4Layer, Ipv6Layer, Layer, TcpLayer, VlanLayer } from './layers.js';
import { icmpv6Text } from './icmpv6-text.js';
import { etherTypeName, protocolName } from './names.js';

/**
 * A packet in one line, in tcpdump's format: `IP 10.0.0.3 > 10.0.0.4: ICMP echo request, id 1, seq 1, length 64`. The
 * inner packet of a tunnel follows after ` / `. TCP sequence numbers are absolute, as with `tcpdump -S`.
 */
export function summarize(layers: readonly Layer[]): string {
  let text = '';
  /** Payload length of the nearest IP header, according to the header. */
  let carried = 0;
  for (let i = 0; i < layers.length; i++) {
    const layer = layers[i]!;
    const next = layers[i + 1];
    const last = isRest(next);
    switch (layer.protocol) {
      case 'ethernet':
        if (last) text += `${layer.source} > ${layer.destination}, ${kind(layer)}, length ${bytesFrom(layers, i)}`;
        break;
      case 'vlan':
        text += `vlan ${layer.id}, p ${layer.priority}, ${layer.dropEligible ? 'DEI, ' : ''}`;
        if (last) text += `${kind(layer)}, length ${bytesFrom(layers, i)}`;
        break;
      case 'sll':
      case 'sll2':
        if (last)
          text += `${layer.address}, ethertype ${etherTypeName(layer.etherType)}, length ${bytesFrom(layers, i)}`;
        break;
      case 'null':
      case 'loop':
        if (last) text += `AF ${layer.family}, length ${bytesFrom(layers, i)}`;
        break;
      case 'arp':
        text += arpText(layer, bytesFrom(layers, i));
        break;
      case 'ipv4':
      case 'ipv6': {
        const ports = next?.protocol === 'udp' || next?.protocol === 'tcp' ? next : undefined;
        const [from, to] = ports === undefined ? ['', ''] : [`.${ports.sourcePort}`, `.${ports.destinationPort}`];
        text += `${layer.protocol === 'ipv4' ? 'IP' : 'IP6'} ${layer.source}${from} > ${layer.destination}${to}: `;
        carried = layer.protocol === 'ipv4' ? layer.totalLength : layer.payloadLength + ipv6.HEADER_LENGTH;
        carried = carried <= layer.size ? bytesFrom(layers, i + 1) : carried - layer.size;
        if (last) text += upperText(layer, next, carried);
        else if (next!.protocol === 'ethernet') text += 'ethernet / ';
        break;
      }
      case 'icmp':
        text += icmpText(layer, next, carried);
        break;
      case 'icmpv6':
        text += icmpv6Text(layer, next, carried);
        break;
      case 'udp':
        if (next?.protocol !== 'vxlan') text += `UDP, length ${Math.max(layer.length - layer.size, 0)}`;
        break;
      case 'tcp':
        text += tcpText(layer, carried - layer.size);
        break;
      case 'vxlan':
        text += `VXLAN, flags [${vxlanFlags(layer.flags)}] (0x${layer.flags.toString(16).padStart(2, '0')}), vni ${layer.vni}`;
        if (!last) text += ' / ';
        break;
      case 'payload':
        if (i === 0) text += `length ${layer.size}`;
        break;
      case 'trailer':
        break;
    }
  }
  return text;
}

/** Whether weft does not decode the next layer. */
function isRest(next: Layer | undefined): boolean {
  return next === undefined || next.protocol === 'payload' || next.protocol === 'trailer';
}

/** Bytes from the layer at `from` to the end of the layers inside it. */
function bytesFrom(layers: readonly Layer[], from: number): number {
  let total = 0;
  for (let i = from; i < layers.length; i++) {
    const layer = layers[i]!;
    if (layer.protocol !== 'trailer' || layer.behind >= from) total += layer.size;
  }
  return total;
}

function kind({ etherType }: EthernetLayer | VlanLayer): string {
  return etherType === undefined ? '802.3' : `ethertype ${etherTypeName(etherType)}`;
}

function arpText(layer: ArpLayer, length: number): string {
  const { operation } = layer;
  let text = `unknown (${operation})`;
  if (!('senderMac' in layer)) text = `unknown hardware (${layer.hardwareType}), operation ${operation}`;
  else if (operation === arp.REQUEST) text = `Request who-has ${layer.targetIp} tell ${layer.senderIp}`;
  else if (operation === arp.REPLY) text = `Reply ${layer.senderIp} is-at ${layer.senderMac}`;
  else if (operation === 3) text = `Reverse Request who-is ${layer.targetMac} tell ${layer.senderMac}`;
  else if (operation === 4) text = `Reverse Reply ${layer.targetMac} at ${layer.targetIp}`;
  return `ARP, ${text}, length ${length}`;
}

/** Describes the payload of an IP header that weft does not decode. */
function upperText(layer: Ipv4Layer | Ipv6Layer, next: Layer | undefined, length: number): string {
  const first = next?.protocol === 'payload' ? next.bytes[0] : undefined;
  let number: number;
  if (layer.protocol === 'ipv4') {
    number = layer.protocolNumber;
    if (layer.fragmentOffset > 0)
      return `${protocolName(number)}, fragment at ${layer.fragmentOffset}, length ${length}`;
  } else {
    number = layer.upperProtocol ?? layer.nextHeader;
    if (number === ipv6.NEXT_FRAGMENT && next?.protocol === 'payload')
      return `frag, ${protocolName(first ?? number)}, length ${length}`;
  }
  return `${protocolName(number)}, length ${length}`;
}

const UNREACHABLE: readonly ((about: icmp.Quoted) => string)[] = [
  ({ header }) => `net ${header.destination} unreachable`,
  ({ header }) => `host ${header.destination} unreachable`,
  ({ header }) => `${header.destination} protocol ${header.protocol} unreachable`,
  ({ header, destinationPort }) =>
    destinationPort === undefined
      ? `${header.destination} protocol ${header.protocol} port unreachable`
      : `${header.destination} ${protocolName(header.protocol)} port ${destinationPort} unreachable`,
  ({ header }) => `${header.destination} unreachable - need to frag`,
  ({ header }) => `${header.destination} unreachable - source route failed`,
  ({ header }) => `net ${header.destination} unreachable - unknown`,
  ({ header }) => `host ${header.destination} unreachable - unknown`,
  ({ header }) => `${header.destination} unreachable - source host isolated`,
  ({ header }) => `net ${header.destination} unreachable - admin prohibited`,
  ({ header }) => `host ${header.destination} unreachable - admin prohibited`,
  ({ header }) => `net ${header.destination} unreachable - tos prohibited`,
  ({ header }) => `host ${header.destination} unreachable - tos prohibited`,
  ({ header }) => `host ${header.destination} unreachable - admin prohibited filter`,
  ({ header }) => `host ${header.destination} unreachable - host precedence violation`,
  ({ header }) => `host ${header.destination} unreachable - precedence cutoff`,
];
const REDIRECTS: readonly string[] = ['redirect', 'redirect', 'redirect-tos', 'redirect-tos'];

function icmpText(layer: IcmpLayer, next: Layer | undefined, length: number): string {
  const payload = next?.protocol === 'payload' ? next.bytes : new Uint8Array(0);
  return `ICMP ${icmpMessage(layer, icmp.quoted({ ...layer, payload }))}, length ${length}`;
}

function icmpMessage(layer: IcmpLayer, about: icmp.Quoted | null): string {
  const { type, code, identifier, sequence } = layer;
  switch (type) {
    case icmp.ECHO_REQUEST:
      return `echo request, id ${identifier}, seq ${sequence}`;
    case icmp.ECHO_REPLY:
      return `echo reply, id ${identifier}, seq ${sequence}`;
    case icmp.UNREACHABLE: {
      const text = about === null ? undefined : UNREACHABLE[code]?.(about);
      const mtu = (layer.nextHopMtu ?? 0) > 0 ? ` (mtu ${layer.nextHopMtu})` : '';
      return `${text ?? `unreachable - #${code}`}${mtu}`;
    }
    case icmp.REDIRECT: {
      const target = `${code === 0 || code === 2 ? 'net' : 'host'} ${layer.gateway}`;
      return `${REDIRECTS[code] ?? `redirect-#${code}`} ${about?.header.destination ?? '?'} to ${target}`;
    }
    case icmp.TIME_EXCEEDED:
      if (code === 0) return 'time exceeded in-transit';
      return code === 1 ? 'ip reassembly time exceeded' : `time exceeded-#${code}`;
    case icmp.PARAMETER_PROBLEM:
      return code === 0 ? `parameter problem - octet ${layer.pointer}` : `parameter problem - code ${code}`;
    case icmp.SOURCE_QUENCH:
      return 'source quench';
    case icmp.ROUTER_ADVERTISEMENT:
      return 'router advertisement';
    case icmp.ROUTER_SOLICITATION:
      return 'router solicitation';
    case icmp.TIMESTAMP_REQUEST:
      return `time stamp query id ${identifier} seq ${sequence}`;
    case icmp.TIMESTAMP_REPLY: {
      const times = `org ${clock(layer.originate)}, recv ${clock(layer.receive)}, xmit ${clock(layer.transmit)}`;
      return `time stamp reply id ${identifier} seq ${sequence}: ${times}`;
    }
    case icmp.INFORMATION_REQUEST:
      return 'information request';
    case icmp.INFORMATION_REPLY:
      return 'information reply';
    case icmp.MASK_REQUEST:
      return 'address mask request';
    case icmp.MASK_REPLY:
      return `address mask is ${layer.mask}`;
    default:
      return `type-#${type}`;
  }
}

/** Milliseconds since midnight as `HH:MM:SS.fff`. */
function clock(milliseconds = 0): string {
  const part = (unit: number, digits: number): string => String(Math.floor(unit)).padStart(digits, '0');
  const seconds = milliseconds / 1000;
  const day = `${part(seconds / 3600, 2)}:${part((seconds / 60) % 60, 2)}:${part(seconds % 60, 2)}`;
  return `${day}.${part(milliseconds % 1000, 3)}`;
}

const TCP_FLAGS: readonly (readonly [number, string])[] = [
  [tcp.FLAG_FIN, 'F'],
  [tcp.FLAG_SYN, 'S'],
  [tcp.FLAG_RST, 'R'],
  [tcp.FLAG_PSH, 'P'],
  [tcp.FLAG_ACK, '.'],
  [tcp.FLAG_URG, 'U'],
  [tcp.FLAG_ECE, 'E'],
  [tcp.FLAG_CWR, 'W'],
  [tcp.FLAG_AE, 'e'],
];

function tcpText(layer: TcpLayer, dataLength: number): string {
  const { flags, sequence } = layer;
  const length = Math.max(dataLength, 0);
  const letters = TCP_FLAGS.map(([flag, letter]) => ((flags & flag) === 0 ? '' : letter)).join('');
  let text = `Flags [${letters === '' ? 'none' : letters}]`;
  if (length > 0) text += `, seq ${sequence}:${(sequence + length) % 2 ** 32}`;
  else if ((flags & (tcp.FLAG_SYN | tcp.FLAG_FIN | tcp.FLAG_RST)) !== 0) text += `, seq ${sequence}`;
  if ((flags & tcp.FLAG_ACK) !== 0) text += `, ack ${layer.acknowledgment}`;
  text += `, win ${layer.window}`;
  if ((flags & tcp.FLAG_URG) !== 0) text += `, urg ${layer.urgentPointer}`;
  if (layer.options.length > 0) text += `, options [${layer.options.map(tcpOption).join(',')}]`;
  return `${text}, length ${length}`;
}

function tcpOption({ kind, data, malformed }: Option): string {
  if (malformed) return 'bad opt';
  const number = (): number => data.reduce((value, octet) => value * 256 + octet, 0);
  switch (kind) {
    case OPTION_END:
      return 'eol';
    case OPTION_NOP:
      return 'nop';
    case tcp.OPTION_MSS:
      return `mss ${number()}`;
    case tcp.OPTION_WINDOW_SCALE:
      return `wscale ${number()}`;
    case tcp.OPTION_SACK_PERMITTED:
      return 'sackOK';
    case tcp.OPTION_SACK: {
      let blocks = '';
      for (let at = 0; at + 8 <= data.length; at += 8) blocks += `{${getU32(data, at)}:${getU32(data, at + 4)}}`;
      return `sack ${Math.floor(data.length / 8)} ${blocks}`;
    }
    case tcp.OPTION_TIMESTAMPS:
      return data.length === 8 ? `TS val ${getU32(data, 0)} ecr ${getU32(data, 4)}` : 'bad opt';
    default:
      return `unknown-${kind}`;
  }
}

/** The letters of a VXLAN header's flags: those of RFC 7348, Group Policy and GPE. */
function vxlanFlags(flags: number): string {
  let letters = (flags & vxlan.FLAG_GROUP) !== 0 ? 'G' : '';
  if ((flags & vxlan.FLAG_VNI) !== 0) letters += 'I';
  if ((flags & vxlan.FLAG_NEXT_PROTOCOL) !== 0) letters += 'P';
  return letters === '' ? '.' : letters;
}
