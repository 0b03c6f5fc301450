/**
 * The story of a cluster of three hosts, told with the program's own commands, each of whose outputs is checked:
 *
 *     host1 172.31.1.5 ---- router ---- host2 192.168.1.25
 *                             |
 *                           host3 192.168.2.35
 *
 * A second time, every agent is killed with SIGKILL and started again between any two of its steps.
 */
import { mkdtempSync, readdirSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type EndpointEntry, type TaskEntry } from '../../src/schema/index.js';
import { ClusterHost } from '../support/cluster-host.js';
import { createUnderlay, devices, hopsIn, must, TRACEROUTE, waitFor, type Underlay } from '../support/lab.js';
import { suiteWith } from '../support/needs.js';
import { bundledProgram, type Program } from '../support/program.js';

const test = suiteWith('the story of three hosts', ['root', 'tun', 'ip', 'ping', 'traceroute', 'nsenter', 'setsid']);

let program: Program;
let underlay: Underlay;
let folder = '';
let hosts: ClusterHost[] = [];

/** The namespaces of sandboxes whose endpoints have the names of this story. */
const sandboxes = (): string[] => readdirSync('/run/netns').filter((name) => /^weft-story[.-]/.test(name));

test.before(async () => {
  program = await bundledProgram();
  underlay = await createUnderlay({ prefix: 'st' });
  const { lab, router } = underlay;
  const ns = await lab.namespace('node3');
  await lab.join(
    { ns, device: 'eth0', addresses: ['192.168.2.35/24'] },
    { ns: router, device: 'eth3', addresses: ['192.168.2.1/24'] },
  );
  await must(['ip', '-n', ns, 'route', 'add', 'default', 'via', '192.168.2.1']);
});
test.before.each(() => {
  folder = mkdtempSync(join(tmpdir(), 'weft-story-'));
  const { lab, node1, node2 } = underlay;
  const place = { lab, program, folder };
  hosts = [
    new ClusterHost(place, 'host1', node1),
    new ClusterHost(place, 'host2', node2),
    new ClusterHost(place, 'host3', { ns: node2.ns.replace(/node2$/, 'node3'), address: '192.168.2.35' }),
  ];
});
test.after.each(async () => {
  for (const host of [...hosts].reverse()) await host.end();
  rmSync(folder, { recursive: true, force: true });
});
test.after(async () => {
  await underlay.lab.teardown();
  program.remove();
});

/** The address of an endpoint. */
async function addressOf(on: ClusterHost, name: string, network: string): Promise<string> {
  const all = await on.json<EndpointEntry[]>('ps', '--all', '--network', network);
  return all.find((one) => one.name === name)!.addresses[0]!;
}

/** The story: steps, between which the agents may be killed. */
function story(between: () => Promise<void>): () => Promise<void> {
  return async () => {
    const [one, two, three] = hosts as [ClusterHost, ClusterHost, ClusterHost];
    const names = (list: readonly { name: string }[]): string[] => list.map(({ name }) => name).sort();
    const networks = async (host: ClusterHost): Promise<string[]> => names(await host.json('network', 'ls'));

    let existing = '';
    const steps: Record<string, () => Promise<void>> = {
      'the first host makes a cluster, and the others join with the command that it prints': async () => {
        const made = await one.vtep('init', '--advertise-addr', one.address);
        const command = /^ {4}vtep (join --token WEFT-1-\S+ 172\.31\.1\.5:2377)$/m.exec(made)?.[1];
        assert.ok(command, made);
        const wrong = await two.run(...command.replace(/\w{25}(?= )/, 'o'.repeat(25)).split(' '));
        assert.is(wrong.code, 1);
        assert.match(wrong.stderr, /^vtep join: .*token/);
        await waitFor('no agent to remain', () => two.agent === undefined);
        assert.match(
          await two.vtep(...command.split(' ')),
          /^joined cluster \w+ as a worker: node host2 at 192\.168\.1\.25$/m,
        );
        const token = (await one.vtep('token', 'worker', '--quiet')).trim();
        assert.ok(command.includes(token));
        assert.match(await three.vtep('join', `--token=${token}`, one.address), /^joined cluster \w+ as a worker/m);
        const listed = await one.vtep('node', 'ls');
        for (const { name, address } of hosts)
          assert.match(listed, new RegExp(`  ${name} .*  alive .*  ${address.replaceAll('.', '\\.')}  `));
      },
      'a network has a subnet of the pool, and only the manager knows it': async () => {
        const made = await one.vtep('network', 'create', 'uber-net');
        assert.match(made, /^created network uber-net \(\w{12}\): 10\.0\.0\.0\/24 \(gateway 10\.0\.0\.1, VNI \d+\)$/m);
        assert.equal(await networks(one), ['uber-net']);
        assert.equal(await networks(two), []);
      },
      'a service has a task on each host, and then these know its network': async () => {
        const words = ['--name', 'story', '--network', 'uber-net', '--replicas', '3', '--', 'sleep', 'infinity'];
        assert.match(await one.vtep('service', 'create', ...words), /^created service story \(3 tasks\)$/m);
        const tasks = await waitFor('three tasks to run', async () => {
          const found = await one.json<TaskEntry[]>('service', 'ps', 'story');
          return found.length === 3 && found.every(({ state }) => state === 'running') ? found : undefined;
        });
        assert.equal(tasks.map(({ nodeName }) => nodeName!).sort(), ['host1', 'host2', 'host3']);
        assert.match(await one.vtep('service', 'ls'), /  story  3\/3 {7}uber-net  sleep infinity$/m);
        await waitFor('host2 to know the network', async () => (await networks(two)).includes('uber-net'));
        const inspected = await one.vtep('network', 'inspect', 'uber-net');
        assert.match(inspected, /^10\.0\.0\.0\/24  10\.0\.0\.1  \d+ /m);
        for (const { name } of tasks)
          assert.match(
            inspected,
            new RegExp(`^${name.replace('.', '\\.')} +\\w{12}  10\\.0\\.0\\.\\d+ .* host[123]  story`, 'm'),
          );
        for (const { name, address } of hosts) assert.match(inspected, new RegExp(`^${name}  ${address}$`, 'm'));
      },
      'tasks reach each other over one hop': async () => {
        const tasks = await one.json<TaskEntry[]>('service', 'ps', 'story');
        const here = tasks.find(({ nodeName }) => nodeName === 'host1')!.name;
        for (const { name } of tasks.filter((task) => task.name !== here)) {
          const address = await addressOf(one, name, 'uber-net');
          await waitFor(
            `${name} to answer`,
            async () => (await one.run('exec', here, '--', 'ping', '-c1', '-W1', name)).code === 0,
          );
          const pinged = await one.vtep('exec', here, '--', 'ping', '-c3', '-i0.3', name);
          assert.match(pinged, / 3 received, 0% packet loss/);
          assert.ok(pinged.startsWith(`PING ${name} (${address}) `), pinged);
          assert.equal(hopsIn(await one.vtep('exec', here, '--', ...TRACEROUTE, name)), [address]);
        }
        const own = await two.json<EndpointEntry[]>('ps');
        const [{ id, addresses }] = own as [EndpointEntry];
        assert.ok((await two.vtep('exec', id.slice(0, 10), '--', 'ip', 'addr')).includes(`inet ${addresses[0]}/24 `));
        const elsewhere = tasks.find(({ nodeName }) => nodeName === 'host2')!.name;
        const refused = await one.run('exec', elsewhere, '--', 'true');
        assert.is(refused.code, 1);
        assert.match(refused.stderr, /host2/, 'the error names the node');
      },
      'a network of two subnets has a command in the one and a namespace in the other': async () => {
        const made = await one.vtep(
          'network',
          'create',
          'prod-net',
          '--subnet',
          '10.1.1.0/24',
          '--subnet',
          '11.1.1.0/24',
        );
        assert.match(
          made,
          /: 10\.1\.1\.0\/24 \(gateway 10\.1\.1\.1, VNI \d+\), 11\.1\.1\.0\/24 \(gateway 11\.1\.1\.1, VNI \d+\)$/m,
        );
        const run = [
          'run',
          '--network',
          'prod-net',
          '--ip',
          '10.1.1.10',
          '--name',
          'story-p1',
          '-d',
          '--',
          'sleep',
          'infinity',
        ];
        assert.is(await one.vtep(...run), 'story-p1\n');
        existing = await underlay.lab.namespace('existing');
        const attached = await two.vtep(
          'attach',
          'prod-net',
          '--netns',
          existing,
          '--ip',
          '11.1.1.20',
          '--name',
          'web',
        );
        assert.match(attached, /^attached web in network prod-net \(11\.1\.1\.20, /m);
      },
      'a namespace without a name has a command, too': async () => {
        const sleeper = underlay.lab.spawn(['unshare', '--net', 'sleep', '600'], { ns: three.ns });
        const pid = String(sleeper.pid);
        const isApart = (): boolean => {
          const now = readlinkSync(`/proc/${pid}/ns/net`);
          return now !== readlinkSync('/proc/self/ns/net') && now !== `net:[${statSync(`/run/netns/${three.ns}`).ino}]`;
        };
        await waitFor('its namespace', isApart);
        const words = ['--pid', pid, '--device', 'net1', '--name', 'box'];
        const attached = await three.vtep('attach', 'uber-net', ...words);
        const address = /^attached box in network uber-net \((10\.0\.0\.\d+), /.exec(attached)?.[1];
        assert.ok(
          (await three.vtep('exec', 'box', '--', 'ip', 'addr', 'show', 'net1')).includes(`inet ${address}/24 `),
        );
        assert.is(await three.vtep('detach', 'box'), 'detached box from network uber-net\n');
        await sleeper.stop();
      },
      'between the subnets is the gateway': async () => {
        await waitFor(
          'web to answer',
          async () => (await one.run('exec', 'story-p1', '--', 'ping', '-c1', '-W1', '11.1.1.20')).code === 0,
        );
        assert.equal(hopsIn(await one.vtep('exec', 'story-p1', '--', ...TRACEROUTE, '11.1.1.20')), [
          '10.1.1.1',
          '11.1.1.20',
        ]);
      },
      'a command in the foreground has its own sandbox, and its status is that of vtep': async () => {
        const run = ['run', '--network', 'prod-net', '--name', 'story-short', '--env', 'A=b c', '--'];
        const ended = await one.run(...run, 'sh', '-c', 'echo "$A"; ip -o -4 addr show dev eth0; exit 7');
        assert.is(ended.code, 7, ended.stderr);
        assert.match(ended.stdout, /^b c\n.* inet 10\.1\.1\.\d+\/24 /);
        assert.equal(
          sandboxes().filter((name) => name.startsWith('weft-story-short-')),
          [],
        );
        const missing = await one.run(...run, 'no-such-program');
        assert.is(missing.code, 127);
        assert.match(missing.stderr, /^vtep run: there is no program "no-such-program"/);
        assert.is((await one.run('run', '--network', 'prod-net', '--', '/etc/passwd')).code, 126);
        assert.equal(names(await one.json('ps', '--network', 'prod-net')), ['story-p1'], 'nothing remains of them');
      },
      'the output of a command in the background is kept': async () => {
        await one.vtep(
          'run',
          '--network',
          'uber-net',
          '--name',
          'story-talk',
          '-d',
          '--',
          'sh',
          '-c',
          'echo hello; echo "to	you"; sleep 999',
        );
        const told = (): Promise<string> => one.vtep('logs', 'story-talk');
        await waitFor('the output', async () => (await told()).includes('you'));
        assert.is(await told(), 'hello\nto      you\n');
        assert.is(await one.vtep('logs', 'story-talk', '--tail', '1'), 'to      you\n');
        assert.match(await one.vtep('ps'), /  story-talk +uber-net .*  host1  run .*  running$/m);
      },
      'docker network inspect has a twin': async () => {
        const [shown] = JSON.parse(await one.vtep('network', 'inspect', 'prod-net', '--format', 'docker')) as {
          Driver: string;
          Containers: Record<string, { Name: string; IPv4Address: string }>;
          IPAM: { Config: object[] };
        }[];
        assert.is(shown!.Driver, 'overlay');
        assert.equal(shown!.IPAM.Config, [
          { Subnet: '10.1.1.0/24', Gateway: '10.1.1.1' },
          { Subnet: '11.1.1.0/24', Gateway: '11.1.1.1' },
        ]);
        assert.equal(
          Object.values(shown!.Containers).map(({ Name, IPv4Address }) => `${Name} ${IPv4Address}`),
          ['story-p1 10.1.1.10/24'],
        );
      },
      'a network in use is not removed': async () => {
        const refused = await one.run('network', 'rm', 'prod-net');
        assert.is(refused.code, 1);
        assert.match(refused.stderr, /^vtep network: .*prod-net/);
        assert.is(refused.stdout, '');
      },
      'a service shrinks': async () => {
        assert.match(await one.vtep('service', 'scale', 'story=1'), /^service story is to have 1 task$/m);
        await waitFor('one task', async () => (await one.json<TaskEntry[]>('service', 'ps', 'story')).length === 1);
        await waitFor(
          'two sandboxes to go',
          () => sandboxes().filter((name) => name.startsWith('weft-story.')).length === 1,
        );
      },
      'everything is removed': async () => {
        assert.match(await one.vtep('service', 'rm', 'story'), /^removed service story \(\w{12}\)$/m);
        assert.match(await one.vtep('detach', 'story-talk'), /^detached story-talk from network uber-net$/m);
        assert.match(await one.vtep('detach', 'story-p1'), /^detached story-p1 from network prod-net$/m);
        assert.match(await two.vtep('detach', 'web', '--network', 'prod-net'), /^detached web from network prod-net$/m);
        await waitFor('the networks to be free', async () => {
          const { code, stderr } = await one.run('network', 'rm', 'uber-net');
          assert.ok(code === 0 || /endpoint|service|task/.test(stderr), stderr);
          return code === 0;
        });
        assert.match(await one.vtep('network', 'rm', 'prod-net'), /^removed network prod-net \(\w{12}\)$/m);
        assert.equal(await networks(one), []);
        assert.equal(sandboxes(), []);
        assert.equal(await devices(existing), ['lo']);
        await underlay.lab.removeNamespace(existing);
      },
      'the hosts leave': async () => {
        assert.is(await three.vtep('leave'), 'left the cluster\n');
        assert.match(await one.vtep('node', 'ls'), /  host3  worker +left /);
        assert.match(await one.vtep('node', 'rm', 'host3'), /^removed node host3 \(\w+\)$/m);
        assert.is(await two.vtep('leave'), 'left the cluster\n');
        const last = await one.run('leave');
        assert.is(last.code, 1);
        assert.match(last.stderr, /force/);
        assert.is(await one.vtep('leave', '--force'), 'left the cluster\n');
        const none = await one.run('network', 'ls');
        assert.is(none.code, 1);
        assert.match(none.stderr, /^vtep network: this node is in no cluster/);
      },
    };
    for (const [title, step] of Object.entries(steps)) {
      try {
        await step();
      } catch (error) {
        (error as Error).message = `${title}: ${(error as Error).message}`;
        throw error;
      }
      await between();
    }
  };
}

test(
  'as a person tells it',
  story(() => Promise.resolve()),
);

test(
  'with every agent killed and started again between any two steps',
  story(async () => {
    await Promise.all(hosts.map((host) => host.kill()));
    await Promise.all(hosts.map((host) => host.start()));
  }),
);

test.run();
