import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { parseIpv4, parseMac } from '../src/address/index.js';
import * as arp from '../src/arp/index.js';
import * as neighbor from '../src/neighbor/index.js';
import { C1, C2 } from './support/frames.js';

const { LOCAL, Neighbors } = neighbor;

function binding(ip: string, mac: string, location: number): neighbor.Binding {
  return { ip: parseIpv4(ip), mac: parseMac(mac), location };
}

test('lookups by IP and by MAC return the newest binding, and the previous one after its removal', () => {
  const table = new Neighbors();
  const [first, second] = [binding(C2.ip, C2.mac, 1), binding(C2.ip, C2.mac, 3)];
  table.add(first);
  table.add(second);
  assert.is(table.byIp(first.ip)?.location, 3);
  assert.is(table.byMac(first.mac)?.location, 3);
  table.add(first); // added again: now it is the newest
  assert.is(table.size, 2);
  assert.is(table.byIp(first.ip)?.location, 1);
  assert.equal(
    [...table.entries()],
    [
      { ip: C2.ip, mac: C2.mac, location: 1, hidden: false },
      { ip: C2.ip, mac: C2.mac, location: 3, hidden: true },
    ],
  );
  assert.ok(table.remove(first));
  assert.not(table.remove(first));
  assert.is(table.byIp(first.ip)?.location, 3);
  assert.ok(table.remove(binding(C2.ip, C2.mac, 3)));
  assert.equal([table.size, table.byIp(first.ip), table.byMac(first.mac)], [0, undefined, undefined]);
});

test('one MAC address may have several IP addresses', () => {
  const table = new Neighbors();
  table.add(binding('10.0.0.4', C2.mac, 1));
  table.add(binding('10.0.0.5', C2.mac, 1));
  table.remove(binding('10.0.0.4', C2.mac, 1));
  assert.is(table.byMac(parseMac(C2.mac))?.ip, parseIpv4('10.0.0.5'));
});

// RFC 826 for requests; RFC 5227, sections 2.1.1 and 2.3, for probes and announcements.
const ZERO = '00:00:00:00:00:00';
const cases: [string, number, Partial<arp.EthernetArp>][] = [
  ['a request for a remote endpoint', neighbor.ANSWER, { targetIp: C2.ip }],
  ['a request for an unknown address', neighbor.UNKNOWN, { targetIp: '10.0.0.99' }],
  ['a request for an endpoint of this host', neighbor.ON_THIS_HOST, { targetIp: '10.0.0.7' }],
  ['a reply', neighbor.NOT_A_REQUEST, { operation: arp.REPLY, targetIp: C2.ip }],
  ['RARP', neighbor.NOT_A_REQUEST, { operation: 3, targetIp: C2.ip }],
  ['an announcement', neighbor.OWN_ADDRESS, { targetIp: C1.ip }],
  ['a probe for the address of another endpoint', neighbor.ANSWER, { senderIp: '0.0.0.0', targetIp: C2.ip }],
  ['a probe for an unused address', neighbor.UNKNOWN, { senderIp: '0.0.0.0', targetIp: '10.0.0.99' }],
  [
    'a probe for the sender’s own address',
    neighbor.OWN_ADDRESS,
    { senderIp: '0.0.0.0', senderMac: C2.mac, targetIp: C2.ip },
  ],
];
for (const [what, verdict, fields] of cases) {
  test(`judges ${what}`, () => {
    const table = new Neighbors();
    table.add(binding(C2.ip, C2.mac, 1));
    table.add(binding('10.0.0.7', '02:42:0a:00:00:07', LOCAL));
    const bytes = arp.encode({
      operation: arp.REQUEST,
      senderMac: C1.mac,
      senderIp: C1.ip,
      targetMac: ZERO,
      targetIp: C2.ip,
      ...fields,
    });
    assert.is(neighbor.judge(table, bytes, 0, bytes.length), verdict);
    assert.is(neighbor.judge(table, bytes, 0, bytes.length - 1), neighbor.NOT_A_REQUEST, 'cut short');
  });
}

test('detects a claim to the address of another endpoint', () => {
  const table = new Neighbors();
  table.add(binding(C2.ip, C2.mac, 1));
  const claim = (senderIp: string, senderMac: string): boolean => {
    const bytes = arp.encode({ operation: arp.REPLY, senderMac, senderIp, targetMac: ZERO, targetIp: C1.ip });
    return neighbor.contradicts(table, bytes, 0, bytes.length);
  };
  assert.ok(claim(C2.ip, C1.mac));
  assert.not(claim(C2.ip, C2.mac));
  assert.not(claim(C1.ip, C1.mac));
  assert.not(claim('0.0.0.0', C1.mac));
});

test.run();
