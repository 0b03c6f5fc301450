/**
 * Wrong flags and arguments of every command except `up` and `agent`, whose values the schema checks. Each is refused
 * before the command does anything: exit code 2, with the flag as typed, what it accepts, and the value.
 */
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { COMMANDS } from '../src/cli/commands.js';
import { UsageError, type Flag } from '../src/cli/flags.js';
import { flagsOf } from '../src/cli/manual.js';
import { SchemaError } from '../src/schema/index.js';

/** Milliseconds after which a command counts as started. */
const STARTED = 20_000;
const SOCKET = ['--control', '/nonexistent/x'];
/** A network with a subnet. */
const SUBNET = [...SOCKET, '--subnet', '10.1.1.0/24', '--vni', '5001'];

/** The message with which a command line is refused; fails if it is not. */
async function refusal(args: readonly string[]): Promise<string> {
  const [name, ...rest] = args;
  const { run } = await COMMANDS[name!]!.load();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<Error>((resolve) => (timer = setTimeout(resolve, STARTED, new Error('started'))));
  const ended = run(rest).then(
    (code) => new Error(`ended with ${code}`),
    (error: Error) => error,
  );
  const error = await Promise.race([ended, late]);
  clearTimeout(timer);
  const refused = error instanceof UsageError || error instanceof SchemaError; // those that exit with 2
  assert.ok(refused, `vtep ${args.join(' ')}: ${error.name} ${error.message}`);
  return error.message;
}

/** Each command, and each action of a command with actions: the arguments before its flags, and its flags as its usage lists them. */
const LINES: readonly [line: string, flags: string][] = [
  ['show fdb', 'control vni json prometheus timeout'],
  ['explain', 'control port frame from datagram esp json timeout'],
  ['reload', 'control json timeout'],
  ['events', 'control type vni json timeout'],
  ['capture', 'control count seconds snap write decrypt esp-keys tree json timeout'],
  ['read file', 'read count tree hex json summary quiet write numeric'],
  ['attach eth0', 'netns pid mac json ip name alias device socket control vni vlan address mtu'],
  ['detach eth0', 'network socket netns control json'],
  [
    'network create prod',
    'subnet gateway vni mtu ip-range aux-address ipv6 internal encrypted bits label overlapping socket json',
  ],
  ['network rotate-key prod', 'socket json'],
  ['network inspect prod', 'format socket json'],
  ['network ls', 'control quiet socket json'],
  [
    'network add 9',
    'control subnet vni gateway gossip peer mtu proxy mac learn flood tagged clamp-mss ageing capacity key-file json',
  ],
  ['network keygen', 'output bits rotate force'],
  ['network rm 9', 'control socket json'],
  [
    'init',
    'advertise-addr data-path-addr data-path-port esp-port default-addr-pool default-addr-pool-mask-length name state socket json',
  ],
  ['join', 'token token-file advertise-addr data-path-addr name state socket json'],
  ['leave', 'force socket json'],
  ['token worker', 'rotate quiet socket json'],
  ['node ls', 'quiet socket json'],
  ['node inspect host2', 'socket json'],
  ['node rm host2', 'force socket json'],
  ['ps', 'all network quiet socket json'],
  ['run', 'network ip name alias mac env workdir detach socket json'],
  ['exec test.1', 'env socket'],
  ['logs test.1', 'tail follow socket json'],
  ['service create', 'name network replicas env label socket json'],
  ['service ls', 'quiet socket json'],
  ['service ps test', 'socket json'],
  ['service inspect test', 'socket json'],
  ['service scale test=2', 'socket json'],
  ['service logs test', 'tail follow socket json'],
  ['service rm test', 'socket json'],
  ['peer add 127.0.0.2', 'control vni json'],
  ['peer rm 127.0.0.2', 'control vni json'],
  ['endpoint add 10.0.0.4,02:42:0a:00:00:04', 'control vni json'],
  ['endpoint rm 10.0.0.4,02:42:0a:00:00:04', 'control vni json'],
  ['completion bash', ''],
  ['demo', 'keep down loopback count engine'],
  ['gossip members', 'control join key json'],
  ['gossip watch', 'join key bind network name json'],
  ['gossip keygen', 'output force'],
  ['gossip keys', 'control json'],
  ['gossip install KEY', 'control json'],
  ['gossip use KEY', 'control json'],
  ['gossip remove KEY', 'control json'],
  ['gossip rotate', 'force socket json'],
];

/** Command lines that take any number of arguments. */
const MANY: readonly string[] = [
  ...['network inspect prod', 'network rm 9', 'network rotate-key prod', 'node inspect host2', 'join'],
  ...['service ps test', 'service inspect test', 'service scale test=2', 'service rm test'],
];

test('the table has every command, and every flag', async () => {
  const names = new Set(LINES.map(([line]) => line.split(' ')[0]!));
  assert.equal([...names, 'up', 'agent'].sort(), Object.keys(COMMANDS).sort());
  for (const name of names) {
    const { manual } = await COMMANDS[name]!.load();
    const listed = LINES.filter(([line]) => line.split(' ')[0] === name).flatMap(([, flags]) => flags.split(' '));
    const known = flagsOf(manual).map((flag) => flag.name);
    assert.equal([...new Set(listed)].filter((flag) => flag !== '').sort(), known.sort(), name);
  }
  for (const name of ['gossip', 'network', 'peer', 'endpoint', 'node', 'service']) {
    const { manual } = await COMMANDS[name]!.load();
    const actions = LINES.flatMap(([line]) => (line.startsWith(`${name} `) ? [line.split(' ')[1]!] : []));
    assert.equal(actions.sort(), manual.words!.map((word) => word.name).sort());
  }
});

for (const [line, names] of LINES) {
  const before = line.split(' ');

  test(`vtep ${line}: every flag without its value, with an empty one, twice, and misspelled`, async () => {
    const { manual } = await COMMANDS[before[0]!]!.load();
    const flags = names.split(' ').flatMap((name) => flagsOf(manual).find((flag) => flag.name === name) ?? []);
    for (const flag of flags)
      for (const as of [`--${flag.name}`, ...(flag.letter === undefined ? [] : [`-${flag.letter}`])])
        await requireRefusals(before, flag, as);
    const message = await refusal([...before, '--frobnicate']);
    assert.is(message, 'unknown flag --frobnicate');
    assert.is(await refusal([...before, '-Z']), 'unknown flag -Z');
  });

  if (!MANY.includes(line))
    test(`vtep ${line}: an argument too many`, async () => {
      assert.match(await refusal([...before, 'stray']), /stray/);
      assert.match(
        await refusal([...before, '\u2013\u2013json']),
        /typographic dash|expected one (FILE|NAME|TAP|NETWORK)/,
      );
    });
}

async function requireRefusals(before: string[], flag: Flag, as: string): Promise<void> {
  const long = as.startsWith('--');
  if (flag.value === undefined) {
    const choice = flag.negatable === true ? `; it is ${as} or --no-${flag.name}` : '';
    if (long) assert.is(await refusal([...before, `${as}=yes`]), `${as} takes no value, got "yes"${choice}`);
  } else {
    const takes = `${as} takes a value: ${as} ${flag.value}`;
    assert.is(await refusal([...before, as]), takes);
    assert.is(await refusal([...before, as, '--help-me']), takes);
    assert.is(await refusal([...before, `${as}=`]), `${takes}; the given value is empty`);
    assert.is(await refusal([...before, as, ' ']), `${takes}; the given value is empty`);
    if (flag.many !== true) assert.is(await refusal([...before, as, '1', as, '2']), `${as} was given twice: 1, 2`);
  }
  if (!long) return;
  const wrong = `--${flag.name}x`;
  assert.is(await refusal([...before, wrong]), `unknown flag ${wrong}; did you mean --${flag.name}?`);
}

const VNI = 'a VNI: an integer from 0 to 16777215';
const HOST = 'a host, by name or address, with or without a port, such as 192.168.1.25 or vtep1.example:7946';
const BIND = 'an address, with or without a port, such as 172.31.1.5, 0.0.0.0:7946 or [fd00::5]:7946';
const PATH = 'the path of a Unix socket, of 1 to 107 bytes';
const DEVICE = 'a device name: 1 to 15 bytes without "/", ":", "%" and white space';
const NAME = 'a name of 1 to 63 letters, digits, "_", "." and "-" that begins with a letter or a digit';
const REFERENCE = 'a name, an id, or the beginning of an id';
const OCTETS = '1 to 65536 octets, two hexadecimal digits for each';
/** A token by its form. */
const TOKEN = `WEFT-1-${'4'.repeat(50)}-${'o'.repeat(25)}`;
const HOST_IP = 'the IP address of one host, such as 10.0.0.4 or fd00::4';
const IP = 'a unicast IP address such as 192.168.1.25';
const LONG = `/${'x'.repeat(107)}`;

/** Integers that a flag with this range refuses, each as typed and as the error shows it. */
function outside(least: number, most: number | undefined): [given: string, shown: string][] {
  return [
    ...[String(least - 1), ...(most === undefined ? [] : [String(most + 1), '99999999999999999999'])].map(
      (text): [string, string] => [text, text],
    ),
    ...['abc', '1.5', '1e1', '0x10', '10s', '1,000', '\u0661'].map((text): [string, string] => [text, `"${text}"`]),
  ];
}

const INTEGERS: readonly [line: string, flag: string, range: string, least: number, most?: number][] = [
  [`show fdb ${SOCKET.join(' ')}`, '--vni', VNI, 0, 16_777_215],
  [`show fdb ${SOCKET.join(' ')}`, '--timeout', 'seconds: an integer from 1 to 3600', 1, 3600],
  [`explain ${SOCKET.join(' ')} --port a --frame 00`, '--timeout', 'seconds: an integer from 1 to 3600', 1, 3600],
  [`reload ${SOCKET.join(' ')}`, '--timeout', 'seconds: an integer from 1 to 3600', 1, 3600],
  [`events ${SOCKET.join(' ')}`, '--timeout', 'seconds: an integer from 1 to 3600', 1, 3600],
  [`capture ${SOCKET.join(' ')}`, '--timeout', 'seconds: an integer from 1 to 3600', 1, 3600],
  [`capture ${SOCKET.join(' ')}`, '--count', 'an integer from 1 to 1000000000', 1, 1_000_000_000],
  [`capture ${SOCKET.join(' ')}`, '-c', 'an integer from 1 to 1000000000', 1, 1_000_000_000],
  [`capture ${SOCKET.join(' ')}`, '--seconds', 'an integer from 1 to 86400', 1, 86_400],
  [`capture ${SOCKET.join(' ')}`, '-s', 'bytes: an integer from 1 to 262144', 1, 262_144],
  ['read file', '--count', 'an integer of 0 or more', 0],
  ['read file', '-c', 'an integer of 0 or more', 0],
  ['demo --loopback', '--count', 'an integer from 1 to 1000', 1, 1000],
];

for (const [line, flag, range, least, most] of INTEGERS)
  test(`vtep ${line} ${flag}: the range is in the error`, async () => {
    for (const [given, shown] of outside(least, most)) {
      const expected = `${flag}: expected ${range}, got ${shown}`;
      assert.is(await refusal([...line.split(' '), flag, given]), expected);
      assert.is(await refusal([...line.split(' '), `${flag}=${given}`]), expected);
    }
  });

const VALUES: readonly [args: string[], message: string | RegExp][] = [
  [['show'], /^missing: WHAT, one of fdb, /],
  [['show', ''], /^cannot show ""; expected one of fdb, /],
  [['show', 'fbd', ...SOCKET], 'cannot show "fbd"; did you mean "fdb"?'],
  [['show', 'fdb'], /^missing: --control PATH/],
  [['show', 'fdb', '--control', LONG], `--control: expected ${PATH}, got "${LONG.slice(0, 76)}...`],
  [['show', 'members', ...SOCKET, '--vni', '1'], '--vni does not go with members; use it with fdb, neighbors, peers'],
  [['show', 'fdb', ...SOCKET, '--prometheus'], '--prometheus goes only with counters'],
  [['show', 'counters', ...SOCKET, '--prometheus', '--json'], '--json does not go with --prometheus'],

  [['explain', '--port', 'a', '--frame', '00'], /^missing: --control PATH/],
  [['explain', '--control', LONG, '--port', 'a', '--frame', '00'], /^--control: expected the path of a Unix socket/],
  [['explain', ...SOCKET], 'give either --port NAME --frame HEX, or --from IP with --datagram HEX or --esp HEX'],
  [['explain', ...SOCKET, '--port', 'a', '--datagram', '00'], /^give either /],
  [['explain', ...SOCKET, '--port', 'a/b', '--frame', '00'], `--port: expected ${DEVICE}, got "a/b"`],
  [
    ['explain', ...SOCKET, '--port', 'a', '--frame', 'abc'],
    `--frame: expected ${OCTETS}, got 3 digits, which is an odd number`,
  ],
  [['explain', ...SOCKET, '--port', 'a', '--frame', 'xy'], `--frame: expected ${OCTETS}, got "xy"`],
  [['explain', ...SOCKET, '--port', 'a', '--frame', '0x00'], `--frame: expected ${OCTETS}, got "0x00"`],
  [['explain', ...SOCKET, '--port', 'a', '--frame', ' : '], `--frame: expected ${OCTETS}, got " : "`],
  [['explain', ...SOCKET, '--port', 'a', '--frame', '00'.repeat(65_537)], `--frame: expected ${OCTETS}, got 65537`],
  [['explain', ...SOCKET, '--from', 'host', '--datagram', '00'], `--from: expected ${IP}, got "host"`],
  [
    ['explain', ...SOCKET, '--from', '0.0.0.0', '--datagram', '00'],
    `--from: expected ${IP}, got "0.0.0.0", the unspecified address`,
  ],
  [['explain', ...SOCKET, '--from', '10.0.0.1', '--datagram', '0'], /^--datagram: expected 1 to 65536 octets/],

  [['reload'], /^missing: --control PATH/],
  [['events'], /^missing: --control PATH/],
  [['events', ...SOCKET, '--type', 'peer'], /^--type: expected a type of event: segment-added, /],
  [['events', ...SOCKET, '--vni', '-1'], /^--vni: expected a VNI/],
  [['capture'], /^missing: --control PATH/],
  [['capture', '--control', LONG], /^--control: expected the path of a Unix socket/],
  [['capture', ...SOCKET, '-w', '/nonexistent/x', '--json'], '--json does not go with -w, which prints no packets'],
  [
    ['capture', ...SOCKET, '--tree', '--write', '/nonexistent/x'],
    '--tree does not go with --write, which prints no packets',
  ],
  [['capture', ...SOCKET, '--tree', '--json'], '--tree does not go with --json'],

  [['read'], 'missing: FILE, the capture to read, or - for standard input'],
  [['read', ''], 'missing: FILE, the capture to read, or - for standard input'],
  [['read', 'a', 'b'], 'expected one FILE, got "a" and "b"'],
  [['read', '-r', 'a', 'b'], 'expected one FILE, got "a" and "b"'],
  [['read', 'a', '-x', '--json'], '-x and --json do not go together; JSON has all fields'],
  [['read', 'a', '-q', '-w', '-'], '-w - writes the capture to standard output; leave out the summary'],

  [['attach', ...SOCKET, '--vni', '7'], 'missing: TAP, the TAP to create'],
  [['attach', 'eth0', '--vni', '7'], 'missing: --control PATH, the same as that of "vtep up", which --vni goes with'],
  [['attach'], 'missing: NETWORK, the network of the cluster; or TAP with --control PATH'],
  [['attach', 'a', 'b'], 'expected one NETWORK, got "a b"'],
  [['attach', 'a'], 'missing: --netns NS or --pid PID, what to attach; or --control PATH --vni N for a TAP of a VTEP'],
  [['attach', 'a', '--netns', 'b', '--pid', '1'], '--pid does not go with --netns'],
  [
    ['attach', 'a', ...SOCKET, '--vni', '7', '--ip', '10.0.0.1'],
    '--ip does not go with --control, which means one VTEP',
  ],
  [['attach', 'a', '--netns', '..'], /^--netns: expected the name of a network namespace/],
  [['attach', 'a', '--netns', 'b', '--ip', 'x'], `--ip: expected ${HOST_IP}, got "x"`],
  [['attach', 'a', '--netns', 'b', '--device', 'a/b'], `--device: expected ${DEVICE}, got "a/b"`],
  [['attach', 'a', '--netns', 'b', '--alias', 'a,b c'], `--alias: expected ${NAME}, got "b c"`],
  [['attach', 'a', '--netns', 'b', '--socket', LONG], /^--socket: expected the path of a Unix socket/],
  [['attach', 'eth0', ...SOCKET], 'missing: --vni N, or --vlan VID=VNI'],
  [['attach', 'a b', ...SOCKET, '--vni', '7'], `TAP: expected ${DEVICE}, got "a b"`],
  [['attach', 'eth0', ...SOCKET, '--vni', 'x'], `--vni: expected ${VNI}, got "x"`],
  [['attach', 'eth0', ...SOCKET, '--vlan', '10'], '--vlan: expected VID=VNI such as 10=4097, got "10"'],
  [['attach', 'eth0', ...SOCKET, '--vlan', '10=16777216'], `--vlan: expected ${VNI}, got 16777216`],
  [
    ['attach', 'eth0', ...SOCKET, '--vlan', '10=1', '--vni', '-1', '--mac', '01:00:00:00:00:00'],
    /^--mac: expected the MAC address .*\n--vni: expected a VNI/,
  ],
  [['detach', 'eth0', '--control', LONG], /^--control: expected the path of a Unix socket/],

  [['detach'], 'missing: NAME, the endpoint or the TAP to remove'],
  [['detach', ''], `NAME: expected ${REFERENCE}, got ""`],
  [['detach', 'a b'], `NAME: expected ${REFERENCE}, got "a b"`],
  [['detach', '', '--netns', 'c'], `TAP: expected ${DEVICE}, got ""`],
  [['detach', 'a b', '--netns', 'c'], `TAP: expected ${DEVICE}, got "a b"`],
  [['detach', 'sixteen-letters-', '--netns', 'c'], `TAP: expected ${DEVICE}, got "sixteen-letters-"`],
  [['detach', 'all', ...SOCKET], `TAP: expected ${DEVICE}, got "all", which the kernel reserves`],
  [
    ['detach', 'a', '--netns', 'c', '--network', 'b'],
    '--network does not go with --netns, which means a TAP; name the endpoint',
  ],
  [['detach', 'a', ...SOCKET, '--socket', 'x'], '--socket does not go with --control, which means one VTEP'],
  [['detach', 'a', '--network', 'a b'], `--network: expected ${REFERENCE}, got "a b"`],
  [['detach', 'a', 'b'], 'expected one NAME, got "a b"'],
  [
    ['detach', 'eth0', '--netns', 'a/b'],
    '--netns: expected the name of a network namespace, or a path such as /proc/PID/ns/net, got "a/b"',
  ],
  [['detach', 'eth0', '--netns', '..'], /^--netns: expected the name of a network namespace/],

  [['network'], 'missing: ACTION, one of create, ls, inspect, rm, add, rotate-key, keygen'],
  [
    ['network', 'remove'],
    /^unknown action "remove"; the actions are create, ls, inspect, rm, add, rotate-key, keygen$/,
  ],
  [
    ['network', 'add', 'prod'],
    'missing: --control PATH, a running VTEP; "vtep network create" makes a network of the cluster',
  ],
  [['network', 'ls', ...SOCKET, '--quiet'], '--quiet does not go with --control, which means one VTEP'],
  [['network', 'ls', '--json', '-q'], '--json does not go with -q'],
  [['network', 'rm', 'a', ...SOCKET, '--socket', 'b'], '--socket does not go with --control, which means one VTEP'],
  [['network', 'rm'], 'missing: NETWORK, the network to remove'],
  [['network', 'rm', 'a', 'b/c'], `NETWORK: expected ${REFERENCE}, got "b/c"`],
  [['network', 'rm', 'a', '--socket', LONG], /^--socket: expected the path of a Unix socket/],
  [['network', 'create'], 'missing: NAME, the network to create'],
  [['network', 'create', 'a/b'], `NAME: expected ${NAME}, got "a/b"`],
  [['network', 'create', 'a', '--gateway', '10.0.0.1'], 'missing: --subnet PREFIX, which --gateway goes with'],
  [['network', 'create', 'a', '--subnet', 'x'], /^--subnet: expected a subnet such as .*, got "x"$/],
  [['network', 'create', 'a', '--subnet', '10.1.1.0/24', '10.1.1.0/24'], '--subnet: 10.1.1.0/24 is given twice'],
  [
    ['network', 'create', 'a', '--subnet', '10.1.1.0/24', '--gateway', '10.1.2.1'],
    '--gateway: expected an address of 10.1.1.0/24, got "10.1.2.1"',
  ],
  [
    ['network', 'create', 'a', '--subnet', '10.1.1.0/24', '--gateway', '10.1.1.1', '10.1.1.2'],
    '--gateway: 10.1.1.0/24 has 10.1.1.1 already, got 10.1.1.2; a subnet has one gateway',
  ],
  [
    ['network', 'create', 'a', '--subnet', '10.1.1.0/24', '--ip-range', '10.1.2.0/25'],
    '--ip-range: expected a part of 10.1.1.0/24, got "10.1.2.0/25"',
  ],
  [
    ['network', 'create', 'a', '--subnet', '10.1.1.0/24', '--ip-range', '10.1.1.0/25', '10.1.1.128/25'],
    '--ip-range: 10.1.1.0/24 has 10.1.1.0/25 already, got 10.1.1.128/25; a subnet has one range',
  ],
  [
    ['network', 'create', 'a', '--subnet', '10.1.1.0/24', '--aux-address', '10.1.1.9'],
    '--aux-address: expected a name and an address, such as printer=10.1.1.9, got "10.1.1.9"',
  ],
  [
    ['network', 'create', 'a', '--subnet', '10.1.1.0/24', '--aux-address', 'a=10.1.2.9'],
    '--aux-address: expected an address of 10.1.1.0/24, got "a=10.1.2.9"',
  ],
  [
    ['network', 'create', 'a', '--subnet', '10.1.1.0/24', '--aux-address', 'a=10.1.1.8', 'a=10.1.1.9'],
    '--aux-address: "a" is given twice',
  ],
  [
    ['network', 'create', 'a', '--subnet', '10.1.1.0/24', '11.1.1.0/24', '--vni', '5001'],
    '--vni: expected one for each --subnet, 2 of them, got 5001',
  ],
  [['network', 'create', 'a', '--subnet', '10.1.1.0/24', '--vni', 'x'], /^--vni: expected a VNI: .*, got "x"$/],
  [['network', 'create', 'a', '--label', 'x'], '--label: expected a label such as stage=test, got "x"'],
  [['network', 'create', 'a', '--mtu', 'x'], /^--mtu: expected an MTU: .*, got "x"$/],
  [['network', 'create', 'a', '--peer', '127.0.0.2'], /^--peer does not go with "create"; usage: vtep network create/],
  [['network', 'inspect'], 'missing: NETWORK, the network to inspect'],
  [['network', 'inspect', 'a', '--format', 'yaml'], '--format: expected docker or json, got "yaml"'],
  [
    ['network', 'inspect', 'a', '--json', '--format', 'docker'],
    '--json does not go with --format docker, which is JSON, too',
  ],

  [['init', '--advertise-addr', 'x'], `--advertise-addr: expected ${IP}, got "x"`],
  [['init', '--data-path-addr', '224.0.0.1'], /^--data-path-addr: expected a unicast IP address/],
  [['init', '--data-path-port', '80'], /^--data-path-port: expected a port .*, got 80$/],
  [
    ['init', '--default-addr-pool-mask-length', '129'],
    /^--default-addr-pool-mask-length: expected a prefix length: .*, got 129$/,
  ],
  [['init', '--name', 'a b'], /^--name: expected a host name: .*, got "a b"$/],
  [['join'], 'missing: --token T, which "vtep token worker" prints on a manager, or --token-file FILE'],
  [['join', '--token', 'a', '--token-file', 'b', 'm'], 'give either --token T or --token-file FILE'],
  [['join', '--token', 'a'], 'missing: MANAGER, the address of a manager, such as 172.31.1.5:2377'],
  [['join', '--token', TOKEN, 'm/x'], /^MANAGER: expected .*, got "m\/x"$/],
  [['join', '--token', TOKEN, 'm,', 'n'], /^MANAGER: expected .*, got ""$/],
  [['join', '--token', 'a', 'm'], /^--token: the token does not begin with WEFT-1-; print it again on a manager/],
  [['join', '--token', TOKEN.slice(1), 'm'], /^--token: the token does not begin/],
  [['token'], 'missing: worker or manager, the role of the nodes that join with the token'],
  [['token', 'wroker'], 'expected worker or manager, got "wroker"'],
  [['token', 'worker', '-q', '--json'], '--json does not go with -q'],
  [['node'], 'missing: ACTION, one of ls, inspect, rm'],
  [['node', 'inspect'], 'missing: NODE, the node to inspect, such as "self"'],
  [['node', 'rm'], 'missing: NODE, the node to remove'],
  [['node', 'rm', 'a b'], `NODE: expected ${REFERENCE}, got "a b"`],
  [['node', 'ls', '--force'], '--force does not go with "ls"; usage: vtep node ls'],
  [['ps', '--network', 'a b'], `--network: expected ${REFERENCE}, got "a b"`],
  [['ps', '--quiet', '--json'], '--json does not go with --quiet'],
  [['run'], 'missing: --network NETWORK; "vtep network ls" lists them'],
  [['run', '--network', 'a'], 'missing: -- COMMAND, the program to run with its arguments'],
  [['run', '--network', 'a', '--'], 'missing: -- COMMAND, the program to run with its arguments'],
  [['run', '--network', 'a', '--', ''], 'COMMAND: expected the name or the path of a program, got ""'],
  [['run', '--network', 'a', 'sh'], '"sh" is not expected here; flags start with --'],
  [['run', '--network', 'a', '--json', '--', 'b'], '--json goes with --detach: the command has the output'],
  [['run', '--network', 'a', '--env', '=x', '--', 'b'], '--env: expected NAME=VALUE, got "=x"'],
  [
    ['run', '--network', 'a', '--workdir', '', '--', 'b'],
    '--workdir takes a value: --workdir DIR; the given value is empty',
  ],
  [['run', '--network', 'a', '--ip', '10.0.0.0/8', '--', 'b'], `--ip: expected ${HOST_IP}, got "10.0.0.0/8"`],
  [['run', '--network', 'a', '--name', '-', '--', 'b'], `--name: expected ${NAME}, got "-"`],
  [['exec'], 'missing: NAME, the endpoint whose sandbox the command runs in'],
  [['exec', '--', 'b'], 'missing: NAME, the endpoint whose sandbox the command runs in'],
  [['exec', 'a'], 'missing: -- COMMAND, the program to run with its arguments'],
  [['exec', 'a', 'b'], '"b" is not expected here; flags start with --'],
  [['exec', 'a b', '--', 'c'], `NAME: expected ${REFERENCE}, got "a b"`],
  [['logs'], 'missing: NAME, the endpoint whose output to print'],
  [['logs', 'a', '--tail', '-1'], /^--tail: expected a number of lines: .*, got "-1"$/],
  [['service'], 'missing: ACTION, one of create, ls, ps, inspect, scale, logs, rm'],
  [['service', 'create', '--', 'a'], 'missing: --name NAME, the name of the service'],
  [['service', 'create', '--name', 'a', '--', 'b'], 'missing: --network NETWORK; "vtep network ls" lists them'],
  [
    ['service', 'create', '--name', 'a', '--network', 'b'],
    'missing: -- COMMAND, the program to run with its arguments',
  ],
  [
    ['service', 'create', '--name', 'a', '--network', 'b', '--replicas', '-1', '--', 'c'],
    /^--replicas: expected an integer .*, got "-1"$/,
  ],
  [['service', 'create', '--tail', '1', '--', 'c'], /^--tail does not go with "create"; usage: vtep service create/],
  [['service', 'ps'], 'missing: SERVICE, the service whose tasks to list'],
  [['service', 'scale', 'a'], 'SERVICE=N: expected a service and a number such as test=5, got "a"'],
  [['service', 'scale', 'a=x'], 'SERVICE=N: expected a service and a number such as test=5, got "a=x"'],
  [['service', 'scale', 'c=1', 'a b=1'], `SERVICE: expected ${REFERENCE}, got "a b"`],
  [['service', 'rm'], 'missing: SERVICE, the service to remove'],

  [['network', 'add', ...SOCKET], 'missing: VNI or NAME, the network to add'],
  [['network', 'add', '-1', ...SOCKET], `VNI: expected ${VNI}, got "-1"`],
  [['network', 'rm', '16777216', ...SOCKET], `VNI: expected ${VNI}, got 16777216`],
  [
    ['network', 'add', 'prod', ...SOCKET],
    'missing: --subnet PREFIX --vni N, the subnets of network prod; a network without them is a VNI',
  ],
  [
    ['network', 'add', '9', ...SOCKET, '--vni', '9'],
    'missing: --subnet PREFIX, which --vni goes with; a network without subnets is its VNI',
  ],
  [
    ['network', 'add', 'prod', ...SOCKET, '--no-gossip'],
    'missing: --subnet PREFIX, which --no-gossip goes with; a network without subnets is its VNI',
  ],
  [['network', 'add', '9', ...SUBNET], 'NAME: expected a name, because digits are a VNI, got "9"'],
  [
    ['network', 'add', 'prod', ...SUBNET, '--subnet', '11.1.1.0/24'],
    '--vni: expected one for each --subnet, 2 of them, got 5001',
  ],
  [
    ['network', 'add', 'prod', ...SOCKET, '--subnet', '11.1.1.0/24'],
    '--vni: expected one for each --subnet, 1 of them, got none',
  ],
  [
    ['network', 'add', 'prod', ...SUBNET, '--gateway', '11.1.1.1'],
    '--gateway: expected an address of 10.1.1.0/24, got "11.1.1.1"',
  ],
  [
    ['network', 'add', 'prod', ...SUBNET, '--gateway', '10.1.1.1', '10.1.1.2'],
    '--gateway: 10.1.1.0/24 has 10.1.1.1 already, got 10.1.1.2; a subnet has one gateway',
  ],
  [['network', 'add', 'prod', ...SOCKET, '--subnet', '10.1.1.1/24', '--vni', '9'], /^--subnet: expected a subnet such/],
  [['network', 'add', 'prod', ...SOCKET, '--subnet', '10.1.1.0/24', '--vni', 'x'], `--vni: expected ${VNI}, got "x"`],
  [['network', 'add', 'a/b', ...SUBNET], /^NAME: expected an id of 1 to 255 characters .*, got "a\/b"$/],
  [['network', 'add', 'prod', ...SUBNET, '--mac', '01:00:00:00:00:00'], /^--mac: expected the MAC address of one/],
  [['network', 'add', 'prod', ...SUBNET, '--mtu', '1'], /^--mtu: expected an MTU in bytes/],
  [['network', 'rm', 'a/b', ...SOCKET], /^NAME: expected an id of/],
  [['network', 'add', '9', ...SOCKET, '--peer', '127.0.0.2,x'], `--peer: expected ${IP}, got "x"`],
  [
    ['network', 'add', '9', ...SOCKET, '--proxy', 'on'],
    /^--proxy: expected one of "endpoint", "vtep", "off", got "on"/,
  ],
  [['network', 'add', '9', ...SOCKET, '--capacity', '0'], '--capacity: expected an integer from 1 to 16777216, got 0'],
  [['network', 'keygen', '--bits', '192', '-o', '/nonexistent/k'], '--bits: expected 128 or 256, got "192"'],
  [['network', 'create', 'x', '--bits', '128'], 'missing: --encrypted, which --bits goes with'],
  [['network', 'create', 'x', '--encrypted', '--bits', '1'], '--bits: expected 128 or 256, got "1"'],
  [['network', 'rotate-key'], 'missing: NETWORK, the network whose key to rotate'],
  [['network', 'keygen', '--rotate'], '--rotate goes with -o FILE, which it changes'],
  [['network', 'keygen', '--force'], '--force goes with -o FILE, which it overwrites'],
  [
    ['network', 'keygen', '-o', '/nonexistent/k', '--rotate', '--bits', '128'],
    '--bits does not go with --rotate, which keeps the length of the keys that are there',
  ],
  [
    ['network', 'rm', '9', ...SOCKET, '--mtu', '1400'],
    '--mtu does not go with "rm"; usage: vtep network rm NETWORK … | rm VNI|NAME --control PATH',
  ],

  [['peer'], 'missing: ACTION, one of add, rm'],
  [['peer', 'add', ...SOCKET, '--vni', '7'], 'missing: IP, the address of the peer to add'],
  [['peer', 'add', '127.0.0.2', ...SOCKET], 'missing: --vni N, the network'],
  [['peer', 'add', '127.0.0.2', '--vni', '7'], 'missing: --control PATH, the same as that of "vtep up"'],
  [['peer', 'add', 'x', ...SOCKET, '--vni', '7'], `IP: expected ${IP}, got "x"`],
  [['peer', 'rm', '127.0.0.2', ...SOCKET, '--vni', 'x'], `--vni: expected ${VNI}, got "x"`],
  [['endpoint', 'rm', ...SOCKET, '--vni', '7'], 'missing: IP,MAC[,VTEP], the endpoint to remove'],
  [
    ['endpoint', 'add', '10.0.0.4', ...SOCKET, '--vni', '7'],
    'expected IP,MAC[,VTEP] such as 10.0.0.4,02:42:0a:00:00:04,192.168.1.25, got "10.0.0.4"',
  ],
  [['endpoint', 'add', '10.0.0.4,02:42:0a:00:00:04,x', ...SOCKET, '--vni', '7'], `VTEP: expected ${IP}, got "x"`],
  [['endpoint', 'add', '10.0.0.4,x', ...SOCKET, '--vni', '7'], /^MAC: expected the MAC address of one station/],

  [['completion'], 'missing: SHELL, one of bash, zsh, fish'],
  [['completion', ''], '"" is not one of the shells bash, zsh, fish'],
  [['completion', 'bahs'], '"bahs" is not one of the shells bash, zsh, fish; did you mean "bash"?'],
  [['completion', 'powershell'], '"powershell" is not one of the shells bash, zsh, fish'],

  [['demo', '--engine', 'fast'], '--engine: expected one of "auto", "dgram", "linux", got "fast"'],
  [
    ['demo', '--engine', 'linus'],
    '--engine: expected one of "auto", "dgram", "linux", got "linus"; did you mean "linux"?',
  ],
  [['demo', '--loopback', '--keep'], '--keep does not go with --loopback, whose hosts end with the process'],
  [['demo', '--down', '--count', '3'], '--count does not go with --down, which only removes'],
  [['demo', '--down', '--keep'], '--keep does not go with --down, which only removes'],

  [['gossip'], 'missing: ACTION, one of members, watch, keygen, keys, install, use, remove, rotate'],
  [['gossip', '--json'], /^missing: ACTION/],
  [['gossip', 'mebmers'], 'unknown action "mebmers"; did you mean "members"?'],
  [['gossip', 'frobnicate'], /^unknown action "frobnicate"; the actions are members, watch/],
  [['gossip', 'toString'], /^unknown action "toString"; /],

  [['gossip', 'members'], 'give either --control PATH or --join HOST'],
  [['gossip', 'members', ...SOCKET, '--join', 'h'], 'give either --control PATH or --join HOST'],
  [['gossip', 'members', ...SOCKET, '--key', 'x'], '--key does not go with --control: the agent has its keys'],
  [['gossip', 'members', '--control', LONG], /^--control: expected the path of a Unix socket/],
  [['gossip', 'members', '--join', 'a b'], `--join: expected ${HOST}, got "a b"`],
  [['gossip', 'members', '--join', 'h:0'], `--join: expected ${HOST}, got "h:0"`],
  [['gossip', 'members', '--join', '127.0.0.1,h:65536'], `--join: expected ${HOST}, got "h:65536"`],
  [['gossip', 'members', '--join', '127.0.0.1,'], `--join: expected ${HOST}, got ""`],
  [['gossip', 'members', '--join', '-5'], `--join: expected ${HOST}, got "-5"`],
  [['gossip', 'members', '--join', '0.0.0.0'], `--join: expected ${HOST}, got "0.0.0.0", the unspecified address`],
  [
    ['gossip', 'members', '--join', '224.0.0.1:7946'],
    `--join: expected ${HOST}, got "224.0.0.1:7946", a multicast address`,
  ],
  [['gossip', 'members', '--join', '127.0.0.1:1', '--key', 'abc!'], /^--key: the key \(4 characters\) is not base64/],
  [['gossip', 'members', '--join', '127.0.0.1:1', '--key', '/nonexistent'], /^--key: there is no file \/nonexistent$/],
  [
    ['gossip', 'members', '--join', '127.0.0.1:1', '--bind', '127.0.0.1'],
    '--bind does not go with "members"; usage: vtep gossip members --control PATH | --join HOST [--key KEY]',
  ],

  [['gossip', 'watch'], 'missing: --join HOST, a member of the cluster'],
  [
    ['gossip', 'watch', ...SOCKET],
    '--control does not go with "watch"; usage: vtep gossip watch --join HOST [--key KEY]',
  ],
  [['gossip', 'watch', '--join', 'a b'], `--join: expected ${HOST}, got "a b"`],
  [['gossip', 'watch', '--join', '127.0.0.1:1', '--bind', 'localhost'], `--bind: expected ${BIND}, got "localhost"`],
  [
    ['gossip', 'watch', '--join', '127.0.0.1:1', '--bind', '127.0.0.1:65536'],
    `--bind: expected ${BIND}, got "127.0.0.1:65536"`,
  ],
  [
    ['gossip', 'watch', '--join', '127.0.0.1:1', '--bind', '224.0.0.1'],
    `--bind: expected ${BIND}, got "224.0.0.1", a multicast address`,
  ],
  [
    ['gossip', 'watch', '--join', '127.0.0.1:1', '--name', 'a/b'],
    '--name: expected a name of 1 to 255 characters without "/" and white space, got "a/b"',
  ],
  [
    ['gossip', 'watch', '--join', '127.0.0.1:1', '--name', 'x'.repeat(256)],
    /^--name: expected a name of 1 to 255 characters/,
  ],
  [
    ['gossip', 'watch', '--join', '127.0.0.1:1', '--network', 'a', 'b,,c'],
    '--network: expected an id of 1 to 255 characters without "/" and white space, got ""',
  ],
  [['gossip', 'watch', '--join', '127.0.0.1:1', '--network', 'a b'], /^--network: expected an id of .*, got "a b"$/],
  [
    ['gossip', 'watch', '--join', '127.0.0.1:1', '--key', 'AAAA'],
    /^--key: the key has 3 bytes, not 16, 24 or 32 in base64/,
  ],

  [['gossip', 'keygen', '--force'], '--force goes with -o FILE, which it overwrites'],
  [['gossip', 'keygen', '--key', 'x'], '--key does not go with "keygen"; usage: vtep gossip keygen [-o FILE]'],
  [['gossip', 'keys'], /^missing: --control PATH/],
  [['gossip', 'keys', '--control', LONG], /^--control: expected the path of a Unix socket/],
  [['gossip', 'keys', '--join', 'h'], '--join does not go with "keys"; usage: vtep gossip keys --control PATH'],
  [['gossip', 'install', ...SOCKET], 'missing: KEY, in base64, or a file with a key'],
  [['gossip', 'install', '', ...SOCKET], 'missing: KEY, in base64, or a file with a key'],
  [['gossip', 'install', '0123abcd', ...SOCKET], /^KEY: the key has 6 bytes, not 16, 24 or 32/],
  [['gossip', 'use', ...SOCKET], 'missing: KEY, in base64, or a file with a key, or a fingerprint'],
  [['gossip', 'use', 'xyz!', ...SOCKET], /^KEY: the key \(4 characters\) is not base64/],
  [['gossip', 'remove', '/nonexistent', ...SOCKET], /^KEY: there is no file \/nonexistent$/],
  [['gossip', 'remove', '0123abcd'], /^missing: --control PATH/],
  [['gossip', 'rotate', '--socket', LONG], /^--socket: expected the path of a Unix socket/],
  [
    ['gossip', 'rotate', ...SOCKET],
    '--control does not go with "rotate"; usage: vtep gossip rotate [--force] [--socket PATH]',
  ],
];

for (const [args, message] of VALUES)
  test(`vtep ${args.join(' ').slice(0, 100)}`, async () => {
    const text = await refusal(args);
    if (typeof message === 'string') assert.is(text, message);
    else assert.match(text, message);
  });

test.run();
