/**
 * Conflicting agents in namespaces: one address on two hosts, or different VNIs or subnets for the same network. All
 * list, log and count the same conflicts, and the older attachment gets the traffic.
 */
import * as assert from 'uvu/assert';
import { type AllCounters } from '../../src/host/index.js';
import { type OverlayConflict } from '../../src/gossip/networkdb/index.js';
import { AgentLab, NETWORK, type AgentHost } from '../support/agents.js';
import { exec, ping, waitFor, type Running } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';

const conflicts = suiteWith('conflicting agents', ['root', 'tun', 'ip', 'ping']);

const SHARED = '10.0.0.50';
let lab: AgentLab;
let h1: AgentHost;
let h2: AgentHost;
let h3: AgentHost;

conflicts.before(async () => {
  lab = await AgentLab.create('hx', 3);
  [h1, h2, h3] = lab.hosts as [AgentHost, AgentHost, AgentHost];
});
conflicts.after.each(async () => {
  await lab?.cut(false);
  await lab?.lab.killAll();
});
conflicts.after(() => lab?.teardown());

/** An agent whose TAP has the shared address, and by default a MAC address of its own. */
function start(host: AgentHost, network = NETWORK, address = `${SHARED}/24`, ...more: string[]): Promise<Running> {
  return lab.lab.startVtep({
    ns: host.ns,
    args: [
      ...['agent', '--local', host.address, '--network', network, '--control', host.control],
      ...['--tap', 'tap0', '--address', address, '--mac', host.mac],
      ...(host === h1 ? [] : ['--join', h1.address]),
      ...more,
    ],
  });
}

/** The conflicts that a host lists. */
async function listed(host: AgentHost): Promise<OverlayConflict[]> {
  return (await lab.networks(host)).flatMap((network) => network.conflicts);
}

async function agree(hosts: readonly AgentHost[], wanted: string[], milliseconds = 60_000): Promise<void> {
  const text = ({ kind, value, holder, refused }: OverlayConflict): string =>
    `${kind} ${value}: ${holder.node}, not ${refused.node}`;
  let last = '';
  await waitFor(
    'all hosts to list the same conflicts',
    async () => {
      const lists = await Promise.all(hosts.map(listed));
      last = lists.map((list) => list.map(text).join('; ')).join('\n');
      return lists.every((list) => list.map(text).join('; ') === wanted.join('; '));
    },
    milliseconds,
  ).catch((error: Error) => {
    throw new Error(`${error.message}; they list:\n${last}`);
  });
}

/** The VTEP of the shared address, in the view of a host. */
async function holder(host: AgentHost): Promise<string> {
  const neighbors = (await lab.ask(host, { command: 'neighbors', vni: 4097 })) as {
    ip: string;
    vtep: string | null;
    hidden: boolean;
  }[];
  return neighbors
    .filter(({ ip, hidden }) => ip === SHARED && !hidden)
    .map(({ vtep }) => vtep ?? host.address)
    .join(' and ');
}

conflicts(
  'one address on two hosts: the older attachment has the traffic, the newer one follows when it goes',
  async () => {
    const one = await start(h1);
    const two = await start(h2);
    await lab.start(h3, '--join', h1.address);
    await agree([h1, h2, h3], [`ip ${SHARED}: ${h1.address}, not ${h2.address}`]);
    for (const host of [h1, h2, h3]) assert.is(await holder(host), h1.address);
    assert.is(await ping(h3.ns, SHARED), 3);
    const flushed = await exec(h3.ns, ['ip', 'neigh', 'show', SHARED, 'dev', 'tap0']);
    assert.match(flushed, new RegExp(h1.mac));
    const refused = 'network net1: 10\\.0\\.0\\.50 is attached twice, and is refused';
    assert.match(
      two.stderr,
      new RegExp(
        `warning: ${refused} here: 172\\.31\\.9\\.1 attached first \\(20.*Z\\); give one of the two endpoints another IP`,
      ),
    );
    assert.match(one.stderr, new RegExp(`warning: ${refused} at 172\\.31\\.9\\.2: this host attached first`));
    const [network] = await lab.networks(h2);
    assert.equal([network!.refused, network!.local], [1, 1]);
    for (const host of [h1, h2, h3]) {
      const { gossip } = (await lab.ask(host, { command: 'counters' })) as AllCounters;
      assert.equal([gossip!.conflicts, gossip!.conflictsSeen], [1, 1]);
    }
    const shown = await lab.run(h3, 'show', 'networks', '--control', h3.control);
    assert.match(shown.stdout, /^net1 +10\.0\.0\.50 +172\.31\.9\.2 +172\.31\.9\.1 +10\.0\.0\.50 +20.*Z$/m);

    // Killed and restarted at once, the older one keeps its seniority.
    await one.stop('SIGKILL');
    const again = await start(h1);
    await agree([h1, h2, h3], [`ip ${SHARED}: ${h1.address}, not ${h2.address}`]);
    assert.is(await holder(h3), h1.address);
    // The new process must learn of host 3 before it accepts its datagrams.
    await waitFor('all answers', async () => (await ping(h3.ns, SHARED)) === 3);

    await again.stop();
    await waitFor('host 2 to have the address', async () => (await holder(h3)) === h2.address);
    // It said that it leaves: nobody had to find out that it failed.
    const left = (await lab.members(h2)).find(({ name }) => name === h1.address);
    assert.is(left?.state, 'left');
    await agree([h2, h3], []);
    assert.is(await ping(h3.ns, SHARED), 3);
    assert.match(
      two.stderr + two.stdout,
      /info: network net1: this host and 172\.31\.9\.1 no longer both have 10\.0\.0\.50/,
    );
  },
);

conflicts('both sides of a partition have an address; after it heals, the older attachment wins', async () => {
  await lab.cut(true); // host 1 is alone
  await start(h1);
  await start(h2);
  await lab.start(h3, '--join', h2.address);
  await waitFor('host 3 to know host 2', async () => (await holder(h3)) === h2.address);
  assert.equal(await listed(h2), []);
  await lab.cut(false);
  await agree([h1, h2, h3], [`ip ${SHARED}: ${h1.address}, not ${h2.address}`]);
  for (const host of [h1, h2, h3]) assert.is(await holder(host), h1.address);
});

/** How many of three pings of the shared address are answered, if the host has to ask for its MAC address first. */
async function pinged(from: AgentHost): Promise<number> {
  await exec(from.ns, ['ip', 'neigh', 'flush', 'dev', 'tap0']);
  return ping(from.ns, SHARED);
}

/** ICMP echo requests that the kernel of a host has answered. */
async function answered({ ns }: AgentHost): Promise<number> {
  const snmp = await exec(ns, ['cat', '/proc/net/snmp']);
  const [names, values] = snmp.split('\n').filter((line) => line.startsWith('Icmp:'));
  return Number(values!.split(' ')[names!.split(' ').indexOf('OutEchoReps')]);
}

conflicts(
  'an endpoint that a second host attaches has moved there, and is back when that one detaches it',
  async () => {
    const mac = '02:42:0a:00:00:32';
    const attached = async (host: AgentHost, ...more: string[]): Promise<Running> =>
      lab.lab.startVtep({
        ns: host.ns,
        args: [
          ...['agent', '--local', host.address, '--network', NETWORK, '--control', host.control],
          ...['--tap', 'tap0', '--address', `${SHARED}/24`, '--mac', mac, ...more],
        ],
      });
    const one = await attached(h1);
    await lab.start(h3, '--join', h1.address);
    await waitFor('host 1 to have the endpoint', async () => (await holder(h3)) === h1.address);
    assert.is(await pinged(h3), 3);
    const before = await answered(h2);
    const two = await attached(h2, '--join', h1.address);
    const everywhere = (at: AgentHost, hosts: readonly AgentHost[]): Promise<unknown> =>
      waitFor(`the endpoint to be at host ${at.number} on every host`, async () => {
        const views = await Promise.all(hosts.map(holder));
        return views.every((view) => view === at.address);
      });
    await everywhere(h2, [h1, h2, h3]);
    assert.is(await pinged(h3), 3);
    assert.is((await answered(h2)) - before, 3, 'host 2 has answered');
    await agree([h1, h2, h3], [`place ${SHARED}: ${h2.address}, not ${h1.address}`]);
    const again = 'network net1: 10\\.0\\.0\\.50 with one MAC address is attached twice, and not in effect';
    assert.match(
      one.stderr,
      new RegExp(`warning: ${again} here: 172\\.31\\.9\\.2 attached it last \\(20.*Z\\); detach it`),
    );
    assert.match(two.stderr, new RegExp(`warning: ${again} at 172\\.31\\.9\\.1: this host attached it last`));
    // Host 1 says what became of its own endpoint.
    const shown = await lab.run(h1, 'show', 'neighbors', '--control', h1.control);
    assert.match(
      shown.stdout,
      /10\.0\.0\.50 +02:42:0a:00:00:32 +this host +not in effect: attached later at VTEP 172\.31\.9\.2/,
    );

    await lab.ask(h2, { command: 'remove-endpoint', vni: 4097, ip: SHARED, mac });
    // Host 2 has no endpoint left, so it takes no part.
    await everywhere(h1, [h1, h3]);
    const last = await answered(h1);
    assert.is(await pinged(h3), 3);
    assert.is((await answered(h1)) - last, 3, 'host 1 has answered');
    await agree([h1, h3], []);
  },
);

conflicts('an endpoint added over the control socket is rejected with the reason, and can move', async () => {
  await lab.start(h1);
  await lab.start(h2, '--join', h1.address);
  const endpoint = { vni: 4097, ip: SHARED, mac: '02:42:0a:00:00:32' };
  await lab.ask(h1, { command: 'add-endpoint', ...endpoint });
  await lab.knows(h2, [h1.ip, SHARED]);
  const refusal = await lab.ask(h2, { command: 'add-endpoint', ...endpoint, mac: '02:42:0a:00:00:33' }).then(
    () => 'taken',
    (error: Error) => error.message,
  );
  assert.match(
    refusal,
    /^network net1: 10\.0\.0\.50 is attached twice, and is refused here: 172\.31\.9\.1 attached first/,
  );
  assert.is(await holder(h2), h1.address);
  await lab.ask(h2, { command: 'add-endpoint', ...endpoint });
  await waitFor('host 1 to see that it has moved', async () => (await holder(h1)) === h2.address);
  await lab.ask(h1, { command: 'remove-endpoint', ...endpoint });
  await lab.knows(h1, [h2.ip, SHARED]);
});

for (const [what, network, address, odd] of [
  ['VNI', 'net1:5000:10.0.0.0/24', '10.0.0.60/24', 'VNI 5000, subnet 10.0.0.0/24'],
  ['subnet', 'net1:4097:10.0.0.0/16', '10.0.0.60/16', 'VNI 4097, subnet 10.0.0.0/16'],
] as const)
  conflicts(`another ${what} for the same network: it is rejected, and all hosts list the conflict`, async () => {
    const one = await lab.start(h1);
    const two = await start(h2, network, address);
    await lab.start(h3, '--join', h1.address);
    await agree([h1, h2, h3], [`parameters ${odd}: ${h1.address}, not ${h2.address}`]);
    const reason =
      'attached first \\(20.*Z\\) with VNI 4097, subnet 10\\.0\\.0\\.0/24; correct --network at one of the two';
    const configured = `network net1: ${odd.replaceAll('.', '\\.')}, as configured`;
    assert.match(two.stderr, new RegExp(`warning: ${configured} here, is refused: 172\\.31\\.9\\.1 ${reason}`));
    assert.match(one.stderr, new RegExp(`warning: ${configured} at 172\\.31\\.9\\.2, is refused: this host ${reason}`));
    await lab.knows(h1, [h3.ip]);
    assert.is(await ping(h3.ns, h1.ip), 3);
    assert.equal(await lab.ask(h2, { command: 'peers' }), []);
    // With the correct network it takes part.
    await two.stop();
    await lab.start(h2, '--join', h1.address);
    await lab.knows(h1, [h2.ip, h3.ip]);
    await agree([h1, h2, h3], []);
  });

conflicts.run();
