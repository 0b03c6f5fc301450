/**
 * Overlays of others, from Debian: Open vSwitch with its datapath in userspace, wireguard-go and vde. The packages are
 * unpacked and not installed, because their installation starts services.
 */
import { generateKeyPairSync } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { devices, must, run, waitFor, type Running } from '../test/support/lab.js';
import { missing } from '../test/support/needs.js';
import { MTU, offloads, PREFIX, VNI, type Layout, type Side, type Site, type Up } from './layouts.js';

/** Where the packages are unpacked, and stay. */
const FOLDER = join(tmpdir(), 'weft-peers');
const inFolder = (path: string): string => join(FOLDER, path);

const OVS = {
  server: inFolder('usr/sbin/ovsdb-server'),
  daemon: inFolder('usr/lib/openvswitch-switch/ovs-vswitchd'),
  tool: inFolder('usr/bin/ovsdb-tool'),
  control: inFolder('usr/bin/ovs-vsctl'),
};
const SCHEMA = inFolder('usr/share/openvswitch/vswitch.ovsschema');
const WIREGUARD = inFolder('usr/bin/wireguard-go');
const VDE = inFolder('usr/bin/vde_plug');
/** The folders of libraries have the architecture's name. */
const ARCHITECTURE = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
const ENV = {
  LD_LIBRARY_PATH: [`usr/lib/${ARCHITECTURE}`, `lib/${ARCHITECTURE}`].map(inFolder).join(':'),
};
/** Where wireguard-go listens for its configuration, whatever its namespace. */
const WIREGUARD_SOCKETS = '/var/run/wireguard';
const WIREGUARD_MTU = 1420;

interface Peer {
  layout: Layout;
  programs: readonly string[];
  /** Those of the programs, and of libraries that few machines have. */
  packages: readonly string[];
}

const PEERS: readonly Peer[] = [
  {
    layout: { name: 'Open vSwitch', slow: true, brief: true, up: openVSwitch },
    programs: Object.values(OVS),
    packages: [
      ...['openvswitch-switch', 'openvswitch-common'],
      ...['libxdp1', 'libbpf1', 'libcap-ng0', 'libnuma1', 'libunbound8'],
    ],
  },
  {
    layout: { name: 'wireguard-go', slow: true, brief: true, up: wireguard },
    programs: [WIREGUARD],
    packages: ['wireguard-go'],
  },
  {
    layout: { name: 'vde', slow: true, brief: true, up: vde },
    programs: [VDE],
    packages: ['vde2', 'vdeplug', 'libvdeplug2', 'libexecs0'],
  },
];

/** A program that is left out, and why. */
export interface Left {
  name: string;
  reason: string;
}

/**
 * Downloads and unpacks the packages, unless that was done before.
 * @param only The name of the only one to find.
 */
export async function findPeers(only?: string): Promise<{ layouts: Layout[]; left: Left[] }> {
  const wanted = PEERS.filter(({ layout }) => only === undefined || layout.name === only);
  const trouble = await unpack(wanted);
  const layouts: Layout[] = [];
  const left: Left[] = [];
  for (const { layout, programs } of wanted) {
    const reason = trouble ?? (await whyNot(programs));
    if (reason === undefined) layouts.push(layout);
    else left.push({ name: layout.name, reason });
  }
  return { layouts, left };
}

async function unpack(peers: readonly Peer[]): Promise<string | undefined> {
  const lacking = peers.filter(({ programs }) => !programs.every((program) => existsSync(program)));
  if (lacking.length === 0) return undefined;
  const unmet = missing(['apt-get', 'dpkg-deb']);
  if (unmet.length > 0) return `its packages come from Debian, and this machine has no ${unmet.join(' and no ')}`;
  mkdirSync(FOLDER, { recursive: true });
  const inside = (script: string): ReturnType<typeof run> => run(['sh', '-c', `cd "${FOLDER}" && ${script}`]);
  const download = `apt-get -qq download ${lacking.flatMap(({ packages }) => packages).join(' ')}`;
  const { code, stderr } = await inside(`{ ${download} || { apt-get -qq update && ${download}; }; }`);
  if (code !== 0) return `apt-get cannot download it: ${lastLine(stderr)}`;
  for (const file of readdirSync(FOLDER).filter((name) => name.endsWith('.deb'))) {
    const unpacked = await inside(`dpkg-deb -x "${file}" . && rm "${file}"`);
    if (unpacked.code !== 0) return `dpkg-deb cannot unpack ${file}: ${lastLine(unpacked.stderr)}`;
  }
  return undefined;
}

const lastLine = (text: string): string => text.trim().split('\n').at(-1)!;

/** The libraries that the programs lack. */
async function whyNot(programs: readonly string[]): Promise<string | undefined> {
  const lacking = new Set<string>();
  for (const program of programs) {
    if (!existsSync(program)) return `the Debian packages do not contain ${program}`;
    const { stdout } = await run(['env', `LD_LIBRARY_PATH=${ENV.LD_LIBRARY_PATH}`, 'ldd', program]);
    for (const [, library] of stdout.matchAll(/(\S+) => not found/g)) lacking.add(library!);
  }
  return lacking.size === 0 ? undefined : `this machine has no ${[...lacking].join(', no ')}`;
}

/** Sets a container's device up, which is in its host's namespace, or in its own as `eth0`. */
async function container(side: Side, mtu: number, device?: string): Promise<void> {
  const { node, container: ns, address } = side;
  if (device !== undefined) await must(['ip', '-n', node, 'link', 'set', device, 'netns', ns, 'name', 'eth0']);
  await must(['ip', '-n', ns, 'addr', 'add', `${address}/${PREFIX}`, 'dev', 'eth0']);
  await must(['ip', '-n', ns, 'link', 'set', 'eth0', 'mtu', String(mtu), 'up']);
}

async function untilDevice(ns: string, device: string, program: Running): Promise<void> {
  await waitFor(`device ${device}`, async () => !program.running || (await devices(ns)).includes(device));
  if (!program.running) throw new Error(lastLine((await program.ended).stderr) || 'it ended at once');
}

const stopAll = async (running: readonly Running[]): Promise<void> =>
  void (await Promise.all(running.map((one) => one.stop())));

/**
 * Open vSwitch reads and writes packets of the underlay and of a veth pair itself. Its own stack has the underlay's
 * address, on a bridge, and it does not complete what the kernel's offloads leave open.
 */
async function openVSwitch({ lab, sides, directory }: Site): Promise<Up> {
  const running: Running[] = [];
  const down = async (): Promise<void> => {
    await stopAll(running);
    for (const { node, underlay } of sides) {
      // The bridges are TAPs that outlive the program. Not all devices exist if it did not start.
      for (const device of ['v0', 'br-int', 'br-phy']) await run(['ip', '-n', node, 'link', 'del', device]);
      await must(['ip', '-n', node, 'addr', 'replace', `${underlay}/24`, 'dev', 'eth0']);
      await must(['ip', '-n', node, 'neigh', 'flush', 'dev', 'eth0']); // the bridges' addresses
      await offloads(node, 'eth0', 'on');
    }
  };
  try {
    const daemons: Running[] = [];
    for (const [i, side] of sides.entries()) {
      const { node, underlay } = side;
      const own = join(directory, `ovs${i}`);
      rmSync(own, { recursive: true, force: true });
      mkdirSync(own);
      const env = { ...ENV, OVS_RUNDIR: own, OVS_LOGDIR: own, OVS_DBDIR: own };
      const words = Object.entries(env).map(([name, value]) => `${name}=${value}`);
      const database = join(own, 'conf.db');
      const socket = join(own, 'db.sock');
      const quiet = ['-vconsole:warn', '-vsyslog:off'];
      await must(['env', ...words, OVS.tool, 'create', database, SCHEMA]);
      running.push(lab.spawn([OVS.server, database, `--remote=punix:${socket}`, ...quiet], { ns: node, env }));
      await waitFor('ovsdb-server', () => existsSync(socket));
      const daemon = lab.spawn([OVS.daemon, `unix:${socket}`, ...quiet], { ns: node, env });
      running.unshift(daemon); // ends before its database
      daemons.push(daemon);
      await must([
        'ip',
        '-n',
        node,
        'link',
        'add',
        'v0',
        'type',
        'veth',
        'peer',
        'name',
        'eth0',
        'netns',
        side.container,
      ]);
      await offloads(node, 'eth0', 'off');
      await offloads(side.container, 'eth0', 'off');
      const tunnel = [
        `options:remote_ip=${sides[1 - i]!.underlay}`,
        `options:local_ip=${underlay}`,
        `options:key=${VNI}`,
      ];
      const netdev = (bridge: string): string[] => [
        'add-br',
        bridge,
        '--',
        'set',
        'bridge',
        bridge,
        'datapath_type=netdev',
      ];
      const change = (...commands: string[]): Promise<string> =>
        must(['env', ...words, OVS.control, '--timeout=20', `--db=unix:${socket}`, ...commands]);
      await change(...netdev('br-phy'), '--', 'add-port', 'br-phy', 'eth0');
      await untilDevice(node, 'br-phy', daemon);
      await must(['ip', '-n', node, 'addr', 'del', `${underlay}/24`, 'dev', 'eth0']);
      await must(['ip', '-n', node, 'addr', 'add', `${underlay}/24`, 'dev', 'br-phy']);
      await must(['ip', '-n', node, 'link', 'set', 'br-phy', 'up']);
      await change(...netdev('br-int'), '--', 'add-port', 'br-int', 'v0');
      await change('add-port', 'br-int', 'vx0', '--', 'set', 'interface', 'vx0', 'type=vxlan', ...tunnel);
      await must(['ip', '-n', node, 'link', 'set', 'v0', 'up']);
      await container(side, MTU);
    }
    return { vteps: daemons, bare: true, down };
  } catch (error) {
    await down();
    throw error;
  }
}

/** A private and a public key, in hexadecimal digits. */
function keys(): { own: string; public: string } {
  const { d, x } = generateKeyPairSync('x25519').privateKey.export({ format: 'jwk' });
  const hex = (text: string): string => Buffer.from(text, 'base64url').toString('hex');
  return { own: hex(d!), public: hex(x!) };
}

/**
 * wireguard-go carries IP packets and encrypts them. Its device is that of the container itself, without a bridge, which
 * makes its way shorter than that of a frame.
 */
async function wireguard({ lab, sides }: Site): Promise<Up> {
  const pairs = [keys(), keys()] as const;
  const running: Running[] = [];
  const down = (): Promise<void> => stopAll(running);
  try {
    for (const [i, side] of sides.entries()) {
      const device = `wg${process.pid}-${i}`;
      const program = lab.spawn([WIREGUARD, '-f', device], { ns: side.node, env: ENV });
      running.push(program);
      const socket = join(WIREGUARD_SOCKETS, `${device}.sock`);
      await untilDevice(side.node, device, program);
      await waitFor('the socket of wireguard-go', () => existsSync(socket));
      await configure(socket, [
        ...['set=1', `private_key=${pairs[i]!.own}`, 'listen_port=51820', `public_key=${pairs[1 - i]!.public}`],
        ...[`endpoint=${sides[1 - i]!.underlay}:51820`, 'allowed_ip=0.0.0.0/0'],
      ]);
      await container(side, WIREGUARD_MTU, device);
    }
    return { vteps: running, down };
  } catch (error) {
    await down();
    throw error;
  }
}

/** Sends a configuration to wireguard-go, and fails unless it takes it. */
async function configure(socket: string, lines: readonly string[]): Promise<void> {
  const answer = await new Promise<string>((resolve, reject) => {
    let text = '';
    const connection = connect(socket, () => connection.write(`${lines.join('\n')}\n\n`));
    connection.on('error', reject);
    connection.on('data', (data) => {
      text += data.toString();
      if (text.endsWith('\n\n')) connection.end(() => resolve(text));
    });
  });
  if (!answer.startsWith('errno=0\n')) throw new Error(`wireguard-go refuses its configuration: ${answer.trim()}`);
}

/** A plug of vde between a TAP and a UDP socket. */
async function vde({ lab, sides }: Site): Promise<Up> {
  const running: Running[] = [];
  const down = (): Promise<void> => stopAll(running);
  try {
    for (const [i, side] of sides.entries()) {
      const wire = `udp://${side.underlay}:4789->${sides[1 - i]!.underlay}:4789`;
      const program = lab.spawn([VDE, 'tap://vde0', wire], { ns: side.node, env: ENV });
      running.push(program);
      await untilDevice(side.node, 'vde0', program);
      await container(side, MTU, 'vde0');
    }
    return { vteps: running, down };
  } catch (error) {
    await down();
    throw error;
  }
}
