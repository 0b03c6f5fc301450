/** How a router finds the MAC addresses of next hops. The expected frames are scapy's. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ipv4ToText, parseIpv4, parseIpv6 } from '../src/address/index.js';
import * as arp from '../src/arp/index.js';
import * as icmpv6 from '../src/icmpv6/index.js';
import * as ipv6 from '../src/ipv6/index.js';
import { build, type LayerToBuild } from '../src/packet/index.js';
import { LEARNED, NOT_OURS, PENDING, TUNNEL } from '../src/router/index.js';
import { NeighborTable } from '../src/router/neighbors.js';
import { makeInterface } from '../src/router/routes.js';
import { hashOf, wordsOf } from '../src/router/words.js';
import { hex } from './support/hex.js';
import { C1, C2, FAR, frameOf, FRAMES, GATEWAY_MAC, NEAR, PORT, routerHost } from './support/router-host.js';

const NOTHING = new Uint8Array(0);
const unknown = { lookup: (): number => 0 };

for (const [suffix, type] of [
  ['', 'IPv4'],
  ['6', 'IPv6'],
] as const) {
  const [question, reply, probe] = FRAMES[`ask${suffix}`]!;
  const [packet, after] = FRAMES[`routed${suffix}`]!;
  const ask = { vni: FAR, frame: question };
  const learn = (host: ReturnType<typeof routerHost>): void => {
    host.receive(packet);
    assert.is(host.receive(reply, { vni: FAR, from: 9 }).result, LEARNED);
    host.clear();
  };

  test(`${type}: a packet to an unknown MAC address waits for the answer to the router's question`, () => {
    const host = routerHost(unknown);
    assert.is(host.receive(packet).result, PENDING);
    assert.is(host.receive(packet).result, PENDING);
    assert.equal([host.sent, host.answers], [[ask], []], 'one question for two packets');
    host.clear();
    assert.is(host.receive(reply, { vni: FAR, from: 9 }).result, LEARNED);
    const sent = { vni: FAR, frame: after };
    assert.equal([host.sent, host.answers], [[sent, sent], []]);
    assert.equal(host.receive(packet), { result: FAR, frame: after }, 'the next one does not wait');
    assert.equal(host.router.neighbors(), [
      { ip: suffix === '' ? C2.ip : C2.ip6, vni: FAR, mac: C2.mac, state: 'reachable' },
    ]);
    assert.equal(host.counts(), { routed: 3, asked: 1, learned: 1, held: 2 });
  });

  test(`${type}: after three questions of a second, the senders learn that the host is unreachable`, () => {
    const host = routerHost(unknown);
    host.receive(packet);
    host.receive(packet, { from: 7 });
    host.wait(999);
    host.tick();
    assert.equal(host.sent, [ask], 'not before a second');
    host.wait(1);
    for (const asked of [2, 3]) {
      host.tick();
      assert.equal([host.sent.length, host.answers.length], [asked, 0]);
      host.wait(1000);
    }
    assert.equal(host.sent, [ask, ask, ask]);
    host.tick();
    const [error] = FRAMES[`unanswered${suffix}`]!;
    assert.equal(host.answers, [
      { vni: NEAR, from: PORT, frame: error },
      { vni: NEAR, from: 7, frame: error },
    ]);
    assert.equal([host.drops(), host.router.neighbors()], [{ 'no-neighbor': 2 }, []]);
    host.clear();
    assert.is(host.receive(packet).result, PENDING, 'the next packet asks again');
    assert.equal(host.sent, [ask]);
  });

  test(`${type}: an address in use is asked again after 30 seconds, by unicast; another is forgotten`, () => {
    const host = routerHost(unknown);
    learn(host);
    host.receive(packet);
    for (let i = 0; i < 29; i++) host.second();
    assert.equal(host.sent, []);
    host.second();
    assert.equal(host.sent, [{ vni: FAR, frame: probe }]);
    assert.is(host.router.neighbors()[0]!.state, 'probing');
    assert.is(host.receive(packet).result, FAR, 'its MAC address is used meanwhile');
    host.receive(reply, { vni: FAR, from: 9 });
    assert.is(host.router.neighbors()[0]!.state, 'reachable');
    host.receive(packet);
    for (let i = 0; i < 30; i++) host.second();
    assert.is(host.sent.length, 2, 'used, and asked again');
    host.receive(reply, { vni: FAR, from: 9 });
    for (let i = 0; i < 29; i++) host.second();
    assert.is(host.router.neighbors().length, 1);
    host.second();
    assert.equal([host.router.neighbors(), host.sent.length], [[], 2], 'unused for 30 seconds');
  });

  test(`${type}: an address that does not answer any more is forgotten after three questions`, () => {
    const host = routerHost(unknown);
    learn(host);
    host.receive(packet);
    for (let i = 0; i < 32; i++) host.second();
    const again = { vni: FAR, frame: probe };
    assert.equal([host.sent, host.router.neighbors().length], [[again, again, again], 1]);
    host.second();
    assert.equal([host.sent.length, host.router.neighbors().length], [3, 0]);
  });

  test(`${type}: the control plane's word counts more than an answer, also for a packet that waits`, () => {
    let mac = 0;
    const host = routerHost({ lookup: (vni) => (vni === FAR ? mac : 0) });
    host.receive(packet);
    host.clear();
    mac = 0x0242_0a00_0104;
    host.tick();
    assert.equal(host.sent, [{ vni: FAR, frame: after }]);
    mac = 0x0242_0a00_0105;
    const { result, frame } = host.receive(packet);
    assert.equal([result, frame], [FAR, after.replace(/^02420a000104/, '02420a000105')]);
  });

  test(`${type}: the router learns only from answers to its own questions, and overhears changes`, () => {
    const host = routerHost(unknown);
    assert.is(host.receive(reply, { vni: FAR, from: 9 }).result, LEARNED, 'another host may have asked');
    assert.equal(host.router.neighbors(), []);
    learn(host);
    assert.is(host.receive(reply, { vni: FAR, from: TUNNEL }).result, LEARNED);
    const moved = frameOf(suffix === '' ? announcement('02:42:0a:00:01:99') : advertisement('02:42:0a:00:01:99'));
    assert.is(host.receive(moved, { vni: NEAR }).result, NOT_OURS, 'another segment');
    assert.is(host.router.neighbors()[0]!.mac, C2.mac);
    assert.is(host.receive(moved, { vni: FAR, from: TUNNEL }).result, NOT_OURS, 'the bridge passes it on');
    assert.is(host.router.neighbors()[0]!.mac, '02:42:0a:00:01:99');
    assert.is(host.counts()['learned'], 2);
  });

  test(`${type}: an answer is no answer with a group, no or the gateway's MAC address`, () => {
    for (const mac of ['01:00:5e:00:00:01', '00:00:00:00:00:00', GATEWAY_MAC]) {
      const host = routerHost(unknown);
      host.receive(packet);
      host.receive(frameOf(suffix === '' ? arpReply(mac) : advertisement(mac, true)), { vni: FAR, from: TUNNEL });
      assert.is(host.router.neighbors()[0]!.mac, null, mac);
    }
  });
}

/** A frame with an ARP packet of {@link C2}'s address at `mac`. */
function arpFrame(operation: number, mac: string, destination: string, targetIp: string): LayerToBuild[] {
  return [
    { protocol: 'ethernet', destination, source: C2.mac },
    { protocol: 'arp', operation, senderMac: mac, senderIp: C2.ip, targetMac: '00:00:00:00:00:00', targetIp },
  ];
}
const announcement = (mac: string): LayerToBuild[] => arpFrame(arp.REQUEST, mac, 'ff:ff:ff:ff:ff:ff', C2.ip);
const arpReply = (mac: string): LayerToBuild[] => arpFrame(arp.REPLY, mac, GATEWAY_MAC, '10.0.1.1');

/** A neighbor advertisement of {@link C2}'s address at `mac`: to the gateway, or to all. */
function advertisement(mac: string, solicited = false): LayerToBuild[] {
  const ends = { source: C2.ip6, destination: solicited ? 'fd00:1::1' : 'ff02::1' };
  const option = icmpv6.encodeOption({ type: icmpv6.OPTION_TARGET_LINK_LAYER_ADDRESS, address: mac });
  const message = icmpv6.encode(
    {
      type: icmpv6.NEIGHBOR_ADVERTISEMENT,
      code: 0,
      solicited,
      override: true,
      target: C2.ip6,
      options: [option],
      payload: NOTHING,
    },
    ends,
  );
  return [
    { protocol: 'ethernet', destination: solicited ? GATEWAY_MAC : '33:33:00:00:00:01', source: C2.mac },
    { protocol: 'ipv6', hopLimit: 255, nextHeader: 58, ...ends },
    { protocol: 'payload', bytes: message },
  ];
}

test('an advertisement without the override flag does not replace a known address (RFC 4861, section 7.2.5)', () => {
  const host = routerHost(unknown);
  host.receive(FRAMES['routed6']![0]);
  const gentle = (mac: string): string => {
    const bytes = build(advertisement(mac, true));
    bytes[14 + 40 + 4]! &= ~0x20;
    const pseudo = ipv6.pseudoHeaderSum(bytes, 14, 58, bytes.length - 54);
    icmpv6.fillChecksum(bytes, 54, bytes.length, pseudo);
    return hex(bytes);
  };
  host.receive(gentle(C2.mac), { vni: FAR, from: 9 });
  assert.is(host.router.neighbors()[0]!.mac, C2.mac);
  host.receive(gentle('02:42:0a:00:01:99'), { vni: FAR, from: 9 });
  assert.is(host.router.neighbors()[0]!.mac, C2.mac);
});

test('eight packets wait for an address, and a new one displaces the oldest', () => {
  const host = routerHost(unknown);
  const frame = (id: number): string =>
    frameOf([
      { protocol: 'ethernet', destination: GATEWAY_MAC, source: C1.mac },
      { protocol: 'ipv4', source: C1.ip, destination: C2.ip, identification: id },
      { protocol: 'udp', sourcePort: 1, destinationPort: 2 },
    ]);
  for (let id = 0; id < 10; id++) assert.is(host.receive(frame(id)).result, PENDING);
  host.clear();
  host.receive(FRAMES['ask']![1], { vni: FAR, from: 9 });
  const ids = host.sent.map(({ frame: sent }) => Number(`0x${sent.slice(36, 40)}`));
  assert.equal(ids, [2, 3, 4, 5, 6, 7, 8, 9]);
  assert.equal(host.drops(), { 'held-limit': 2 });
});

test('a scan of unknown addresses keeps 256 questions and 1 MiB of packets at most', () => {
  const host = routerHost(unknown);
  host.router.addInterface({ vni: 7, gateway: '10.8.0.1/16' });
  const frame = (to: number, size: number): string =>
    frameOf([
      { protocol: 'ethernet', destination: GATEWAY_MAC, source: C1.mac },
      { protocol: 'ipv4', source: C1.ip, destination: ipv4ToText(parseIpv4('10.8.1.0') + to) },
      { protocol: 'udp', sourcePort: 1, destinationPort: 2 },
      { protocol: 'payload', bytes: new Uint8Array(size) },
    ]);
  for (let i = 0; i < 1000; i++) host.receive(frame(i, 1));
  assert.is(host.router.neighbors().length, 256);
  assert.is(host.router.neighbors()[0]!.ip, '10.8.3.232', 'the newest stay');
  assert.is(host.drops()['held-limit'], 1000 - 256);
  assert.is(host.sent.length, 1000);
  for (let i = 744; i < 1000; i++) for (let k = 0; k < 7; k++) host.receive(frame(i, 1400));
  const waiting = 256 * 8 - (host.drops()['held-limit']! - 744);
  // At first one of a few bytes waited for each address.
  assert.ok((waiting - 256) * 1400 <= 1 << 20 && waiting * 1450 > 1 << 20, `${waiting} packets`);
  for (let i = 0; i < 4; i++) host.second();
  assert.is(host.answers.length, waiting, 'and all of them are reported');
  assert.equal(host.router.neighbors(), []);
  // Their bytes are free again.
  const { held } = host.counts();
  const { 'held-limit': before } = host.drops();
  for (let i = 0; i < 90; i++) for (let k = 0; k < 8; k++) host.receive(frame(i, 1400));
  assert.equal([host.counts()['held']! - held!, host.drops()['held-limit']! - before!], [720, 0]);
});

test('the table of answers has a limit', () => {
  const host = routerHost({ ...unknown, neighbors: 3 });
  for (let last = 10; last < 20; last++) {
    const station = { ip: `10.0.1.${last}`, mac: `02:42:0a:00:01:${last}` };
    const ends = { protocol: 'ethernet', destination: GATEWAY_MAC } as const;
    const packet: LayerToBuild = { protocol: 'ipv4', source: C1.ip, destination: station.ip, protocolNumber: 99 };
    host.receive(frameOf([{ ...ends, source: C1.mac }, packet]));
    const addresses = { targetMac: GATEWAY_MAC, targetIp: '10.0.1.1', senderIp: station.ip, senderMac: station.mac };
    const reply = frameOf([
      { ...ends, source: station.mac },
      { protocol: 'arp', operation: 2, ...addresses },
    ]);
    assert.is(host.receive(reply, { vni: FAR, from: 9 }).result, LEARNED);
  }
  assert.equal(
    host.router.neighbors().map(({ ip }) => ip),
    ['10.0.1.17', '10.0.1.18', '10.0.1.19'],
  );
});

test('the addresses of a subnet have different hashes', () => {
  const hashes = Array.from({ length: 4096 }, (_, i) => hashOf(9, wordsOf(Uint8Array.of(10, 0, i >> 8, i))));
  assert.ok(new Set(hashes).size > 4090);
});

test('addresses with equal hashes are found, and removed in any order', () => {
  const out = makeInterface({ vni: 9, gateway: 'fd00::1/64' });
  const byHash = new Map<number, Uint8Array[]>();
  for (let i = 0, state = 1; i < 1 << 17; i++) {
    const octets = parseIpv6('fd00::');
    for (let at = 8; at < 16; at++) octets[at] = (state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0) >>> 24;
    const hash = hashOf(9, wordsOf(octets));
    byHash.set(hash, [...(byHash.get(hash) ?? []), octets]);
  }
  const equal = [...byHash.values()].filter(({ length }) => length > 1);
  // As with random numbers of 30 bits: 2^34 pairs of addresses, divided by 2^31.
  assert.ok(equal.length > 1 && equal.length < 30, `${equal.length} hashes occur twice`);
  for (const octets of equal)
    for (const order of [octets, [...octets].reverse()]) {
      const table = new NeighborTable(10);
      const entries = octets.map((one) => table.add(out, one, wordsOf(one)).entry);
      const found = (): boolean[] => octets.map((one, i) => table.find(9, wordsOf(one)) === entries[i]);
      assert.ok(found().every(Boolean));
      assert.is(table.find(8, wordsOf(octets[0]!)), undefined, 'another segment');
      const gone = new Set<Uint8Array>();
      for (const one of order) {
        table.remove(table.find(9, wordsOf(one))!);
        gone.add(one);
        assert.equal(
          found(),
          octets.map((other) => !gone.has(other)),
        );
      }
      assert.is(table.size, 0);
    }
});

test.run();
