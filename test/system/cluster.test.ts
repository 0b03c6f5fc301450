/** A cluster of two hosts: networks, sandboxes and services come to the hosts that need them, and outlive their agents. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type EndpointRecord, type NetworkRecord, type View } from '../../src/cluster/index.js';
import {
  createUnderlay,
  devices,
  exec,
  hopsIn,
  ping,
  TRACEROUTE,
  udpSockets,
  waitFor,
  type Underlay,
} from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { endPrograms, NodeProgram } from '../support/node-program.js';

const test = suiteWith('a cluster', ['root', 'tun', 'ip', 'ping', 'traceroute', 'nsenter', 'setsid']);

let underlay: Underlay;
let folder = '';

test.before(async () => {
  await NodeProgram.prepare();
  underlay = await createUnderlay({ prefix: 'cl' });
});
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-cluster-'));
});
test.after.each(async () => {
  await endPrograms();
  rmSync(folder, { recursive: true, force: true });
});
test.after(() => underlay.lab.teardown());

const state = (name: string): string => join(folder, name);
/** The namespaces of this file's sandboxes; other files have some with other names. */
const sandboxes = (): string[] => readdirSync('/run/netns').filter((name) => /^weft-clu[.-]/.test(name));
/** The namespace of the sandbox whose endpoint has a name. */
const sandboxOf = (name: string): string | undefined => sandboxes().find((one) => one.startsWith(`weft-${name}-`));

/** Two nodes in a cluster, of which the first is the manager. */
async function cluster(): Promise<[NodeProgram, NodeProgram]> {
  const { node1, node2 } = underlay;
  const [one, two] = [new NodeProgram(node1.ns, state('one')), new NodeProgram(node2.ns, state('two'))];
  await Promise.all([one.ready, two.ready]);
  await one.ask({ init: { name: 'host1', address: node1.address } });
  const token = await one.ask<string>({ token: 'worker' });
  await two.ask({ join: { token, managers: [node1.address], name: 'host2', address: node2.address } });
  return [one, two];
}

const areRunning = ({ tasks }: View, count: number): boolean =>
  tasks.length === count && tasks.every((task) => task.state === 'running');
const networksOf = async (node: NodeProgram): Promise<string[]> =>
  (await node.ask<{ networks: string[] }>({ state: true })).networks;

test('a service has a replica on each host, and they reach each other; a host has only the networks that it needs', async () => {
  const [one, two] = await cluster();
  const network = await one.command<NetworkRecord>({ do: 'create-network', name: 'uber-net' });
  assert.is(network.subnets[0]!.prefix, '10.0.0.0/24');
  await one.command({ do: 'create-network', name: 'other-net' });
  assert.equal(await networksOf(two), []);
  const command = ['sh', '-c', 'while :; do sleep 1; done'];
  await one.command({ do: 'create-service', name: 'clu', networks: ['uber-net'], replicas: 2, command });
  const tasks = await waitFor('both replicas to run', async () => {
    const found = await one.command<View>({ do: 'view' });
    return areRunning(found, 2) ? found : undefined;
  });
  assert.is(new Set(tasks.tasks.map(({ node }) => node)).size, 2, 'one on each host');
  assert.equal(await networksOf(two), [network.id]);
  const address = (name: string): string => tasks.endpoints.find((one) => one.name === name)!.addresses[0]!;
  assert.is(await ping(sandboxOf('clu.1')!, address('clu.2')), 3);
  assert.is(await ping(sandboxOf('clu.2')!, address('clu.1')), 3);
  assert.match(await exec(sandboxOf('clu.1')!, ['ip', 'route']), /default via 10\.0\.0\.1 dev eth0/);
  // What a worker may read has nothing of the other network.
  const view = await two.command<View>({ do: 'view' });
  assert.equal(
    view.networks.map(({ name }) => name),
    ['uber-net'],
  );

  await one.command({ do: 'remove-service', service: 'clu' });
  await waitFor('the sandboxes to go', () => sandboxes().length === 0);
  await waitFor('the networks to go', async () => (await networksOf(two)).length === 0);
  await one.command({ do: 'remove-network', network: 'uber-net' });
});

test('endpoints of two subnets reach each other through the gateway, and keep their addresses', async () => {
  const [one, two] = await cluster();
  const subnets = [{ subnet: '10.1.1.0/24' }, { subnet: '11.1.1.0/24' }];
  await one.command({ do: 'create-network', name: 'prod-net', subnets });
  const create = (node: NodeProgram, name: string, ip: string): Promise<EndpointRecord> =>
    node.command({ do: 'create-endpoint', kind: 'run', network: 'prod-net', name, addresses: [ip] });
  await create(one, 'clu-p1', '10.1.1.10');
  await create(two, 'clu-p2', '11.1.1.20');
  await waitFor('both sandboxes to reach each other', async () => {
    const [from, to] = [sandboxOf('clu-p1'), sandboxOf('clu-p2')];
    return from !== undefined && to !== undefined && (await ping(from, '11.1.1.20', { count: 1 })) === 1;
  });
  const hops = await exec(sandboxOf('clu-p1')!, [...TRACEROUTE, '11.1.1.20']);
  assert.equal(hopsIn(hops), ['10.1.1.1', '11.1.1.20']);
  const error = await create(two, 'clu-p3', '10.1.1.10').then(
    () => undefined,
    (reason: Error & { code: string }) => reason,
  );
  assert.is(error?.code, 'conflict');
  assert.match(error!.message, /10\.1\.1\.10/);
});

test('commands and devices outlive a node that is killed, and the next process goes on with them, without a manager', async () => {
  const [one, two] = await cluster();
  await one.command({ do: 'create-network', name: 'uber-net' });
  const command = ['sh', '-c', 'while :; do sleep 1; done'];
  await one.command({ do: 'create-service', name: 'clu', networks: ['uber-net'], replicas: 2, command });
  const view = await waitFor('both replicas to run', async () => {
    const found = await one.command<View>({ do: 'view' });
    return areRunning(found, 2) ? found : undefined;
  });
  const host2 = view.nodes.find(({ name }) => name === 'host2')!.id;
  const own = view.endpoints.find(({ node }) => node === host2)!;
  const other = view.endpoints.find(({ node }) => node !== host2)!;
  /** The process of the command, and not those that it starts. */
  const pids = async (): Promise<string[]> => {
    const all = await exec(sandboxOf(own.name)!, ['ip', 'netns', 'pids', sandboxOf(own.name)!]);
    return all.split('\n').filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8') === `${command.join('\0')}\0`;
      } catch {
        return false; // it has ended
      }
    });
  };
  const before = await pids();
  assert.is(before.length, 1);
  await waitFor('a reply', async () => (await ping(sandboxOf(own.name)!, other.addresses[0]!, { count: 1 })) === 1);

  await two.end(true);
  await one.end(true); // its manager is gone as well
  const again = new NodeProgram(underlay.node2.ns, state('two'));
  const manager = new NodeProgram(underlay.node1.ns, state('one'));
  await Promise.all([again.ready, manager.ready]);
  await waitFor('a reply', async () => (await ping(sandboxOf(own.name)!, other.addresses[0]!, { count: 1 })) === 1);
  assert.equal(await pids(), before, 'the command is the same');
  const after = await manager.command<View>({ do: 'view' });
  assert.equal(
    after.tasks.map(({ id, attempt, state: now }) => [id, attempt, now]),
    view.tasks.map(({ id, attempt }) => [id, attempt, 'running']),
  );
});

test('a command that ends is started again, and its end is told with its output', async () => {
  const [one] = await cluster();
  await one.command({ do: 'create-network', name: 'uber-net' });
  const command = ['sh', '-c', 'echo "no such file: a.conf" >&2; exit 3'];
  await one.command({ do: 'create-service', name: 'clu', networks: ['uber-net'], replicas: 1, command });
  const task = await waitFor('a second attempt', async () => {
    const [found] = (await one.command<View>({ do: 'view' })).tasks;
    return found !== undefined && found.attempt > 1 && found.endings.length > 0 ? found : undefined;
  });
  assert.equal(
    [task.endings[0]!.state, task.endings[0]!.code, task.endings[0]!.output],
    ['exited', 3, ['no such file: a.conf']],
  );
});

test('a namespace of somebody else gets a device, which goes with its endpoint, also if the node is killed in between', async () => {
  const [one, two] = await cluster();
  const { lab, node2 } = underlay;
  await one.command({ do: 'create-network', name: 'uber-net' });
  await one.command({
    do: 'create-endpoint',
    kind: 'run',
    network: 'uber-net',
    name: 'clu-p1',
    addresses: ['10.0.0.10'],
  });
  const ns = await lab.namespace('box');
  const attachment = { network: 'uber-net', name: 'box', netns: ns, addresses: ['10.0.0.20'] };
  await two.ask({ attach: attachment });
  const isThere = async (): Promise<boolean> => (await devices(ns)).includes('eth0');
  await waitFor('the device', isThere);
  await waitFor('a reply', async () => (await ping(ns, '10.0.0.10', { count: 1 })) === 1);
  const refused = await two.ask({ attach: { ...attachment, name: 'other' } }).catch((error: Error) => error.message);
  assert.match(String(refused), /10\.0\.0\.20/);
  const missing = await two.ask({ attach: { ...attachment, netns: 'nowhere' } }).catch((error: Error) => error.message);
  assert.match(String(missing), /nowhere/);

  await two.end(true);
  const { endpoints } = await one.command<View>({ do: 'view' });
  const { id } = endpoints.find(({ name }) => name === 'box')!;
  await one.command({ do: 'remove-endpoint', network: 'uber-net', endpoint: id });
  assert.ok(await isThere());
  const again = new NodeProgram(node2.ns, state('two'));
  await again.ready;
  await waitFor('the device to go', async () => !(await isThere()));
});

test('a node that leaves has no device, namespace, process, socket or file of the cluster', async () => {
  const [one, two] = await cluster();
  await one.command({ do: 'create-network', name: 'uber-net' });
  await two.command({ do: 'create-endpoint', kind: 'run', network: 'uber-net', name: 'clu-p2' });
  await waitFor('the sandbox', async () => (await two.ask<{ taps: string[] }>({ state: true })).taps.length === 1);
  await two.ask({ leave: true });
  assert.equal(sandboxes(), []);
  assert.equal(readdirSync(state('two')), []);
  assert.equal(await udpSockets(underlay.node2.ns), []);
  const { nodes } = await one.command<View>({ do: 'view' });
  assert.is(nodes.find(({ name }) => name === 'host2')!.state, 'left');
});

test('a node that is removed ends what it runs, and the gossip reads it no longer', async () => {
  const [one, two] = await cluster();
  await one.command({ do: 'create-network', name: 'uber-net' });
  await two.command({ do: 'create-endpoint', kind: 'run', network: 'uber-net', name: 'clu-p2' });
  await waitFor('the sandbox', async () => (await two.ask<{ taps: string[] }>({ state: true })).taps.length === 1);
  const { gossipKeys: known } = await two.ask<{ gossipKeys: string[] }>({ state: true });
  assert.ok(known.length > 0);
  await one.command({ do: 'remove-node', node: 'host2', force: true });
  await waitFor('its end', () => readdirSync(state('two')).length === 0);
  assert.equal(sandboxes(), []);
  assert.equal(await udpSockets(underlay.node2.ns), []);
  assert.match(two.errors, /removed/);
  await waitFor(
    'other keys',
    async () => {
      const { gossipKeys } = await one.ask<{ gossipKeys: string[] }>({ state: true });
      return !gossipKeys.some((key) => known.includes(key));
    },
    90_000,
  );
  const token = await one.ask<string>({ token: 'worker' });
  await two.ask({
    join: { token, managers: [underlay.node1.address], name: 'host2', address: underlay.node2.address },
  });
});

test.run();
