/** Super-frames that no kernel makes, from a container that writes virtio headers itself (packet(7), PACKET_VNET_HDR). */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as ethernet from '../../src/ethernet/index.js';
import * as ipv4 from '../../src/ipv4/index.js';
import * as ipv6 from '../../src/ipv6/index.js';
import { readCounts } from '../../src/host/linux/counts.js';
import { VIRTIO_LENGTH } from '../../src/host/linux/tap-queue.js';
import * as tcp from '../../src/tcp/index.js';
import * as udp from '../../src/udp/index.js';
import { GSO_ECN, GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, writeHeader } from '../../src/virtio/index.js';
import { FakePath } from '../support/fake-path.js';

/** Frames and datagrams out after which a turn ends, and the most that one super-frame becomes behind one peer. */
const TURN_OUTPUT = 1024;
const MAX_TCP_SEGMENTS = 1366;

const [SOURCE, DESTINATION] = ['10.0.0.3', '10.0.0.4'];

/** An Ethernet frame of a container to a MAC address that nobody has: it is flooded. */
function framed(etherType: number, payload: Uint8Array): Uint8Array {
  return ethernet.encode({ destination: '02:00:00:00:00:99', source: '02:00:00:00:00:01', etherType, payload });
}

/** A super-frame with its virtio header: TCP with `options` bytes of options, or UDP. */
function superFrame(type: number, size: number, data: number, options = 0): Uint8Array {
  const payload = new Uint8Array(data).fill(0x55);
  const isUdp = (type & ~GSO_ECN) === GSO_UDP_L4;
  const upper = isUdp
    ? udp.encode({ sourcePort: 1, destinationPort: 2, payload, checksum: 1 })
    : tcp.encode({
        sourcePort: 1,
        destinationPort: 2,
        sequence: 3,
        acknowledgment: 4,
        flags: tcp.FLAG_ACK,
        window: 5,
        checksum: 1,
        options: Array.from({ length: options }, () => ({ kind: 1, data: new Uint8Array(0) })),
        payload,
      });
  const protocol = isUdp ? 17 : 6;
  const frame =
    type === GSO_TCPV6
      ? framed(0x86dd, ipv6.encode({ nextHeader: protocol, source: 'fd00::3', destination: 'fd00::4', payload: upper }))
      : framed(0x0800, ipv4.encode({ protocol, source: SOURCE, destination: DESTINATION, payload: upper }));
  const all = new Uint8Array(VIRTIO_LENGTH + frame.length);
  const headers = frame.length - data;
  writeHeader(all, 0, type, headers, size, headers - (isUdp ? 8 : 20 + options), isUdp ? 6 : 16);
  all.set(frame, VIRTIO_LENGTH);
  return all;
}

/** How many datagrams a super-frame becomes, or the error that it is counted as. */
function sentFor(frame: Uint8Array): number | string {
  const fake = new FakePath({ keep: false });
  fake.toRead.push(frame);
  fake.path.fromTap(0, 0);
  const { datagramsSent, receiveErrors } = readCounts(fake.counts);
  return datagramsSent === 0 ? Object.keys(receiveErrors).join() : datagramsSent;
}

test('four frames with a segment size of 1 become nothing; 240,000 datagrams before', () => {
  for (const type of [GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4]) {
    const fake = new FakePath({ keep: false });
    for (let i = 0; i < 4; i++) fake.toRead.push(superFrame(type, 1, 60_000));
    fake.path.fromTap(0, 0);
    const { datagramsSent, receiveErrors } = readCounts(fake.counts);
    assert.equal([datagramsSent, receiveErrors], [0, { EINVAL: 4 }]);
  }
});

test('the smallest segment is that of the smallest MSS of Linux, options included', () => {
  for (const type of [GSO_TCPV4, GSO_TCPV6]) {
    for (const size of [1, 7, 8, 20, 47]) assert.is(sentFor(superFrame(type, size, 50_000)), 'EINVAL', `${size}`);
    assert.is(sentFor(superFrame(type, 48, 48_000)), 1000);
    assert.is(sentFor(superFrame(type, 35, 35_000, 12)), 'EINVAL');
    assert.is(sentFor(superFrame(type, 36, 36_000, 12)), 1000, 'with timestamps');
    assert.is(sentFor(superFrame(type, 8, 8_000, 40)), 1000, 'with all options');
    assert.is(sentFor(superFrame(type, 8, 60_000, 40)), 'EINVAL', 'but not 7500 of them');
    assert.is(sentFor(superFrame(type, 1368, 60_000, 12)), 44, 'as usual');
    // GRO on a router inside a container merges a few packets that are smaller than the MSS.
    assert.is(sentFor(superFrame(type, 5, 80)), 16);
    assert.is(sentFor(superFrame(type, 5, 81)), 'EINVAL');
  }
});

test('UDP super-frames have 128 datagrams at most, as in Linux, and no bit of TCP', () => {
  assert.is(sentFor(superFrame(GSO_UDP_L4, 1, 128)), 128);
  assert.is(sentFor(superFrame(GSO_UDP_L4, 1, 129)), 'EINVAL');
  assert.is(sentFor(superFrame(GSO_UDP_L4, 500, 64_000)), 128);
  assert.is(sentFor(superFrame(GSO_UDP_L4 | GSO_ECN, 1000, 10_000)), 'EINVAL');
  assert.is(sentFor(superFrame(GSO_TCPV4 | GSO_ECN, 1000, 10_000)), 10);
});

test('a turn ends after 1024 datagrams, and after the frame that exceeds them', () => {
  const fake = new FakePath({ keep: false, peers: ['192.0.2.3', '192.0.2.4', '192.0.2.5'] });
  for (let i = 0; i < 100; i++) fake.toRead.push(superFrame(GSO_TCPV4, 48, 65_000));
  let before = 0;
  while (fake.toRead.length > 0) {
    fake.path.fromTap(0, 0);
    const { datagramsSent } = readCounts(fake.counts);
    // Every frame of 1355 segments to 4 peers ends a turn; 100 frames, 542,000 datagrams, in one turn before.
    assert.ok(datagramsSent - before <= TURN_OUTPUT + 4 * MAX_TCP_SEGMENTS, `${datagramsSent - before} in a turn`);
    before = datagramsSent;
  }
  assert.is(before, 100 * 4 * 1355);
});

test('small broadcasts end a turn too', () => {
  const peers = Array.from({ length: 500 }, (_, i) => `192.0.${3 + (i >> 8)}.${i & 255}`);
  const fake = new FakePath({ keep: false, peers });
  const frame = new Uint8Array(VIRTIO_LENGTH + 60);
  frame.set(framed(0x88b5, new Uint8Array(46)), VIRTIO_LENGTH);
  frame.fill(0xff, VIRTIO_LENGTH, VIRTIO_LENGTH + 6);
  for (let i = 0; i < 128; i++) fake.toRead.push(frame);
  fake.path.fromTap(0, 0);
  assert.is(readCounts(fake.counts).datagramsSent, 3 * 501); // 128 * 501 before
});

test('frames to local TAPs end a turn too, also those that are segmented for a TAP without virtio header', () => {
  const fake = new FakePath({ keep: false, taps: 300 });
  const frame = new Uint8Array(VIRTIO_LENGTH + 60);
  frame.set(framed(0x88b5, new Uint8Array(46)), VIRTIO_LENGTH);
  frame.fill(0xff, VIRTIO_LENGTH, VIRTIO_LENGTH + 6);
  for (let i = 0; i < 128; i++) fake.toRead.push(frame);
  fake.path.fromTap(0, 0);
  assert.is(readCounts(fake.counts).framesWritten, 4 * 299); // 128 * 299 before
});

test.run();
