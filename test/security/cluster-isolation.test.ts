/**
 * Networks of a cluster are apart, and an endpoint does not disturb others: what a container can do to another one of its
 * network, to another network with the same addresses, and to its host.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import * as arp from '../../src/arp/index.js';
import * as ethernet from '../../src/ethernet/index.js';
import * as icmpv6 from '../../src/icmpv6/index.js';
import * as ipv6 from '../../src/ipv6/index.js';
import { type NetworkDetails } from '../../src/schema/index.js';
import { ClusterHost, type Sleeper } from '../support/cluster-host.js';
import { arpRequest, BROADCAST, udpFrame, type Station } from '../support/frames.js';
import { hex } from '../support/hex.js';
import { createUnderlay, must, run, waitFor, type Underlay } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { bundledProgram, type Program } from '../support/program.js';
import { RawFrames } from '../support/raw-frames.js';

const test = suiteWith('the isolation of a cluster', ['root', 'tun', 'ip', 'ping', 'python3', 'setsid']);

/** Frames of an attack with many source addresses. */
const RANDOM = 5000;

let program: Program;
let underlay: Underlay;
let folder = '';
let one: ClusterHost;
let two: ClusterHost;
/** What each test closes at its end. */
const opened: RawFrames[] = [];

test.before(async () => {
  program = await bundledProgram();
  underlay = await createUnderlay({ prefix: 'iso' });
  folder = mkdtempSync(join(tmpdir(), 'weft-isolation-'));
  const place = { lab: underlay.lab, program, folder };
  one = new ClusterHost(place, 'host1', underlay.node1);
  two = new ClusterHost(place, 'host2', underlay.node2);
  await one.init(two);
});
test.after.each(async () => {
  for (const frames of opened.splice(0)) await frames.close();
});
test.after(async () => {
  for (const host of [two, one]) await host.end();
  await underlay.lab.teardown();
  rmSync(folder, { recursive: true, force: true });
  program.remove();
});

/** The frames that a device receives from now on, in hexadecimal. */
async function watch(ns: string, device = 'eth0'): Promise<{ frames: string[]; raw: RawFrames }> {
  const frames: string[] = [];
  const raw = await RawFrames.open(ns, [device]);
  raw.onFrame = (_, frame) => void frames.push(frame);
  opened.push(raw);
  return { frames, raw };
}

/** Waits until one sandbox has an answer of an address. */
function reached(from: Sleeper, address: string): Promise<boolean> {
  const command = ['ip', 'netns', 'exec', from.netns, 'ping', '-c1', '-W1', '-n', address];
  return waitFor(`${from.name} to reach ${address}`, async () => (await run(command)).code === 0);
}

/** The counters of a host's VTEP in one network, as Prometheus reads them: drops by reason, the rest by name. */
async function counted(host: ClusterHost, vni: number): Promise<Record<string, number>> {
  const text = await host.vtep('show', 'counters', '--prometheus', '--control', host.socket);
  const own = new RegExp(`^weft_(\\w+)_total\\{vni="${vni}"(?:,reason="([^"]+)")?\\} (\\d+)$`, 'gm');
  return Object.fromEntries([...text.matchAll(own)].map(([, name, reason, count]) => [reason ?? name!, Number(count)]));
}

// ---- Two networks with the same addresses ----

test('two networks with the same subnet and the same addresses have nothing in common', async () => {
  for (const name of ['iso-red', 'iso-blue'])
    await one.vtep('network', 'create', name, '--subnet', '10.7.0.0/24', '--overlapping');
  const [A, B] = ['10.7.0.10', '10.7.0.20'];
  const all: Record<string, Sleeper> = {};
  for (const color of ['red', 'blue'])
    for (const [host, which, ip] of [
      [one, 'a', A],
      [two, 'b', B],
    ] as const)
      all[`${color}-${which}`] = await host.sleeper(`iso-${color}`, `iso-${color}-${which}`, '--ip', ip);
  const { 'red-a': redA, 'red-b': redB, 'blue-a': blueA, 'blue-b': blueB } = all as Record<string, Sleeper>;
  assert.equal([redA!.addresses, redB!.addresses], [blueA!.addresses, blueB!.addresses]);
  const vnis = await Promise.all(
    ['iso-red', 'iso-blue'].map(async (name) => (await one.json<NetworkDetails[]>('network', 'inspect', name))[0]!),
  );
  assert.is.not(vnis[0]!.subnets[0]!.vni, vnis[1]!.subnets[0]!.vni);
  for (const from of [redA!, blueA!]) await reached(from, B);

  const seen = {
    redA: await watch(redA!.netns),
    redB: await watch(redB!.netns),
    blueA: await watch(blueA!.netns),
    blueB: await watch(blueB!.netns),
  };
  // Each network's traffic has a pattern of its own, to one, to all, to a group, to nobody, and to the other's MAC address.
  const patterns = { red: 'c0ffee11', blue: 'beef2222' };
  const talk = async (from: Sleeper, to: string, pattern: string): Promise<void> => {
    const ping = async (target: string, ...flags: string[]): Promise<string> =>
      (await run([...words(from), 'ping', '-n', '-p', pattern, '-i', '0.05', '-W1', ...flags, target])).stdout;
    assert.match(await ping(to, '-c20'), / 20 received/);
    await ping('10.7.0.255', '-b', '-c5');
    await ping('224.0.0.1', '-c5', '-I', 'eth0');
    await ping('10.7.0.77', '-c2');
  };
  const strange = (from: Sleeper, to: Sleeper): string => {
    const frame = udpFrame(station(from), { ip: B, mac: to.mac }, { size: 64 });
    frame.set(Buffer.from(patterns.red, 'hex'), 60);
    return hex(frame);
  };
  await Promise.all([talk(redA!, B, patterns.red), talk(blueB!, A, patterns.blue)]);
  for (let i = 0; i < 20; i++) seen.redA.raw.send('eth0', strange(redA!, blueB!));
  for (let i = 0; i < 20; i++) seen.redA.raw.send('eth0', strange(redA!, blueA!));
  await Promise.all([talk(redB!, A, patterns.red), talk(blueA!, B, patterns.blue)]);
  const count = ({ frames }: { frames: readonly string[] }, pattern: string): number =>
    frames.filter((frame) => frame.includes(pattern)).length;
  for (const side of [seen.redA, seen.redB]) {
    assert.ok(count(side, patterns.red) >= 40, `${count(side, patterns.red)} frames of its own network`);
    assert.is(count(side, patterns.blue), 0);
  }
  for (const side of [seen.blueA, seen.blueB]) {
    assert.ok(count(side, patterns.blue) >= 40, `${count(side, patterns.blue)} frames of its own network`);
    assert.is(count(side, patterns.red), 0);
  }
});

// ---- The keys of an encrypted network ----

/** What a host has heard of the keys of networks: in its state directory, and in all that it may ask a manager for. */
async function heard(host: ClusterHost): Promise<string> {
  const own = readFileSync(join(host.state, 'assignment.json'), 'utf8');
  const listed = await host.run('network', 'ls', '--json');
  return own + listed.stdout;
}

test('a node without an endpoint in an encrypted network never has its keys', async () => {
  await one.vtep('network', 'create', 'iso-keys', '--subnet', '10.8.0.0/24', '--encrypted');
  const a = await one.sleeper('iso-keys', 'iso-keys-a');
  interface Known {
    readonly networkKeys?: readonly { readonly network: string; readonly keys: readonly { readonly key: string }[] }[];
  }
  const keys = (): string[] => {
    const known = JSON.parse(readFileSync(join(one.state, 'assignment.json'), 'utf8')) as Known;
    return known.networkKeys!.flatMap((network) => network.keys.map(({ key }) => key));
  };
  const number = async (host: ClusterHost): Promise<number> =>
    (await host.json<NetworkDetails[]>('network', 'inspect', 'iso-keys'))[0]!.key!.number;
  const known = new Set(keys());
  assert.equal([known.size, await number(one)], [1, 1]);
  await one.vtep('network', 'rotate-key', 'iso-keys');
  await waitFor('the next key', () => keys().length === 2);
  for (const key of keys()) known.add(key);
  assert.is(await number(one), 2);
  const has = async (host: ClusterHost): Promise<boolean> => {
    const text = await heard(host);
    return [...known].some((key) => text.includes(key));
  };
  // The second host is a worker with the token of one, and gets each assignment.
  assert.is(await has(two), false);
  const refused = await two.run('network', 'inspect', 'iso-keys');
  assert.match(refused.stderr, /there is no network iso-keys/);
  assert.match((await two.run('network', 'rotate-key', 'iso-keys')).stderr, /a worker may not rotate network key/);
  // With an endpoint there it has them, and without one no longer.
  const b = await two.sleeper('iso-keys', 'iso-keys-b');
  await waitFor('the keys on host2', () => has(two));
  assert.is(await number(two), 2);
  await two.vtep('detach', b.name);
  await waitFor('the keys to be gone', async () => !(await has(two)));
  // No key is in what a manager prints, nor in the log of an agent.
  const printed = [
    await one.vtep('network', 'inspect', 'iso-keys', '--json'),
    await one.vtep('network', 'ls', '--json'),
    await one.vtep('network', 'inspect', 'iso-keys', '--format', 'docker'),
  ].join('');
  for (const key of known) assert.not.ok(printed.includes(key));
  assert.match(printed, /"encrypted": ""/);
  await one.vtep('detach', a.name);
  await one.vtep('network', 'rm', 'iso-keys');
});

// ---- An endpoint that takes what belongs to others ----

/** An ARP packet to all, or to one station, whose sender says that it has an address. */
function claim(ip: string, by: Station, operation: number, to = BROADCAST): Uint8Array {
  return ethernet.encode({
    destination: to,
    source: by.mac,
    etherType: ethernet.TYPE_ARP,
    payload: arp.encode({ operation, senderMac: by.mac, senderIp: ip, targetMac: to, targetIp: ip }),
  });
}

/** An unsolicited neighbor advertisement to all nodes, with the flag Override (RFC 4861, section 7.2.6). */
function advertisement(ip: string, { mac }: Station): Uint8Array {
  const addresses = { source: ip, destination: 'ff02::1' };
  const data = Uint8Array.from(mac.split(':'), (octet) => parseInt(octet, 16));
  const message = {
    type: 136,
    code: 0,
    override: true,
    target: ip,
    options: [{ type: 2, data }],
    payload: new Uint8Array(),
  };
  return ethernet.encode({
    destination: '33:33:00:00:00:01',
    source: mac,
    etherType: ethernet.TYPE_IPV6,
    payload: ipv6.encode({
      ...addresses,
      nextHeader: 58,
      hopLimit: 255,
      payload: icmpv6.encode(message, addresses),
    }),
  });
}

/** The MAC address that a sandbox has for each neighbor. */
async function neighbors({ netns }: Sleeper): Promise<Record<string, string>> {
  const all = JSON.parse(await must(['ip', '-n', netns, '-j', 'neigh', 'show', 'dev', 'eth0'])) as {
    dst: string;
    lladdr?: string;
  }[];
  return Object.fromEntries(all.flatMap(({ dst, lladdr }) => (lladdr === undefined ? [] : [[dst, lladdr]])));
}

/** The network of the attacks: `victim` and `near` are on the first host, `third` and `far` on the second one. */
async function scene() {
  await one.vtep('network', 'create', 'iso-net', '--subnet', '10.8.0.0/24', '--ipv6');
  const victim = await one.sleeper('iso-net', 'iso-victim');
  const near = await one.sleeper('iso-net', 'iso-near');
  const third = await two.sleeper('iso-net', 'iso-third');
  const far = await two.sleeper('iso-net', 'iso-far');
  const [network] = await one.json<NetworkDetails[]>('network', 'inspect', 'iso-net');
  const { gateway, vni } = network!.subnets[0]!;
  await reached(victim, third.addresses[0]!);
  for (const attacker of [near, far])
    for (const address of [victim.addresses[0]!, gateway]) await reached(attacker, address);
  return { victim, third, gateway, vni, attackers: [near, far] };
}
let scenery: ReturnType<typeof scene> | undefined;

/** Times that a frame of an attack is sent. */
const TIMES = 20;
/** Lengths of UDP payloads, by which the third endpoint tells frames of attacks apart. */
const AS_VICTIM = 99;
const WRONG_SOURCE = 101;
const AS_GATEWAY = 103;

for (const which of ['near', 'far'] as const)
  test(`an endpoint on ${which === 'near' ? 'the same' : 'the other'} host that takes the addresses of others is contained, counted and reported`, async () => {
    const { victim, third, gateway, vni, attackers } = await (scenery ??= scene());
    const attacker = attackers.find(({ name }) => name === `iso-${which}`)!;
    const { host } = attacker;
    const [v4, v6] = victim.addresses as [string, string];
    const before = await counted(host, vni);
    const logged = readFileSync(join(host.state, 'agent.log'), 'utf8').length;
    const events = underlay.lab.spawn([...program.command, 'events', '--json', '--control', host.socket]);
    const at = await watch(third.netns);
    const { raw, frames } = await watch(attacker.netns);
    const ping = [...words(victim), 'ping', '-n', '-i', '0.05', '-c', '60', '-W10', third.addresses[0]!];
    const pinging = underlay.lab.spawn(ping);
    await waitFor('the first reply', () => /bytes from/.test(pinging.stdout));

    const own = station(attacker);
    const send = (frame: Uint8Array, times = TIMES): void => {
      for (let i = 0; i < times; i++) raw.send('eth0', hex(frame));
    };
    const asVictim = { ip: v4, mac: victim.mac };
    send(udpFrame(asVictim, station(third), { size: AS_VICTIM }));
    send(arpRequest(asVictim, third.addresses[0]!));
    for (const operation of [arp.REQUEST, arp.REPLY]) {
      send(claim(v4, own, operation));
      send(claim(v4, own, operation, third.mac));
      send(claim(gateway, own, operation, third.mac));
    }
    send(advertisement(v6, own));
    const gatewayMac = await waitFor('the gateway', async () => (await neighbors(attacker))[gateway]);
    send(udpFrame({ ip: gateway, mac: gatewayMac }, station(third), { size: AS_GATEWAY }));
    send(udpFrame({ ip: v4, mac: own.mac }, station(third), { size: WRONG_SOURCE }));
    for (let i = 0; i < RANDOM; i++) {
      const mac = `02:${which === 'near' ? '66' : '77'}:00:00:${[i >> 8, i & 255].map((octet) => octet.toString(16).padStart(2, '0')).join(':')}`;
      send(udpFrame({ ip: '10.8.0.200', mac }, { ip: third.addresses[0]!, mac: BROADCAST }), 1);
    }

    // Contained: nobody believes it, and what others do goes on.
    assert.match((await pinging.ended).stdout, / 60 received, 0% packet loss/);
    const difference = async (): Promise<Record<string, number>> =>
      Object.fromEntries(Object.entries(await counted(host, vni)).map(([key, n]) => [key, n - (before[key] ?? 0)]));
    const passed = await waitFor('the attack to be counted', async () => {
      const now = await difference();
      return now['router-gateway-claim'] === 2 * TIMES && now['arp-claim'] === 5 * TIMES ? now : undefined;
    });
    assert.equal((await neighbors(third))[v4], victim.mac);
    const sized = (size: number): number => {
      const lengths = 2 * (ethernet.HEADER_LENGTH + 20 + 8 + size);
      return at.frames.filter((frame) => frame.length === lengths).length;
    };
    assert.is(sized(AS_VICTIM), 0, 'frames with the MAC address of the victim');
    assert.is(sized(AS_GATEWAY), 0, 'frames with the MAC address of the gateway');
    // As in a bridge, a packet may name another source. The answer, that the port is closed, goes to that one.
    await waitFor('the packets with a wrong source', () => sized(WRONG_SOURCE) > 0);
    const closed = new RegExp(`^${own.mac.replaceAll(':', '')}.{12}0800.{18}01`);
    assert.equal(
      frames.filter((frame) => closed.test(frame)),
      [],
    );

    // Counted.
    assert.is(passed['source-bound'], 2 * TIMES);
    assert.is(passed['source-own'], TIMES);
    assert.is(passed['duplicate_address'], 5 * TIMES);
    // Reported.
    const report = new RegExp(
      `duplicate address ${v4.replaceAll('.', '\\.')}: .* has ${victim.mac}, but ${own.mac} behind .*${attacker.netns}`,
    );
    const floods = new RegExp(`MAC flood: \\d+ new MAC addresses in about a second`);
    const flooded = which === 'near'; // of one network, once a minute at most
    const log = (): string => readFileSync(join(host.state, 'agent.log'), 'utf8').slice(logged);
    await waitFor('the log', () => report.test(log()) && (!flooded || floods.test(log())));
    await waitFor('the events', () => report.test(events.stdout) && (!flooded || floods.test(events.stdout)));
    for (const type of ['duplicate-address', ...(flooded ? ['mac-flood'] : [])])
      assert.ok(
        events.stdout.split('\n').some((line) => line.includes(`"type":"${type}"`)),
        type,
      );
    await events.stop('SIGINT');
    await reached(attacker, third.addresses[0]!);
  });

/** Whether a TCP connection to a port can be opened from a namespace. */
async function connects(ns: string, address: string, port: number): Promise<boolean> {
  const command = ['timeout', '3', 'bash', '-c', `exec 3<>/dev/tcp/${address}/${port}`];
  return (await run(['ip', 'netns', 'exec', ns, ...command])).code === 0;
}

test('a sandbox reaches no port of its host, of a manager or of a VTEP, through the gateway or past it', async () => {
  const { third, gateway, vni, attackers } = await (scenery ??= scene());
  const [near] = attackers as [Sleeper];
  const before = await counted(one, vni);
  const sent = await watch(underlay.router, 'eth1');
  for (const port of [2377, 7946]) {
    assert.ok(await connects(two.ns, one.address, port), `host2 reaches port ${port} of host1`);
    for (const address of [one.address, gateway, two.address])
      assert.not.ok(await connects(near.netns, address, port), `${address} port ${port}`);
  }
  // A datagram of VXLAN, from the sandbox to the VTEP of the other host, that carries a frame to an endpoint there.
  const inner = udpFrame(station(near), station(third), { size: AS_VICTIM });
  const { raw } = await watch(near.netns);
  const gatewayMac = (await neighbors(near))[gateway]!;
  const datagram = Uint8Array.of(8, 0, 0, 0, vni >> 16, (vni >> 8) & 255, vni & 255, 0, ...inner);
  for (const ip of [gateway, one.address, two.address])
    for (let i = 0; i < TIMES; i++)
      raw.send('eth0', hex(udpFrame(station(near), { ip, mac: gatewayMac }, { ports: [4789, 4789], data: datagram })));
  const closed = 'router-gateway-closed';
  const unknown = 'router-no-route';
  await waitFor('all to be counted', async () => {
    const now = await counted(one, vni);
    return now[closed]! - before[closed]! >= TIMES + 2 && now[unknown]! - before[unknown]! >= 2 * TIMES + 4;
  });
  assert.ok(sent.frames.length > 0, 'what host1 sends is seen');
  assert.equal(
    sent.frames.filter((frame) => frame.includes(hex(inner))),
    [],
  );
});

function words({ netns }: Sleeper): string[] {
  return ['ip', 'netns', 'exec', netns];
}

function station({ addresses, mac }: Sleeper): Station {
  return { ip: addresses[0]!, mac };
}

test.run();
