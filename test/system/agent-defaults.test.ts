/** What an agent accepts and warns of by default. */
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type AllCounters } from '../../src/host/index.js';
import { AgentLab, NETWORK, type AgentHost } from '../support/agents.js';
import { exec, ping, waitFor } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';

const defaults = suiteWith('defaults of agents', ['root', 'tun', 'ip', 'ping']);

let lab: AgentLab;
let h1: AgentHost;
let h2: AgentHost;
let h3: AgentHost;

defaults.before(async () => {
  lab = await AgentLab.create('hw', 3);
  [h1, h2, h3] = lab.hosts as [AgentHost, AgentHost, AgentHost];
});
defaults.after.each(() => lab?.lab.killAll());
defaults.after(() => lab?.teardown());

/** Sends a VXLAN datagram from a host without an agent: a broadcast frame with the given source address. */
async function sendAs(host: AgentHost, to: AgentHost, mac: string): Promise<void> {
  const frame = `0800000000100100ffffffffffff${mac.replaceAll(':', '')}88b5${'00'.repeat(46)}`;
  const script = `const s = require('node:dgram').createSocket('udp4'); s.send(Buffer.from('${frame}', 'hex'), 4789, '${to.address}', () => s.close())`;
  await exec(host.ns, [process.execPath, '-e', script]);
}

async function refusals(host: AgentHost): Promise<number> {
  return ((await lab.ask(host, { command: 'counters' })) as AllCounters).vtep.drops['unknown-peer'];
}

for (const engine of ['dgram', 'linux'])
  defaults(`${engine}: a datagram from an unknown host moves no MAC address, and the log names the host`, async () => {
    const one = await lab.start(h1, '--engine', engine);
    await lab.start(h2, '--engine', engine, '--join', h1.address);
    await lab.knows(h1, [h2.ip]);
    await lab.knows(h2, [h1.ip]);
    assert.is(await ping(h2.ns, h1.ip), 3);
    const learned = '02:42:0a:00:00:77';
    const before = await refusals(h1); // of host 2, in the moment before host 1 knew of it
    await sendAs(h3, h1, learned);
    await waitFor('it to be refused', async () => (await refusals(h1)) === before + 1);
    const fdb = (await lab.ask(h1, { command: 'fdb' })) as { mac: string }[];
    assert.not.ok(fdb.some(({ mac }) => mac === learned));
    await waitFor('the log to name it', () =>
      one.stderr.includes(
        `warning: 1 datagram from ${h3.address} for VNI 4097 was dropped: the sender is no member of network net1; accept every sender with --no-peers-only`,
      ),
    );
    assert.is(await ping(h2.ns, h1.ip), 3);
    await lab.lab.killAll();

    await lab.start(h1, '--engine', engine, '--no-peers-only');
    await sendAs(h3, h1, learned);
    await waitFor('it to be learned', async () =>
      ((await lab.ask(h1, { command: 'fdb' })) as { mac: string }[]).some(({ mac }) => mac === learned),
    );
    assert.is(await refusals(h1), 0);
  });

defaults(
  'packets of a member that joins are accepted from the first on, and a host without an endpoint logs a warning',
  async () => {
    await lab.start(h1);
    const watcher = await lab.lab.startVtep({
      ns: h3.ns,
      args: ['agent', '--local', h3.address, '--join', h1.address, '--network', NETWORK, '--control', h3.control],
    });
    assert.match(watcher.stderr, /warning: this host has no endpoint in network net1: it takes no part there/);
    await lab.start(h2, '--join', h1.address);
    // Each takes a second; if the members knew each other only by their regular exchange, this would take half a minute.
    let pings = 1;
    while ((await ping(h2.ns, h1.ip)) < 3 && pings < 5) pings++;
    assert.ok(pings < 5);
  },
);

defaults('warns if an agent joins only itself, and if others can read a key file', async () => {
  const key = join(lab.directory, 'open-key');
  writeFileSync(key, `${Buffer.alloc(32, 3).toString('base64')}\n`);
  chmodSync(key, 0o644);
  const one = await lab.start(h1, '--join', h1.address, '--key', key);
  await waitFor('both warnings', () => one.stderr.includes('every host of --join is this agent itself'));
  assert.match(
    one.stderr,
    new RegExp(`other users can read the key file ${key} \\(mode 644\\); run: chmod 600 ${key}`),
  );
});

defaults('a member that failed stays listed, with the time', async () => {
  await lab.start(h1);
  const two = await lab.start(h2, '--join', h1.address);
  await lab.knows(h1, [h2.ip]);
  const killed = Date.now();
  await two.stop('SIGKILL');
  await lab.knows(h1, []);
  const failed = async (): Promise<{ state: string; since: string } | undefined> =>
    (await lab.members(h1)).find(({ name }) => name === h2.address);
  const { state, since } = (await failed())!;
  assert.is(state, 'dead');
  assert.ok(Date.parse(since) > killed && Date.parse(since) <= Date.now() + 100, since);
  const shown = await lab.run(h1, 'show', 'members', '--control', h1.control);
  assert.match(shown.stdout, new RegExp(`^172\\.31\\.9\\.2 .* dead since ${since} `, 'm'));
});

defaults.run();
