/** Subnets of a TAP and of other interfaces of its namespace. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Device } from '../src/host/device.js';
import { overlapsOf } from '../src/host/overlap.js';

const device = (name: string, ...addresses: string[]): Device => ({
  ...{ name, kind: undefined, up: true, mtu: 1500, mac: '02:00:00:00:00:01', alias: '', addresses },
  ...{ maxSegments: undefined, dropped: 0, tun: undefined },
});

/** The overlaps of a TAP `tap0` with this address, as `device subnet`. */
const overlaps = (address: string, ...devices: Device[]): string[] =>
  overlapsOf({ name: 'tap0', addresses: [address] }, devices).map(({ device: name, other }) => `${name} ${other}`);

test('overlaps: of each address of the TAP, once for each of its subnets', () => {
  const addresses = ['10.0.0.3/24', '10.0.0.4/24', 'fd00::3/64', '10.9.0.1/24'];
  const others = [device('eth0', '10.0.0.9/16', 'fd00::9/64'), device('eth1', '192.0.2.1/24')];
  assert.equal(overlapsOf({ name: 'tap0', addresses }, others), [
    { subnet: '10.0.0.0/24', device: 'eth0', other: '10.0.0.0/16' },
    { subnet: 'fd00::/64', device: 'eth0', other: 'fd00::/64' },
  ]);
});

test('overlaps: the same, a larger and a smaller subnet', () => {
  for (const [tap, other, subnet] of [
    ['10.0.0.3/24', '10.0.0.9/24', '10.0.0.0/24'],
    ['10.0.0.3/24', '10.0.77.1/16', '10.0.0.0/16'],
    ['10.0.0.3/24', '10.0.0.130/25', '10.0.0.128/25'],
    ['10.0.0.3/24', '10.0.0.128/31', '10.0.0.128/31'],
    ['169.254.1.3/16', '169.254.9.9/16', '169.254.0.0/16'],
    ['fd00::3/64', 'fd00::9/64', 'fd00::/64'],
    ['fd00::3/64', 'fd00:0:0:9::1/32', 'fd00::/32'],
  ] as const)
    assert.equal(overlaps(tap, device('eth0', other)), [`eth0 ${subnet}`], `${tap} ${other}`);
});

test('overlaps: each interface and subnet once', () => {
  assert.equal(
    overlaps(
      '10.0.0.3/24',
      device('eth0', '10.0.0.9/24', '10.0.0.10/24', '10.0.0.130/25', '192.0.2.1/24'),
      device('eth1', '10.0.0.11/24'),
    ),
    ['eth0 10.0.0.0/24', 'eth0 10.0.0.128/25', 'eth1 10.0.0.0/24'],
  );
});

test('overlaps: no other subnet has one', () => {
  for (const [tap, other] of [
    ['10.0.0.3/24', '10.0.1.3/24'],
    ['10.0.0.3/24', '10.0.0.9/32'], // no route to other hosts
    ['10.0.0.3/32', '10.0.0.9/24'],
    ['127.0.1.3/24', '127.0.0.1/8'],
    ['10.0.0.3/24', 'fd00::9/64'],
    ['fd00::3/64', 'fd00::9/128'],
    ['fe80::3/64', 'fe80::9/64'], // each interface has its own
  ] as const)
    assert.equal(overlaps(tap, device('eth0', other)), [], `${tap} ${other}`);
  assert.equal(overlaps('10.0.0.3/24', device('tap0', '10.0.0.9/24')), [], 'its own');
});

test.run();
