/** Traffic between containers on an overlay, and checks of their VTEPs' counters. Has the requirements of `lab.ts`. */
import { fileURLToPath } from 'node:url';
import * as assert from 'uvu/assert';
import { ask, openTap, TapChannel, type AllCounters, type Captured } from '../../src/host/index.js';
import { type DropReason } from '../../src/vtep/index.js';
import { exec, must, ping, run, waitFor, type Lab, type Running } from './lab.js';

/** Bytes of every TCP transfer in each direction. */
const BULK = 5_000_000;
/** Datagrams that the server echoes. */
const DATAGRAMS = 60;
const PEER = fileURLToPath(new URL('peer.mjs', import.meta.url));

/** A namespace that acts as a container, and its server. */
export interface Container {
  ns: string;
  ip: string;
  server: Running;
}

/** A namespace without IPv6, whose solicitations would appear at random times. */
export async function quietNamespace(lab: Lab, name: string): Promise<string> {
  const ns = await lab.namespace(name);
  await exec(ns, ['sysctl', '-qw', 'net.ipv6.conf.all.disable_ipv6=1', 'net.ipv6.conf.default.disable_ipv6=1']);
  return ns;
}

/**
 * Switches the offloads of a device on or off. On, virtual devices leave checksums and segmentation to their peer; off,
 * the kernel does both before the frame leaves, as on a physical link.
 */
export async function offloads(ns: string, device: string, state: 'on' | 'off'): Promise<void> {
  await exec(ns, ['ethtool', '-K', device, ...['tx', 'tso', 'gso', 'gro'].flatMap((name) => [name, state])]);
}

/** Starts a server in a namespace; `name` is what it reports to clients. */
export async function serve(lab: Lab, ns: string, ip: string, name: string): Promise<Container> {
  const server = lab.spawn([process.execPath, PEER, 'serve', name, String(BULK)], { ns });
  await waitFor(`the server ${name}`, () => {
    assert.ok(server.running, server.stderr);
    return server.stdout.startsWith('ready\n');
  });
  return { ns, ip, server };
}

/**
 * Transfers data between a client and a server: 5 MB in each direction over TCP, and datagrams over UDP of up to two
 * packets in size. Fails unless each side received what the other one sent.
 * @returns The server's name.
 */
export async function exchange(client: { ns: string; ip: string }, server: Container): Promise<string> {
  const before = reports(server).length;
  const text = await exec(client.ns, [process.execPath, PEER, 'exchange', server.ip, String(BULK), String(DATAGRAMS)]);
  const mine = JSON.parse(text) as { name: string; datagrams: number; received: string; sent: string };
  const theirs = await waitFor(`the report of ${server.ip}`, () =>
    reports(server)
      .slice(before)
      .find(({ from }) => from === client.ip),
  );
  assert.is(mine.datagrams, DATAGRAMS, 'datagrams echoed unchanged');
  assert.is(theirs.received, mine.sent, `${server.ip} received what ${client.ip} sent`);
  assert.is(mine.received, theirs.sent, `${client.ip} received what ${server.ip} sent`);
  return mine.name;
}

function reports({ server }: Container): { from: string; received: string; sent: string }[] {
  return server.stdout
    .split('\n')
    .slice(1, -1)
    .map((line) => JSON.parse(line) as { from: string; received: string; sent: string });
}

/** Sends datagrams from a namespace; the payloads are hexadecimal digits. */
export async function sendDatagrams(ns: string, ip: string, port: number, datagrams: readonly string[]): Promise<void> {
  await exec(ns, [process.execPath, PEER, 'send', ip, String(port), ...datagrams.map((hex) => hex.replace(/\s/g, ''))]);
}

/** A connection that sends a line ten times per second and prints every line that it receives. */
export function talk(lab: Lab, ns: string, ip: string): Running {
  return lab.spawn([process.execPath, PEER, 'talk', ip], { ns });
}

/** Ping, path MTU, traceroute, TCP and UDP between two containers. `first` sends the very first packet. */
export async function exercise(first: Container, second: Container, mtu: number): Promise<void> {
  assert.is(await ping(first.ns, second.ip), 3, 'ping from the first');
  const ways = [
    [first, second],
    [second, first],
  ] as const;
  await Promise.all(
    ways.map(async ([from, to]) => {
      for (const size of [1400, mtu - 28])
        assert.is(await ping(from.ns, to.ip, { size, dontFragment: true, count: 2 }), 2, `${size} bytes`);
      assert.match(await tooLong(from.ns, to.ip, mtu - 28 + 1), `message too long, mtu=${mtu}`);
      const route = await exec(from.ns, ['traceroute', '-n', '-q1', '-m4', '-w2', to.ip]);
      assert.equal(
        [...route.matchAll(/^ *(\d+) +(\S+)/gm)].map(([, hop, by]) => `${hop} ${by}`),
        [`1 ${to.ip}`],
        'containers are one hop apart',
      );
    }),
  );
  await Promise.all(ways.map(([client, server]) => exchange(client, server)));
}

/**
 * The output of ping for two packets with DF that are too long: after the first one, the kernel may know the path MTU.
 */
export async function tooLong(ns: string, target: string, size: number): Promise<string> {
  const flags = ['-c2', '-i0.3', '-W2', '-n', '-Mdo', `-s${size}`];
  const { code, stdout, stderr } = await run(['ip', 'netns', 'exec', ns, 'ping', ...flags, target]);
  assert.is(code, 1, stdout);
  return stdout + stderr;
}

/** An access port of a `VlanSwitch`: a container's `eth0`. */
export interface Access {
  vid: number;
  ns: string;
  mac: string;
  /** With prefix length. */
  address: string;
}

/**
 * A VLAN switch with one trunk, in this process, since not every kernel has VLAN devices. It tags frames from its
 * access ports and untags frames from the trunk, which is bridged to a device in another namespace.
 */
export class VlanSwitch {
  #trunk!: TapChannel;
  readonly #ports = new Map<number, TapChannel>();

  /** @param trunk The device that carries tagged frames. */
  static async create(
    trunk: { ns: string; device: string },
    ports: readonly Access[],
    mtu: number,
  ): Promise<VlanSwitch> {
    const made = new VlanSwitch();
    const { ns } = trunk;
    made.#trunk = await tapIn(ns, 'tagged', (frame) => {
      if (frame.readUInt16BE(12) !== 0x8100) return;
      const untagged = Buffer.concat([frame.subarray(0, 12), frame.subarray(16)]);
      made.#ports.get(frame.readUInt16BE(14) & 0xfff)?.write(untagged, 0, untagged.length);
    });
    await must(['ip', '-n', ns, 'link', 'add', 'name', 'trunk', 'type', 'bridge', 'mcast_snooping', '0']);
    for (const device of ['tagged', trunk.device])
      await must(['ip', '-n', ns, 'link', 'set', 'dev', device, 'mtu', String(mtu), 'master', 'trunk', 'up']);
    await must(['ip', '-n', ns, 'link', 'set', 'dev', 'trunk', 'up']);
    for (const port of ports) {
      const channel = await tapIn(port.ns, 'eth0', (frame) => {
        made.send(Buffer.concat([frame.subarray(0, 12), Buffer.from([0x81, 0, 0, port.vid]), frame.subarray(12)]));
      });
      made.#ports.set(port.vid, channel);
      const set = ['ip', '-n', port.ns, 'link', 'set', 'dev', 'eth0'];
      await must([...set, 'address', port.mac, 'mtu', String(mtu)]);
      await must(['ip', '-n', port.ns, 'addr', 'add', port.address, 'dev', 'eth0']);
      await must([...set, 'up']);
    }
    return made;
  }

  /** Sends a frame on the trunk unchanged. */
  send(frame: Uint8Array): void {
    this.#trunk.write(frame, 0, frame.length);
  }

  async close(): Promise<void> {
    for (const channel of [this.#trunk, ...this.#ports.values()]) await channel.close();
  }
}

/** A TAP of this process in a namespace. */
async function tapIn(ns: string, name: string, frame: (frame: Buffer) => void): Promise<TapChannel> {
  const tap = await openTap('weft%d');
  await must(['ip', 'link', 'set', 'dev', tap.name, 'netns', ns, 'name', name]);
  return new TapChannel(tap.fd, 0, {
    frame: (bytes, offset, end) => frame(Buffer.from(bytes.subarray(offset, end))),
    lost: () => undefined,
  });
}

/** The MAC address of a neighbour in a namespace's ARP cache. */
export async function neighborOf(ns: string, ip: string): Promise<string | undefined> {
  const entries = JSON.parse(await must(['ip', '-n', ns, '-j', 'neigh', 'show', ip])) as { lladdr?: string }[];
  return entries[0]?.lladdr;
}

export async function countersOf(control: string): Promise<AllCounters> {
  return (await ask(control, { command: 'counters' })) as AllCounters;
}

/**
 * Starts to capture the next `count` packets of a VTEP. Resolves when the capture has begun.
 * @returns a function that waits for the packets.
 */
export async function captureOf(control: string, count: number): Promise<() => Promise<Captured[]>> {
  const packets = ask(control, { command: 'capture', count, seconds: 60 }) as Promise<Captured[]>;
  packets.catch(() => undefined); // a test that failed before does not await it
  // The VTEP does not report the start of a capture. It answers this request after it has started the capture, whose
  // connection it accepts first because of the delay.
  await new Promise((resolve) => setTimeout(resolve, 200));
  await countersOf(control);
  return () => packets;
}

/** The drop counters that are not 0. */
export function dropsOf({ vtep }: AllCounters): Partial<Record<DropReason, number>> {
  return Object.fromEntries(Object.entries(vtep.drops).filter(([, count]) => count > 0));
}

/** Fails if the engine counted an error, or if the drop reasons differ from `expected`. */
export function requireClean(counters: AllCounters, expected: readonly DropReason[] = []): void {
  const { writeErrors, sendErrors, receiveErrors } = counters.engine;
  // The VTEP that starts first announces its TAPs, twice, to a peer that may not listen, or whose host may not answer, yet.
  const { ECONNREFUSED: refused = 0, EHOSTUNREACH: unreachable = 0, ...others } = receiveErrors;
  assert.ok(refused + unreachable <= 4, `${refused} datagrams were refused, and ${unreachable} had no host to go to`);
  assert.equal({ writeErrors, sendErrors, others }, { writeErrors: {}, sendErrors: {}, others: {} });
  assert.equal(Object.keys(dropsOf(counters)).sort(), [...expected].sort(), JSON.stringify(dropsOf(counters)));
}

/** A packet's fields by tshark: for each field, its values in all layers. */
export type Row = Record<string, string[]>;

/** Captures at most `count` VXLAN datagrams on a device. Offloads decide how many datagrams a transfer takes. */
export async function record(lab: Lab, ns: string, device: string, file: string, count: number): Promise<Running> {
  const flags = ['-i', device, '-c', String(count), '-U', '--immediate-mode', '-Z', 'root', '-w', file];
  const tcpdump = lab.spawn(['tcpdump', ...flags, 'udp port 4789'], { ns });
  await waitFor('tcpdump to listen', () => {
    assert.ok(tcpdump.running, tcpdump.stderr);
    return /listening on/.test(tcpdump.stderr);
  });
  return tcpdump;
}

/** Reads fields of a capture with tshark, which verifies all checksums. */
export async function read(file: string, fields: readonly string[]): Promise<Row[]> {
  const checks = ['ip', 'udp', 'tcp'].flatMap((name) => ['-o', `${name}.check_checksum:TRUE`]);
  const flags = fields.flatMap((name) => ['-e', name]);
  const text = await must(['tshark', '-r', file, ...checks, '-T', 'fields', '-E', 'occurrence=a', ...flags]);
  return text
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      const values = line.split('\t');
      return Object.fromEntries(fields.map((name, i) => [name, values[i] === '' ? [] : values[i]!.split(',')]));
    });
}

/**
 * Checks a capture of the underlay with pings and TCP against RFC 7348, section 5: no malformed packets, no wrong or
 * missing checksums, outer or inner, and source ports of our VTEPs in the recommended range.
 */
export async function requireSound(file: string, vni: number, ours: readonly string[]): Promise<Row[]> {
  const rows = await read(file, [
    ...['_ws.malformed', 'udp.checksum.status', 'ip.checksum.status', 'tcp.checksum.status', 'icmp.checksum.status'],
    ...['udp.srcport', 'udp.dstport', 'udp.checksum', 'vxlan.flags', 'vxlan.gbp', 'vxlan.vni', 'vxlan.reserved8'],
    ...['ip.src', 'ipv6.src', 'icmp.type', 'tcp.port', 'arp.opcode'],
  ]);
  const senders = new Set<string>();
  for (const row of rows) {
    if (Number(row['vxlan.flags']?.[0]) === 0) continue; // a probe of the path MTU, which no VTEP takes for a frame
    const text = JSON.stringify(row);
    assert.equal(row['_ws.malformed'], [], text);
    for (const name of Object.keys(row))
      if (name.endsWith('.status'))
        assert.ok(
          row[name]!.every((status) => status === '1'),
          `${name} in ${text}`,
        );
    assert.is.not(Number(row['udp.checksum']![0]), 0, text);
    assert.is(row['udp.dstport']![0], '4789', text);
    const header = ['vxlan.flags', 'vxlan.gbp', 'vxlan.vni', 'vxlan.reserved8'].map((name) => Number(row[name]![0]));
    assert.equal(header, [0x0800, 0, vni, 0], text);
    const sender = [...row['ipv6.src']!, ...row['ip.src']!][0]!;
    if (ours.includes(sender)) assert.ok(Number(row['udp.srcport']![0]) >= 49_152, text);
    senders.add(sender);
  }
  assert.is(senders.size, 2);
  const types = new Set(rows.flatMap((row) => row['icmp.type']!));
  assert.ok(types.has('0') && types.has('8'), 'the capture has pings');
  assert.ok(
    rows.some((row) => row['tcp.port']!.length > 0),
    'the capture has TCP',
  );
  return rows;
}
