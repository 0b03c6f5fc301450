/**
 * A VTEP of ours on one host and the kernel's vxlan device on the other, set up as Docker does, and with the usual
 * manual setup: a default entry for the zero MAC address. Each with the first packet from either side.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ask, type AllCounters } from '../../src/host/index.js';
import { type DropReason, type FdbListing } from '../../src/vtep/index.js';
import { createUnderlay, must, ping, waitFor, type Running, type Underlay } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import {
  offloads,
  captureOf,
  countersOf,
  dropsOf,
  exchange,
  exercise,
  neighborOf,
  quietNamespace,
  read,
  record,
  requireClean,
  requireSound,
  sendDatagrams,
  serve,
  VlanSwitch,
  type Container,
} from '../support/traffic.js';

const NEEDS = ['root', 'tun', 'ip', 'bridge', 'ping', 'traceroute', 'ethtool', 'sysctl'];
const kernel = suiteWith('our VTEP and the kernel’s', [...NEEDS, 'tcpdump', 'tshark']);

const MAC1 = '02:42:0a:00:00:03';
const MAC2 = '02:42:0a:00:00:04';
const [IP1, IP2] = ['10.0.0.3', '10.0.0.4'];
const directory = mkdtempSync(join(tmpdir(), 'weft-kernel-'));
const control = join(directory, 'control');

let underlay: Underlay;
let vtep: Running;

/** How the kernel's device finds the VTEPs of addresses. */
type Layout = 'docker' | 'udpcsum' | 'noudpcsum';

/** Flags and static entries of each layout; the peer's address is 172.31.1.5. */
async function fill(layout: Layout, sandbox: string): Promise<void> {
  if (layout === 'docker') {
    await must(['ip', '-n', sandbox, 'neigh', 'add', IP1, 'lladdr', MAC1, 'dev', 'vxlan0', 'nud', 'permanent']);
    await must([
      'bridge',
      '-n',
      sandbox,
      'fdb',
      'add',
      MAC1,
      'dev',
      'vxlan0',
      'dst',
      '172.31.1.5',
      'self',
      'permanent',
    ]);
    return;
  }
  const everything = '00:00:00:00:00:00';
  await must([
    'bridge',
    '-n',
    sandbox,
    'fdb',
    'append',
    everything,
    'dev',
    'vxlan0',
    'dst',
    '172.31.1.5',
    'self',
    'permanent',
  ]);
}

/**
 * The kernel's side of a network: a vxlan device, made in the host's namespace, where its socket stays, and moved into
 * a sandbox with a bridge; and a container on a veth pair.
 * @returns The container's namespace and the sandbox's.
 */
async function kernelSide(name: string, vni: number, layout: Layout): Promise<{ ns: string; sandbox: string }> {
  const { lab, node2 } = underlay;
  const sandbox = await quietNamespace(lab, `s${name}`);
  const ns = await quietNamespace(lab, `k${name}`);
  const flags = layout === 'docker' ? ['learning', 'proxy', 'l2miss', 'l3miss'] : ['learning', layout];
  const device = ['name', `vx${vni}`, 'type', 'vxlan', 'id', String(vni), 'dstport', '4789', ...flags];
  await must(['ip', '-n', node2.ns, 'link', 'add', ...device]);
  await must(['ip', '-n', node2.ns, 'link', 'set', 'dev', `vx${vni}`, 'netns', sandbox, 'name', 'vxlan0']);
  const veth = ['name', `ve${vni}`, 'type', 'veth', 'peer', 'name', `vc${vni}`];
  await must(['ip', '-n', node2.ns, 'link', 'add', ...veth]);
  await must(['ip', '-n', node2.ns, 'link', 'set', 'dev', `ve${vni}`, 'netns', sandbox, 'name', 'veth0']);
  await must(['ip', '-n', node2.ns, 'link', 'set', 'dev', `vc${vni}`, 'netns', ns, 'name', 'eth0']);
  await must(['ip', '-n', sandbox, 'link', 'add', 'name', 'br0', 'type', 'bridge', 'mcast_snooping', '0']);
  for (const port of ['vxlan0', 'veth0'])
    await must(['ip', '-n', sandbox, 'link', 'set', 'dev', port, 'mtu', '1450', 'master', 'br0', 'up']);
  await must(['ip', '-n', sandbox, 'link', 'set', 'dev', 'br0', 'up']);
  await must(['ip', '-n', ns, 'link', 'set', 'dev', 'eth0', 'address', MAC2, 'mtu', '1450', 'up']);
  await must(['ip', '-n', ns, 'addr', 'add', `${IP2}/24`, 'dev', 'eth0']);
  await fill(layout, sandbox);
  return { ns, sandbox };
}

/** A network between both: our container and the kernel's, with a server in each. */
interface Network {
  ours: Container;
  theirs: Container;
  sandbox: string;
}

async function network(name: string, vni: number, layout: Layout): Promise<Network> {
  const { lab } = underlay;
  const { ns, sandbox } = await kernelSide(name, vni, layout);
  const [ours, theirs] = await Promise.all([
    serve(lab, await quietNamespace(lab, `o${name}`), IP1, `ours ${name}`),
    serve(lab, ns, IP2, `theirs ${name}`),
  ]);
  return { ours, theirs, sandbox };
}

async function startVtep(config: object): Promise<void> {
  const { lab, node1 } = underlay;
  const file = join(directory, 'config.json');
  writeFileSync(file, JSON.stringify({ local: node1.address, ...config }));
  vtep = await lab.startVtep({ ns: node1.ns, args: ['up', '--config', file, '--control', control] });
}

/** The configuration of a network's segment on our side. */
const segmentOf = (vni: number, layout: Layout): object =>
  layout === 'docker'
    ? { vni, endpoints: [{ ip: IP2, mac: MAC2, vtep: underlay.node2.address }] }
    : { vni, peers: [underlay.node2.address] };
const tap = (vni: number, { ours }: Network): object => ({
  ...{ name: `tap${vni}`, netns: ours.ns, vni, address: `${IP1}/24`, mac: MAC1 },
});

/** Runs the container traffic, and checks the direction of the very first datagram. */
async function exchangePings(
  vni: number,
  layout: Layout,
  { ours, theirs, sandbox }: Network,
  first: 'ours' | 'theirs',
) {
  const before = await countersOf(control);
  const capture = await captureOf(control, 6);
  await (first === 'ours' ? exercise(ours, theirs, 1450) : exercise(theirs, ours, 1450));
  const datagram = (await capture()).find(({ place }) => place === 'underlay')!;
  assert.is(datagram.direction, first === 'ours' ? 'out' : 'in');

  assert.is(await neighborOf(ours.ns, IP2), MAC2);
  assert.is(await neighborOf(theirs.ns, IP1), MAC1);
  const after = await countersOf(control);
  assert.equal(dropsOf(after), dropsOf(before));
  requireClean(after, Object.keys(dropsOf(before)) as DropReason[]);
  const { counts } = after.vtep.segments.find((segment) => segment.vni === vni)!;
  assert.is(counts.moved + counts.contradicted + counts['duplicate-address'], 0);
  const fdb = (await ask(control, { command: 'fdb', vni })) as FdbListing[];
  const { node1, node2 } = underlay;
  assert.equal(fdb.map((entry) => [entry.mac, entry.port ?? entry.vtep, entry.static]).sort(), [
    [MAC1, `tap${vni}`, false],
    [MAC2, node2.address, layout === 'docker'],
  ]);
  if (layout === 'docker') {
    assert.ok(counts['arp-answered'] >= 1);
    assert.ok(counts.flooded <= 1);
  } else {
    assert.is(counts['arp-answered'], 0);
    assert.ok(counts.flooded >= 1);
    const learned = await must(['bridge', '-n', sandbox, 'fdb', 'show', 'dev', 'vxlan0']);
    assert.match(learned, `${MAC1} dst ${node1.address} `);
  }
}

kernel.before(async () => {
  underlay = await createUnderlay({ prefix: 'kv' });
  for (const { ns } of [underlay.node1, underlay.node2]) await offloads(ns, 'eth0', 'off');
});

kernel.after(async () => {
  await underlay?.lab.teardown();
  rmSync(directory, { recursive: true, force: true });
});

/** Frames received by a container. */
async function received(ns: string, device: string): Promise<number> {
  const text = await must(['ip', '-n', ns, '-s', '-j', 'link', 'show', 'dev', device]);
  return (JSON.parse(text) as [{ stats64: { rx: { packets: number } } }])[0].stats64.rx.packets;
}

let docker: Network;
let plain: Network;
/** One trunk of ours, two networks of theirs. */
let vlan10: Network;
let vlan20: Network;
let trunk: string;
/** A network whose frames have VLAN tags, also in the tunnel. */
let tagged: { ours: Container; theirs: Container; ourTrunk: string; theirTrunk: string };
/** A container without traffic. */
let silent: string;

kernel('set up as by Docker, the first packet from our side', async () => {
  const { lab, router, node1, node2 } = underlay;
  [docker, plain, vlan10, vlan20] = await Promise.all([
    network('docker', 4097, 'docker'),
    network('plain', 4098, 'udpcsum'),
    network('vlan10', 100, 'docker'),
    network('vlan20', 200, 'docker'),
  ]);
  const { ns: theirTrunk } = await kernelSide('tagged', 300, 'udpcsum');
  const ourTrunk = await quietNamespace(lab, 'otagged');
  tagged = {
    ...{ ourTrunk, theirTrunk },
    ours: await serve(lab, await quietNamespace(lab, 'o30'), IP1, 'ours 30'),
    theirs: await serve(lab, await quietNamespace(lab, 'k30'), IP2, 'theirs 30'),
  };
  trunk = await quietNamespace(lab, 'trunk');
  silent = await quietNamespace(lab, 'silent');
  const split = { ...segmentOf(400, 'docker'), peers: [node2.address, '192.168.1.77'] };
  await startVtep({
    segments: [
      ...[
        segmentOf(4097, 'docker'),
        segmentOf(4098, 'udpcsum'),
        segmentOf(100, 'docker'),
        segmentOf(200, 'docker'),
        split,
      ],
      { ...segmentOf(300, 'udpcsum'), tagged: true },
    ],
    taps: [
      ...[tap(4097, docker), tap(4098, plain)],
      { name: 'trunk0', netns: trunk, vlans: { 10: 100, 20: 200 } },
      { name: 'eth0', netns: ourTrunk, vni: 300 },
      { name: 'eth0', netns: silent, vni: 400, address: `${IP1}/24`, mac: MAC1 },
    ],
  });
  // Each of the three addresses, twice: what follows counts and records only what the test sends.
  await waitFor('the announcements of the TAPs', async () => (await countersOf(control)).vtep.counts.announced === 6);
  const file = join(directory, 'docker.pcap');
  const tcpdump = await record(lab, router, 'eth1', file, 1000);
  await exchangePings(4097, 'docker', docker, 'ours');
  assert.is((await tcpdump.ended).code, 0);
  await requireSound(file, 4097, [node1.address]);
});

kernel('a kernel that leaves checksums and segmentation to the device between the hosts', async () => {
  const before = (await countersOf(control)).vtep.counts['checksums-filled'];
  for (const { ns } of [underlay.node1, underlay.node2]) await offloads(ns, 'eth0', 'on');
  try {
    const names = await Promise.all([exchange(docker.ours, docker.theirs), exchange(docker.theirs, docker.ours)]);
    assert.equal(names, ['theirs docker', 'ours docker']);
  } finally {
    for (const { ns } of [underlay.node1, underlay.node2]) await offloads(ns, 'eth0', 'off');
  }
  const counters = await countersOf(control);
  assert.ok(counters.vtep.counts['checksums-filled'] > before, 'or the kernel has changed its ways');
  requireClean(counters);
});

kernel('a kernel that floods and learns, with UDP checksums, the first packet from our side', async () => {
  await exchangePings(4098, 'udpcsum', plain, 'ours');
});

kernel('a trunk of ours, whose VLANs are two networks of the kernel’s with the same addresses', async () => {
  const ports = [
    { vid: 10, ns: vlan10.ours.ns, mac: MAC1, address: `${IP1}/24` },
    { vid: 20, ns: vlan20.ours.ns, mac: MAC1, address: `${IP1}/24` },
  ];
  const vlans = await VlanSwitch.create({ ns: trunk, device: 'trunk0' }, ports, 1450);
  assert.is(await ping(vlan10.ours.ns, IP2), 3);
  assert.is(await ping(vlan20.theirs.ns, IP1), 3);
  const names = await Promise.all([
    ...[exchange(vlan10.ours, vlan10.theirs), exchange(vlan10.theirs, vlan10.ours)],
    ...[exchange(vlan20.ours, vlan20.theirs), exchange(vlan20.theirs, vlan20.ours)],
  ]);
  assert.equal(names, ['theirs vlan10', 'ours vlan10', 'theirs vlan20', 'ours vlan20']);
  await vlans.close();
  requireClean(await countersOf(control));
});

kernel('tags inside the tunnel, for a segment that carries them', async () => {
  const port = { vid: 30, ns: tagged.ours.ns, mac: MAC1, address: `${IP1}/24` };
  const theirPort = { vid: 30, ns: tagged.theirs.ns, mac: '02:42:0a:00:1e:04', address: `${IP2}/24` };
  // A tag takes four bytes of the MTU.
  const ours = await VlanSwitch.create({ ns: tagged.ourTrunk, device: 'eth0' }, [port], 1446);
  const theirs = await VlanSwitch.create({ ns: tagged.theirTrunk, device: 'eth0' }, [theirPort], 1446);
  assert.is(await ping(tagged.theirs.ns, IP1, { size: 1446 - 28, dontFragment: true }), 3);
  const names = await Promise.all([exchange(tagged.ours, tagged.theirs), exchange(tagged.theirs, tagged.ours)]);
  assert.equal(names, ['theirs 30', 'ours 30']);
  await ours.close();
  await theirs.close();
  requireClean(await countersOf(control));
});

kernel('invalid datagrams are counted with the right reason, and none is delivered', async () => {
  const { lab, node1, node2 } = underlay;
  const header = '08000000 00019000'; // VNI 400
  const stranger = '02420a000063';
  const rest = `88b5 ${'00'.repeat(46)}`;
  const own = MAC1.replaceAll(':', '');
  const frame = `${own} ${stranger} ${rest}`;
  const bad: [DropReason, string][] = [
    ['datagram-truncated', ''],
    ['datagram-truncated', '08000000 000190'],
    ['vxlan-flag', `00000000 00019000 ${frame}`],
    ['vxlan-flag', `f7ffffff 00019000 ${frame}`],
    ['unknown-vni', `08000000 00019100 ${frame}`],
    ['unknown-vni', `08000000 00000000 ${frame}`],
    ['unknown-vni', `08000000 01900000 ${frame}`],
    ['frame-truncated', header],
    ['frame-truncated', `${header} ${own} ${stranger} 88`],
    ['vlan-unexpected', `${header} ${own} ${stranger} 8100 000a ${rest}`],
    ['source-group', `${header} ${own} 03420a000063 ${rest}`],
    ['reserved-group', `${header} 0180c2000000 ${stranger} ${rest}`],
    ['same-port', `${header} ${stranger} ${stranger} ${rest}`],
    ['split-horizon', `${header} ${MAC2.replaceAll(':', '')} ${stranger} ${rest}`],
  ];
  const expected: Partial<Record<DropReason, number>> = {};
  for (const [reason] of bad) expected[reason] = (expected[reason] ?? 0) + 1;
  const before = await received(silent, 'eth0');
  const segment = (counters: AllCounters) => counters.vtep.segments.find(({ vni }) => vni === 400)!.counts;
  const sent = segment(await countersOf(control))['datagrams-out'];

  // Nothing sent to another port arrives, valid or not.
  await sendDatagrams(node2.ns, node1.address, 4790, [`${header} ${frame}`, `00000000 00019000 ${frame}`]);
  await sendDatagrams(
    node2.ns,
    node1.address,
    4789,
    bad.map(([, data]) => data),
  );
  const total = await waitFor('the last of them', async () => {
    const { drops } = (await countersOf(control)).vtep;
    return drops['split-horizon'] === expected['split-horizon'] ? drops : undefined;
  });
  assert.ok(total);
  const { code, stdout, stderr } = await lab.runVtep({ args: ['show', 'counters', '--json', '--control', control] });
  assert.is(code, 0, stderr);
  const shown = JSON.parse(stdout) as AllCounters;
  assert.equal(dropsOf(shown), expected);
  assert.is(segment(shown)['frames-out'], 0);
  assert.is(segment(shown)['datagrams-out'], sent);
  assert.is(await received(silent, 'eth0'), before);

  // Valid datagrams arrive, with any reserved bit, unicast and broadcast, and do not go back into a tunnel.
  await sendDatagrams(node2.ns, node1.address, 4789, [
    `${header} ${frame}`,
    `ffffffff 000190ff ${frame}`,
    `${header} ffffffffffff ${stranger} ${rest}`,
  ]);
  await waitFor('three frames', async () => (await received(silent, 'eth0')) === before + 3);
  const after = await countersOf(control);
  assert.equal(dropsOf(after), expected);
  assert.is(segment(after)['frames-out'], 3);
  assert.is(segment(after)['datagrams-out'], sent);
});

kernel('set up as by Docker, the first packet from the kernel; datagrams of other hosts are dropped', async () => {
  const { node1, router } = underlay;
  await vtep.stop();
  [docker, plain] = await Promise.all([network('docker2', 5097, 'docker'), network('plain2', 5098, 'noudpcsum')]);
  await startVtep({
    peersOnly: true,
    segments: [segmentOf(5097, 'docker'), segmentOf(5098, 'noudpcsum')],
    taps: [tap(5097, docker), tap(5098, plain)],
  });
  await exchangePings(5097, 'docker', docker, 'theirs');
  const arp = 'ffffffffffff 02420a000063 0806 0001080006040001 02420a000063 0a000063 000000000000 0a000003';
  await sendDatagrams(router, node1.address, 4789, [`08000000 0013e900 ${arp}`]);
  await waitFor('the stranger to be refused', async () => (await countersOf(control)).vtep.drops['unknown-peer'] === 1);
});

kernel('a kernel that floods and learns, without UDP checksums, the first packet from the kernel', async () => {
  const { lab, router, node2 } = underlay;
  const file = join(directory, 'noudpcsum.pcap');
  const tcpdump = await record(lab, router, 'eth1', file, 20);
  await exchangePings(5098, 'noudpcsum', plain, 'theirs');
  assert.is((await tcpdump.ended).code, 0);
  const rows = await read(file, ['ip.src', 'udp.checksum', 'vxlan.vni']);
  const theirs = rows.filter((row) => row['ip.src']![0] === node2.address && row['vxlan.vni']![0] === '5098');
  assert.ok(theirs.length > 0);
  assert.ok(theirs.every((row) => Number(row['udp.checksum']![0]) === 0));
  const { code, stderr } = await vtep.stop();
  assert.is(code, 0);
  // The unknown sender of the test before, and nothing else.
  assert.match(
    stderr,
    /^[^\n]* warning: 1 datagram from 172\.31\.1\.1 for VNI 5097 was dropped: the sender is no peer of this segment; [^\n]*\n$/,
  );
});

kernel.run();
