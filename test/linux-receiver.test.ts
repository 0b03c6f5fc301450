/** The receiver of the fast engine, with a fake C library. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import * as abi from '../src/host/linux/abi.js';
import { Arena } from '../src/host/linux/arena.js';
import { newCounts } from '../src/host/linux/counts.js';
import { type Libc } from '../src/host/linux/libc.js';
import { Receiver } from '../src/host/linux/receiver.js';

test('several messages of one call are announced together, with the places of their bytes', () => {
  let arena: Arena | undefined;
  let arriving: string[] = [];
  const libc = {
    address: () => 0n, // makes pointers offsets in the arena
    madvise: () => 0,
    recvmmsg: (_fd: number, messages: bigint) => {
      const { view, bytes } = arena!;
      for (const [i, text] of arriving.entries()) {
        const at = Number(messages) + i * abi.MSGHDR.mmsgLength;
        const piece = view.getUint32(at + abi.MSGHDR.iov, true);
        bytes.set(Buffer.from(text), view.getUint32(piece, true));
        view.setUint32(at + abi.MSGHDR.moved, text.length, true);
        view.setUint32(at + abi.MSGHDR.controlLength, 0, true);
      }
      return arriving.length;
    },
  } as unknown as Libc;
  arena = new Arena(libc, 8 << 20);
  const { bytes } = arena;
  const receiver = new Receiver(libc, arena, 3, newCounts());
  const log: string[] = [];
  const receive = (...texts: string[]): string[] => {
    arriving = texts;
    receiver.receive({
      arrived: (starts, count) => void log.push(...Array.from(starts.subarray(0, count), (at) => `> ${bytes[at]!}`)),
      datagrams: (_source, offset, end) => void log.push(Buffer.from(bytes.subarray(offset, end)).toString()),
    });
    return log.splice(0);
  };
  assert.equal(receive('a', 'bc'), ['> 97', '> 98', 'a', 'bc']);
  assert.equal(receive('e'), ['e'], 'one message is not');
});

test.run();
