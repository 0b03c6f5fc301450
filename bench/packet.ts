/** The packet of the codec benchmarks: a ping from C1 to C2 as it crosses the underlay, 148 bytes. */
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

/** Offset of the inner frame. */
export const INNER = ethernet.HEADER_LENGTH + ipv4.MIN_HEADER_LENGTH + udp.HEADER_LENGTH + vxlan.HEADER_LENGTH;

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

/** Sums of all fields read, of the outer and of the inner headers, so that V8 cannot eliminate a read. */
export const seen = new Float64Array(2);

/**
 * Checks every header and reads every address, VNI and port with the accessors.
 * @returns the end of the last header; negative if one is malformed.
 */
export function readFields(bytes: Uint8Array): number {
  const end = bytes.length;
  const frame = readOuter(bytes, end);
  return frame < 0 ? frame : readInner(bytes, frame, end);
}

/** Ethernet, IPv4, UDP and VXLAN. */
function readOuter(bytes: Uint8Array, end: number): number {
  let length = ethernet.check(bytes, 0, end);
  if (length < 0) return length;
  let sum = ethernet.getDestination(bytes, 0) + ethernet.getSource(bytes, 0) + ethernet.getEtherType(bytes, 0);
  let at = length;
  length = ipv4.check(bytes, at, end);
  if (length < 0) return length;
  sum += ipv4.getSource(bytes, at) + ipv4.getDestination(bytes, at) + ipv4.getProtocol(bytes, at);
  at += length;
  length = udp.check(bytes, at, end);
  if (length < 0) return length;
  sum += udp.getSourcePort(bytes, at) + udp.getDestinationPort(bytes, at);
  at += length;
  length = vxlan.check(bytes, at, end);
  if (length < 0) return length;
  seen[0] = sum + vxlan.getVni(bytes, at);
  return at + length;
}

/** Ethernet, IPv4 and ICMP. */
function readInner(bytes: Uint8Array, offset: number, end: number): number {
  let at = offset;
  let length = ethernet.check(bytes, at, end);
  if (length < 0) return length;
  let sum = ethernet.getDestination(bytes, at) + ethernet.getSource(bytes, at) + ethernet.getEtherType(bytes, at);
  at += length;
  length = ipv4.check(bytes, at, end);
  if (length < 0) return length;
  sum += ipv4.getSource(bytes, at) + ipv4.getDestination(bytes, at);
  seen[1] = sum + ipv4.getProtocol(bytes, at);
  at += length;
  length = icmp.check(bytes, at, end);
  return length < 0 ? length : at + length;
}

/**
 * Lets V8 optimize both halves before anything calls them together. V8 inlines functions that it has not optimized yet,
 * up to a budget that the two exceed: then some accessors stay calls, and reading takes up to twice as long. The same
 * holds in programs: let a function that reads packets cover one to three headers.
 */
export function warmUp(): void {
  for (let i = 0; i < 200_000; i++) readOuter(PING, PING.length);
  for (let i = 0; i < 200_000; i++) readInner(PING, INNER, PING.length);
}
