/**
 * tshark as the oracle: parses its JSON including duplicate keys, and compares a packet's layers with it, down to the
 * first one that tshark calls malformed or that one of the two does not know.
 */
import { spawn } from 'node:child_process';
import { formatIpv6, parseIpv6 } from '../../src/address/index.js';
import { decodeOption } from '../../src/icmpv6/index.js';
import type { Dissection, Layer } from '../../src/packet/index.js';

/** A JSON object whose keys may occur twice, like the layers inside a tunnel. */
export class Fields {
  constructor(readonly entries: readonly (readonly [string, Json])[]) {}
}
export type Json = string | number | boolean | null | Json[] | Fields;

/** Parses JSON and keeps duplicate keys, in order. */
export function parseJson(text: string): Json {
  let at = 0;
  const token = /[\s,:]*(?:([{}[\]])|"((?:[^"\\]|\\.)*)"|([^\s,:{}[\]"]+))/y;
  const value = (): Json | undefined => {
    token.lastIndex = at;
    const match = token.exec(text);
    if (match === null) throw new Error(`no JSON at ${at}: ${text.slice(at, at + 60)}`);
    at = token.lastIndex;
    const [, bracket, string, word] = match;
    if (string !== undefined) return string.includes('\\') ? (JSON.parse(`"${string}"`) as string) : string;
    if (word !== undefined) return JSON.parse(word) as Json;
    if (bracket === '{') {
      const entries: [string, Json][] = [];
      for (let key = value(); key !== undefined; key = value()) entries.push([key as string, value()!]);
      return new Fields(entries);
    }
    if (bracket === '[') {
      const items: Json[] = [];
      for (let item = value(); item !== undefined; item = value()) items.push(item);
      return items;
    }
    return undefined;
  };
  return value()!;
}

/** A layer in tshark's output: its name and fields. */
export interface TsharkLayer {
  name: string;
  fields: Fields;
}

/** Runs tshark on a file and returns each packet's layers: a comment if there is one, `frame`, and the protocols. */
export async function tshark(file: string, args: readonly string[] = []): Promise<TsharkLayer[][]> {
  const child = spawn('tshark', ['-T', 'json', '-r', file, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const out: Buffer[] = [];
  const errors: Buffer[] = [];
  child.stdout.on('data', (data: Buffer) => out.push(data));
  child.stderr.on('data', (data: Buffer) => errors.push(data));
  const code = await new Promise((resolve, reject) => child.on('error', reject).on('close', resolve));
  const text = Buffer.concat(out).toString();
  if (code !== 0 && text === '') throw new Error(`tshark ${file}: ${Buffer.concat(errors).toString()}`);
  const packets = text.trim() === '' ? [] : parseJson(text);
  return (packets as Json[]).map((packet) => {
    const layers = find(find(packet as Fields, '_source') as Fields, 'layers') as Fields;
    return layers.entries.map(([name, fields]) => ({
      name,
      fields: fields instanceof Fields ? fields : new Fields([]),
    }));
  });
}

function find(fields: Fields, key: string): Json | undefined {
  return fields.entries.find(([name]) => name === key)?.[1];
}

/** tshark's names of the layers that weft reads. */
const NAMES: Readonly<Record<string, Layer['protocol']>> = {
  eth: 'ethernet',
  vlan: 'vlan',
  ieee8021ad: 'vlan',
  arp: 'arp',
  rarp: 'arp',
  ip: 'ipv4',
  ipv6: 'ipv6',
  icmp: 'icmp',
  icmpv6: 'icmpv6',
  udp: 'udp',
  tcp: 'tcp',
  vxlan: 'vxlan',
  sll: 'sll',
  null: 'null',
};

/** Whether weft reads a layer with this tshark name. */
export function isKnown(name: string): boolean {
  return NAMES[name] !== undefined;
}

/** Layers that weft distinguishes and tshark does not. */
const ALIASES: Readonly<Record<string, string>> = { loop: 'null', sll2: 'sll' };

/** The value of a field of a layer or its subtrees, but not of quoted packets. */
export function field(layer: TsharkLayer, key: string): string | undefined {
  const search = (fields: Fields): string | undefined => {
    for (const [name, value] of fields.entries) {
      if (name === key && typeof value === 'string') return value;
      if (value instanceof Fields && NAMES[name] === undefined) {
        const found = search(value);
        if (found !== undefined) return found;
      }
    }
    return undefined;
  };
  return search(layer.fields);
}

/** Whether tshark marks a layer as malformed with an expert message of that group. */
export function isMalformed(layer: TsharkLayer): boolean {
  const GROUP_MALFORMED = String(0x0700_0000);
  const search = (fields: Fields): boolean =>
    fields.entries.some(([name, value]) =>
      name === '_ws.expert.group' ? value === GROUP_MALFORMED : value instanceof Fields && search(value),
    );
  return search(layer.fields);
}

type Value = string | number | boolean | undefined;
/** Our value and tshark's, made comparable. */
type Pair = readonly [what: string, ours: Value, theirs: Value];

function number(text: string | undefined): number | undefined {
  return text === undefined ? undefined : Number(text);
}

function flag(text: string | undefined): boolean | undefined {
  return text === undefined ? undefined : Number(text) !== 0;
}

/** As RFC 5952 writes it; tshark writes `::0.1.0.0`. */
function ipv6Text(text: string | undefined): string | undefined {
  return text === undefined ? undefined : formatIpv6(parseIpv6(text));
}

/** The fields of a layer that must be equal. */
function pairs(ours: Layer, theirs: TsharkLayer): Pair[] {
  const text = (key: string): string | undefined => field(theirs, key);
  const count = (key: string): number | undefined => number(field(theirs, key));
  switch (ours.protocol) {
    case 'ethernet':
      return [
        ['destination', ours.destination, text('eth.dst')],
        ['source', ours.source, text('eth.src')],
        // tshark shows neither for the undefined values from 1501 to 1535.
        ['etherType', ours.etherType, text('eth.invalid_lentype') === undefined ? count('eth.type') : ours.etherType],
        ['length', ours.length, count('eth.len')],
      ];
    case 'vlan': {
      const { name } = theirs;
      // tshark never reads the field behind an S-TAG as a length.
      const type = count(name === 'vlan' ? 'vlan.etype' : 'ieee8021ah.etype') ?? count('vlan.len');
      const following: Pair = ['etherType or length', ours.etherType ?? ours.length, type];
      const inner = count('ieee8021ad.cvid');
      if (inner !== undefined) return [['id', ours.id, inner], following];
      return [
        ['priority', ours.priority, count(`${name}.priority`)],
        ['dropEligible', ours.dropEligible, flag(text(`${name}.dei`))],
        ['id', ours.id, count(`${name}.id`)],
        following,
      ];
    }
    case 'arp': {
      const common: Pair[] = [
        ['operation', ours.operation, count('arp.opcode')],
        ['hardwareType', ours.hardwareType, count('arp.hw.type')],
        ['protocolType', ours.protocolType, count('arp.proto.type')],
        ['hardwareLength', ours.hardwareLength, count('arp.hw.size')],
        ['protocolLength', ours.protocolLength, count('arp.proto.size')],
      ];
      if (!('senderMac' in ours) || ours.hardwareType !== 1 || ours.protocolType !== 0x0800) return common;
      return [
        ...common,
        ['senderMac', ours.senderMac, text('arp.src.hw_mac')],
        ['senderIp', ours.senderIp, text('arp.src.proto_ipv4')],
        ['targetMac', ours.targetMac, text('arp.dst.hw_mac')],
        ['targetIp', ours.targetIp, text('arp.dst.proto_ipv4')],
      ];
    }
    case 'ipv4': {
      const eighths = count('ip.frag_offset'); // tshark 4.0 gives the field, in units of eight bytes
      return [
        ['size', ours.size, count('ip.hdr_len')],
        ['dscp', ours.dscp, count('ip.dsfield.dscp')],
        ['ecn', ours.ecn, count('ip.dsfield.ecn')],
        ['totalLength', ours.totalLength, count('ip.len')],
        ['identification', ours.identification, count('ip.id')],
        ['reservedFlag', ours.reservedFlag, flag(text('ip.flags.rb') ?? text('ip.flags.sf'))],
        ['dontFragment', ours.dontFragment, flag(text('ip.flags.df'))],
        ['moreFragments', ours.moreFragments, flag(text('ip.flags.mf'))],
        ['fragmentOffset', ours.fragmentOffset, eighths === undefined ? undefined : eighths * 8],
        ['ttl', ours.ttl, count('ip.ttl')],
        ['protocolNumber', ours.protocolNumber, count('ip.proto')],
        ['checksum', ours.checksum, count('ip.checksum')],
        ['source', ours.source, text('ip.src')],
        ['destination', ours.destination, text('ip.cur_rt') ?? text('ip.dst')], // with a source route, ip.dst is the final destination
      ];
    }
    case 'ipv6':
      return [
        ['dscp', ours.dscp, count('ipv6.tclass.dscp')],
        ['ecn', ours.ecn, count('ipv6.tclass.ecn')],
        ['flowLabel', ours.flowLabel, count('ipv6.flow')],
        ['payloadLength', ours.payloadLength, count('ipv6.plen')],
        ['nextHeader', ours.nextHeader, count('ipv6.nxt')],
        ['hopLimit', ours.hopLimit, count('ipv6.hlim')],
        ['source', ours.source, ipv6Text(text('ipv6.src'))],
        ['destination', ours.destination, ipv6Text(text('ipv6.dst'))],
      ];
    case 'icmp': {
      const common: Pair[] = [
        ['type', ours.type, count('icmp.type')],
        ['code', ours.code, count('icmp.code')],
        ['checksum', ours.checksum, count('icmp.checksum')],
      ];
      if (ours.identifier !== undefined)
        common.push(
          ['identifier', ours.identifier, count('icmp.ident')],
          ['sequence', ours.sequence, count('icmp.seq')],
        );
      if (ours.gateway !== undefined) common.push(['gateway', ours.gateway, text('icmp.redir_gw')]);
      if (ours.nextHopMtu !== undefined) common.push(['nextHopMtu', ours.nextHopMtu, count('icmp.mtu')]);
      return common;
    }
    case 'icmpv6': {
      const common: Pair[] = [
        ['type', ours.type, count('icmpv6.type')],
        ['code', ours.code, count('icmpv6.code')],
        ['checksum', ours.checksum, count('icmpv6.checksum')],
      ];
      const target = text(`icmpv6.nd.${ours.type === 135 ? 'ns' : ours.type === 136 ? 'na' : 'rd'}.target_address`);
      const more: Partial<Record<number, () => Pair[]>> = {
        2: () => [['mtu', ours.mtu, count('icmpv6.mtu')]],
        4: () => [['pointer', ours.pointer, count('icmpv6.pointer')]],
        128: () => [
          ['identifier', ours.identifier, count('icmpv6.echo.identifier')],
          ['sequence', ours.sequence, count('icmpv6.echo.sequence_number')],
        ],
        134: () => [
          ['hopLimit', ours.hopLimit, count('icmpv6.nd.ra.cur_hop_limit')],
          ['managed', ours.managed, flag(text('icmpv6.nd.ra.flag.m'))],
          ['otherConfiguration', ours.otherConfiguration, flag(text('icmpv6.nd.ra.flag.o'))],
          ['lifetime', ours.lifetime, count('icmpv6.nd.ra.router_lifetime')],
          ['reachableTime', ours.reachableTime, count('icmpv6.nd.ra.reachable_time')],
          ['retransmitTimer', ours.retransmitTimer, count('icmpv6.nd.ra.retrans_timer')],
        ],
        136: () => [
          ['router', ours.router, flag(text('icmpv6.nd.na.flag.r'))],
          ['solicited', ours.solicited, flag(text('icmpv6.nd.na.flag.s'))],
          ['override', ours.override, flag(text('icmpv6.nd.na.flag.o'))],
        ],
        137: () => [['destination', ours.destination, ipv6Text(text('icmpv6.rd.na.destination_address'))]],
      };
      const options = (ours.options ?? []).flatMap((option): Pair[] => {
        const fields = decodeOption(option);
        if (fields?.type === 5) return [['option MTU', fields.mtu, count('icmpv6.opt.mtu')]];
        if (fields?.type !== 3) return [];
        return [
          ['prefix', fields.prefix, ipv6Text(text('icmpv6.opt.prefix'))],
          ['prefix length', fields.prefixLength, count('icmpv6.opt.prefix.length')],
        ];
      });
      return [
        ...common,
        ...(more[ours.type === 129 ? 128 : ours.type]?.() ?? []),
        ...(ours.target === undefined ? [] : [['target', ours.target, ipv6Text(target)] as const]),
        ...options,
      ];
    }
    case 'udp':
      return [
        ['sourcePort', ours.sourcePort, count('udp.srcport')],
        ['destinationPort', ours.destinationPort, count('udp.dstport')],
        ['length', ours.length, count('udp.length')],
        ['checksum', ours.checksum, count('udp.checksum')],
      ];
    case 'tcp':
      return [
        ['size', ours.size, count('tcp.hdr_len')],
        ['sourcePort', ours.sourcePort, count('tcp.srcport')],
        ['destinationPort', ours.destinationPort, count('tcp.dstport')],
        ['sequence', ours.sequence, count('tcp.seq_raw')],
        ['acknowledgment', ours.acknowledgment, count('tcp.ack_raw')],
        ['flags', (ours.reserved << 9) | ours.flags, count('tcp.flags')],
        ['window', ours.window, count('tcp.window_size_value')],
        ['checksum', ours.checksum, count('tcp.checksum')],
        ['urgentPointer', ours.urgentPointer, count('tcp.urgent_pointer')],
      ];
    case 'vxlan': {
      const flags = count('vxlan.flags'); // one octet of GPE, else two
      const first: Pair[] =
        text('vxlan.next_proto') === undefined
          ? [
              ['flags', (ours.flags << 8) | (ours.reserved1 >>> 16), flags],
              ['group', ours.reserved1 & 0xffff, count('vxlan.gbp')],
            ]
          : [
              ['flags', ours.flags, flags],
              ['nextProtocol', ours.reserved1 & 0xff, count('vxlan.next_proto')],
            ];
      return [...first, ['vni', ours.vni, count('vxlan.vni')], ['reserved2', ours.reserved2, count('vxlan.reserved8')]];
    }
    case 'sll':
    case 'sll2':
      return [
        ['packetType', ours.packetType, count('sll.pkttype')],
        ['hardwareType', ours.hardwareType, count('sll.hatype')],
        ['etherType', ours.etherType, count('sll.etype') ?? ours.etherType],
        ['address', ours.address, text('sll.src.eth') ?? ours.address],
        ['interfaceIndex', ours.interfaceIndex, count('sll.ifindex')],
      ];
    case 'null':
    case 'loop':
      return [['family', ours.family, count('null.family') ?? count('null.type')]];
    default:
      return [];
  }
}

/**
 * Compares a packet's layers with tshark's and returns the differences, one line each. Stops at the first layer that
 * tshark marks as malformed, that one of the two does not know, or that results from reassembly, which weft does not
 * do.
 */
export function differences(ours: Dissection, theirs: readonly TsharkLayer[]): string[] {
  const found: string[] = [];
  const layers = ours.layers.filter(({ protocol }) => protocol !== 'payload' && protocol !== 'trailer');
  let position = 0;
  for (let i = theirs.findIndex(({ name }) => name === 'frame') + 1; i < theirs.length; i++) {
    const theirLayer = theirs[i]!;
    const ourLayer = layers[position];
    const expected = NAMES[theirLayer.name];
    if (theirLayer.name.startsWith('_ws.')) return found; // malformed, or truncated by the capture
    if (expected === undefined) {
      // tshark 4.0 does not know port 8472 as VXLAN.
      if (ourLayer?.protocol === 'vxlan' && field(theirs[i - 1]!, 'udp.dstport') === '8472') return found;
      const passedOver = layers.some((layer) => isFragment(layer)) || field(theirs[i - 1]!, 'vxlan.p_bit') === '0';
      if (theirLayer.name === 'data' && ourLayer !== undefined && !passedOver)
        found.push(`${ourLayer.protocol} at ${ourLayer.offset} is only data to tshark`);
      return found;
    }
    if (find(theirLayer.fields, 'ieee8021ad') !== undefined) return found; // 802.1ah, which weft does not read
    // tshark also treats the source port as VXLAN's, against RFC 7348, section 5.
    if (expected === 'vxlan' && !toVxlan(theirs[i - 1]!)) return found;
    if (field(theirLayer, 'ip.bogus_ip_version') !== undefined) continue; // tshark shows only the version
    const malformed = isMalformed(theirLayer) || theirs[i + 1]?.name.startsWith('_ws.') === true;
    const partial = malformed || gaveUp(theirLayer);
    if (ALIASES[ourLayer?.protocol ?? ''] !== expected && ourLayer?.protocol !== expected) {
      if (!partial) found.push(`tshark has ${theirLayer.name} where there is ${ourLayer?.protocol ?? 'nothing'}`);
      return found;
    }
    if (field(theirLayer, 'ieee8021ad.svid') !== undefined) position++; // two tags shown as one
    for (const [what, our, their] of pairs(layers[position]!, theirLayer))
      if (our !== their && !(partial && their === undefined) && !(what === 'size' && ours.stopped !== null))
        found.push(`${expected}.${what} is ${our}, but ${their} in tshark`);
    if (malformed || isReassembled(theirLayer) || endsChain(theirLayer)) return found;
    position++;
  }
  const more = layers[position];
  if (more !== undefined) found.push(`${more.protocol} at ${more.offset} is missing in tshark`);
  return found;
}

/** Whether a UDP layer's destination is a port of VXLAN or VXLAN-GPE. */
function toVxlan(udp: TsharkLayer): boolean {
  return ['4789', '8472', '4790'].includes(field(udp, 'udp.dstport')!);
}

/** Whether tshark stopped reading a header after an invalid length. */
function gaveUp(layer: TsharkLayer): boolean {
  const marks = ['ip.bogus_ip_length', 'ip.bogus_header_length', 'tcp.bogus_header_length'];
  return marks.some((mark) => field(layer, mark) !== undefined);
}

/**
 * Whether the layers that follow in tshark's output are not the payload: behind an ICMP error, the layers inside a
 * quoted VXLAN packet; behind IPv6, the layers after a mobility header, which tshark treats as the last.
 */
function endsChain(layer: TsharkLayer): boolean {
  return ['ip', 'ipv6', 'mipv6'].some((name) => find(layer.fields, name) instanceof Fields);
}

function isFragment(layer: Layer): boolean {
  return (
    (layer.protocol === 'ipv4' && layer.moreFragments) || (layer.protocol === 'ipv6' && layer.extensions !== undefined)
  );
}

/** Whether tshark reassembled the payload of this layer from several packets. */
function isReassembled(layer: TsharkLayer): boolean {
  return layer.fields.entries.some(([name]) => name === 'ip.fragments' || name === 'ipv6.fragments');
}
