/** A cluster with its embedded store, its manager and its nodes, over TLS on the loopback. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { X509Certificate } from 'node:crypto';
import { createServer, type AddressInfo } from 'node:net';
import { test } from 'uvu';
import * as assert from 'uvu/assert';
import { type Assignment, type EndpointRecord, type View } from '../src/cluster/index.js';
import {
  ClusterError,
  digestOf,
  HostError,
  joinCluster,
  Manager,
  Managing,
  NodeClient,
  printToken,
  type Identity,
  type NewCluster,
  type Role,
  type StateFiles,
} from '../src/host/index.js';
import { FileStore } from '../src/host/store/file-store.js';
import { CA, idOf, newNode } from './support/cluster.js';
import { LOOPBACK, stateFiles } from './support/cluster-lab.js';
import { waitFor } from './support/lab.js';

const ends: (() => Promise<void>)[] = [];
test.after.each(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

const failures: unknown[] = [];
const CLUSTER: NewCluster = { name: 'host1', address: LOOPBACK };
const options = (files: StateFiles, port: number) => ({
  ...{ files, host: LOOPBACK, port, failed: (error: unknown) => failures.push(error) },
  limits: { refusal: 1 },
});

/** A port that nobody listens on. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, LOOPBACK, resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

interface Cluster {
  readonly managing: Managing;
  readonly identity: Identity;
  readonly files: StateFiles;
  readonly place: string;
}

async function cluster(more: Partial<NewCluster> = {}): Promise<Cluster> {
  const files = stateFiles();
  const port = await freePort();
  const { managing, identity } = await Managing.create({ ...CLUSTER, ...more }, options(files, port));
  ends.push(() => managing.close());
  return { managing, identity, files, place: `${LOOPBACK}:${port}` };
}

function tokenOf({ managing, identity }: Cluster, role: Role): string {
  const digest = digestOf(new X509Certificate(identity.ca).raw);
  return printToken({ digest, secret: managing.manager.secrets()[role] });
}

/** A node that has joined, with the assignments that it has received. */
async function node(of: Cluster, name: string): Promise<{ client: NodeClient; got: Assignment[]; identity: Identity }> {
  const files = stateFiles();
  const token = tokenOf(of, 'worker');
  const { identity } = await joinCluster({ token, managers: [of.place], files, name, address: LOOPBACK });
  const got: Assignment[] = [];
  const client = new NodeClient({
    ...{ files, identity, managers: [of.place] },
    events: { assignment: (assignment) => got.push(assignment as Assignment) },
    times: { first: 10, last: 50 },
  });
  client.start();
  ends.push(() => client.close());
  await waitFor('the first assignment', () => got.length > 0);
  return { client, got, identity };
}

async function refusalOf(promise: Promise<unknown>): Promise<ClusterError> {
  try {
    await promise;
  } catch (error) {
    return error as ClusterError;
  }
  throw new Error('nothing was refused');
}

test('a worker gets what it has to do, and nothing of other networks', async () => {
  const of = await cluster();
  const { manager } = of.managing;
  const [one, two] = [await node(of, 'host2'), await node(of, 'host3')];
  assert.equal(one.got.at(-1)!.networks, []);
  const created = await manager.run({ do: 'create-network', name: 'uber-net' }, manager.self);
  assert.ok('answer' in created);
  const network = created.answer;
  assert.equal(
    network.subnets.map(({ prefix, gateway, vni }) => [prefix, gateway, vni]),
    [['10.0.0.0/24', '10.0.0.1', 4096]],
  );
  const wanted = { do: 'create-endpoint', name: 'p1', network: 'uber-net', kind: 'run', addresses: ['10.0.0.9'] };
  const endpoint = (await one.client.command(wanted)) as EndpointRecord;
  assert.equal([endpoint.addresses, endpoint.node], [['10.0.0.9'], one.identity.node]);
  await waitFor('the endpoint', () => one.got.at(-1)!.endpoints.length === 1);
  assert.equal(
    one.got.at(-1)!.networks.map(({ id }) => id),
    [network.id],
  );
  const view = (await two.client.command({ do: 'view' })) as View;
  assert.equal([view.networks, view.endpoints], [[], []]);
  assert.equal(two.got.at(-1)!.networks, []);
  await one.client.command({ do: 'remove-endpoint', network: 'uber-net', endpoint: 'p1' });
  await waitFor('its end', () => one.got.at(-1)!.networks.length === 0);
  assert.equal(failures, []);
});

test('a worker is refused what managers do, with the field at fault', async () => {
  const of = await cluster();
  const { client } = await node(of, 'host2');
  assert.is((await refusalOf(client.command({ do: 'create-network', name: 'a' }))).code, 'forbidden');
  for (const reserved of ['init-cluster', 'join', 'renew-certificate'])
    assert.is((await refusalOf(client.command({ do: reserved }))).code, 'forbidden', reserved);
  const { manager } = of.managing;
  const bad = await manager.run({ do: 'create-network', name: 'a b' }, manager.self);
  assert.is('refusal' in bad && bad.refusal.fields?.[0], 'name');
});

test('a node that was removed is locked out at once', async () => {
  const of = await cluster();
  const { client, identity } = await node(of, 'host2');
  const { manager } = of.managing;
  await manager.run({ do: 'remove-node', node: 'host2', force: true }, manager.self);
  assert.is((await refusalOf(client.command({ do: 'view' }))).code, 'revoked');
  assert.ok(manager.isRevoked(identity));
});

test('a certificate that was renewed replaces the older ones, and the node keeps its connection', async () => {
  const of = await cluster();
  const { client, identity } = await node(of, 'host2');
  const { manager } = of.managing;
  await client.renew();
  assert.not(manager.isRevoked(identity), 'the one before is valid until the next one');
  await client.renew();
  assert.ok(manager.isRevoked(identity));
  assert.is(((await client.command({ do: 'view' })) as View).nodes.length, 1);
});

test('a node hears nothing of commands that do not concern it', async () => {
  const of = await cluster();
  const { client, got } = await node(of, 'host2');
  const { manager } = of.managing;
  const before = got.length;
  for (const name of ['a', 'b', 'c']) await manager.run({ do: 'create-network', name }, manager.self);
  await client.command({ do: 'create-endpoint', name: 'p1', network: 'a', kind: 'run' });
  await waitFor('the endpoint', () => got.at(-1)!.endpoints.length === 1);
  assert.is(got.length, before + 1);
});

test('a node that did not get the answer to its request to join is admitted with the certificate of the next one', async () => {
  const { manager } = (await cluster()).managing;
  const { worker } = manager.secrets();
  const joining = {
    node: 'a'.repeat(25),
    role: 'worker',
    name: 'host2',
    address: LOOPBACK,
    until: 0,
    secret: worker,
  } as const;
  for (const digit of ['1', '2']) {
    const fingerprint = digit.repeat(64);
    const reply = await manager.join({ ...joining, fingerprint });
    assert.ok('answer' in reply && (reply.answer as Assignment).node === joining.node);
    assert.not(manager.isRevoked({ node: joining.node, fingerprint }));
  }
  assert.is(manager.state.nodes.size, 2);
});

test('a cluster whose store is on one host refuses a second manager, and stores nothing of it', async () => {
  const of = await cluster();
  const files = stateFiles();
  const joining = joinCluster({ token: tokenOf(of, 'manager'), managers: [of.place], files, name: 'host2' });
  const refusal = await refusalOf(joining);
  assert.equal([refusal.code, refusal.fields], ['conflict', ['secret']]);
  assert.match(refusal.message, /join as a worker, with the token that "vtep token worker" prints/);
  assert.is(of.managing.manager.state.nodes.size, 1);
  assert.is(files.identity(), undefined);
});

test('a manager that starts again knows everything that it has answered', async () => {
  const of = await cluster({ dataPathPort: 4790, pools: ['10.20.0.0/16'], maskLength: 25 });
  const { manager } = of.managing;
  await manager.run({ do: 'create-network', name: 'uber-net' }, manager.self);
  const { client } = await node(of, 'host2');
  await client.command({ do: 'create-endpoint', name: 'p1', network: 'uber-net', kind: 'run' });
  const secrets = manager.secrets();
  const nodesOf = ({ state }: Manager): unknown[] => [...state.nodes.values()].map((one) => JSON.stringify(one)).sort();
  const nodes = nodesOf(manager);
  await client.close();
  await of.managing.close();
  const again = await Managing.start(of.identity, options(of.files, await freePort()));
  ends.push(() => again.close());
  assert.equal(again.manager.secrets(), secrets);
  assert.equal(nodesOf(again.manager), nodes);
  assert.is(again.manager.state.networkNamed('uber-net')!.subnets[0]!.prefix, '10.20.0.0/25');
  assert.is(again.manager.state.cluster!.dataPathPort, 4790);
});

test('what cannot be created leaves nothing', async () => {
  const files = stateFiles();
  const error = await refusalOf(
    Managing.create({ ...CLUSTER, pools: ['10.0.0.0/33'] }, options(files, await freePort())),
  );
  assert.match(error.message, /pools/);
  assert.is(files.identity(), undefined);
  const { managing } = await Managing.create(CLUSTER, options(files, await freePort()));
  ends.push(() => managing.close());
  assert.match(
    (await refusalOf(Managing.create(CLUSTER, options(files, await freePort())))).message,
    /in cluster \w+ already/,
  );
  assert.ok(existsSync(join(files.directory, 'store')));
});

test('a store that belongs to another cluster, or is missing, is not used', async () => {
  const [one, two] = [await cluster(), await cluster()];
  await one.managing.close();
  await two.managing.close();
  assert.match((await refusalOf(Managing.start(one.identity, options(two.files, 1)))).message, /has cluster/);
  assert.match((await refusalOf(Managing.start(one.identity, options(stateFiles(), 1)))).message, /is missing/);
});

test('a record that cannot be read stops a manager that runs until it is gone, is named, and is not half applied', async () => {
  const store = await FileStore.open({ directory: join(stateFiles().directory, 'store') });
  ends.push(() => store.close());
  const failed: unknown[] = [];
  const opened = { store, node: idOf(1), again: 50, failed: (error: unknown) => failed.push(error) };
  const manager = await Manager.open(opened);
  ends.push(async () => manager.close());
  await manager.run({ do: 'init-cluster', node: newNode(1), ca: CA });
  const made = await manager.run({ do: 'create-network', name: 'uber-net' }, manager.self);
  const network = ('answer' in made ? made.answer : undefined)!;
  const before = manager.state.revision;
  const other = { ...network, id: idOf(2), name: 'later', driver: 'of a later version' };
  const key = `networks/${other.id}`;
  const writes = [
    { put: `network-names/later`, value: JSON.stringify(other.id) },
    { put: key, value: JSON.stringify(other) },
  ];
  await store.commit({ conditions: [], writes });
  const refusal = await refusalOf(manager.run({ do: 'create-network', name: 'a' }, manager.self));
  assert.is(refusal.code, 'unavailable');
  assert.match(refusal.message, new RegExp(`^the record "${key}" of the store cannot be read: driver: unknown field`));
  assert.match(refusal.message, /use one version on all managers/);
  assert.equal([manager.state.revision, [...manager.state.networks.keys()]], [before, [network.id]]);
  assert.is(manager.state.networkNamed('later'), undefined);
  assert.match((await refusalOf(Manager.open(opened))).message, /driver: unknown field/, 'nor is it opened');
  await waitFor('a report', () => failed.length > 1);
  assert.ok(
    failed.every((error) => error instanceof HostError && error.message.includes(key)),
    String(failed),
  );
  const { driver: _, ...known } = other;
  await store.commit({ conditions: [], writes: [{ put: key, value: JSON.stringify(known) }] });
  await waitFor('the record', () => manager.state.networkNamed('later'));
  assert.ok('answer' in (await manager.run({ do: 'create-network', name: 'b' }, manager.self)));
});

test.run();
