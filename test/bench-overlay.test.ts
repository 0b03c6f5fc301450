/** What the overlay benchmark prints, and what it leaves out. */
import { tmpdir } from 'node:os';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { buildLimit } from '../bench/limit.js';
import { isMet, printOverlay, type Measured, type Overlay } from '../bench/overlay.js';

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

/** What is printed for figures. */
function printed(overlay: Overlay): string[] {
  const lines: string[] = [];
  const { log } = console;
  console.log = (line: string) => void lines.push(line);
  try {
    printOverlay(overlay);
  } finally {
    console.log = log;
  }
  return lines;
}

test('medians, extremes and ratios to the kernel and to limit.c, and the targets of the engine linux', () => {
  const lines = printed({
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

test('an encrypted network is compared with one in clear and with wireguard-go, and its ping by the difference', () => {
  const lines = printed({
    encrypted: true,
    left: [],
    figures: [
      {
        name: 'TCP cubic, one stream',
        unit: 'Gbit/s',
        target: '>= 0.9',
        layouts: [
          measured('linux', 9, 10, 11),
          measured('linux encrypted', 4, 5, 6),
          measured('wireguard-go', 0.5, 1, 2),
        ],
      },
      {
        name: 'UDP flood of 64 bytes, received',
        unit: '1000/s',
        target: '>= 1.0',
        layouts: [measured('linux encrypted', 40, 50, 60)],
      },
      {
        name: 'ping every 2 ms, median',
        unit: 'us',
        target: '<= 1.25',
        layouts: [measured('linux', 70, 77, 80), measured('linux encrypted', 80, 92, 95)],
      },
    ],
  });
  // By hand: 5 / 1, 5 / 10, 92 - 77. Without wireguard-go there is no ratio to it.
  assert.equal(lines.slice(-4), [
    '                                       linux encrypted  target',
    'TCP cubic, one stream, / wireguard-go             5.00    >= 3     met',
    'TCP cubic, one stream, / linux                    0.50  >= 0.6  missed',
    'ping every 2 ms, median, - linux                 15.00   <= 15     met',
  ]);
  assert.equal(
    lines.slice(0, 2).map((line) => line.trim().split(/ {2,}/)),
    [
      ['median', 'least', 'most', '/ linux', '/ wireguard-go'],
      ['TCP cubic, one stream, Gbit/s', 'linux', '10.00', '9.00', '11.00', '1.00', '10.00'],
    ],
  );
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
