/** Counts of the frames that the kernel dropped at TAPs. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { TapDrops, txDropped } from '../src/host/tap-drops.js';

/** /proc/net/dev of Linux 6.1, with TX drops of 7 and 4294967296. */
const STATISTICS = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    4711      51    0    0    0     0          0         0     4711      51    0    0    0     0       0          0
  eth0: 528888782   18172    1    2    3     4          5         6  1582964   11695    8    7    9    10      11         12
veth0: 1 2 3 4 5 6 7 8 9 10 11 4294967296 13 14 15 16
`;

test('the column of the kernel’s statistics', () => {
  assert.equal([...txDropped(STATISTICS)], [['lo', 0], ['eth0', 7], ['veth0', 4_294_967_296]]); // prettier-ignore
  assert.equal([...txDropped('')], []);
});

test('since the start, of all namespaces, at most once a second', async () => {
  const line = (name: string, drops: number): string => `${name}: 0 0 0 0 0 0 0 0 0 0 0 ${drops} 0 0 0 0\n`;
  let texts = [line('a', 10) + line('b', 4), line('a', 100)];
  const asked: unknown[] = [];
  const drops = new TapDrops((places) => {
    asked.push(places);
    return Promise.resolve(texts.map(txDropped));
  });
  drops.add(0, { device: 'a', before: 3 });
  drops.add(1, { device: 'b', before: 4 });
  drops.add(2, { device: 'a', netns: 'c1', before: 0 });
  assert.equal(await Promise.all([drops.count(), drops.count()]), [107, 107]);
  assert.equal(asked, [[undefined, 'c1']]);
  texts = [line('a', 11)]; // `b` is gone, and so is the namespace
  assert.is(await drops.count(), 107);
  await new Promise((resolve) => setTimeout(resolve, 1050));
  assert.is(await drops.count(), 108);
  assert.is(asked.length, 2);
  drops.remove(2);
  drops.add(3, { device: 'b', before: 0 });
  assert.is(await drops.count(), 108, 'those of a detached TAP stay');
});

test('what cannot be read is not counted', async () => {
  const drops = new TapDrops(() => Promise.reject(new Error('no')));
  drops.add(0, { device: 'a', before: 0 });
  assert.is(await drops.count(), 0);
});

test.run();
