/** Forged ICMP errors: what they quote must have been sent, and what they claim is limited in size and time. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { ask } from '../../src/host/index.js';
import { PathMtus, type Claim } from '../../src/host/linux/path-mtu.js';
import { makeRemote, NOT_OURS, UNKNOWN_LENGTH, UNLIMITED, type RemoteListing } from '../../src/vtep/index.js';
import { BROADCAST, C1, C2, udpFrame } from '../support/frames.js';
import { fromHex, hex } from '../support/hex.js';
import { createUnderlay, exec, must, ping, run, type Running, type Underlay } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { HEADER, host, wrap } from '../support/vtep-host.js';

// ---- What a claim may do ----

function mtus(v6 = false) {
  const remote = makeRemote(0, v6 ? 'fd00::1' : '192.0.2.1', 4789);
  const state = { largest: 1458, reports: [] as number[] };
  const all = new PathMtus(
    v6,
    () => state.largest,
    ({ outerMtu }) => void state.reports.push(outerMtu),
  );
  const claim = (mtu: number, quoted: number = UNKNOWN_LENGTH, now = 0, here = false): number => {
    const one: Claim = { mtu, quoted, here };
    all.take(remote, one, now);
    return remote.outerMtu;
  };
  return { remote, state, all, claim };
}

test('an error that quotes only a UDP header reduces the MTU to 1330 at most, one that quotes a datagram to 552', () => {
  for (const mtu of [0, 1, 68, 551, 552, 600, 1280, 1329]) assert.is(mtus().claim(mtu), UNLIMITED, `${mtu}`);
  assert.is(mtus().claim(1330), 1330);
  assert.is(mtus().claim(1400), 1400);
  for (const mtu of [1, 68, 551, 552]) assert.is(mtus().claim(mtu, 1458), 552, `${mtu}`);
  assert.is(mtus().claim(600, 1458), 600);
  assert.is(mtus().claim(0, 1458), UNLIMITED);
  assert.is(mtus().claim(68, NOT_OURS), UNLIMITED);
  // IPv6: no link has less than 1280, and a router quotes as much as fits.
  for (const mtu of [0, 68, 552, 1279]) assert.is(mtus(true).claim(mtu, 1458), UNLIMITED, `${mtu}`);
  assert.is(mtus(true).claim(1280, 1458), 1280);
  assert.is(mtus(true).claim(1400), UNLIMITED);
});

test('a claim about a datagram that was not sent, or that fits, has no effect', () => {
  const idle = mtus();
  idle.state.largest = 0;
  assert.is(idle.claim(1400, 1458), UNLIMITED, 'nothing was sent lately');
  const small = mtus();
  small.state.largest = 408; // 436 bytes with the outer headers
  for (const mtu of [436, 552, 1280]) assert.is(small.claim(mtu, 408), UNLIMITED, `${mtu}`);
  assert.is(small.claim(552, 1458), UNLIMITED, 'nothing of this length was sent');
  const large = mtus();
  assert.is(large.claim(1486, 1458), UNLIMITED, 'it fits');
  assert.is(large.claim(1485, 1458), 1485);
  assert.is(large.claim(1400, 1000), 1485, 'the quoted one fits');
});

test('a claim ends after 60 seconds; errors do not extend it, and one line is reported for each change', () => {
  const { claim, all, remote, state } = mtus();
  assert.is(claim(1400, 1458, 1000), 1400);
  claim(1450, 1458, 2000);
  assert.is(remote.outerMtu, 1400, 'not raised by an error');
  claim(1400, 1458, 50_000);
  all.expire(60_999);
  assert.is(remote.outerMtu, 1400);
  all.expire(61_000);
  assert.is(remote.outerMtu, UNLIMITED);
  // The path is as narrow as before.
  claim(1400, 1458, 61_100);
  all.expire(121_099);
  assert.equal([remote.outerMtu, state.reports], [1400, [1400]]);
  claim(1300, 1458, 121_000);
  assert.equal(state.reports, [1400, 1300]);
  all.expire(721_000);
  claim(1300, 1458, 800_000);
  assert.equal(state.reports, [1400, 1300, 1300], 'a new event after ten minutes');
});

test('a worker passes on at most eight ICMP errors per second: four with a quoted datagram, four without', () => {
  const { all, remote } = mtus();
  const told = (quoted: number): number =>
    Array.from({ length: 1000 }, (_, i) => all.mayTell(remote, { mtu: 1330 + i, quoted, here: false })).filter(Boolean)
      .length;
  assert.equal([told(UNKNOWN_LENGTH), told(1458), told(UNKNOWN_LENGTH)], [4, 4, 0]);
  all.expire(1000);
  assert.is(told(UNKNOWN_LENGTH), 4);
});

test('this host’s own device is believed', () => {
  assert.is(mtus().claim(1000, UNKNOWN_LENGTH, 0, true), 1000);
  assert.is(mtus(true).claim(1280, UNKNOWN_LENGTH, 0, true), 1280);
});

// ---- What is recognized as sent ----

test('a quote is this VTEP’s if VNI and inner addresses are those of its traffic to the remote', () => {
  const { vtep, frame, datagram, sent, now } = host({ tagged: true });
  const port = vtep.addPort({ name: 'a', vni: 4097 });
  vtep.addSegment({ vni: 8 });
  vtep.addPeer(4097, C2.host);
  vtep.addPeer(8, '192.0.2.77');
  datagram(C2.host, wrap(udpFrame(C2, C1)));
  frame(port, udpFrame(C1, C2, { size: 1000 }));
  const remote = vtep.remote(C2.host)!;
  const length = (quote: Uint8Array, to = remote): number => vtep.lengthOfQuote(to, quote, 0, quote.length, now());
  const whole = sent[0]!.datagram;
  assert.is(length(whole), whole.length);
  for (const bytes of [44, 28, 64]) assert.is(length(whole.slice(0, bytes)), whole.length, `of ${bytes} bytes`);
  for (const bytes of [0, 7, 8, 21, 27]) assert.is(length(whole.slice(0, bytes)), UNKNOWN_LENGTH, `of ${bytes} bytes`);
  frame(port, udpFrame(C1, { ip: '10.0.0.255', mac: BROADCAST }));
  assert.is(length(sent[0]!.datagram), sent[0]!.datagram.length, 'a broadcast');
  const tagged = fromHex(`${hex(whole.subarray(0, 20))}81000007${hex(whole.subarray(20))}`);
  assert.is(length(tagged), tagged.length, 'with a VLAN tag');

  const stranger = { ip: '10.0.0.66', mac: '02:42:0a:00:00:66' };
  for (const [what, quote] of [
    ['another VNI', wrap(udpFrame(C1, C2), '0800000000100200')],
    ['a VNI without this remote', wrap(udpFrame(C1, C2), '0800000000000800')],
    ['another flag', wrap(udpFrame(C1, C2), '0c00000000100100')],
    ['reserved bits', wrap(udpFrame(C1, C2), '0800000100100100')],
    ['a source that is not here', wrap(udpFrame(stranger, C2))],
    ['a source behind the remote', wrap(udpFrame(C2, C2))],
    ['a destination that is here', wrap(udpFrame(C1, C1))],
  ] as const)
    assert.is(length(quote), NOT_OURS, what);
  assert.is(length(whole, vtep.remote('192.0.2.77')!), NOT_OURS, 'to another remote');
  assert.is(HEADER.length, 16);
});

test.run();

// ---- On a real underlay ----

const icmp = suiteWith('forged ICMP errors', ['root', 'tun', 'ip', 'ping', 'python3', 'sysctl']);
const FORGE = fileURLToPath(new URL('../support/forge-icmp.py', import.meta.url));
const VNI = '4097';
const MACS = { 1: '02:42:0a:00:00:01', 2: '02:42:0a:00:00:02' } as const;
let underlay: Underlay;
let directory: string;
const container: Record<1 | 2, string> = {} as never;
let vteps: Running[] = [];

icmp.before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'weft-icmp-'));
  underlay = await createUnderlay({ prefix: 'si' });
  for (const which of [1, 2] as const) container[which] = await underlay.lab.namespace(`c${which}`);
  // As on the Internet, where errors come from many routers.
  for (const { ns } of [underlay.node1, underlay.node2])
    await exec(ns, ['sysctl', '-qw', 'net.ipv4.icmp_ratelimit=0', 'net.ipv6.icmp.ratelimit=0']);
});

icmp.after.each(async () => {
  await Promise.all(vteps.map((vtep) => vtep.stop('SIGKILL').catch(() => undefined)));
  vteps = [];
  for (const { ns } of [underlay.node1, underlay.node2])
    for (const version of ['-4', '-6']) await must(['ip', '-n', ns, version, 'route', 'flush', 'cache']);
});

icmp.after(async () => {
  await underlay?.lab.teardown();
  rmSync(directory, { recursive: true, force: true });
});

type Family = 'address' | 'address6';

async function start(which: 1 | 2, family: Family): Promise<Running> {
  const { lab, node1, node2 } = underlay;
  const [here, there] = which === 1 ? [node1, node2] : [node2, node1];
  const running = await lab.startVtep({
    ns: here.ns,
    args: [
      ...['up', '--vni', VNI, '--local', here[family], '--peer', there[family], '--engine', 'linux'],
      ...['--tap', 'eth0', '--netns', container[which], '--address', `10.0.0.${which}/24`, '--mac', MACS[which]],
      ...['--control', join(directory, `control${which}`)],
    ],
  });
  vteps.push(running);
  return running;
}

/** Sends forged errors to the first host, from the router. */
async function forge(family: Family, mtu: number, kind: 'ports' | 'echo', quote = ''): Promise<void> {
  const { router, node1, node2 } = underlay;
  const command = ['python3', FORGE, node1[family], node2[family], String(mtu), kind, quote];
  const { code, stderr } = await run(['ip', 'netns', 'exec', router, ...command]);
  assert.is(code, 0, stderr);
}

async function mtuOfPeer(): Promise<number | null> {
  const [remote] = (await ask(join(directory, 'control1'), { command: 'remotes' })) as RemoteListing[];
  return remote!.mtu;
}

for (const [family, inner] of [
  ['address', 1450],
  ['address6', 1430],
] as const)
  icmp(`16,385 errors, one for each source port, do not stop packets of 400 bytes; over ${family}`, async () => {
    await start(1, family);
    await start(2, family);
    const reach = (size: number, count = 3): Promise<number> =>
      ping(container[1], '10.0.0.2', { size: size - 28, count, interval: 0.02, dontFragment: true });
    assert.is(await reach(400), 3);
    // Packets of 400 bytes are under way all the time, so that something was sent lately.
    const under = reach(400, 200);
    for (const mtu of [68, 552, 600, 1330]) await forge(family, mtu, 'ports');
    const header = '0800000000100100';
    await forge(family, 552, 'ports', header); // the right VNI
    const macs = [MACS[2], MACS[1]].map((mac) => mac.replaceAll(':', '')).join('');
    // The right addresses too, for a packet of 1450 bytes, which was not sent.
    const ipv4 = '450005aa0000400040010000' + '0a0000010a000002';
    await forge(family, 552, 'ports', `${header}${macs}0800${ipv4}`);
    await forge(family, 600, 'echo');
    assert.is(await under, 200, 'packets of 400 bytes');
    assert.is(await mtuOfPeer(), null);
    assert.is(await reach(inner), 3, 'packets of full size');

    // While packets of full size are under way, an error that quotes only the UDP header may be true: some routers
    // quote no more. Its claim is bounded.
    const large = reach(inner, 100);
    for (const mtu of [68, 600, 1329]) await forge(family, mtu, 'ports');
    assert.is(await large, 100);
    assert.is(await mtuOfPeer(), null);
    if (family === 'address') {
      await forge(family, 1330, 'ports');
      assert.is(await mtuOfPeer(), 1280);
      assert.is(await reach(1280), 3);
    }
  });

for (const [family, poison, net, via] of [
  ['address', 600, '192.168.1.0/24', '172.31.1.1'],
  ['address6', 1300, 'fd00:2::/64', 'fd00:1::1'],
] as const)
  icmp(
    `an MTU that an error put into the kernel’s route cache before the start does not count; ${family}`,
    async () => {
      const { node1, node2 } = underlay;
      const overhead = family === 'address' ? 50 : 70;
      const routeTo = (): Promise<string> => must(['ip', '-n', node1.ns, 'route', 'get', node2[family]]);
      await forge(family, poison, 'echo');
      assert.match(await routeTo(), new RegExp(`expires \\d+sec.* mtu ${poison}`), 'the kernel believes it');
      const running = await start(1, family);
      assert.match(
        running.stdout,
        new RegExp(`MTU ${1500 - overhead} \\(eth0 towards ${node2[family]} has 1500, less`),
      );
      await start(2, family);
      assert.is(await ping(container[1], '10.0.0.2', { size: 1500 - overhead - 28, dontFragment: true }), 3);
      // What the administrator has set counts nevertheless.
      await vteps[0]!.stop();
      const route = [net, 'via', via, 'mtu', '1400'];
      await must(['ip', '-n', node1.ns, 'route', 'add', ...route]);
      try {
        await forge(family, poison, 'echo');
        assert.match(await routeTo(), new RegExp(`mtu ${poison}`));
        assert.match((await start(1, family)).stdout, new RegExp(`MTU ${1400 - overhead} \\(eth0 towards .* has 1400`));
      } finally {
        await must(['ip', '-n', node1.ns, 'route', 'del', ...route]);
      }
    },
  );

icmp.run();
