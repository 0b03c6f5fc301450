import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test } from 'uvu';
import * as assert from 'uvu/assert';
import { countersTable, prometheus } from '../src/cli/counters.js';
import { flagHelp, parseFlags, UsageError, type Flag } from '../src/cli/flags.js';
import { sentences } from '../src/cli/last-resort.js';
import { jsonLines } from '../src/cli/streams.js';
import { table } from '../src/cli/table.js';
import { COMMON, readPlan, SINGLE } from '../src/cli/up-config.js';
import { addressSpaceLimit } from '../src/host/linux/limits.js';
import { Frame, Vtep } from '../src/vtep/index.js';
import { REPOSITORY, VTEP, type Outcome } from './support/lab.js';

const directory = mkdtempSync(join(tmpdir(), 'weft-cli-'));
process.on('exit', () => rmSync(directory, { recursive: true }));

function vtep(...args: string[]): Promise<Outcome> {
  const [program, ...before] = VTEP;
  return new Promise((resolve) => {
    const child = execFile(program!, [...before, ...args], { cwd: REPOSITORY }, (_error, stdout, stderr) =>
      resolve({ code: child.exitCode, signal: child.signalCode, stdout, stderr }),
    );
  });
}

const flags: Flag[] = [
  { name: 'peer', value: 'IP', many: true, text: 'a peer' },
  { name: 'port', value: 'N', text: 'a port' },
  { name: 'learn', negatable: true, text: 'learn' },
  { name: 'json', text: 'as JSON' },
];

test('flags: values, lists, switches and the rest', () => {
  const parsed = parseFlags(
    ['a', '--peer', '10.0.0.1', '10.0.0.2', '--port=7', '--no-learn', '--json', '--peer=c', 'b', '--', '--port'],
    flags,
  );
  assert.equal(parsed.values('peer'), ['10.0.0.1', '10.0.0.2', 'c']);
  assert.is(parsed.value('port'), '7');
  assert.is(parsed.on('learn'), false);
  assert.is(parsed.on('json'), true);
  assert.is(parsed.on('help'), undefined);
  assert.equal(parsed.rest, ['a', 'b', '--port']);
  assert.equal([...parsed.given].sort(), ['json', 'learn', 'peer', 'port']);
  // A number with a sign is a value, not a flag.
  assert.is(parseFlags(['--port', '-1'], flags).value('port'), '-1');
  assert.equal(parseFlags(['--peer', '10.0.0.1', '-5', '--port=-7'], flags).values('peer'), ['10.0.0.1', '-5']);
});

test('flags: errors name the flag', () => {
  const refused = (...args: string[]): string => {
    try {
      parseFlags(args, flags);
    } catch (error) {
      assert.instance(error, UsageError);
      return (error as Error).message;
    }
    return '';
  };
  assert.is(refused('--pear', 'x'), 'unknown flag --pear; did you mean --peer?');
  assert.is(refused('--no-laern'), 'unknown flag --no-laern; did you mean --no-learn?');
  assert.is(refused('--no-json'), 'unknown flag --no-json');
  assert.is(refused('-p', '1'), 'unknown flag -p');
  assert.is(refused('--port'), '--port takes a value: --port N');
  assert.is(refused('--port', '--json'), '--port takes a value: --port N');
  assert.is(refused('--port='), '--port takes a value: --port N; the given value is empty');
  assert.is(refused('--port', ' '), '--port takes a value: --port N; the given value is empty');
  assert.is(refused('--port', '-x'), '--port takes a value: --port N; if the value is "-x", write --port=-x');
  assert.is(refused('--no-learn=1'), '--no-learn takes no value, got "1"; it is --learn or --no-learn');
  assert.is(refused('--port', '1', '--port', '2'), '--port was given twice: 1, 2');
  assert.is(refused('--json=1'), '--json takes no value, got "1"');
});

test('flags: help is aligned in columns', () => {
  assert.is(
    flagHelp(flags),
    [
      '  --peer IP …   a peer',
      '  --port N      a port',
      '  --[no-]learn  learn',
      '  --json        as JSON',
      '  --help        this help',
    ].join('\n'),
  );
});

test('tables: numbers are aligned to the right', () => {
  assert.equal(
    table(
      ['NAME', 'N'],
      [
        ['a', 5],
        ['bcdef', 12],
      ],
    ),
    ['NAME    N', 'a       5', 'bcdef  12'],
  );
  assert.equal(table(['NAME', 'N'], []), ['NAME  N']);
  const long = 'x'.repeat(65);
  assert.equal(
    table(
      ['NAME', 'N'],
      [
        [long, 1],
        ['a', 12],
      ],
    ),
    [`NAME${' '.repeat(60)}   N`, `${long}   1`, `a${' '.repeat(63)}  12`],
    'a cell beyond 64 characters does not widen the column',
  );
});

test('JSON is indented entry by entry as JSON.stringify does it', () => {
  for (const value of [[], {}, null, 5, [[], {}, [1, [2, { a: 'x\ny' }]]], { a: [1], b: {} }, [undefined]])
    assert.is([...jsonLines(value)].join('\n'), JSON.stringify(value, null, 2));
});

function planOf(...args: string[]): ReturnType<typeof readPlan> {
  return readPlan(parseFlags(args, [...COMMON, ...SINGLE, { name: 'config', value: 'FILE', text: '' }]));
}
const ONE = ['--vni', '4097', '--local', '172.31.1.5', '--tap', 'eth0'];

test('up: flags give the same plan as a file', () => {
  const file = join(directory, 'same.json');
  writeFileSync(
    file,
    JSON.stringify({
      local: '172.31.1.5',
      port: 4790,
      segments: [
        {
          vni: 4097,
          mtu: 1400,
          proxy: 'vtep',
          learn: false,
          ageing: 10,
          peers: ['10.1.1.1', '10.1.1.2', '10.1.1.3'],
          endpoints: [{ ip: '10.0.0.4', mac: '02:42:0a:00:00:04', vtep: '10.1.1.1' }],
        },
      ],
      taps: [{ name: 'eth0', netns: 'c1', address: '10.0.0.3/24', mac: '02:42:0a:00:00:03', mtu: 1400, vni: 4097 }],
    }),
  );
  const made = planOf(
    ...ONE,
    ...['--port', '4790', '--mtu', '1400', '--proxy', 'vtep', '--no-learn', '--ageing', '10'],
    ...['--peer', '10.1.1.1', '10.1.1.2', '--peer', '10.1.1.3', '--netns', 'c1', '--address', '10.0.0.3/24'],
    ...['--mac', '02:42:0a:00:00:03', '--endpoint', '10.0.0.4,02:42:0a:00:00:04,10.1.1.1'],
  );
  assert.equal(made, planOf('--config', file));
  assert.is(planOf('--config', file, '--port', '5000').port, 5000);
});

test('up: a trunk adds a segment for each VLAN', () => {
  const made = planOf(
    ...ONE,
    ...['--peer', '10.1.1.1,10.1.1.2', '--vlan', '10=100', '20=200'],
    ...['--endpoint', '10.0.0.4,02:42:0a:00:00:04,10.1.1.1,200'],
  );
  const [{ mac, ...tap }] = made.taps as [(typeof made.taps)[number]];
  assert.equal(tap, { name: 'eth0', vlans: { '10': 100, '20': 200 }, native: 4097 });
  assert.is.not(mac, undefined);
  assert.equal(
    made.segments.map(({ vni, peers, endpoints }) => [vni, peers.length, endpoints.length]),
    [
      [4097, 2, 0],
      [100, 2, 0],
      [200, 2, 1],
    ],
  );
});

test('up: with a control socket, TAPs and segments may come later', () => {
  const of = (...args: string[]): [number, number] => {
    const { segments, taps } = planOf('--local', '172.31.1.5', '--control', '/run/vtep.sock', ...args);
    return [segments.length, taps.length];
  };
  assert.equal(of(), [0, 0]);
  assert.equal(of('--vni', '4097', '--peer', '192.168.1.25'), [1, 0]);
});

const LATER = ['--local', '172.31.1.5', '--control', '/run/vtep.sock'];
const MISTAKES: [what: string, args: string[], message: RegExp][] = [
  [
    'what is missing',
    ['--vni', '1'],
    /^missing: --local IP, --tap NAME \(or --config FILE, or --control PATH to attach TAPs later\)$/,
  ],
  [
    'no TAP for an address',
    [...LATER, '--vni', '1', '--address', '10.0.0.1/24'],
    /^missing: --tap NAME, which --address/,
  ],
  ['no network for a peer', [...LATER, '--peer', '192.168.1.25'], /^missing: --vni N \(or --config FILE\)$/],
  ['no network for a TAP', [...LATER, '--tap', 'eth0'], /^missing: --vni N \(or --config FILE\)$/],
  ['a number', [...ONE, '--port', 'x'], /^--port: expected a UDP port: an integer from 1 to 65535, got "x"$/],
  ['a bound', [...ONE, '--port', '0'], /^--port: expected a UDP port: an integer from 1 to 65535, got 0$/],
  ['a peer', [...ONE, '--peer', 'host'], /^--peer: expected a unicast IP address such as .*, got "host"$/],
  ['a VNI, once', ['--vni', '16777216', ...ONE.slice(2)], /^--vni: expected a VNI: [^\n]*, got 16777216$/],
  ['an endpoint', [...ONE, '--endpoint', '10.0.0.4'], /^--endpoint: expected IP,MAC,VTEP such as .*, got "10.0.0.4"$/],
  [
    'a part of one',
    [...ONE, '--endpoint', '10.0.0.4,x,10.1.1.1'],
    /^--endpoint 10\.0\.0\.4,x,10\.1\.1\.1 \(MAC\): expected the MAC .*, got "x"$/,
  ],
  ['its VNI', [...ONE, '--endpoint', 'a,b,c,5'], /^--endpoint: expected one of the VNIs 4097, got 5 in "a,b,c,5"$/],
  ['no VNI for it', [...ONE, '--vlan', '1=2', '--endpoint', 'a,b,c'], /^--endpoint: expected IP,MAC,VTEP,VNI, since/],
  ['a VLAN', [...ONE, '--vlan', '10:100'], /^--vlan: expected VID=VNI such as 10=4097, got "10:100"$/],
  ['a VLAN twice', [...ONE, '--vlan', '10=100', '10=200'], /^--vlan: VLAN 10 has VNI 100 already, got "10=200"$/],
  ['a VLAN id', [...ONE, '--vlan', '4095=100'], /^--vlan 4095=100: expected a VLAN id from 1 to 4094, got "4095"$/],
  [
    'a namespace with an fd',
    [...ONE, '--tap-fd', '3', '--netns', 'c1'],
    /^--netns: does not go with --tap-fd: the process that opened the TAP has placed it$/,
  ],
  ['a stray word', [...ONE, 'stray'], /^"stray" is not expected here; flags start with --$/],
  [
    'a file that is not there',
    ['--config', '/nonexistent'],
    /^--config: \/nonexistent cannot be read: there is no such file$/,
  ],
];
for (const [what, args, message] of MISTAKES)
  test(`up: rejects ${what}`, () => {
    try {
      planOf(...args);
    } catch (error) {
      assert.instance(error, UsageError);
      assert.match((error as Error).message, message);
      return;
    }
    assert.unreachable();
  });

test('up: an error in a file gives the path of the field or the line', () => {
  const file = join(directory, 'wrong.json');
  const message = (text: string, ...more: string[]): string => {
    writeFileSync(file, text);
    try {
      planOf('--config', file, ...more);
    } catch (error) {
      return (error as Error).message.replaceAll(file, 'FILE');
    }
    return '';
  };
  assert.is(
    message(
      '{"local":"10.1.1.1","segments":[{"vni":1,"endpoints":[{"ip":"10.0.0.4"}]}],"taps":[{"name":"a","vni":1}]}',
    ),
    'FILE: segments[0].endpoints[0].mac: expected the MAC address of one station, such as 02:42:0a:00:00:04, got nothing',
  );
  assert.is(message('[]'), 'FILE: expected an object, got []');
  assert.is(message('{\n  "local": x\n}'), 'FILE:2:12: expected a value, found "x"');
  assert.is(message('{}', '--vni', '7'), '--vni does not go with --config; put it into the file (FILE)');
});

test('counters: Prometheus can read them, and drops add up', () => {
  const machine = new Vtep();
  machine.addSegment({ vni: 7 });
  const sink = { deliver: () => undefined, transmit: () => undefined };
  machine.receiveDatagram('10.1.1.1', new Frame(new Uint8Array(3)), 0, 0, sink);
  const engine = {
    framesRead: 1,
    framesWritten: 2,
    datagramsReceived: 3,
    datagramsSent: 4,
    sendQueue: 5,
    writeErrors: {},
    sendErrors: { ENETUNREACH: 6 },
    receiveErrors: {},
  };
  const lines = prometheus({ vtep: machine.counters(), engine });
  for (const line of lines) assert.match(line, /^(# (HELP|TYPE) weft_\w+ .+|weft_[a-z_]+(\{(\w+="[^"]*",?)+\})? \d+)$/);
  const text = lines.join('\n');
  assert.match(text, /^weft_frames_in_total\{vni="7"\} 0$/m);
  assert.match(text, /^weft_dropped_total\{vni="none",reason="datagram-truncated"\} 1$/m);
  assert.match(text, /^weft_engine_send_errors_total\{code="ENETUNREACH"\} 6$/m);
  assert.match(text, /^weft_engine_send_queue_bytes 5$/m);
  const readable = countersTable({ vtep: machine.counters(), engine }).join('\n');
  assert.match(readable, /^datagram-truncated +1 {2}a datagram too short/m);
  assert.match(readable, /^datagrams that the underlay refused: ENETUNREACH +6$/m);
});

const last = suite('last resort');

last('names the remedy for errors of the system, and asks to report the others', () => {
  const error = (message: string, code?: string): Error => Object.assign(new Error(message), { code });
  assert.match(sentences(error("EMFILE: too many open files, open 'x'", 'EMFILE'))[1]!, /ulimit -n/);
  assert.match(sentences(new RangeError('WebAssembly.Memory(): could not allocate memory'))[1]!, /ulimit -v/);
  assert.match(sentences(new RangeError('Array buffer allocation failed'))[1]!, /ulimit -v/);
  assert.match(sentences(error('Worker initialization failure: EAGAIN', 'ERR_WORKER_INIT_FAILED'))[1]!, /ulimit -u/);
  assert.match(sentences(error('spawn ip EAGAIN', 'EAGAIN'))[1]!, /ulimit -u/);
  assert.match(
    sentences(new TypeError('x is not a function')).join(' '),
    /^internal error: TypeError: x is .* \(at cli\.test\.ts:\d+:\d+\) this is a bug/,
  );
  for (const thrown of [undefined, null, 'text', 7, {}]) assert.match(sentences(thrown)[0]!, /^internal error: /);
});

last('the limit of the address space is that of /proc/self/limits', () => {
  const line = (soft: string): string =>
    `Max cpu time unlimited unlimited seconds\nMax address space         ${soft}            unlimited            bytes\n`;
  assert.is(addressSpaceLimit(line('unlimited')), undefined);
  assert.is(addressSpaceLimit(line('2048000000')), 2_048_000_000);
  assert.is(addressSpaceLimit(''), undefined);
});

last('under ulimit -v and ulimit -n the program prints sentences, and no stack', async () => {
  const { build } = await import('esbuild');
  // Inside the repository, so that Node finds koffi.
  const folder = mkdtempSync(join(REPOSITORY, 'node_modules', '.weft-limits-'));
  try {
    await build({
      entryPoints: { main: 'src/cli/main.ts', 'linux-worker': 'src/host/linux/worker.ts' },
      outdir: folder,
      bundle: true,
      splitting: true,
      format: 'esm',
      platform: 'node',
      external: ['koffi'],
      absWorkingDir: REPOSITORY,
    });
    const limited = (limit: string, ...args: string[]): { status: number | null; stderr: string } =>
      spawnSync('sh', ['-c', `ulimit ${limit}; exec "$0" "$@"`, process.execPath, join(folder, 'main.js'), ...args], {
        encoding: 'utf8',
        env: { ...process.env, NODE_V8_COVERAGE: undefined },
        timeout: 60_000,
      });
    const up = ['up', '--vni', '1', '--local', '127.0.0.1', '--tap', 'weft-none', '--netns', '/proc/self/ns/net'];
    const memory = limited('-v 2000000', ...up, '--engine', 'linux');
    assert.is(memory.status, 1, memory.stderr);
    assert.match(
      memory.stderr,
      /^vtep up: engine "linux" with 1 worker reserves \d+ GiB of address space, but this process may use only 1\.9 GiB; run "ulimit -v unlimited"/,
    );
    let seen = 0;
    for (let most = 18; most <= 32; most += 2) {
      const { status, stderr } = limited(`-n ${most}`, ...up);
      if (status !== 1 || /^(node:|\n *#)/.test(stderr)) continue; // Node itself did not start
      seen++;
      assert.match(
        stderr,
        /^vtep up: [^\n]*(EMFILE|too many open files)[^\n]*\n?.*raise the limit of open files: "ulimit -n 1024"[^\n]*\n$/i,
        `with ${most} files`,
      );
      assert.not.match(stderr, /npm install|refused/, `with ${most} files`);
    }
    assert.ok(seen > 0, 'one of the limits lets the program start, but not its engine');
  } finally {
    rmSync(folder, { recursive: true });
  }
});

const program = suite('program');

program('prints help, with examples, and its version', async () => {
  for (const args of [
    ['--help'],
    ['up', '--help'],
    ['help', 'up'],
    ['show', '-h'],
    ['explain', '--help'],
    ['agent', '-h'],
    ['gossip', '-h'],
  ]) {
    const { code, stdout, stderr } = await vtep(...args);
    assert.is(code, 0, stderr);
    assert.match(stdout, /^examples?:$/m);
    assert.match(stdout, /^Exit code: |Exit code: /m);
  }
  const { code, stdout } = await vtep('--version');
  assert.is(code, 0);
  assert.match(stdout, /^vtep \d+\.\d+\.\d+\n$/);
});

const WRONG: [args: string[], code: number, stderr: RegExp][] = [
  [[], 2, /^vtep: a VXLAN overlay network/],
  [['upp'], 2, /^vtep: unknown command "upp"; did you mean "up"\?\n$/],
  [['frobnicate'], 2, /^vtep: unknown command "frobnicate"; see vtep --help\n$/],
  [['--verbose'], 2, /^vtep: unknown flag --verbose; see vtep --help\n$/],
  [
    ['up'],
    2,
    /^vtep up: missing: --local IP, --vni N, --tap NAME \(or --config FILE, or --control PATH to attach TAPs later\)\nSee vtep up --help\n$/,
  ],
  [['up', ...ONE, '--proxy', 'x', '--mtu', '1'], 2, /^vtep up: --mtu: .*\nvtep up: --proxy: .*\nSee vtep up --help\n$/],
  [
    ['up', '--tap', 'a', '--vni', '1', '--local', '203.0.113.77'],
    1,
    /^vtep up: --local: 203.0.113.77 is not an address of this/,
  ],
  [
    ['up', '--tap', 'a', '--vni', '1', '--local', '127.0.0.1', '--netns', 'weft-none'],
    1,
    /^vtep up: --netns: network namespace "weft-none" does not exist; create it with "ip netns add weft-none"/,
  ],
  [
    ['up', '--tap', 'a', '--vni', '1', '--local', '127.0.0.1', '--engine', 'fast'],
    2,
    /^vtep up: --engine: expected one of "auto", "dgram", "linux", got "fast"\n/,
  ],
  [
    ['up', '--tap', 'a', '--vni', '1', '--local', '127.0.0.1', '--control', '/nonexistent/dir/x.sock'],
    1,
    /^vtep up: --control: the directory \/nonexistent\/dir does not exist; create it with "mkdir -p \/nonexistent\/dir"/,
  ],
  [
    ['up', '--vni', '-1', ...ONE.slice(2)],
    2,
    /^vtep up: --vni: expected a VNI: an integer from 0 to 16777215, got -1\n/,
  ],
  [['agent', '--join', '127.0.0.1'], 2, /^vtep agent: missing: --network ID:VNI:SUBNET .*\nSee vtep agent --help\n$/],
  [
    ['agent', '--state', 'x', '--join', '127.0.0.1'],
    2,
    /^vtep agent: --state and --join do not go together: the daemon of a node has --state, --socket, with or without --port, /,
  ],
  [['agent', '--socket', 'x'.repeat(108)], 2, /^vtep agent: --socket: expected the path of a Unix socket/],
  [['agent', '--port', '0'], 2, /^vtep agent: --port: expected a TCP port: an integer from 1 to 65535, got 0/],
  [['agent', '--workers', '99'], 2, /^vtep agent: --workers: expected an integer from 1 to 16, got 99/],
  [['agent', '--engine', 'fast'], 2, /^vtep agent: --engine: expected one of "auto", "dgram", "linux", got "fast"/],
  [
    ['agent', '--network', 'a:1:10.0.0.0/8', '--local', '127.0.0.1', '--key', 'abc'],
    2,
    /^vtep agent: --key: the key has 2 bytes, not 16, 24 or 32 in base64/,
  ],
  [
    ['agent', '--network', 'a:1:10.0.0.0/8', '--local', '127.0.0.1', '--key', '/nonexistent'],
    2,
    /^vtep agent: --key: there is no file .*\nSee vtep agent --help\n$/,
  ],
  [['gossip', 'keygem'], 2, /^vtep gossip: unknown action "keygem"; did you mean "keygen"\?\nSee vtep gossip/],
  [['show'], 2, /^vtep show: missing: WHAT, one of fdb, neighbors, peers, members, networks, remotes, counters\n/],
  [['show', 'neighbours', '--control', 'x'], 2, /cannot show "neighbours"; did you mean "neighbors"\?/],
  [['show', 'fdb'], 2, /missing: --control PATH/],
  [
    ['show', 'fdb', '--control', 'x', '--timeout', '0'],
    2,
    /--timeout: expected seconds: an integer from 1 to 3600, got 0\n/,
  ],
  [['capture', '--control', 'x', '-c', '0'], 2, /-c: expected an integer from 1 to 1000000000, got 0\n/],
  [['capture', '--control', 'x', '--snap', '0'], 2, /--snap: expected bytes: an integer from 1 to 262144, got 0\n/],
  [
    ['capture', '--control', 'x', '--write', 'f', '--json'],
    2,
    /--json does not go with --write, which prints no packets\n/,
  ],
  [['show', 'fdb', '--control', '/nonexistent'], 1, /^vtep show: there is no control socket at \/nonexistent;/],
  [
    ['explain', '--control', 'x', '--port', 'a'],
    2,
    /give either --port NAME --frame HEX, or --from IP with --datagram HEX or --esp HEX/,
  ],
  [['explain', '--control', 'x', '--port', 'a', '--frame', 'abc'], 2, /--frame: expected 1 to 65536 octets/],
];
for (const [args, code, stderr] of WRONG)
  program(`vtep ${args.join(' ')}: ${code}`, async () => {
    const outcome = await vtep(...args);
    assert.is(outcome.code, code);
    assert.match(outcome.stderr, stderr);
    assert.is(outcome.stdout, '');
  });

program('a dry run prints the configuration and does nothing', async () => {
  const { code, stdout } = await vtep(
    'up',
    '--vni',
    '9',
    '--local',
    '127.0.0.1',
    '--tap',
    'a',
    '--mtu',
    '1450',
    '--dry-run',
  );
  assert.is(code, 0);
  const made = JSON.parse(stdout);
  assert.is(made.segments[0].mtu, 1450);
  assert.is(made.taps[0].name, 'a');
});

test.run();
last.run();
program.run();
