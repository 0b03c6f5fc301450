/** The fast engine's sender with a fake C library, in which the test controls full sockets and errors. */
import fc from 'fast-check';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as abi from '../src/host/linux/abi.js';
import { Arena } from '../src/host/linux/arena.js';
import { newCounts, readCounts } from '../src/host/linux/counts.js';
import { EAGAIN, EINVAL, ENOBUFS, type Libc } from '../src/host/linux/libc.js';
import { NONE, Sender } from '../src/host/linux/sender.js';
import { makeRemote } from '../src/vtep/index.js';

const FDS = [10, 11];
const remotes = [0, 1].map((id) => makeRemote(id, `192.0.2.${id + 1}`, 4789));

/** Datagrams sent on one socket: destination and bytes. */
interface Sent {
  fd: number;
  to: string;
  data: string;
}

/** Sockets that accept messages unless the test says otherwise. */
class Sockets {
  readonly sent: Sent[] = [];
  /** Messages that each socket accepts before it is full. */
  readonly room = new Map<number, number>(FDS.map((fd) => [fd, Infinity]));
  /** Errors of the next calls on a socket. */
  readonly errors: number[] = [];
  readonly arena: Arena;
  #errno = 0;

  constructor() {
    const calls = {
      address: () => 0n, // makes pointers offsets in the arena
      madvise: () => 0,
      errno: () => this.#errno,
      sendmmsg: (fd: number, messages: bigint, count: number) => this.#take(fd, Number(messages), count),
      poll: () => 0,
    };
    this.libc = calls as unknown as Libc;
    this.arena = new Arena(this.libc, 1 << 20);
  }

  readonly libc: Libc;

  #take(fd: number, at: number, count: number): number {
    const error = this.errors.shift() ?? (this.room.get(fd)! <= 0 ? EAGAIN : 0);
    if (error !== 0) {
      this.#errno = error;
      return -1;
    }
    const taken = Math.min(count, this.room.get(fd)!);
    for (let i = 0; i < taken; i++) this.#message(fd, at + i * abi.MSGHDR.mmsgLength);
    this.room.set(fd, this.room.get(fd)! - taken);
    return taken;
  }

  /** Reads a message as the kernel does, and applies UDP_SEGMENT. */
  #message(fd: number, at: number): void {
    const { view, bytes } = this.arena;
    const name = Number(view.getBigUint64(at + abi.MSGHDR.name, true));
    const to = [...bytes.subarray(name + abi.SOCKADDR.ipv4, name + abi.SOCKADDR.ipv4 + 4)].join('.');
    const iov = Number(view.getBigUint64(at + abi.MSGHDR.iov, true));
    let data: number[] = [];
    for (let i = 0; i < view.getUint32(at + abi.MSGHDR.iovCount, true); i++) {
      const base = Number(view.getBigUint64(iov + i * abi.IOVEC.length, true));
      data = [...data, ...bytes.subarray(base, base + view.getUint32(iov + i * abi.IOVEC.length + 8, true))];
    }
    const control = Number(view.getBigUint64(at + abi.MSGHDR.control, true));
    const controls = view.getUint32(at + abi.MSGHDR.controlLength, true);
    const joined = controls > 0 && view.getInt32(control + abi.CMSG.type, true) === abi.UDP_SEGMENT;
    const size = joined ? view.getUint16(control + abi.CMSG.data, true) : data.length;
    for (let i = 0; i < data.length; i += size)
      this.sent.push({ fd, to, data: Buffer.from(data.slice(i, i + size)).toString() });
  }
}

function start() {
  const sockets = new Sockets();
  const counts = newCounts();
  const sender = new Sender(sockets.libc, sockets.arena, FDS, false, counts, { errors: () => undefined });
  let next = sockets.arena.take(200_000);
  /** Hands one datagram to the sender, in memory of its own. */
  const transmit = (text: string, flow: number, remote = remotes[0]!): void => {
    sockets.arena.bytes.set(Buffer.from(text), next);
    sender.transmit(remote, next, text.length, flow, 0);
    next += text.length;
  };
  const texts = (): string[] => sockets.sent.map(({ data }) => data);
  return { sockets, sender, transmit, texts, errors: () => readCounts(counts).sendErrors, counts };
}

test('datagrams wait while the socket is full, and leave in order when it has space', () => {
  const { sockets, sender, transmit, texts, errors } = start();
  sockets.room.set(10, 2);
  // Increasing lengths, so that no two share a message.
  for (const text of ['a', 'bb', 'ccc', 'dddd']) transmit(text, 0);
  transmit('other', 1);
  sender.flush();
  assert.equal(texts(), ['a', 'bb', 'other'], 'the other socket has room');
  assert.equal([sender.full, sender.pending], [10, true]);
  sender.flush();
  assert.is(sender.full, 10, 'still');
  sockets.room.set(10, Infinity);
  sender.flush();
  assert.equal(texts(), ['a', 'bb', 'other', 'ccc', 'dddd']);
  assert.equal([sender.full, sender.pending, errors()], [NONE, false, {}]);
  transmit('e', 0);
  sender.flush();
  assert.is(texts().at(-1), 'e');
});

test('datagrams beyond the queue of a full socket are dropped and counted', () => {
  const { sockets, sender, transmit, texts, errors } = start();
  sockets.room.set(10, 0);
  transmit('a', 0);
  sender.flush();
  transmit('bb', 0);
  transmit('cc', 1, remotes[1]);
  assert.equal(errors(), { EAGAIN: 2 });
  sockets.room.set(10, 1);
  sender.flush();
  assert.equal(texts(), ['a']);
});

test('a socket that stays full for too long drops its queue, and delays no caller until it accepts again', () => {
  const { sockets, sender, transmit, texts, errors } = start();
  sockets.room.set(10, 0);
  for (const text of ['aaa', 'bbb', 'ccc']) transmit(text, 0); // one message of three datagrams
  sender.flush();
  sender.abandon();
  assert.equal([sender.full, sender.pending, errors()], [NONE, false, { EAGAIN: 3 }]);
  transmit('d', 0);
  transmit('e', 1);
  sender.flush();
  assert.equal([sender.full, texts(), errors()], [NONE, ['e'], { EAGAIN: 4 }], 'dropped at once');
  sockets.room.set(10, 1);
  for (const text of ['f', 'gg']) transmit(text, 0);
  sender.flush();
  assert.equal([sender.full, texts()], [10, ['e', 'f']], 'it is waited for again');
});

test('ENOBUFS: the datagram is counted, and the next ones are sent', () => {
  const { sockets, sender, transmit, texts, errors } = start();
  for (const text of ['a', 'bb', 'ccc']) transmit(text, 0);
  sockets.errors.push(ENOBUFS);
  sender.flush();
  assert.equal([texts(), errors()], [['bb', 'ccc'], { ENOBUFS: 1 }]);
});

test('without UDP_SEGMENT in the kernel, datagrams are sent one by one', () => {
  const { sockets, sender, transmit, texts, errors } = start();
  for (const text of ['aa', 'bb', 'c']) transmit(text, 0);
  sockets.errors.push(EINVAL);
  sender.flush();
  assert.equal([texts(), errors(), sender.joins], [['aa', 'bb', 'c'], {}, false]);
});

test('datagrams that cannot be sent one by one either do not turn joining off, and each is counted for its remote', () => {
  const sockets = new Sockets();
  const unsent: [string, number, number][] = [];
  const counts = newCounts();
  const sender = new Sender(sockets.libc, sockets.arena, FDS, false, counts, {
    errors: () => undefined,
    unsent: ({ address }, errno, datagrams) => void unsent.push([address, errno, datagrams]),
  });
  const at = sockets.arena.take(100);
  const three = (): void => {
    for (let i = 0; i < 3; i++) sender.transmit(remotes[0]!, at + i * 2, 2, 0, 0);
    sender.flush();
  };
  // As Linux does while the socket's bound address is missing: errors for the message, and twice for each datagram.
  sockets.errors.push(...Array<number>(7).fill(EINVAL));
  three();
  assert.equal([sender.joins, readCounts(counts).sendErrors], [true, { EINVAL: 3 }]);
  assert.equal(unsent, Array(3).fill(['192.0.2.1', EINVAL, 1]));
  three();
  assert.is(sockets.sent.length, 3, 'the address is back');
});

test('whichever socket is full: each datagram is sent once or counted, in order within a flow', () => {
  const event = fc.oneof(
    fc.record({ flow: fc.nat(3), remote: fc.nat(1), length: fc.integer({ min: 5, max: 12 }) }),
    fc.record({ fd: fc.constantFrom(...FDS), room: fc.nat(4) }),
    fc.constantFrom('flush', 'abandon'),
  );
  fc.assert(
    fc.property(fc.array(event, { maxLength: 200 }), (events) => {
      const { sockets, sender, transmit, texts, errors } = start();
      let number = 1000;
      const brought: string[] = [];
      for (const one of events) {
        if (one === 'flush') sender.flush();
        else if (one === 'abandon') sender.abandon();
        else if ('fd' in one) sockets.room.set(one.fd, one.room);
        else {
          const text = `${one.flow}${number++}`.padEnd(one.length, '.');
          brought.push(text);
          transmit(text, one.flow, remotes[one.remote]);
        }
      }
      for (const fd of FDS) sockets.room.set(fd, Infinity);
      sender.flush();
      assert.is(sender.full, NONE);
      const left = texts();
      assert.is(new Set(left).size, left.length, 'none twice');
      assert.is(left.length + (errors()['EAGAIN'] ?? 0), brought.length);
      for (const flow of ['0', '1', '2', '3']) {
        const sent = left.filter((text) => text.startsWith(flow));
        assert.equal(sent, [...sent].sort());
      }
      for (const { fd, data } of sockets.sent) assert.is(fd, FDS[Number(data[0]) % 2]);
    }),
  );
});

test.run();
