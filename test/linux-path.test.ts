/** The fast engine's data path with a fake C library, for input that a real kernel does not produce on demand. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { build } from '../src/packet/index.js';
import { readCounts } from '../src/host/linux/counts.js';
import { VIRTIO_LENGTH } from '../src/host/linux/tap-queue.js';
import { FLAG_ACK } from '../src/tcp/index.js';
import { encode } from '../src/vxlan/index.js';
import { GSO_NONE, GSO_TCPV4, writeHeader } from '../src/virtio/index.js';
import { FakePath, PEER, VNI } from './support/fake-path.js';

const frame = (text: string): Uint8Array =>
  Buffer.concat([Buffer.from('02000000000102000000000288b5', 'hex'), Buffer.from(text.padEnd(46))]);

test('a super-frame that cannot be segmented is counted, and the next datagram from the underlay is intact', () => {
  const fake = new FakePath();
  const header = new Uint8Array(VIRTIO_LENGTH);
  writeHeader(header, 0, GSO_TCPV4, 54, 1400, 34, 16);
  fake.toRead.push(Buffer.concat([header, frame('says that it is TCP')]));
  fake.path.fromTap(0, 0);
  const { framesRead, receiveErrors } = readCounts(fake.counts);
  assert.equal([framesRead, receiveErrors], [1, { EINVAL: 1 }]);

  fake.toReceive.push(encode({ vni: VNI, payload: frame('and then') }));
  fake.path.fromUnderlay(0);
  assert.is(fake.written.length, 1);
  const [written] = fake.written as [Uint8Array];
  assert.is(written[1], GSO_NONE);
  assert.equal(Buffer.from(written.subarray(VIRTIO_LENGTH)), Buffer.from(frame('and then')));
});

test('the machine’s own datagrams are sent unchanged, also after the socket was full', () => {
  const fake = new FakePath();
  fake.vtep.addPeer(VNI, '192.0.2.3');
  const announced = (last: string): string =>
    `0800000000000700ffffffffffff020000000001080600010800060400010200000000010a0000${last}0000000000000a0000${last}`;
  const announce = (last: number): void => fake.vtep.announce(VNI, { ip: `10.0.0.${last}`, mac: '02:00:00:00:00:01' });
  announce(3);
  announce(4);
  fake.vtep.tick(0, fake.path);
  assert.equal(fake.sent.splice(0), [announced('03'), announced('03'), announced('04'), announced('04')]);
  fake.full = true;
  announce(5);
  fake.vtep.sendAnnouncements(1, fake.path);
  fake.full = false;
  fake.path.resume();
  assert.equal(fake.sent, [announced('05')]);
  assert.equal(readCounts(fake.counts).sendErrors, { EAGAIN: 1 });
});

test('the machine’s own frames of an encrypted segment are sent at once, and before their key goes', () => {
  const fake = new FakePath();
  const { vtep, path, sent } = fake;
  const SEALED = VNI + 1;
  vtep.addSegment({ vni: SEALED, group: 'one' });
  vtep.addPeer(SEALED, PEER);
  const esp = fake.secure();
  const key = { spi: 0x12345678, key: new Uint8Array(16), salt: new Uint8Array(4) };
  esp.associate([{ do: 'send', group: 'one', address: PEER, keys: [key] }], 0);
  assert.is(sent.splice(0).length, 1, 'the dummy packet');
  vtep.announce(SEALED, { ip: '10.0.0.3', mac: '02:00:00:00:00:01' });
  vtep.sendAnnouncements(1, path);
  assert.equal(
    sent.splice(0).map((packet) => packet.slice(0, 16)),
    ['1234567800000002'],
    'SPI and sequence number',
  );
  // The socket is full: what waits is lost, also if the segment and its key go meanwhile.
  fake.full = true;
  vtep.announce(SEALED, { ip: '10.0.0.4', mac: '02:00:00:00:00:01' });
  vtep.sendAnnouncements(2, path);
  vtep.removeSegment(SEALED);
  fake.full = false;
  path.resume();
  fake.toRead.push(Buffer.concat([new Uint8Array(VIRTIO_LENGTH), frame('in clear text')]));
  path.fromTap(0, 0);
  assert.is(sent.at(-1)!.slice(0, 16), `0800000000000700`);
});

/** Data of a TCP segment, and the length of the headers in front of it. */
const SIZE = 1000;
const HEADERS = 54;

/** A broadcast TCP segment of the station 02:00:00:00:00:03. */
const segment = (sequence: number, length: number): Uint8Array =>
  build([
    { protocol: 'ethernet', destination: 'ff:ff:ff:ff:ff:ff', source: '02:00:00:00:00:03' },
    { protocol: 'ipv4', source: '10.0.0.1', destination: '10.0.0.2', identification: 1 + sequence / SIZE },
    { protocol: 'tcp', sourcePort: 1, destinationPort: 2, sequence, acknowledgment: 1, flags: FLAG_ACK, window: 1 },
    { protocol: 'payload', bytes: new Uint8Array(length).fill(0x77) },
  ]);

test('a single frame stays single after a super-frame, and after datagrams that were merged', () => {
  const fake = new FakePath({ taps: 2 });
  const kinds = (): number[] => fake.written.splice(0).map((written) => written[1]!);
  const header = new Uint8Array(VIRTIO_LENGTH);
  writeHeader(header, 0, GSO_TCPV4, HEADERS, SIZE, 34, 16);
  fake.toRead.push(Buffer.concat([header, segment(0, 3 * SIZE)]));
  fake.toRead.push(Buffer.concat([new Uint8Array(VIRTIO_LENGTH), frame('from the same TAP')]));
  fake.path.fromTap(0, 0);
  assert.equal(kinds(), [GSO_TCPV4, GSO_NONE]);
  assert.is(fake.sent.length, 2, 'one message of three datagrams, and one datagram');

  const datagrams = [0, SIZE].map((sequence) => encode({ vni: VNI, payload: segment(sequence, SIZE) }));
  fake.receiveMany(Buffer.concat(datagrams), datagrams[0]!.length);
  assert.equal(kinds(), [GSO_TCPV4, GSO_TCPV4], 'one for each TAP');
  fake.receiveMany(encode({ vni: VNI, payload: frame('and then') }), 0);
  assert.equal(kinds(), [GSO_NONE, GSO_NONE]);
});

test.run();
