/** `vtep agent` end to end: agents in namespaces that find each other only through `--join`. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import * as assert from 'uvu/assert';
import { type KeyListing, type NetworkListing } from '../../src/host/index.js';
import { AgentLab, NETWORK, type AgentHost } from '../support/agents.js';
import { exec, must, ping, VTEP, waitFor, type Running } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';

const agents = suiteWith('vtep agent', ['root', 'tun', 'ip', 'ping', 'tcpdump', 'tshark']);

const KEY = Buffer.alloc(32, 1).toString('base64');
const OTHER = Buffer.alloc(32, 2).toString('base64');
let lab: AgentLab;
let h1: AgentHost;
let h2: AgentHost;
let h3: AgentHost;

agents.before(async () => {
  lab = await AgentLab.create('ha', 3);
  [h1, h2, h3] = lab.hosts as [AgentHost, AgentHost, AgentHost];
});
agents.after.each(() => lab?.lab.killAll());
agents.after(() => lab?.teardown());

/** The states of the members that a host knows, by name. */
async function states(host: AgentHost): Promise<Record<string, string>> {
  return Object.fromEntries((await lab.members(host)).map(({ name, state }) => [name, state]));
}

agents('two agents, one of each engine, with only --join; all gossip between them is encrypted', async () => {
  const file = join(lab.directory, 'all.pcap');
  const capture = lab.lab.spawn(['tcpdump', '-i', 'p1', '-U', '-w', file, 'port', '7946'], { ns: lab.switch });
  await waitFor('tcpdump', () => capture.stderr.includes('listening'));
  const key = join(lab.directory, 'key');
  writeFileSync(key, `# ours\n${KEY}\n`);
  const one = await lab.start(h1, '--engine', 'dgram', '--key', key, '--name', 'first');
  const two = await lab.start(h2, '--engine', 'linux', '--key', KEY, '--join', h1.address, '--json');
  await lab.knows(h1, [h2.ip]);
  await lab.knows(h2, [h1.ip]);
  assert.is(await ping(h1.ns, h2.ip), 3);
  assert.is(await ping(h2.ns, h1.ip), 3);
  assert.equal(await states(h1), { first: 'alive', '172.31.9.2': 'alive' });
  assert.equal(await lab.ask(h2, { command: 'peers' }), [
    { vni: 4097, address: h1.address, port: 4789, sources: ['gossip'] },
  ]);

  const events = two.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const { through, members } = events.find(({ event }) => event === 'joined');
  assert.equal([through, members], [h1.address, 2]);
  assert.match(one.stdout, /^gossip 172\.31\.9\.1:7946 as first: encrypted, endpoints here are behind 172\.31\.9\.1$/m);
  assert.match(one.stdout, /^member 172\.31\.9\.2 \(172\.31\.9\.2\): alive$/m);

  // What others print of it.
  const shown = await lab.run(h1, 'show', 'networks', '--control', h1.control);
  assert.match(shown.stdout, /^net1 +4097 +10\.0\.0\.0\/24 +- +in sync +1 +0 +1 +0 +172\.31\.9\.2 first$/m);
  const metrics = await lab.run(h1, 'show', 'counters', '--prometheus', '--control', h1.control);
  assert.match(metrics.stdout, /^weft_gossip_members\{state="alive"\} 2$/m);
  assert.match((await lab.run(h1, 'show', 'counters', '--control', h1.control)).stdout, /^members alive +2$/m);
  const asked = await lab.run(h3, 'gossip', 'members', '--join', h2.address, '--key', KEY, '--json');
  assert.equal(
    (JSON.parse(asked.stdout) as Record<string, unknown>[]).map(({ name, state, networks }) => [name, state, networks]),
    [
      ['172.31.9.2', 'alive', ['net1']],
      ['first', 'alive', ['net1']],
    ],
  );
  assert.is((await lab.members(h1)).length, 2); // the query did not add a member

  // Leaving removes the endpoints at once, long before failure detection would.
  const stopped = two.stop();
  await lab.knows(h1, []);
  assert.is((await stopped).code, 0);
  assert.equal(await states(h1), { first: 'alive', '172.31.9.2': 'left' });
  assert.is((await one.stop('SIGINT')).code, 0);

  await capture.stop('SIGINT');
  const fields = ['-T', 'fields', '-e', 'udp.payload', '-e', 'tcp.payload'];
  const payloads = (await must(['tshark', '-r', file, '-d', 'udp.port==7946,data', ...fields]))
    .split(/\s+/)
    .filter(Boolean);
  assert.ok(payloads.length > 20);
  // A sealed datagram begins with the version, 1; a sealed stream with 0x0a and a length.
  for (const payload of payloads) assert.match(payload, /^(01|0a00)/);
});

agents('a host takes part in a network while it has an endpoint there', async () => {
  const second = ['--network', 'net2:4098:10.2.0.0/16', '--vni', '4097'];
  await lab.start(h1, ...second);
  await lab.start(h2, ...second, '--join', h1.address, '--endpoint', `10.2.0.2,02:42:0a:02:00:02,${h2.address},4098`);
  await lab.knows(h1, [h2.ip]);
  /** Waits for a host's counts for net2: attached, local endpoints, remote endpoints, members. */
  const net2 = async (host: AgentHost, ...wanted: unknown[]): Promise<void> => {
    let last: unknown;
    await waitFor(`${JSON.stringify(wanted)} of host ${host.number}`, async () => {
      const { attached, local, remote, members } = (await lab.networks(host))[1]!;
      return isDeepStrictEqual((last = [attached, local, remote, members]), wanted);
    }).catch(() => assert.equal(last, wanted));
  };
  await net2(h2, true, 1, 0, [h2.address]);
  await net2(h1, false, 0, 0, [h2.address]);
  assert.equal(await lab.remote(h1, 4098), []);

  const own = { vni: 4098, ip: '10.2.3.1', mac: '02:42:0a:02:03:01' };
  await lab.ask(h1, { command: 'add-endpoint', ...own });
  await lab.knows(h1, ['10.2.0.2'], undefined, 4098);
  await lab.knows(h2, ['10.2.3.1'], undefined, 4098);
  await net2(h1, true, 1, 1, [h1.address, h2.address]);
  // Adding twice has no effect; only the gossip can remove its endpoints; addresses must be in the subnet.
  await lab.ask(h1, { command: 'add-endpoint', ...own });
  const refused = (request: object): Promise<string> =>
    lab.ask(h1, request as never).then(
      () => 'taken',
      (error: Error) => error.message,
    );
  const theirs = { vni: 4098, ip: '10.2.0.2', mac: '02:42:0a:02:00:02', vtep: h2.address };
  assert.match(await refused({ command: 'remove-endpoint', ...theirs }), /^the gossip announces it/);
  assert.match(await refused({ command: 'remove-peer', vni: 4098, address: h2.address }), /^the gossip announces it/);
  assert.match(
    await refused({ command: 'add-endpoint', ...own, ip: '10.3.0.1' }),
    /^ip: expected an address of 10\.2\./,
  );
  // An endpoint that is also configured stays when the gossip removes it.
  await lab.ask(h1, { command: 'add-endpoint', ...theirs });
  assert.equal(await lab.ask(h1, { command: 'remove-endpoint', ...own }), { removed: true });
  await lab.knows(h2, [], undefined, 4098);
  assert.equal(await lab.remote(h1, 4098), ['10.2.0.2']);
  assert.equal(await lab.ask(h1, { command: 'remove-endpoint', ...theirs }), { removed: true });
  await net2(h1, false, 0, 0, [h2.address]);
});

agents('IPv6 endpoints: of a TAP, in the flags and added later; announced, in conflict, and withdrawn', async () => {
  const six = (host: AgentHost): string => `fd00:a::${host.number}`;
  const closed = ['--no-learn', '--no-flood'];
  // The first TAP has an IPv6 address only, the second one both.
  const local = ['agent', '--network', NETWORK, '--control', h1.control, '--local', h1.address, ...closed];
  const tap = ['--tap', 'tap0', '--address', `${six(h1)}/64`, '--mac', h1.mac];
  const one = await lab.lab.startVtep({ ns: h1.ns, args: [...local, ...tap] });
  const watch = [...VTEP, 'gossip', 'watch', '--join', h1.address, '--json'];
  const watcher = lab.lab.spawn(watch, { ns: h3.ns });
  const own = ['--endpoint', `${six(h2)},${h2.mac},${h2.address}`];
  await lab.start(h2, '--join', h1.address, ...own, ...closed);
  await lab.knows(h1, [h2.ip, six(h2)]);
  await lab.knows(h2, [six(h1)]);
  await must(['ip', '-n', h2.ns, 'addr', 'add', `${six(h2)}/64`, 'dev', 'tap0', 'nodad']);
  assert.is(await ping(h2.ns, six(h1)), 3);
  const value = { ip: `${six(h2)}/128`, mac: h2.mac, vtep: h2.address };
  await waitFor('the watcher to report the entry', () =>
    watcher.stdout
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line))
      .some((entry) => entry.table === 'weft_peer_table' && isDeepStrictEqual(entry.value, value)),
  );

  const more = { vni: 4097, ip: 'fd00:a::77', mac: '02:42:0a:00:00:77' };
  assert.equal(await lab.ask(h2, { command: 'add-endpoint', ...more }), {});
  await lab.knows(h1, [h2.ip, six(h2), more.ip]);
  const taken = { ...more, mac: '02:42:0a:00:00:78' };
  await assertRejects(lab.ask(h1, { command: 'add-endpoint', ...taken }), /fd00:a::77/);
  assert.equal(await lab.ask(h2, { command: 'remove-endpoint', ...more }), { removed: true });
  await lab.knows(h1, [h2.ip, six(h2)]);
  assert.is((await one.stop()).code, 0);
  await lab.knows(h2, []);
});

/** Fails unless a request is refused with this message. */
async function assertRejects(request: Promise<unknown>, message: RegExp): Promise<void> {
  const error = await request.then(
    () => undefined,
    (reason: Error) => reason,
  );
  assert.match(error?.message ?? 'no error', message);
}

agents('a killed agent is detected; back at its address, under any name, it is a member again', async () => {
  await lab.start(h1);
  await lab.start(h3, '--join', h1.address);
  const victim = await lab.start(h2, '--join', h1.address);
  for (const host of [h1, h3])
    await lab.knows(
      host,
      lab.hosts.filter((one) => one !== host).map(({ ip }) => ip),
    );
  // Somebody watches, from a host where an agent has the port.
  const watch = [...VTEP, 'gossip', 'watch', '--join', h1.address, '--json'];
  const watcher = lab.lab.spawn(watch, { ns: h1.ns });
  const reported = (): Record<string, unknown>[] =>
    watcher.stdout
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line));
  const waitForReport = (what: object): Promise<unknown> =>
    waitFor(`the watcher to report ${JSON.stringify(what)}`, () =>
      reported().find((one) => Object.entries(what).every(([key, value]) => isDeepStrictEqual(one[key], value))),
    );
  for (const { address, ip, mac } of lab.hosts) {
    await waitForReport({ event: 'member', name: address, state: 'alive' });
    await waitForReport({ event: 'network', network: 'net1', member: address, state: 'in' });
    const value = { ip: `${ip}/24`, mac, vtep: address };
    await waitForReport({ event: 'entry', kind: 'create', table: 'overlay_peer_table', owner: address, value });
  }

  await victim.stop('SIGKILL');
  await lab.knows(h1, [h3.ip]);
  assert.is((await states(h1))[h2.address], 'dead');
  await waitForReport({ event: 'member', name: h2.address, state: 'suspect' });
  await waitForReport({ event: 'member', name: h2.address, state: 'dead' });
  await waitForReport({ event: 'network', member: h2.address, state: 'out' });
  await waitForReport({ event: 'entry', kind: 'delete', owner: h2.address });
  assert.is((await watcher.stop('SIGINT')).code, 0, watcher.stderr);

  for (const name of [h2.address, 'another', h2.address]) {
    const back = await lab.start(h2, '--join', h3.address, '--name', name);
    await lab.knows(h2, [h1.ip, h3.ip]);
    await waitFor(`host 1 to know ${name}`, async () => {
      const [{ members, remote }] = (await lab.networks(h1)) as [NetworkListing];
      return members.includes(name) && members.length === 3 && remote === 2;
    });
    assert.is(await ping(h1.ns, h2.ip), 3);
    await back.stop('SIGKILL'); // and restart before the failure is detected
  }
});

agents('the key of a running cluster changes while endpoints are added, and none is lost', async () => {
  const join1 = ['--join', h1.address];
  await lab.start(h1, '--key', KEY);
  await lab.start(h2, '--key', KEY, ...join1);
  await lab.start(h3, '--key', KEY, ...join1);
  await lab.knows(h3, [h1.ip, h2.ip]);
  const added: string[] = [];
  let adding = true;
  const addAll = (async () => {
    for (let i = 1; adding; i++) {
      const hex = i.toString(16).padStart(2, '0');
      const endpoint = { ip: `10.0.0.${100 + (i % 150)}`, mac: `02:42:0a:00:01:${hex}` };
      await lab.ask(h1, { command: 'add-endpoint', vni: 4097, ...endpoint });
      added.push(endpoint.ip);
      await sleep(50);
    }
  })();
  const keysOf = (host: AgentHost): Promise<unknown> => lab.ask(host, { command: 'keys' });
  const all = async (request: object): Promise<void> => {
    for (const host of lab.hosts) {
      await lab.ask(host, request as never);
      await sleep(200); // some have the new key, others do not
    }
  };
  const [{ fingerprint: old }] = (await keysOf(h1)) as [KeyListing];
  await all({ command: 'install-key', key: OTHER });
  await all({ command: 'use-key', key: OTHER });
  assert.match(
    await lab.ask(h1, { command: 'remove-key', key: OTHER }).then(String, (error: Error) => error.message),
    /^key [0-9a-f]{8} encrypts outgoing messages: use another one first$/,
  );
  await all({ command: 'remove-key', key: old });
  adding = false;
  await addAll;
  assert.ok(added.length >= 10, `${added.length} added`);
  for (const host of [h2, h3]) {
    const others = lab.hosts.filter((one) => one !== host).map(({ ip }) => ip);
    await lab.knows(host, [...new Set(others.concat(added))]);
  }
  const listed = await lab.run(h1, 'gossip', 'keys', '--control', h1.control);
  assert.match(listed.stdout, /^[0-9a-f]{8} +256 +encrypts and decrypts\n$/m);
  assert.not.match(listed.stdout, new RegExp(old));
  assert.ok(((await states(h1))[h3.address] ?? '') === 'alive');
  const late = await lab.run(h2, 'gossip', 'members', '--join', h1.address, '--key', KEY);
  assert.is(late.code, 1);
  assert.match(late.stderr, /172\.31\.9\.1:7946: its keys differ from ours, or .*"vtep gossip install"/m);
  const missing = await lab.run(h1, 'gossip', 'use', old, '--control', h1.control);
  assert.match(
    missing.stderr,
    /^vtep gossip: key [0-9a-f]{8} is not in the ring, which has [0-9a-f]{8}; install it first$/m,
  );
});

agents('a different key, or none, is reported on both sides, once', async () => {
  const one = await lab.start(h1, '--key', KEY);
  const two = await lab.start(h2, '--key', OTHER, '--join', h1.address);
  const three = await lab.start(h3, '--join', h1.address);
  const warning = (running: Running, text: string): number => running.stderr.split(text).length - 1;
  const differ = 'its keys differ from ours, or it may not be gossip at all; give your agents the same --key';
  await waitFor('host 2 to try again', () => warning(two, `no member answers yet: ${h1.address}: ${differ}`) >= 2);
  await waitFor(
    'host 3 to complain',
    () => warning(three, `no member answers yet: ${h1.address}: it encrypts its gossip, and we have no key`) >= 1,
  );
  assert.is(warning(one, `gossip from ${h2.address} cannot be read: ${differ}`), 1, one.stderr);
  assert.is(
    warning(one, `gossip from ${h3.address} cannot be read: it is not encrypted; if it is one of your agents`),
    1,
    one.stderr,
  );
  assert.is((await lab.members(h1)).length, 1);
  assert.match(
    await lab.ask(h3, { command: 'keys' }).then(String, (error: Error) => error.message),
    /^this agent does not encrypt/,
  );
});

agents('hosts to join may be down or start later, and a waiting agent reports that', async () => {
  const early = await lab.start(h2, '--join', h1.address, '172.31.9.77:7000', 'no-such-host.invalid');
  await waitFor('a complaint', () =>
    /no member answers yet: .*172\.31\.9\.1: no process listens there/.test(early.stderr),
  );
  assert.match(early.stderr, /"no-such-host\.invalid" does not resolve: .*; trying again in 1 s/);
  const first = await lab.start(h1);
  assert.match(
    first.stderr,
    /info: there is no host to join \(--join\): this agent .* waits until another agent joins it$/m,
  );
  await lab.knows(h1, [h2.ip]);
  await lab.knows(h2, [h1.ip]);
  await waitFor('it to say so', () => /^joined through 172\.31\.9\.1: 2 members$/m.test(early.stdout));
  assert.match(early.stderr, /info: 172\.31\.9\.1 answers, after [1-9]\d* failed attempts? to join$/m);
  const late = await lab.start(h3, '--join', `172.31.9.78,${h1.address}`);
  await lab.knows(h3, [h1.ip, h2.ip]);
  await waitFor('it to say so', () => /^joined through 172\.31\.9\.1: 3 members$/m.test(late.stdout));
  await waitFor('it to name the other', () =>
    /warning: some hosts of --join do not answer: 172\.31\.9\.78: .*; trying them again every 60 s$/m.test(late.stderr),
  );
  // A second agent with the same address and port.
  const twice = await lab.run(h1, 'agent', '--network', NETWORK, '--local', h1.address, '--port', '4790');
  assert.is(twice.code, 1);
  assert.match(twice.stderr, /^vtep agent: gossip on 172\.31\.9\.1:7946: the port is in use/m);
});

agents(
  'SIGHUP reads the file again: endpoints and peers change, the rest is named, a mistake changes nothing',
  async () => {
    const file = join(lab.directory, 'agent.json');
    const config = (segment: object, gossip: object = {}): void =>
      writeFileSync(
        file,
        JSON.stringify({
          local: h1.address,
          control: h1.control,
          segments: [{ vni: 4097, ...segment }],
          taps: [{ name: 'tap0', address: `${h1.ip}/24`, mac: h1.mac, vni: 4097 }],
          gossip: { networks: [{ id: 'net1', vni: 4097, subnet: '10.0.0.0/24' }], ...gossip },
        }),
      );
    config({});
    const one = await lab.lab.startVtep({ ns: h1.ns, args: ['agent', '--config', file] });
    await lab.start(h2, '--join', h1.address);
    await lab.knows(h2, [h1.ip]);
    await lab.knows(h1, [h2.ip]);
    const reload = async (expected: RegExp): Promise<void> => {
      const before = one.stderr.length;
      one.signal('SIGHUP');
      await waitFor(`the log to match ${expected}`, () => expected.test(one.stderr.slice(before)));
    };

    // An endpoint of this host is announced, and one that is removed is withdrawn.
    const here = { ip: '10.0.0.50', mac: '02:42:0a:00:00:50' };
    const peers = [h3.address];
    config({ endpoints: [here], peers });
    await reload(/info: the configuration was read again: 1 peer added, 1 endpoint added$/m);
    await lab.knows(h2, [h1.ip, here.ip]);
    const addresses = async (): Promise<string[]> =>
      ((await lab.ask(h1, { command: 'peers' })) as { address: string }[]).map(({ address }) => address).sort();
    assert.equal(await addresses(), [h2.address, h3.address]);
    config({ peers }, { join: ['172.31.9.99'] });
    await reload(/info: .* read again: 1 endpoint removed$[^]*warning: .* only after a restart: gossip$/m);
    await lab.knows(h2, [h1.ip]);

    // What does not work is logged, and the rest is applied.
    config({ endpoints: [{ ip: h2.ip, mac: '02:42:0a:00:00:51' }] });
    await reload(
      /info: .* read again: 1 peer removed$[^]*error: an entry of the configuration was refused: .*10\.0\.0\.2/m,
    );
    assert.equal(await addresses(), [h2.address]);
    for (const [text, message] of [
      ['{ "local": ', /agent\.json:1:/],
      ['[]', /expected an object/],
    ] as const) {
      writeFileSync(file, text);
      await reload(new RegExp(`error: the configuration [^\\n]*${message.source}`));
    }
    config({ endpoints: [{ ...here, ip: '10.9.0.50' }] });
    await reload(/error: the configuration .*10\.0\.0\.0\/24/);
    rmSync(file);
    await reload(/error: the configuration .*cannot be read/);
    assert.is(await ping(h2.ns, h1.ip), 3);
    assert.is((await one.stop()).code, 0);
  },
);

agents('SIGHUP without a file is ignored', async () => {
  const one = await lab.start(h1, '--join', h2.address);
  one.signal('SIGHUP');
  await waitFor('the log', () => /info: SIGHUP is ignored: there is no --config FILE to read again$/m.test(one.stderr));
  assert.ok(one.running);
  assert.is((await one.stop()).code, 0);
});

agents('an interface that has addresses of the TAP’s subnet is reported', async () => {
  const ip = (...words: string[]): Promise<string> => must(['ip', '-n', h1.ns, ...words]);
  const added = ['10.0.200.1/16', '10.0.0.200/32', '10.1.0.1/24'];
  for (const address of added) await ip('addr', 'add', address, 'dev', 'eth0');
  try {
    const one = await lab.start(h1);
    assert.match(
      one.stderr,
      /warning: TAP "tap0" has subnet 10\.0\.0\.0\/24, and interface "eth0" in the same namespace has 10\.0\.0\.0\/16: /,
    );
    assert.is(one.stderr.split('warning: TAP "tap0"').length, 2, one.stderr);
    // By the kernel: both interfaces have a route to the addresses of the subnet, and only they.
    const routes = JSON.parse(await ip('-j', 'route', 'show', 'match', '10.0.0.77')) as { dev: string; dst: string }[];
    assert.equal(routes.map(({ dst, dev }) => `${dst} ${dev}`).sort(), ['10.0.0.0/16 eth0', '10.0.0.0/24 tap0']);
  } finally {
    for (const address of added) await ip('addr', 'del', address, 'dev', 'eth0');
  }
});

agents('advertises an address other than the bound one, and over IPv6', async () => {
  await exec(h1.ns, ['ip', 'addr', 'add', '172.31.9.201/24', 'dev', 'eth0']);
  const args = lab.flags(h1, '--bind', '0.0.0.0:7950', '--advertise', '172.31.9.201');
  const one = await lab.lab.startVtep({ ns: h1.ns, args });
  assert.match(one.stdout, /^gossip 0\.0\.0\.0:7950 as 172\.31\.9\.201:7950: others reach it at 172\.31\.9\.201:7950/m);
  // This one has no configured address: it uses the source address of the route to the other.
  await lab.lab.startVtep({ ns: h2.ns, args: lab.flags(h2, '--bind', '0.0.0.0', '--join', '172.31.9.201:7950') });
  await lab.knows(h2, [h1.ip]);
  await lab.knows(h1, [h2.ip]);
  assert.equal(await lab.ask(h2, { command: 'peers' }), [
    { vni: 4097, address: '172.31.9.201', port: 4789, sources: ['gossip'] },
  ]);
  assert.is(await ping(h2.ns, h1.ip), 3);
  await lab.lab.killAll();

  await lab.lab.startVtep({ ns: h1.ns, args: lab.flags(h1, '--bind', `[${h1.address6}]:7946`, '--key', KEY) });
  const join6 = ['--local', h3.address6, '--join', h1.address6, '--key', KEY, '--engine', 'linux'];
  await lab.lab.startVtep({ ns: h3.ns, args: lab.flags(h3, ...join6) });
  await lab.knows(h1, [h3.ip]);
  await lab.knows(h3, [h1.ip]);
  assert.is(await ping(h3.ns, h1.ip, { size: 1430 - 28, dontFragment: true }), 3);
  assert.equal(Object.keys(await states(h1)).sort(), [h1.address6, h3.address6]);
});

agents.run();
