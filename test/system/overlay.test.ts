/** Two hosts behind a router with a VTEP of ours on each, and containers that use the overlay. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { ask, type AllCounters, type Captured } from '../../src/host/index.js';
import { type CountName, type Explanation, type FdbListing } from '../../src/vtep/index.js';
import { createUnderlay, devices, exec, must, ping, waitFor, type Running, type Underlay } from '../support/lab.js';
import { fromHex } from '../support/hex.js';
import { suiteWith } from '../support/needs.js';
import {
  offloads,
  captureOf,
  countersOf,
  exchange,
  exercise,
  neighborOf,
  quietNamespace,
  record,
  requireClean,
  requireSound,
  serve,
  talk,
  tooLong,
  VlanSwitch,
  type Container,
} from '../support/traffic.js';

const NEEDS = ['root', 'tun', 'ip', 'ping', 'traceroute', 'ethtool', 'sysctl'];
const overlay = suiteWith('two hosts with VTEPs', [...NEEDS, 'tcpdump', 'tshark']);

const VNI = 4097;
const MAC1 = '02:42:0a:00:00:03';
const MAC2 = '02:42:0a:00:00:04';
const directory = mkdtempSync(join(tmpdir(), 'weft-overlay-'));
const control = (which: 1 | 2): string => join(directory, `control${which}`);

let underlay: Underlay;
let c1: Container;
let c2: Container;
/** The VTEPs of the current test. */
let running: [Running, Running];
/** Counters after both had announced their TAPs. The first one may have announced its own before its peer ran. */
let base: [AllCounters, AllCounters] | undefined;

/** Flags of one side. */
function side(which: 1 | 2, more: readonly string[], family: 'address' | 'address6'): { ns: string; args: string[] } {
  const [here, there] = which === 1 ? [underlay.node1, underlay.node2] : [underlay.node2, underlay.node1];
  const [container, mac] = which === 1 ? [c1, MAC1] : [c2, MAC2];
  return {
    ns: here.ns,
    args: [
      ...['up', '--vni', String(VNI), '--local', here[family], '--peer', there[family], '--control', control(which)],
      ...['--tap', 'eth0', '--netns', container.ns, '--address', `${container.ip}/24`, '--mac', mac, ...more],
    ],
  };
}

/** Starts both sides, with the endpoints of both containers if the test needs them. */
async function pair(
  options: { flags?: string[]; endpoints?: boolean; family?: 'address' | 'address6' } = {},
): Promise<void> {
  const { flags = [], endpoints = true, family = 'address' } = options;
  const known = [`${c1.ip},${MAC1},${underlay.node1[family]}`, `${c2.ip},${MAC2},${underlay.node2[family]}`];
  const more = [...flags, ...(endpoints ? ['--endpoint', ...known] : [])];
  running = await Promise.all([
    underlay.lab.startVtep(side(1, more, family)),
    underlay.lab.startVtep(side(2, more, family)),
  ]);
  await announced(2, 2);
}

/** Waits until the VTEPs have sent this many announcements of their TAPs, and records their counters. */
async function announced(...counts: [number, number]): Promise<void> {
  const both = async (): Promise<[AllCounters, AllCounters]> => [
    await countersOf(control(1)),
    await countersOf(control(2)),
  ];
  await waitFor('both to have announced their TAPs', async () =>
    (await both()).every(({ vtep }, i) => vtep.counts.announced === counts[i]),
  );
  await new Promise((resolve) => setTimeout(resolve, 200)); // the last one is in transit
  base = await both();
}

/** Datagrams of an announcement that reached no VTEP. */
function unheard(from: 0 | 1, to: 0 | 1): number {
  return base === undefined ? 0 : base[from].engine.datagramsSent - base[to].engine.datagramsReceived;
}

/** Both sides' counters, once all datagrams have arrived. */
function settled() {
  return waitFor('all datagrams to arrive', async () => {
    const [one, two] = [await countersOf(control(1)), await countersOf(control(2))];
    const arrived =
      one.engine.datagramsSent === two.engine.datagramsReceived + unheard(0, 1) &&
      two.engine.datagramsSent === one.engine.datagramsReceived + unheard(1, 0) &&
      one.engine.sendQueue + two.engine.sendQueue === 0;
    return arrived ? ([one, two] as const) : undefined;
  });
}

/** MAC addresses that a side has learned from the underlay, each with its VTEP. */
async function learnedBehindVteps(which: 1 | 2): Promise<[string, string][]> {
  const fdb = (await ask(control(which), { command: 'fdb' })) as FdbListing[];
  return fdb.flatMap(({ mac, vtep, static: fixed }) => (vtep === null || fixed ? [] : [[mac, vtep]]));
}

/** Log lines about a peer that was away for a while. */
const PEER_AWAY = /^(?:\S+ (?:warning: VTEP \S+ is unreachable|info: VTEP \S+ is reachable again)[^\n]*\n)*$/;

/** Ends both sides, and checks their exit codes and logs. */
async function stop(log = /^$/): Promise<void> {
  for (const one of running) {
    const { code, stderr } = await one.stop();
    assert.is(code, 0, stderr);
    assert.match(stderr, log);
  }
}

overlay.before(async () => {
  underlay = await createUnderlay({ prefix: 'ov' });
  const { lab, node1, node2 } = underlay;
  for (const { ns } of [node1, node2]) await offloads(ns, 'eth0', 'off');
  c1 = await serve(lab, await quietNamespace(lab, 'c1'), '10.0.0.3', 'c1');
  c2 = await serve(lab, await quietNamespace(lab, 'c2'), '10.0.0.4', 'c2');
});

overlay.after.each(() => underlay?.lab.killVteps());

overlay.after(async () => {
  await underlay?.lab.teardown();
  rmSync(directory, { recursive: true, force: true });
});

overlay('ARP proxy: everything works, and the underlay carries no ARP and only valid packets', async () => {
  await pair();
  const { lab, router, node1, node2 } = underlay;
  const file = join(directory, 'proxy.pcap');
  const tcpdump = await record(lab, router, 'eth1', file, 1000);
  await exercise(c1, c2, 1450);
  const [one, two] = await settled();
  assert.is((await tcpdump.ended).code, 0);
  const rows = await requireSound(file, VNI, [node1.address, node2.address]);
  assert.ok(
    rows.every((row) => row['arp.opcode']!.length === 0),
    'the proxies have answered all ARP',
  );
  assert.is(await neighborOf(c1.ns, c2.ip), MAC2);
  assert.is(await neighborOf(c2.ns, c1.ip), MAC1);
  for (const counters of [one, two]) {
    requireClean(counters);
    const { counts } = counters.vtep;
    assert.ok(counts['arp-answered'] >= 1);
    for (const name of ['moved', 'contradicted', 'duplicate-address', 'fragmentation-needed'] as const)
      assert.is(counts[name], 0, name);
  }
  // Not even to its own container, whose port it knows from the announcement.
  const since = (counters: AllCounters, i: 0 | 1, name: CountName): number =>
    counters.vtep.counts[name] - base![i].vtep.counts[name];
  assert.equal([since(one, 0, 'flooded'), since(two, 1, 'flooded')], [0, 0]);
  assert.is(since(one, 0, 'datagrams-out'), since(two, 1, 'datagrams-in'));
  assert.is(since(one, 0, 'datagram-bytes-out'), since(two, 1, 'datagram-bytes-in'));
  await stop();
});

overlay('capture, show and explain agree with the traffic', async () => {
  await pair();
  const { lab, node2 } = underlay;
  const capture = await captureOf(control(1), 8);
  assert.is(await ping(c1.ns, c2.ip, { count: 1 }), 1);
  await exec(c1.ns, ['ping', '-c1', '-W1', '-q', '10.0.0.99']).catch(() => undefined); // no endpoint has it
  const packets = await capture();
  assert.equal(
    packets.map(({ place, direction }) => `${place} ${direction}`),
    [
      ...['eth0 in', 'eth0 out'], // ARP, which the proxy answers
      ...['eth0 in', 'underlay out', 'underlay in', 'eth0 out'], // echo request and reply
      ...['eth0 in', 'underlay out'], // ARP for an unknown address, flooded
    ],
  );
  // Compares each received packet and the packets that it caused with explain.
  for (let i = 0; i < packets.length;) {
    const cause = packets[i++]!;
    const effects: Captured[] = [];
    while (packets[i]?.direction === 'out') effects.push(packets[i++]!);
    const explained = (await ask(
      control(1),
      cause.place === 'eth0'
        ? { command: 'explain', port: 'eth0', frame: cause.data }
        : { command: 'explain', from: cause.source!.address, datagram: cause.data },
    )) as Explanation;
    assert.is(explained.dropped, null);
    assert.equal(
      [explained.delivered, explained.transmitted],
      [
        effects.filter(({ place }) => place !== 'underlay').map(({ place }) => place),
        effects.flatMap(({ destination }) => destination?.address ?? []),
      ],
    );
  }
  const [request, datagram] = [packets[2]!, packets[3]!];
  assert.is(datagram.data, `0800000000100100${request.data}`, 'the frame, untouched behind its header');
  assert.equal(datagram.destination, { address: node2.address, port: 4789 });

  // The program prints the same.
  const reported = await Promise.all(
    [
      ['explain', '--control', control(2), '--from', underlay.node1.address, '--datagram', datagram.data],
      ['show', 'fdb', '--json', '--control', control(1)],
    ].map((args) => lab.runVtep({ args })),
  );
  assert.match(reported[0]!.stdout, /^=> leaves by eth0$/m);
  assert.equal(
    (JSON.parse(reported[1]!.stdout) as FdbListing[]).map(({ mac, port, vtep }) => [mac, port, vtep]).sort(),
    [
      [MAC1, 'eth0', null],
      [MAC2, null, node2.address],
    ],
  );
  for (const counters of await settled()) requireClean(counters);
  await stop();
});

overlay(
  'the proxy with the VTEP’s own address: all neighbours have one MAC address, and everything works',
  async () => {
    await pair({ flags: ['--proxy', 'vtep'] });
    await exercise(c1, c2, 1450);
    const [one, two] = await settled();
    const own = `02:76:00:${VNI.toString(16)
      .padStart(6, '0')
      .replace(/(..)(?=.)/g, '$1:')}`;
    assert.is(await neighborOf(c1.ns, c2.ip), own);
    assert.is(await neighborOf(c2.ns, c1.ip), own);
    for (const counters of [one, two]) {
      requireClean(counters);
      assert.ok(counters.vtep.counts['arp-answered'] >= 1);
    }
    const floodedBefore = base!.map(({ vtep }) => vtep.counts.flooded);
    assert.equal([one.vtep.counts.flooded, two.vtep.counts.flooded], floodedBefore);
    await stop();
  },
);

overlay(
  'peers alone: ARP is flooded and the rest learned, and a VTEP that is killed and started again goes on',
  async () => {
    const flags = ['--proxy', 'off'];
    await pair({ flags, endpoints: false });
    const { lab, node1, node2 } = underlay;
    await exercise(c1, c2, 1450);
    const sides = await settled();
    for (const counters of sides) {
      requireClean(counters);
      const { counts } = counters.vtep;
      assert.is(counts['arp-answered'], 0);
      assert.ok(counts.flooded >= 1 && counts.flooded < 10, String(counts.flooded));
      assert.equal([counts.learned, counts.moved], [2, 0]);
    }
    for (const [which, there] of [
      [1, [MAC2, node2.address]],
      [2, [MAC1, node1.address]],
    ] as const)
      assert.equal(await learnedBehindVteps(which), [there]);

    const talking = talk(lab, c1.ns, c2.ip);
    const answers = (): number => talking.stdout.split('\n').length - 1;
    await waitFor('the first answers', () => answers() >= 3);
    await running[1].stop('SIGKILL');
    await waitFor('the device to go', async () => (await devices(c2.ns)).length === 1);
    const before = answers();
    running[1] = await lab.startVtep(side(2, flags, 'address'));
    await waitFor('the connection to go on', () => answers() > before + 10);
    assert.equal(
      talking.stdout.split('\n').slice(0, -1),
      Array.from({ length: answers() }, (_, i) => `line ${i}`),
    );
    assert.is(await ping(c1.ns, c2.ip), 3);
    assert.is(await ping(c2.ns, c1.ip), 3);
    await talking.stop();
    requireClean(await countersOf(control(2)));
    await stop(PEER_AWAY); // a restart that takes 2 s or more is reported
  },
);

overlay('an underlay of IPv6 carries IPv4', async () => {
  await pair({ family: 'address6' });
  const { lab, router, node1, node2 } = underlay;
  const file = join(directory, 'ipv6.pcap');
  const tcpdump = await record(lab, router, 'eth2', file, 1000);
  await exercise(c1, c2, 1430);
  for (const counters of await settled()) requireClean(counters);
  assert.is((await tcpdump.ended).code, 0);
  await requireSound(file, VNI, [node1.address6, node2.address6]);
  await stop();
});

/**
 * A trunk with both segments on host 1, an access port for each on host 2, and on both a port for a moving container.
 */
async function twoSegments(places: { trunk: string; c4: string; x1: string; x2: string }): Promise<void> {
  const { lab, node1, node2 } = underlay;
  const start = (which: 1 | 2, taps: object[]): Promise<Running> => {
    const [here, there] = which === 1 ? [node1, node2] : [node2, node1];
    const segments = [
      { vni: 100, peers: [there.address] },
      { vni: 200, peers: [there.address], mtu: 1300 },
    ];
    const file = join(directory, `config${which}.json`);
    writeFileSync(file, JSON.stringify({ local: here.address, segments, taps }));
    return lab.startVtep({ ns: here.ns, args: ['up', '--config', file, '--control', control(which)] });
  };
  // Containers keep the default MTU, which ignores the underlay.
  running = await Promise.all([
    start(1, [
      { name: 'trunk0', netns: places.trunk, vlans: { 10: 100, 20: 200 }, mtu: 1450 },
      { name: 'spare', netns: places.x1, vni: 100 },
    ]),
    start(2, [
      { name: 'access100', netns: c2.ns, vni: 100, address: `${c2.ip}/24`, mac: MAC2, mtu: 1450 },
      { name: 'access200', netns: places.c4, vni: 200, address: `${c2.ip}/24`, mac: MAC2, mtu: 1450 },
      { name: 'spare', netns: places.x2, vni: 100 },
    ]),
  ]);
  await announced(0, 4);
}

overlay(
  'two segments in one process, a trunk and access ports; packets beyond the MTU; a moving container',
  async () => {
    const { lab, node1, node2, router } = underlay;
    for (const [ns, device] of [
      [node1.ns, 'eth0'],
      [router, 'eth1'],
      [router, 'eth2'],
      [node2.ns, 'eth0'],
    ] as const)
      await must(['ip', '-n', ns, 'link', 'set', 'dev', device, 'mtu', '1400']);
    const x1 = await quietNamespace(lab, 'x1');
    const x2 = await quietNamespace(lab, 'x2');
    const c3 = await serve(lab, await quietNamespace(lab, 'c3'), c1.ip, 'c3');
    const c4 = await serve(lab, await quietNamespace(lab, 'c4'), c2.ip, 'c4');
    const trunk = await quietNamespace(lab, 'trunk');
    await twoSegments({ trunk, c4: c4.ns, x1, x2 });
    // The same addresses in both VLANs: only the segments separate them.
    const ports = [
      { vid: 10, ns: c1.ns, mac: MAC1, address: `${c1.ip}/24` },
      { vid: 20, ns: c3.ns, mac: MAC1, address: `${c3.ip}/24` },
    ];
    const vlans = await VlanSwitch.create({ ns: trunk, device: 'trunk0' }, ports, 1450);
    assert.match(running[0].stdout, /^segment 100: MTU 1350 \(eth0 towards 192\.168\.1\.25 has 1400, less 50\)/m);

    // TCP finds the path MTU from either side, and each VLAN reaches its own segment.
    const pairs = [
      [c1, c2, 'c2', 1350],
      [c2, c1, 'c1', 1350],
      [c3, c4, 'c4', 1300],
      [c4, c3, 'c3', 1300],
    ] as const;
    const names = await Promise.all(pairs.map(([client, server]) => exchange(client, server)));
    assert.equal(
      names,
      pairs.map(([, , name]) => name),
    );
    const learnsMtu = async ([from, to, , mtu]: (typeof pairs)[number]): Promise<void> => {
      await exec(from.ns, ['ip', 'route', 'flush', 'cache']);
      await exec(from.ns, ['ip', 'tcp_metrics', 'flush']);
      assert.is(await ping(from.ns, to.ip, { size: mtu - 28, dontFragment: true, count: 2 }), 2);
      // The VTEP sends one ICMP error; then the container knows the path MTU.
      const said = await tooLong(from.ns, to.ip, 1400);
      assert.match(said, new RegExp(`From ${to.ip} icmp_seq=1 Frag needed and DF set \\(mtu = ${mtu}\\)`));
      assert.match(said, new RegExp(`message too long, mtu=${mtu}`));
    };
    await Promise.all(pairs.map(learnsMtu));
    const sides = await settled();
    for (const counters of sides) {
      requireClean(counters, ['too-big']);
      for (const { counts, drops } of counters.vtep.segments) {
        // At least a TCP segment and a ping; fragments, which have no DF, are dropped silently.
        assert.ok(counts['fragmentation-needed'] >= 2);
        assert.ok(drops['too-big'] >= counts['fragmentation-needed']);
        assert.is(counts.moved, 0);
      }
    }
    // Untagged, and of an unmapped VLAN.
    const ends = 'ffffffffffff 02420a000063';
    const rest = '00'.repeat(46);
    for (const frame of [`${ends} 88b5 ${rest}`, `${ends} 8100 001e 88b5 ${rest}`]) vlans.send(fromHex(frame));
    const dropped = await waitFor('the frames to be dropped', async () => {
      const counters = await countersOf(control(1));
      return counters.vtep.drops['vlan-unmapped'] === 2 ? counters : undefined;
    });
    assert.is(dropped.vtep.counts['frames-in'], sides[0].vtep.counts['frames-in']);

    // A container on host 2, recreated on host 1, which announces itself there, as with Docker.
    const MAC = '02:42:0a:00:00:09';
    const IP = '10.0.0.9';
    const create = async (ns: string, announced: boolean): Promise<void> => {
      await exec(ns, ['sysctl', '-qw', `net.ipv4.conf.spare.arp_notify=${announced ? 1 : 0}`]);
      await must(['ip', '-n', ns, 'link', 'set', 'dev', 'spare', 'down']);
      await must(['ip', '-n', ns, 'link', 'set', 'dev', 'spare', 'address', MAC]);
      await must(['ip', '-n', ns, 'addr', 'add', `${IP}/24`, 'dev', 'spare']);
      await must(['ip', '-n', ns, 'link', 'set', 'dev', 'spare', 'up']);
    };
    const remove = async (ns: string): Promise<void> => {
      await must(['ip', '-n', ns, 'addr', 'flush', 'dev', 'spare']);
      await must(['ip', '-n', ns, 'link', 'set', 'dev', 'spare', 'address', '02:00:00:00:00:01']);
    };
    const place = async (which: 1 | 2): Promise<string | null | undefined> => {
      const fdb = (await ask(control(which), { command: 'fdb', vni: 100 })) as FdbListing[];
      const entry = fdb.find(({ mac }) => mac === MAC);
      return entry?.vtep ?? entry?.port;
    };
    const reached = async (): Promise<void> => {
      assert.equal(await Promise.all([ping(c1.ns, IP), ping(c2.ns, IP)]), [3, 3]);
    };
    await create(x2, true);
    await reached();
    assert.equal([await place(1), await place(2)], [node2.address, 'spare']);
    await remove(x2);
    await create(x1, true);
    await waitFor('the move to be known', async () => (await place(2)) === node1.address);
    assert.is(await place(1), 'spare');
    await reached();
    for (const which of [1, 2] as const) assert.is((await countersOf(control(which))).vtep.counts.moved, 1);

    // It moves back silently: only the control plane knows.
    const endpoint = { vni: 100, ip: IP, mac: MAC };
    await remove(x1);
    await create(x2, false);
    await ask(control(1), { command: 'add-endpoint', ...endpoint, vtep: node2.address });
    await ask(control(2), { command: 'add-endpoint', ...endpoint });
    assert.is(await place(1), node2.address);
    await reached();
    requireClean(await countersOf(control(1)), ['too-big', 'vlan-unmapped']);
    requireClean(await countersOf(control(2)), ['too-big']);
    await Promise.all(running.map((one) => one.stop()));
    await vlans.close();
  },
);

overlay.run();
