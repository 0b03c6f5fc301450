/** What the benchmark of a cluster prints. */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { median, printCluster, type Cluster } from '../bench/cluster.js';

test('the median is the middle value, whatever the order, and the upper one of two', () => {
  assert.equal([median([3]), median([9, 1, 5]), median([2, 1]), median([10, 9, 100])], [3, 5, 2, 10]);
});

const RESULT: Cluster = {
  replies: [
    { by: 'local API', create: 10, run: 200, reply: 30 },
    { by: 'commands', create: 110, run: 400, reply: 20 },
    { by: 'local API', create: 30, run: 100, reply: 20 },
    { by: 'commands', create: 120, run: 380, reply: 25 },
    { by: 'local API', create: 20, run: 300, reply: 10 },
    { by: 'commands', create: 130, run: 390, reply: 90 },
    { by: 'Docker', create: 12, run: 900, reply: 15 },
  ],
  left: null,
  many: { endpoints: 1000, running: 80, known: 81.25, removed: 30, agents: 40, programs: 95.51 },
  memory: {
    ...{ networks: 100, endpoints: 10_000, told: 60 },
    ...{ empty: 80.4, full: 120.6, restarted: 110, answers: 0.456, back: 12.3 },
  },
};

test('medians of the steps by the way they were asked for, rates, and what an agent costs', () => {
  const lines: string[] = [];
  const { log } = console;
  console.log = (text: string) => void lines.push(...text.split('\n'));
  try {
    printCluster(RESULT);
  } finally {
    console.log = log;
  }
  // By hand. The sums of the local API are 240, 150 and 330, those of the commands 530, 525 and 610; 1000 / 80 = 12.5.
  assert.equal(lines, [
    'From "network create" over a command on each of two hosts to the first reply, medians in ms',
    '             create  run  reply  in all  rounds',
    '  local API      20  200     20     240       3',
    '  commands      120  390     25     530       3',
    '  Docker         12  900     15     927       1',
    '',
    'One service with 1000 tasks on two hosts',
    '  all run after                 80.0 s, 12.5 a second',
    '  both hosts know all after     81.3 s',
    '  nothing is left of it after   30.0 s',
    '  processor time of the agents  40.0 s, of the programs that they start 95.5 s',
    '',
    'The agent of a manager that knows 10000 endpoints in 100 networks',
    '  (records of the store and announcements of a second host, which has no devices for them)',
    '  resident memory               121 MiB, 80 MiB without endpoints, 110 MiB after a restart',
    '  a new process answers after   0.46 s, and knows all endpoints after 12.30 s',
  ]);
});

test.run();
