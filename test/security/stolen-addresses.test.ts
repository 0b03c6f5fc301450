/** Datagrams and frames that try to move the address of somebody else. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as arp from '../../src/arp/index.js';
import * as ethernet from '../../src/ethernet/index.js';
import * as ipv4 from '../../src/ipv4/index.js';
import { compare, merge } from '../../src/host/reload.js';
import { plan } from '../../src/schema/index.js';
import { Frame, Vtep, type Learned, type VtepSink } from '../../src/vtep/index.js';
import { arpRequest, BROADCAST, C1, C2, udpFrame, type Station } from '../support/frames.js';
import { fromHex } from '../support/hex.js';
import { host, wrap } from '../support/vtep-host.js';
import { machineOf } from '../support/planned.js';

const VNI = 4097;
const OTHER: Station = { ip: '10.0.0.5', mac: '02:42:0a:00:00:05' };
const STRANGER = '203.0.113.66';
const H3 = '192.168.1.33';
const ALL = { ip: '10.0.0.255', mac: BROADCAST };
const nothing: VtepSink = { deliver: () => undefined, transmit: () => undefined };

/** An ARP packet, a broadcast, whose sender is `from`, in a frame from `source`. */
function arpFrame(from: Station, source: Station = from, operation: number = arp.REQUEST): Uint8Array {
  return ethernet.encode({
    destination: BROADCAST,
    source: source.mac,
    etherType: ethernet.TYPE_ARP,
    payload: arp.encode({
      operation,
      senderMac: from.mac,
      senderIp: from.ip,
      targetMac: '00:00:00:00:00:00',
      targetIp: from.ip,
    }),
  });
}

/** C1 and another station on two local ports; C2 behind a peer. */
function lab(options: { declared?: boolean; peersOnly?: boolean } = {}) {
  const lab = host({}, { peersOnly: options.peersOnly ?? false });
  const [a, b] = ['a', 'b'].map((name) => lab.vtep.addPort({ name, vni: VNI })) as [number, number];
  lab.vtep.addPeer(VNI, C2.host);
  lab.vtep.addPeer(VNI, H3);
  if (options.declared) lab.vtep.addEndpoint(VNI, { ip: C1.ip, mac: C1.mac });
  lab.frame(a, udpFrame(C1, ALL));
  lab.frame(b, udpFrame(OTHER, ALL));
  lab.datagram(C2.host, wrap(udpFrame(C2, ALL)));
  const placeOf = (mac: string): string | null => {
    const entry = lab.vtep.fdbEntry(VNI, mac, lab.now());
    return entry === null ? null : (entry.vtep ?? entry.port);
  };
  /** Where frames from B and from the named peer to a station go. */
  const reaches = (to: Station): (number | string)[] => {
    lab.frame(b, udpFrame(OTHER, to));
    const fromHere = [...lab.delivered.map(({ port }) => port), ...lab.sent.map(({ address }) => address)];
    lab.datagram(C2.host, wrap(udpFrame(C2, to)));
    return [...fromHere, ...lab.delivered.map(({ port }) => port)];
  };
  return { ...lab, a, b, placeOf, reaches };
}

for (const declared of [false, true])
  for (const [who, from] of [
    ['a stranger', STRANGER],
    ['a peer', H3],
  ] as const)
    test(`a datagram of ${who} does not move a ${declared ? 'declared' : 'learned'} local address`, () => {
      const { vtep, datagram, drops, delivered, placeOf, reaches, a, b, count, now } = lab({ declared });
      // To all, to B, to all and to itself. A peer may have the same address, but no station that the control plane names.
      const claims = [udpFrame(C1, ALL), udpFrame(C1, OTHER), arpRequest(C1, OTHER.ip), udpFrame(C1, C1)];
      const passes = from === H3 && !declared;
      const ports = passes ? [[a, b], [b], [a, b], []] : [[], [], [], []];
      claims.forEach((claim, i) => {
        const { steps, dropped } = vtep.explain({ from, datagram: wrap(claim) }, now());
        assert.is(dropped, !passes ? 'source-bound' : i === 3 ? 'same-port' : null);
        const why = steps.find(({ stage }) => stage === 'fdb')!.text;
        assert.match(why, passes ? /that stays, and the frame passes, because its sender is a peer/ : /that stays$/);
        datagram(from, wrap(claim));
        assert.equal(
          delivered.map(({ port }) => port),
          ports[i],
        );
        assert.is(placeOf(C1.mac), 'a');
      });
      assert.equal(reaches(C1), [a, a], 'from B, and from a named peer');
      assert.equal(drops(), passes ? { 'same-port': 1 } : { 'source-bound': claims.length });
      assert.is(count('shared-source'), passes ? claims.length : 0);
      assert.is(count('moved'), 0);
      assert.is(count('contradicted'), declared ? claims.length : 0);
    });

test('the same without learning, and with the flag that forbids it', () => {
  const { vtep, datagram, delivered, drops, frame } = host({ learn: false });
  const port = vtep.addPort({ name: 'a', vni: VNI });
  frame(port, udpFrame(C1, ALL));
  datagram(STRANGER, wrap(udpFrame(C1, ALL)));
  assert.equal([delivered.length, drops()['source-bound']], [0, 1]);
  vtep.addPeer(VNI, H3);
  datagram(H3, wrap(udpFrame(C1, { ip: C1.ip, mac: BROADCAST })));
  assert.equal([delivered.length, vtep.fdbEntry(VNI, C1.mac, 0)?.port], [1, 'a'], 'of a peer');
  const open = lab();
  open.datagram(STRANGER, wrap(udpFrame(C1, ALL), '0840000000100100'));
  assert.equal([open.delivered.length, open.drops()['source-bound']], [0, 1]);
  open.datagram(H3, wrap(udpFrame(C1, ALL), '0840000000100100'));
  assert.equal([open.delivered.length, open.placeOf(C1.mac)], [2, 'a']);
});

// ---- One address on two hosts, on purpose ----

/** An advertisement of VRRP version 3, of virtual router 10 (RFC 5798, section 5.1). */
function advertisement(priority: number): Uint8Array {
  return ethernet.encode({
    destination: '01:00:5e:00:00:12',
    source: VIRTUAL.mac,
    etherType: ethernet.TYPE_IPV4,
    payload: ipv4.encode({
      ttl: 255,
      protocol: 112,
      source: '10.0.0.2',
      destination: '224.0.0.18',
      payload: Uint8Array.of(0x31, 10, priority, 1, 0, 100, 0, 0, 10, 0, 0, 100),
    }),
  });
}

const VIRTUAL: Station = { ip: '10.0.0.100', mac: '00:00:5e:00:01:0a' };

/** Two VTEPs, each with a router of one VRRP group, in seconds. Returns how many were master at the end of each. */
function elect(seconds: number, options: { peersOnly: boolean; learn: boolean }): { masters: number; state: string }[] {
  const addresses = [C1.host, C2.host] as [string, string];
  const hosts = addresses.map((local, i) => {
    const { vtep, ...lab } = host({ learn: options.learn }, { local, peersOnly: options.peersOnly });
    vtep.addPeer(VNI, addresses[1 - i]!);
    return { ...lab, port: vtep.addPort({ name: 'router', vni: VNI }) };
  });
  // The second has the higher priority, and starts when the first is already master.
  const routers = [100, 150].map((priority, i) => ({ priority, begins: 10 * i, master: false, down: 10 * i + 4 }));
  const ends: { masters: number; state: string }[] = [];
  for (let now = 0; now < seconds; now++) {
    routers.forEach((router, i) => {
      const send = (frame: Uint8Array): void => {
        const [own, other] = [hosts[i]!, hosts[1 - i]!];
        own.frame(own.port, frame);
        for (const { datagram } of [...own.sent]) other.datagram(addresses[i]!, datagram);
        const peer = routers[1 - i]!;
        const heard = other.delivered.filter(({ frame: one }) => one[23] === 112 && one[36]! > peer.priority);
        if (heard.length === 0) return;
        peer.master = false;
        peer.down = now + 4;
      };
      if (now >= router.begins && !router.master && now >= router.down) {
        router.master = true;
        send(arpFrame(VIRTUAL));
      }
      if (router.master) send(advertisement(router.priority));
    });
    ends.push({
      masters: routers.filter(({ master }) => master).length,
      state: routers.map(({ master }) => (master ? 'M' : 'b')).join(''),
    });
  }
  return ends;
}

for (const peersOnly of [true, false])
  for (const learn of [true, false])
    test(`routers of a VRRP group on two hosts have one master (${JSON.stringify({ peersOnly, learn })})`, () => {
      const ends = elect(40, { peersOnly, learn });
      assert.equal([ends[9]!.state, ends.at(-1)!.state], ['Mb', 'bM'], 'the higher priority takes over');
      assert.ok(ends.every(({ masters }) => masters <= 1));
    });

test('frames from a gateway with the same address on both hosts pass, and the local gateway stays', () => {
  const gateway: Station = { ip: '10.0.0.1', mac: '02:42:0a:00:00:01' };
  const { frame, datagram, delivered, sent, a, b, placeOf, drops, count } = lab();
  frame(b, udpFrame(gateway, ALL));
  // A packet that the other host's gateway has routed.
  datagram(C2.host, wrap(udpFrame({ ip: '10.9.9.9', mac: gateway.mac }, C1)));
  assert.equal(
    delivered.map(({ port }) => port),
    [a],
  );
  frame(a, udpFrame(C1, gateway));
  assert.equal([delivered.map(({ port }) => port), sent.length], [[b], 0]);
  assert.equal([placeOf(gateway.mac), drops(), count('moved'), count('shared-source')], ['b', {}, 0, 1]);
});

test('a stranger’s announcement does not move a local address; a peer’s does, and the station takes it back', () => {
  const rarp = ethernet.encode({
    destination: BROADCAST,
    source: C1.mac,
    etherType: 0x8035,
    payload: fromHex(`0001080006040003${'02420a000003'}00000000${'02420a000003'}00000000`),
  });
  const advertisement = fromHex(
    `333300000001${'02420a000003'}86dd6000000000203aff${'fe80'.padEnd(32, '0')}${'ff02'.padEnd(31, '0')}1` +
      `88004d5920000000${'fe80'.padEnd(32, '0')}0201${'02420a000003'}`,
  );
  for (const announcement of [arpFrame(C1), arpFrame(C1, C1, arp.REPLY), rarp, advertisement]) {
    const { datagram, frame, a, placeOf, count } = lab();
    datagram(STRANGER, wrap(announcement));
    assert.is(placeOf(C1.mac), 'a');
    datagram(H3, wrap(announcement));
    assert.is(placeOf(C1.mac), H3, 'followed at once');
    assert.is(count('moved'), 1);
    frame(a, udpFrame(C1, C2));
    assert.is(placeOf(C1.mac), 'a');
  }
  // What only looks like an announcement: to one station, for another address, for another hardware address.
  const { datagram, placeOf } = lab();
  const toOne = arpFrame(C1);
  toOne.set(fromHex('02420a000005'), 0);
  for (const other of [toOne, arpRequest(C1, OTHER.ip), arpFrame(OTHER, C1)]) datagram(H3, wrap(other));
  assert.is(placeOf(C1.mac), 'a');
  // A declared endpoint of this host is moved by the control plane only.
  const known = lab({ declared: true });
  known.datagram(H3, wrap(arpFrame(C1)));
  assert.is(known.placeOf(C1.mac), 'a');
});

test('an endpoint that has really moved is followed: after its entry has aged, its port is gone, or it is withdrawn', () => {
  const claim = wrap(udpFrame(C1, ALL));
  const aged = lab();
  aged.wait(301_000);
  aged.datagram(H3, claim);
  assert.is(aged.placeOf(C1.mac), H3);
  const detached = lab();
  detached.vtep.forgetPort(detached.a);
  detached.datagram(H3, claim);
  assert.is(detached.placeOf(C1.mac), H3);
  const withdrawn = lab({ declared: true });
  withdrawn.vtep.removeEndpoint(VNI, { ip: C1.ip, mac: C1.mac });
  withdrawn.datagram(H3, claim);
  assert.is(withdrawn.placeOf(C1.mac), H3);
  const told = lab({ declared: true });
  told.vtep.addEndpoint(VNI, { ip: C1.ip, mac: C1.mac, vtep: H3 });
  told.frame(told.a, udpFrame(C1, ALL));
  assert.is(told.placeOf(C1.mac), H3, 'the newest endpoint counts');
});

test('a stranger does not move what was learned behind a peer, or what the control plane says; peers move it', () => {
  const { vtep, datagram, placeOf, drops } = lab();
  datagram(STRANGER, wrap(udpFrame(C2, ALL)));
  assert.is(placeOf(C2.mac), C2.host);
  datagram(H3, wrap(udpFrame(C2, ALL)));
  assert.is(placeOf(C2.mac), H3, 'a station moves silently between peers');
  vtep.addEndpoint(VNI, { ip: C2.ip, mac: C2.mac, vtep: C2.host });
  for (const from of [STRANGER, H3]) datagram(from, wrap(udpFrame(C2, ALL)));
  assert.is(placeOf(C2.mac), C2.host);
  assert.equal(drops(), { 'source-bound': 3 });
});

test('a container does not take the address of a declared endpoint on another port', () => {
  const { vtep, frame, a, b, placeOf, reaches, drops, wait, delivered, sent } = lab({ declared: true });
  for (const claim of [udpFrame(C1, ALL), arpRequest(C1, C2.ip), arpFrame(C1)]) {
    frame(b, claim);
    assert.equal([delivered.length, sent.length], [0, 0]);
  }
  assert.is(placeOf(C1.mac), 'a');
  assert.equal(reaches(C1), [a, a]);
  assert.equal(drops(), { 'source-bound': 3 });
  // A station that the control plane binds to its port keeps its address even while it is silent.
  const bound = vtep.addPort({ name: 'bound', vni: VNI, mac: '02:42:0a:00:00:07' });
  const seven = { ip: '10.0.0.7', mac: '02:42:0a:00:00:07' };
  wait(1_000_000);
  frame(b, udpFrame(seven, ALL));
  assert.equal([placeOf(seven.mac), delivered.length, sent.length], [null, 0, 0]);
  const { steps } = vtep.explain({ port: b, frame: udpFrame(seven, ALL) }, 1_000_000);
  assert.is(steps[1]!.text, `source ${seven.mac} was behind port bound; that stays`);
  frame(bound, udpFrame(seven, ALL));
  frame(b, udpFrame(seven, ALL));
  assert.is(placeOf(seven.mac), 'bound');
  vtep.removePort(bound);
  frame(b, udpFrame(seven, ALL));
  assert.is(placeOf(seven.mac), 'b', 'until the port is removed');
  // An undeclared station is where it was last seen among the local ports, as in any bridge.
  const open = lab();
  open.frame(open.b, udpFrame(C1, ALL));
  assert.is(open.placeOf(C1.mac), 'b');
});

test('ARP does not spread another MAC address for the IP address of an endpoint', () => {
  const { vtep, frame, datagram, a, b, drops, delivered, sent, count } = lab({ declared: true });
  vtep.addEndpoint(VNI, { ip: C2.ip, mac: C2.mac, vtep: C2.host });
  const claim = (ip: string, operation = arp.REQUEST): Uint8Array => arpFrame({ ip, mac: OTHER.mac }, OTHER, operation);
  const remote = (ip: string, mac: string): Uint8Array => arpFrame({ ip, mac });
  let claims = 0;
  for (const ip of [C1.ip, C2.ip]) {
    for (const operation of [arp.REQUEST, arp.REPLY]) {
      frame(b, claim(ip, operation));
      assert.equal([delivered.length, sent.length], [0, 0], `${ip} claimed by a container`);
      claims++;
    }
    for (const [from, mac] of [
      [STRANGER, '02:42:0a:00:00:66'],
      [H3, '02:42:0a:00:00:67'],
    ] as const) {
      datagram(from, wrap(remote(ip, mac)));
      assert.is(delivered.length, 0, `${ip} claimed by ${from}`);
      claims++;
    }
  }
  assert.equal([drops(), count('duplicate-address')], [{ 'arp-claim': claims }, claims]);
  // The proxy's answers do not change.
  frame(a, arpRequest(C1, C2.ip));
  assert.is((arp.decode(delivered[0]!.frame, 14) as arp.EthernetArp).senderMac, C2.mac);
  assert.equal(
    vtep.neighbors(VNI).map(({ ip, mac }) => `${ip} ${mac}`),
    [`${C1.ip} ${C1.mac}`, `${C2.ip} ${C2.mac}`],
  );
  // The endpoint itself may have another MAC address than the control plane thinks.
  frame(a, arpFrame({ ip: C1.ip, mac: '02:42:0a:00:00:99' }));
  assert.is(delivered.length, 1);
});

test('machines that share what they learn do not take over a stolen address', () => {
  const learned: Learned[] = [];
  const sink: VtepSink = { ...nothing, learned: (what) => void learned.push(what) };
  const machine = (): Vtep => {
    const vtep = new Vtep();
    vtep.addSegment({ vni: VNI });
    vtep.addPort({ name: 'a', vni: VNI });
    vtep.addPeer(VNI, H3);
    return vtep;
  };
  const [one, two] = [machine(), machine()];
  const datagram = (vtep: Vtep, frame: Uint8Array): void =>
    vtep.receiveDatagram(H3, new Frame(wrap(frame)), 10, 0, sink);
  const bytes = new Uint8Array(16 + 62);
  bytes.set(udpFrame(C1, ALL), 16);
  two.receiveFrame(0, new Frame(bytes, 16), 0, sink);
  learned.length = 0;
  datagram(one, udpFrame(C1, ALL)); // the first has not heard of the station yet
  two.adopt(learned.pop()!, 10);
  assert.is(two.fdbEntry(VNI, C1.mac, 10)?.port, 'a');
  const third = machine();
  datagram(third, arpFrame(C1));
  two.adopt(learned.pop()!, 10);
  assert.is(two.fdbEntry(VNI, C1.mac, 10)?.vtep, H3, 'an announcement is followed by all');
});

test('up and agents accept datagrams of peers and members only, unless told otherwise, also after a reload', () => {
  const settings = { local: '192.0.2.1', segments: [{ vni: VNI }], taps: [{ name: 'tap0', vni: VNI }] };
  const network = { id: 'net', vni: VNI, subnet: '10.0.0.0/24' };
  const before = plan(settings);
  for (const one of [before, plan({ ...settings, segments: [], gossip: { networks: [network] } })]) {
    assert.is(one.peersOnly, true);
    const vtep = machineOf(one).vtep;
    const frame = wrap(udpFrame(C2, ALL));
    vtep.receiveDatagram(STRANGER, new Frame(frame), 0, 0, nothing);
    assert.is(vtep.counters().drops['unknown-peer'], 1);
    assert.is(vtep.fdbEntry(VNI, C2.mac, 0), null);
  }
  const open = plan({ ...settings, peersOnly: false });
  assert.is(merge(before, before, open).peersOnly, true);
  assert.equal(compare(before, before, open).restart, ['peersOnly']);
});

test.run();
