/**
 * A router between two segments. The input is a series of operations: a kind octet, a length in two octets, and as many
 * bytes.
 *
 *     0, 1   a frame of a port of the first or the second segment
 *     2, 3   a frame out of a tunnel, likewise
 *     4      time passes: seconds from the first byte
 *     5      the answer to the oldest request for the service at port 53: the bytes
 *
 * Whatever happens, the router writes nothing outside a frame, changes no frame of others, routes and answers nothing out
 * of a tunnel, and keeps its tables within their limits. What it routes and sends is sound, and a request for the service
 * comes from a station of its segment.
 */
import * as ethernet from '../src/ethernet/index.js';
import * as ipv4 from '../src/ipv4/index.js';
import * as ipv6 from '../src/ipv6/index.js';
import { prefixContains } from '../src/model/index.js';
import {
  NOT_OURS,
  PENDING,
  Router,
  TAKEN,
  TUNNEL,
  type RouterSink,
  type ServiceRequest,
  type Services,
} from '../src/router/index.js';
import { ensure, equal } from '../test/support/contract.js';

const VNIS = [4097, 4098];
const MAC = '02:42:0a:00:00:01';
const HEADROOM = 16;
const CANARY = 32;
const NEIGHBORS = 8;
/** Addresses that are being asked, at most. */
const INCOMPLETE = 256;
/** Fragments of a packet of 64 KiB for the MTU of the second segment, at most. */
const FRAGMENTS = 300;

/** Requests that wait, at most. */
const REQUESTS = 4;
/** Where the stations of a segment have their addresses. */
const SUBNETS: Readonly<Record<number, readonly string[]>> = {
  4097: ['10.0.0.0/24', 'fd00::/64', 'fe80::/10'],
  4098: ['10.0.1.0/24', 'fd00:1::/64', 'fe80::/10'],
};

function machine(services: Services): Router {
  const router = new Router({ mac: MAC, headroom: HEADROOM, neighbors: NEIGHBORS, services });
  router.addInterface({ vni: 4097, gateway: '10.0.0.1/24' });
  router.addInterface({ vni: 4097, gateway: 'fd00::1/64' });
  router.addInterface({ vni: 4098, gateway: '10.0.1.1/24', mtu: 300 });
  router.addInterface({ vni: 4098, gateway: 'fd00:1::1/64', mtu: 1280 });
  router.addRoute({ prefix: '0.0.0.0/0', via: '10.0.1.9' });
  return router;
}

/** A frame of the router has its MAC address as the source, and a valid IP header if it has one. */
function isSound(router: Router, bytes: Uint8Array, offset: number, end: number): void {
  ensure(ethernet.getSource(bytes, offset) === router.mac, 'the source is not the gateway');
  const [type, ip] = [ethernet.getEtherType(bytes, offset), offset + ethernet.HEADER_LENGTH];
  if (type === ethernet.TYPE_IPV4) {
    ensure(ipv4.check(bytes, ip, end) > 0 && ipv4.verifyChecksum(bytes, ip), 'an invalid IPv4 header');
    ensure(ipv4.getTtl(bytes, ip) > 0, 'a TTL of 0');
  } else if (type === ethernet.TYPE_IPV6) {
    ensure(ipv6.check(bytes, ip, end) > 0, 'an invalid IPv6 header');
    ensure(ipv6.getHopLimit(bytes, ip) > 0, 'a hop limit of 0');
  } else ensure(type === ethernet.TYPE_ARP, `a frame of type ${type}`);
}

/** A request for the service is one that an answer can reach. */
function isRequest({ vni, from, source, sourcePort, gateway, gatewayPort, room }: ServiceRequest): void {
  ensure(VNIS.includes(vni) && from !== TUNNEL, `a request in segment ${vni}, port ${from}`);
  ensure(gatewayPort === 53 && sourcePort !== 0, `a request from port ${sourcePort} to ${gatewayPort}`);
  ensure(
    SUBNETS[vni]!.some((prefix) => prefixContains(prefix, source)),
    `a request of ${source} in ${vni}`,
  );
  ensure(source.includes(':') === gateway.includes(':'), `${source} asks ${gateway}`);
  ensure(room > 0 && room < 1450, `room for ${room} bytes`);
}

export function fuzz(data: Uint8Array): void {
  const waiting: ServiceRequest[] = [];
  const router = machine({
    ports: new Set([53]),
    admits: () => waiting.length < REQUESTS,
    take(request) {
      isRequest(request);
      waiting.push(request);
    },
  });
  let now = 0;
  let answers = 0;
  let sent = 0;
  const sink: RouterSink = {
    answer(vni, from, bytes, offset, end) {
      answers++;
      ensure(VNIS.includes(vni) && from !== TUNNEL, `an answer for segment ${vni}, port ${from}`);
      ensure(offset === HEADROOM, `a headroom of ${offset}`);
      isSound(router, bytes, offset, end);
      bytes.fill(0xa5);
    },
    send(vni, bytes, offset, end) {
      sent++;
      ensure(VNIS.includes(vni) && offset === HEADROOM, `a frame for segment ${vni}, with a headroom of ${offset}`);
      isSound(router, bytes, offset, end);
      bytes.fill(0xa5);
    },
  };
  for (let at = 0; at + 3 <= data.length;) {
    const kind = data[at]! % 6;
    const input = data.subarray(at + 3, at + 3 + ((data[at + 1]! << 8) | data[at + 2]!));
    at += 3 + input.length;
    answers = sent = 0;
    if (kind === 4) {
      now += (input[0] ?? 1) * 1000;
      router.tick(now, sink);
      continue;
    }
    if (kind === 5) {
      const request = waiting.shift();
      if (request === undefined) continue;
      const sentIt = router.respond(request, input, now, sink);
      equal([sentIt, answers], input.length > request.room ? ['too-big', 0] : ['sent', 1], 'an answer');
      continue;
    }
    const bytes = new Uint8Array(CANARY + input.length + CANARY).fill(0xa5);
    bytes.set(input, CANARY);
    const end = CANARY + input.length;
    const from = kind < 2 ? kind : TUNNEL;
    const result = router.receive(VNIS[kind & 1]!, from, bytes, CANARY, end, now, sink);
    ensure(result >= TAKEN && (result < 0 || VNIS.includes(result)), `receive returned ${result}`);
    ensure(
      [...bytes.subarray(0, CANARY), ...bytes.subarray(end)].every((octet) => octet === 0xa5),
      'the router wrote outside the frame',
    );
    if (result === NOT_OURS) equal(bytes.subarray(CANARY, end), input, 'a frame of others');
    if (result >= 0) isSound(router, bytes, CANARY, end);
    if (from === TUNNEL) ensure(result < 0 && answers === 0 && result !== PENDING, 'routed out of a tunnel');
    if (from === TUNNEL) ensure(result !== TAKEN, 'a request out of a tunnel');
    ensure(answers <= 1 && sent <= FRAGMENTS, `${answers} answers and ${sent} frames for one`);
    const known = router.neighbors();
    ensure(known.length <= NEIGHBORS + INCOMPLETE, `${known.length} neighbors`);
    ensure(known.filter(({ mac }) => mac !== null).length <= NEIGHBORS, 'too many known neighbors');
  }
}
