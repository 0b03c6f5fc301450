/**
 * A network of two subnets between our VTEP and the kernel, which is set up as Docker does it: two bridges with the
 * gateways' addresses and two vxlan devices, in one namespace that forwards. The configuration of our VTEP names the kernel's
 * endpoints. It cannot learn them by ARP: the kernel has the gateways' MAC address too, and keeps the replies to it. Each
 * test sends from both sides.
 *
 *     a1 10.1.1.10 --+                                              +-- br1 10.1.1.1 -- b1 10.1.1.20
 *                    our VTEP 172.31.1.5 ==== 192.168.1.25 kernel --+
 *     a2 11.1.1.10 --+                                              +-- br2 11.1.1.1 -- b2 11.1.1.20
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import {
  createUnderlay,
  exec,
  hopsIn,
  must,
  ping,
  run,
  TRACEROUTE,
  type Running,
  type Underlay,
} from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import {
  countersOf,
  dropsOf,
  exchange,
  neighborOf,
  offloads,
  quietNamespace,
  serve,
  type Container,
} from '../support/traffic.js';

const NEEDS = ['root', 'tun', 'ip', 'bridge', 'ping', 'traceroute', 'ethtool', 'sysctl'];
const GATEWAY_MAC = '02:42:0a:01:01:01';
const MTU = 1450;
const SUBNETS = [
  { prefix: '10.1.1.0/24', gateway: '10.1.1.1', vni: 4100 },
  { prefix: '11.1.1.0/24', gateway: '11.1.1.1', vni: 4101 },
];
const farMac = (subnet: number): string => `02:42:0a:01:0${subnet}:14`;
/** The first octets of an address in a subnet. */
const base = (subnet: number): string => SUBNETS[subnet]!.gateway.replace(/1$/, '');

for (const [engine, workers] of [
  ['linux', 1],
  ['linux', 2],
  ['dgram', 1],
] as const) {
  const title = `${engine}${workers > 1 ? ` with ${workers} workers` : ''}`;
  const routed = suiteWith(`a routed network between ${title} and the kernel`, NEEDS);
  const directory = mkdtempSync(join(tmpdir(), 'weft-routed-'));
  const control = join(directory, 'control');
  let underlay: Underlay;
  let sandbox: string;
  let vtep: Running;
  let ours: [Container, Container];
  let theirs: [Container, Container];

  /** A bridge with a gateway, a vxlan device and a container on a veth pair. */
  async function kernelSubnet(index: number): Promise<string> {
    const { lab, node1, node2 } = underlay;
    const { vni, gateway } = SUBNETS[index]!;
    const [br, vx, ve] = [`br${index}`, `vx${index}`, `ve${index}`];
    const ns = await quietNamespace(lab, `b${index}`);
    const link = (...words: string[]): Promise<string> => must(['ip', '-n', sandbox, 'link', ...words]);
    await link('add', 'name', br, 'type', 'bridge', 'mcast_snooping', '0');
    await link('set', 'dev', br, 'address', GATEWAY_MAC, 'mtu', String(MTU));
    const tunnel = ['id', String(vni), 'dstport', '4789', 'local', node2.address, 'remote', node1.address];
    // Its socket stays in the namespace of the host.
    await must(['ip', '-n', node2.ns, 'link', 'add', 'name', vx, 'type', 'vxlan', ...tunnel]);
    await must(['ip', '-n', node2.ns, 'link', 'set', 'dev', vx, 'netns', sandbox]);
    await link('add', 'name', ve, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', ns);
    for (const port of [vx, ve]) await link('set', 'dev', port, 'mtu', String(MTU), 'master', br, 'up');
    await link('set', 'dev', br, 'up');
    await must(['ip', '-n', sandbox, 'addr', 'add', `${gateway}/24`, 'dev', br]);
    await must(['ip', '-n', ns, 'link', 'set', 'dev', 'eth0', 'address', farMac(index), 'mtu', String(MTU), 'up']);
    await must(['ip', '-n', ns, 'addr', 'add', `${base(index)}20/24`, 'dev', 'eth0']);
    await must(['ip', '-n', ns, 'route', 'add', 'default', 'via', gateway]);
    return ns;
  }

  routed.before(async () => {
    underlay = await createUnderlay({ prefix: `rt${engine}${workers}` });
    const { lab, node1, node2 } = underlay;
    sandbox = await quietNamespace(lab, 'sandbox');
    await exec(sandbox, ['sysctl', '-qw', 'net.ipv4.ip_forward=1']);
    const containers = await Promise.all([0, 1].map((index) => quietNamespace(lab, `a${index}`)));
    const file = join(directory, 'vtep.json');
    const config = {
      local: node1.address,
      engine,
      workers,
      control,
      segments: SUBNETS.map(({ vni }, i) => ({
        vni,
        mtu: MTU,
        peers: [node2.address],
        endpoints: [{ ip: `${base(i)}20`, mac: farMac(i), vtep: node2.address }],
      })),
      networks: [{ name: 'prod-net', mac: GATEWAY_MAC, subnets: SUBNETS }],
      taps: SUBNETS.map(({ vni }, i) => ({ name: 'eth0', netns: containers[i], vni, address: `${base(i)}10/24` })),
    };
    writeFileSync(file, JSON.stringify(config));
    const far = [await kernelSubnet(0), await kernelSubnet(1)];
    vtep = await lab.startVtep({ ns: node1.ns, args: ['up', '--config', file] });
    for (const [i, ns] of containers.entries())
      await must(['ip', '-n', ns, 'route', 'replace', 'default', 'via', SUBNETS[i]!.gateway]);
    ours = [await serve(lab, containers[0]!, '10.1.1.10', 'a1'), await serve(lab, containers[1]!, '11.1.1.10', 'a2')];
    theirs = [await serve(lab, far[0]!, '10.1.1.20', 'b1'), await serve(lab, far[1]!, '11.1.1.20', 'b2')];
  });

  routed.after(async () => {
    await underlay.lab.teardown();
    rmSync(directory, { recursive: true });
  });

  /** Containers of different subnets: on our host, and on both hosts in either direction. */
  const pairs = (): [name: string, from: Container, to: Container][] => [
    ['ours to theirs', ours[0], theirs[1]],
    ['theirs to ours', theirs[0], ours[1]],
    ['ours to ours', ours[1], ours[0]],
  ];
  const gatewayOf = ({ ip }: Container): string => ip.replace(/\d+$/, '1');

  routed('ping, with the first packet from each side', async () => {
    for (const [name, from, to] of pairs()) assert.is(await ping(from.ns, to.ip), 3, name);
    for (const { ns, ip } of [...ours, ...theirs])
      for (const { gateway } of SUBNETS) assert.is(await ping(ns, gateway, { count: 1 }), 1, `${ip} to ${gateway}`);
    for (const one of ours) assert.is(await neighborOf(one.ns, gatewayOf(one)), GATEWAY_MAC);
  });

  routed('traceroute: the gateway, then the endpoint', async () => {
    for (const [name, from, to] of pairs()) {
      const hops = hopsIn(await exec(from.ns, [...TRACEROUTE, to.ip]));
      assert.equal(hops, [gatewayOf(from), to.ip], name);
    }
  });

  routed('TCP and UDP, whole and segmented by the sender', async () => {
    for (const [name, from, to] of pairs()) assert.is((await exchange(from, to)).length, 2, name);
    for (const { ns } of [ours[0], theirs[0]]) await offloads(ns, 'eth0', 'off');
    for (const [name, from, to] of pairs())
      assert.is((await exchange(from, to)).length, 2, `${name}, without offloads`);
    for (const { ns } of [ours[0], theirs[0]]) await offloads(ns, 'eth0', 'on');
  });

  /** What ping prints about a packet that is refused, without addresses of its own. */
  async function refusal(from: Container, target: string, flags: readonly string[]): Promise<string> {
    const { stdout, stderr } = await run([
      'ip',
      'netns',
      'exec',
      from.ns,
      'ping',
      '-n',
      '-c1',
      '-W5',
      ...flags,
      target,
    ]);
    return stdout + stderr;
  }

  routed('what is refused: TTL 1, unknown hosts and subnets, packets too big', async () => {
    for (const [name, from, to] of pairs()) {
      const gateway = gatewayOf(from);
      const near = new RegExp(`From ${gateway} icmp_seq=1 `);
      const expired = await refusal(from, to.ip, ['-t1']);
      assert.match(expired, near, name);
      assert.match(expired, /Time to live exceeded/, name);
      assert.match(await refusal(from, '10.77.0.1', []), new RegExp(`${near.source}Destination Net Unreachable`), name);
      const unknown = await refusal(from, to.ip.replace(/\d+$/, '99'), []);
      assert.match(unknown, new RegExp(`${near.source}Destination Host Unreachable`), name);
    }
  });

  routed('a narrower segment behind the router: an error with its MTU', async () => {
    const { node1, node2 } = underlay;
    // Both containers of the first subnet may send larger packets than the second subnet carries.
    for (const { ns } of [ours[0], theirs[0]])
      await must(['ip', '-n', ns, 'link', 'set', 'dev', 'eth0', 'mtu', '1500']);
    assert.ok(node1.ns !== node2.ns);
    const text = await refusal(ours[0], theirs[1].ip, ['-Mdo', `-s${MTU - 28 + 1}`]);
    assert.match(text, new RegExp(`From ${gatewayOf(ours[0])} icmp_seq=1 Frag needed and DF set \\(mtu = ${MTU}\\)`));
    assert.is(await ping(ours[0].ns, theirs[1].ip, { size: MTU - 28, dontFragment: true, count: 1 }), 1);
    // Without DF, it arrives in fragments.
    assert.match(await refusal(ours[0], theirs[1].ip, ['-Mdont', `-s${MTU}`]), /1 received/);
  });

  routed('the counters say what the router did, and that nothing else was lost', async () => {
    const all = await countersOf(control);
    const { counts } = all.vtep;
    const drops = dropsOf(all);
    for (const name of ['routed', 'gateway-arp', 'gateway-echo', 'gateway-errors', 'gateway-asked'] as const)
      assert.ok(counts[name] > 0, name);
    // The kernel's requests for its own gateways reach us too.
    const expected = ['router-gateway-remote', 'router-no-neighbor', 'router-no-route', 'router-too-big', 'router-ttl'];
    assert.equal(Object.keys(drops).sort(), expected.sort());
    await vtep.stop();
    assert.is(vtep.stderr, '');
  });

  routed.run();
}
