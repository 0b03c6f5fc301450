/** Questions: what a VTEP does for hosts that asked for a neighbor before the VTEP knew it. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { arpRequest, C1, C2, udpFrame } from './support/frames.js';
import { fromHex, hex } from './support/hex.js';
import { HEADER, host, tag } from './support/vtep-host.js';

const REMOTE = { ...C2, vtep: C2.host };
const ASKED = arpRequest(C1, C2.ip);
/**
 * RFC 4861, section 4.3, to the solicited-node group of fd00::4. Computed by a few lines of Python; tshark finds the
 * checksum correct.
 */
const SOLICITATION = fromHex(
  '3333ff00000402420a00000386dd6000000000203afffd000000000000000000000000000003ff0200000000000000000001ff000004' +
    '8700734d00000000fd000000000000000000000000000004010102420a000003',
);
/** RFC 5227, section 2.3. */
const ANNOUNCED = 'ffffffffffff02420a00000408060001080006040001' + '02420a0000040a0000040000000000000a000004';

function sentTo({ sent }: ReturnType<typeof host>): [string, string][] {
  return sent.map(({ address, datagram }) => [address, hex(datagram)]);
}

test('sends the questions of the last second to a new peer, and to no other', () => {
  const one = host();
  const port = one.vtep.addPort({ name: 'tap0', vni: 4097 });
  one.frame(port, ASKED);
  assert.equal(one.drops(), { 'no-receiver': 1 });
  one.vtep.addPeer(4097, C2.host);
  one.wait(999);
  one.tick();
  assert.equal(sentTo(one), [[C2.host, HEADER + hex(ASKED)]]);
  assert.is(one.count('asked-again'), 1);
  assert.is(one.count('datagrams-out'), 1);
  one.vtep.addPeer(4097, '203.0.113.7');
  one.tick();
  assert.equal(sentTo(one), [['203.0.113.7', HEADER + hex(ASKED)]]);
  one.vtep.addPeer(4097, C2.host); // a second reference, not a new peer
  one.tick();
  assert.equal(sentTo(one), []);
  one.wait(1);
  one.vtep.addPeer(4097, '203.0.113.8');
  one.tick();
  assert.equal(sentTo(one), [], 'after a second the host repeats its question itself');
});

test('does not repeat a question that the new peer received already', () => {
  const one = host();
  const port = one.vtep.addPort({ name: 'tap0', vni: 4097 });
  one.vtep.addPeer(4097, C2.host);
  one.frame(port, ASKED);
  assert.equal(sentTo(one), [[C2.host, HEADER + hex(ASKED)]]);
  one.tick();
  assert.equal(sentTo(one), []);
});

test('sends neighbor solicitations as well, and nothing else that was flooded', () => {
  const one = host();
  const port = one.vtep.addPort({ name: 'tap0', vni: 4097 });
  one.vtep.addPort({ name: 'tap1', vni: 4097 });
  one.frame(port, SOLICITATION);
  one.frame(port, udpFrame(C1, { ip: '10.0.0.255', mac: 'ff:ff:ff:ff:ff:ff' }));
  one.frame(port, udpFrame(C1, C2));
  one.frame(port, arpRequest(C1, C2.ip, C2.mac)); // to one station: a host follows it with a broadcast
  one.frame(port, fromHex(hex(SOLICITATION).replace('8700734d', '8600744d'))); // a router advertisement
  one.vtep.addPeer(4097, C2.host);
  one.tick();
  assert.equal(sentTo(one), [[C2.host, HEADER + hex(SOLICITATION)]]);
});

test('keeps 16 questions of each segment', () => {
  const one = host();
  one.vtep.addSegment({ vni: 5000 });
  const port = one.vtep.addPort({ name: 'tap0', vni: 4097 });
  const other = one.vtep.addPort({ name: 'tap1', vni: 5000 });
  one.frame(other, ASKED);
  const asked = Array.from({ length: 20 }, (_, i) => arpRequest(C1, `10.0.0.${100 + i}`));
  for (const frame of asked) one.frame(port, frame);
  one.vtep.addPeer(4097, C2.host);
  one.tick();
  assert.equal(
    sentTo(one)
      .map(([, datagram]) => datagram)
      .sort(),
    asked.slice(4).map((frame) => HEADER + hex(frame)),
  );
});

test('announces an endpoint that a local host asked for, whether or not the segment floods', () => {
  for (const flood of [true, false]) {
    const one = host({ flood });
    const port = one.vtep.addPort({ name: 'tap0', vni: 4097 });
    one.frame(port, ASKED);
    one.vtep.addEndpoint(4097, { ip: '10.0.0.5', mac: '02:42:0a:00:00:05', vtep: C2.host });
    one.tick();
    assert.equal(one.delivered, [], 'no one asked for this one');
    one.vtep.addEndpoint(4097, REMOTE);
    one.tick();
    assert.equal(
      one.delivered.map((frame) => [frame.port, hex(frame.frame)]),
      [[port, ANNOUNCED]],
    );
    assert.is(one.sent.length, 0);
  }
});

test('an endpoint that returns unchanged is announced if a host asked for it meanwhile', () => {
  const one = host();
  const port = one.vtep.addPort({ name: 'tap0', vni: 4097 });
  one.vtep.addEndpoint(4097, REMOTE);
  one.vtep.removeEndpoint(4097, REMOTE);
  one.frame(port, ASKED);
  one.vtep.addEndpoint(4097, REMOTE);
  one.tick();
  assert.equal(
    one.delivered.map(({ frame }) => hex(frame)),
    [ANNOUNCED],
  );
});

test('answers as the segment’s proxy does: with its own address, or not at all', () => {
  const own = host({ proxy: 'vtep', mac: '02:00:00:00:00:fe' });
  const port = own.vtep.addPort({ name: 'tap0', vni: 4097 });
  own.frame(port, ASKED);
  own.vtep.addEndpoint(4097, REMOTE);
  own.tick();
  assert.equal(
    own.delivered.map(({ frame }) => hex(frame)),
    [ANNOUNCED.replaceAll('02420a000004', '0200000000fe')],
  );
  const off = host({ proxy: 'off' });
  off.frame(off.vtep.addPort({ name: 'tap0', vni: 4097 }), ASKED);
  off.vtep.addEndpoint(4097, REMOTE);
  off.tick();
  assert.equal(off.delivered, []);
});

test('a question from a trunk is kept without the trunk’s tag; one with further tags is not kept', () => {
  const one = host({ tagged: true });
  const trunk = one.vtep.addPort({ name: 'trunk', vlans: { 10: 4097 } });
  one.frame(trunk, tag(ASKED, 10));
  one.frame(trunk, tag(tag(arpRequest(C1, '10.0.0.9'), 7), 10));
  one.vtep.addPeer(4097, C2.host);
  one.tick();
  assert.equal(sentTo(one), [[C2.host, HEADER + hex(ASKED)]]);
});

test('neither a removed peer nor a removed segment nor an explanation leaves something to send', () => {
  const one = host();
  const port = one.vtep.addPort({ name: 'tap0', vni: 4097 });
  one.vtep.explain({ port, frame: ASKED }, 0);
  one.vtep.addPeer(4097, C2.host);
  one.tick();
  assert.equal(one.sent, []);
  one.frame(port, ASKED);
  one.vtep.addPeer(4097, '203.0.113.7');
  one.vtep.removePeer(4097, '203.0.113.7');
  one.tick();
  assert.equal(one.sent, []);
  one.vtep.addPeer(4097, '203.0.113.7');
  one.vtep.removeSegment(4097);
  one.tick();
  assert.equal(one.sent, []);
});

test.run();
