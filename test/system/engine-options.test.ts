/** Options of the fast engine, and its behaviour with a faulty underlay and faulty devices. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { ask } from '../../src/host/index.js';
import { type FdbListing, type RemoteListing } from '../../src/vtep/index.js';
import { build } from '../../src/packet/index.js';
import { hex } from '../support/hex.js';
import { createUnderlay, exec, must, ping, waitFor, type Running, type Underlay } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { captureOf, countersOf, exchange, read, record, serve } from '../support/traffic.js';

const NEEDS = ['root', 'tun', 'ip', 'ping', 'sysctl', 'tcpdump', 'tshark', 'tc'];
const options = suiteWith('options of the fast engine', NEEDS);

const VNI = '4097';
const directory = mkdtempSync(join(tmpdir(), 'weft-options-'));
const control = (which: 1 | 2): string => join(directory, `control${which}`);
type Family = 'address' | 'address6';

let underlay: Underlay;
/** Containers behind VTEPs of ours, by host. */
const container: Record<1 | 2, { ns: string; ip: string }> = {} as never;
/** The VTEPs of the current test. */
let vteps: Running[] = [];
/** Ends the kernel's side of a test, if there is one. */
let stopKernel: (() => Promise<void>) | undefined;

const host = (which: 1 | 2) => (which === 1 ? underlay.node1 : underlay.node2);
const inner = (which: 1 | 2): string => `fd10::${which}`;

options.before(async () => {
  underlay = await createUnderlay({ prefix: 'wo' });
  const { lab } = underlay;
  for (const which of [1, 2] as const)
    container[which] = { ns: await lab.namespace(`c${which}`), ip: `10.0.0.${which}` };
});

options.after.each(async () => {
  await Promise.all(vteps.map((vtep) => vtep.stop('SIGKILL').catch(() => undefined)));
  vteps = [];
  await stopKernel?.();
  stopKernel = undefined;
});

options.after(async () => {
  await underlay?.lab.teardown();
  rmSync(directory, { recursive: true, force: true });
});

/** A VTEP of ours, ended with the test. */
async function start(which: 1 | 2, flags: readonly string[] = [], family: Family = 'address'): Promise<Running> {
  const { lab } = underlay;
  const [here, there] = [host(which), host(which === 1 ? 2 : 1)];
  const { ns, ip } = container[which];
  const running = await lab.startVtep({
    ns: here.ns,
    args: [
      ...['up', '--vni', VNI, '--local', here[family], '--peer', there[family], '--engine', 'linux'],
      ...['--tap', 'eth0', '--netns', ns, '--address', `${ip}/24`, '--mac', `02:42:0a:00:00:0${which}`],
      ...['--control', control(which), ...flags],
    ],
  });
  vteps.push(running);
  await must(['ip', '-n', ns, 'addr', 'add', `${inner(which)}/64`, 'dev', 'eth0', 'nodad']);
  return running;
}

/** The kernel's vxlan device on the second host, with the container's addresses on it. */
async function startKernel(family: Family, flags: readonly string[]): Promise<void> {
  const { ns } = underlay.node2;
  const ends = ['local', underlay.node2[family], 'remote', underlay.node1[family]];
  const device = ['name', 'wovx', 'type', 'vxlan', 'id', VNI, 'dstport', '4789', ...ends, ...flags];
  await must(['ip', '-n', ns, 'link', 'add', ...device]);
  const inside = container[2].ns;
  await must(['ip', '-n', ns, 'link', 'set', 'dev', 'wovx', 'netns', inside, 'name', 'eth0', 'mtu', '1430']);
  stopKernel = async () => void (await must(['ip', '-n', inside, 'link', 'del', 'eth0']));
  await must(['ip', '-n', inside, 'addr', 'add', `${container[2].ip}/24`, 'dev', 'eth0']);
  await must(['ip', '-n', inside, 'link', 'set', 'dev', 'eth0', 'up']);
}

/** TCP in both directions and datagrams of many sizes between the containers. */
async function transfer(): Promise<void> {
  const server = await serve(underlay.lab, container[2].ns, container[2].ip, 'the second');
  assert.is(await exchange(container[1], server), 'the second');
  await server.server.stop();
}

/** Addresses of senders of VXLAN datagrams, by whether they were sent with a UDP checksum, as tshark reads them. */
async function senders(file: string): Promise<{ checksum: Set<string>; none: Set<string> }> {
  const found = { checksum: new Set<string>(), none: new Set<string>() };
  for (const row of await read(file, ['ip.src', 'ipv6.src', 'ipv6.dst', 'udp.checksum', 'udp.dstport'])) {
    // The outer headers come first; over IPv6 there is no outer `ip.src`.
    const outer = row['ipv6.src']!.find((address) => address.startsWith('fd00')) ?? row['ip.src']![0]!;
    (Number(row['udp.checksum']![0]) === 0 ? found.none : found.checksum).add(outer);
  }
  return found;
}

for (const [family, kernelFlags, flags] of [
  ['address', ['noudpcsum'], ['--no-udp-checksum']],
  ['address6', ['udp6zerocsumtx', 'udp6zerocsumrx'], ['--no-udp-checksum', '--zero-checksum']],
] as const)
  options(`no UDP checksums in either direction, with the kernel at the other end, over ${family}`, async () => {
    const { lab, router, node1, node2 } = underlay;
    await startKernel(family, kernelFlags);
    await start(1, [...flags, '--mtu', '1430'], family);
    const file = join(directory, `${family}.pcap`);
    const tcpdump = await record(lab, router, 'eth1', file, 200);
    assert.is(await ping(container[1].ns, container[2].ip, { interval: 0.2 }), 3);
    await transfer();
    await tcpdump.stop();
    assert.equal(await senders(file), { checksum: new Set(), none: new Set([node1[family], node2[family]]) });
    const { engine } = await countersOf(control(1));
    assert.equal([engine.sendErrors, engine.receiveErrors], [{}, {}]);
    // Super-frames are segmented here, and still several datagrams are sent per call.
    assert.ok(engine.superFramesRead! > 0 && engine.sendCalls! < engine.datagramsSent, JSON.stringify(engine));
  });

options('over IPv6, datagrams without a checksum are accepted only with the option', async () => {
  await startKernel('address6', ['udp6zerocsumtx']);
  for (const [flags, answered] of [
    [[], 0],
    [['--zero-checksum'], 2],
  ] as const) {
    const running = await start(1, [...flags, '--mtu', '1430'], 'address6');
    assert.is(await ping(container[1].ns, container[2].ip, { count: 2, interval: 0.1 }), answered);
    await running.stop();
  }
});

/** The path MTU to an address in a container's kernel. */
async function pathMtu(which: 1 | 2, target: string): Promise<number> {
  const text = await must(['ip', '-n', container[which].ns, 'route', 'get', target]);
  return Number(/ mtu (\d+)/.exec(text)?.[1] ?? 0);
}

async function remotes(which: 1 | 2): Promise<RemoteListing[]> {
  return (await ask(control(which), { command: 'remotes' })) as RemoteListing[];
}

for (const [family, mtu] of [
  ['address', 1350],
  ['address6', 1330],
] as const)
  options(`a smaller path MTU behind the router: senders of any protocol get ICMP errors; over ${family}`, async () => {
    const { router, node1, node2 } = underlay;
    const narrow = async (size: number): Promise<void> => {
      await must(['ip', '-n', router, 'link', 'set', 'dev', 'eth2', 'mtu', String(size)]);
      await must(['ip', '-n', node2.ns, 'link', 'set', 'dev', 'eth0', 'mtu', String(size)]);
    };
    await narrow(1400);
    try {
      const inside = container[1].ns;
      await start(1, ['--mtu', '1430'], family);
      await start(2, [], family); // its own link has the smaller MTU
      for (const target of [container[2].ip, inner(2)]) {
        // The router drops the first and tells the VTEP; the VTEP answers the next one.
        await ping(inside, target, { count: 3, size: 1380, dontFragment: true, interval: 0.1 });
        assert.is(await pathMtu(1, target), mtu, target);
        assert.is(await ping(inside, target, { size: 1380, interval: 0.2 }), 3, 'in fragments');
      }
      if (family === 'address') await transfer(); // TCP also finds the path MTU on its own, but slowly
      const [remote] = await remotes(1);
      assert.equal([remote!.address, remote!.mtu], [node2[family], mtu]);
      const before = (await countersOf(control(1))).vtep;
      assert.ok(before.counts['fragmentation-needed'] > 0 && before.counts['packet-too-big'] > 0);
      // A packet without DF causes no ICMP error: it leaves in two fragments.
      await must(['ip', '-n', inside, 'route', 'flush', 'cache']);
      await exec(inside, ['sh', '-c', `ping -c2 -i0.1 -W1 -q -Mdont -s1380 ${container[2].ip} || true`]);
      const { counts, drops } = (await countersOf(control(1))).vtep;
      assert.is(drops['too-big'], before.drops['too-big']);
      assert.is(counts['inner-fragments'], before.counts['inner-fragments'] + 4);
      assert.is(counts['fragmentation-needed'], before.counts['fragmentation-needed']);
    } finally {
      await narrow(1500);
      for (const ns of [node1.ns, node2.ns])
        for (const version of ['-4', '-6']) await must(['ip', '-n', ns, version, 'route', 'flush', 'cache']);
    }
  });

for (const family of ['address', 'address6'] as const)
  options(`datagrams that do not arrive are counted by remote; over ${family}`, async () => {
    const { router, node2, lab } = underlay;
    await start(1, [], family);
    assert.is(await ping(container[1].ns, container[2].ip, { count: 2, interval: 0.1 }), 0);
    const [refused] = await waitFor('the host to refuse', async () => {
      const list = await remotes(1);
      return list[0]!.undelivered > 0 ? list : undefined;
    });
    assert.equal([refused!.address, refused!.reason], [node2[family], 'ECONNREFUSED']);
    const route = ['ip', '-n', router, 'route'];
    await must([...route, 'add', 'unreachable', node2[family]]);
    try {
      const reported = await waitFor('the router to refuse', async () => {
        await ping(container[1].ns, container[2].ip, { count: 1 });
        const [remote] = await remotes(1);
        return /^E(HOST|NET)UNREACH$/.test(remote!.reason) ? remote : undefined;
      });
      assert.ok(reported.undelivered > refused!.undelivered);
      const { stdout } = await lab.runVtep({ args: ['show', 'remotes', '--control', control(1)] });
      assert.match(stdout, new RegExp(`${node2[family]} +4789 +- .* \\d+ +E(HOST|NET)UNREACH`));
    } finally {
      await must([...route, 'del', 'unreachable', node2[family]]);
    }
  });

/** ECN fields of the TCP packets in a file, as tshark reads them: outer and inner, and bytes of data. */
async function ecnOf(file: string): Promise<{ outer: number; inner: number; data: number }[]> {
  const rows = await read(file, ['ip.dsfield.ecn', 'ipv6.tclass.ecn', 'tcp.len', 'ipv6.src']);
  return rows
    .filter((row) => row['tcp.len']!.length === 1)
    .map((row) => {
      const six = row['ipv6.src']!.length > 0;
      const [outer, inner] = six
        ? [row['ipv6.tclass.ecn']![0], row['ip.dsfield.ecn']![0]]
        : [row['ip.dsfield.ecn']![0], row['ip.dsfield.ecn']![1]];
      return { outer: Number(outer), inner: Number(inner), data: Number(row['tcp.len']![0]) };
    });
}

for (const family of ['address', 'address6'] as const)
  options(
    `ECN on the way in: the outer header has the inner one's field, super-frames too; over ${family}`,
    async () => {
      const { lab, router } = underlay;
      await start(1, [], family);
      await start(2, [], family);
      for (const which of [1, 2] as const) await exec(container[which].ns, ['sysctl', '-qw', 'net.ipv4.tcp_ecn=1']);
      const file = join(directory, `ecn-${family}.pcap`);
      const tcpdump = await record(lab, router, 'eth1', file, 1000);
      await transfer();
      await tcpdump.stop();
      const packets = await ecnOf(file);
      for (const { outer, inner } of packets) assert.is(outer, inner);
      // Data is ECT(0), SYN is not (RFC 3168).
      assert.ok(packets.some(({ inner, data }) => inner === 2 && data > 0));
      assert.ok(packets.some(({ inner }) => inner === 0));
      assert.ok((await countersOf(control(1))).engine.superFramesRead! > 0);
    },
  );

/**
 * Datagrams out of a process of its own, each with a TOS, from the port that VTEPs have: neighbours of one TOS in one
 * call.
 */
const SEND = `
  const { loadLibc } = await import('./src/host/linux/libc.ts');
  const { Arena } = await import('./src/host/linux/arena.ts');
  const { Sender } = await import('./src/host/linux/sender.ts');
  const { Sockets } = await import('./src/host/linux/udp.ts');
  const { newCounts, readCounts } = await import('./src/host/linux/counts.ts');
  const [local, address, list] = process.argv.slice(-3);
  const libc = await loadLibc();
  const arena = new Arena(libc, 1 << 20);
  const counts = newCounts();
  const { fd } = new Sockets(libc, arena, local, { checksum: true, zeroChecksum: false }).sender();
  const sender = new Sender(libc, arena, [fd], local.includes(':'), counts, { errors: () => undefined });
  for (const [tos, hex] of JSON.parse(list)) {
    const bytes = Buffer.from(hex, 'hex');
    const at = arena.take(bytes.length);
    arena.bytes.set(bytes, at);
    sender.transmit({ id: 0, address, port: 4789 }, at, bytes.length, 0, tos);
  }
  sender.flush();
  console.log(JSON.stringify(readCounts(counts)));
`;

for (const family of ['address', 'address6'] as const)
  options(`ECN on the way out: both fields combine by RFC 6040, of merged packets too; over ${family}`, async () => {
    const { lab, node1, node2 } = underlay;
    await start(1, [], family);
    const inside = container[1].ns;
    const file = join(directory, `ecn-out-${family}.pcap`);
    const filter = ['src', 'host', '10.0.0.2', 'and', 'tcp'];
    const flags = ['-i', 'eth0', '-U', '--immediate-mode', '-Z', 'root', '-w', file];
    const tcpdump = lab.spawn(['tcpdump', ...flags, ...filter], { ns: inside });
    await waitFor('tcpdump to listen', () => /listening on/.test(tcpdump.stderr));
    // RFC 6040, section 4.2: inner, outer, and what comes out; null: nothing does.
    const table = [
      [0, 0, 0],
      [0, 2, 0],
      [0, 3, null],
      [1, 2, 1],
      [1, 3, 3],
      [2, 1, 1],
      [2, 3, 3],
      [3, 0, 3],
      [3, 2, 3],
    ] as const;
    const segments = 4;
    const datagrams = table.flatMap(([ecn, outer], flow) =>
      Array.from({ length: segments }, (_, i) => {
        const frame = build([
          { protocol: 'ethernet', destination: '02:42:0a:00:00:01', source: '02:42:0a:00:00:02' },
          { protocol: 'ipv4', source: '10.0.0.2', destination: '10.0.0.1', ecn, identification: i, dontFragment: true },
          { protocol: 'tcp', sourcePort: 1000 + flow, destinationPort: 9, sequence: 100 * i, flags: 0x10, window: 1 },
          { protocol: 'payload', bytes: new Uint8Array(100) },
        ]);
        return [outer, `0800000000100100${hex(frame)}`] as const;
      }),
    );
    const program = [process.execPath, '--import', 'tsx', '--input-type=module', '-e', SEND];
    const text = await exec(node2.ns, [...program, '--', node2[family], node1[family], JSON.stringify(datagrams)]);
    assert.equal((JSON.parse(text) as { sendErrors: object }).sendErrors, {});
    const total = table.length * segments;
    const { vtep, engine } = await waitFor('the datagrams', async () => {
      const counters = await countersOf(control(1));
      return counters.engine.datagramsReceived >= total ? counters : undefined;
    });
    await waitFor('tcpdump', async () => (await read(file, ['tcp.len'])).length >= table.length - 1);
    await tcpdump.stop();
    const seen = await read(file, ['tcp.srcport', 'ip.dsfield.ecn', 'tcp.len']);
    for (const [flow, [inner, outer, expected]] of table.entries()) {
      const own = seen.filter((row) => row['tcp.srcport']![0] === String(1000 + flow));
      const bytes = own.reduce((sum, row) => sum + Number(row['tcp.len']![0]), 0);
      const what = `inner ${inner}, outer ${outer}`;
      assert.is(bytes, expected === null ? 0 : 100 * segments, what);
      for (const row of own) assert.is(Number(row['ip.dsfield.ecn']![0]), expected, what);
    }
    assert.is(vtep.drops.ecn, segments);
    assert.is(vtep.counts['ecn-marked'], 3 * segments);
    assert.ok(engine.superFramesWritten! >= 4, `${engine.superFramesWritten} super-frames`);
  });

/** Bytes over TCP connections at once, each held to its hash; every other one over IPv6. */
async function streams(from: 1 | 2, to: 1 | 2, count: number): Promise<void> {
  const server = underlay.lab.spawn([process.execPath, '-e', HASHES], { ns: container[to].ns });
  await waitFor('the server', () => server.stdout === 'ready\n');
  const ends = JSON.stringify([container[to].ip, inner(to)]);
  await exec(container[from].ns, [process.execPath, '-e', STREAMS, '--', ends, String(count)]);
  await server.stop();
}
/** Answers each connection with the hash of what it got. */
const HASHES = `
  const { createHash } = require('node:crypto');
  require('node:net').createServer({ allowHalfOpen: true }, (socket) => {
    const hash = createHash('sha256');
    socket.on('data', (data) => hash.update(data)).on('end', () => socket.end(hash.digest('hex')));
  }).listen(40003, '::', () => console.log('ready'));
`;
const STREAMS = `
  const { createHash, randomBytes } = require('node:crypto');
  const [, ends, count] = process.argv;
  const chunk = randomBytes(1 << 20);
  for (let i = 0; i < Number(count); i++) {
    const hash = createHash('sha256');
    const socket = require('node:net').connect(40003, JSON.parse(ends)[i % 2]);
    let left = 8, text = '';
    const more = () => {
      while (left-- > 0) { hash.update(chunk); if (!socket.write(chunk)) return; }
      socket.end();
    };
    socket.on('connect', more).on('drain', () => left >= 0 && more()).on('data', (data) => (text += data));
    socket.on('close', () => { if (text !== hash.digest('hex')) { console.error('got ' + text); process.exit(1); } });
  }
`;

/**
 * Datagrams with numbers, both ways on the same flows, once each end has heard of the other: whether any came before one
 * that was sent earlier.
 */
async function outOfOrder(flows: number, packets: number): Promise<{ arrived: number; late: number }> {
  const program = `
    const { createSocket } = require('node:dgram');
    const [, role, peer, flows, packets] = process.argv;
    const last = {}; let arrived = 0, late = 0, quiet;
    const done = () => { console.log(JSON.stringify({ arrived, late })); process.exit(); };
    const start = (socket, f) => {
      let n = 0;
      const timer = setInterval(() => {
        for (let i = 0; i < 8 && n < Number(packets); i++) {
          const data = Buffer.alloc(200);
          data.writeUInt32BE(n++, 0);
          socket.send(data, 41000 + f, peer);
        }
        if (n >= Number(packets)) clearInterval(timer);
      }, 2);
    };
    const sockets = [];
    let started = false, bound = 0;
    for (let f = 0; f < Number(flows); f++) {
      const socket = createSocket('udp4').on('message', (data) => {
        const n = data.readUInt32BE(0);
        arrived++;
        if (n < (last[f] ?? 0)) late++;
        last[f] = n;
        clearTimeout(quiet);
        quiet = setTimeout(done, 1500);
      });
      sockets.push(socket);
      socket.bind(41000 + f, () => ++bound === Number(flows) && meet());
    }
    // The end that hears a greeting answers it, so that both know that all sockets are there.
    const meet = () => {
      const greeting = createSocket('udp4');
      const greet = (heard) => greeting.send(heard ? 'heard' : 'hello', 40999, peer);
      greeting.on('message', (data) => {
        if (String(data) === 'hello') greet(true);
        if (started) return;
        started = true;
        greet(true);
        sockets.forEach(start);
        setTimeout(() => { clearInterval(timer); greeting.unref(); }, 1000);
      });
      greeting.bind(40999, () => greet(false));
      const timer = setInterval(() => greet(started), 100);
    };
    quiet = setTimeout(done, 60000);`;
  const ends = ([1, 2] as const).map((which) => {
    const words = [container[which === 1 ? 2 : 1].ip, String(flows), String(packets)];
    return exec(container[which].ns, [process.execPath, '-e', program, '--', String(which), ...words]);
  });
  const [one, two] = (await Promise.all(ends)).map((text) => JSON.parse(text) as { arrived: number; late: number });
  return { arrived: one!.arrived + two!.arrived, late: one!.late + two!.late };
}

options('several workers: flows are spread and stay in order, and all share what one has learned', async () => {
  const { lab, node2 } = underlay;
  const vteps = [
    await start(1, ['--workers', '2', '--proxy', 'off']),
    await start(2, ['--workers', '2', '--proxy', 'off']),
  ];
  assert.match(vteps[1]!.stdout, /engine linux with 2 workers/);
  const capture = await captureOf(control(1), 40);
  assert.is(await ping(container[1].ns, container[2].ip, { count: 5, interval: 0.2 }), 5);
  const before = vteps.map(({ pid }) => times(pid));
  await streams(1, 2, 8);
  await streams(2, 1, 8);
  // More than one thread of each VTEP has forwarded frames.
  for (const [i, vtep] of vteps.entries()) {
    const spent = Object.entries(times(vtep.pid)).map(([task, time]) => time - (before[i]![task] ?? 0));
    assert.ok(spent.filter((time) => time > 10).length >= 2, `ms by thread: ${spent.map(Math.round).join(' ')}`);
  }
  const { arrived, late } = await outOfOrder(8, 400);
  assert.is(late, 0, `of ${arrived}`);
  assert.ok(arrived > 8 * 400, `${arrived} arrived of ${2 * 8 * 400}`);

  const packets = await capture();
  assert.is(packets.length, 40);
  assert.equal(
    packets,
    [...packets].sort((a, b) => Number(BigInt(a.time) - BigInt(b.time))),
  );

  // One worker has learned the second host's address, and all know it: nothing is flooded any more.
  const fdb = (await ask(control(1), { command: 'fdb' })) as FdbListing[];
  assert.equal(
    fdb.filter(({ vtep }) => vtep !== null).map(({ mac, vtep }) => [mac, vtep]),
    [['02:42:0a:00:00:02', node2.address]],
  );
  const one = await countersOf(control(1));
  assert.ok(one.vtep.counts.flooded < 40, `${one.vtep.counts.flooded} flooded`);
  assert.ok(one.vtep.counts.learned >= 2 && one.vtep.counts.learned <= 6, `${one.vtep.counts.learned} learned`);
  const two = await countersOf(control(2));
  for (const [from, to] of [
    [one, two],
    [two, one],
  ] as const) {
    const [sent, got] = [from.vtep.counts['datagrams-out'], to.vtep.counts['datagrams-in']];
    assert.ok(Math.abs(sent - got) < sent / 50, `${sent} sent and ${got} received`);
  }

  // A change applies to all workers: no datagram goes to a removed VTEP.
  await ask(control(1), {
    command: 'add-endpoint',
    vni: 4097,
    ip: '10.0.0.9',
    mac: '02:42:0a:00:00:09',
    vtep: '192.168.1.99',
  });
  const { stdout } = await lab.runVtep({ args: ['show', 'fdb', '--json', '--control', control(1)] });
  assert.ok((JSON.parse(stdout) as FdbListing[]).some(({ vtep }) => vtep === '192.168.1.99'));
  for (const vtep of vteps) {
    const { code, stderr } = await vtep.stop();
    assert.equal([code, stderr], [0, '']);
  }
});

/** 30,000 UDP packets of 1200 bytes out of the first container, or as many as go in 3 s; returns how many were sent. */
async function flood(): Promise<number> {
  const program = `
    const socket = require('node:dgram').createSocket('udp4');
    const data = Buffer.alloc(1200), end = Date.now() + 3000;
    let sent = 0, waiting = 0;
    const more = () => {
      for (; waiting < 64 && sent < 30000 && Date.now() < end; waiting++)
        socket.send(data, 9, '${container[2].ip}', (error) => {
          waiting--;
          if (error === null) sent++;
          more();
        });
      if (waiting === 0 && (sent >= 30000 || Date.now() >= end)) { console.log(sent); socket.close(); }
    };
    more();`;
  return Number(await exec(container[1].ns, [process.execPath, '-e', program]));
}

options('a full socket makes the TAP wait or is counted, and traffic recovers', async () => {
  const { node1 } = underlay;
  const [vtep] = [await start(1), await start(2)];
  assert.is(await ping(container[1].ns, container[2].ip, { interval: 0.2 }), 3);
  // What the queue holds is more than the socket may have under way, so that it is the socket that fills up.
  const shape = ['rate', '40mbit', 'burst', '256kb', 'limit', '64mb'];
  await must(['tc', '-n', node1.ns, 'qdisc', 'add', 'dev', 'eth0', 'root', 'tbf', ...shape]);
  try {
    const before = await countersOf(control(1));
    const sent = await flood();
    let arrived = -1;
    await waitFor('what is under way to arrive', async () => {
      await new Promise((resolve) => setTimeout(resolve, 200));
      const last = arrived;
      arrived = (await countersOf(control(2))).engine.datagramsReceived;
      return arrived === last;
    });
    const settled = await countersOf(control(1));
    const { engine } = settled;
    const errors = Object.values(engine.sendErrors).reduce((sum, count) => sum + count, 0);
    const frames = settled.vtep.counts['frames-in'] - before.vtep.counts['frames-in'];
    const probes = ({ vtep }: typeof before): number =>
      vtep.counts['path-probes-sent'] + vtep.counts['path-probes-replied'];
    const datagrams = engine.datagramsSent - before.engine.datagramsSent - (probes(settled) - probes(before));
    assert.ok(Math.abs(frames - datagrams - errors) < 20, `${frames} frames, ${datagrams} datagrams, ${errors} errors`);
    const kept = await kernelDrops(container[1].ns);
    assert.ok(kept + errors > 0, 'the device has dropped, or the engine');
    assert.ok(Math.abs(sent - frames - kept) < 20, `${sent} sent, of which ${frames} came and ${kept} did not`);
    assert.ok(engine.pollCalls! - before.engine.pollCalls! < 20_000, `${engine.pollCalls} times round the loop`);
  } finally {
    await must(['tc', '-n', node1.ns, 'qdisc', 'del', 'dev', 'eth0', 'root']);
  }
  assert.ok(vtep.running);
  await transfer();
});

/** Packets that a container's device has dropped on their way to the VTEP. */
async function kernelDrops(ns: string): Promise<number> {
  const text = await must(['ip', '-n', ns, '-s', '-j', 'link', 'show', 'dev', 'eth0']);
  const [link] = JSON.parse(text) as { stats64: { tx: { dropped: number } } }[];
  return link!.stats64.tx.dropped;
}

/** Milliseconds of processor time by thread. */
function times(pid: number): Record<string, number> {
  const tasks = readdirSync(`/proc/${pid}/task`);
  const time = (task: string): number =>
    Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
  return Object.fromEntries(tasks.map((task) => [task, time(task)]));
}

const used = (pid: number): number => Object.values(times(pid)).reduce((sum, time) => sum + time);

/**
 * The share of time in which a thread of a process does not sleep, until a promise is kept: of the thread that sleeps least.
 * A thread that polls is ready to run all the time, whether or not other processes let it.
 */
async function awake(pid: number, until: Promise<unknown>): Promise<number> {
  const ready: Record<string, number> = {};
  let [samples, over] = [0, false];
  void until.finally(() => (over = true));
  for (; !over; await sleep(5), samples++)
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      const state = readFileSync(`/proc/${pid}/task/${task}/stat`, 'utf8').split(') ')[1]![0];
      ready[task] = (ready[task] ?? 0) + Number(state === 'R');
    }
  return Math.max(...Object.values(ready)) / samples;
}

options('a busy-polling VTEP polls while packets arrive, and sleeps when idle', async () => {
  const shares: Record<string, { busy: number; idle: number; moved: number }> = {};
  const packets = async (): Promise<number> => {
    const { engine } = await countersOf(control(1));
    return engine.framesRead! + engine.datagramsReceived;
  };
  for (const flags of [[], ['--busy-poll', '100000']]) {
    const one = await start(1, flags);
    const two = await start(2);
    assert.is(await ping(container[1].ns, container[2].ip, { interval: 0.2 }), 3);
    const busy = await awake(one.pid, ping(container[1].ns, container[2].ip, { count: 100, interval: 0.01 }));
    await sleep(200);
    const moved = await packets();
    const idle = await awake(one.pid, sleep(2000));
    shares[flags.join(' ')] = { busy, idle, moved: (await packets()) - moved };
    await transfer();
    for (const vtep of [one, two]) assert.is((await vtep.stop()).code, 0);
  }
  const text = JSON.stringify(shares);
  const [sleeps, polls] = [shares['']!, shares['--busy-poll 100000']!];
  assert.ok(polls.busy > 0.8 && polls.busy > sleeps.busy + 0.2, text);
  // It polls for 100 of 2000 ms after each packet.
  assert.ok(polls.idle < 0.25 + 0.05 * polls.moved, text);
});

options('frames to a TAP that is down are counted as dropped, and traffic recovers when it is up', async () => {
  await start(1);
  const two = await start(2);
  const inside = container[2].ns;
  assert.is(await ping(container[1].ns, container[2].ip, { interval: 0.2 }), 3);
  await must(['ip', '-n', inside, 'link', 'set', 'dev', 'eth0', 'down']);
  const before = used(two.pid);
  assert.is(await ping(container[1].ns, container[2].ip, { count: 5, interval: 0.2 }), 0);
  const spent = used(two.pid) - before;
  assert.ok(spent < 500, `${spent} ms of processor time`);
  const { engine } = await countersOf(control(2));
  assert.ok(engine.writeErrors['EIO']! >= 5, JSON.stringify(engine.writeErrors));
  await must(['ip', '-n', inside, 'link', 'set', 'dev', 'eth0', 'up']);
  await transfer();
});

options('a removed TAP is reported, and the program ends if it was the last', async () => {
  const one = await start(1);
  await must(['ip', '-n', container[1].ns, 'link', 'del', 'dev', 'eth0']);
  const { code, stderr } = await one.ended;
  assert.is(code, 1);
  assert.match(stderr, /^\S+Z warning: TAP eth0 is lost: the device has been removed\nvtep: no TAP is left\n$/);
});

options.run();
