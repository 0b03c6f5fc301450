/** Events that a VTEP detects while learning, compared with naive references. */
import fc from 'fast-check';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Frame, HEADROOM, Vtep, Watch, type Finding, type FindingPlace, type VtepSink } from '../src/vtep/index.js';
import { fromHex } from './support/hex.js';

const watch = suite('watch');

const at = (place: number): FindingPlace => ({ port: place, vtep: null });
const kinds = (findings: readonly Finding[]): string[] => findings.map(({ kind }) => kind);

watch('a thousand new addresses per second are a flood, a rejected one is a flood at once', () => {
  const one = new Watch(7);
  for (let i = 0; i < 1000; i++) one.learned(2);
  assert.equal(one.findings(at, 1), []);
  for (let i = 0; i < 1001; i++) one.learned(2);
  assert.equal(one.findings(at, 1), [{ kind: 'mac-flood', vni: 7, learned: 1001, refused: 0, place: at(2) }]);
  for (let i = 0; i < 1500; i++) one.learned(2);
  assert.equal(one.findings(at, 2), []);
  one.refused(4);
  assert.equal(one.findings(at, 1), [{ kind: 'mac-flood', vni: 7, learned: 0, refused: 1, place: at(4) }]);
  assert.equal(one.findings(at, 1), []);
});

watch('an address that moves five times in a second is a loop; one that moves once is not', () => {
  const one = new Watch(7);
  for (let i = 0; i < 4; i++) one.moved(0x0200_0000_0001, 0, 3);
  assert.equal(one.findings(at, 1), []);
  for (let i = 0; i < 5; i++) one.moved(0x0200_0000_0001, i % 2 === 0 ? 0 : 3, i % 2 === 0 ? 3 : 0);
  one.moved(0x0200_0000_0002, 0, 3);
  assert.equal(one.findings(at, 1), [
    { kind: 'mac-moves', vni: 7, mac: '02:00:00:00:00:01', moves: 5, places: [at(0), at(3)] },
  ]);
  assert.equal(one.findings(at, 1), []);
});

watch(
  'a duplicate is an address that returns to an earlier MAC address within a minute, as in a list of all claims',
  () => {
    // Few addresses, so that none displaces another: the table has 512 entries.
    const claim = fc.record({
      key: fc.integer({ min: 1, max: 5 }),
      mac: fc.integer({ min: 1, max: 3 }),
      wait: fc.integer({ min: 0, max: 40_000 }),
    });
    fc.assert(
      fc.property(fc.array(claim, { maxLength: 60 }), (claims) => {
        const one = new Watch(7);
        const received: { key: number; mac: number; now: number }[] = [];
        let now = 0;
        for (const { key, mac, wait } of claims) {
          now += wait;
          // The reference: the runs of one claimant, of which the last but one is this one's, and ended lately.
          const runs: { mac: number; start: number }[] = [];
          for (const past of received.filter((other) => other.key === key))
            if (runs.at(-1)?.mac !== past.mac) runs.push({ mac: past.mac, start: past.now });
          const last = runs.at(-1);
          const expected =
            last !== undefined && last.mac !== mac && runs.at(-2)?.mac === mac && now - last.start <= 60_000
              ? last.mac
              : 0;
          assert.is(one.claims(key, mac, now), expected);
          received.push({ key, mac, now });
        }
      }),
    );
  },
);

watch('any number of claims takes bounded memory, and claims of 0.0.0.0 are ignored', () => {
  const one = new Watch(7);
  for (let i = 0; i < 1e6; i++) one.claims(i >>> 0, i % 100, i);
  for (let i = 0; i < 10; i++) assert.is(one.claims(0, i % 2, 0), 0);
  for (let i = 0; i < 1000; i++) one.duplicate(`10.0.0.${i}`, 1, 2, 0, true);
  assert.is(one.findings(at, 1).length, 16);
});

/** A machine with two ports and a peer; returns the events for frames in hex: `[port or address, frame]`. */
function noticed(
  frames: readonly (readonly [number | string, string])[],
  endpoints: { ip: string; mac: string }[] = [],
) {
  const vtep = new Vtep({ local: '192.0.2.1' });
  vtep.addSegment({ vni: 7 });
  vtep.addPort({ name: 'a', vni: 7 });
  vtep.addPort({ name: 'b', vni: 7 });
  vtep.addPeer(7, '192.0.2.2');
  for (const endpoint of endpoints) vtep.addEndpoint(7, endpoint);
  const sink: VtepSink = { deliver: () => undefined, transmit: () => undefined };
  for (const [from, text] of frames) {
    const data = fromHex(typeof from === 'string' ? `0800000000000700${text}` : text);
    const bytes = new Uint8Array(HEADROOM + data.length);
    bytes.set(data, HEADROOM);
    if (typeof from === 'string') vtep.receiveDatagram(from, new Frame(bytes, HEADROOM), 0, 0, sink);
    else vtep.receiveFrame(from, new Frame(bytes, HEADROOM), 0, sink);
  }
  return vtep.findings(1000);
}

const MAC1 = '020000000001';
const MAC2 = '020000000002';
const arpOf = (mac: string, ip = '0a000005'): string =>
  `ffffffffffff${mac}0806000108000604000 1${mac}${ip}000000000000 0a000009`.replace(/ /g, '');
/** A neighbor advertisement of fe80::5 to all nodes (RFC 4861, section 4.4). The checksum is scapy's. */
const naOf = (mac: string): string =>
  `333300000001${mac}86dd6000000000183afffe80000000000000000000000000000` +
  `5ff0200000000000000000000000000018800 5b9d 20000000fe800000000000000000000000000005`.replace(/ /g, '');

watch('two ports that claim one address in turn are reported, with the source of the last claim', () => {
  assert.equal(noticed([[0, arpOf(MAC1)]]), []);
  assert.equal(
    noticed([
      [0, arpOf(MAC1)],
      [1, arpOf(MAC2)],
    ]),
    [],
    'a host that was replaced',
  );
  assert.equal(
    noticed([
      [0, arpOf(MAC1)],
      ['192.0.2.2', arpOf(MAC2)],
      [0, arpOf(MAC1)],
    ]),
    [
      {
        kind: 'duplicate-address',
        vni: 7,
        ip: '10.0.0.5',
        macs: ['02:00:00:00:00:02', '02:00:00:00:00:01'],
        place: { port: 0, vtep: null },
        known: false,
      },
    ],
  );
});

watch('the same over IPv6, by neighbor advertisements', () => {
  assert.equal(
    noticed([
      [0, naOf(MAC1)],
      ['192.0.2.2', naOf(MAC2)],
      [0, naOf(MAC1)],
    ]).map((finding) => finding.kind === 'duplicate-address' && finding.ip),
    ['fe80::5'],
  );
});

watch('a claim of an address that the control plane assigns to another MAC address is reported at once', () => {
  const endpoint = { ip: '10.0.0.5', mac: '02:00:00:00:00:01' };
  assert.equal(noticed([[0, arpOf(MAC1)]], [endpoint]), []);
  assert.equal(noticed([['192.0.2.2', arpOf(MAC2)]], [endpoint]), [
    {
      kind: 'duplicate-address',
      vni: 7,
      ip: '10.0.0.5',
      macs: ['02:00:00:00:00:01', '02:00:00:00:00:02'],
      place: { port: null, vtep: '192.0.2.2' },
      known: true,
    },
  ]);
});

watch('a frame that circulates between two ports is a loop', () => {
  const frame = `ffffffffffff${MAC1}88b5${'00'.repeat(46)}`;
  const round = Array.from({ length: 8 }, (_, i) => [i % 2, frame] as const);
  assert.equal(kinds(noticed(round)), ['mac-moves']);
  assert.equal(noticed(round.slice(0, 3)), []);
});

watch('a flood is what is learned between two calls, not before them', () => {
  const vtep = new Vtep();
  vtep.addSegment({ vni: 7 });
  vtep.addPort({ name: 'a', vni: 7 });
  const bytes = new Uint8Array(HEADROOM + 60);
  let next = 0;
  const learn = (count: number): void => {
    for (let i = 0; i < count; i++) {
      bytes.set([0x02, 0, 0, 0, ++next >> 8, next & 255], HEADROOM + 6);
      vtep.receiveFrame(0, new Frame(bytes, HEADROOM), 0, { deliver: () => undefined, transmit: () => undefined });
    }
  };
  for (const second of [1, 2, 3]) {
    learn(600);
    assert.equal(vtep.findings(second * 1000), []);
  }
  learn(1001);
  assert.equal(vtep.findings(4000), [
    { kind: 'mac-flood', vni: 7, learned: 1001, refused: 0, place: { port: 0, vtep: null } },
  ]);
  learn(1000);
  assert.equal(vtep.findings(5000), []);
});

watch('explain reports no events', () => {
  const vtep = new Vtep();
  vtep.addSegment({ vni: 7 });
  vtep.addPort({ name: 'a', vni: 7 });
  vtep.addEndpoint(7, { ip: '10.0.0.5', mac: '02:00:00:00:00:01' });
  vtep.explain({ port: 0, frame: fromHex(arpOf(MAC2)) }, 0);
  assert.equal(vtep.findings(1000), []);
});

watch.run();
