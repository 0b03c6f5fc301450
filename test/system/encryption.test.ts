/**
 * Three hosts with an encrypted segment and one in clear text. Engines are mixed: host 1 is `linux` with two workers, host 2 `dgram`,
 * host 3 `linux`. Host 3 knows no peer, and answers those that know it.
 */
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ask } from '../../src/host/index.js';
import { EncryptedHosts, type HostOptions } from '../support/encrypted-hosts.js';
import { eavesdrop, espIn, framesOf, piecesIn, requireFreshIvs, type SeenEsp } from '../support/esp-capture.js';
import { must, ping, run, waitFor, type Running } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { dropsOf, exchange, offloads, sendDatagrams, talk, tooLong } from '../support/traffic.js';

const encryption = suiteWith('hosts with an encrypted segment', [
  'root',
  'tun',
  'ip',
  'ping',
  'ethtool',
  'sysctl',
  'tcpdump',
]);

/** Most milliseconds until frames pass after a restart: requests are repeated after 0.2 s, and hints come once a second. */
const BACK = 5000;
/** Most milliseconds in which a transfer gets nothing while keys change. A lost association would take longer. */
const STALL = 2500;
/** In clear text, found on the wire; encrypted, not. */
const SECRET = Buffer.from('the payload that only the containers may read');
const KNOWN = [1, 2, 3] as const;
const OPTIONS: Record<number, HostOptions> = {
  1: { engine: 'linux', config: { workers: 2, keepTaps: true } },
  2: { engine: 'dgram' },
  // Its TAPs stay, because with them the container forgets the MAC addresses of others, which it cannot ask for without peers.
  3: { engine: 'linux', peers: [], config: { peersOnly: false, keepTaps: true } },
};

let hosts: EncryptedHosts;
let bridge: string;
/** The beginning of each packet to and from host 1 since the hosts started. */
let heads: Running;
const headFile = (): string => join(hosts.directory, 'heads.pcap');

const start = (i: number): Promise<Running> => hosts.start(i, OPTIONS[i]);
const pings = (from: number, to: string, count = 1): Promise<number> =>
  ping(hosts.containers[from]!.ns, to, { count, wait: 1 });
const reaches = (from: number, to: string): Promise<unknown> =>
  waitFor(`${from} to reach ${to}`, async () => (await pings(from, to)) === 1);

/** Milliseconds until a container reaches another one. */
async function timeToReach(from: number, to: string): Promise<number> {
  const began = performance.now();
  const { ns } = hosts.containers[from]!;
  // Each ping waits for 0.2 s only, so that the time is that of the network.
  await waitFor(`${from} to reach ${to}`, async () => (await ping(ns, to, { count: 1, wait: 0.2 })) === 1);
  return performance.now() - began;
}

/** The ESP packets of host 1 so far. */
const seen = (): SeenEsp[] => espIn(framesOf(headFile()));

/** Reasons to drop flooded frames, which are there until all addresses are learned. */
const FLOODED: readonly string[] = ['no-receiver', 'split-horizon'];

/** The drop reasons of a host, but for flooded frames and those that the test expects. */
async function complaints(i: number, expected: readonly string[] = []): Promise<string[]> {
  const drops = Object.keys(dropsOf(await hosts.counters(i)));
  return drops.filter((name) => !FLOODED.includes(name) && !expected.includes(name));
}

encryption.before(async () => {
  hosts = await EncryptedHosts.create('en', 3);
  bridge = await hosts.lab.namespace('bridge');
  await must(['ip', '-n', bridge, 'link', 'add', 'br0', 'type', 'bridge', 'mcast_snooping', '0']);
  await must(['ip', '-n', bridge, 'link', 'set', 'br0', 'up']);
  for (const i of KNOWN) {
    const addresses = [`${hosts.underlay(i)}/24`, `${hosts.underlay(i, 6)}/64`];
    await hosts.lab.join(
      { ns: hosts.nodes[i]!, device: 'eth0', addresses },
      { ns: bridge, device: `port${i}`, addresses: [] },
    );
    await must(['ip', '-n', bridge, 'link', 'set', `port${i}`, 'master', 'br0']);
    await offloads(hosts.nodes[i]!, 'eth0', 'off');
  }
  heads = await eavesdrop(hosts.lab, bridge, 'port1', headFile(), 96);
  await Promise.all(KNOWN.map(start));
});

encryption.after(async () => {
  await hosts?.teardown();
});

encryption('ping, TCP and UDP pass between all three hosts, and the segment in clear text is as before', async () => {
  const { containers } = hosts;
  // Host 3 cannot ask for a MAC address: it knows no peer to ask.
  for (const [from, to] of [
    [1, 2],
    [2, 3],
    [1, 3],
  ] as const) {
    await reaches(from, hosts.sealed(to));
    await reaches(from, hosts.clear(to));
  }
  await Promise.all([
    exchange({ ns: containers[1]!.ns, ip: hosts.sealed(1) }, containers[2]!),
    exchange({ ns: containers[2]!.ns, ip: hosts.sealed(2) }, containers[3]!),
    exchange({ ns: containers[3]!.ns, ip: hosts.sealed(3) }, containers[1]!),
    exchange({ ns: containers[1]!.ns, ip: hosts.clear(1) }, hosts.clearly(3)),
  ]);
  for (const i of KNOWN) {
    assert.equal(await complaints(i), [], `host ${i}`);
  }
  for (const i of [1, 2]) {
    const keys = await hosts.keysOf(i);
    for (const other of KNOWN) if (other !== i) assert.is(keys[hosts.underlay(other)], 1, `${i} to ${other}`);
  }
});

encryption('the MTU of the encrypted segment is exact, and a longer packet gets an ICMP error with it', async () => {
  const { ns } = hosts.containers[1]!;
  // IPv4 20, UDP 8, ESP 8, IV 8, UDP 8, VXLAN 8, Ethernet 14, trailer 2, ICV 16.
  const mtu = 1500 - 92;
  assert.is(await ping(ns, hosts.sealed(2), { size: mtu - 28, dontFragment: true, count: 1 }), 1);
  assert.match(await tooLong(ns, hosts.sealed(2), mtu - 28 + 1), `mtu=${mtu}`);
  assert.is(await ping(ns, hosts.clear(2), { size: 1450 - 28, dontFragment: true, count: 1 }), 1);
});

encryption(
  'nothing of the payload is on the wire, and the same eavesdropper reads that of the other segment',
  async () => {
    const file = join(hosts.directory, 'full.pcap');
    const full = await eavesdrop(hosts.lab, bridge, 'port1', file);
    const { ns } = hosts.containers[1]!;
    const hex = SECRET.toString('hex');
    await exchangeOf(hosts.sealed(2), hex);
    const sealed = framesOf(file);
    const talking = talk(hosts.lab, ns, hosts.sealed(2));
    await waitFor('lines', () => talking.stdout.includes('line 12\n'));
    await talking.stop();
    const { stdout } = await run([
      'ip',
      'netns',
      'exec',
      ns,
      'ping',
      '-c2',
      '-i0.2',
      '-W2',
      '-s600',
      `-p${hex.slice(0, 32)}`,
      hosts.sealed(2),
    ]);
    assert.match(stdout, ' 2 received');
    const before = framesOf(file);
    assert.ok(espIn(before).length > espIn(sealed).length);
    for (const text of [SECRET, Buffer.from(talking.stdout), SECRET.subarray(0, 16)])
      assert.equal(piecesIn(before, text), [], 'pieces of what was encrypted');
    await exchangeOf(hosts.clear(2), hex);
    await waitFor('the payload in clear text', () => piecesIn(framesOf(file), SECRET).length === SECRET.length - 7);
    await full.stop();
  },
);

/** Sends the payload by UDP to a container on host 2, whose server returns it, and waits for a ping behind it. */
async function exchangeOf(to: string, hex: string): Promise<void> {
  await sendDatagrams(hosts.containers[1]!.ns, to, 40_001, [hex, hex, hex]);
  await reaches(1, to);
}

encryption('three rotations of the key during a transfer: no reset, and no stall', async () => {
  const { lab, containers } = hosts;
  const streams = [
    stream(lab, containers[1]!.ns, hosts.sealed(2)),
    stream(lab, containers[3]!.ns, hosts.sealed(1)),
    stream(lab, containers[2]!.ns, hosts.clear(3)),
  ];
  for (const one of streams) await waitFor('a stream', () => one.stdout.startsWith('streaming'));
  for (const number of [2, 3, 4]) {
    assert.is(hosts.rotate(), number);
    for (const i of KNOWN) {
      hosts.copyKeys(i);
      await ask(hosts.control(i), { command: 'reload' });
    }
    await waitFor(`key ${number} to be in use`, async () =>
      (await Promise.all(KNOWN.map((i) => hosts.keysOf(i)))).every((keys, at) =>
        KNOWN.every((other) => other === at + 1 || (keys[hosts.underlay(other)] ?? number) === number),
      ),
    );
  }
  for (const one of streams) {
    const { code, stdout, stderr } = await one.stop();
    assert.is(code, 0, stderr);
    const { sent, received, bytes, stall } = JSON.parse(stdout.split('\n')[1]!) as Record<string, number>;
    assert.is(received, sent, 'the hash of what came back');
    console.log(`# ${bytes} bytes during three rotations, longest pause ${stall} ms`);
    assert.ok(stall! < STALL, `nothing arrived for ${stall} ms`);
  }
});

const stream = (lab: EncryptedHosts['lab'], ns: string, to: string): Running =>
  lab.spawn([process.execPath, 'test/support/peer.mjs', 'stream', to], { ns });

encryption(
  'after kill -9, either side is back in a few seconds, also if only the other one knows it as a peer',
  async () => {
    const spis = new Set(seen().map(({ spi }) => spi));
    // Host 1 keeps its TAPs, and knows the others. Host 2 knows the others; host 3 knows none of them.
    for (const [i, from, to] of [
      [1, 2, 1],
      [2, 1, 2],
      [3, 1, 3],
      [1, 3, 1],
    ] as const) {
      await hosts.vteps[i]!.stop('SIGKILL');
      await start(i);
      const milliseconds = await timeToReach(from, hosts.sealed(to));
      console.log(`# host ${i} restarted: back after ${Math.round(milliseconds)} ms`);
      assert.ok(milliseconds < BACK, `host ${i} was back only after ${milliseconds} ms`);
      await reaches(to, hosts.sealed(from));
    }
    // Every start has associations of its own.
    const now = new Set(seen().map(({ spi }) => spi));
    assert.ok(now.size >= spis.size + 8, `${spis.size} SPIs before, ${now.size} after four restarts`);
  },
);

encryption('an idle host announces a new TAP, and its segment may go right after that', async () => {
  const vni = 101;
  const mac = '02:42:0a:01:01:02';
  for (const i of [2, 3])
    await ask(hosts.control(i), {
      ...{ command: 'add-segment', vni, keyFile: hosts.keyFile(i), peers: [hosts.underlay(5 - i)] },
    });
  const netns = hosts.containers[3]!.ns;
  const attach = (name: string, own: string): Promise<unknown> =>
    ask(hosts.control(3), { command: 'attach', name, netns, vni, address: '10.3.0.3/24', mac: own });
  const announced = async (): Promise<number> => (await hosts.counters(3)).vtep.counts.announced;
  const knows = async (): Promise<boolean> =>
    ((await ask(hosts.control(2), { command: 'fdb', vni })) as { mac: string }[]).some((one) => one.mac === mac);
  await attach('first', '02:42:0a:01:01:01');
  await waitFor('keys', async () => (await hosts.keysOf(3, `vni-${vni}`))[hosts.underlay(2)] !== undefined);
  await ask(hosts.control(3), { command: 'detach', name: 'first', netns });
  // Nothing else leaves host 3 now.
  const before = await announced();
  await attach('second', mac);
  await waitFor('announcements', async () => (await announced()) >= before + 2);
  await waitFor('host 2 to know the new MAC address', knows, 2000);
  await ask(hosts.control(3), { command: 'detach', name: 'second', netns });
  await ask(hosts.control(3), { command: 'remove-segment', vni });
  await ask(hosts.control(2), { command: 'remove-segment', vni });
  await reaches(1, hosts.sealed(3));
});

encryption('no association has used an IV twice: two workers, rotations, restarts', async () => {
  const { containers } = hosts;
  // Both workers of host 1 at once, by flows of many ports.
  const to = (from: number, other: number): Promise<string> =>
    exchange({ ns: containers[from]!.ns, ip: hosts.sealed(from) }, containers[other]!);
  for (let i = 0; i < 2; i++) await Promise.all([to(1, 2), to(1, 3), to(2, 1)]);
  await heads.stop();
  const packets = seen();
  const spis = requireFreshIvs(packets);
  console.log(`# ${packets.length} ESP packets by ${spis.size} associations`);
  // For each packet, the IV is the extended sequence number, whose high half is still 0.
  for (const { sequence, iv } of packets) assert.is(Number(`0x${iv}`), sequence);
  const counts = new Map<number, number>();
  for (const { from, spi } of packets) if (from === hosts.underlay(1)) counts.set(spi, (counts.get(spi) ?? 0) + 1);
  // The SPIs of the workers follow each other.
  const isBusy = (spi: number): boolean => (counts.get(spi) ?? 0) > 20;
  assert.ok(
    [...counts.keys()].some((spi) => isBusy(spi) && isBusy(spi + 1)),
    'both workers have sent to one host',
  );
});

encryption('over IPv6, with the dgram engine on both sides', async () => {
  for (const i of KNOWN) await hosts.vteps[i]!.stop();
  const options = (i: number): HostOptions => ({ engine: 'dgram', family: 6, peers: [3 - i] });
  await Promise.all([1, 2].map((i) => hosts.start(i, options(i))));
  await reaches(1, hosts.sealed(2));
  const { ns } = hosts.containers[1]!;
  const mtu = 1500 - 112;
  assert.is(await ping(ns, hosts.sealed(2), { size: mtu - 28, dontFragment: true, count: 1 }), 1);
  assert.match(await tooLong(ns, hosts.sealed(2), mtu - 28 + 1), `mtu=${mtu}`);
  await exchange({ ns, ip: hosts.sealed(1) }, hosts.containers[2]!);
  await hosts.vteps[1]!.stop();
  await hosts.start(1, { ...options(1), engine: 'linux' });
  await reaches(2, hosts.sealed(1));
  await exchange({ ns, ip: hosts.sealed(1) }, hosts.containers[2]!);
  for (const i of [1, 2]) assert.equal(await complaints(i, ['esp-unknown-spi', 'too-big']), []);
});

encryption.run();
