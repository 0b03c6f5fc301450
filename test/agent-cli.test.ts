/** The flags of `vtep agent` and `vtep gossip`: the resulting options, and errors. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { GOSSIP, readAgentPlan } from '../src/cli/agent-config.js';
import { withFlags } from '../src/cli/flag-names.js';
import { parseFlags } from '../src/cli/flags.js';
import * as gossip from '../src/cli/gossip.js';
import { COMMON, readPlan, SINGLE } from '../src/cli/up-config.js';
import { Keyring } from '../src/gossip/memberlist/index.js';
import { findKey, listKeys } from '../src/host/gossip-keys.js';
import { Throttle } from '../src/host/throttle.js';
import { GossipHost, keyringOf, queryCluster, readKeys, resolveHost, underlayOf } from '../src/host/index.js';
import { parseHostPort, type Plan } from '../src/schema/index.js';
import { REPOSITORY, VTEP } from './support/lab.js';

const directory = mkdtempSync(join(tmpdir(), 'weft-agent-cli-'));
process.on('exit', () => rmSync(directory, { recursive: true }));
const FLAGS = [...GOSSIP, ...SINGLE, ...COMMON, { name: 'config', value: 'FILE', text: '' }];
const NET = ['--network', 'net1:4097:10.0.0.0/24'];

const keysOf = (texts: string[]): Uint8Array[] => readKeys(texts, () => undefined);
const planOf = (...args: string[]): Promise<Plan> => readAgentPlan(parseFlags(args, FLAGS));
const refusal = (...args: string[]): Promise<string> =>
  planOf(...args).then(
    () => 'taken',
    (error: Error) => error.message,
  );
const thrown = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    return (error as Error).message;
  }
  return 'nothing';
};

test('a network is a segment, and the only one is the TAP’s', async () => {
  const plan = await planOf(...NET, '--local', '127.0.0.1', '--tap', 'a', '--join', '10.1.1.1', 'h:8000,[fd00::1]:9');
  assert.equal(plan.gossip, {
    name: '127.0.0.1',
    bind: { host: '127.0.0.1', port: 7946 },
    advertise: { host: '127.0.0.1', port: 7946 },
    tunnel: '127.0.0.1',
    join: [
      { host: '10.1.1.1', port: 7946 },
      { host: 'h', port: 8000 },
      { host: 'fd00::1', port: 9 },
    ],
    keys: [],
    networks: [{ id: 'net1', vni: 4097, subnet: '10.0.0.0/24' }],
  });
  assert.equal(
    plan.segments.map(({ vni }) => vni),
    [4097],
  );
  assert.is(plan.taps[0]!.vni, 4097);
  assert.equal((await planOf(...NET, '--local', '127.0.0.1')).taps, []);
  const two = await planOf(...NET, '--network', 'n:2:k:7:10.1.0.0/16', '--local', '127.0.0.1');
  assert.equal(two.gossip!.networks[1], { id: 'n:2:k', vni: 7, subnet: '10.1.0.0/16' });
});

test('--network with the same id adds a subnet, each with a gateway', async () => {
  const of = async (...texts: string[]): Promise<unknown> =>
    (await planOf('--local', '127.0.0.1', ...texts.flatMap((text) => ['--network', text]))).gossip!.networks;
  const [plain, routed] = (await of('n:7:10.1.0.0/16', 'prod:8:10.2.0.0/24', 'prod:9:10.3.0.0/24:10.3.0.9')) as [
    object,
    { mac: string },
  ];
  assert.equal(plain, { id: 'n', vni: 7, subnet: '10.1.0.0/16' });
  assert.match(routed.mac, /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/);
  assert.equal(routed, {
    id: 'prod',
    mac: routed.mac,
    subnets: [
      { prefix: '10.2.0.0/24', gateway: '10.2.0.1', vni: 8 },
      { prefix: '10.3.0.0/24', gateway: '10.3.0.9', vni: 9 },
    ],
  });
  const [one] = (await of('a:b:7:10.1.0.0/16:10.1.0.1')) as [{ id: string; subnets: object[] }];
  assert.is(one.id, 'a:b');
  assert.equal(one.subnets, [{ prefix: '10.1.0.0/16', gateway: '10.1.0.1', vni: 7 }]);
  const refused = await of('n:7:10.1.0.0/16', 'n:7:10.2.0.0/16').catch((error: Error) => error.message);
  assert.match(String(refused), /^--network n:7:10\.2\.0\.0\/16 \(VNI\): 7 is given twice/m);
});

test('--network with IPv6 subnets: by itself, with a gateway, beside the IPv4 subnet of the same VNI', async () => {
  const of = async (...texts: string[]): Promise<unknown> =>
    (await planOf('--bind', '127.0.0.1', ...texts.flatMap((text) => ['--network', text]))).gossip!.networks;
  assert.equal(await of('n:7:FD00:1::/64'), [{ id: 'n', vni: 7, subnet: 'fd00:1::/64' }]);
  assert.equal(await of('n:4097:2001:db8::/64', 'a:b:7:fd00:0:0:0:0:0:0:0/64'), [
    { id: 'n', vni: 4097, subnet: '2001:db8::/64' },
    { id: 'a:b', vni: 7, subnet: 'fd00::/64' },
  ]);
  const [routed] = (await of('n:7:fd00::/64:fd00::9', 'n:7:10.0.0.0/24')) as [{ subnets: object[] }];
  assert.equal(routed.subnets, [
    { prefix: 'fd00::/64', gateway: 'fd00::9', vni: 7 },
    { prefix: '10.0.0.0/24', gateway: '10.0.0.1', vni: 7 },
  ]);
  const { segments, taps } = await planOf(
    ...['--bind', '127.0.0.1', '--network', 'n:7:fd00::/64', '--network', 'n:7:10.0.0.0/24'],
    ...['--tap', 'eth0', '--netns', 'c', '--address', 'fd00::3/64,10.0.0.3/24'],
  );
  assert.equal([segments.map(({ vni }) => vni), taps[0]!.vni], [[7], 7], 'one segment, which is that of the TAP');
  const refused = async (...texts: string[]): Promise<string> =>
    String(await of(...texts).catch((error: Error) => error.message));
  assert.match(
    await refused('n:7:fd00::/64:10.0.0.1'),
    /\(gateway\): expected an address of fd00::\/64, got "10\.0\.0\.1"/,
  );
  assert.match(await refused('n:7:fd00::/129'), /\(subnet\): expected a subnet such as 10\.0\.0\.0\/24 or fd00::\/64/);
});

test('the VTEP’s address: advertised, else bound, else the source address of the route to --join', async () => {
  const of = async (...args: string[]): Promise<unknown> => {
    const { local, gossip } = await planOf(...NET, ...args);
    const { name, bind, advertise, tunnel } = gossip!;
    return [local, tunnel, name, `${bind.host}:${bind.port}`, `${advertise.host}:${advertise.port}`];
  };
  const [one, two] = ['127.0.0.1', '127.0.0.2'];
  assert.equal(await of('--bind', two), [two, two, two, `${two}:7946`, `${two}:7946`]);
  assert.equal(await of('--advertise', `${two}:80`), [two, two, `${two}:80`, `${two}:7946`, `${two}:80`]);
  assert.equal(await of('--bind', '0.0.0.0:99', '--join', one), [one, one, `${one}:99`, '0.0.0.0:99', `${one}:99`]);
  // Behind NAT: others learn the advertised address, and send to it.
  const far = '203.0.113.7';
  assert.equal(await of('--bind', two, '--advertise', far), [two, far, far, `${two}:7946`, `${far}:7946`]);
  assert.equal(await of('--bind', '0.0.0.0', '--advertise', far, '--join', one), [
    one,
    far,
    far,
    '0.0.0.0:7946',
    `${far}:7946`,
  ]);
  // Data may use another address than the gossip.
  assert.equal(await of('--local', one, '--bind', two), [one, one, two, `${two}:7946`, `${two}:7946`]);
  // Without any of these, the host's only address is used, or the user must give one.
  assert.match(
    await underlayOf({}).then(
      ({ local }) => local,
      (error: Error) => error.message,
    ),
    /^[0-9a-f.:]+$|^this host has (several addresses|no address)/,
  );
});

test('a file has the same fields, and flags win', async () => {
  const file = join(directory, 'agent.json');
  const networks = [{ id: 'net1', vni: 4097, subnet: '10.0.0.0/24' }];
  writeFileSync(file, JSON.stringify({ local: '127.0.0.1', gossip: { name: 'a', join: ['10.1.1.1'], networks } }));
  const plan = await planOf('--config', file, '--name', 'b', '--key', 'somewhere');
  assert.is(plan.gossip!.name, 'b');
  assert.equal(plan.gossip!.keys, ['somewhere']);
  assert.equal(plan.gossip!.join, [{ host: '10.1.1.1', port: 7946 }]);
  assert.match(
    thrown(() => readPlan(parseFlags(['--config', file], FLAGS))),
    /gossip is for "vtep agent --config /,
  );
  writeFileSync(
    file,
    JSON.stringify({ local: '127.0.0.1', gossip: { networks: [{ id: 'a/b', vni: 1 }, ...networks, ...networks] } }),
  );
  assert.match(
    await refusal('--config', file),
    /gossip\.networks\[0\]\.id: expected an id of 1 to 255 characters without/,
  );
  writeFileSync(file, '[]');
  assert.match(await refusal('--config', file), /expected an object, got \[\]/);
});

test('networks may come later if there is a control socket', async () => {
  const { gossip, segments, taps } = await planOf('--local', '127.0.0.1', '--control', join(directory, 'sock'));
  assert.equal([gossip!.networks, segments, taps], [[], [], []]);
  assert.match(
    await refusal('--local', '127.0.0.1', '--control', join(directory, 'sock'), '--tap', 'tap0'),
    /^missing: --network ID:VNI:SUBNET .*, or --control PATH to add networks and TAPs later\)$/,
  );
});

test('errors name the flag', async () => {
  for (const [args, message] of [
    [['--local', '127.0.0.1'], /^missing: --network ID:VNI:SUBNET/],
    [
      ['--network', 'net1:4097'],
      /^--network: expected ID:VNI:SUBNET\[:GATEWAY\] such as net1:4097:10\.0\.0\.0\/24, got "net1:4097"$/,
    ],
    [
      ['--network', 'net1:99999999:10.0.0.0/24', '--bind', '127.0.0.1'],
      /^--network net1:99999999:10\.0\.0\.0\/24 \(VNI\): expected a VNI.*, got 99999999$/,
    ],
    [
      ['--network', 'net1:1:10.0.0.0', '--bind', '127.0.0.1'],
      /^--network net1:1:10\.0\.0\.0 \(subnet\): expected a subnet such as 10\.0\.0\.0\/24 or fd00::\/64, got "10\.0\.0\.0"$/,
    ],
    [
      [...NET, '--network', 'net1:2:10.0.0.0/8', '--bind', '127.0.0.1'],
      /^--network net1:2:10\.0\.0\.0\/8 \(prefix\): 10\.0\.0\.0\/8 shares addresses with 10\.0\.0\.0\/24 \(--network net1:4097:10\.0\.0\.0\/24 \(prefix\)\)$/,
    ],
    [[...NET, '--bind', '1.2.3'], /^--bind: expected an address, with or without a port.*, got "1\.2\.3"$/],
    [[...NET, '--bind', '127.0.0.1:70000'], /^--bind: expected an address/],
    [[...NET, '--advertise', '0.0.0.0'], /^--advertise: expected a unicast address/],
    [[...NET, '--join', 'a b'], /^--join: expected a host/],
    [[...NET, '--local', '127.0.0.1', '--address', '10.0.0.3/24'], /^missing: --tap NAME, which --address applies to$/],
    [
      [...NET, '--network', 'b:2:10.1.0.0/16', '--tap', 'a'],
      /^missing: --vni N, the network of the TAP, since there are 2$/,
    ],
    [
      [...NET, '--local', '127.0.0.1', '--tap', 'a', '--address', '10.1.0.3/24'],
      /^--address: expected an address of 10\.0\.0\.0\/24, the subnet of network net1, got "10\.1\.0\.3"$/,
    ],
    [
      [...NET, '--local', '127.0.0.1', '--endpoint', '10.1.0.4,02:42:0a:00:00:04,127.0.0.1'],
      /^--endpoint 10\.1\.0\.4,02:42:0a:00:00:04,127\.0\.0\.1 \(IP\): expected an address of 10\.0\.0\.0\/24/,
    ],
    [['x', ...NET], /^"x" is not expected here/],
  ] as const)
    assert.match(await refusal(...args), message);
});

test('hosts and ports', () => {
  for (const [text, host, port] of [
    ['10.1.1.1', '10.1.1.1', 7946],
    ['10.1.1.1:80', '10.1.1.1', 80],
    ['fd00::1', 'fd00::1', 7946],
    ['[FD00:0::1]:80', 'fd00::1', 80],
    ['[::]', '::', 7946],
    ['vtep-1.example.', 'vtep-1.example.', 7946],
    ['vtep1:1', 'vtep1', 1],
  ] as const)
    assert.equal(parseHostPort(text), { host, port }, text);
  for (const text of [
    '',
    ':80',
    '10.1.1',
    '10.1.1.1:0',
    '10.1.1.1:65536',
    '[fd00::1',
    'a b',
    '-a',
    'fe80::1%eth0',
    '1.2.3.4.5',
  ])
    assert.is(parseHostPort(text), null, text);
});

test('keys: base64 or a file; never printed', async () => {
  const key = (octet: number, length = 32): string => Buffer.alloc(length, octet).toString('base64');
  const file = join(directory, 'keys');
  writeFileSync(file, `# first\n${key(1)}\n\n${key(2, 16)}\n`);
  assert.equal(
    keysOf([key(3, 24), file]).map((one) => [one[0], one.length]),
    [
      [3, 24],
      [1, 32],
      [2, 16],
    ],
  );
  assert.is(
    thrown(() => keysOf([key(9, 20)])),
    'the key has 20 bytes, not 16, 24 or 32 in base64 ("vtep gossip keygen" makes one), and there is no file of that name',
  );
  assert.match(
    thrown(() => keysOf(['not!base64'])),
    /^the key \(10 characters\) is not base64/,
  );
  assert.match(
    thrown(() => keysOf([join(directory, 'none')])),
    /^there is no file .*\/none$/,
  );
  writeFileSync(file, `${key(1)}\n${key(9, 5)}\n`);
  assert.match(
    thrown(() => keysOf([file])),
    /keys:2: the key has 5 bytes, not 16, 24 or 32/,
  );
  writeFileSync(file, '# none\n');
  assert.match(
    thrown(() => keysOf([file])),
    /contains no key; write one key per line/,
  );

  const [first, second] = [new Uint8Array(32).fill(1), new Uint8Array(16).fill(2)];
  const ring = new Keyring([first, second]);
  const print = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex').slice(0, 8);
  assert.equal(listKeys(ring), [
    { fingerprint: print(first), bits: 256, primary: true },
    { fingerprint: print(second), bits: 128, primary: false },
  ]);
  assert.equal(findKey(ring, print(second).toUpperCase()), second);
  assert.equal(findKey(ring, key(1)), first);
  assert.match(
    thrown(() => findKey(ring, key(7))),
    /^key [0-9a-f]{8} is not in the ring, which has/,
  );
  assert.match(
    thrown(() => findKey(ring, 'nonsense!')),
    /is not base64, and is not a fingerprint/,
  );
});

test('keygen writes a file that only its owner can read, and overwrites none', async () => {
  const file = join(directory, 'new-key');
  const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8);
  const keygen = (...args: string[]): Promise<string> =>
    gossip.run(['keygen', ...args]).then(
      (code) => `code ${code}`,
      (error: Error) => error.message,
    );
  assert.is(await keygen('-o', file), 'code 0');
  assert.is(mode(file), '600');
  const [first] = keysOf([file]);
  assert.is(first!.length, 32);
  const refusal = await keygen('--output', file);
  assert.is(withFlags(refusal), `${file} exists; overwrite it with --force, or choose another file`);
  assert.equal(keysOf([file]), [first]);
  chmodSync(file, 0o644);
  assert.is(await keygen('-o', file, '--force'), 'code 0');
  assert.is(mode(file), '600', 'also where others could read the old one');
  assert.not.equal(keysOf([file]), [first]);
  assert.is(
    await keygen('-o', join(directory, 'no', 'key')),
    `${directory}/no/key cannot be written: no such directory`,
  );
  if (existsSync('/dev/full'))
    assert.is(await keygen('-o', '/dev/full', '--force'), '/dev/full is not a regular file; choose another file');
});

test('a warning names a key file that others can read, and the fix', () => {
  const file = join(directory, 'open-key');
  writeFileSync(file, `${Buffer.alloc(32, 1).toString('base64')}\n`);
  for (const [mode, exposed] of [
    [0o644, true],
    [0o640, true],
    [0o604, true],
    [0o600, false],
    [0o400, false],
  ] as const) {
    chmodSync(file, mode);
    const text = `other users can read the key file ${file} (mode ${mode.toString(8)}); run: chmod 600 ${file}`;
    for (const read of [readKeys, keyringOf]) {
      const warnings: string[] = [];
      read([file, Buffer.alloc(16).toString('base64')], (warning) => warnings.push(warning));
      assert.equal(warnings, exposed ? [text] : []);
    }
  }
});

test('every command with a key warns of a key file that others can read', async () => {
  const file = join(directory, 'shown-key');
  writeFileSync(file, `${Buffer.alloc(32, 1).toString('base64')}\n`);
  chmodSync(file, 0o644);
  const write = process.stderr.write;
  for (const args of [
    ['members', '--join', '127.0.0.1:1', '--key', file],
    ['watch', '--join', 'no-such-host.invalid', '--key', file],
    ...['install', 'use', 'remove'].map((action) => [action, file, '--control', '/nonexistent']),
  ]) {
    let printed = '';
    process.stderr.write = (text: string | Uint8Array): boolean => ((printed += String(text)), true);
    try {
      await gossip.run(args).catch(() => undefined); // nothing answers
    } finally {
      process.stderr.write = write;
    }
    const warning = `warning: other users can read the key file ${file} (mode 644); run: chmod 600 ${file}\n`;
    assert.is(printed.replace(/^\S+Z |^vtep gossip: /, ''), warning, args[0]!); // once
  }
});

test('errors name a host that does not resolve, or resolves to the wrong family', async () => {
  const failure = (host: string, kind: 0 | 4 | 6): Promise<string> =>
    resolveHost({ host, port: 1 }, kind).then(
      () => 'resolved',
      (error: Error) => error.message,
    );
  assert.match(await failure('no-such-host.invalid', 0), /^"no-such-host\.invalid" does not resolve: /);
  assert.is(
    await failure('fd00::1', 4),
    "fd00::1 is not an IPv4 address; it must be of the same family as this agent's own address",
  );
  assert.equal(await resolveHost({ host: 'localhost', port: 5 }, 4), [{ address: '127.0.0.1', port: 5 }]);
});

test('repeated messages are rate-limited, and so is the number of different ones', () => {
  const throttle = new Throttle(1000, 2);
  const allow = (what: string, now: number): boolean => throttle.allow(what, now);
  assert.equal(
    [
      allow('a', 0),
      allow('a', 500),
      allow('b', 600),
      allow('c', 700),
      allow('a', 1000),
      allow('c', 1001),
      allow('c', 1700),
    ],
    [true, false, true, false, true, false, true],
  );
});

/** Open hosts, which keep the process alive until they are closed, also where a test fails. */
const opened: GossipHost[] = [];
test.after.each(() => opened.splice(0).forEach((host) => host.close()));

test('a query does not add a member to the cluster; an error reports an address that is not a member', async () => {
  const host = await GossipHost.open(
    { name: 'serf-like', address: '127.0.0.1', port: 0 },
    { localState: () => Uint8Array.of(255) },
  );
  opened.push(host);
  const { address, port } = host.machine.self;
  const { members, networks } = await queryCluster({ address, port }, undefined);
  assert.equal(
    members.map(({ name, state }) => [name, state]),
    [['serf-like', 0]],
  );
  assert.equal(networks, []); // the state of another application
  assert.is(host.machine.members().length, 1);
  const keyed = await queryCluster({ address, port }, new Keyring([new Uint8Array(16)])).catch(
    (error: Error) => error.message,
  );
  assert.is(
    keyed,
    `127.0.0.1:${port}: it is not encrypted; if it is one of your agents, start it with the key of this cluster`,
  );
  const twice = await GossipHost.open({ name: 'b', address: '127.0.0.1', port }).catch((error: Error) => error.message);
  assert.match(String(twice), new RegExp(`^gossip on 127\\.0\\.0\\.1:${port}: the port is in use`));
  const nowhere = await GossipHost.open({ name: 'b', address: '203.0.113.7', port: 0 }).catch(
    (error: Error) => error.message,
  );
  assert.match(String(nowhere), /^203\.0\.113\.7 is not an address of this machine; choose one that is/);
  host.close();
  const gone = await queryCluster({ address, port }, undefined).catch((error: Error) => error.message);
  assert.is(gone, `127.0.0.1:${port}: no process listens there`);
});

test('vtep gossip: errors name the flag', async () => {
  const errorOf = (...args: string[]): Promise<string> =>
    gossip.run(args).then(
      (code) => `ended with ${code}`,
      (error: Error) => error.message,
    );
  assert.match(await errorOf(), /^missing: ACTION, one of members, watch, keygen, keys, install, use, remove, rotate$/);
  assert.is(await errorOf('member'), 'unknown action "member"; did you mean "members"?');
  assert.is(await errorOf('members'), 'give either --control PATH or --join HOST');
  assert.match(await errorOf('members', '--join', 'a b'), /^--join: expected a host/);
  assert.is(await errorOf('keys', 'x', '--control', 'y'), '"x" is not expected here; flags start with --');
  assert.match(await errorOf('install', '--control', 'y'), /^missing: KEY/);
  assert.match(await errorOf('install', 'abc!', '--control', 'y'), /^KEY: the key \(4 characters\) is not base64/);
  assert.match(
    await errorOf('use', '0123abcd', '--control', '/nonexistent'),
    /^there is no control socket at \/nonexistent/,
  );
  assert.is(await errorOf('watch'), 'missing: --join HOST, a member of the cluster');
  assert.match(await errorOf('watch', '--join', '127.0.0.1', '--bind', 'x'), /^--bind: expected an address/);
  assert.match(
    await errorOf('watch', '--join', 'no-such-host.invalid'),
    /^no route to no-such-host\.invalid, or no such/,
  );
});

test('vtep gossip watch: warnings have the format of the log, as text and as JSON', async () => {
  const [program, ...before] = VTEP;
  const warning = async (...args: string[]): Promise<string> => {
    const child = spawn(program!, [...before, 'gossip', 'watch', '--join', '127.0.0.1:1', ...args], {
      cwd: REPOSITORY,
    });
    const [line] = (await once(child.stderr.setEncoding('utf8'), 'data')) as [string];
    child.kill('SIGINT');
    await once(child, 'exit');
    return line;
  };
  const text = 'no member answers yet: 127.0.0.1:1: no process listens there; trying again in 1 s';
  const [plain, json] = await Promise.all([warning(), warning('--json')]);
  assert.match(plain, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warning: /);
  assert.ok(plain.endsWith(` ${text}\n`), plain);
  const { time, ...record } = JSON.parse(json) as { time: string };
  assert.is(new Date(time).toISOString(), time);
  assert.equal(record, { level: 'warning', event: 'gossip', message: text });
});

test.run();
