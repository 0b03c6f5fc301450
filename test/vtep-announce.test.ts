/** Announcements: how the neighbors of an endpoint learn its MAC address. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ipv4ToText } from '../src/address/index.js';
import { C1, C2, udpFrame } from './support/frames.js';
import { hex } from './support/hex.js';
import { HEADER, host } from './support/vtep-host.js';

const NEW = { ip: C2.ip, mac: '02:42:0a:00:00:44' };
/**
 * RFC 5227, section 2.3: a broadcast request, sender and target protocol address the same, target hardware address 0.
 */
const announcement = (ip: string, mac: string): string =>
  `ffffffffffff${mac}08060001080006040001${mac}${ip}000000000000${ip}`.replaceAll(':', '');
const C1_ANNOUNCED = announcement('0a000003', C1.mac);
const NEW_ANNOUNCED = announcement('0a000004', NEW.mac);

test('announces an endpoint to the other ports and to the peers, twice, 2 seconds apart', () => {
  const { vtep, tick, wait, now, delivered, sent, count } = host();
  const own = vtep.addPort({ name: 'tap0', vni: 4097 });
  const other = vtep.addPort({ name: 'tap1', vni: 4097 });
  const trunk = vtep.addPort({ name: 'trunk', vlans: { 10: 4097 } });
  vtep.addPeer(4097, C2.host);
  vtep.announce(4097, { ...C1, port: own });
  const tagged = `${C1_ANNOUNCED.slice(0, 24)}8100000a${C1_ANNOUNCED.slice(24)}`;
  for (const again of [1, 2]) {
    tick();
    assert.equal(
      delivered.map(({ port, frame }) => [port, hex(frame)]),
      [
        [other, C1_ANNOUNCED],
        [trunk, tagged],
      ],
    );
    assert.equal(
      sent.map(({ address, datagram }) => [address, hex(datagram)]),
      [[C2.host, HEADER + C1_ANNOUNCED]],
    );
    assert.is(count('announced'), again);
    wait(1000);
    tick();
    assert.equal([delivered.length, sent.length], [0, 0]);
    wait(1000);
  }
  for (let i = 0; i < 5; i++) {
    wait(1000);
    tick();
    assert.equal([delivered.length, sent.length], [0, 0], 'not a third time');
  }
  assert.equal(
    vtep.fdb(4097, now()).map(({ mac, port }) => [mac, port]),
    [[C1.mac, 'tap0']],
  );
});

test('announces an IPv6 address by an unsolicited neighbor advertisement', () => {
  const { vtep, tick, delivered, sent } = host();
  const own = vtep.addPort({ name: 'tap0', vni: 4097 });
  vtep.addPort({ name: 'tap1', vni: 4097 });
  vtep.addPeer(4097, C2.host);
  vtep.announce(4097, { ip: 'fd00:0::3', mac: C1.mac, port: own });
  tick();
  // Computed by a few lines of Python from RFC 4861, sections 4.4 and 7.2.6; tshark finds the checksum correct.
  const expected =
    '33330000000102420a00000386dd6000000000203afffd000000000000000000000000000003ff02000000000000000000000000000188' +
    '00505320000000fd000000000000000000000000000003020102420a000003';
  assert.equal(
    delivered.map(({ frame }) => hex(frame)),
    [expected],
  );
  assert.is(hex(sent[0]!.datagram), HEADER + expected);
});

test('an endpoint added without a port but already learned does not receive its own announcement', () => {
  const { vtep, frame, tick, delivered } = host();
  const own = vtep.addPort({ name: 'tap0', vni: 4097 });
  const other = vtep.addPort({ name: 'tap1', vni: 4097 });
  frame(own, udpFrame(C1, C2));
  vtep.announce(4097, C1);
  tick();
  assert.equal(
    delivered.map(({ port }) => port),
    [other],
  );
});

test('announces a remote endpoint’s new MAC address to the local ports, in any order of the changes', () => {
  const old = { ...C2, vtep: C2.host };
  const changes: Record<string, (vtep: ReturnType<typeof host>['vtep']) => void> = {
    'the new one before the old one goes': (vtep) => {
      vtep.addEndpoint(4097, { ...NEW, vtep: C2.host });
      vtep.removeEndpoint(4097, old);
    },
    'the old one goes before the new one': (vtep) => {
      vtep.removeEndpoint(4097, old);
      vtep.addEndpoint(4097, { ...NEW, vtep: C2.host });
    },
    'another host': (vtep) => vtep.addEndpoint(4097, { ...NEW, vtep: '203.0.113.7' }),
  };
  for (const [name, change] of Object.entries(changes)) {
    const { vtep, tick, delivered, sent } = host();
    const port = vtep.addPort({ name: 'tap0', vni: 4097 });
    vtep.addPeer(4097, C2.host);
    vtep.addEndpoint(4097, old);
    tick();
    assert.equal([delivered.length, sent.length], [0, 0], 'a new endpoint is in no cache yet');
    change(vtep);
    tick();
    assert.equal(
      delivered.map(({ port, frame }) => [port, hex(frame)]),
      [[port, NEW_ANNOUNCED]],
      name,
    );
    assert.is(sent.length, 0, 'its own VTEP tells the other hosts');
  }
});

test('announces a MAC address that returns, and no unchanged MAC address', () => {
  const { vtep, tick, wait, delivered } = host();
  vtep.addPort({ name: 'tap0', vni: 4097 });
  vtep.addEndpoint(4097, { ...C2, vtep: C2.host });
  vtep.addEndpoint(4097, { ...NEW, vtep: C2.host });
  tick();
  vtep.addEndpoint(4097, { ...C2, vtep: C2.host });
  tick();
  assert.equal(
    delivered.map(({ frame }) => hex(frame)),
    [announcement('0a000004', C2.mac)],
  );
  wait(10_000);
  tick();
  wait(10_000);
  vtep.addEndpoint(4097, { ...C2, vtep: '203.0.113.7' }); // another host
  vtep.removeEndpoint(4097, { ...C2, vtep: '203.0.113.7' });
  vtep.addEndpoint(4097, { ...C2, vtep: C2.host });
  tick();
  assert.is(delivered.length, 0);
});

test('announces a new MAC address of an endpoint of this host to peers too', () => {
  const { vtep, tick, delivered, sent } = host();
  vtep.addPort({ name: 'tap0', vni: 4097 });
  vtep.addPeer(4097, C2.host);
  vtep.addEndpoint(4097, { ip: C2.ip, mac: C2.mac });
  vtep.addEndpoint(4097, NEW);
  tick();
  assert.equal([delivered.map(({ frame }) => hex(frame)), sent.length], [[NEW_ANNOUNCED], 1]);
});

test('in vtep mode, announces what the proxy answers', () => {
  const { vtep, tick, delivered } = host({ proxy: 'vtep' });
  vtep.addPort({ name: 'tap0', vni: 4097 });
  vtep.addEndpoint(4097, { ...C2, vtep: C2.host });
  vtep.addEndpoint(4097, { ...NEW, vtep: C2.host });
  tick();
  assert.is(delivered.length, 0, 'neighbors know the VTEP’s address');
  vtep.addEndpoint(4097, NEW); // moved to this host
  tick();
  assert.equal(
    delivered.map(({ frame }) => hex(frame)),
    [NEW_ANNOUNCED],
  );
});

test('bounds the queue and each burst', () => {
  const { vtep, tick, wait, delivered, count } = host();
  vtep.addPort({ name: 'tap0', vni: 4097 });
  for (let i = 0; i < 2000; i++) vtep.announce(4097, { ip: ipv4ToText(0x0a00_0001 + i), mac: C1.mac });
  assert.is(count('announcements-refused'), 976);
  const bursts: number[] = [];
  for (let i = 0; i < 40; i++, wait(1000)) {
    tick();
    bursts.push(delivered.length);
  }
  assert.is(Math.max(...bursts), 128);
  assert.is(
    bursts.reduce((sum, one) => sum + one),
    2 * 1024,
  );
});

test('does not announce removed endpoints, nor those that another machine announces', () => {
  const { vtep, tick, delivered } = host();
  vtep.addSegment({ vni: 7 });
  vtep.addPort({ name: 'tap0', vni: 4097 });
  const other = vtep.addPort({ name: 'tap1', vni: 4097 });
  vtep.addPort({ name: 'tap2', vni: 7 });
  vtep.announce(4097, { ...C1, port: other });
  vtep.announce(7, C1);
  vtep.addEndpoint(4097, C2);
  vtep.addEndpoint(4097, NEW);
  vtep.removeEndpoint(4097, C2);
  vtep.removeEndpoint(4097, NEW);
  vtep.removePort(other);
  vtep.removeSegment(7);
  tick();
  assert.is(delivered.length, 0);
  const silent = host({}, { announce: false });
  silent.vtep.addPort({ name: 'tap0', vni: 4097 });
  silent.vtep.announce(4097, C1);
  silent.tick();
  assert.is(silent.delivered.length, 0);
});

test('rejects the announcement of an address without an endpoint', () => {
  const { vtep } = host();
  vtep.addPort({ name: 'tap0', vni: 4097 });
  vtep.addSegment({ vni: 7 });
  for (const ip of ['0.0.0.0', '255.255.255.255', '224.0.0.1', '::', 'ff02::1'])
    assert.throws(() => vtep.announce(4097, { ip, mac: C1.mac }), /endpoint.ip must be the address of one endpoint/);
  for (const mac of ['01:00:5e:00:00:01', '00:00:00:00:00:00'])
    assert.throws(() => vtep.announce(4097, { ip: C1.ip, mac }), /endpoint.mac must be the address of one station/);
  assert.throws(() => vtep.announce(7, { ...C1, port: 0 }), /port 0 is not in the segment of vni 7/);
});

test.run();
