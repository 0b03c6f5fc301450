import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { dissect, summarize } from '../src/packet/index.js';
import { plan } from '../src/schema/index.js';
import { machineOf } from './support/planned.js';

/** What a VTEP sends at its start: frames by port, datagrams by remote, as tcpdump would print their frames. */
function firstWords(config: object, announce = true): string[] {
  const made = plan({ local: '172.31.1.5', ...config });
  const words: string[] = [];
  const note = (place: string, bytes: Uint8Array): void =>
    void words.push(`${place}: ${summarize(dissect(bytes).layers)}`);
  machineOf(made, announce).vtep.sendAnnouncements(0, {
    deliver: (port, { bytes, start, end }) => note(`port ${port}`, bytes.slice(start, end)),
    transmit: ({ address }, { bytes, start, end }) => note(address, bytes.slice(start + 8, end)),
  });
  return words;
}

test('a VTEP announces the addresses of its TAPs to its peers, and to its other TAPs', () => {
  const segments = [{ vni: 4097, peers: ['192.168.1.25'] }, { vni: 5 }];
  const taps = [
    { name: 'a', vni: 4097, address: '10.0.0.3/24' },
    { name: 'b', vni: 4097, address: '10.0.0.4/24', mac: '02:42:0a:00:00:04' },
    { name: 'c', vni: 4097 },
  ];
  const arp = (ip: string): string => `ARP, Request who-has ${ip} tell ${ip}, length 28`;
  assert.equal(
    firstWords({ segments, taps }).map((line) => line.replace(/, length 28$/, '')),
    [
      ['port 1', '10.0.0.3'],
      ['port 2', '10.0.0.3'],
      ['192.168.1.25', '10.0.0.3'],
      ['port 0', '10.0.0.4'],
      ['port 2', '10.0.0.4'],
      ['192.168.1.25', '10.0.0.4'],
    ].map(([place, ip]) => `${place}: ${arp(ip!).replace(/, length 28$/, '')}`),
  );
  assert.equal(firstWords({ segments, taps }, false), [], 'of several machines one announces');
});

test('every address of a TAP is announced', () => {
  const segments = [{ vni: 4097, peers: ['192.168.1.25'] }];
  const words = firstWords({ segments, taps: [{ name: 'a', vni: 4097, address: ['10.0.0.3/24', 'fd00::3/64'] }] });
  assert.equal(
    words.map((line) => / (who-has 10\.0\.0\.3|IP6 fd00::3) /.exec(line)?.[1]),
    ['who-has 10.0.0.3', 'IP6 fd00::3'],
  );
});

test('an IPv6 address is advertised, a trunk announces in its native segment', () => {
  const segments = [{ vni: 4097, peers: ['192.168.1.25'] }, { vni: 5 }];
  const [line] = firstWords({ segments, taps: [{ name: 'a', vni: 4097, address: 'fd00::3/64' }] });
  assert.match(line!, /^192\.168\.1\.25: IP6 fd00::3 > ff02::1: /);
  const trunk = { name: 'a', vlans: { 10: 5 }, native: 4097, address: '10.0.0.3/24' };
  assert.match(firstWords({ segments, taps: [trunk] })[0]!, /^192\.168\.1\.25: ARP, Request who-has 10\.0\.0\.3/);
  assert.equal(
    firstWords({ segments, taps: [{ fd: 3, vni: 4097, address: '10.0.0.3/24' }] }),
    [],
    'its MAC is unknown',
  );
});

test.run();
