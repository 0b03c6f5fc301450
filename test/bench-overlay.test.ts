/** What the overlay benchmark prints, and what it leaves out. */
import { tmpdir } from 'node:os';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { buildLimit } from '../bench/limit.js';
import { isMet, printOverlay, type Measured } from '../bench/overlay.js';

const measured = (layout: string, ...rounds: [number, number, number]): Measured => ({
  layout,
  median: rounds[1],
  least: rounds[0],
  most: rounds[2],
  rounds,
});

test('a target is a bound for a ratio or, in parentheses, for a value', () => {
  assert.equal(
    [isMet(0.9, '>= 0.9'), isMet(0.89, '>= 0.9'), isMet(1.25, '<= 1.25'), isMet(1.26, '<= 1.25')],
    [true, false, true, false],
  );
  assert.equal([isMet(0.49, '(< 0.5)'), isMet(0.5, '(< 0.5)')], [true, false]);
  assert.throws(() => isMet(1, 'at least 1'), /"at least 1"/);
});

test('medians, extremes and ratios to the kernel and to limit.c, and the targets of the engine linux', () => {
  const lines: string[] = [];
  const { log } = console;
  console.log = (line: string) => void lines.push(line);
  try {
    printOverlay({
      left: [{ name: 'vde', reason: 'this machine has no apt-get' }],
      figures: [
        {
          name: 'TCP cubic, one stream',
          unit: 'Gbit/s',
          target: '>= 0.9',
          layouts: [measured('kernel', 18, 20, 21), measured('limit', 15, 16, 17), measured('linux', 11, 12, 14)],
        },
        {
          name: 'ping every 2 ms, median',
          unit: 'us',
          target: '<= 1.25',
          layouts: [measured('kernel', 5, 6, 9), measured('limit', 50, 64, 70), measured('linux', 70, 77, 80)],
        },
        { name: 'TCP bbr, one stream', unit: 'Gbit/s', target: '>= 1.0', layouts: [] },
        {
          name: 'resident memory of a VTEP',
          unit: 'MiB',
          target: '(< 120)',
          layouts: [measured('linux', 80, 88, 90)],
        },
      ],
    });
  } finally {
    console.log = log;
  }
  // By hand: 12 / 20, 12 / 16; 77 / 6, 77 / 64.
  assert.equal(lines, [
    'left out: vde: this machine has no apt-get',
    '                                        median  least   most  / kernel  / limit',
    'TCP cubic, one stream, Gbit/s   kernel   20.00  18.00  21.00      1.00     1.25',
    '                                limit    16.00  15.00  17.00      0.80     1.00',
    '                                linux    12.00  11.00  14.00      0.60     0.75',
    'ping every 2 ms, median, us     kernel    6.00   5.00   9.00      1.00     0.09',
    '                                limit    64.00  50.00  70.00     10.67     1.00',
    '                                linux    77.00  70.00  80.00     12.83     1.20',
    'resident memory of a VTEP, MiB  linux    88.00  80.00  90.00         -        -',
    '',
    '                           linux / limit   target',
    'TCP cubic, one stream               0.75   >= 0.9  missed',
    'ping every 2 ms, median             1.20  <= 1.25     met',
    'resident memory of a VTEP        (88.00)  (< 120)     met',
  ]);
});

test('without a C compiler, limit.c is left out with the reason', async () => {
  const { PATH } = process.env;
  process.env['PATH'] = '/nonexistent';
  try {
    assert.equal(await buildLimit(tmpdir()), { reason: 'there is no C compiler (cc)' });
  } finally {
    process.env['PATH'] = PATH;
  }
});

test.run();
