/** The commands that ask a node of a cluster, against a node that answers by the contract of the local API. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { processIdentity, RequestError } from '../src/host/index.js';
import { type EndpointEntry, type NodeRequest, type NodeResults, type OutputEvent } from '../src/schema/index.js';
import { dirt, evilTexts, FORGED } from './support/control-characters.js';
import {
  CREATED,
  ENDPOINT,
  FakeNode,
  NETWORK,
  NODE,
  REMOTE,
  runProgram,
  SERVICE,
  type Answers,
  type Printed,
} from './support/fake-node.js';

const directory = mkdtempSync(join(tmpdir(), 'weft-node-cli-'));
process.on('exit', () => rmSync(directory, { recursive: true }));
const socket = join(directory, 'agent.sock');
process.env['VTEP_SOCKET'] = socket;
let node: FakeNode | undefined;

test.after.each(async () => {
  await node?.close();
  node = undefined;
});

/** Runs a command line against a node with these answers. */
async function vtep(args: readonly string[], answers: Answers): Promise<Printed & { asked: unknown[] }> {
  node ??= await FakeNode.start(socket, answers);
  const printed = await runProgram(args);
  const { asked } = node;
  await node.close();
  node = undefined;
  return { ...printed, asked };
}

/** A token by its form. */
const T = `WEFT-1-${'4'.repeat(50)}-${'o'.repeat(25)}`;
const TOKEN = {
  role: 'worker' as const,
  token: T,
  managers: ['172.31.1.5:2377', '[fd00::5]:2377'],
};
const STATUS: NodeResults['node'] = {
  ...{ state: 'member', node: NODE.id, name: 'host1', cluster: '0cluster', role: 'worker', address: '172.31.1.5' },
  ...{ connected: true, revision: 3 },
};
const JOIN = `    vtep join --token ${T} 172.31.1.5:2377 '[fd00::5]:2377'`;
const ago = /\d+ d ago/;

/** Each command line with its request, its answer, and the lines it prints. */
const LINES: readonly [line: string, request: NodeRequest, answer: unknown, printed: (string | RegExp)[]][] = [
  [
    'init --advertise-addr 172.31.1.5 --data-path-addr 172.31.1.6 --data-path-port 4790 --default-addr-pool 10.64.0.0/10,10.128.0.0/10 192.168.0.0/16 --default-addr-pool-mask-length 26 --name host1 --esp-port 5000',
    {
      ...{
        command: 'init',
        address: '172.31.1.5',
        dataPath: '172.31.1.6',
        dataPathPort: 4790,
        espPort: 5000,
        name: 'host1',
      },
      ...{ pools: ['10.64.0.0/10', '10.128.0.0/10', '192.168.0.0/16'], maskLength: 26 },
    },
    { ...TOKEN, node: NODE.id, cluster: '0cluster' },
    [`created cluster 0cluster; this host is its manager, node ${NODE.id}`, '', /^To add a worker, run/, '', JOIN],
  ],
  [
    `join --token ${T} 172.31.1.5:2377 manager2 --advertise-addr 192.168.1.25 --data-path-addr 192.168.1.26 --name host2`,
    {
      ...{ command: 'join', token: T, managers: ['172.31.1.5:2377', 'manager2'] },
      ...{ address: '192.168.1.25', dataPath: '192.168.1.26', name: 'host2' },
    },
    STATUS,
    ['joined cluster 0cluster as a worker: node host1 at 172.31.1.5'],
  ],
  ['leave', { command: 'leave' }, {}, ['left the cluster']],
  ['leave --force', { command: 'leave', force: true }, {}, ['left the cluster']],
  ['token worker', { command: 'token', role: 'worker' }, TOKEN, [/^To add a worker/, '', JOIN]],
  ['token manager --rotate -q', { command: 'rotate-token', role: 'manager' }, TOKEN, [T]],
  [
    'gossip rotate',
    { command: 'rotate-gossip-keys' },
    { tag: 5 },
    ['made gossip key 5; the next rotation encrypts with it'],
  ],
  [
    'gossip rotate --force',
    { command: 'rotate-gossip-keys', force: true },
    { tag: 6 },
    ['made gossip key 6; the next rotation encrypts with it'],
  ],
  [
    'node ls',
    { command: 'nodes' },
    [NODE, { ...NODE, id: REMOTE.nodeId, name: 'host2', role: 'worker', self: false, state: 'failed', endpoints: 0 }],
    [
      'ID              NAME   ROLE     STATE   SINCE  ADDRESS     ENDPOINTS',
      /^0node1aaaaaa \*  host1  manager  alive   \d+ d +172\.31\.1\.5 +2$/,
      /^0node2aaaaaa    host2  worker   failed  \d+ d +172\.31\.1\.5 +0$/,
    ],
  ],
  ['node ls -q', { command: 'nodes' }, [NODE], [NODE.id]],
  [
    'node inspect self',
    { command: 'nodes' },
    [NODE],
    [
      `id:         ${NODE.id}`,
      'name:       host1 (this node)',
      'role:       manager',
      'state:      alive since 2026-01-31T12:00:00.007Z',
      'address:    172.31.1.5',
      'data path:  172.31.1.6',
      'joined:     2026-01-31T12:00:00.007Z',
      'endpoints:  2',
    ],
  ],
  [
    'node rm host2 --force',
    { command: 'remove-node', node: 'host2', force: true },
    { id: REMOTE.nodeId, name: 'host2' },
    [`removed node host2 (${REMOTE.nodeId})`],
  ],
  [
    'network create prod-net',
    { command: 'create-network', name: 'prod-net' },
    NETWORK,
    [
      'created network prod-net (0network1aaa): 10.1.1.0/24 (gateway 10.1.1.1, VNI 4098), 11.1.1.0/24 (gateway 11.1.1.254, VNI 4099), fd01::/64 (gateway fd01::1, VNI 4098)',
    ],
  ],
  [
    'network create prod-net --subnet 10.1.1.0/24 11.1.1.0/24 --gateway 11.1.1.254 --ip-range 10.1.1.128/25 --aux-address a=11.1.1.2 printer=10.1.1.9 b=11.1.1.3 --vni 4098 4099 --ipv6 --internal --mtu 1400 --label stage=test owner=a=b --overlapping',
    {
      ...{ command: 'create-network', name: 'prod-net', ipv6: true, internal: true, mtu: 1400, overlapping: true },
      labels: { stage: 'test', owner: 'a=b' },
      subnets: [
        { subnet: '10.1.1.0/24', range: '10.1.1.128/25', auxiliary: { printer: '10.1.1.9' }, vni: 4098 },
        { subnet: '11.1.1.0/24', gateway: '11.1.1.254', auxiliary: { a: '11.1.1.2', b: '11.1.1.3' }, vni: 4099 },
      ],
    },
    NETWORK,
    [/^created network prod-net/],
  ],
  [
    'network ls',
    { command: 'cluster-networks' },
    [{ ...NETWORK, endpoints: 2 }],
    [
      'NETWORK ID    NAME      SUBNET                             GATEWAY                      VNI             ENCRYPTED  ENDPOINTS  CREATED',
      /^0network1aaa  prod-net  10\.1\.1\.0\/24 11\.1\.1\.0\/24 fd01::\/64  10\.1\.1\.1 11\.1\.1\.254 fd01::1  4098 4099 4098 +no +2  \d+ d ago$/,
    ],
  ],
  [
    'network create red --encrypted',
    { command: 'create-network', name: 'red', encrypted: 256 },
    { ...NETWORK, name: 'red', encrypted: 256 },
    [/^created network red .*; encrypted with AES-256-GCM$/],
  ],
  [
    'network create red --encrypted --bits 128',
    { command: 'create-network', name: 'red', encrypted: 128 },
    { ...NETWORK, name: 'red', encrypted: 128 },
    [/; encrypted with AES-128-GCM$/],
  ],
  [
    'network ls',
    { command: 'cluster-networks' },
    [{ ...NETWORK, encrypted: 256, key: { number: 3, created: NETWORK.created }, endpoints: 2 }],
    [/ENCRYPTED/, / {2}AES-256-GCM +2 {2}/],
  ],
  [
    'network inspect red',
    { command: 'cluster-network', network: 'red' },
    { ...NETWORK, encrypted: 128, key: { number: 3, created: Date.UTC(2026, 0, 31, 12) } },
    [/./, /./, /./, /./, /./, /./, 'encrypted:  AES-128-GCM, key 3 since 2026-01-31T12:00:00.000Z'],
  ],
  [
    'network rotate-key red',
    { command: 'rotate-network-key', network: 'red' },
    { id: NETWORK.id, name: 'red', number: 4, created: 5 },
    ['the newest key of red is number 4'],
  ],
  ['network ls --quiet', { command: 'cluster-networks' }, [{ ...NETWORK, endpoints: 2 }], [NETWORK.id]],
  [
    'network inspect prod-net',
    { command: 'cluster-network', network: 'prod-net' },
    NETWORK,
    [
      'network:    prod-net',
      `id:         ${NETWORK.id}`,
      'created:    2026-01-31T12:00:00.007Z',
      'internal:   no',
      'IPv6:       yes',
      'MTU:        1400',
      'encrypted:  no',
      'labels:     stage=test',
      '',
      'SUBNET       GATEWAY      VNI  RANGE          AUXILIARY',
      '10.1.1.0/24  10.1.1.1    4098  10.1.1.128/25  printer=10.1.1.9',
      '11.1.1.0/24  11.1.1.254  4099  11.1.1.0/24    -',
      'fd01::/64    fd01::1     4098  fd01::/64      -',
      '',
      'ENDPOINT  ID            ADDRESS             MAC                NODE   SERVICE  ALIASES',
      'p1        0endpoint1aa  10.1.1.10 fd01::10  02:42:0a:01:01:0a  host1  -        www',
      'web       0endpoint2aa  11.1.1.20           02:42:0b:01:01:14  host2  -        -',
      '',
      'PEER   ADDRESS',
      'host1  172.31.1.6',
      'host2  192.168.1.25',
    ],
  ],
  [
    'network rm prod-net',
    { command: 'delete-network', network: 'prod-net' },
    { id: NETWORK.id, name: 'prod-net' },
    ['removed network prod-net (0network1aaa)'],
  ],
  [
    'ps',
    { command: 'endpoints' },
    [ENDPOINT, REMOTE],
    [
      /^ID +NAME +NETWORK +ADDRESS/,
      /^0endpoint1aa  p1    prod-net  10\.1\.1\.10 fd01::10 .* host1  run   \d+ d ago  running$/,
    ],
  ],
  [
    'ps --all --network prod-net',
    { command: 'endpoints', network: 'prod-net' },
    [ENDPOINT, REMOTE],
    [/^ID/, /^0endpoint1aa/, /^0endpoint2aa  web   prod-net  11\.1\.1\.20 .* host2  attach  .* ago  -$/],
  ],
  ['ps --quiet -a', { command: 'endpoints' }, [ENDPOINT, REMOTE], [ENDPOINT.id, REMOTE.id]],
  [
    'attach prod-net --netns c2 --ip 11.1.1.20 fd01::20 --mac 02:42:0b:01:01:14 --name web --alias www,w --device eth1',
    {
      ...{ command: 'attach-endpoint', network: 'prod-net', netns: 'c2', device: 'eth1', name: 'web' },
      ...{ addresses: ['11.1.1.20', 'fd01::20'], mac: '02:42:0b:01:01:14', aliases: ['www', 'w'] },
    },
    { ...REMOTE, state: 'ready' },
    ['attached web in network prod-net (11.1.1.20, 02:42:0b:01:01:14)'],
  ],
  [
    'attach prod-net --pid 4242',
    { command: 'attach-endpoint', network: 'prod-net', netns: '/proc/4242/ns/net' },
    ENDPOINT,
    [/^attached p1/],
  ],
  [
    'detach web --network prod-net',
    { command: 'detach-endpoint', endpoint: 'web', network: 'prod-net' },
    { id: REMOTE.id, name: 'web', network: 'prod-net' },
    ['detached web from network prod-net'],
  ],
  [
    'detach 0endpoint2',
    { command: 'detach-endpoint', endpoint: '0endpoint2' },
    { id: REMOTE.id, name: 'web', network: 'prod-net' },
    ['detached web from network prod-net'],
  ],
  [
    'run --network prod-net --ip 10.1.1.10 --mac 02:42:0a:01:01:0a --name p1 --alias www -e A=b=c -d -- sleep --json -d',
    {
      ...{ command: 'run', network: 'prod-net', addresses: ['10.1.1.10'], mac: '02:42:0a:01:01:0a', name: 'p1' },
      ...{ aliases: ['www'], environment: { A: 'b=c' }, run: ['sleep', '--json', '-d'] },
    },
    ENDPOINT,
    ['p1'],
  ],
  [
    'run --network prod-net -d -w /srv/../tmp -- pwd',
    { command: 'run', network: 'prod-net', run: ['pwd'], cwd: '/tmp' },
    ENDPOINT,
    ['p1'],
  ],
  [
    'service create --name test --network prod-net uber-net --replicas 2 --env A=1 --label k=v -- sleep --tail infinity',
    {
      ...{ command: 'create-service', name: 'test', networks: ['prod-net', 'uber-net'], replicas: 2 },
      ...{ environment: { A: '1' }, labels: { k: 'v' }, run: ['sleep', '--tail', 'infinity'] },
    },
    SERVICE,
    ['created service test (2 tasks)'],
  ],
  [
    'service ls',
    { command: 'services' },
    [SERVICE],
    ['ID            NAME  REPLICAS  NETWORKS  COMMAND', "0service1aaa  test  1/2       prod-net  sleep 'a b'"],
  ],
  ['service ls -q', { command: 'services' }, [SERVICE], [SERVICE.id]],
  [
    'service ps test',
    { command: 'service', service: 'test' },
    SERVICE,
    [
      /^NAME +NODE +ADDRESS +STATE +SINCE +ATTEMPT +REASON$/,
      /^test\.1  host1  10\.1\.1\.129  running     \d+ d +1$/,
      /^test\.2  host2  10\.1\.1\.130  exited \(3\)  \d+ d +3  exited with 3$/,
      '',
      /^test\.2 ended \d+ d ago; its last lines:$/,
      '    cannot open\\u001b[31m it',
      '    giving up',
    ],
  ],
  [
    'service inspect test',
    { command: 'service', service: 'test' },
    SERVICE,
    [
      'service:   test',
      `id:        ${SERVICE.id}`,
      'replicas:  1 of 2 running',
      'networks:  prod-net',
      "command:   sleep 'a b'",
    ],
  ],
  [
    'service scale test=5',
    { command: 'scale-service', service: 'test', replicas: 5 },
    { ...SERVICE, replicas: 5 },
    ['service test is to have 5 tasks'],
  ],
  [
    'service rm test',
    { command: 'remove-service', service: 'test' },
    { id: SERVICE.id, name: 'test' },
    ['removed service test (0service1aaa)'],
  ],
  [
    'service logs test -n 5',
    { command: 'logs', name: 'test', tail: 5 },
    [{ event: 'output', name: 'test.1', node: 'host1', line: 'a\tb' }],
    ['test.1@host1 | a       b'],
  ],
  [
    'logs p1',
    { command: 'logs', name: 'p1' },
    [{ event: 'output', name: 'p1', node: 'host1', line: 'hello' }],
    ['hello'],
  ],
];

for (const [line, request, answer, expected] of LINES)
  test(`vtep ${line}`, async () => {
    const { code, stdout, stderr, asked } = await vtep(line.split(' '), { [request.command]: () => answer });
    assert.is(stderr, '');
    assert.is(code, 0);
    assert.equal(asked, [request]);
    const printed = stdout.split('\n');
    for (const [i, one] of expected.entries())
      if (typeof one === 'string') assert.is(printed[i], one);
      else assert.match(printed[i]!, one);
  });

test('--json prints the result of every command as the node sent it', async () => {
  for (const [line, request, answer] of LINES) {
    if (/ (-q|--quiet)\b| logs |^logs /.test(line)) continue;
    const at = line.indexOf(' -- ');
    const words = (at < 0 ? `${line} --json` : `${line.slice(0, at)} --json${line.slice(at)}`).split(' ');
    const { code, stdout, stderr } = await vtep(words, { [request.command]: () => answer });
    assert.is(code, 0, `${line}: ${stderr}`);
    const shown = JSON.parse(stdout) as unknown;
    if (line === 'ps') assert.equal(shown, [ENDPOINT]);
    else if (/^service ps/.test(line)) assert.equal(shown, SERVICE.tasks);
    else if (/^(network|service) (inspect|rm|scale|rotate-key)/.test(line)) assert.equal(shown, [answer]);
    else assert.equal(shown, answer);
  }
});

test('join reads the token from a file or standard input', async () => {
  const file = join(directory, 'token');
  writeFileSync(file, ` ${T}\n`);
  const { asked } = await vtep(['join', '--token-file', file, '172.31.1.5'], { join: () => STATUS });
  assert.equal(asked, [{ command: 'join', token: T, managers: ['172.31.1.5'] }]);
  writeFileSync(file, '\n');
  const empty = await vtep(['join', '--token-file', file, '172.31.1.5'], {});
  assert.is(empty.code, 1);
  assert.match(empty.stderr, /^vtep join: --token-file: .*token has no token; "vtep token worker" prints one/);
  const none = await vtep(['join', '--token-file', join(directory, 'none'), '172.31.1.5'], {});
  assert.match(none.stderr, /^vtep join: --token-file: .*none: it cannot be read: there is no such file$/m);
});

test('several names: what was done is told, what was refused too, and the exit code is 1', async () => {
  const answers: Answers = {
    'delete-network': ({ network }) => {
      if (network === 'b') throw new RequestError('not-found', 'there is no network "b"');
      return { id: `0${network}`, name: network };
    },
  };
  const { code, stdout, stderr, asked } = await vtep(['network', 'rm', 'a', 'b', 'c'], answers);
  assert.is(code, 1);
  assert.is(stdout, 'removed network a (0a)\nremoved network c (0c)\n');
  assert.is(stderr, 'vtep network: there is no network "b"\n');
  assert.is(asked.length, 3);
});

test('errors name the flag or the argument that a field came from', async () => {
  const refuse =
    (path: string, message = 'is wrong') =>
    (): never => {
      throw new RequestError('conflict', `${path}: ${message}`, { fields: [{ path, message }] });
    };
  for (const [line, path, name] of [
    ['init', 'address', '--advertise-addr'],
    ['init', 'pools[1]', '--default-addr-pool'],
    [`join --token ${T} m`, 'managers[0]', 'MANAGER'],
    ['network create a', 'name', 'NAME'],
    ['network create a', 'subnets[0].gateway', '--gateway'],
    ['network create a', 'subnets[0].range', '--ip-range'],
    ['network create a', 'subnets[0].auxiliary.printer', '--aux-address'],
    ['network create a', 'labels.x', '--label'],
    ['network inspect a', 'network', 'NETWORK'],
    ['attach a --netns b', 'network', 'NETWORK'],
    ['attach a --netns b', 'netns', '--netns'],
    ['attach a --pid 1', 'netns', '--pid'],
    ['attach a --netns b', 'addresses[0]', '--ip'],
    ['detach 0abc', 'endpoint', 'NAME'],
    ['run -d --network a -- b', 'network', '--network'],
    ['run -d --network a -- b', 'run[0]', 'COMMAND'],
    ['exec a -- b', 'name', 'NAME'],
    ['service create --name a --network b -- c', 'networks[0]', '--network'],
    ['service scale a=2', 'service', 'SERVICE'],
    ['logs a', 'name', 'NAME'],
  ] as const) {
    const command = Object.fromEntries(
      ['init', 'join', 'create-network', 'cluster-network', 'attach-endpoint', 'detach-endpoint', 'run', 'sandbox']
        .concat('create-service', 'scale-service', 'logs')
        .map((one) => [one, refuse(path)]),
    ) as Answers;
    const { code, stderr } = await vtep(line.split(' '), command);
    assert.is(stderr, `vtep ${line.split(' ')[0]}: ${name}: is wrong\n`);
    assert.is(code, 1);
  }
});

test('a field that does not fit is refused before anything is sent', async () => {
  for (const [line, message] of [
    ['init --advertise-addr x', /^vtep init: --advertise-addr: expected a unicast IP address .*, got "x"$/m],
    ['init --esp-port 80', /^vtep init: --esp-port: expected a port .*, got 80$/m],
    ['init --data-path-port 80', /^vtep init: --data-path-port: expected a port .*, got 80$/m],
    ['node rm a/b', /^vtep node: NODE: expected a name, an id, or the beginning of an id, got "a\/b"$/m],
    ['network create a/b', /^vtep network: NAME: expected a name/m],
    ['network create a --mtu 9', /^vtep network: --mtu: expected an MTU/m],
    ['run -d --network a --mac x -- b', /^vtep run: --mac: expected the MAC address of one station/m],
    ['attach a --netns b --ip 1.2.3.4 5.6.7.8 9.1.1.1', /^vtep attach: --ip: expected a list of 0 to 2 addresses/m],
    [
      'service create --name a --network b --replicas x -- c',
      /^vtep service: --replicas: expected an integer .*, got "x"$/m,
    ],
    ['logs a --tail x', /^vtep logs: --tail: expected a number of lines/m],
  ] as const) {
    const { code, stderr, asked } = await vtep(line.split(' '), {});
    assert.match(stderr, message);
    assert.is(code, 2, line);
    assert.equal(asked, []);
  }
});

test('without an agent, the error says how to start one', async () => {
  for (const line of [
    'node ls',
    'ps',
    'network ls',
    'network create a',
    'run --network a -- true',
    'logs a',
    'leave',
  ]) {
    const { code, stdout, stderr } = await runProgram(line.split(' '));
    assert.is(code, 1);
    assert.is(stdout, '');
    assert.is(
      stderr,
      `vtep ${line.split(' ')[0]}: no agent listens on ${socket}; "vtep init" starts one with a new cluster, "vtep join" one that joins a cluster, and "vtep agent --state DIR" one that goes on where it ended; --socket or VTEP_SOCKET is its path\n`,
    );
  }
  const other = join(directory, 'other.sock');
  const { stderr } = await runProgram(['ps', '--socket', other]);
  assert.match(stderr, `no agent listens on ${other}; `);
});

const HERE: EndpointEntry = { ...ENDPOINT, state: 'ready' };

test('run in the foreground: the sandbox belongs to this process, and is removed if the command cannot be started', async () => {
  const removed = { id: HERE.id, name: HERE.name, network: HERE.network };
  const answers: Answers = { run: () => ({ ...HERE, netns: 'weft-no-such-netns' }), 'detach-endpoint': () => removed };
  const { code, stderr, asked } = await vtep(['run', '--network', 'prod-net', '--', 'true'], answers);
  assert.is(code, 1);
  assert.match(stderr, /^vtep run: network namespace "weft-no-such-netns" does not exist/);
  const { start } = processIdentity(process.pid)!;
  assert.equal(asked, [
    { command: 'run', network: 'prod-net', owner: { pid: process.pid, start } },
    { command: 'detach-endpoint', endpoint: HERE.id },
  ]);
});

test('run in the foreground starts the command in --workdir', async () => {
  const removed = { id: HERE.id, name: HERE.name, network: HERE.network };
  const answers: Answers = { run: () => ({ ...HERE, netns: '/proc/self/ns/net' }), 'detach-endpoint': () => removed };
  const words = ['run', '--network', 'prod-net', '-w', '/no/such/directory', '--', 'true'];
  const { code, stderr, asked } = await vtep(words, answers);
  assert.is(code, 126);
  assert.match(stderr, /there is no directory \/no\/such\/directory to run the command in/);
  assert.is((asked.at(-1) as { command: string }).command, 'detach-endpoint');
});

test('logs: what another node has is told', async () => {
  const here: OutputEvent = { event: 'output', name: 'test.1', node: 'host1', line: 'one' };
  const there: OutputEvent = {
    event: 'output',
    name: 'test.2',
    node: 'host2',
    line: null,
    reason: 'test.2 is on host2',
  };
  const some = await vtep(['service', 'logs', 'test'], { logs: () => [here, there] });
  assert.equal([some.code, some.stdout, some.stderr], [0, 'test.1@host1 | one\n', 'test.2 is on host2\n']);
  const none = await vtep(['logs', 'test.2'], { logs: () => [there] });
  assert.equal([none.code, none.stdout, none.stderr], [1, '', 'vtep logs: test.2 is on host2\n']);
  const json = await vtep(['service', 'logs', 'test', '--json'], { logs: () => [here, there] });
  const lines = json.stdout.trim().split('\n');
  assert.equal(
    lines.map((line) => JSON.parse(line) as unknown),
    [here, there],
  );
});

test('the last manager leaves by force', async () => {
  const answers: Answers = {
    leave: () => {
      throw new RequestError('in-use', 'node: host1 is the last manager; promote another node first');
    },
  };
  const { code, stderr } = await vtep(['leave'], answers);
  assert.is(code, 1);
  assert.match(
    stderr,
    /^vtep leave: this node is the last manager, and the cluster ends with it; .*, or give --force$/m,
  );
});

test('texts of the network cannot write to the terminal', async () => {
  for (const evil of evilTexts()) {
    const endpoint = { ...ENDPOINT, name: evil, network: evil, node: evil, reason: evil, aliases: [evil] };
    const network = { ...NETWORK, name: evil, labels: { label: evil }, endpoints: [endpoint] };
    const service = {
      ...SERVICE,
      ...{ name: evil, networks: [evil], run: [evil] },
      tasks: [
        {
          ...SERVICE.tasks[1]!,
          name: evil,
          nodeName: evil,
          endings: [{ ...SERVICE.tasks[1]!.endings[0]!, output: [evil], reason: evil }],
        },
      ],
    };
    const answers: Answers = {
      nodes: () => [{ ...NODE, name: evil }],
      'cluster-networks': () => [{ ...network, endpoints: 1 }],
      'cluster-network': () => network,
      endpoints: () => [endpoint],
      run: () => endpoint,
      services: () => [service],
      service: () => service,
      'detach-endpoint': () => {
        throw new RequestError('conflict', evil);
      },
      logs: () => [{ event: 'output', name: evil, node: evil, line: evil }],
    };
    for (const line of [
      ...['node ls', 'node inspect self', 'network ls', 'network inspect a', 'network inspect a --format docker', 'ps'],
      ...['run -d --network a -- b', 'service ls', 'service ps a', 'service inspect a', 'detach 0abc', 'logs a'],
      ...['service logs a', 'ps --json'],
    ]) {
      const { stdout, stderr } = await vtep(line.split(' '), answers);
      assert.is(dirt(Buffer.from(stdout + stderr)), undefined, `${line}: ${stdout}${stderr}`);
      assert.ok(stdout.includes(FORGED) || stderr.includes(FORGED), `${line} shows the text`);
    }
  }
});

test('--format docker prints what docker network inspect does', async () => {
  const { stdout } = await vtep(['network', 'inspect', 'prod-net', '--format', 'docker'], {
    'cluster-network': () => NETWORK,
  });
  assert.equal(JSON.parse(stdout), [
    {
      ...{
        Name: 'prod-net',
        Id: NETWORK.id,
        Created: '2026-01-31T12:00:00.007000000Z',
        Scope: 'swarm',
        Driver: 'overlay',
      },
      EnableIPv6: true,
      IPAM: {
        ...{ Driver: 'default', Options: null },
        Config: [
          {
            ...{ Subnet: '10.1.1.0/24', IPRange: '10.1.1.128/25', Gateway: '10.1.1.1' },
            AuxiliaryAddresses: { printer: '10.1.1.9' },
          },
          { Subnet: '11.1.1.0/24', Gateway: '11.1.1.254' },
          { Subnet: 'fd01::/64', Gateway: 'fd01::1' },
        ],
      },
      ...{ Internal: false, Attachable: true, Ingress: false, ConfigFrom: { Network: '' }, ConfigOnly: false },
      Containers: {
        [ENDPOINT.id]: {
          ...{ Name: 'p1', EndpointID: ENDPOINT.id, MacAddress: '02:42:0a:01:01:0a' },
          ...{ IPv4Address: '10.1.1.10/24', IPv6Address: 'fd01::10/64' },
        },
      },
      Options: {
        'com.docker.network.driver.mtu': '1400',
        'com.docker.network.driver.overlay.vxlanid_list': '4098,4099',
      },
      Labels: { stage: 'test' },
      Peers: [
        { Name: 'host1', IP: '172.31.1.6' },
        { Name: 'host2', IP: '192.168.1.25' },
      ],
    },
  ]);
});

test('the keys of Docker’s maps are in order, as Go writes them', async () => {
  const network = { ...NETWORK, labels: { b: '1', a: '2' } };
  const { stdout } = await vtep(['network', 'inspect', 'prod-net', '--format', 'docker'], {
    'cluster-network': () => network,
  });
  const [{ Options, Labels }] = JSON.parse(stdout) as [{ Options: object; Labels: object }];
  assert.equal(Object.keys(Labels), ['a', 'b']);
  const names = ['com.docker.network.driver.mtu', 'com.docker.network.driver.overlay.vxlanid_list'];
  assert.equal(Object.keys(Options), names);
});

test('times are those of the cluster', () => {
  assert.is(new Date(CREATED).toISOString(), '2026-01-31T12:00:00.007Z');
  assert.match(`${Math.floor((Date.now() - CREATED) / 86_400_000)} d ago`, ago);
});

test.run();
