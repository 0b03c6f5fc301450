/**
 * A VTEP in the gossip of a real Docker swarm. DOCKER_LAB names the directory with Docker unpacked (see
 * test/support/docker.ts). Skipped without it, and if the engine cannot run, as in most containers.
 *
 *     container - Docker's overlay network, an engine - node1 ---- router ---- node2 - vtep agent - TAP in "box"
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import * as assert from 'uvu/assert';
import { dockerNetwork } from '../../src/cli/docker-network.js';
import { type NetworkDetails } from '../../src/schema/index.js';
import { DOCKER, DockerEngine, type DockerContainer, type DockerNetwork } from '../support/docker.js';
import {
  createUnderlay,
  exec,
  hopsIn,
  must,
  ping,
  REPOSITORY,
  run,
  TRACEROUTE,
  VTEP,
  waitFor,
  type Running,
  type Underlay,
} from '../support/lab.js';
import type { NamesRequest } from '../support/names-agent.js';
import { suiteWith } from '../support/needs.js';
import { bundled, LineProgram } from '../support/node-program.js';

const NEEDS = ['root', 'tun', 'ip', 'bridge', 'ping', 'nsenter', 'traceroute', 'unshare', 'openssl'];
const NAME = 'weft';
/** An endpoint of the VTEP, outside the range that the swarm assigns. */
const HOST = 200;
const MAC = '02:42:0a:00:00:c8';
/** How often an agent is alone in a network before Docker joins it. */
const ATTEMPTS = 4;
/** Milliseconds: Docker waits 30 s for an acknowledgement that is lost, and it fails a start after 20 s. */
const ATTACH_LIMIT = 10_000;
const directory = DOCKER === undefined ? '' : mkdtempSync(join(tmpdir(), 'weft-docker-'));
const control = join(directory, 'control');

let underlay: Underlay;
let engine: DockerEngine;
let network: DockerNetwork;
let container: DockerContainer;
let box: string;
let keys: string[];

const addressOf = ({ subnet }: DockerNetwork): string => subnet.replace(/\.0\/\d+$/, `.${HOST}`);

/** A VTEP with one endpoint, in "box", that has joined the swarm's gossip. */
async function agent(which: string, on = network, ...more: string[]): Promise<Running> {
  const { id, vni, subnet } = on;
  const length = subnet.split('/')[1]!;
  const { node1, node2, lab } = underlay;
  return lab.startVtep({
    ns: node2.ns,
    args: [
      ...['agent', '--local', node2.address, '--join', node1.address, '--name', NAME, ...keys, '--engine', which],
      ...['--network', `${id}:${vni}:${subnet}`, '--control', control],
      ...['--tap', 'eth0', '--netns', box, '--mac', MAC, '--address', `${addressOf(on)}/${length}`, ...more],
    ],
  });
}

/** Whether Docker lists the VTEP in the network, and sends it packets for its endpoint. */
async function known(): Promise<{ peer: boolean; fdb: boolean; neighbor: boolean }> {
  const { fdb, neighbors } = await engine.programmed('net');
  return {
    peer: (await engine.peers('net')).includes(NAME),
    fdb: fdb.includes(`${MAC} dst ${underlay.node2.address} `),
    neighbor: neighbors.includes(`${addressOf(network)} lladdr ${MAC} PERMANENT`),
  };
}

async function docks(state: boolean): Promise<void> {
  const all = { peer: state, fdb: state, neighbor: state };
  let last: unknown;
  const reached = async (): Promise<boolean> => isDeepStrictEqual((last = await known()), all);
  await waitFor(`Docker to ${state ? 'know' : 'forget'} the VTEP`, reached).catch(() => assert.equal(last, all));
}

/** Whether a VTEP sends packets for an address to another VTEP, by default Docker's. */
async function hears(ip: string, at = underlay.node1.address, path = control): Promise<boolean> {
  const args = ['show', 'neighbors', '--json', '--control', path];
  const { stdout } = await run([...VTEP, ...args]);
  return (JSON.parse(stdout) as { ip: string; vtep?: string }[]).some((one) => one.ip === ip && one.vtep === at);
}

/** Whether the VTEP lists Docker's node as a living member. */
async function seesDocker(): Promise<boolean> {
  const { stdout } = await run([...VTEP, 'show', 'members', '--json', '--control', control]);
  const members = JSON.parse(stdout || '[]') as { address: string; state: string }[];
  return members.some(({ address, state }) => address.startsWith(underlay.node1.address) && state === 'alive');
}

/** Lines of Docker's log about the gossip. */
const OF_GOSSIP = /memberlist|networkdb|bulk sync|peer|neighbor|weft/i;

/** What Docker says if it gets the processor late: it did not hear of a member in time, and then it did. */
const BUSY = /healthscore|[Ss]uspect|other probes failed/;

/** Docker's warnings and errors after a position in its log. */
function complaints(since: number): string[] {
  return engine.log
    .slice(since)
    .split('\n')
    .filter((line) => /level=(warning|error|fatal)/.test(line) && OF_GOSSIP.test(line) && !BUSY.test(line));
}

/** Networks that Docker makes, by what they have. */
const INSPECTED: Readonly<Record<string, object>> = {
  'two subnets': { IPAM: { Config: [{ Subnet: '10.8.1.0/24' }, { Subnet: '10.8.2.0/24', Gateway: '10.8.2.9' }] } },
  everything: {
    IPAM: {
      Config: [
        {
          ...{ Subnet: '10.9.1.0/24', Gateway: '10.9.1.254', IPRange: '10.9.1.128/25' },
          AuxiliaryAddresses: { printer: '10.9.1.9' },
        },
      ],
    },
    Internal: true,
    Labels: { stage: 'test' },
    Options: { 'com.docker.network.driver.mtu': '1400' },
  },
};

type DockerInspected = ReturnType<typeof dockerNetwork> & { Created: string; Containers: Record<string, unknown> };

/** What a node of a cluster would say of a network of Docker. */
function detailsOf(docker: DockerInspected): NetworkDetails {
  const vnis = docker.Options['com.docker.network.driver.overlay.vxlanid_list']!.split(',').map(Number);
  const mtu = docker.Options['com.docker.network.driver.mtu'];
  return {
    ...{ id: docker.Id, name: docker.Name, created: Date.parse(docker.Created), internal: docker.Internal },
    ...{ ipv6: docker.EnableIPv6, labels: docker.Labels, ...(mtu === undefined ? {} : { mtu: Number(mtu) }) },
    subnets: docker.IPAM.Config.map(({ Subnet, Gateway, IPRange, AuxiliaryAddresses = {} }, i) => ({
      ...{ prefix: Subnet, gateway: Gateway, vni: vnis[i]!, auxiliary: AuxiliaryAddresses },
      ...(IPRange === undefined ? {} : { range: IPRange }),
    })),
    endpoints: Object.entries(docker.Containers as DockerContainers).map(([id, one]) => ({
      ...{ id, name: one.Name, network: docker.Name, networkId: docker.Id, mac: one.MacAddress },
      ...{ addresses: [one.IPv4Address.split('/')[0]!], node: 'here', nodeId: 'here', kind: 'run', service: null },
      ...{ aliases: [], created: 0, state: 'running', code: null, reason: null, netns: null },
    })),
    peers: docker.Peers.map(({ Name, IP }) => ({ node: Name, name: Name, address: IP })),
  };
}

type DockerContainers = ReturnType<typeof dockerNetwork>['Containers'];

/** The names of all fields, in their order. */
function keysOfAll(value: unknown): string[] {
  if (typeof value !== 'object' || value === null) return [];
  return Object.entries(value).flatMap(([key, one]) => [key, ...keysOfAll(one)]);
}

function define(docker: ReturnType<typeof suiteWith>): void {
  let refused = false;
  const test = (name: string, body: () => Promise<void>): void =>
    docker(name, async () => {
      if (!refused) await body();
    });

  docker.before(async () => {
    underlay = await createUnderlay({ prefix: 'hd' });
    const started = await DockerEngine.start(underlay.lab, underlay.node1.ns, join(directory, 'engine'));
    if ('refused' in started) {
      refused = true;
      return console.log(`skipped VTEP and Docker: the engine does not run here: ${started.refused}`);
    }
    engine = started;
    box = await underlay.lab.namespace('box');
    await engine.makeImage();
    const swarm = await engine.makeSwarm(underlay.node1.address);
    network = await engine.makeNetwork('net');
    container = await engine.start('c1', 'net');
    keys = await keysOf(swarm);
  });

  docker.after(async () => {
    await engine?.stop();
    await underlay?.lab.teardown();
    rmSync(directory, { recursive: true });
  });

  for (const [i, [what, more]] of Object.entries(INSPECTED).entries())
    test(`vtep network inspect --format docker prints what Docker does for a network with ${what}`, async () => {
      const name = `inspected-${i}`; // Docker takes a while to remove one
      await engine.makeNetwork(name, [], more);
      const sleeper = await engine.start(`c-${name}`, name);
      try {
        const docker = (await engine.inspect(name)) as unknown as DockerInspected;
        // Docker's own endpoint in the network, which weft does not have; the time has nanoseconds.
        delete docker.Containers[`lb-${name}`];
        // In a cluster of weft, a container and its endpoint are one.
        for (const [id, one] of Object.entries(docker.Containers)) Object.assign(one as object, { EndpointID: id });
        const ours = dockerNetwork(detailsOf(docker));
        docker.Created = docker.Created.replace(/(\.\d{3})\d*Z$/, '$1000000Z');
        assert.equal(ours, docker);
        assert.equal(keysOfAll(ours), keysOfAll(docker));
      } finally {
        await engine.remove(sleeper);
        await engine.removeNetwork(name);
      }
    });

  for (const which of ['dgram', 'linux'])
    test(`${which}: joins, is found, learns containers, leaves`, async () => {
      const since = engine.log.length;
      const vtep = await agent(which);
      await docks(true);
      await waitFor('the container to be known', () => hears(container.ip));
      assert.is(await ping(box, container.ip), 3);
      assert.ok(await engine.ping(container, addressOf(network)));

      const another = await engine.start('c2', 'net');
      await waitFor('the new container to be known', () => hears(another.ip));
      assert.is(await ping(box, another.ip), 3);
      await engine.remove(another);
      await waitFor('the container to be forgotten', async () => !(await hears(another.ip)));

      await sleep(3000); // probes in both directions
      assert.is((await vtep.stop()).code, 0);
      await docks(false);
      assert.equal(complaints(since), []);
    });

  test('Docker passes the IPv6 endpoints of two agents on, which cannot reach each other, and ignores them', async () => {
    const since = engine.log.length;
    const [one, two] = ['fd00:9::c8', 'fd00:9::c9'] as const;
    const there = join(directory, 'control2');
    const { node1, node2, router, lab } = underlay;
    const far = await lab.namespace('far');
    const address = '172.31.1.1'; // the router's own, on Docker's side
    // What the router itself sends does not reach the other agent, nor the other way round. What it forwards does.
    const rule = ['iif', 'lo', 'to', node2.address, 'blackhole', 'priority', '10'];
    const route = ['blackhole', `${address}/32`];
    await must(['ip', '-n', router, 'rule', 'add', ...rule]);
    await must(['ip', '-n', node2.ns, 'route', 'add', ...route]);
    assert.equal([await ping(router, node2.address), await ping(node2.ns, address)], [0, 0]);
    const mac = '02:42:0a:00:00:c9';
    const ip = addressOf(network).replace(/200$/, '201');
    const vtep = await agent('linux', network, '--endpoint', `${one},${MAC},${node2.address}`);
    const other = await lab.startVtep({
      ns: router,
      args: [
        ...['agent', '--local', address, '--join', node1.address, '--name', 'other', ...keys, '--control', there],
        ...['--network', `${network.id}:${network.vni}:${network.subnet}`, '--endpoint', `${two},${mac},${address}`],
        ...['--tap', 'eth0', '--netns', far, '--mac', mac, '--address', `${ip}/${network.subnet.split('/')[1]!}`],
      ],
    });
    await docks(true);
    await waitFor('the first agent to know the endpoint', () => hears(two, address));
    await waitFor('the second agent to know the endpoint', () => hears(one, node2.address, there));
    // Docker's own network works, and has the IPv4 endpoints of both.
    assert.ok(await engine.ping(container, addressOf(network)));
    assert.ok(await engine.ping(container, ip));
    const { neighbors } = await engine.programmed('net');
    assert.not.match(neighbors, 'fd00:9:');
    const another = await engine.start('c6', 'net');
    await waitFor('the new container to be known', () => hears(another.ip));
    assert.is(await ping(box, another.ip), 3);
    await engine.remove(another);

    await must(['ip', '-n', router, 'rule', 'del', ...rule]);
    await must(['ip', '-n', node2.ns, 'route', 'del', ...route]);
    for (const [ns, own] of [
      [box, one],
      [far, two],
    ] as const)
      await must(['ip', '-n', ns, 'addr', 'add', `${own}/64`, 'dev', 'eth0', 'nodad']);
    await waitFor('the agents to reach each other', async () => (await ping(box, two, { count: 1 })) === 1);
    assert.is(await ping(far, one), 3);
    assert.is((await other.stop()).code, 0);
    await waitFor('the endpoint to be forgotten', async () => !(await hears(two, address)));
    assert.is((await vtep.stop()).code, 0);
    assert.equal([complaints(since), engine.log.slice(since).match(/weft_peer_table|fd00:9:/g)], [[], null]);
  });

  test('a network of two subnets: each packet is routed on the host of its sender, by Docker or by the VTEP', async () => {
    const { node1, node2, lab } = underlay;
    const { id, subnets } = await engine.makeNetwork('prod-net', ['10.1.1.0/24', '11.1.1.0/24']);
    const [p1, p2] = [
      await engine.start('p1', 'prod-net', '10.1.1.10'),
      await engine.start('p2', 'prod-net', '11.1.1.10'),
    ];
    await engine.forward('prod-net');
    const ours = [
      { ns: await lab.namespace('v1'), ip: '10.1.1.200', theirs: p2 },
      { ns: await lab.namespace('v2'), ip: '11.1.1.200', theirs: p1 },
    ];
    const file = join(directory, 'prod.json');
    const config = {
      local: node2.address,
      control,
      segments: [],
      gossip: {
        name: NAME,
        join: [node1.address],
        keys: keys.filter((word) => word !== '--key'),
        networks: [{ id, subnets: subnets.map(({ subnet: prefix, gateway, vni }) => ({ prefix, gateway, vni })) }],
      },
      taps: ours.map(({ ns, ip }, i) => ({ name: 'eth0', netns: ns, vni: subnets[i]!.vni, address: `${ip}/24` })),
    };
    writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
    const vtep = await lab.startVtep({ ns: node2.ns, args: ['agent', '--config', file] });
    for (const { ip } of [p1, p2]) await waitFor(`the container ${ip} to be known`, () => hears(ip));
    const gatewayOf = (ip: string): string => ip.replace(/\d+$/, '1');
    for (const { ns, ip, theirs } of ours) {
      await waitFor('Docker to know the endpoint', () => engine.ping(theirs, ip));
      for (const to of [p1.ip, p2.ip, '10.1.1.1', '11.1.1.1']) assert.is(await ping(ns, to), 3, `${ip} to ${to}`);
      for (const from of [p1, p2]) assert.ok(await engine.ping(from, ip), `${from.ip} to ${ip}`);
      assert.equal(hopsIn(await exec(ns, [...TRACEROUTE, theirs.ip])), [gatewayOf(ip), theirs.ip]);
      assert.equal(await engine.trace(theirs, ip), [gatewayOf(theirs.ip), ip]);
    }
    assert.is((await vtep.stop()).code, 0);
    for (const one of [p1, p2]) await engine.remove(one);
  });

  test('names of containers are known here, and names of endpoints in Docker', async () => {
    const since = engine.log.length;
    const { id, vni, subnet } = network;
    const { node1, node2 } = underlay;
    const file = join(directory, 'names.json');
    const own = { ip: addressOf(network), mac: MAC };
    const config = {
      ...{ local: node2.address, segments: [] },
      gossip: {
        ...{ name: NAME, join: [node1.address], keys: keys.filter((word) => word !== '--key') },
        networks: [{ id, subnets: [{ prefix: subnet, vni }] }],
      },
      taps: [{ name: 'eth0', netns: box, mac: MAC, vni, address: `${own.ip}/${subnet.split('/')[1]!}` }],
    };
    writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
    const program = new LineProgram<NamesRequest>(node2.ns, [...(await bundled('test/support/names-agent.ts')), file]);
    try {
      await program.ready;
      const service = { id: '5cj0as2o3hsplv3taazf4g9bc', name: 'websvc' };
      const names = [{ ...own, name: 'box.1', aliases: ['boxalias'], service }];
      await program.ask({ announce: [id, names] });
      const isKnown = async (name: string, ip: string): Promise<boolean> =>
        isDeepStrictEqual(await program.ask({ addressesOf: [id, name] }), [ip]);
      await waitFor('the name of the container', () => isKnown('c1', container.ip));
      assert.ok(await isKnown(container.id.slice(0, 12), container.ip), 'the alias that Docker gives it');
      assert.equal(await program.ask({ namesOf: [id, container.ip] }), ['c1']);
      const another = await engine.start('c7', 'net');
      await waitFor('the name of the new container', () => isKnown('c7', another.ip));
      await engine.remove(another);
      await waitFor('the name to go', async () => !(await isKnown('c7', another.ip)));
      // Docker answers in its containers only where iptables is installed; this is what it answers with.
      const isInDocker = async (): Promise<boolean> =>
        (await engine.services('net')).includes(`websvc box.1 ${own.ip}`);
      await waitFor('Docker to know the name', isInDocker);
      await program.ask({ announce: [id, []] });
      await waitFor('Docker to forget the name', async () => !(await isInDocker()));
    } finally {
      await program.end(false);
    }
    await docks(false);
    assert.equal(
      [complaints(since), engine.log.slice(since).match(/[^\n]*(endpoint name|service binding)[^\n]*/g)],
      [[], null],
    );
  });

  test('Docker detects a killed VTEP, and accepts it again', async () => {
    (await agent('dgram')).signal('SIGKILL');
    await docks(false);
    const vtep = await agent('dgram');
    await docks(true);
    assert.ok(await engine.ping(container, addressOf(network)));
    await vtep.stop();
  });

  test('an agent that is alone in a network: Docker attaches its first container there without delay', async () => {
    const since = engine.log.length;
    const took: number[] = [];
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const name = `first${attempt}`;
      const alone = await engine.makeNetwork(name);
      const vtep = await agent(attempt % 2 === 0 ? 'linux' : 'dgram', alone);
      await waitFor('the VTEP to know the engine', () => seesDocker());
      await sleep(attempt * 500); // the engine learns of the VTEP's network over UDP, a little later
      const before = Date.now();
      const first = await engine.start(`c-${name}`, name);
      took.push(Date.now() - before);
      await waitFor('the container to be known', () => hears(first.ip));
      assert.is(await ping(box, first.ip), 3);
      assert.ok(await engine.ping(first, addressOf(alone)));
      await engine.remove(first);
      await vtep.stop();
    }
    console.log(`\n# with the agent first, Docker starts a container in ${took.join(', ')} ms`);
    assert.ok(Math.max(...took) < ATTACH_LIMIT, took.join(', '));
    assert.equal(complaints(since), []);
  });

  test('a paused engine is detected, and a member again when it resumes', async () => {
    const vtep = await agent('dgram');
    await docks(true);
    await waitFor('the container to be known', () => hears(container.ip));
    engine.pause(true);
    await waitFor('the engine to be missed', async () => !(await hears(container.ip)));
    engine.pause(false);
    await waitFor('the engine to be back', () => hears(container.ip));
    await docks(true);
    assert.is(await ping(box, container.ip), 3);
    await vtep.stop();
  });

  docker.run();
}

/** The keys of a swarm as flags of `vtep`. */
async function keysOf(swarm: { token: string; ca: string }): Promise<string[]> {
  const file = join(directory, 'swarm');
  writeFileSync(file, JSON.stringify({ ...swarm, address: underlay.node1.address }));
  const print = join(REPOSITORY, 'test/support/swarm.ts');
  return (await exec(underlay.node2.ns, [process.execPath, '--import', 'tsx', print, file]))
    .trim()
    .split('\n')
    .flatMap((key) => ['--key', key]);
}

define(suiteWith('a VTEP and Docker', DOCKER === undefined ? ['DOCKER_LAB'] : NEEDS));
