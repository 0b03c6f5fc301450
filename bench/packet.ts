/** The packet that the codec figures are about: a ping from C1 to C2 as it crosses the underlay, 148 bytes. */
import * as ethernet from '../src/ethernet/index.js';
import * as icmp from '../src/icmp/index.js';
import * as ipv4 from '../src/ipv4/index.js';
import * as udp from '../src/udp/index.js';
import * as vxlan from '../src/vxlan/index.js';

const inner = ethernet.encode({
  destination: '02:42:0a:00:00:04',
  source: '02:42:0a:00:00:03',
  etherType: ethernet.TYPE_IPV4,
  payload: ipv4.encode({
    protocol: ipv4.PROTOCOL_ICMP,
    source: '10.0.0.3',
    destination: '10.0.0.4',
    payload: icmp.encode({ type: 8, code: 0, identifier: 1, sequence: 1, payload: new Uint8Array(56) }),
  }),
});

/** Ethernet, IPv4, UDP, VXLAN, Ethernet, IPv4, ICMP. */
export const PING = ethernet.encode({
  destination: '02:00:00:00:00:01',
  source: '02:00:00:00:00:02',
  etherType: ethernet.TYPE_IPV4,
  payload: ipv4.encode({
    protocol: ipv4.PROTOCOL_UDP,
    source: '172.31.1.5',
    destination: '192.168.1.25',
    payload: udp.encode(
      { sourcePort: 49_152, destinationPort: vxlan.PORT, payload: vxlan.encode({ vni: 4097, payload: inner }) },
      { source: '172.31.1.5', destination: '192.168.1.25' },
    ),
  }),
});

/** Numbers made of all that was read, so that no reading is left out. */
export const seen = new Float64Array(4);

/**
 * The fields tier on it: every header checked, and every address, VNI and port read.
 * @returns where the last header ends; negative where one is wrong.
 */
export function readFields(bytes: Uint8Array): number {
  const end = bytes.length;
  let at = readFrame(bytes, 0, end, 0);
  if (at < 0) return at;
  at = readTunnel(bytes, at, end);
  if (at < 0) return at;
  at = readFrame(bytes, at, end, 2);
  return at < 0 ? at : readEcho(bytes, at, end);
}

/** Ethernet and IPv4. */
function readFrame(bytes: Uint8Array, offset: number, end: number, slot: number): number {
  const link = ethernet.check(bytes, offset, end);
  if (link < 0) return link;
  const packet = offset + link;
  const length = ipv4.check(bytes, packet, end);
  if (length < 0) return length;
  seen[slot] =
    ethernet.getDestination(bytes, offset) +
    ethernet.getSource(bytes, offset) +
    ethernet.getEtherType(bytes, offset) +
    ipv4.getSource(bytes, packet) +
    ipv4.getDestination(bytes, packet) +
    ipv4.getProtocol(bytes, packet);
  return packet + length;
}

/** UDP and VXLAN. */
function readTunnel(bytes: Uint8Array, offset: number, end: number): number {
  const datagram = udp.check(bytes, offset, end);
  if (datagram < 0) return datagram;
  const header = offset + datagram;
  const length = vxlan.check(bytes, header, end);
  if (length < 0) return length;
  seen[1] = udp.getSourcePort(bytes, offset) + udp.getDestinationPort(bytes, offset) + vxlan.getVni(bytes, header);
  return header + length;
}

function readEcho(bytes: Uint8Array, offset: number, end: number): number {
  const length = icmp.check(bytes, offset, end);
  if (length < 0) return length;
  seen[3] = icmp.getType(bytes, offset) + icmp.getCode(bytes, offset) + icmp.getIdentifier(bytes, offset);
  return offset + length;
}
