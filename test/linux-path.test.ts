/** The fast engine's data path with a fake C library, for input that a real kernel does not produce on demand. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Recorder } from '../src/host/recorder.js';
import * as abi from '../src/host/linux/abi.js';
import { Arena } from '../src/host/linux/arena.js';
import { newCounts, readCounts } from '../src/host/linux/counts.js';
import { EAGAIN, type Libc } from '../src/host/linux/libc.js';
import { DataPath } from '../src/host/linux/path.js';
import { type Receiver } from '../src/host/linux/receiver.js';
import { Sender } from '../src/host/linux/sender.js';
import { TapQueue, VIRTIO_LENGTH } from '../src/host/linux/tap-queue.js';
import { sums } from '../src/host/simd.js';
import { encode } from '../src/vxlan/index.js';
import { GSO_NONE, GSO_TCPV4, writeHeader } from '../src/virtio/index.js';
import { Vtep } from '../src/vtep/index.js';

const VNI = 7;
const PEER = '192.0.2.2';

/** A TAP and an underlay made of arrays. */
class Fake {
  /** Frames that the TAP returns, with virtio headers; and frames written to it. */
  readonly toRead: Uint8Array[] = [];
  readonly written: Uint8Array[] = [];
  /** Datagrams sent, and whether the socket accepts any. */
  readonly sent: string[] = [];
  full = false;
  /** Datagrams received from the peer. */
  readonly toReceive: Uint8Array[] = [];
  readonly counts = newCounts();
  readonly path: DataPath;
  readonly vtep: Vtep;

  constructor() {
    const libc = {
      address: () => 0n, // makes pointers offsets in the arena
      madvise: () => 0,
      errno: () => EAGAIN,
      readv: (_fd: number, vector: bigint) => this.#read(Number(vector)),
      writev: (_fd: number, vector: bigint, count: number) => this.#write(Number(vector), count),
      sendmmsg: (_fd: number, messages: bigint, count: number) => this.#send(Number(messages), count),
    } as unknown as Libc;
    this.#arena = new Arena(libc, 4 << 20);
    const arena = this.#arena;
    const vtep = new Vtep();
    this.vtep = vtep;
    vtep.addSegment({ vni: VNI });
    vtep.addPort({ name: 'eth0', vni: VNI });
    vtep.addPeer(VNI, PEER);
    this.#source = arena.take(abi.SOCKADDR.room);
    this.#buffer = arena.take(65_536);
    arena.bytes.set([192, 0, 2, 2], this.#source + abi.SOCKADDR.ipv4);
    this.path = new DataPath({
      ...{ arena, vtep, v6: false, counts: this.counts, sums: sums(arena.memory) },
      taps: [new TapQueue(libc, arena, 3, true, this.counts)],
      sender: new Sender(libc, arena, [4], false, this.counts, { errors: () => undefined }),
      receiver: { receive: (path: DataPath) => this.#receive(path) } as unknown as Receiver,
      recorder: { active: false } as Recorder,
      ...{ local: { address: '192.0.2.1', port: 4789 }, sourcePorts: [50_000], udp: false },
      lost: () => undefined,
    });
  }

  readonly #arena: Arena;
  readonly #source: number;
  readonly #buffer: number;

  #piece(vector: number, i: number): [offset: number, length: number] {
    const at = vector + i * abi.IOVEC.length;
    return [this.#arena.view.getUint32(at, true), this.#arena.view.getUint32(at + abi.IOVEC.size, true)];
  }

  #read(vector: number): number {
    const frame = this.toRead.shift();
    if (frame === undefined) return -1;
    this.#arena.bytes.set(frame, this.#piece(vector, 0)[0]);
    return frame.length;
  }

  #write(vector: number, count: number): number {
    const parts = Array.from({ length: count }, (_, i) => {
      const [offset, length] = this.#piece(vector, i);
      return this.#arena.bytes.slice(offset, offset + length);
    });
    this.written.push(Buffer.concat(parts));
    return 1;
  }

  #send(messages: number, count: number): number {
    if (this.full) return -1;
    for (let i = 0; i < count; i++) {
      const iov = this.#arena.view.getUint32(messages + i * abi.MSGHDR.mmsgLength + abi.MSGHDR.iov, true);
      const [offset, length] = this.#piece(iov, 0);
      this.sent.push(Buffer.from(this.#arena.bytes.slice(offset, offset + length)).toString('hex'));
    }
    return count;
  }

  #receive(path: DataPath): boolean {
    const data = this.toReceive.shift();
    if (data === undefined) return false;
    this.#arena.bytes.set(data, this.#buffer);
    path.datagrams(this.#source, this.#buffer, this.#buffer + data.length, data.length, 0);
    return true;
  }
}

const frame = (text: string): Uint8Array =>
  Buffer.concat([Buffer.from('02000000000102000000000288b5', 'hex'), Buffer.from(text.padEnd(46))]);

test('a super-frame that cannot be segmented is counted, and the next datagram from the underlay is intact', () => {
  const fake = new Fake();
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
  const fake = new Fake();
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

test.run();
