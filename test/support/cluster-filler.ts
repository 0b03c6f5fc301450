/**
 * A node of a cluster with many endpoints and no devices: `cluster-filler.ts DIRECTORY JOIN NETWORKS ENDPOINTS`. JOIN is a
 * `NodeJoin` in JSON. The node creates that many endpoints in each of the networks `many-0`, `many-1`, …, which exist
 * already: the managers keep a record of each, and the gossip announces its address. It prints `ready`, and stays until its input ends.
 */
import { ClusterNode, Logger, type NodeJoin } from '../../src/host/index.js';
import { type EndpointRecord } from '../../src/cluster/index.js';
import { waitFor } from './lab.js';

/** Commands in flight. */
const TOGETHER = 16;

const [, , directory, join, networks, endpoints] = process.argv as string[];
const log = new Logger(({ message }) => void process.stderr.write(`${message}\n`), { level: 'warning' });
const node = await ClusterNode.start({ directory: directory!, log });
const how = JSON.parse(join!) as NodeJoin;
await node.join(how);

const never = new AbortController().signal;
const wanted = Array.from({ length: Number(networks) }, (_, i) =>
  Array.from({ length: Number(endpoints) }, (__, j) => ({ network: `many-${i}`, name: `far-${j}` })),
).flat();

async function create({ network, name }: { network: string; name: string }): Promise<void> {
  const command = { do: 'create-endpoint', kind: 'attach', network, name, routes: [] };
  const { network: id, addresses, mac } = (await node.command(command)) as EndpointRecord;
  const vni = await waitFor(`network ${network}`, () => {
    const known = node.overlay?.plan.gossip?.networks.some((one) => one.id === id) === true;
    return known ? node.assignment!.networks.find((one) => one.id === id)?.subnets[0]!.vni : undefined;
  });
  for (const ip of addresses)
    await node.overlay!.answer({ command: 'add-endpoint', vni, ip, mac, vtep: how.address }, never);
}

await Promise.all(
  Array.from({ length: TOGETHER }, async () => {
    for (let one = wanted.shift(); one !== undefined; one = wanted.shift()) await create(one);
  }),
);
process.stdout.write('ready\n');
process.stdin.resume().on('end', () => process.exit(0));
